//! How a client reaches its server: resolvers, addresses, interfaces, Unix sockets, connectors.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tautline::http::Version;
use tautline::{Acceptor, Client, ConnectError, Http2, Http2Config, Resolve};
use tokio::io::duplex;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::support::handshake::{Identity, bind, echo, echo_server, expect_echo};

/// Knows these addresses, for every name.
pub(crate) struct Known(pub(crate) Vec<IpAddr>);

impl Resolve for Known {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        assert_eq!(host, "server.test");
        Ok(self.0.clone())
    }
}

/// Listens on this address at this port without accepting, and has no room for more: connecting to
/// it is not answered. Linux drops what asks for a connection then.
#[cfg(target_os = "linux")]
pub(crate) fn full(address: SocketAddr) -> (socket2::Socket, Vec<std::net::TcpStream>) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(0).unwrap();
    let soon = Duration::from_millis(100);
    let waiting = std::iter::from_fn(|| std::net::TcpStream::connect_timeout(&address, soon).ok());
    let waiting = waiting.collect();
    (socket, waiting)
}

// RFC 8305 section 5: the first address drops packets; its successor is tried after 250 ms and not
// after the system's minutes.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_address_that_drops_packets_delays_the_next_one_a_little() {
    let (server, address) = bind().await;
    tokio::spawn(server.serve(echo));
    let first = Ipv4Addr::new(127, 0, 0, 77);
    let dropping = SocketAddr::from((first, address.port()));
    let _full = tokio::task::spawn_blocking(move || full(dropping)).await.unwrap();
    let known = Known(vec![first.into(), address.ip()]);
    let client = Client::new().no_proxy().resolver(known);
    let start = Instant::now();
    let mut ws = client.connect(format!("ws://server.test:{}/", address.port())).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(250), "{:?}", start.elapsed());
    assert_eq!(ws.peer().addr(), Some(address));
    expect_echo(&mut ws, "hello").await;
}

#[tokio::test]
async fn a_resolver_of_one_s_own_is_asked_for_names() {
    let identity = Identity::for_names(&["server.test"]);
    let plain = echo_server(|server| server.http2(Http2Config::new())).await;
    let secure = echo_server(|server| server.tls(identity.server())).await;
    let known = || Known(vec![Ipv4Addr::LOCALHOST.into()]);
    let client = identity.client().no_proxy().resolver(known());
    for (scheme, port) in [("ws", plain.port()), ("wss", secure.port())] {
        let mut ws = client.connect(format!("{scheme}://server.test:{port}/")).await.unwrap();
        expect_echo(&mut ws, "hello").await;
    }
    // An address is not resolved: `Known` would not take it for its name.
    let mut ws = client.connect(format!("ws://127.0.0.1:{}/", plain.port())).await.unwrap();
    expect_echo(&mut ws, "hello").await;
    // With another resolver, a name may be another server: no connection is shared.
    let client = Client::new().no_proxy().http2(Http2::Prior).resolver(known());
    let uri = format!("ws://server.test:{}/", plain.port());
    let ws = client.connect(&uri).await.unwrap();
    assert_eq!(ws.http_version(), Version::HTTP_2);
    let error = client.resolver(Known(Vec::new())).connect(&uri).await.unwrap_err();
    assert!(matches!(error, ConnectError::Resolve { .. }), "{error:?}");
}

/// The peer that a server sees.
async fn seen_from(client: Client) -> Result<IpAddr, ConnectError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("ws://{}/", listener.local_addr().unwrap());
    let accepting = async {
        let (stream, peer) = listener.accept().await.unwrap();
        let ws = Acceptor::new().accept(stream).await.unwrap();
        (peer.ip(), ws)
    };
    tokio::select! {
        (ip, _ws) = accepting => Ok(ip),
        Err(error) = client.connect(uri) => Err(error),
    }
}

// On Linux all of 127.0.0.0/8 is this machine.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn connections_come_from_the_local_address_and_through_the_interface() {
    let local = IpAddr::from([127, 0, 0, 42]);
    assert_eq!(seen_from(Client::new().local_address(local)).await.unwrap(), local);
    assert_eq!(seen_from(Client::new()).await.unwrap(), Ipv4Addr::LOCALHOST);
    // Emulations of Linux may not be able to.
    let can_bind = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
        .unwrap()
        .bind_device(Some(b"lo"));
    if can_bind.is_ok() {
        assert_eq!(seen_from(Client::new().interface("lo")).await.unwrap(), Ipv4Addr::LOCALHOST);
    }
    let nowhere = [
        (Client::new().interface("nowhere"), "the interface nowhere cannot be used"),
        (
            Client::new().local_address([192, 0, 2, 1].into()),
            "the local address 192.0.2.1 cannot be used",
        ),
        (
            Client::new().local_address("::1".parse().unwrap()),
            "the local address ::1 cannot be used",
        ),
    ];
    for (client, expected) in nowhere {
        match seen_from(client).await {
            Err(ConnectError::Tcp { error, .. }) => {
                assert!(error.to_string().contains(expected), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
}

// RFC 6874 section 4: nobody else understands a zone.
#[tokio::test]
async fn the_zone_of_an_address_is_for_this_machine_alone() {
    let Ok(listener) = TcpListener::bind("[::1]:0").await else { return };
    let port = listener.local_addr().unwrap().port();
    let accepting = async {
        let incoming = Acceptor::new().read(listener.accept().await.unwrap().0).await.unwrap();
        incoming.request().headers()["host"].clone()
    };
    let uri = format!("ws://[::1%251]:{port}/");
    let client = Client::new();
    let (host, _) = tokio::join!(accepting, client.connect(uri));
    assert_eq!(host, format!("[::1]:{port}").as_str());
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_is_reached_by_its_path() {
    let directory = std::env::temp_dir().join(format!("tautline-reach-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("a:b.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let uri = |resource: &str| {
        let path = path.to_str().unwrap().replace(':', "%3A");
        format!("ws+unix:{path}{resource}")
    };
    for (resource, expected) in [("", "/"), (":/chat?room=1", "/chat?room=1")] {
        let serving = async {
            let incoming = Acceptor::new().read(listener.accept().await.unwrap().0).await.unwrap();
            let request = incoming.request();
            assert_eq!(request.uri(), expected);
            assert_eq!(request.headers()["host"], "localhost");
            let ws = incoming.accept(tautline::Upgrade::default()).await.unwrap();
            tokio::spawn(echo(ws));
        };
        let client = Client::new();
        let (ws, ()) = tokio::join!(client.connect(uri(resource)), serving);
        let mut ws = ws.unwrap();
        expect_echo(&mut ws, "hello").await;
        assert_eq!(ws.peer().addr(), None);
    }
    drop(listener);
    std::fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn a_connector_of_one_s_own_makes_the_stream() {
    let identity = Identity::for_names(&["server.test"]);
    for scheme in ["ws", "wss"] {
        let tls = identity.server();
        let connect = move |uri: tautline::WsUri| {
            let acceptor = Acceptor::new();
            let tls = tls.clone();
            async move {
                assert_eq!((uri.host(), uri.path_and_query()), ("server.test", "/chat"));
                let (near, far) = duplex(4096);
                tokio::spawn(async move {
                    match uri.is_secure() {
                        true => echo(acceptor.accept_tls(far, &tls).await.unwrap()).await,
                        false => echo(acceptor.accept(far).await.unwrap()).await,
                    }
                });
                Ok(near)
            }
        };
        let client = identity.client().connector(connect);
        let mut ws = client.connect(format!("{scheme}://server.test/chat")).await.unwrap();
        expect_echo(&mut ws, "hello").await;
        let transport = ws.get_ref().unwrap();
        assert_eq!(transport.is_tls(), scheme == "wss");
        assert_eq!(transport.tls().is_some(), scheme == "wss");
        assert!(transport.tcp().is_none());
    }
}

// A stream of HTTP/2 needs no TCP beneath.
#[tokio::test]
async fn http2_runs_over_a_connector_too() {
    let server = echo_server(|server| server.http2(Http2Config::new())).await;
    let client = Client::new().http2(Http2::Prior).connector(move |_| TcpStream::connect(server));
    let mut one = client.connect("ws://server.test/").await.unwrap();
    let mut other = client.connect("ws://server.test/").await.unwrap();
    assert_eq!(one.http_version(), Version::HTTP_2);
    expect_echo(&mut one, "hello").await;
    expect_echo(&mut other, "hello").await;
}
