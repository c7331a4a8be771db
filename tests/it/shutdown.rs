//! A server that shuts down: every connection is closed with 1001 (RFC 6455 section 7.4.1), every
//! handler learns of it, and the wait is bounded.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tautline::{
    Acceptor, CloseCode, ConnectError, Error, Message, Server, Upgrade, WebSocket, connect,
};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::handshake::{
    HandlerResult, Http, REQUEST, bind, echo, expect_echo, not_to_be_handled, uri,
};
use crate::support::peer::{CLOSE, FIN, Peer, close_body};

const HOUR: Duration = Duration::from_secs(3600);

/// A running server that can be told to shut down.
struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<io::Result<()>>,
}

impl Running {
    async fn start<F, Fut>(set_up: impl FnOnce(Server) -> Server, handler: F) -> Self
    where
        F: Fn(WebSocket) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = HandlerResult> + Send + 'static,
    {
        let (server, address) = bind().await;
        let (stop, stopped) = oneshot::channel();
        let server = set_up(server.drain_timeout(HOUR))
            .with_graceful_shutdown(async { drop(stopped.await) });
        Self { address, stop, serving: tokio::spawn(server.serve(handler)) }
    }

    async fn connect(&self) -> WebSocket {
        connect(uri(self.address)).await.unwrap()
    }
}

async fn expect_going_away(ws: &mut WebSocket) {
    let end = ws.next().await;
    assert!(end.is_none(), "{end:?}");
    assert_eq!(ws.close_frame().unwrap().code(), CloseCode::GOING_AWAY);
}

#[tokio::test]
async fn idle_connections_hear_1001_and_their_handlers_the_end() {
    let (ends, mut ended) = mpsc::unbounded_channel();
    let running = Running::start(
        |server| server,
        move |mut ws| {
            let ends = ends.clone();
            async move {
                while let Some(message) = ws.next().await {
                    ws.send(message?).await?;
                }
                // The peer's answer: the code of ours.
                ends.send(ws.close_frame().unwrap().code())?;
                Ok(())
            }
        },
    )
    .await;
    let mut idle = running.connect().await;
    let mut busy = running.connect().await;
    expect_echo(&mut busy, "hello").await;
    running.stop.send(()).unwrap();
    expect_going_away(&mut idle).await;
    expect_going_away(&mut busy).await;
    running.serving.await.unwrap().unwrap();
    for _ in 0..2 {
        assert_eq!(ended.try_recv().unwrap(), CloseCode::GOING_AWAY);
    }
    match connect(uri(running.address)).await {
        Err(ConnectError::Tcp { error, .. }) => {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_without_connections_ends_at_once() {
    let running = Running::start(|server| server, echo).await;
    running.stop.send(()).unwrap();
    running.serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_handler_may_finish_its_work_behind_the_end_of_its_connection() {
    let gate = Arc::new(Notify::new());
    let opened = gate.clone();
    let saved = Arc::new(AtomicBool::new(false));
    let is_saved = saved.clone();
    let running = Running::start(
        |server| server,
        move |mut ws| {
            let (gate, saved) = (gate.clone(), saved.clone());
            async move {
                while let Some(Ok(_)) = ws.next().await {}
                gate.notified().await;
                saved.store(true, Ordering::SeqCst);
                Ok(())
            }
        },
    )
    .await;
    let mut ws = running.connect().await;
    running.stop.send(()).unwrap();
    expect_going_away(&mut ws).await;
    assert!(!running.serving.is_finished());
    opened.notify_one();
    running.serving.await.unwrap().unwrap();
    assert!(is_saved.load(Ordering::SeqCst));
}

/// Signals when it is dropped.
struct Guard(Arc<AtomicBool>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_handler_that_never_ends_is_ended_at_the_drain_deadline() {
    let dropped = Arc::new(AtomicBool::new(false));
    let is_dropped = dropped.clone();
    let running = Running::start(
        |server| server.drain_timeout(Duration::from_millis(20)),
        move |mut ws| {
            let guard = Guard(dropped.clone());
            async move {
                ws.send("here").await?;
                std::future::pending::<()>().await;
                drop(guard);
                Ok(())
            }
        },
    )
    .await;
    let mut ws = running.connect().await;
    assert_eq!(ws.next().await.unwrap().unwrap(), Message::from("here"));
    running.stop.send(()).unwrap();
    running.serving.await.unwrap().unwrap();
    assert!(is_dropped.load(Ordering::SeqCst));
    expect_going_away(&mut ws).await;
}

#[tokio::test]
async fn a_split_connection_hears_it_in_its_reader_and_its_writer_is_closed() {
    let (results, mut result) = mpsc::unbounded_channel();
    let running = Running::start(
        |server| server,
        move |ws| {
            let results = results.clone();
            async move {
                let (mut reader, mut writer) = ws.split();
                writer.send("split").await?;
                let reading = tokio::spawn(async move { reader.next().await.is_none() });
                let clean = reading.await?;
                results.send((clean, writer.send("late").await))?;
                Ok(())
            }
        },
    )
    .await;
    let mut ws = running.connect().await;
    assert_eq!(ws.next().await.unwrap().unwrap(), Message::from("split"));
    running.stop.send(()).unwrap();
    expect_going_away(&mut ws).await;
    running.serving.await.unwrap().unwrap();
    assert!(matches!(result.try_recv(), Ok((true, Err(Error::Closed)))));
}

#[tokio::test]
async fn a_connection_whose_request_is_being_decided_is_opened_and_hears_1001() {
    let (entered, mut entries) = mpsc::unbounded_channel();
    let gate = Arc::new(Notify::new());
    let opened = gate.clone();
    let running = Running::start(
        |server| {
            server.authorize(move |_| {
                entered.send(()).unwrap();
                let gate = gate.clone();
                async move {
                    gate.notified().await;
                    Ok(Upgrade::new(()))
                }
            })
        },
        echo,
    )
    .await;
    let connecting = tokio::spawn(connect(uri(running.address)));
    entries.recv().await.unwrap();
    running.stop.send(()).unwrap();
    tokio::task::yield_now().await;
    assert!(!running.serving.is_finished());
    opened.notify_one();
    expect_going_away(&mut connecting.await.unwrap().unwrap()).await;
    running.serving.await.unwrap().unwrap();
}

/// Handshakes may take as long as they like.
fn patient(server: Server) -> Server {
    server.acceptor(Acceptor::new().handshake_timeout(HOUR))
}

// A connection that a browser had opened in advance, without sending anything, held up the end of
// the server for the whole handshake deadline.
#[tokio::test]
async fn connections_that_say_nothing_are_not_waited_for() {
    let running = Running::start(patient, echo).await;
    let mut silent = Http::connect(running.address).await;
    let mut half = Http::connect(running.address).await;
    half.write("GET / HTTP/1.1\r\nHos").await;
    // Connections are accepted in their order: with this one open, the others are being handled.
    let mut ws = running.connect().await;
    running.stop.send(()).unwrap();
    expect_going_away(&mut ws).await;
    drop(ws);
    tokio::time::pause();
    let start = Instant::now();
    running.serving.await.unwrap().unwrap();
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!(silent.rest().await, b"");
    assert_eq!(half.rest().await, b"");
}

#[tokio::test]
async fn a_request_that_is_on_its_way_is_answered_and_hears_1001() {
    let running = Running::start(patient, echo).await;
    let mut half = Http::connect(running.address).await;
    let (first, rest) = REQUEST.split_at(30);
    half.write(first).await;
    let mut ws = running.connect().await;
    running.stop.send(()).unwrap();
    expect_going_away(&mut ws).await;
    half.write(rest).await;
    assert_eq!(half.head().await.status(), 101);
    let frames = half.read.split();
    let mut peer = Peer::of(tautline::Role::Server, half.stream);
    if frames.is_empty() {
        peer.expect(FIN | CLOSE, close_body(1001, "")).await;
    } else {
        assert_eq!(frames[..], [FIN | CLOSE, 2, 0x03, 0xE9]);
    }
    peer.send(FIN | CLOSE, close_body(1001, "")).await;
    peer.expect_eof().await;
    running.serving.await.unwrap().unwrap();
}

// A strict peer that continued sending got no 1001 from a server that shut down: the handler
// learned of the end from `feed` or `send`, dropped the connection before the Close was written,
// and what was unread turned into a reset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_goes_on_sending_hears_1001_and_no_reset() {
    for flush in [false, true] {
        let running = Running::start(
            |server| server,
            move |mut ws| async move {
                while let Some(message) = ws.next().await {
                    ws.feed(message?).await?;
                    if flush {
                        ws.flush().await?;
                    }
                }
                Ok(())
            },
        )
        .await;
        let (mut reader, mut writer) = running.connect().await.split();
        let sending =
            tokio::spawn(async move { while writer.send(vec![7; 1000]).await.is_ok() {} });
        for _ in 0..100 {
            reader.next().await.unwrap().unwrap();
        }
        running.stop.send(()).unwrap();
        while let Some(message) = reader.next().await {
            message.unwrap();
        }
        assert_eq!(reader.close_frame().unwrap().code(), CloseCode::GOING_AWAY);
        sending.await.unwrap();
        running.serving.await.unwrap().unwrap();
    }
}

// A handler that only sends never reached the place where the shutdown was checked: it was ended at
// the drain deadline, and its peer got no Close.
#[tokio::test]
async fn a_handler_that_only_sends_is_told_too() {
    let running = Running::start(
        |server| server,
        |mut ws| async move {
            loop {
                ws.send("tick").await?;
                tokio::task::yield_now().await;
            }
        },
    )
    .await;
    let mut ws = running.connect().await;
    assert_eq!(ws.next().await.unwrap().unwrap(), Message::from("tick"));
    running.stop.send(()).unwrap();
    while let Some(message) = ws.next().await {
        assert_eq!(message.unwrap(), Message::from("tick"));
    }
    assert_eq!(ws.close_frame().unwrap().code(), CloseCode::GOING_AWAY);
    running.serving.await.unwrap().unwrap();
}

// `drain_timeout` of 1 s took 8 s beside a handler that blocked its thread: nothing can end such a
// handler, and the wait for it was not bounded. The handler here is released only when `serve` has
// returned.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_drain_deadline_holds_beside_a_handler_that_blocks_its_thread() {
    let (blocking, mut blocked) = mpsc::unbounded_channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Arc::new(std::sync::Mutex::new(released));
    let running = Running::start(
        |server| server.drain_timeout(Duration::from_millis(20)),
        move |_ws| {
            let (blocking, released) = (blocking.clone(), released.clone());
            async move {
                blocking.send(())?;
                let _ = released.lock().unwrap().recv();
                Ok(())
            }
        },
    )
    .await;
    // With a separate runtime: the blocked thread may be the one that polls the sockets of all
    // tasks.
    let address = running.address;
    let client = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let mut ws = connect(uri(address)).await.unwrap();
            while let Some(Ok(_)) = ws.next().await {}
        });
    });
    blocked.recv().await.unwrap();
    running.stop.send(()).unwrap();
    running.serving.await.unwrap().unwrap();
    drop(release);
    client.join().unwrap();
}

// A stop with an upgrade hook pending waited for the whole deadline of the handshake: the client is
// told soon, and the drain's deadline holds for the hook as well.
#[tokio::test]
async fn a_hook_that_is_undecided_when_the_server_goes_down_is_not_waited_for() {
    for (drain, answered) in [(HOUR, true), (Duration::from_millis(20), false)] {
        let (server, address) = bind().await;
        let (asking, mut asked) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = patient(server)
            .drain_timeout(drain)
            .with_graceful_shutdown(async { drop(stopped.await) })
            .authorize(move |_| {
                asking.send(()).unwrap();
                std::future::pending::<Result<Upgrade, _>>()
            })
            .serve(not_to_be_handled);
        let serving = tokio::spawn(serving);
        let mut peer = Http::connect(address).await;
        peer.write(REQUEST).await;
        asked.recv().await.unwrap();
        stop.send(()).unwrap();
        if answered {
            let (head, body) = peer.last_response().await;
            let said = (head.status(), body.as_str());
            assert_eq!(said, (503, "the server is shutting down\n"));
            // It drains what the client may still send.
            drop(peer);
        }
        serving.await.unwrap().unwrap();
    }
}

// `max_connections` and the drain counted handlers: one that passed its halves to another task and
// returned was no longer counted, and `serve` returned while the connection was open.
#[tokio::test]
async fn a_connection_that_its_handler_gave_away_is_waited_for() {
    let (give, mut given) = mpsc::unbounded_channel();
    let running = Running::start(
        |server| server,
        move |ws| {
            let give = give.clone();
            async move { Ok(give.send(ws)?) }
        },
    )
    .await;
    let mut client = running.connect().await;
    let mut ws = given.recv().await.unwrap();
    running.stop.send(()).unwrap();
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert!(!running.serving.is_finished());
    let (end, ()) = futures_util::future::join(ws.next(), expect_going_away(&mut client)).await;
    assert!(end.is_none());
    // Finished, but still held: it no longer counts.
    running.serving.await.unwrap().unwrap();
    drop(ws);
}
