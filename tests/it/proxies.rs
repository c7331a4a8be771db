//! Servers behind proxies: who the client is, by headers (RFC 7239) and by the PROXY protocol.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use tautline::{
    Acceptor, Http2Config, Networks, Peer, RequestBody, Server, TrustedProxies, Upgrade,
};
use tautline_http::UpgradeLayer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_layer::Layer;

use crate::support::handshake::{
    Head, Http, Identity, REQUEST, answer_to, bind, echo, request_with,
};
use crate::support::http2::{RawClient, connect_to, connect_with};
use crate::support::log::Log;

const PATIENCE: Duration = Duration::from_secs(10);

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 50000 443\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\xc3\x50\x01\xbb";
const CLIENT: &str = "192.0.2.7:50000 false";

fn loopback() -> Networks {
    Networks::parse(["127.0.0.0/8"]).unwrap()
}

fn elsewhere() -> Networks {
    Networks::parse(["10.0.0.0/8", "fd00::/8"]).unwrap()
}

fn shown(peer: &Peer) -> String {
    format!("{peer} {}", peer.is_secure())
}

/// A server for both versions of HTTP that tells its clients, in `x-peer`, whom it takes them for.
async fn serve(set_up: impl FnOnce(Server) -> Server) -> SocketAddr {
    let (server, address) = bind().await;
    let server = set_up(server.http2(Http2Config::new()));
    let serving = server
        .fallback(|_, peer| async move { Response::new(shown(&peer).into()) })
        .authorize(
            |request| async move { Ok(Upgrade::new(()).header("x-peer", shown(request.peer()))) },
        )
        .serve_with(|ws, ()| echo(ws));
    tokio::spawn(serving);
    address
}

async fn behind(proxies: TrustedProxies) -> SocketAddr {
    serve(|server| server.trusted_proxies(proxies)).await
}

/// The answer to an upgrade over this stream, after these bytes and with these lines.
async fn upgrade<S>(stream: S, first: &[u8], lines: &str) -> Head
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut http = Http::over(stream);
    http.write([first, &request_with(lines)].concat()).await;
    timeout(PATIENCE, http.head()).await.expect("an answer")
}

async fn upgrade_to(address: SocketAddr, first: &[u8], lines: &str) -> Head {
    upgrade(TcpStream::connect(address).await.unwrap(), first, lines).await
}

#[tokio::test]
async fn a_trusted_proxy_names_the_client_to_the_hook_the_fallback_and_the_events() {
    let log = Log::default();
    let _guard = log.start();
    let address = behind(TrustedProxies::forwarded(loopback())).await;
    let line = "Forwarded: for=6.6.6.6;proto=http, for=\"192.0.2.7:50000\";proto=https\r\n";
    let head = upgrade_to(address, b"", line).await;
    assert_eq!(head.get("x-peer"), Some("192.0.2.7:50000 true"));
    assert!(log.text().contains("client=192.0.2.7:50000"), "{}", log.text());

    let get = format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n");
    assert_eq!(answer_to(address, get).await.1, "192.0.2.7:50000 true");

    let address = behind(TrustedProxies::x_forwarded(loopback())).await;
    let lines = "X-Forwarded-For: 6.6.6.6, 2001:db8::7\r\nX-Forwarded-For: 127.0.0.2\r\n\
         X-Forwarded-Proto: https\r\n";
    assert_eq!(upgrade_to(address, b"", lines).await.get("x-peer"), Some("[2001:db8::7]:0 true"));
}

// What a client says of itself counts for nothing, whichever way it says it.
#[tokio::test]
async fn headers_from_elsewhere_and_of_the_other_kind_are_not_believed() {
    let lines = "Forwarded: for=6.6.6.6;proto=https;host=evil\r\nX-Forwarded-For: 6.6.6.6\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n";
    let none = serve(|server| server).await;
    let other = behind(TrustedProxies::forwarded(elsewhere())).await;
    let other_x = behind(TrustedProxies::x_forwarded(elsewhere())).await;
    for address in [none, other, other_x] {
        let stream = TcpStream::connect(address).await.unwrap();
        let own = format!("{} false", stream.local_addr().unwrap());
        assert_eq!(upgrade(stream, b"", lines).await.get("x-peer"), Some(own.as_str()));
        let page = format!("{lines}Origin: http://evil\r\n");
        assert_eq!(upgrade_to(address, b"", &page).await.status(), 403);
    }
    let address = behind(TrustedProxies::forwarded(loopback())).await;
    let stream = TcpStream::connect(address).await.unwrap();
    let own = format!("{} false", stream.local_addr().unwrap());
    let head = upgrade(stream, b"", "X-Forwarded-For: 6.6.6.6\r\n").await;
    assert_eq!(head.get("x-peer"), Some(own.as_str()));
}

// The proxy's `Host` is its name for this server; the page's origin is the name in the browser.
#[tokio::test]
async fn the_origin_is_compared_with_the_forwarded_host() {
    let address = behind(TrustedProxies::forwarded(loopback())).await;
    let forwarded = "Forwarded: for=192.0.2.7;host=\"app.test:8443\"\r\n";
    for (origin, status) in [
        ("https://app.test:8443", 101),
        ("https://app.test", 403),
        ("https://evil-app.test:8443", 403),
        ("http://example.com", 403), // the Host of the request
    ] {
        let lines = format!("{forwarded}Origin: {origin}\r\n");
        assert_eq!(upgrade_to(address, b"", &lines).await.status(), status, "{origin}");
    }
    let lines = format!("{forwarded}Origin: http://example.com\r\n");
    let (_, body) = answer_to(address, request_with(&lines)).await;
    assert_eq!(body, "the Origin http://example.com is not that of the Host app.test:8443\n");
    // Without a host, or with one that cannot be read, it is the request's.
    for forwarded in ["for=192.0.2.7", "for=192.0.2.7;host=\"a/b\"", "for=\""] {
        let lines = format!("Forwarded: {forwarded}\r\nOrigin: http://example.com\r\n");
        assert_eq!(upgrade_to(address, b"", &lines).await.status(), 101, "{forwarded}");
    }
}

// A proxy carries many clients on one connection.
#[tokio::test]
async fn each_stream_of_http_2_has_a_client_and_a_host_of_its_own() {
    let log = Log::default();
    let _guard = log.start();
    let address = behind(TrustedProxies::forwarded(loopback())).await;
    let mut client = RawClient::connect(address).await;
    for (ip, host) in [("192.0.2.7", "one.test"), ("192.0.2.8", "two.test")] {
        let forwarded = format!("for={ip};proto=https;host={host}");
        let origin = format!("https://{host}");
        let headers = [("forwarded", forwarded.as_str()), ("origin", &origin)];
        let (response, mut stream) = client.ask(connect_with(&headers)).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["x-peer"], format!("{ip}:0 true"));
        stream.expect_echo("hello").await;
        assert!(log.text().contains(&format!("client={ip}:0")), "{}", log.text());
        let headers = [("forwarded", forwarded.as_str()), ("origin", "http://example.com")];
        assert_eq!(client.ask(connect_with(&headers)).await.unwrap().0.status(), 403);
    }
    let own = client.ask(connect_with(&[])).await.unwrap().0;
    assert!(own.headers()["x-peer"].to_str().unwrap().starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn a_proxy_over_tls_names_its_client_too() {
    let identity = Identity::for_names(&["localhost"]);
    let tls = identity.server();
    let proxies = TrustedProxies::forwarded(loopback());
    let address = serve(|server| server.tls(tls).trusted_proxies(proxies)).await;
    for (line, peer) in [
        ("Forwarded: for=192.0.2.7\r\n", "192.0.2.7:0 true"),
        ("Forwarded: for=192.0.2.7;proto=http\r\n", "192.0.2.7:0 false"),
    ] {
        let stream = identity.connect(TcpStream::connect(address).await.unwrap()).await;
        assert_eq!(upgrade(stream, b"", line).await.get("x-peer"), Some(peer));
    }
}

/// Tells whom it takes its client for.
#[derive(Clone)]
struct Application;

impl tower_service::Service<Request<RequestBody>> for Application {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let peer = shown(request.extensions().get::<Peer>().unwrap());
        std::future::ready(Ok(Response::new(Full::new(peer.into()))))
    }
}

/// Reads a response whose length is known.
async fn body_of(http: &mut Http) -> String {
    let head = http.head().await;
    let length: usize = head.get("content-length").unwrap().parse().unwrap();
    while http.read.len() < length {
        assert!(http.stream.read_buf(&mut http.read).await.unwrap() > 0);
    }
    String::from_utf8(http.read.split_to(length).to_vec()).unwrap()
}

// A proxy sends the requests of several clients over one connection of HTTP/1.1, one after another.
#[tokio::test]
async fn each_request_to_a_service_has_a_client_of_its_own() {
    let (server, address) = bind().await;
    let server = server
        .service(Application)
        .trusted_proxies(TrustedProxies::forwarded(loopback()))
        .authorize(|request| async move {
            Ok(Upgrade::new(()).header("x-peer", shown(request.peer())))
        });
    tokio::spawn(server.serve_with(|ws, ()| echo(ws)));
    let mut http = Http::connect(address).await;
    for ip in ["192.0.2.7", "192.0.2.8"] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nForwarded: for={ip}\r\n\r\n");
        http.write(request).await;
        assert_eq!(body_of(&mut http).await, format!("{ip}:0 false"));
    }
    let lines = "Forwarded: for=192.0.2.9;host=app.test\r\nOrigin: https://app.test\r\n";
    http.write(request_with(lines)).await;
    let head = http.head().await;
    assert_eq!((head.status(), head.get("x-peer")), (101, Some("192.0.2.9:0 false")));

    let mut client = RawClient::connect(address).await;
    for ip in ["192.0.2.7", "192.0.2.8"] {
        let get = Request::get("http://a/").header("forwarded", format!("for={ip}"));
        let (_, body) = client.answer_to(get.body(()).unwrap()).await;
        assert_eq!(body, format!("{ip}:0 false"));
    }
}

// WebSockets that the application opens itself compare with the same host.
#[tokio::test]
async fn the_forwarded_host_reaches_a_layer_of_the_application() {
    let (server, address) = bind().await;
    let layered = UpgradeLayer::new(|ws, _| echo::<tautline::Transport>(ws)).layer(Application);
    let server = server.trusted_proxies(TrustedProxies::forwarded(loopback()));
    tokio::spawn(server.serve_service(layered));
    for (origin, status) in [("https://app.test", 101), ("http://example.com", 403)] {
        let lines = format!("Forwarded: for=192.0.2.7;host=app.test\r\nOrigin: {origin}\r\n");
        assert_eq!(upgrade_to(address, b"", &lines).await.status(), status, "{origin}");
        let mut client = RawClient::connect(address).await;
        let headers = [("forwarded", "for=192.0.2.7;host=app.test"), ("origin", origin)];
        let (response, _stream) = client.ask(connect_with(&headers)).await.unwrap();
        assert_eq!(response.status(), if status == 101 { 200 } else { 403 }, "{origin}");
    }
}

#[tokio::test]
async fn the_proxy_protocol_names_the_client_ahead_of_http() {
    let log = Log::default();
    let _guard = log.start();
    let address = serve(|server| server.proxy_protocol(loopback())).await;
    for header in [V1, V2] {
        // Header and request in one segment.
        assert_eq!(upgrade_to(address, header, "").await.get("x-peer"), Some(CLIENT));
        // The header byte by byte, and the request with its last one.
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (last, first) = header.split_last().unwrap();
        for byte in first {
            stream.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(upgrade(stream, &[*last], "").await.get("x-peer"), Some(CLIENT));
    }
    assert!(log.text().contains("client=192.0.2.7:50000"), "{}", log.text());
}

// A proxy that does not end TLS: its header and the ClientHello come in one segment.
#[tokio::test]
async fn the_proxy_protocol_comes_before_tls() {
    let identity = Identity::for_names(&["localhost"]);
    let tls = identity.server();
    let address = serve(|server| server.tls(tls).proxy_protocol(loopback())).await;
    for header in [V1, V2] {
        let stream = Led::by(header, TcpStream::connect(address).await.unwrap());
        let stream = timeout(PATIENCE, identity.connect(stream)).await.expect("TLS");
        let head = upgrade(stream, b"", "").await;
        assert_eq!(head.get("x-peer"), Some("192.0.2.7:50000 true"));
    }
}

/// A stream whose first write has this ahead of it.
struct Led<S> {
    ahead: Vec<u8>,
    stream: S,
}

impl<S> Led<S> {
    fn by(ahead: &[u8], stream: S) -> Self {
        Self { ahead: ahead.to_vec(), stream }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Led<S> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Led<S> {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        let this = &mut *self;
        if this.ahead.is_empty() {
            return std::pin::Pin::new(&mut this.stream).poll_write(cx, buf);
        }
        let all = [&this.ahead, buf].concat();
        let written = std::task::ready!(std::pin::Pin::new(&mut this.stream).poll_write(cx, &all))?;
        assert_eq!(written, all.len(), "a socket has room for its first bytes");
        this.ahead.clear();
        std::task::Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn the_proxy_protocol_comes_before_http_2() {
    let address = serve(|server| server.proxy_protocol(loopback())).await;
    let stream = Led::by(V2, TcpStream::connect(address).await.unwrap());
    let mut client = RawClient::over(stream, &h2::client::Builder::new()).await;
    let (response, mut stream) = client.ask(connect_with(&[])).await.unwrap();
    assert_eq!(response.headers()["x-peer"], CLIENT);
    stream.expect_echo("hello").await;
}

#[tokio::test]
async fn the_proxy_protocol_comes_before_a_service() {
    let (server, address) = bind().await;
    tokio::spawn(server.service(Application).proxy_protocol(loopback()).serve(echo));
    let mut http = Http::connect(address).await;
    http.write([V1, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat()).await;
    assert_eq!(body_of(&mut http).await, CLIENT);
}

// Health checks of the proxy itself, and addresses that are not those of IP.
#[tokio::test]
async fn local_and_unknown_keep_the_address_of_the_proxy() {
    let address = serve(|server| server.proxy_protocol(loopback())).await;
    let local: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    let unix = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8"[..], &[b'/'; 216]].concat();
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"PROXY UNKNOWN a b 1 2\r\n", local, &unix] {
        let stream = TcpStream::connect(address).await.unwrap();
        let own = format!("{} false", stream.local_addr().unwrap());
        assert_eq!(upgrade(stream, header, "").await.get("x-peer"), Some(own.as_str()));
    }
}

/// Everything that comes back, which ends with a reset or in order.
async fn nothing_comes_back(stream: &mut TcpStream) {
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an end");
    assert_eq!(answer, b"");
}

// A client that reaches the port past the proxy would name itself whatever it likes.
#[tokio::test]
async fn a_listed_network_must_send_the_header() {
    let log = Log::default();
    let _guard = log.start();
    let address = serve(|server| server.proxy_protocol(loopback())).await;
    let long = [b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat();
    let long_binary = [&V2[..14], &[2, 9], &[0; 600]].concat();
    for (bytes, why) in [
        (REQUEST.as_bytes(), "does not begin with a PROXY header"),
        (b"\x16\x03\x01\0\x05", "does not begin with a PROXY header"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 1\r\n", "the PROXY header is malformed"),
        (&long, "the PROXY header is too long"),
        (&long_binary, "the PROXY header is too long"),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        nothing_comes_back(&mut stream).await;
        assert!(log.text().contains(why), "{why}: {}", log.text());
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&V1[..20]).await.unwrap();
    stream.shutdown().await.unwrap();
    nothing_comes_back(&mut stream).await;
    assert_eq!(upgrade_to(address, V1, "").await.status(), 101, "the server goes on");
}

#[tokio::test]
async fn other_networks_send_none() {
    let address = serve(|server| server.proxy_protocol(elsewhere())).await;
    let stream = TcpStream::connect(address).await.unwrap();
    let own = format!("{} false", stream.local_addr().unwrap());
    assert_eq!(upgrade(stream, b"", "").await.get("x-peer"), Some(own.as_str()));
    assert_eq!(upgrade_to(address, V1, "").await.status(), 400);
}

#[tokio::test]
async fn a_header_that_does_not_arrive_ends_with_the_deadline_of_the_handshake() {
    let acceptor = Acceptor::new().handshake_timeout(Duration::from_millis(50));
    let address = serve(|server| server.acceptor(acceptor).proxy_protocol(loopback())).await;
    for part in [&b""[..], &V1[..20], &V2[..15]] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(part).await.unwrap();
        nothing_comes_back(&mut stream).await;
    }
}

// A load balancer in front of proxies: the first is known by the PROXY protocol, the client by the
// header of the second.
#[tokio::test]
async fn the_headers_of_a_proxy_count_that_the_proxy_protocol_named() {
    let set_up = |server: Server| {
        server
            .proxy_protocol(loopback())
            .trusted_proxies(TrustedProxies::x_forwarded(Networks::parse(["192.0.2.7"]).unwrap()))
    };
    let address = serve(set_up).await;
    let line = "X-Forwarded-For: 198.51.100.1\r\n";
    assert_eq!(upgrade_to(address, V1, line).await.get("x-peer"), Some("198.51.100.1:0 false"));
    let other = b"PROXY TCP4 192.0.2.8 10.0.0.1 50000 443\r\n";
    assert_eq!(upgrade_to(address, other, line).await.get("x-peer"), Some("192.0.2.8:50000 false"));
}

// A resolver may be used behind any HTTP server; the host is an extension of the request then.
#[tokio::test]
async fn an_acceptor_without_a_server_compares_with_the_forwarded_host_too() {
    let proxies = TrustedProxies::forwarded(loopback());
    let mut request = connect_to("https://inner.test/", Some("websocket"), &[]);
    let mut headers = HeaderMap::new();
    headers.insert("forwarded", "for=192.0.2.7;host=app.test".parse().unwrap());
    let proxy = Peer::from(SocketAddr::from(([127, 0, 0, 1], 1)));
    let found = proxies.resolve(&proxy, &headers).unwrap();
    request.extensions_mut().insert(found.host().unwrap().clone());
    request.extensions_mut().insert(tautline_handshake::ConnectProtocol::WEBSOCKET);
    for (origin, allowed) in [("https://app.test", true), ("https://inner.test", false)] {
        request.headers_mut().insert("origin", origin.parse().unwrap());
        assert_eq!(Acceptor::new().respond(&request).is_ok(), allowed, "{origin}");
    }
}
