//! A whole HTTP application beside the WebSockets of a server: keep-alive, bodies, HTTP/2, the way
//! to a WebSocket from either, and what an attacker may try at the border between this crate's
//! reading of heads and hyper's.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use tautline::{
    Client, CloseCode, Http2, OnUpgrade, Peer as ClientOf, RequestBody, Role, Server, WebSocket,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::support::handshake::{
    Http, Identity, REQUEST, answer_to, bind, echo, expect_echo, request_but, uri,
};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// An application: `/echo` returns the body, `/sum` its length and its trailers, `/peer` who asks,
/// `/wait` waits until the client is gone, `/panic` and `/upgrade` do what they say.
#[derive(Clone, Default)]
struct Application;

impl tower_service::Service<Request<RequestBody>> for Application {
    type Response = Response<Body>;
    type Error = &'static str;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, &'static str>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        Box::pin(answer(request))
    }
}

fn text(text: impl Into<Bytes>) -> Response<Body> {
    Response::new(Full::new(text.into()).boxed_unsync())
}

async fn answer(mut request: Request<RequestBody>) -> Result<Response<Body>, &'static str> {
    match request.uri().path() {
        "/echo" => {
            let body = request.into_body().map_err(|_| panic!("the body fails"));
            Ok(Response::new(body.boxed_unsync()))
        }
        "/sum" => {
            let body = request.into_body().collect().await.map_err(|_| "the body fails")?;
            let trailers = body.trailers().map_or(0, HeaderMap::len);
            Ok(text(format!("{} bytes, {trailers} trailers", body.to_bytes().len())))
        }
        "/trailers" => {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "7".parse().unwrap());
            let frames =
                [http_body::Frame::data(Bytes::from("body")), http_body::Frame::trailers(trailers)];
            let frames = futures_util::stream::iter(frames.map(Ok));
            Ok(Response::new(StreamBody::new(frames).boxed_unsync()))
        }
        "/peer" => {
            let peer = request.extensions().get::<ClientOf>().unwrap();
            Ok(text(format!("{peer} {}", peer.is_secure())))
        }
        "/fail" => Err("no database"),
        "/panic" => panic!("as it was told to"),
        "/upgrade" => {
            let version = request.version();
            let on = OnUpgrade::take(request.extensions_mut()).expect("a stream to switch");
            tokio::spawn(async move {
                let (transport, read) = on.upgraded().await.unwrap();
                let ws = WebSocket::builder(Role::Server).leftover(read).build(transport);
                let _ = echo(ws).await;
            });
            let mut response = Response::new(Empty::new().boxed_unsync());
            if version == Version::HTTP_11 {
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                let headers = response.headers_mut();
                headers.insert("upgrade", "websocket".parse().unwrap());
                headers.insert("connection", "upgrade".parse().unwrap());
                headers.insert(
                    "sec-websocket-accept",
                    "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".parse().unwrap(),
                );
            }
            Ok(response)
        }
        path => Ok(text(format!("this is {path}"))),
    }
}

async fn serve(set_up: impl FnOnce(Server) -> Server) -> SocketAddr {
    let (server, address) = bind().await;
    tokio::spawn(set_up(server.service(Application)).serve(echo));
    address
}

/// Reads a response whose length is known.
async fn response(
    http: &mut Http<impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>,
) -> (u16, String) {
    let head = http.head().await;
    let length: usize = head.get("content-length").expect("a length").parse().unwrap();
    while http.read.len() < length {
        assert!(http.stream.read_buf(&mut http.read).await.unwrap() > 0);
    }
    (head.status(), String::from_utf8(http.read.split_to(length).to_vec()).unwrap())
}

/// HTTP/2 to this address, by hand.
async fn http2(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    requests.ready().await.unwrap()
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("http://localhost{path}")).body(()).unwrap()
}

async fn body_of(response: Response<h2::RecvStream>) -> String {
    let mut body = response.into_body();
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        all.extend_from_slice(&data);
    }
    String::from_utf8(all).unwrap()
}

#[tokio::test]
async fn a_connection_is_kept_alive_and_may_end_as_a_websocket() {
    let address = serve(|server| server).await;
    let mut http = Http::connect(address).await;
    for path in ["/", "/page"] {
        http.write(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        assert_eq!(response(&mut http).await, (200, format!("this is {path}")));
    }
    let post = "POST /sum HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    http.write(post).await;
    assert_eq!(response(&mut http).await, (200, "5 bytes, 0 trailers".into()));
    // The first frame comes with the request.
    http.write([REQUEST.as_bytes(), &tautline_wire::encode(true, 0x81, b"early")].concat()).await;
    assert_eq!(http.head().await.status(), 101);
    let mut ws = WebSocket::builder(Role::Client).leftover(http.read).build(http.stream);
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("early"));
    expect_echo(&mut ws, "later").await;
}

#[tokio::test]
async fn a_connection_that_begins_as_a_websocket_is_one() {
    let address = serve(|server| server).await;
    let mut ws = tautline::connect(uri(address)).await.unwrap();
    expect_echo(&mut ws, "hello").await;
    assert_eq!(ws.http_version(), Version::HTTP_11);
}

#[tokio::test]
async fn bodies_trailers_and_websockets_share_an_http_2_connection() {
    let address = serve(|server| server).await;
    let mut requests = http2(address).await;
    let (plain, _) = requests.send_request(get("/page"), true).unwrap();
    assert_eq!(body_of(plain.await.unwrap()).await, "this is /page");

    let post = Request::post("http://localhost/sum").body(()).unwrap();
    let (sum, mut outgoing) = requests.send_request(post, false).unwrap();
    outgoing.send_data(Bytes::from(vec![1; 10_000]), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-one", "1".parse().unwrap());
    outgoing.send_trailers(trailers).unwrap();
    assert_eq!(body_of(sum.await.unwrap()).await, "10000 bytes, 1 trailers");

    let (trailed, _) = requests.send_request(get("/trailers"), true).unwrap();
    let mut body = trailed.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "body");
    assert_eq!(body.trailers().await.unwrap().unwrap()["x-sum"], "7");

    let head = Request::head("http://localhost/page").body(()).unwrap();
    let (head, _) = requests.send_request(head, true).unwrap();
    let head = head.await.unwrap();
    assert!(head.status() == 200 && head.body().is_end_stream());

    // Ours share connections too.
    let client = Client::new().http2(Http2::Prior);
    let mut ws = client.connect(uri(address)).await.unwrap();
    assert_eq!(ws.http_version(), Version::HTTP_2);
    expect_echo(&mut ws, "hello").await;
}

/// More than any window, there and back.
#[tokio::test]
async fn a_large_body_flows_both_ways_at_once() {
    const SIZE: usize = 3 << 20;
    let address = serve(|server| server).await;
    let mut requests = http2(address).await;
    let post = Request::post("http://localhost/echo").body(()).unwrap();
    let (echoed, mut outgoing) = requests.send_request(post, false).unwrap();
    tokio::spawn(async move {
        let mut left = SIZE;
        while left > 0 {
            outgoing.reserve_capacity(left);
            let room =
                std::future::poll_fn(|cx| outgoing.poll_capacity(cx)).await.unwrap().unwrap();
            outgoing.send_data(Bytes::from(vec![b'x'; room]), room == left).unwrap();
            left -= room;
        }
    });
    assert_eq!(body_of(echoed.await.unwrap()).await.len(), SIZE);

    let mut http = Http::connect(address).await;
    let head = format!(
        "POST /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {SIZE}\r\n\r\n"
    );
    http.write(head).await;
    let (mut reading, mut writing) = tokio::io::split(http.stream);
    let (written, read) =
        tokio::join!(async { writing.write_all(&vec![b'y'; SIZE]).await }, async {
            let mut all = Vec::new();
            reading.read_to_end(&mut all).await.map(|_| all)
        });
    written.unwrap();
    assert!(read.unwrap().iter().filter(|&&byte| byte == b'y').count() >= SIZE);
}

#[tokio::test]
async fn a_service_that_fails_or_panics_is_answered_for_and_others_go_on() {
    let address = serve(|server| server).await;
    let mut http = Http::connect(address).await;
    for path in ["/fail", "/panic"] {
        http.write(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        assert_eq!(response(&mut http).await.0, 500);
    }
    let mut requests = http2(address).await;
    for path in ["/fail", "/panic", "/page"] {
        let (answer, _) = requests.send_request(get(path), true).unwrap();
        assert_eq!(answer.await.unwrap().status(), if path == "/page" { 200 } else { 500 });
    }
}

#[tokio::test]
async fn the_service_knows_the_peer_under_tls_too() {
    let identity = Identity::for_names(&["localhost"]);
    let tls = identity.server();
    let address = serve(|server| server.tls(tls)).await;
    let stream = identity.connect(TcpStream::connect(address).await.unwrap()).await;
    let local = stream.get_ref().0.local_addr().unwrap();
    let mut http = Http::over(stream);
    http.write("GET /peer HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(response(&mut http).await, (200, format!("{local} true")));
    // And inside TLS, HTTP/2 is selected where it is asked for.
    let client = identity.client().http2(Http2::Auto);
    let mut ws = client.connect(format!("wss://localhost:{}/", address.port())).await.unwrap();
    assert_eq!(ws.http_version(), Version::HTTP_2);
    assert!(ws.peer().is_secure());
    expect_echo(&mut ws, "hello").await;
}

#[tokio::test]
async fn a_service_may_switch_protocols_itself_over_both_versions() {
    let (server, address) = bind().await;
    tokio::spawn(server.serve_service(Application));
    let mut http = Http::connect(address).await;
    http.write(request_but("/chat", "/upgrade")).await;
    assert_eq!(http.head().await.status(), 101);
    let mut ws = WebSocket::builder(Role::Client).leftover(http.read).build(http.stream);
    expect_echo(&mut ws, "over HTTP/1.1").await;

    let client = Client::new().http2(Http2::Prior);
    let mut ws = client.connect(format!("ws://{address}/upgrade")).await.unwrap();
    expect_echo(&mut ws, "over HTTP/2").await;
    ws.close().await.unwrap();
}

/// An application of axum is the whole server: its extractor opens WebSockets over both versions,
/// on transports of ours, and beside its pages.
#[tokio::test]
async fn a_router_of_axum_is_served_with_its_websockets() {
    let app = axum::Router::new().route("/page", axum::routing::get(|| async { "a page" })).route(
        "/ws",
        axum::routing::any(|upgrade: tautline_axum::WebSocketUpgrade| async {
            upgrade.protocols(["v1"]).on_upgrade(|ws| async move {
                assert!(ws.get_ref().is_some());
                echo(ws).await
            })
        }),
    );
    let (stop, stopped) = oneshot::channel::<()>();
    let (server, address) = bind().await;
    let server = server.with_graceful_shutdown(async { drop(stopped.await) });
    let serving = tokio::spawn(server.subprotocols(["v2"]).serve_service(app));
    let mut requests = http2(address).await;
    let (page, _) = requests.send_request(get("/page"), true).unwrap();
    assert_eq!(body_of(page.await.unwrap()).await, "a page");
    let mut held = Vec::new();
    for (mode, version) in [(Http2::Never, Version::HTTP_11), (Http2::Prior, Version::HTTP_2)] {
        let client = Client::new().http2(mode).subprotocols(["v1"]);
        let mut ws = client.connect(format!("ws://{address}/ws")).await.unwrap();
        assert_eq!((ws.http_version(), ws.subprotocol()), (version, Some("v1")));
        expect_echo(&mut ws, "hello").await;
        held.push(ws);
    }
    drop(requests);
    // They are the server's: it closes them, and waits for them.
    stop.send(()).unwrap();
    for mut ws in held {
        assert!(ws.next().await.is_none());
        assert_eq!(ws.close_frame().unwrap().code(), CloseCode::GOING_AWAY);
    }
    serving.await.unwrap().unwrap();
}

/// What reads the head differently than hyper could see another request in it (RFC 9112 section
/// 11.2). The first head of a connection is read here, strictly; hyper reads the following ones.
#[tokio::test]
async fn no_request_hides_behind_another() {
    let address = serve(|server| server).await;
    let cases = [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length : 5\r\n",
        "Transfer-Encoding: chunked\r\n Content-Length: 5\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding:\x0bchunked\r\n",
        "X: y\nContent-Length: 5\r\n",
        "X: y\rContent-Length: 5\r\n",
    ];
    for first in [true, false] {
        for lines in cases {
            let mut http = Http::connect(address).await;
            if !first {
                http.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
                response(&mut http).await;
            }
            let hidden = "GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n";
            http.write(format!("POST /sum HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n{hidden}"))
                .await;
            let head = http.head().await;
            // hyper takes a LF alone for the end of a line, as RFC 9112 section 2.2 permits.
            let seen = !first && lines.contains("y\nC");
            assert!(head.status() >= 400 || seen, "{lines:?} first: {first}: {}", head.first);
            let rest = String::from_utf8_lossy(&http.rest().await).into_owned();
            assert!(!rest.contains("hidden"), "{lines:?}: {rest}");
        }
    }
}

/// Both lengths: chunked wins, and the connection cannot be used again (RFC 9112 section 6.1).
#[tokio::test]
async fn a_body_with_two_lengths_ends_the_connection_or_is_refused() {
    let address = serve(|server| server).await;
    let lines = "Content-Length: 4\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n";
    let request = format!(
        "POST /sum HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n5\r\nhello\r\n0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"
    );
    let (head, body) = answer_to(address, request).await;
    assert!(head.status() == 400 || body == "5 bytes, 0 trailers", "{head:?} {body}");
}

#[tokio::test]
async fn a_tunnel_is_not_the_services() {
    let address = serve(|server| server).await;
    let (head, _) =
        answer_to(address, "CONNECT localhost:1 HTTP/1.1\r\nHost: localhost:1\r\n\r\n").await;
    assert_eq!(head.status(), 405);
    let mut requests = http2(address).await;
    let tunnel = Request::builder().method(Method::CONNECT).uri("localhost:1").body(()).unwrap();
    let (answer, _outgoing) = requests.send_request(tunnel, false).unwrap();
    assert_eq!(answer.await.unwrap().status(), 400);
}

#[tokio::test]
async fn a_websocket_counts_among_the_connections_wherever_it_comes_from() {
    let address = serve(|server| server.max_connections(2)).await;
    let mut http = Http::connect(address).await;
    http.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    response(&mut http).await;
    let mut ws = tautline::connect(uri(address)).await.unwrap();
    expect_echo(&mut ws, "hello").await;
    http.write(REQUEST).await;
    assert_eq!(response(&mut http).await.0, 503);
    ws.close().await.unwrap();
}

#[tokio::test]
async fn a_shutdown_lets_requests_finish_and_ends_what_is_idle() {
    let (stop, stopped) = oneshot::channel::<()>();
    let (server, address) = bind().await;
    let server = server
        .service(Application)
        .drain_timeout(Duration::from_secs(30))
        .with_graceful_shutdown(async { drop(stopped.await) });
    let serving = tokio::spawn(server.serve(echo));
    // Idle, over both versions; in the middle of a request; and a WebSocket.
    let mut idle = Http::connect(address).await;
    idle.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    response(&mut idle).await;
    let mut requests = http2(address).await;
    let (plain, _) = requests.send_request(get("/page"), true).unwrap();
    body_of(plain.await.unwrap()).await;
    let mut posting = Http::connect(address).await;
    posting.write("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nto").await;
    assert_eq!(posting.head().await.status(), 200);
    let mut ws = Client::new().http2(Http2::Prior).connect(uri(address)).await.unwrap();
    expect_echo(&mut ws, "hello").await;

    stop.send(()).unwrap();
    assert!(ws.next().await.is_none());
    assert_eq!(ws.close_frame().unwrap().code(), CloseCode::GOING_AWAY);
    assert!(idle.rest().await.is_empty());
    posting.write("go").await;
    assert_eq!(posting.rest().await, b"togo");
    drop(requests);
    serving.await.unwrap().unwrap();
}

/// A body that waited for ever, such as that of a page that shows events, kept its place after its
/// reader was gone; with as many as `max_connections`, nobody else was let in.
#[tokio::test]
async fn a_body_that_nobody_wants_any_more_is_given_up() {
    let (server, address) = bind().await;
    /// Tells when it is dropped.
    struct Held(tokio::sync::mpsc::Sender<()>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.try_send(()).unwrap();
        }
    }
    let (sender, mut gone) = tokio::sync::mpsc::channel::<()>(1);
    let app = axum::Router::new().route(
        "/events",
        axum::routing::get(move || async move {
            let held = Held(sender);
            let waiting = futures_util::stream::once(async move {
                let _held = held;
                std::future::pending::<Result<Bytes, Infallible>>().await
            });
            axum::body::Body::from_stream(waiting)
        }),
    );
    tokio::spawn(server.service(app).serve(echo));
    let mut requests = http2(address).await;
    let (events, mut outgoing) = requests.send_request(get("/events"), false).unwrap();
    assert_eq!(events.await.unwrap().status(), 200);
    outgoing.send_reset(h2::Reason::CANCEL);
    gone.recv().await.unwrap();
}

/// A refusal with 200, such as a page that asks to log in, opened a WebSocket over HTTP/2, where any
/// 2xx accepts an extended CONNECT.
#[tokio::test]
async fn a_refusal_never_accepts() {
    let (server, address) = bind().await;
    let server = server.http2(tautline::Http2Config::new()).authorize(|_| async {
        Err::<tautline::Upgrade, _>(Response::new("please log in".into()))
    });
    tokio::spawn(server.serve(echo));
    let error = tautline::connect(uri(address)).await.unwrap_err();
    assert_eq!(error.status(), Some(StatusCode::OK));
    let client = Client::new().http2(Http2::Prior);
    let error = client.connect(uri(address)).await.unwrap_err();
    assert_eq!(error.status(), Some(StatusCode::INTERNAL_SERVER_ERROR));
}

/// RFC 9112 section 3.2: exactly one valid host, for whoever answers.
#[tokio::test]
async fn the_service_is_asked_only_with_a_valid_host() {
    let address = serve(|server| server).await;
    for lines in ["", "Host: a\r\nHost: b\r\n", "Host: a b\r\n"] {
        let (head, _) = answer_to(address, format!("GET / HTTP/1.1\r\n{lines}\r\n")).await;
        assert_eq!(head.status(), 400, "{lines:?}");
        let mut http = Http::connect(address).await;
        http.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        response(&mut http).await;
        http.write(format!("GET / HTTP/1.1\r\n{lines}\r\n")).await;
        assert_eq!(http.head().await.status(), 400, "{lines:?}");
    }
}
