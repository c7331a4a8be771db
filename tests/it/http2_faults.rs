//! What goes wrong on HTTP/2 connections, and whom it does not concern (RFC 9113 sections 5 to 7).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{join, poll_fn};
use h2::Reason;
use tautline::{Client, Config, Error, Http2, Http2Config, Http2Error, Server, Timeout, Upgrade};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::handshake::{bind, echo, expect_echo, uri};
use crate::support::http2::{
    ACK, CONTINUATION, DATA, END_HEADERS, Frames, GOAWAY, HEADERS, PING, PREFACE, RawClient,
    RawStream, SETTINGS, WINDOW_UPDATE, connect_request, connect_to, connecting, frame, raw_server,
    stoppable,
};
use crate::support::peer::{BINARY, CLOSE, FIN, TEXT, close_body};

/// Until when what should happen at once must have happened.
const SOON: Duration = Duration::from_secs(20);

type Ends = mpsc::UnboundedReceiver<Option<Error>>;

/// An echo, except on three paths: `/stuck` never reads, `/full` sends more than anybody takes,
/// and `/last` echoes and tells how it ended.
async fn server(set_up: impl FnOnce(Server) -> Server) -> (SocketAddr, Ends) {
    let (ends, ended) = mpsc::unbounded_channel();
    let (server, address) = bind().await;
    let server = set_up(server.http2(Http2Config::new()));
    let serving = server
        .authorize(|request| async move { Ok(Upgrade::new(request.uri().path().to_owned())) })
        .serve_with(move |mut ws, path| {
            let ends = ends.clone();
            async move {
                match path.as_str() {
                    "/stuck" => std::future::pending().await,
                    "/full" => loop {
                        if let Err(error) = ws.send(vec![7; 10_000]).await {
                            ends.send(Some(error))?;
                            return Ok(());
                        }
                    },
                    "/last" => {
                        let error = loop {
                            match ws.next().await {
                                Some(Ok(message)) => ws.send(message).await?,
                                Some(Err(error)) => break Some(error),
                                None => break None,
                            }
                        };
                        ends.send(error)?;
                        Ok(())
                    }
                    _ => echo(ws).await,
                }
            }
        });
    tokio::spawn(serving);
    (address, ended)
}

async fn open(client: &mut RawClient, path: &str) -> RawStream {
    let uri = format!("http://example.com{path}");
    let (response, stream) = client.ask(connect_to(&uri, Some("websocket"), &[])).await.unwrap();
    assert_eq!(response.status(), 200);
    stream
}

/// Sends as much DATA as the window of a stream allows at first.
async fn fill(stream: &mut RawStream) {
    let mut left = Http2Config::DEFAULT_STREAM_WINDOW as usize;
    let frame = stream.encode(FIN | BINARY, vec![7; 200]);
    while left > 0 {
        stream.outgoing.reserve_capacity(left.min(frame.len()));
        poll_fn(|cx| stream.outgoing.poll_capacity(cx)).await.unwrap().unwrap();
        let count = stream.outgoing.capacity().min(frame.len());
        stream.write(frame[..count].to_vec(), false);
        left -= count;
    }
    stream.outgoing.reserve_capacity(1);
}

// RFC 9113 section 5.2: flow control is for each stream.
#[tokio::test]
async fn an_end_that_does_not_read_stops_its_own_stream_and_no_other() {
    let (address, _ends) = server(|server| server).await;
    let mut client = RawClient::connect(address).await;
    let mut healthy = open(&mut client, "/").await;
    let mut stuck = open(&mut client, "/stuck").await;
    fill(&mut stuck).await;
    for _ in 0..100 {
        healthy.expect_echo(&"x".repeat(10_000)).await;
    }
    let room = poll_fn(|cx| stuck.outgoing.poll_capacity(cx)).now_or_never();
    assert!(room.is_none(), "{room:?}");
    // The same with an end of ours at the other side.
    let client = Client::new().http2(Http2::Prior);
    let mut stuck = client.connect(format!("ws://{address}/stuck")).await.unwrap();
    let mut healthy = client.connect(format!("ws://{address}/")).await.unwrap();
    let filling = tokio::spawn(async move { stuck.send(vec![7; 1_000_000]).await });
    for _ in 0..100 {
        expect_echo(&mut healthy, &"x".repeat(10_000)).await;
    }
    assert!(!filling.is_finished());
    filling.abort();
    // And with a client that does not read.
    let _full = client.connect(format!("ws://{address}/full")).await.unwrap();
    for _ in 0..100 {
        expect_echo(&mut healthy, &"x".repeat(10_000)).await;
    }
}

// RFC 8441 section 5: what RST is to TCP. hyper reports CANCEL as a clean end.
#[tokio::test]
async fn a_stream_that_is_reset_is_an_error_of_its_handler() {
    let (address, mut ends) = server(|server| server).await;
    let mut client = RawClient::connect(address).await;
    let mut healthy = open(&mut client, "/").await;
    for reason in [Reason::CANCEL, Reason::NO_ERROR, Reason::INTERNAL_ERROR] {
        let mut stream = open(&mut client, "/last").await;
        stream.expect_echo("hello").await;
        stream.outgoing.send_reset(reason);
        let error = ends.recv().await.unwrap().expect("an error");
        assert!(matches!(error, Error::Io(_)), "{error:?}");
        assert_eq!(Http2Error::of(&error), Some(Http2Error::Reset { code: reason.into() }));
        healthy.expect_echo("undisturbed").await;
    }
    // To drop it is to reset it.
    drop(open(&mut client, "/last").await);
    let error = ends.recv().await.unwrap().expect("an error");
    assert_eq!(Http2Error::of(&error), Some(Http2Error::Reset { code: 8 }));
    // A handler that only sends hears it too.
    let mut stream = open(&mut client, "/full").await;
    stream.outgoing.send_reset(Reason::CANCEL);
    let error = ends.recv().await.unwrap().expect("an error");
    assert_eq!(Http2Error::of(&error), Some(Http2Error::Reset { code: 8 }));
}

// Firefox sends no END_STREAM behind its Close, and CANCEL a second later.
#[tokio::test]
async fn a_reset_behind_both_closes_is_no_error() {
    let (address, mut ends) = server(|server| server).await;
    let mut client = RawClient::connect(address).await;
    let mut stream = open(&mut client, "/last").await;
    stream.send(FIN | CLOSE, close_body(1000, ""));
    stream.expect(FIN | CLOSE, close_body(1000, "")).await;
    stream.expect_end().await;
    stream.outgoing.send_reset(Reason::CANCEL);
    assert!(ends.recv().await.unwrap().is_none());
    open(&mut client, "/").await.expect_echo("the connection goes on").await;
}

#[tokio::test]
async fn the_end_of_a_connection_is_an_error_of_each_of_its_handlers() {
    let (address, mut ends) = server(|server| server).await;
    let mut client = RawClient::connect(address).await;
    let _streams = (open(&mut client, "/last").await, open(&mut client, "/last").await);
    // Without a word.
    client.driving.abort();
    for _ in 0..2 {
        let error = ends.recv().await.unwrap().expect("an error");
        assert!(matches!(error, Error::Io(_)), "{error:?}");
        assert_eq!(Http2Error::of(&error), None);
    }
    // A client that breaks a rule of HTTP/2 ends it for all of its streams.
    let mut frames = Frames(TcpStream::connect(address).await.unwrap());
    frames.write(PREFACE).await;
    frames.write(&frame(SETTINGS, 0, 0, &[])).await;
    // DATA on stream 0 (RFC 9113 section 6.1).
    frames.write(&frame(0, 0, 0, b"x")).await;
    while let Ok((kind, _, _, payload)) = frames.next().await {
        if kind == 7 {
            assert_eq!(payload[4..8], [0, 0, 0, 1], "PROTOCOL_ERROR");
        }
    }
}

// 2,100 messages of a byte that one handler had not read ended all streams of the connection:
// h2 0.4.16 counts small DATA (RUSTSEC-2026-0258; grpc-rust#2834, hyper#4164).
#[tokio::test]
async fn tiny_data_for_a_handler_that_does_not_read_ends_no_other_stream() {
    let (address, _ends) = server(|server| server).await;
    let mut client = RawClient::connect(address).await;
    let mut healthy = open(&mut client, "/").await;
    let mut stuck = open(&mut client, "/stuck").await;
    for round in 0..20 {
        for _ in 0..500 {
            stuck.write(vec![0], false);
        }
        healthy.expect_echo(&round.to_string()).await;
    }
}

// A window that stays shut is a peer that does not read.
#[tokio::test]
async fn a_window_that_stays_shut_ends_its_stream_in_time() {
    let config = Config::new().send_timeout(Duration::from_millis(200));
    let (address, mut ends) = server(|server| server.config(config)).await;
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(20_000);
    let mut client = RawClient::with(address, &builder).await;
    let mut healthy = open(&mut client, "/").await;
    let mut full = open(&mut client, "/full").await;
    let error = ends.recv().await.unwrap().expect("an error");
    assert!(matches!(error, Error::Timeout(Timeout::Send)), "{error:?}");
    healthy.expect_echo("undisturbed").await;
    // Half a message must not look like the end: what was cut off is reset.
    full.expect_reset(Reason::CANCEL).await;
    healthy.expect_echo("undisturbed").await;
}

// CVE-2023-44487: a stream that is reset no longer counts among those that a client may open, but
// what it started on the server went on. Each of them was a call of `authorize`, up to the limit
// of connections.
#[tokio::test]
async fn streams_that_are_reset_at_once_start_no_more_than_their_limit() {
    const STREAMS: u32 = 10;
    let (server, address) = bind().await;
    let running = Arc::new(AtomicUsize::new(0));
    let (counted, hooks) = (running.clone(), running);
    let serving = server
        .http2(Http2Config::new().max_streams(STREAMS))
        .authorize(move |request| {
            let hooks = hooks.clone();
            async move {
                if request.uri().path() == "/slow" {
                    hooks.fetch_add(1, Ordering::SeqCst);
                    std::future::pending::<()>().await;
                }
                Ok(Upgrade::new(()))
            }
        })
        .serve(echo);
    tokio::spawn(serving);
    let mut client = RawClient::connect(address).await;
    let mut other = RawClient::connect(address).await;
    let mut neighbour = other.open().await;
    let mut refused = 0;
    for _ in 0..100 {
        let before = counted.load(Ordering::SeqCst);
        let slow = connect_to("http://example.com/slow", Some("websocket"), &[]);
        client.requests = client.requests.ready().await.unwrap();
        let (response, mut outgoing) = client.requests.send_request(slow, false).unwrap();
        // Taken, or refused.
        let mut response = Box::pin(response);
        tokio::select! {
            error = &mut response => {
                assert_eq!(error.unwrap_err().reason(), Some(Reason::REFUSED_STREAM));
                refused += 1;
            }
            () = async {
                while counted.load(Ordering::SeqCst) == before {
                    tokio::task::yield_now().await;
                }
            } => outgoing.send_reset(Reason::CANCEL),
        }
        neighbour.expect_echo("undisturbed").await;
    }
    assert_eq!(counted.load(Ordering::SeqCst), STREAMS as usize);
    assert_eq!(refused, 100 - STREAMS);
    neighbour.expect_echo("undisturbed").await;
}

// A client with an idle connection that does not answer held up the end of the server for the
// whole drain.
#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_silent_connection() {
    let (address, stop, serving) = stoppable().await;
    let silent = Frames::connect(address).await;
    // Connections are accepted in their order.
    let mut client = RawClient::connect(address).await;
    drop(client.ask(connect_request()).await.unwrap());
    drop(client);
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
    drop(silent);
}

#[tokio::test]
async fn a_preface_that_comes_byte_by_byte_is_one() {
    let (address, _ends) = server(|server| server).await;
    let mut frames = Frames(TcpStream::connect(address).await.unwrap());
    for byte in PREFACE {
        frames.write(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    frames.write(&frame(SETTINGS, 0, 0, &[])).await;
    let (_, settings) = frames.expect(SETTINGS).await;
    // RFC 8441 section 3.
    assert!(settings.chunks(6).any(|setting| setting == [0, 8, 0, 0, 0, 1]), "{settings:?}");
}

// A server that had sent GOAWAY closed at once: what the client sent meanwhile was answered with a
// reset, which may overtake GOAWAY and the last DATA.
#[tokio::test]
async fn what_a_client_sends_as_the_server_ends_is_not_answered_with_a_reset() {
    let (address, stop, serving) = stoppable().await;
    let mut client = Frames::connect(address).await;
    stop.send(()).unwrap();
    let (_, ping) = client.expect(PING).await;
    client.write(&frame(PING, ACK, 0, &ping)).await;
    let end = loop {
        match client.next().await {
            Ok(_) => client.write(&frame(PING, 0, 0, &[7; 8])).await,
            Err(error) => break error,
        }
    };
    assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    for _ in 0..3 {
        client.write(&frame(PING, 0, 0, &[7; 8])).await;
        tokio::task::yield_now().await;
    }
    drop(client);
    serving.await.unwrap().unwrap();
}

// A writer that waited asked for all that it had: when the window of the connection opened, all of it
// was for that stream, even if its user then awaited something else, and no other could send.
#[tokio::test]
async fn a_writer_that_waits_does_not_hold_the_window_of_the_connection() {
    const WINDOW: usize = 0xffff; // of a connection (RFC 9113 section 6.9.2)
    let mut builder = connecting();
    builder.initial_window_size(1 << 20);
    let (address, mut servers) = raw_server(builder).await;
    let client = Client::new().http2(Http2::Prior);
    let opening = async {
        let one = client.connect(uri(address)).await.unwrap();
        (one, client.connect(uri(address)).await.unwrap())
    };
    let serving = async {
        let mut server = servers.recv().await.unwrap();
        let one = server.accept().await.1;
        let other = server.accept().await.1;
        (server, one, other)
    };
    let ((mut one, mut other), (_server, mut full, mut next)) = join(opening, serving).await;
    let filling = async {
        let mut taken = 0;
        while taken < WINDOW {
            taken += full.incoming.data().await.unwrap().unwrap().len();
        }
    };
    tokio::select! {
        sent = one.send(vec![7; 200_000]) => panic!("sent: {sent:?}"),
        () = filling => {}
    }
    // Nobody writes on, and the window opens.
    full.incoming.flow_control().release_capacity(WINDOW).unwrap();
    let both = join(other.send("hello"), next.expect(FIN | TEXT, "hello"));
    timeout(SOON, both).await.expect("the window is held").0.unwrap();
}

// What was sent was with the HTTP/2 connection, which waited for ever for a server that took none of
// it: no deadline of a stream ran.
#[tokio::test]
async fn a_server_that_takes_nothing_is_given_up() {
    const STREAMS: usize = 20;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let target = uri(listener.local_addr().unwrap());
    let config = Config::new().send_timeout(Duration::from_millis(300));
    let client = Client::new().http2(Http2::Prior).config(config);
    let opening = async {
        let mut sockets = Vec::new();
        for _ in 0..STREAMS {
            sockets.push(client.connect(&target).await.unwrap());
        }
        sockets
    };
    let serving = async {
        let mut server = Frames(listener.accept().await.unwrap().0);
        let mut preface = vec![0; PREFACE.len()];
        server.0.read_exact(&mut preface).await.unwrap();
        // SETTINGS_ENABLE_CONNECT_PROTOCOL, and windows of 16 MiB.
        let settings = [0, 8, 0, 0, 0, 1, 0, 4, 1, 0, 0, 0];
        server.write(&frame(SETTINGS, 0, 0, &settings)).await;
        server.write(&frame(WINDOW_UPDATE, 0, 0, &[1, 0, 0, 0])).await;
        for _ in 0..STREAMS {
            let (stream, _) = server.expect(HEADERS).await;
            // `:status: 200` of the static table (RFC 7541 appendix A).
            server.write(&frame(HEADERS, END_HEADERS, stream, &[0x88])).await;
        }
        server
    };
    let (mut sockets, _server) = join(opening, serving).await;
    // More than the system holds, and nothing that a stream would have to wait for.
    for ws in &mut sockets {
        ws.send(vec![7; 60_000]).await.unwrap();
    }
    for mut ws in sockets {
        let end = timeout(SOON, ws.next()).await.expect("it is not given up");
        let error = end.unwrap().unwrap_err();
        assert!(matches!(error, Error::Io(_)), "{error:?}");
    }
}

/// The identifier of SETTINGS_INITIAL_WINDOW_SIZE with this value (RFC 9113 section 6.5.2).
fn window_setting(bytes: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&[0, 4][..], &bytes.to_be_bytes()].concat())
}

fn window_update(stream: u32, bytes: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

// RFC 9113 section 6.9.2: SETTINGS may make a window smaller, even less than nothing. A writer that
// was told of room, and found none because both came at once, was not woken again (h2 before
// 0.4.15 reported room of 0 bytes then, and forgot who had asked).
#[tokio::test]
async fn a_writer_goes_on_when_a_window_that_was_made_smaller_opens() {
    const LONG: usize = 5_000;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new().http2(Http2::Prior);
    let target = uri(listener.local_addr().unwrap());
    let opening = async {
        let one = client.connect(&target).await.unwrap();
        (one, client.connect(&target).await.unwrap())
    };
    let serving = async {
        let mut server = Frames(listener.accept().await.unwrap().0);
        let mut preface = vec![0; PREFACE.len()];
        server.0.read_exact(&mut preface).await.unwrap();
        // SETTINGS_ENABLE_CONNECT_PROTOCOL, and a window of 1,000 bytes for each stream.
        server.write(&frame(SETTINGS, 0, 0, &[0, 8, 0, 0, 0, 1, 0, 4, 0, 0, 3, 0xE8])).await;
        let mut streams = Vec::new();
        for _ in 0..2 {
            let (stream, _) = server.expect(HEADERS).await;
            server.write(&frame(HEADERS, END_HEADERS, stream, &[0x88])).await;
            streams.push(stream);
        }
        (server, streams)
    };
    let ((mut one, mut other), (mut server, streams)) = join(opening, serving).await;
    let writing = tokio::spawn(async move { one.send(vec![7; LONG]).await.map(|()| one) });
    let mut count = 0;
    while count < 1_000 {
        let (stream, data) = server.expect(DATA).await;
        assert_eq!(stream, streams[0]);
        count += data.len();
    }
    // Room for ten bytes, and in the same read none: 490 bytes less than none.
    server.write(&[window_update(streams[0], 10), window_setting(500)].concat()).await;
    while !matches!(server.next().await.unwrap(), (SETTINGS, ACK, ..)) {}
    // The writer has looked by the time that another one is heard of.
    other.send("hello").await.unwrap();
    assert_eq!(server.expect(DATA).await.0, streams[1]);
    let more = u32::try_from(LONG).unwrap();
    server.write(&window_update(streams[0], more)).await;
    // A header of 4 bytes and a mask of 4, in front of the payload.
    let reading = async {
        while count < LONG + 8 {
            let (stream, data) = server.expect(DATA).await;
            assert_eq!(stream, streams[0]);
            count += data.len();
            server.write(&window_update(streams[0], 100)).await;
        }
    };
    timeout(SOON, reading).await.expect("the writer was not woken");
    writing.await.unwrap().unwrap();
}

/// The code of the GOAWAY with which the server ends this connection.
async fn code_of_the_end(client: &mut Frames<TcpStream>) -> u32 {
    let mut code = None;
    while let Ok((kind, _, _, payload)) = client.next().await {
        if kind == GOAWAY {
            code = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
    }
    code.expect("GOAWAY comes before the end")
}

// Netty CVE-2026-33871: CONTINUATION without a byte counted towards no limit of a head.
#[tokio::test]
async fn empty_continuations_without_end_end_their_connection_alone() {
    let (address, _ends) = server(|server| server).await;
    let mut neighbour = RawClient::connect(address).await;
    let mut healthy = open(&mut neighbour, "/").await;
    let mut client = Frames::connect(address).await;
    client.write(&frame(HEADERS, 0, 1, &[0x86])).await;
    client.write(&frame(CONTINUATION, 0, 1, &[]).repeat(1_000)).await;
    let code = timeout(SOON, code_of_the_end(&mut client)).await.expect("it waits for more");
    assert_eq!(code, 11, "ENHANCE_YOUR_CALM");
    healthy.expect_echo("undisturbed").await;
}

// Bandit CVE-2026-42788: a frame longer than SETTINGS_MAX_FRAME_SIZE was read into memory (RFC 9113
// section 4.2).
#[tokio::test]
async fn a_frame_beyond_the_announced_size_ends_its_connection_alone() {
    let (address, _ends) = server(|server| server).await;
    let mut neighbour = RawClient::connect(address).await;
    let mut healthy = open(&mut neighbour, "/").await;
    let mut client = Frames::connect(address).await;
    // The header of a frame of 16 MiB. Its payload never comes.
    client.write(&[0xFF, 0xFF, 0xFF, DATA, 0, 0, 0, 0, 1]).await;
    let code = timeout(SOON, code_of_the_end(&mut client)).await.expect("it waits for more");
    assert_eq!(code, 6, "FRAME_SIZE_ERROR");
    healthy.expect_echo("undisturbed").await;
}
