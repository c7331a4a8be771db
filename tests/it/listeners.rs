//! A server that listens on several sockets of several kinds.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tautline::{Client, CloseCode, Limits, ListenOptions, Server, Upgrade, WebSocket, connect};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::support::handshake::{Http, bind, echo, expect_echo, request_but, uri};

const DEADLINE: Duration = Duration::from_secs(20);

async fn listen(options: ListenOptions, address: impl Into<SocketAddr>) -> tokio::net::TcpListener {
    options.listen(address.into()).await.unwrap()
}

// One port, one socket for each version of IP: the second one fails unless it is for IPv6 alone.
#[tokio::test]
async fn one_server_has_both_versions_of_ip_and_ends_both() {
    let (server, v4) = bind().await;
    let only_v6 = ListenOptions::new().only_v6(true);
    let server = server.and_listener(listen(only_v6, (Ipv6Addr::LOCALHOST, v4.port())).await);
    let v6 = server.local_addrs().unwrap()[1];
    assert_eq!(server.local_addrs().unwrap(), [v4, (Ipv6Addr::LOCALHOST, v4.port()).into()]);
    assert_eq!(server.local_addr().unwrap(), v4);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = server.with_graceful_shutdown(async { drop(stopped.await) });
    let serving = tokio::spawn(server.serve(echo));
    let mut held = Vec::new();
    for address in [v4, v6] {
        let mut ws = connect(uri(address)).await.unwrap();
        expect_echo(&mut ws, "hello").await;
        held.push(ws);
    }
    stop.send(()).unwrap();
    for mut ws in held {
        assert!(ws.next().await.is_none());
        assert_eq!(ws.close_frame().unwrap().code(), CloseCode::GOING_AWAY);
    }
    serving.await.unwrap().unwrap();
    for address in [v4, v6] {
        TcpStream::connect(address).await.unwrap_err();
    }
}

#[tokio::test]
async fn a_socket_for_both_versions_knows_ipv4_clients_as_such() {
    let both = ListenOptions::new().only_v6(false);
    let listener = listen(both, (Ipv6Addr::UNSPECIFIED, 0)).await;
    let port = listener.local_addr().unwrap().port();
    // Loopback is exempt, also in the form that such a socket has it in.
    let limits = Limits::new().connections_per_address(1);
    let server = Server::from_listener(listener).limits(limits);
    tokio::spawn(server.serve(echo));
    let mut one = connect(uri((Ipv4Addr::LOCALHOST, port).into())).await.unwrap();
    let mut other = connect(uri((Ipv6Addr::LOCALHOST, port).into())).await.unwrap();
    let mut third = connect(uri((Ipv4Addr::LOCALHOST, port).into())).await.unwrap();
    for ws in [&mut one, &mut other, &mut third] {
        expect_echo(ws, "hello").await;
    }
}

#[tokio::test]
async fn limits_are_for_all_listeners_together() {
    let (server, first) = bind().await;
    let server = server.and_listener(listen(ListenOptions::new(), ([127, 0, 0, 1], 0)).await);
    let second = server.local_addrs().unwrap()[1];
    let server = server.limits(Limits::none().connections_per_address(1).exempt([]));
    let handle = server.handle();
    tokio::spawn(server.serve(echo));
    let mut ws = connect(uri(first)).await.unwrap();
    expect_echo(&mut ws, "hello").await;
    connect(uri(second)).await.unwrap_err();
    assert_eq!(handle.counts().connections_per_address, 1);
}

// Accepting from the first that has a connection would starve the others.
#[tokio::test]
async fn a_listener_that_always_has_connections_does_not_starve_another() {
    let (server, busy) = bind().await;
    let server = server.and_listener(listen(ListenOptions::new(), ([127, 0, 0, 1], 0)).await);
    let quiet = server.local_addrs().unwrap()[1];
    let mut clients = Vec::new();
    for address in [[busy; 30].as_slice(), &[quiet]].concat() {
        let mut http = Http::connect(address).await;
        let path = if address == busy { "/busy" } else { "/quiet" };
        http.write(request_but("/chat", path)).await;
        clients.push(http);
    }
    let (seen, mut seeing) = mpsc::unbounded_channel();
    let server = server.authorize(move |request| {
        seen.send(request.uri().path().to_owned()).unwrap();
        async { Ok(Upgrade::default()) }
    });
    tokio::spawn(server.serve(echo));
    let mut order = Vec::new();
    while order.len() < 31 {
        order.push(timeout(DEADLINE, seeing.recv()).await.expect("a request").unwrap());
    }
    let at = order.iter().position(|path| path == "/quiet").unwrap();
    assert!(at < 10, "the other listener's connection was number {at}");
}

/// Two servers on one port: the system spreads connections over them, and one may go.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn two_servers_share_a_port() {
    let options = ListenOptions::new().reuse_port(true);
    let first = listen(options, ([127, 0, 0, 1], 0)).await;
    let address = first.local_addr().unwrap();
    ListenOptions::new().listen(address).await.unwrap_err();
    let second = listen(options, address).await;
    let (stop, stopped) = oneshot::channel::<()>();
    let server = |listener, name: &'static str| {
        let greet = move |mut ws: WebSocket| async move {
            ws.send(name).await?;
            Ok(ws.close().await?)
        };
        (Server::from_listener(listener), greet)
    };
    let (one, greet) = server(first, "first");
    let one = one.with_graceful_shutdown(async { drop(stopped.await) });
    let serving = tokio::spawn(one.serve(greet));
    let (other, greet) = server(second, "second");
    tokio::spawn(other.serve(greet));
    let greeted = async || {
        let mut ws = connect(uri(address)).await.unwrap();
        ws.next().await.unwrap().unwrap().into_text().unwrap().to_string()
    };
    let both = async {
        let mut seen = [false; 2];
        while seen != [true; 2] {
            seen[usize::from(greeted().await == "second")] = true;
        }
    };
    timeout(DEADLINE, both).await.expect("connections reach both");
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
    for _ in 0..10 {
        assert_eq!(greeted().await, "second");
    }
}

#[tokio::test]
async fn options_reach_the_socket() {
    let options = ListenOptions::new().keepalive(Duration::from_secs(77)).backlog(5);
    assert_eq!((options.get_backlog(), options.get_reuse_port()), (5, false));
    let listener = listen(options, ([127, 0, 0, 1], 0)).await;
    let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let accepted = socket2::SockRef::from(&accepted);
    assert!(accepted.keepalive().unwrap());
    #[cfg(target_os = "linux")]
    assert_eq!(accepted.tcp_keepalive_time().unwrap(), Duration::from_secs(77));
}

#[cfg(unix)]
mod unix {
    use tautline::Peer;
    use tokio::net::{UnixListener, UnixStream};

    use super::*;
    use crate::support::handshake::Identity;

    /// Where a socket is, which goes when this does.
    struct Path(std::path::PathBuf);

    impl Path {
        fn new(name: &str) -> Self {
            let name = format!("tautline-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let _ = std::fs::remove_file(&path);
            Self(path)
        }
    }

    impl Drop for Path {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    async fn client(path: &Path) -> WebSocket<tautline::Transport<UnixStream>> {
        let stream = UnixStream::connect(&path.0).await.unwrap();
        Client::new().connect_over("ws://localhost/", stream).await.unwrap()
    }

    // Nobody else can be reached by it, so TLS is for the other listeners.
    #[tokio::test]
    async fn a_unix_socket_serves_beside_tls() {
        let path = Path::new("beside");
        let identity = Identity::for_names(&["localhost"]);
        let (server, address) = bind().await;
        let server = server.and_unix_listener(UnixListener::bind(&path.0).unwrap());
        // No limit by address applies to them.
        let limits = Limits::new().connections_per_address(1).handshakes_per_address(1);
        let server = server.limits(limits.exempt([])).tls(identity.server());
        let serving = server.serve(|mut ws: WebSocket| async move {
            let said = format!("{} {}", ws.peer(), ws.peer().is_secure());
            ws.send(said).await?;
            echo(ws).await
        });
        tokio::spawn(serving);
        let mut held = Vec::new();
        for _ in 0..3 {
            let mut ws = client(&path).await;
            assert_eq!(*ws.peer(), Peer::unknown());
            assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("unknown false"));
            expect_echo(&mut ws, "hello").await;
            held.push(ws);
        }
        let uri = format!("wss://localhost:{}/", address.port());
        let mut ws = identity.client().connect(uri).await.unwrap();
        assert!(ws.next().await.unwrap().unwrap().as_text().unwrap().ends_with(" true"));
    }

    #[tokio::test]
    async fn a_server_may_have_a_unix_socket_alone() {
        let path = Path::new("alone");
        let server = Server::from_unix_listener(UnixListener::bind(&path.0).unwrap());
        assert!(server.local_addrs().unwrap().is_empty());
        let error = server.local_addr().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AddrNotAvailable);
        tokio::spawn(server.serve(echo));
        let mut ws = client(&path).await;
        expect_echo(&mut ws, "hello").await;
        ws.close().await.unwrap();
        assert_eq!(ws.close_frame().unwrap().code(), CloseCode::NORMAL);
    }
}
