//! The end of a server in stages: it is not ready any more, it stops accepting, its connections are
//! closed one after the other, and what is left is cut off.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use tautline::{
    Client, CloseCode, Config, ConnectError, Drain, Http2, Http2Config, Server, ServerHandle,
    ServerStage, WebSocket, connect,
};
use tokio::task::JoinHandle;

use crate::support::handshake::{bind, echo, expect_echo, uri};

const HOUR: Duration = Duration::from_secs(3600);

/// Without deadlines that pass when an hour does.
fn timeless() -> Config {
    Config::new().ping_interval(None).close_timeout(2 * HOUR)
}

/// A server that echoes and can be told to shut down.
struct Running {
    address: SocketAddr,
    handle: ServerHandle,
    serving: JoinHandle<io::Result<()>>,
}

impl Running {
    async fn start(set_up: impl FnOnce(Server) -> Server) -> Self {
        let (server, address) = bind().await;
        let server = set_up(server.config(timeless()));
        let handle = server.handle();
        assert_eq!((handle.stage(), handle.is_ready()), (ServerStage::Starting, false));
        Self { address, handle, serving: tokio::spawn(server.serve(echo)) }
    }

    async fn connect(&self) -> WebSocket {
        Client::new().config(timeless()).connect(uri(self.address)).await.unwrap()
    }

    async fn end(self) {
        self.serving.await.unwrap().unwrap();
        self.handle.ended().await;
        assert_eq!((self.handle.stage(), self.handle.is_ready()), (ServerStage::Ended, false));
    }
}

async fn expect_end(ws: &mut WebSocket, code: CloseCode) {
    let end = ws.next().await;
    assert!(end.is_none(), "{end:?}");
    assert_eq!(ws.close_frame().unwrap().code(), code);
}

async fn expect_refused(address: SocketAddr) {
    match connect(uri(address)).await {
        Err(ConnectError::Tcp { error, .. }) => {
            // Reset, where it came in the moment in which the listener was closed.
            use io::ErrorKind::{ConnectionRefused, ConnectionReset};
            assert!(matches!(error.kind(), ConnectionRefused | ConnectionReset), "{error:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_is_not_ready_any_more_accepts_until_the_notice_is_over() {
    let drain = Drain::new().notice(HOUR).timeout(2 * HOUR).code(CloseCode::SERVICE_RESTART);
    let running = Running::start(|server| server.drain(drain)).await;
    let mut before = running.connect().await;
    assert!(running.handle.is_ready());
    running.handle.shutdown();
    assert!(!running.handle.is_ready());
    let mut late = running.connect().await;
    expect_echo(&mut before, "still here").await;
    expect_echo(&mut late, "and here").await;
    assert_eq!(running.handle.stage(), ServerStage::Leaving);
    assert_eq!(running.handle.connection_count(), 2);
    // The hour passes.
    tokio::time::pause();
    expect_end(&mut before, CloseCode::SERVICE_RESTART).await;
    expect_end(&mut late, CloseCode::SERVICE_RESTART).await;
    expect_refused(running.address).await;
    running.end().await;
}

#[tokio::test]
async fn connections_are_told_one_after_the_other_and_the_others_go_on() {
    for http2 in [false, true] {
        let drain = Drain::new().spread(HOUR).timeout(2 * HOUR);
        let set_up = |server: Server| server.drain(drain).http2(Http2Config::new());
        let running = Running::start(set_up).await;
        let prior = if http2 { Http2::Prior } else { Http2::Never };
        let client = Client::new().config(timeless()).http2(prior);
        let mut clients = Vec::new();
        for _ in 0..4 {
            let mut ws = client.connect(uri(running.address)).await.unwrap();
            expect_echo(&mut ws, "here").await;
            clients.push(ws);
        }
        running.handle.shutdown();
        // Who watches longest is told first; over HTTP/2 that is the connection itself, which takes
        // no new streams then.
        if !http2 {
            expect_end(&mut clients.remove(0), CloseCode::GOING_AWAY).await;
        }
        expect_refused(running.address).await;
        for ws in &mut clients {
            expect_echo(ws, "still here").await;
        }
        assert_eq!(running.handle.stage(), ServerStage::Closing);
        tokio::time::pause();
        for ws in &mut clients {
            expect_end(ws, CloseCode::GOING_AWAY).await;
        }
        drop(clients);
        running.end().await;
        tokio::time::resume();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_connections_all_hear_1001_within_the_window() {
    let drain = Drain::new().spread(Duration::from_millis(500)).timeout(HOUR);
    let running = Running::start(|server| server.drain(drain)).await;
    let mut clients = Vec::new();
    for _ in 0..500 {
        clients.push(running.connect().await);
    }
    for ws in &mut clients[..50] {
        expect_echo(ws, "busy").await;
    }
    running.handle.shutdown();
    // Their own deadlines are shorter than the hour: each is closed in order, or this fails.
    let ends = clients.into_iter().map(|mut ws| async move {
        expect_end(&mut ws, CloseCode::GOING_AWAY).await;
    });
    join_all(ends).await;
    running.end().await;
}

#[tokio::test]
async fn a_second_shutdown_and_one_before_serving_are_one() {
    let (server, address) = bind().await;
    let handle = server.handle();
    handle.shutdown();
    handle.clone().shutdown();
    server.serve(echo).await.unwrap();
    handle.ended().await;
    expect_refused(address).await;
}

#[tokio::test]
async fn a_server_whose_future_is_dropped_has_ended() {
    let running = Running::start(|server| server).await;
    let mut ws = running.connect().await;
    running.serving.abort();
    running.handle.ended().await;
    assert!(!running.handle.is_ready());
    // Its handlers go on, as `serve` says.
    expect_echo(&mut ws, "still here").await;
}

#[cfg(unix)]
mod restart {
    use std::os::fd::OwnedFd;
    use std::process::Stdio;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncBufReadExt, BufReader};
    use tokio::process::{Child, Command};

    use super::*;
    use crate::process::built;
    use crate::support::handshake::{Http, REQUEST};

    /// The example, which is passed this socket as systemd does it: as file 3, with the number of
    /// files and the id of the process. Returns once it serves.
    async fn serve(socket: &std::net::TcpListener) -> Child {
        let passed = OwnedFd::from(socket.try_clone().unwrap());
        let script = "exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" 127.0.0.1:0";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .arg(built("socket_activation"))
            .stdin(Stdio::from(passed))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let line = first_line(&mut child).await;
        assert_eq!(line, format!("listening on ws://{}\n", socket.local_addr().unwrap()));
        child
    }

    async fn first_line(child: &mut Child) -> String {
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
        line
    }

    /// Ends a process in order.
    async fn stop(mut process: Child) {
        terminate(&process).await;
        assert_eq!(process.wait().await.unwrap().code(), Some(0));
    }

    async fn terminate(process: &Child) {
        let kill = format!("kill -s TERM {}", process.id().unwrap());
        assert!(Command::new("sh").args(["-c", &kill]).status().await.unwrap().success());
    }

    // A restart under load: the new process serves before the old one leaves. No client is refused
    // or reset, and those of the old process are told that it restarts.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_rolling_restart_refuses_nobody() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let mut old = serve(&socket).await;
        let mut held = Vec::new();
        for _ in 0..20 {
            held.push(connect(uri(address)).await.unwrap());
        }
        let over = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let over = over.clone();
                tokio::spawn(async move {
                    let mut count = 0;
                    while !over.load(Ordering::SeqCst) {
                        let mut ws = connect(uri(address)).await.unwrap();
                        ws.close().await.unwrap();
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        let _new = serve(&socket).await;
        terminate(&old).await;
        for ws in &mut held {
            expect_end(ws, CloseCode::SERVICE_RESTART).await;
        }
        assert_eq!(old.wait().await.unwrap().code(), Some(0));
        expect_echo(&mut connect(uri(address)).await.unwrap(), "from the new one").await;
        over.store(true, Ordering::SeqCst);
        for client in clients {
            assert!(client.await.unwrap() > 0);
        }
    }

    // As `systemctl restart` does it: the old process has ended before the new one starts. Who comes
    // in between waits in the queue of the socket.
    #[tokio::test]
    async fn between_two_processes_clients_wait_for_the_second() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let old = serve(&socket).await;
        expect_echo(&mut connect(uri(address)).await.unwrap(), "to the old one").await;
        stop(old).await;
        let mut waiting = Vec::new();
        for _ in 0..20 {
            // The system lets them in: refused, this would fail at once.
            let mut peer = Http::connect(address).await;
            peer.write(REQUEST).await;
            waiting.push(peer);
        }
        let new = serve(&socket).await;
        for peer in &mut waiting {
            assert_eq!(peer.head().await.status(), 101);
        }
        drop(waiting);
        stop(new).await;
    }

    // The variables of a parent are not for us: `LISTEN_PID` is another's.
    #[tokio::test]
    async fn without_sockets_of_its_own_it_listens_on_its_address() {
        for variables in ["", "LISTEN_FDS=1 LISTEN_PID=1 "] {
            let mut child = Command::new("sh")
                .args(["-c", &format!("{variables}exec \"$0\" 127.0.0.1:0")])
                .arg(built("socket_activation"))
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            let line = first_line(&mut child).await;
            let address = line.trim_end().split_once("://").unwrap().1.parse().unwrap();
            expect_echo(&mut connect(uri(address)).await.unwrap(), "hello").await;
            stop(child).await;
        }
    }
}
