//! The middleware of tower.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tautline::{Acceptor, BoxError, Client, Connections, WebSocket};
use tautline_http::UpgradeLayer;
use tower_layer::Layer;
use tower_service::Service;

use crate::support::peer::{Http2, Peer, REQUEST, TEXT, VERSIONS};
use crate::support::{By, serve};

/// The service of all other requests.
#[derive(Clone, Debug)]
struct Pages;

impl Service<Request<Incoming>> for Pages {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let text = format!("{} {}", request.method(), request.uri().path());
        ready(Ok(Response::new(Full::from(text))))
    }
}

async fn layered<H, Fut, R>(by: By, layer: UpgradeLayer<H>) -> SocketAddr
where
    H: Fn(WebSocket, Parts) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = R> + Send + 'static,
    R: tautline::HandlerResult,
{
    serve(by, TowerToHyperService::new(layer.layer(Pages))).await
}

async fn echo(mut ws: WebSocket, request: Parts) -> Result<(), BoxError> {
    ws.feed(request.uri.path()).await?;
    crate::support::echo(ws).await
}

#[tokio::test]
async fn what_asks_for_a_websocket_gets_one_and_the_rest_is_passed_on() {
    for by in [By::Hyper, By::Auto] {
        let layer = UpgradeLayer::new(echo).acceptor(Acceptor::new().subprotocols(["a"]));
        let address = layered(by, layer).await;
        for version in &VERSIONS[..if by == By::Auto { 2 } else { 1 }] {
            let offer = [("sec-websocket-protocol", "b, a")];
            let (mut peer, head) = Peer::open(address, *version, &offer).await;
            assert_eq!(head.get("sec-websocket-protocol"), Some("a"));
            assert_eq!(peer.text().await, "/chat");
            peer.expect_echo("hello").await;
            peer.close().await;
        }
        let request = "GET /page HTTP/1.1\r\nHost: example.com\r\n\r\n";
        let (head, body) = Peer::send_raw(address, request).await.refusal().await;
        assert_eq!((head.status, &body[..]), (200, "GET /page"));
    }
}

#[tokio::test]
async fn one_connection_of_http2_carries_pages_and_websockets() {
    let address = layered(By::Auto, UpgradeLayer::new(echo)).await;
    let mut http2 = Http2::connect(address).await;
    let mut peer = http2.ask(&[]);
    assert_eq!(peer.head().await.status, 200);
    let (head, body) = http2.plain(Method::GET, "/page").refusal().await;
    assert_eq!((head.status, &body[..]), (200, "GET /page"));
    assert_eq!(peer.text().await, "/chat");
    peer.expect_echo("hello").await;
    peer.close().await;
}

#[tokio::test]
async fn what_asks_in_vain_is_refused_and_not_passed_on() {
    let address = layered(By::Auto, UpgradeLayer::new(echo)).await;
    for version in VERSIONS {
        let peer = Peer::ask(address, version, &[("origin", "http://example.org")]).await;
        let (head, body) = peer.refusal().await;
        assert_eq!(head.status, 403, "{body}");
        assert!(body.contains("http://example.org"), "{body}");
    }
    let request = REQUEST.replace("Version: 13", "Version: 7");
    let (head, _) = Peer::send_raw(address, request).await.refusal().await;
    assert_eq!((head.status, head.get("sec-websocket-version")), (426, Some("13")));
    let error = Client::new()
        .header("origin", "http://example.org")
        .connect(format!("ws://{address}/"))
        .await
        .unwrap_err();
    assert_eq!(error.status().unwrap(), 403);
}

#[tokio::test]
async fn connections_are_counted_and_closed_with_1001_at_shutdown() {
    let connections = Connections::new();
    let address = layered(By::Auto, UpgradeLayer::new(echo).connections(connections.clone())).await;
    let mut peers = Vec::new();
    for version in VERSIONS {
        let (mut peer, _) = Peer::open(address, version, &[]).await;
        peer.text().await;
        peers.push(peer);
    }
    assert_eq!(connections.count(), 2);
    connections.close();
    let leaving = tokio::spawn(async move {
        for peer in &mut peers {
            assert_eq!(peer.closed().await, 1001);
        }
    });
    connections.drain(Duration::from_secs(10)).await;
    assert_eq!(connections.count(), 0);
    leaving.await.unwrap();
    // One that comes later is told at once.
    let (mut peer, _) = Peer::open(address, Version::HTTP_2, &[]).await;
    assert_eq!(peer.text().await, "/chat");
    assert_eq!(peer.closed().await, 1001);
}

#[tokio::test]
async fn how_a_handler_ends_decides_how_the_connection_is_closed() {
    async fn end(mut ws: WebSocket, _: Parts) -> Result<(), BoxError> {
        let message = ws.next().await.ok_or("no message")??;
        match message.as_text() {
            Some("panic") => panic!("as it was told to"),
            Some("fail") => Err("as it was told to".into()),
            _ => Ok(()),
        }
    }
    let address = layered(By::Auto, UpgradeLayer::new(end)).await;
    for version in VERSIONS {
        for (word, code) in [("panic", 1011), ("fail", 1011), ("return", 1000)] {
            let (mut peer, _) = Peer::open(address, version, &[]).await;
            peer.send(TEXT, word).await;
            assert_eq!(peer.closed().await, code, "{version:?} {word}");
        }
    }
}

/// With a window for each stream that is a fraction of the connection's, as the guide has it.
#[tokio::test]
async fn a_handler_that_does_not_read_holds_up_no_other_stream() {
    let layer = UpgradeLayer::new(|ws: WebSocket, request: Parts| async move {
        match request.uri.path() {
            "/deaf" => std::future::pending().await,
            _ => crate::support::echo(ws).await,
        }
    });
    let service = TowerToHyperService::new(layer.layer(Pages));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let stream = TokioIo::new(listener.accept().await.unwrap().0);
        let mut server = http2::Builder::new(TokioExecutor::new());
        server.enable_connect_protocol().initial_stream_window_size(64 << 10);
        server.serve_connection(stream, service).await
    });
    let mut http2 = Http2::connect(address).await;
    let mut deaf = http2.ask_for("/deaf", &[]);
    let mut peer = http2.ask(&[]);
    for peer in [&mut deaf, &mut peer] {
        assert_eq!(peer.head().await.status, 200);
    }
    deaf.send(TEXT, "never read".repeat(1 << 18)).await;
    for _ in 0..20 {
        peer.expect_echo(&"hello".repeat(1000)).await;
    }
}

/// hyper does not tell a reset of HTTP/2 from an end; without a Close both are errors.
#[tokio::test]
async fn a_client_that_vanishes_is_an_error() {
    let (ends, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let layer = UpgradeLayer::new(move |mut ws: WebSocket, _| {
        let ends = ends.clone();
        async move {
            ws.send("hello").await.unwrap();
            ends.send(ws.next().await).unwrap();
        }
    });
    let address = layered(By::Auto, layer).await;
    for version in VERSIONS {
        let (mut peer, _) = Peer::open(address, version, &[]).await;
        assert_eq!(peer.text().await, "hello");
        peer.vanish();
        let error = ended.recv().await.unwrap().unwrap().unwrap_err();
        assert!(error.is_retryable(), "{version:?}: {error}");
    }
}

#[tokio::test]
async fn a_handler_may_return_nothing() {
    let address = layered(By::Auto, UpgradeLayer::new(|ws, _| async { drop(ws) })).await;
    for version in VERSIONS {
        let (mut peer, _) = Peer::open(address, version, &[]).await;
        assert_eq!(peer.closed().await, 1000);
    }
}

#[test]
fn layer_and_service_are_cloned_and_shown() {
    let layer = UpgradeLayer::new(echo).clone();
    let service = layer.layer(Pages).clone();
    assert!(format!("{layer:?} {service:?}").contains("Pages"));
    assert!(matches!(service.get_ref(), Pages));
}
