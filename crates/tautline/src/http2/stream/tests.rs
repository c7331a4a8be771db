use std::future::Future;
use std::task::Waker;

use http::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Both ends of a stream, each with windows of this size.
async fn open(window: u32) -> (Http2Stream, SendStream<Bytes>, RecvStream) {
    let (near, far) = tokio::io::duplex(4096);
    let mut server = h2::server::Builder::new();
    server.initial_window_size(window);
    let mut client = h2::client::Builder::new();
    client.initial_window_size(window);
    let opening = async {
        let (mut requests, connection) = client.handshake(far).await.expect("HTTP/2");
        tokio::spawn(connection);
        let request = Request::post("http://localhost/").body(()).expect("a request");
        let (response, outgoing) = requests.send_request(request, false).expect("open");
        (outgoing, response.await.expect("a response").into_body())
    };
    let accepting = async {
        let mut connection = server.handshake::<_, Data>(near).await.expect("HTTP/2");
        let asked = connection.accept().await.expect("open");
        let (request, mut respond) = asked.expect("a request");
        let outgoing = respond.send_response(Response::new(()), false).expect("open");
        tokio::spawn(async move { connection.accept().await.is_some() });
        Http2Stream::new(outgoing, request.into_body())
    };
    let ((outgoing, incoming), stream) = tokio::join!(opening, accepting);
    (stream, outgoing, incoming)
}

async fn within_seconds<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it hangs")
}

// What is taken is given back in steps, which must not leave a peer with the smallest window
// without room.
#[tokio::test]
async fn a_peer_with_the_smallest_window_can_always_go_on() {
    let (mut stream, mut outgoing, _incoming) = open(MIN_WINDOW).await;
    let lengths = || (1..=300).cycle().take(1000);
    for len in lengths() {
        outgoing.send_data(Bytes::from(vec![7; len]), false).expect("queued");
    }
    outgoing.send_data(Bytes::new(), true).expect("queued");
    let mut all = Vec::new();
    within_seconds(stream.read_to_end(&mut all)).await.expect("no error");
    assert_eq!(all.len(), lengths().sum::<usize>());
}

#[tokio::test]
async fn short_writes_stop_soon_after_the_window_is_shut_and_none_is_lost() {
    let (mut stream, _outgoing, mut incoming) = open(20).await;
    let mut cx = Context::from_waker(Waker::noop());
    let mut written = 0_u8;
    while Pin::new(&mut stream).poll_write(&mut cx, &[written; 10]).is_ready() {
        written += 1;
        assert!(written <= 1 + UNASKED, "it never stops");
    }
    assert!(written >= 2, "the window has room for two");
    let reading = async {
        let mut all = Vec::new();
        while all.len() < 200 {
            let data = incoming.data().await.expect("not the end").expect("no error");
            incoming.flow_control().release_capacity(data.len()).expect("as much as came");
            all.extend_from_slice(&data);
        }
        all
    };
    let writing = async {
        for number in written..20 {
            stream.write_all(&[number; 10]).await.expect("no error");
        }
    };
    let (all, ()) = within_seconds(async { tokio::join!(reading, writing) }).await;
    let expected: Vec<u8> = (0..20).flat_map(|number| [number; 10]).collect();
    assert_eq!(all, expected);
}

// Each idle stream held what its last DATA had been read into until its next DATA came: blocks of
// many KiB, which all streams of the connection share, and which could not be used again.
#[tokio::test]
async fn a_stream_that_was_read_holds_no_part_of_what_the_connection_read() {
    let (mut stream, mut outgoing, _incoming) = open(MIN_WINDOW).await;
    outgoing.send_data(Bytes::from_static(b"hello"), false).expect("queued");
    let mut part = [0; 3];
    within_seconds(stream.read_exact(&mut part)).await.expect("no error");
    assert!(stream.data.is_some(), "there is more");
    within_seconds(stream.read_exact(&mut part[..2])).await.expect("no error");
    assert_eq!(&part, b"lol");
    assert!(stream.data.is_none());
}
