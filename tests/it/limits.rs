//! How much of a server one client address may take: each limit strikes, is counted, leaves the
//! neighbour alone, and lets the client in again.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
#[cfg(target_os = "linux")]
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{FutureExt, future};
use http::{Request, StatusCode};
use tautline::{
    Acceptor, BoxError, Client, ConnectError, Http2, Http2Config, LimitCounts, Limits, Networks,
    Role, Server, ServerHandle, TrustedProxies, Upgrade, WebSocket,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
#[cfg(target_os = "linux")]
use tokio::sync::watch;
use tokio::time::timeout;

use crate::support::handshake::{
    Http, Identity, REQUEST, bind, echo, expect_echo, request_but, uri,
};
use crate::support::http2::{RawClient, connect_request, connect_to};
use crate::support::log::Log;

/// An attacker, and a client that has nothing to do with it.
const ONE: &str = "127.0.0.1";
const OTHER: &str = "127.0.0.2";

const DEADLINE: Duration = Duration::from_secs(20);

/// All limits off, and nobody exempt.
fn none() -> Limits {
    Limits::none().exempt([])
}

/// A running echo server with these limits, for HTTP/1.1 and HTTP/2.
async fn serve(
    limits: Limits,
    set_up: impl FnOnce(Server) -> Server,
) -> (SocketAddr, ServerHandle) {
    let (server, address) = bind().await;
    // No handshake ends because it is late: then a limit would seem to have been lifted.
    let acceptor = Acceptor::new().handshake_timeout(2 * DEADLINE);
    let server = server.acceptor(acceptor).limits(limits).http2(Http2Config::new());
    let server = set_up(server);
    let handle = server.handle();
    tokio::spawn(server.serve(echo));
    (address, handle)
}

/// Fails if it is reset as soon as it is there.
async fn try_stream_from(source: &str, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    socket.connect(address).await
}

async fn stream_from(source: &str, address: SocketAddr) -> TcpStream {
    try_stream_from(source, address).await.unwrap()
}

async fn connect_from(source: &str, address: SocketAddr) -> Result<WebSocket, BoxError> {
    let stream = try_stream_from(source, address).await?;
    let client = Client::new();
    let connecting = client.connect_over(uri(address), stream);
    Ok(timeout(DEADLINE, connecting).await.expect("an answer")?)
}

/// A WebSocket that works.
async fn open_from(source: &str, address: SocketAddr) -> WebSocket {
    let mut ws = connect_from(source, address).await.unwrap();
    expect_echo(&mut ws, "hello").await;
    ws
}

/// Tries until a connection is let in: what the server still holds of an earlier one ends soon.
async fn let_in<F: Future<Output = Option<T>>, T>(mut tries: impl FnMut() -> F) -> T {
    let trying = async {
        loop {
            if let Some(opened) = tries().await {
                return opened;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, trying).await.expect("it is let in again")
}

/// A connection from there is gone, without an answer.
async fn expect_reset(source: &str, address: SocketAddr) {
    let Ok(stream) = try_stream_from(source, address).await else { return };
    // The request may arrive after the end.
    let _ = stream.try_write(REQUEST.as_bytes());
    let mut peer = Http::over(stream);
    let rest = async { while !matches!(read(&mut peer).await, Ok(0) | Err(_)) {} };
    timeout(DEADLINE, rest).await.expect("the end");
    assert!(peer.read.is_empty(), "{:?}", peer.read);
}

async fn read(peer: &mut Http) -> io::Result<usize> {
    peer.stream.read_buf(&mut peer.read).await
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_its_neighbour_its_own() {
    let (address, handle) = serve(none().connections_per_address(2), |server| server).await;
    let mut first = open_from(ONE, address).await;
    let mut second = open_from(ONE, address).await;
    expect_reset(ONE, address).await;
    connect_from(ONE, address).await.unwrap_err();
    let _neighbours = (open_from(OTHER, address).await, open_from(OTHER, address).await);
    expect_echo(&mut first, "still here").await;
    expect_echo(&mut second, "and here").await;
    assert_eq!(handle.counts().connections_per_address, 2);
    first.close().await.unwrap();
    let mut again = let_in(|| connect_from(ONE, address).map(Result::ok)).await;
    expect_echo(&mut again, "again").await;
    connect_from(ONE, address).await.unwrap_err();
}

// The limit must hold before the work of TLS is done.
#[tokio::test]
async fn the_limit_holds_under_tls() {
    let identity = Identity::for_names(&["localhost"]);
    let tls = identity.server();
    let limits = none().connections_per_address(1);
    let (address, handle) = serve(limits, |server| server.tls(tls)).await;
    let uri = format!("wss://localhost:{}/", address.port());
    let connect = async |source: &str| {
        let stream = try_stream_from(source, address).await?;
        let client = identity.client();
        let connecting = client.connect_over(&uri, stream);
        Ok::<_, BoxError>(timeout(DEADLINE, connecting).await.expect("an answer")?)
    };
    let mut ws = connect(ONE).await.unwrap();
    connect(ONE).await.unwrap_err();
    expect_echo(&mut connect(OTHER).await.unwrap(), "neighbour").await;
    ws.close().await.unwrap();
    let_in(|| connect(ONE).map(Result::ok)).await;
    assert!(handle.counts().connections_per_address >= 1);
}

// What is bounded by the number of cores is the work of TLS, not those who wait for their client:
// else a few silent clients would stop all others.
#[tokio::test]
async fn silent_clients_do_not_stop_the_handshakes_of_others() {
    let identity = Identity::for_names(&["localhost"]);
    let tls = identity.server();
    let (address, _) = serve(none(), |server| server.tls(tls)).await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(stream_from(ONE, address).await);
    }
    let uri = format!("wss://localhost:{}/", address.port());
    let client = identity.client();
    let connecting = client.connect_over(&uri, stream_from(OTHER, address).await);
    let mut ws = timeout(DEADLINE, connecting).await.expect("an answer").unwrap();
    expect_echo(&mut ws, "hello").await;
    drop(silent);
}

#[tokio::test]
async fn an_address_has_a_burst_of_new_connections_and_then_so_many_per_second() {
    let limits = none().connection_rate(2).connection_burst(3);
    let (address, handle) = serve(limits, |server| server).await;
    for _ in 0..3 {
        open_from(ONE, address).await.close().await.unwrap();
    }
    connect_from(ONE, address).await.unwrap_err();
    open_from(OTHER, address).await;
    assert!(handle.counts().connection_rate >= 1);
    // Half a second.
    let_in(|| connect_from(ONE, address).map(Result::ok)).await;
}

#[tokio::test]
async fn an_address_has_so_many_handshakes_in_flight() {
    let (address, handle) = serve(none().handshakes_per_address(2), |server| server).await;
    // A handshake ends with its request, so these do not count.
    let _open = (open_from(ONE, address).await, open_from(ONE, address).await);
    let first = stream_from(ONE, address).await;
    let second = stream_from(ONE, address).await;
    expect_reset(ONE, address).await;
    open_from(OTHER, address).await;
    assert_eq!(handle.counts().handshakes_per_address, 1);
    drop(first);
    let_in(|| connect_from(ONE, address).map(Result::ok)).await;
    drop(second);
}

// What an application takes its time for is not in flight any more: nor is an answer that is read
// slowly, with which few clients could keep all others out.
#[tokio::test]
async fn a_handshake_is_in_flight_until_its_request_is_read() {
    let (server, address) = bind().await;
    let (asked, mut asking) = mpsc::unbounded_channel();
    let server = server.acceptor(Acceptor::new().handshake_timeout(2 * DEADLINE));
    let server = server.limits(none().handshakes(1).handshakes_per_address(1));
    let undecided = move |_| {
        asked.send(()).unwrap();
        future::pending::<Result<Upgrade, _>>()
    };
    tokio::spawn(server.authorize(undecided).serve(echo));
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut http = Http::over(stream_from(ONE, address).await);
        http.write(REQUEST).await;
        held.push(http);
        timeout(DEADLINE, asking.recv()).await.expect("the request is asked about").unwrap();
    }
}

// From as many addresses as an attacker likes: nobody is turned away then, but all wait.
#[tokio::test]
async fn handshakes_in_flight_are_bounded_in_all_and_others_wait() {
    // Loopback is exempt from limits by address, and not from this one.
    let (address, handle) = serve(Limits::new().handshakes(2), |server| server).await;
    let mut open = open_from(ONE, address).await;
    let first = Http::over(stream_from(ONE, address).await);
    let _second = Http::over(stream_from(OTHER, address).await);
    let mut late = Http::over(stream_from("127.0.0.3", address).await);
    late.write(REQUEST).await;
    let struck = async {
        while handle.counts().handshakes == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, struck).await.expect("the limit strikes");
    expect_echo(&mut open, "those that are open go on").await;
    assert!(late.is_silent());
    drop(first);
    assert_eq!(timeout(DEADLINE, late.head()).await.expect("an answer").status(), 101);
    // Or until there is more room.
    let third = Http::over(stream_from(ONE, address).await);
    let mut late = Http::over(stream_from(OTHER, address).await);
    late.write(REQUEST).await;
    handle.set_limits(handle.limits().handshakes(None));
    assert_eq!(timeout(DEADLINE, late.head()).await.expect("an answer").status(), 101);
    drop(third);
}

#[tokio::test]
async fn a_websocket_over_http2_counts_beside_the_connection_that_carries_it() {
    let (address, handle) = serve(none().connections_per_address(3), |server| server).await;
    let builder = h2::client::Builder::new();
    let mut client = RawClient::over(stream_from(ONE, address).await, &builder).await;
    let (mut first, mut second) = (client.open().await, client.open().await);
    let (response, mut stream) = client.ask(connect_request()).await.unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "10");
    assert_eq!(stream.body().await, "there are too many connections from this address\n");
    expect_reset(ONE, address).await;
    let mut other = RawClient::over(stream_from(OTHER, address).await, &builder).await;
    other.open().await.expect_echo("neighbour").await;
    first.expect_echo("one").await;
    second.expect_echo("two").await;
    assert_eq!(handle.counts().connections_per_address, 2);
    drop(first);
    let again = async {
        loop {
            let (response, stream) = client.ask(connect_request()).await.unwrap();
            if response.status() == 200 {
                return stream;
            }
        }
    };
    timeout(DEADLINE, again).await.expect("it is let in again").expect_echo("three").await;
}

/// A page at `/page` and an echo at `/`.
fn application() -> axum::Router {
    let route = axum::routing::get(|| async { "a page" });
    axum::Router::new().route("/page", route).route(
        "/",
        axum::routing::any(|upgrade: tautline_axum::WebSocketUpgrade| async {
            upgrade.on_upgrade(echo)
        }),
    )
}

/// A connection that has had a page.
async fn page_from(source: &str, address: SocketAddr) -> Http {
    let mut http = Http::over(stream_from(source, address).await);
    http.write("GET /page HTTP/1.1\r\nHost: example.com\r\n\r\n").await;
    assert_eq!(http.head().await.status(), 200);
    while http.read.len() < "a page".len() {
        assert!(read(&mut http).await.unwrap() > 0);
    }
    assert_eq!(http.read.split(), "a page");
    http
}

// The connection that a WebSocket takes over counts once, and for as long as the WebSocket lives:
// whether the server's handler has it, or the service's.
#[tokio::test]
async fn a_websocket_behind_a_service_counts_until_its_end() {
    for service_only in [false, true] {
        let (server, address) = bind().await;
        let server = server.limits(none().connections_per_address(1));
        let handle = server.handle();
        if service_only {
            tokio::spawn(server.serve_service(application()));
        } else {
            tokio::spawn(server.service(application()).serve(echo));
        }
        let mut http = page_from(ONE, address).await;
        http.write(request_but("/chat", "/")).await;
        assert_eq!(http.head().await.status(), 101);
        let mut ws = WebSocket::builder(Role::Client).leftover(http.read).build(http.stream);
        expect_echo(&mut ws, "hello").await;
        expect_reset(ONE, address).await;
        let _neighbour = page_from(OTHER, address).await;
        expect_echo(&mut ws, "still here").await;
        assert_eq!(handle.counts().connections_per_address, 1);
        ws.close().await.unwrap();
        let_in(|| connect_from(ONE, address).map(Result::ok)).await;
    }
}

// Its task has ended with the response, and the WebSocket is in a task of the service.
#[tokio::test]
async fn a_websocket_over_http2_behind_a_service_counts_until_its_end() {
    let (server, address) = bind().await;
    let server = server.limits(none().connections_per_address(2));
    tokio::spawn(server.serve_service(application()));
    let builder = h2::client::Builder::new();
    let mut client = RawClient::over(stream_from(ONE, address).await, &builder).await;
    let request = || connect_to("http://example.com/", Some("websocket"), &[]);
    let (response, mut stream) = client.ask(request()).await.unwrap();
    assert_eq!(response.status(), 200);
    stream.expect_echo("hello").await;
    assert_eq!(client.answer_to(request()).await.0, 429);
    // A page is let in: it counts as part of the connection.
    let page = Request::get("http://example.com/page").body(()).unwrap();
    let (response, mut page) = client.ask_and(page, true).await.unwrap();
    assert_eq!((response.status().as_u16(), page.body().await.as_str()), (200, "a page"));
    drop(stream);
    let again = async { while client.ask(request()).await.unwrap().0.status() != 200 {} };
    timeout(DEADLINE, again).await.expect("it is let in again");
}

// An attacker has all of a /64, or of a /48.
#[tokio::test]
async fn ipv6_addresses_are_limited_by_network() {
    let server = Server::bind("[::1]:0").await.unwrap().limits(none().connections_per_site(1));
    let (address, handle) = (server.local_addr().unwrap(), server.handle());
    tokio::spawn(server.serve(echo));
    let mut first = tautline::connect(uri(address)).await.unwrap();
    expect_echo(&mut first, "hello").await;
    tautline::connect(uri(address)).await.unwrap_err();
    handle.set_limits(none().connections_per_address(2));
    let mut second = tautline::connect(uri(address)).await.unwrap();
    tautline::connect(uri(address)).await.unwrap_err();
    let counts = handle.counts();
    assert_eq!((counts.connections_per_site, counts.connections_per_address), (1, 1));
    first.close().await.unwrap();
    second.close().await.unwrap();
    let connect = || tautline::connect(uri(address)).map(Result::ok);
    let_in(connect).await;
}

#[tokio::test]
async fn limits_change_while_the_server_runs() {
    let (address, handle) = serve(none(), |server| server).await;
    assert_eq!(handle.limits(), none());
    let mut open = (open_from(ONE, address).await, open_from(ONE, address).await);
    handle.set_limits(none().connections_per_address(1));
    connect_from(ONE, address).await.unwrap_err();
    expect_echo(&mut open.0, "those that are open stay").await;
    handle.set_limits(handle.limits().exempt(["127.0.0.0/8".parse().unwrap()]));
    open_from(ONE, address).await;
    assert_eq!(handle.counts().connections_per_address, 1);
    open.0.close().await.unwrap();
    open.1.close().await.unwrap();
}

// A page opens several connections at once, and tests on one machine hundreds.
#[tokio::test]
async fn loopback_is_exempt_by_default() {
    let (server, address) = bind().await;
    let handle = server.handle();
    assert_eq!(handle.limits(), Limits::new());
    handle.set_limits(Limits::new().connections_per_address(1).handshakes_per_address(1));
    tokio::spawn(server.serve(echo));
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(open_from(ONE, address).await);
    }
    assert_eq!(handle.counts(), LimitCounts::default());
}

// A flood of connections must not become one of warnings.
#[tokio::test]
async fn what_strikes_is_logged_and_warned_of_once() {
    let log = Log::default();
    let _collecting = log.start();
    // Few enough for the system's limit of open files, of which it would warn too.
    let few = |server: Server| server.max_connections(10);
    let (address, _) = serve(none().connections_per_address(1), few).await;
    let _open = open_from(ONE, address).await;
    for _ in 0..5 {
        connect_from(ONE, address).await.unwrap_err();
    }
    let text = log.text();
    assert_eq!(text.matches("a limit has struck").count(), 5, "{text}");
    assert_eq!(text.matches(" WARN ").count(), 1, "{text}");
    assert!(text.contains("limit=\"connections_per_address\" peer=127.0.0.1:"), "{text}");
}

// With a table for each thread, an address had as many times its share as there are threads.
#[cfg(target_os = "linux")] // which shares connections out
#[tokio::test]
async fn threads_for_each_core_have_their_limits_together() {
    let (address, mut known) = watch::channel(None);
    let (stop, stopped) = watch::channel(());
    let two = NonZeroUsize::new(2).unwrap();
    let serving = Server::per_core("127.0.0.1:0", two, move |server| {
        let server = server.limits(none().connections_per_address(4));
        address.send_replace(Some((server.local_addr().unwrap(), server.handle())));
        let mut stopped = stopped.clone();
        let server = server.with_graceful_shutdown(async move { drop(stopped.changed().await) });
        server.serve(echo)
    });
    let serving = tokio::spawn(serving);
    let known = timeout(DEADLINE, known.wait_for(Option::is_some)).await.unwrap();
    let (address, handle) = known.unwrap().clone().unwrap();
    let mut open = Vec::new();
    for _ in 0..64 {
        open.extend(connect_from(ONE, address).await.ok());
    }
    assert_eq!((open.len(), handle.counts().connections_per_address), (4, 60));
    drop(open);
    stop.send(()).unwrap();
    timeout(DEADLINE, serving).await.expect("both end").unwrap().unwrap();
}

/// What the limits are told of, behind a proxy: this client, by a header.
fn through_proxy(client: &str, address: SocketAddr, http2: Http2) -> Connecting {
    let client = Client::new().header("forwarded", format!("for={client}")).http2(http2);
    Box::pin(async move { client.connect(uri(address)).await })
}

type Connecting = Pin<Box<dyn Future<Output = Result<WebSocket, ConnectError>> + Send>>;

// All clients of a proxy have its address, and would share one allowance.
#[tokio::test]
async fn behind_a_proxy_the_clients_count_that_it_names() {
    for http2 in [Http2::Never, Http2::Prior] {
        let proxies = TrustedProxies::forwarded(Networks::parse([ONE]).unwrap());
        let limits = none().connections_per_address(1);
        let (address, handle) = serve(limits, |server| server.trusted_proxies(proxies)).await;
        let mut first = through_proxy("192.0.2.7", address, http2).await.unwrap();
        let refused = through_proxy("192.0.2.7", address, http2).await.unwrap_err();
        assert_eq!(refused.status(), Some(StatusCode::TOO_MANY_REQUESTS), "{refused}");
        let mut other = through_proxy("192.0.2.8", address, http2).await.unwrap();
        expect_echo(&mut other, "the neighbour").await;
        expect_echo(&mut first, "and who is there").await;
        assert_eq!(handle.counts().connections_per_address, 1);
        first.close().await.unwrap();
        let_in(|| async { through_proxy("192.0.2.7", address, http2).await.ok() }).await;
    }
}

#[tokio::test]
async fn behind_a_proxy_the_clients_count_that_the_proxy_protocol_names() {
    let limits = none().connections_per_address(1).handshakes_per_address(1);
    let proxies = Networks::parse([ONE]).unwrap();
    let (address, handle) = serve(limits, |server| server.proxy_protocol(proxies)).await;
    let connect = |client: &'static str| async move {
        let mut stream = stream_from(ONE, address).await;
        let header = format!("PROXY TCP4 {client} 10.0.0.1 50000 443\r\n");
        stream.write_all(header.as_bytes()).await.ok()?;
        let mut ws = Client::new().connect_over(uri(address), stream).await.ok()?;
        expect_echo(&mut ws, "hello").await;
        Some(ws)
    };
    let first = connect("192.0.2.7").await.expect("let in");
    assert!(connect("192.0.2.7").await.is_none());
    let _other = connect("192.0.2.8").await.expect("another address");
    assert_eq!(handle.counts().connections_per_address, 1);
    drop(first);
    let_in(|| connect("192.0.2.7")).await;
}

// A client that a proxy named had its handshake counted for nobody: behind a proxy, one address could
// have all that the server has room for.
#[tokio::test]
async fn handshakes_in_flight_count_for_the_client_that_the_proxy_protocol_names() {
    let proxies = Networks::parse([ONE]).unwrap();
    let limits = none().handshakes_per_address(2);
    let (address, handle) = serve(limits, |server| server.proxy_protocol(proxies)).await;
    let named = |client: &'static str| async move {
        let mut stream = stream_from(ONE, address).await;
        let header = format!("PROXY TCP4 {client} 10.0.0.1 50000 443\r\n");
        // One that is refused may be gone by now.
        let _ = stream.write_all(header.as_bytes()).await;
        stream
    };
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(Box::pin(ended(named("192.0.2.7").await)));
    }
    // One of the three, whichever was looked at last.
    let ending = future::select_all(silent);
    let ((), _, mut silent) = timeout(DEADLINE, ending).await.expect("one is refused");
    for stream in &mut silent {
        assert!(stream.now_or_never().is_none(), "the others wait for their requests");
    }
    assert_eq!(handle.counts().handshakes_per_address, 1);
    let client = Client::new();
    let mut other = client.connect_over(uri(address), named("192.0.2.8").await).await.unwrap();
    expect_echo(&mut other, "the neighbour").await;
    // When one of them ends, there is room again; and who is through does not count.
    drop(silent.pop());
    let through = || async {
        let stream = named("192.0.2.7").await;
        Client::new().connect_over(uri(address), stream).await.ok()
    };
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(let_in(through).await);
    }
    drop(silent);
}

/// Waits for the end of this connection.
async fn ended(mut stream: TcpStream) {
    while matches!(stream.read(&mut [0; 64]).await, Ok(1..)) {}
}

// Over HTTP/1.1, a WebSocket that a service opened on a proxy's connection counted for nobody.
#[tokio::test]
async fn behind_a_proxy_the_websockets_of_a_service_count_for_the_client_that_it_names() {
    for http2 in [Http2::Never, Http2::Prior] {
        let (server, address) = bind().await;
        let proxies = TrustedProxies::forwarded(Networks::parse([ONE]).unwrap());
        let server = server.limits(none().connections_per_address(1)).trusted_proxies(proxies);
        let handle = server.handle();
        tokio::spawn(server.serve_service(application()));
        // What becomes no WebSocket counts for no longer than its answer takes.
        for _ in 0..3 {
            let client = Client::new().header("forwarded", "for=192.0.2.7").http2(http2);
            let error = client.connect(format!("{}page", uri(address))).await.unwrap_err();
            assert!(error.status().is_some_and(|it| it != 429), "{error}");
        }
        let mut first = through_proxy("192.0.2.7", address, http2).await.unwrap();
        expect_echo(&mut first, "hello").await;
        let refused = through_proxy("192.0.2.7", address, http2).await.unwrap_err();
        assert_eq!(refused.status(), Some(StatusCode::TOO_MANY_REQUESTS), "{refused}");
        let mut other = through_proxy("192.0.2.8", address, http2).await.unwrap();
        expect_echo(&mut other, "the neighbour").await;
        expect_echo(&mut first, "and who is there").await;
        assert_eq!(handle.counts().connections_per_address, 1);
        first.close().await.unwrap();
        let_in(|| async { through_proxy("192.0.2.7", address, http2).await.ok() }).await;
    }
}
