//! Peers that leave a connection half done, race its end, or would have it run in circles: bugs of
//! the life of a connection that other implementations shipped.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
#[cfg(target_os = "linux")]
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future;
use tautline::{Acceptor, CloseCode, Config, Error, Role, Server, Upgrade, WebSocket};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
#[cfg(target_os = "linux")]
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::ending::violations;
use crate::support::handshake::{HandlerResult, Http, REQUEST, bind, echo};
use crate::support::peer::{CLOSE, FIN, PING, PONG, Peer, ROLES, TEXT, close_body, tcp, with_head};
#[cfg(target_os = "linux")]
use crate::support::wait::until;

/// The longest that a test waits. No passing test comes near it.
const LONG: Duration = Duration::from_secs(20);

/// The sockets of a server that are open or wait for it to close them: for so long a peer's FIN
/// is left unanswered (CLOSE_WAIT).
#[cfg(target_os = "linux")]
fn sockets_of(server: SocketAddr) -> Vec<String> {
    let local = format!(":{:04X}", server.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let open = table.lines().filter(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let is_local = columns.next().is_some_and(|address| address.ends_with(&local));
        is_local && matches!(columns.nth(1), Some("01" | "08"))
    });
    open.map(str::to_owned).collect()
}

/// Waits until the server has neither a connection nor a socket.
#[cfg(target_os = "linux")]
async fn expect_nothing_left(server: SocketAddr, handle: &tautline::ServerHandle) {
    until(|| (handle.connection_count() == 0).then_some(())).await;
    until(|| sockets_of(server).is_empty().then_some(())).await;
}

#[cfg(target_os = "linux")]
async fn opened(address: SocketAddr) -> Peer<TcpStream> {
    let mut http = Http::connect(address).await;
    http.upgrade().await;
    Peer::of(Role::Server, http.stream)
}

// Tomcat CVE-2024-23672: connections whose peer had closed half of them were kept for ever. The
// peers keep their sockets here, and read nothing.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_server_keeps_nothing_of_peers_that_do_not_finish_a_close() {
    let (server, address) = bind().await;
    let soon = Duration::from_millis(50);
    let config = Config::new().close_timeout(soon).send_timeout(soon);
    let server = server.config(config);
    let handle = server.handle();
    tokio::spawn(server.serve(|mut ws| async move {
        let wish = ws.next().await;
        if let Some(Ok(wish)) = wish {
            match wish.as_text() {
                Some("return") => return Ok(()),
                // More than the sockets hold: the answer to the Close is behind it.
                Some("fill") => ws.send(vec![7; 16 << 20]).await?,
                _ => ws.close().await?,
            }
        }
        while let Some(message) = ws.next().await {
            message?;
        }
        Ok(())
    }));
    let mut peers = Vec::new();
    for wish in ["return", "close", "fill"] {
        let mut peer = opened(address).await;
        peer.send(FIN | TEXT, wish).await;
        if wish == "fill" {
            peer.send(FIN | CLOSE, close_body(1000, "")).await;
        }
        peers.push(peer);
    }
    let mut closing = opened(address).await;
    closing.send(FIN | CLOSE, close_body(1000, "")).await;
    let mut halfway = opened(address).await;
    halfway.write(&[FIN | CLOSE, 0x82, 0]).await;
    halfway.stream.shutdown().await.unwrap();
    expect_nothing_left(address, &handle).await;
    drop((peers, closing, halfway));
}

// spring-framework #30393: where a handler failed, the socket stayed in CLOSE_WAIT.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn handlers_that_fail_leave_no_half_closed_socket_behind() {
    let (server, address) = bind().await;
    let handle = server.handle();
    tokio::spawn(server.serve(|mut ws| async move {
        match ws.next().await {
            Some(Ok(wish)) if wish.as_text() == Some("fail") => Err("as asked".into()),
            Some(Ok(wish)) if wish.as_text() == Some("panic") => panic!("as asked"),
            Some(Ok(_)) => HandlerResult::Ok(()),
            Some(Err(error)) => Err(error.into()),
            None => Err("the peer closed".into()),
        }
    }));
    let mut peers = Vec::new();
    for wish in ["fail", "panic", "return"] {
        for close_first in [false, true] {
            let mut peer = opened(address).await;
            peer.send(FIN | TEXT, wish).await;
            if close_first {
                peer.send(FIN | CLOSE, close_body(1000, "")).await;
            }
            peers.push(peer);
        }
    }
    // Without a message: the end alone, and the end within a frame.
    for start in [&[][..], &[FIN | TEXT]] {
        let mut peer = opened(address).await;
        peer.write(start).await;
        peers.push(peer);
    }
    for peer in &mut peers {
        peer.stream.shutdown().await.unwrap();
    }
    expect_nothing_left(address, &handle).await;
    drop(peers);
}

// Tomcat CVE-2022-25762: a send that raced a close used a buffer that was another's by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_while_another_task_closes_goes_out_whole_or_not_at_all() {
    const WRITERS: u8 = 3;
    for round in 0..30 {
        for role in ROLES {
            let (ws, mut peer) = tcp(role, Config::new()).await;
            let (mut reader, writer) = ws.split();
            let reading = tokio::spawn(async move { reader.next().await.is_none() });
            let (go, started) = watch::channel(false);
            let sending: Vec<_> = (0..WRITERS)
                .map(|name| {
                    let (mut writer, mut started) = (writer.clone(), started.clone());
                    tokio::spawn(async move {
                        started.wait_for(|it| *it).await.unwrap();
                        let mut sent = 0;
                        loop {
                            match writer.send(vec![name; 100 + 3000 * usize::from(name)]).await {
                                Ok(()) => sent += 1,
                                Err(Error::Closed) => return sent,
                                Err(error) => panic!("{error:?}"),
                            }
                        }
                    })
                })
                .collect();
            let mut closer = writer.clone();
            let mut started = started.clone();
            let closing = tokio::spawn(async move {
                started.wait_for(|it| *it).await.unwrap();
                for _ in 0..round {
                    tokio::task::yield_now().await;
                }
                closer.close().await
            });
            go.send_replace(true);
            let mut received = [0; WRITERS as usize];
            loop {
                let frame = peer.recv().await.expect("a Close comes before the end");
                if frame.first == FIN | CLOSE {
                    break;
                }
                let name = frame.payload[0];
                assert_eq!(frame.payload, vec![name; 100 + 3000 * usize::from(name)]);
                received[usize::from(name)] += 1;
            }
            peer.send(FIN | CLOSE, close_body(1000, "")).await;
            peer.stream.shutdown().await.unwrap();
            // No frame follows the Close.
            peer.expect_eof().await;
            closing.await.unwrap().unwrap();
            assert!(reading.await.unwrap());
            let sent = timeout(LONG, future::join_all(sending)).await.expect("all hear of the end");
            for (sent, received) in sent.into_iter().zip(received) {
                assert_eq!(sent.unwrap(), received, "sent in order, and received");
            }
        }
    }
}

// libwebsockets CVE-2025-11677: a second request that came while the first was being decided about
// used what was freed.
#[tokio::test]
async fn a_second_request_while_the_first_is_decided_about_is_no_request() {
    let (asked, mut asking) = mpsc::unbounded_channel();
    let (decide, decided) = watch::channel(false);
    let (server, address) = bind().await;
    let server = server.authorize(move |_| {
        asked.send(()).unwrap();
        let mut decided = decided.clone();
        async move {
            decided.wait_for(|it| *it).await.unwrap();
            Ok(Upgrade::new(()))
        }
    });
    tokio::spawn(server.serve(echo));
    let mut peer = Http::connect(address).await;
    peer.write(REQUEST).await;
    asking.recv().await.unwrap();
    peer.write(REQUEST).await;
    decide.send_replace(true);
    expect_only_a_close(&mut peer).await;
    assert!(asking.try_recv().is_err(), "the second was asked about");
}

// The same behind a service, where the first request of the connection was for a page.
#[tokio::test]
async fn a_second_request_behind_an_upgrade_of_a_service_is_no_request() {
    let page = axum::Router::new().route("/page", axum::routing::get(|| async { "a page" }));
    let (server, address) = bind().await;
    let server: Server = server.service(page);
    tokio::spawn(server.serve(echo));
    let mut peer = Http::connect(address).await;
    peer.write(["GET /page HTTP/1.1\r\nHost: example.com\r\n\r\n", REQUEST, REQUEST].concat())
        .await;
    let head = peer.head().await;
    assert_eq!((head.status(), head.get("content-length")), (200, Some("6")));
    while peer.read.len() < 6 {
        tokio::io::AsyncReadExt::read_buf(&mut peer.stream, &mut peer.read).await.unwrap();
    }
    assert_eq!(peer.read.split_to(6), "a page");
    expect_only_a_close(&mut peer).await;
}

/// A 101, and then a Close with 1002 and the end.
async fn expect_only_a_close(peer: &mut Http) {
    assert_eq!(peer.head().await.status(), 101);
    let close = timeout(LONG, peer.rest()).await.expect("what follows is no frame");
    assert_eq!(close[..4], [FIN | CLOSE, close[1], 0x03, 0xEA], "{close:?}");
    assert_eq!(close.len(), 2 + usize::from(close[1]), "one frame and the end");
}

/// What the stream of a hostile peer does when all of its bytes were read.
#[derive(Clone, Copy, Debug)]
enum Then {
    Silence,
    End,
    Reset,
}

/// What it does with what is written.
#[derive(Clone, Copy, Debug)]
enum Room {
    Plenty,
    Never,
    /// It takes nothing and does not say so, as a closed stream may.
    Zero,
    Broken,
}

/// A stream that gives these reads. Who calls it for ever fails the test.
struct Hostile {
    input: VecDeque<Vec<u8>>,
    then: Then,
    room: Room,
    calls: usize,
}

/// What a connection may do about a few bytes and a few deadlines: some ten times what is done.
const MOST_CALLS: usize = 200;

impl Hostile {
    fn new(bytes: &[u8], then: Then, room: Room) -> Self {
        Self { input: VecDeque::from([bytes.to_vec()]), then, room, calls: 0 }
    }

    fn called(&mut self) {
        self.calls += 1;
        let Self { input, then, room, .. } = self;
        assert!(self.calls < MOST_CALLS, "in circles: {then:?}, {room:?}, unread {input:?}");
    }

    fn accept(&mut self, len: usize) -> Poll<io::Result<usize>> {
        self.called();
        match self.room {
            Room::Plenty => Poll::Ready(Ok(len)),
            Room::Never => Poll::Pending,
            Room::Zero => Poll::Ready(Ok(0)),
            Room::Broken => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

impl AsyncRead for Hostile {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.called();
        if let Some(bytes) = self.input.pop_front() {
            let count = bytes.len().min(buf.remaining());
            buf.put_slice(&bytes[..count]);
            if count < bytes.len() {
                self.input.push_front(bytes[count..].to_vec());
            }
            return Poll::Ready(Ok(()));
        }
        match self.then {
            Then::Silence => Poll::Pending,
            Then::End => Poll::Ready(Ok(())),
            Then::Reset => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }
}

impl AsyncWrite for Hostile {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.accept(bytes.len())
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.accept(0).map_ok(drop)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.accept(0).map_ok(drop)
    }
}

/// Runs this to its end, which must come with few polls: a task that wakes itself for ever uses a
/// whole core for one peer.
async fn in_few_polls<F: Future>(what: &str, future: F) -> F::Output {
    let mut future = pin!(future);
    let mut polls = 0;
    let polling = poll_fn(|cx| {
        polls += 1;
        assert!(polls < MOST_CALLS, "{what} is polled again and again");
        future.as_mut().poll(cx)
    });
    timeout(Duration::from_secs(3600), polling)
        .await
        .unwrap_or_else(|_| panic!("{what} never ends"))
}

/// Every way in which a stream may treat these bytes.
fn treatments() -> impl Iterator<Item = (Then, Room)> {
    [Then::Silence, Then::End, Then::Reset].into_iter().flat_map(|then| {
        [Room::Plenty, Room::Never, Room::Zero, Room::Broken]
            .into_iter()
            .map(move |room| (then, room))
    })
}

async fn read_to_the_end(mut ws: WebSocket<Hostile>) {
    // As a handler that answers.
    while let Some(Ok(message)) = ws.next().await {
        if ws.send(message).await.is_err() {
            break;
        }
    }
}

// curl CVE-2025-5399: a crafted frame had the receiver run in circles. Each peer falls silent, ends
// or resets, and takes what is written or does not; the clock runs by itself.
#[tokio::test(start_paused = true)]
async fn no_frame_makes_a_connection_run_in_circles() {
    for role in ROLES {
        let masked = role == Role::Server;
        let heads = (0..=255).flat_map(|first| {
            [0u8, 1, 125, 126, 127].map(|length| with_head(masked, &[first, length], &[0xFF; 12]))
        });
        let broken = violations(role).into_iter().map(|(bytes, ..)| bytes);
        for bytes in heads.chain(broken) {
            for (then, room) in treatments() {
                let stream = Hostile::new(&bytes, then, room);
                let ws = WebSocket::builder(role).config(Config::new()).build(stream);
                let what = format!("{role:?} that reads {bytes:?}, {then:?}, {room:?}");
                in_few_polls(&what, read_to_the_end(ws)).await;
            }
        }
    }
}

// The same for what comes before the frames.
#[tokio::test(start_paused = true)]
async fn no_part_of_a_request_makes_a_handshake_run_in_circles() {
    let parts = (0..=REQUEST.len()).map(|count| REQUEST.as_bytes()[..count].to_vec());
    let other = [&b"\r\n\r\n"[..], b"\0\0\0", b"GET / HTTP/1.1\r\n\r\n", &[0x16, 3, 1, 2, 0]];
    for bytes in parts.chain(other.map(<[u8]>::to_vec)) {
        for (then, room) in treatments() {
            let stream = Hostile::new(&bytes, then, room);
            let what = format!("a handshake that reads {bytes:?}, {then:?}, {room:?}");
            let accepting = async {
                if let Ok(ws) = Acceptor::new().accept(stream).await {
                    read_to_the_end(ws).await;
                }
            };
            in_few_polls(&what, accepting).await;
        }
    }
}

/// What a login by message is given, as in the guide.
async fn logged_in<S>(ws: &mut WebSocket<S>, within: Duration) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let first = timeout(within, ws.next()).await;
    if let Ok(Some(Ok(message))) = first
        && message.as_text() == Some("password")
    {
        return Ok(());
    }
    ws.close_with(CloseCode::POLICY_VIOLATION).await?;
    Err(Error::Closed)
}

// SiYuan CVE-2026-33203: a socket that never logged in was kept by its pings. Neither pings nor
// pongs, nor a message that is never whole, are a login.
#[tokio::test]
async fn a_peer_that_never_logs_in_is_not_kept_by_its_pings() {
    let (server, address) = bind().await;
    tokio::spawn(server.serve(|mut ws| async move {
        logged_in(&mut ws, Duration::from_millis(100)).await?;
        echo(ws).await
    }));
    for unfinished in [false, true] {
        let mut http = Http::connect(address).await;
        http.upgrade().await;
        let mut peer = Peer::of(Role::Server, http.stream);
        if unfinished {
            peer.send(TEXT, "pass").await;
        }
        let pinging = async {
            loop {
                for kind in [PING, PONG] {
                    let frame = peer.encode(FIN | kind, b"alive");
                    peer.write(&frame).await;
                }
                let frame = peer.recv().await.expect("a Close comes before the end");
                if frame.first == FIN | CLOSE {
                    return frame;
                }
                // Below `control_rate`, which would end it too.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let close = timeout(LONG, pinging).await.expect("it is kept for ever");
        assert_eq!(close.payload[..2], 1008_u16.to_be_bytes());
        assert_eq!(close.payload.len(), 2, "by the handler, not by a limit");
    }
    // Whoever does is served.
    let mut ws = tautline::connect(format!("ws://{address}/")).await.unwrap();
    ws.send("password").await.unwrap();
    crate::support::handshake::expect_echo(&mut ws, "hello").await;
}
