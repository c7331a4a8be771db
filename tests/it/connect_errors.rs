//! Each way in which no connection is opened has its own error, which says all that is to be known:
//! variant and text, with those of its causes.

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tautline::{Client, ClientTls, ConnectError, ConnectStage, Http2, Proxies, Proxy};
use tokio::io::duplex;
use tokio::net::{TcpListener, TcpStream};

use crate::reach::Known;
#[cfg(target_os = "linux")]
use crate::reach::full;
use crate::support::authority::Authority;
use crate::support::forward::{refusing, socks, tunnelling, tunnelling_under_tls};
use crate::support::handshake::{Identity, answering, echo_server};

/// The error with its causes: `no tunnel: the proxy refused with 403 Forbidden`.
fn text(error: &ConnectError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

/// Expects this variant, and this text.
async fn expect(client: &Client, uri: impl AsRef<str>, variant: &str, expected: &str) {
    let uri = uri.as_ref();
    let error = client.connect(uri).await.map(drop).unwrap_err();
    let debug = format!("{error:?}");
    let name = debug.split([' ', '(', '{']).next().unwrap();
    assert_eq!((name, &*text(&error)), (variant, expected), "{uri}");
}

/// An address where nobody listens, and what the system says of it.
async fn dead() -> (SocketAddr, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    (address, TcpStream::connect(address).await.unwrap_err().to_string())
}

fn client() -> Client {
    Client::new().no_proxy()
}

fn through(uri: impl AsRef<str>) -> Client {
    Client::new().proxy(Proxy::new(uri.as_ref()).unwrap())
}

#[tokio::test]
async fn before_anything_is_connected() {
    let client = client();
    expect(
        &client,
        "https://a.test/",
        "Uri",
        "the URI is not one of a WebSocket: the URI does not start with ws:// or wss://",
    )
    .await;
    expect(
        &client,
        "ws+unix:app.sock",
        "Uri",
        "the URI is not one of a WebSocket: the URI has no absolute path of a Unix socket",
    )
    .await;
    let unsendable = client.clone().header("upgrade", "x");
    let error = unsendable.connect("ws://a.test/").await.unwrap_err();
    assert!(matches!(error, ConnectError::Request(_)), "{error:?}");
    let proxies = Proxies::from_variables(|name| {
        (name == "ALL_PROXY").then(|| "socks4://user:secret@a.test".to_owned())
    });
    expect(
        &client.proxies(proxies),
        "ws://b.test/",
        "ProxySettings",
        "the environment's proxy cannot be used: the proxy in the variable ALL_PROXY has a scheme \
         other than http, https, socks5 and socks5h",
    )
    .await;
}

#[tokio::test]
async fn resolving_and_connecting() {
    let (dead, refused) = dead().await;
    let (ip, port) = (dead.ip(), dead.port());
    let uri = format!("ws://server.test:{port}/");
    expect(
        &client().resolver(Known(Vec::new())),
        &uri,
        "Resolve",
        "the name server.test was not resolved: the name has no address",
    )
    .await;
    // Each address is listed.
    expect(
        &client().resolver(Known(vec![ip, Ipv4Addr::new(127, 0, 0, 9).into()])),
        &uri,
        "Tcp",
        &format!(
            "the TCP connection to server.test:{port} failed: 127.0.0.1:{port}: {refused}; \
             127.0.0.9:{port}: {refused}"
        ),
    )
    .await;
    #[cfg(unix)]
    {
        let missing = std::fs::File::open("/nowhere/app.sock").unwrap_err();
        expect(
            &client(),
            "ws+unix:/nowhere/app.sock:/",
            "UnixSocket",
            &format!("the Unix socket /nowhere/app.sock cannot be connected to: {missing}"),
        )
        .await;
    }
    let failing = |_| async { Err::<TcpStream, _>(io::Error::other("the tunnel is closed")) };
    expect(
        &client().connector(failing),
        &uri,
        "Connector",
        "the connector failed: the tunnel is closed",
    )
    .await;
}

#[tokio::test]
async fn proxies_that_refuse() {
    let (dead, refused) = dead().await;
    let uri = "wss://server.test/";
    let no_tunnel = |proxy: &str| format!("no tunnel through {proxy}: ");
    let proxy = format!("http://{dead}");
    let expected =
        no_tunnel(&proxy) + &format!("the TCP connection to the proxy failed: {dead}: {refused}");
    expect(&through(&proxy), uri, "Proxy", &expected).await;
    let proxy = "http://server.test:1";
    let expected =
        no_tunnel(proxy) + "the name of the proxy was not resolved: the name has no address";
    expect(&through(proxy).resolver(Known(Vec::new())), uri, "Proxy", &expected).await;
    for (answer, status) in [
        ("HTTP/1.1 407 x\r\nContent-Length: 0\r\n\r\n", "407 Proxy Authentication Required"),
        ("HTTP/1.1 403 x\r\nContent-Length: 0\r\n\r\n", "403 Forbidden"),
        ("HTTP/1.1 502 x\r\nContent-Length: 0\r\n\r\n", "502 Bad Gateway"),
    ] {
        let proxy = format!("http://user:secret@{}", refusing(answer).await);
        let expected = no_tunnel(&proxy.replace("user:secret@", ""))
            + &format!("the proxy refused with {status}");
        expect(&through(&proxy), uri, "Proxy", &expected).await;
    }
    for (credentials, code, expected) in [
        (Some(("user", "other")), 0, "the proxy wants credentials, or others"),
        (None, 2, "the proxy refused: its rules do not allow the connection"),
        (None, 4, "the proxy refused: the host is unreachable"),
    ] {
        let (address, _asked) = socks(credentials, code).await;
        let expected = no_tunnel(&format!("socks5://{address}")) + expected;
        let proxy = format!("socks5://user:secret@{address}");
        expect(&through(&proxy), uri, "Proxy", &expected).await;
    }
}

/// Each certificate that is refused, by what a client trusts, and by which words.
fn bad_certificates() -> [(&'static str, Identity, ClientTls, &'static str); 4] {
    let trusting = |identity: &Identity| ClientTls::from_config(identity.client_config());
    let good = || Identity::for_names(&["server.test"]);
    let other = Identity::for_names(&["other.test"]);
    let expired = Identity::expired(&["server.test"]);
    let unknown = Authority::new().identity(&["server.test"]);
    let (tls, trusting_expired) = (trusting(&other), trusting(&expired));
    [
        ("wrong host", other, tls, "certificate not valid for name \"server.test\""),
        ("expired", expired, trusting_expired, "certificate expired"),
        ("self-signed", good(), Authority::new().client_tls(), "UnknownIssuer"),
        ("unknown root", unknown, trusting(&good()), "UnknownIssuer"),
    ]
}

#[tokio::test]
async fn certificates_that_are_not_trusted() {
    let outer = Identity::for_names(&["localhost"]);
    for (what, identity, tls, expected) in bad_certificates() {
        let client = Client::new().tls(tls.clone());
        let server = echo_server(|server| server.tls(identity.server())).await;
        let uri = format!("wss://server.test:{}/", server.port());
        let (plain, mut asked) = tunnelling().await;
        let (secure, mut asked_too) = tunnelling_under_tls(&outer).await;
        let (socks, mut asked_last) = socks(None, 0).await;
        let own = ClientTls::from_config(outer.client_config());
        let over_tls =
            Proxy::new(&format!("https://localhost:{}", secure.port())).unwrap().tls(own);
        for (way, client) in [
            ("directly", client.clone().no_proxy().resolver(Known(vec![server.ip()]))),
            ("CONNECT", client.clone().proxy(Proxy::new(&plain.to_string()).unwrap())),
            ("CONNECT over TLS", client.clone().proxy(over_tls)),
            ("SOCKS", client.proxy(Proxy::new(&format!("socks5://{socks}")).unwrap())),
        ] {
            let error = client.connect(&uri).await.map(drop).unwrap_err();
            assert!(matches!(error, ConnectError::Tls(_)), "{what}, {way}: {error:?}");
            let text = text(&error);
            let start =
                "TLS could not be set up: the TLS handshake failed: invalid peer certificate: ";
            assert!(text.starts_with(start) && text.contains(expected), "{what}, {way}: {text}");
            assert!(!error.is_retryable());
        }
        // The proxies had opened their tunnels.
        asked.try_recv().unwrap();
        asked_too.try_recv().unwrap();
        asked_last.try_recv().unwrap();
        // The certificate of a proxy is checked in the same way.
        let (address, _asked) = tunnelling_under_tls(&identity).await;
        let known = Known(vec![address.ip()]);
        let proxy = Proxy::new(&format!("https://server.test:{}", address.port())).unwrap();
        let client = Client::new().tls(tls).proxy(proxy).resolver(known);
        let error = client.connect("ws://any.test/").await.map(drop).unwrap_err();
        assert!(matches!(error, ConnectError::Proxy { .. }), "{what}: {error:?}");
        let text = text(&error);
        assert!(text.contains("TLS with the proxy could not be set up"), "{what}: {text}");
        assert!(text.contains(expected), "{what}: {text}");
    }
}

/// Takes TCP connections, and says nothing.
async fn silent() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A name server that does not answer.
struct Silent;

impl tautline::Resolve for Silent {
    async fn resolve(&self, _: &str) -> io::Result<Vec<std::net::IpAddr>> {
        std::future::pending().await
    }
}

// The deadline is the stage's own, or that of the whole: the stage is told in both cases.
#[tokio::test]
async fn deadlines_by_their_stage() {
    let (_silent, address) = silent().await;
    let never = |_| std::future::pending::<io::Result<TcpStream>>();
    let uris = [("ws", address), ("wss", address)].map(|(scheme, to)| format!("{scheme}://{to}/"));
    let tls = Identity::for_names(&["localhost"]).client();
    let slow_proxy = format!("http://{address}");
    let socks_proxy = format!("socks5://{address}");
    for (client, uri, stage, expected) in [
        (
            client().resolver(Silent),
            "ws://server.test/",
            ConnectStage::Resolve,
            "resolving the name of the host took too long",
        ),
        (
            client().connector(never),
            "ws://server.test/",
            ConnectStage::Connect,
            "connecting to the host took too long",
        ),
        (
            through(&slow_proxy),
            "ws://server.test/",
            ConnectStage::Proxy,
            "opening a tunnel through the proxy took too long",
        ),
        (
            through(&socks_proxy),
            "ws://server.test/",
            ConnectStage::Proxy,
            "opening a tunnel through the proxy took too long",
        ),
        (
            through("http://proxy.test").resolver(Silent),
            "ws://server.test/",
            ConnectStage::Proxy,
            "opening a tunnel through the proxy took too long",
        ),
        (tls, &*uris[1], ConnectStage::Tls, "setting up TLS took too long"),
        (client(), &*uris[0], ConnectStage::Handshake, "the opening handshake took too long"),
        (
            client().http2(Http2::Prior),
            &*uris[0],
            ConnectStage::Handshake,
            "the opening handshake took too long",
        ),
    ] {
        let short = Duration::from_millis(30);
        for client in
            [client.clone().stage_timeout(stage, short), client.clone().connect_timeout(short)]
        {
            let error = client.connect(uri).await.map(drop).unwrap_err();
            assert!(
                matches!(error, ConnectError::Timeout { stage: late, .. } if late == stage),
                "{uri}: {error:?}"
            );
            assert_eq!(text(&error), expected);
            assert!(error.is_retryable());
        }
    }
}

// Those that had failed before are told as well.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_deadline_while_connecting_lists_the_addresses() {
    let (dead, refused) = dead().await;
    let dropping = SocketAddr::from(([127, 0, 0, 78], dead.port()));
    let _full = tokio::task::spawn_blocking(move || full(dropping)).await.unwrap();
    let addresses = || Known(vec![dead.ip(), dropping.ip()]);
    let short = Duration::from_millis(30);
    let listed = format!("{dead}: {refused}; {dropping}: no answer before the deadline");
    expect(
        &client().resolver(addresses()).stage_timeout(ConnectStage::Connect, short),
        format!("ws://server.test:{}/", dead.port()),
        "Timeout",
        &format!("connecting to the host took too long: {listed}"),
    )
    .await;
    let proxy = format!("http://server.test:{}", dead.port());
    expect(
        &through(proxy).resolver(addresses()).stage_timeout(ConnectStage::Proxy, short),
        "ws://any.test/",
        "Timeout",
        &format!("opening a tunnel through the proxy took too long: {listed}"),
    )
    .await;
}

#[tokio::test]
async fn answers_of_a_server() {
    for (answer, variant, expected) in [
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "Refused",
            "the server refused with 404 Not Found",
        ),
        (
            "SSH-2.0-x\r\n\r\n",
            "Head",
            "what the server sent is not an HTTP response: this is not HTTP/1.1",
        ),
        (
            "HTTP/1.1 101 x\r\nUpgrade: h2c\r\n\r\n",
            "Response",
            "the server's response does not open a WebSocket: ",
        ),
        ("", "Io", "the stream failed during the handshake: "),
    ] {
        let (address, serving) = answering(move |_| answer.into()).await;
        let hanging_up = async { drop(serving.await.unwrap()) };
        let client = client();
        let (result, ()) = tokio::join!(client.connect(format!("ws://{address}/")), hanging_up);
        let error = result.map(drop).unwrap_err();
        assert!(format!("{error:?}").starts_with(variant), "{error:?}");
        let text = text(&error);
        assert!(text.starts_with(expected) && text.len() >= expected.len(), "{text}");
    }
    let address = echo_server(|server| server).await;
    expect(
        &client().http2(Http2::Prior),
        format!("ws://{address}/"),
        "NoHttp2",
        "the server has no WebSocket over HTTP/2",
    )
    .await;
}

// Without a runtime there is no clock for the deadlines, and no socket.
#[test]
fn no_runtime() {
    let (near, _far) = duplex(100);
    let client = client();
    let connecting = client.connect_over("ws://a.test/", near);
    let error = futures_util::FutureExt::now_or_never(connecting).unwrap().map(drop).unwrap_err();
    assert!(matches!(error, ConnectError::Runtime(_)), "{error:?}");
    assert!(text(&error).starts_with("the runtime cannot be used: "), "{error}");
}
