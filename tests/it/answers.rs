//! Responses that are not WebSockets and take long: the deadline is on progress, and a response
//! that is cut off does not look complete.

use std::io;
use std::time::Duration;

use http::{Request, Response};
use tautline::{Acceptor, Peer, Server};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;

use crate::support::handshake::{Http, Identity, bind, echo};

const LARGE: usize = 20 << 20;
const PAGE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

async fn large(_: Request<()>, _: Peer) -> Response<bytes::Bytes> {
    Response::new(vec![b'x'; LARGE].into())
}

/// A server whose sockets hold little, and a client of it whose socket does too.
async fn slow_pair(set_up: impl FnOnce(Server) -> Server) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(16 << 10).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener: TcpListener = socket.listen(16).unwrap();
    let address = listener.local_addr().unwrap();
    let server = set_up(Server::from_listener(listener).fallback(large));
    tokio::spawn(server.serve(echo));
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    socket.connect(address).await.unwrap()
}

// A response that was cut off ended cleanly, in spite of its Content-Length: some clients take that
// for complete.
#[tokio::test]
async fn an_answer_that_nobody_reads_is_cut_with_a_reset() {
    let identity = Identity::for_names(&["localhost"]);
    for secure in [false, true] {
        let tls = identity.server();
        let stream = slow_pair(|server| {
            let acceptor = Acceptor::new().answer_timeout(Duration::from_millis(50));
            let server = server.acceptor(acceptor).max_connections(1);
            if secure { server.tls(tls) } else { server }
        });
        let stream = stream.await;
        let address = stream.peer_addr().unwrap();
        let error = if secure {
            stalled(identity.connect(stream).await, address).await
        } else {
            stalled(stream, address).await
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}

/// Sends a request, reads nothing until the server has cut off the response, and returns what
/// reading the rest results in.
async fn stalled<S>(stream: S, address: std::net::SocketAddr) -> io::Error
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut client = Http::over(stream);
    client.write(PAGE).await;
    // The only place is free again once the response was cut off.
    let mut next = TcpStream::connect(address).await.unwrap();
    next.write_all(b"not HTTP at all\r\n\r\n").await.unwrap();
    let _ = next.read_u8().await;
    let mut rest = Vec::new();
    client.stream.read_to_end(&mut rest).await.unwrap_err()
}

// The end of a drain cuts responses off too.
#[tokio::test]
async fn an_answer_that_a_drain_cuts_ends_with_a_reset() {
    let (stop, stopped) = oneshot::channel::<()>();
    let (server, address) = bind().await;
    let (asked, is_asked) = oneshot::channel();
    let asked = std::sync::Mutex::new(Some(asked));
    let server = server
        .drain_timeout(Duration::from_millis(20))
        .with_graceful_shutdown(async { drop(stopped.await) })
        .fallback(move |request, peer| {
            let _ = asked.lock().unwrap().take().map(|asked| asked.send(()));
            large(request, peer)
        });
    let serving = tokio::spawn(server.serve(echo));
    let mut client = Http::connect(address).await;
    client.write(PAGE).await;
    is_asked.await.unwrap();
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
    let mut rest = Vec::new();
    let error = client.stream.read_to_end(&mut rest).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}
