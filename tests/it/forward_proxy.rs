//! A client behind a proxy: tunnels by CONNECT (RFC 9110 section 9.3.6) and SOCKS5 (RFC 1928).

use std::io;
use std::net::IpAddr;

use tautline::http::Version;
use tautline::{
    Client, ClientTls, ConnectError, Http2, Http2Config, Message, Proxies, Proxy, ProxyError,
    Resolve, SocksReply,
};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::support::forward::{refusing, socks, tunnelling, tunnelling_under_tls};
use crate::support::handshake::{Head, Http, Identity, echo_server, expect_echo, switching};
use crate::support::peer::{FIN, TEXT, encode};

fn proxy(uri: impl AsRef<str>) -> Proxy {
    Proxy::new(uri.as_ref()).unwrap()
}

/// How a proxy failed.
fn failure(error: ConnectError) -> ProxyError {
    match error {
        ConnectError::Proxy { error, .. } => error,
        other => panic!("{other:?}"),
    }
}

// The name is one that this machine cannot resolve: only the proxy needs to.
#[tokio::test]
async fn ws_and_wss_go_through_a_tunnel_by_name() {
    let identity = Identity::for_names(&["server.test"]);
    let plain = echo_server(|server| server).await;
    let secure = echo_server(|server| server.tls(identity.server())).await;
    let (address, mut asked) = tunnelling().await;
    let client = identity.client().proxy(proxy(format!("http://{address}")));
    for (scheme, port) in [("ws", plain.port()), ("wss", secure.port())] {
        let uri = format!("{scheme}://user:secret@server.test:{port}/?token=secret");
        let mut ws = client.connect(uri).await.unwrap();
        expect_echo(&mut ws, "hello").await;
        let transport = ws.get_ref().unwrap();
        assert_eq!(transport.is_tls(), scheme == "wss");
        assert_eq!(transport.tcp().unwrap().peer_addr().unwrap(), address);
        assert_eq!(ws.peer().addr(), Some(address));
        assert!(ws.peer().is_proxied());
        assert_eq!(ws.peer().is_secure(), scheme == "wss");
        let head: Head = asked.try_recv().unwrap();
        assert_eq!(head.first, format!("CONNECT server.test:{port} HTTP/1.1"));
        assert_eq!(head.get("host"), Some(&*format!("server.test:{port}")));
        // Credentials and tokens are the server's.
        assert!(!format!("{head:?}").contains("secret"), "{head:?}");
    }
}

#[tokio::test]
async fn a_proxy_is_reached_over_tls() {
    let [outer, inner] = ["localhost", "server.test"].map(|name| Identity::for_names(&[name]));
    let plain = echo_server(|server| server).await;
    let secure = echo_server(|server| server.tls(inner.server())).await;
    let (address, mut asked) = tunnelling_under_tls(&outer).await;
    let trusting = Client::new().tls(ClientTls::from_config(outer.client_config()));
    let uri = format!("https://localhost:{}", address.port());
    // TLS of the proxy by the client's own settings, and by the proxy's.
    let plain_client = trusting.clone().proxy(proxy(&uri));
    let own = ClientTls::from_config(outer.client_config());
    let secure_client = inner.client().proxy(proxy(&uri).tls(own));
    for (client, scheme, server) in [(&plain_client, "ws", plain), (&secure_client, "wss", secure)]
    {
        let uri = format!("{scheme}://server.test:{}/", server.port());
        let mut ws = client.connect(uri).await.unwrap();
        expect_echo(&mut ws, "hello").await;
        // TLS with the proxy does not make the connection to the server a secure one.
        let transport = ws.get_ref().unwrap();
        assert_eq!(
            (transport.is_tls(), transport.tls().is_some()),
            (scheme == "wss", scheme == "wss")
        );
        assert_eq!(ws.peer().is_secure(), scheme == "wss");
        assert!(transport.tcp().is_none());
        asked.try_recv().unwrap();
    }
    // Nothing is asked of a proxy that is not trusted.
    let error = inner.client().proxy(proxy(&uri)).connect("ws://server.test/").await.unwrap_err();
    assert!(matches!(failure(error), ProxyError::Tls(_)));
    assert!(asked.try_recv().is_err());
}

// hyper-util's tunnel, among others, told neither status nor body.
#[tokio::test]
async fn a_refusal_of_a_proxy_has_its_status_and_its_body() {
    for (answer, status, body, retryable) in [
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\
             Content-Length: 5\r\n\r\nlogin",
            407,
            "login",
            false,
        ),
        ("HTTP/1.0 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403, "no", false),
        (
            "HTTP/1.1 503 x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
            503,
            "no",
            true,
        ),
        // Only 2xx is a tunnel.
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", 101, "", false),
        ("HTTP/1.1 304 Not Modified\r\n\r\n", 304, "", false),
    ] {
        let address = refusing(answer).await;
        let client = Client::new().proxy(proxy(format!("http://{address}")));
        let error = client.connect("ws://server.test/").await.unwrap_err();
        assert_eq!(error.is_retryable(), retryable, "{answer:?}");
        // The status is not the server's.
        assert_eq!(error.status(), None);
        assert_eq!(error.to_string(), format!("no tunnel through http://{address}"));
        let error = failure(error);
        assert_eq!(error.status().unwrap(), status);
        let ProxyError::Refused(response) = error else { panic!("{error:?}") };
        assert_eq!(response.body(), body.as_bytes(), "{answer:?}");
    }
}

#[tokio::test]
async fn what_is_no_proxy_is_told() {
    let client = |address| Client::new().proxy(proxy(format!("http://{address}")));
    let address = refusing("SSH-2.0-x\r\n\r\n").await;
    let error = failure(client(address).connect("ws://server.test/").await.unwrap_err());
    assert!(matches!(error, ProxyError::Head { status: None, .. }), "{error:?}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let hanging_up = async {
        let mut stream = listener.accept().await.unwrap().0;
        stream.read_u8().await.unwrap();
    };
    let client = client(address);
    let (result, ()) = tokio::join!(client.connect("ws://server.test/"), hanging_up);
    assert!(matches!(failure(result.unwrap_err()), ProxyError::Io(_)));
    drop(listener);
    let error = failure(client.connect("ws://server.test/").await.unwrap_err());
    assert!(matches!(&error, ProxyError::Tcp(error) if error.attempts().len() == 1), "{error:?}");
    let client = Client::new().proxy(proxy(format!("http://{}.test", "a".repeat(64))));
    let error = failure(client.connect("ws://server.test/").await.unwrap_err());
    assert!(matches!(error, ProxyError::Resolve(_)), "{error:?}");
}

// The first read after CONNECT takes whatever the server has sent through the tunnel too.
#[tokio::test]
async fn what_comes_in_the_same_segment_as_the_answer_is_of_the_tunnel() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new().proxy(proxy(format!("http://{}", listener.local_addr().unwrap())));
    let serving = async {
        let mut peer = Http::over(listener.accept().await.unwrap().0);
        peer.head().await;
        // The start of an interim response of the server.
        peer.write("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 103 Early Hi").await;
        let request = peer.head().await;
        peer.write("nts\r\n\r\n").await;
        peer.write(switching(&request, "")).await;
        peer.write(encode(false, FIN | TEXT, b"early")).await;
        peer
    };
    let (ws, _peer) = tokio::join!(client.connect("ws://server.test/"), serving);
    assert_eq!(ws.unwrap().next().await.unwrap().unwrap(), Message::from("early"));
}

#[tokio::test]
async fn credentials_are_sent_to_the_proxy_and_shown_to_nobody() {
    let server = echo_server(|server| server).await;
    let (address, mut asked) = tunnelling().await;
    let proxy = proxy(format!("http://Aladdin:open%20sesame@{address}"));
    let client = Client::new().proxy(proxy);
    let uri = format!("ws://server.test:{}/", server.port());
    client.connect(uri).await.unwrap();
    let head = asked.try_recv().unwrap();
    assert_eq!(head.get("proxy-authorization"), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
    let shown = format!("{client:?}");
    assert!(!shown.contains("sesame") && !shown.contains("QWxh"), "{shown}");
}

#[tokio::test]
async fn the_environment_s_proxies_are_for_all_but_its_exceptions_and_this_machine() {
    let server = echo_server(|server| server).await;
    let (address, mut asked) = tunnelling().await;
    let variable = format!("http://{address}");
    let proxies = Proxies::from_variables(|name| match name {
        "all_proxy" => Some(variable.clone()),
        "NO_PROXY" => Some("intern.test".to_owned()),
        _ => None,
    });
    let client = Client::new().proxies(proxies);
    let port = server.port();
    client.connect(format!("ws://server.test:{port}/")).await.unwrap();
    asked.try_recv().unwrap();
    // A test of a user's runs against a server on its own machine, whatever the environment says.
    for host in ["localhost", "127.0.0.1"] {
        let mut ws = client.connect(format!("ws://{host}:{port}/")).await.unwrap();
        expect_echo(&mut ws, "hello").await;
    }
    let client = client.resolver(Nobody);
    for client in [client.clone(), client.no_proxy()] {
        let error = client.connect(format!("ws://intern.test:{port}/")).await.unwrap_err();
        assert!(matches!(error, ConnectError::Resolve { .. }), "{error:?}");
    }
    assert!(asked.try_recv().is_err());
}

struct Nobody;

impl Resolve for Nobody {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn a_socks5_proxy_resolves_the_name_and_checks_credentials() {
    let identity = Identity::for_names(&["server.test"]);
    let plain = echo_server(|server| server).await;
    let secure = echo_server(|server| server.tls(identity.server())).await;
    for (credentials, userinfo) in [(None, ""), (None, "u:p@"), (Some(("u", "p:@")), "u:p:%40@")] {
        let (address, mut asked) = socks(credentials, 0).await;
        let proxy = proxy(format!("socks5://{userinfo}{address}"));
        let client = identity.client().proxy(proxy);
        for (scheme, port) in [("ws", plain.port()), ("wss", secure.port())] {
            let uri = format!("{scheme}://server.test:{port}/");
            let mut ws = client.connect(uri).await.unwrap();
            expect_echo(&mut ws, "hello").await;
            assert_eq!(asked.try_recv().unwrap(), ("server.test".to_owned(), port));
        }
    }
}

#[tokio::test]
async fn a_socks5_proxy_that_refuses_says_why() {
    let open = |uri: String| async move {
        let client = Client::new().proxy(proxy(uri));
        failure(client.connect("ws://server.test/").await.unwrap_err())
    };
    for (code, expected, retryable) in [
        (1, SocksReply::GeneralFailure, true),
        (2, SocksReply::NotAllowed, false),
        (3, SocksReply::NetworkUnreachable, true),
        (4, SocksReply::HostUnreachable, true),
        (5, SocksReply::ConnectionRefused, true),
        (6, SocksReply::TtlExpired, true),
        (7, SocksReply::CommandNotSupported, false),
        (8, SocksReply::AddressTypeNotSupported, false),
        (77, SocksReply::Unassigned, false),
    ] {
        let (address, _asked) = socks(None, code).await;
        let error = open(format!("socks5h://{address}")).await;
        assert!(matches!(error, ProxyError::Socks(reply) if reply == expected), "{error:?}");
        assert_eq!(error.is_retryable(), retryable, "{error:?}");
    }
    let (address, _asked) = socks(Some(("u", "p")), 0).await;
    for userinfo in ["", "u:wrong@"] {
        let error = open(format!("socks5://{userinfo}{address}")).await;
        assert!(matches!(error, ProxyError::Authentication), "{error:?}");
    }
    // An HTTP proxy is none of SOCKS.
    let (address, _asked) = tunnelling_under_tls(&Identity::for_names(&["localhost"])).await;
    let error = open(format!("socks5://{address}")).await;
    assert!(matches!(error, ProxyError::NotSocks5 | ProxyError::Io(_)), "{error:?}");
}

#[tokio::test]
async fn http2_goes_through_a_tunnel_and_is_not_shared_with_those_that_go_elsewhere() {
    let server = echo_server(|server| server.http2(Http2Config::new())).await;
    let [(first, mut asked), (second, mut asked_too)] = [tunnelling().await, tunnelling().await];
    let client = Client::new().http2(Http2::Prior).proxy(proxy(format!("http://{first}")));
    let uri = format!("ws://server.test:{}/", server.port());
    let mut sockets = Vec::new();
    for client in [&client, &client, &client.clone()] {
        let ws = client.connect(&uri).await.unwrap();
        assert_eq!(ws.http_version(), Version::HTTP_2);
        sockets.push(ws);
    }
    asked.try_recv().unwrap();
    assert!(asked.try_recv().is_err(), "one tunnel for all");
    let elsewhere = client.clone().proxy(proxy(format!("http://{second}")));
    sockets.push(elsewhere.connect(&uri).await.unwrap());
    asked_too.try_recv().unwrap();
    for ws in &mut sockets {
        expect_echo(ws, "hello").await;
    }
}
