//! How connections end: by their handler, by the server, or before they are open.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, State};
use axum::response::Response;
use axum::routing::any;
use tautline::{BoxError, Connections, WebSocket};
use tautline_axum::{UpgradeError, WebSocketUpgrade};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::peer::{Http2, Peer, TEXT, VERSIONS};
use crate::{echo, serve};

#[tokio::test]
async fn how_a_handler_ends_decides_how_the_connection_is_closed() {
    async fn end(mut ws: WebSocket) -> Result<(), BoxError> {
        let message = ws.next().await.ok_or("no message")??;
        match message.as_text() {
            Some("panic") => panic!("as it was told to"),
            Some("fail") => Err("as it was told to".into()),
            _ => Ok(()),
        }
    }
    let app =
        Router::new().route("/chat", any(|ws: WebSocketUpgrade| async { ws.on_upgrade(end) }));
    let address = serve(app).await;
    for version in VERSIONS {
        for (word, code) in [("panic", 1011), ("fail", 1011), ("return", 1000)] {
            let (mut peer, _) = Peer::open(address, version, &[]).await;
            peer.send(TEXT, word).await;
            assert_eq!(peer.closed().await, code, "{version:?} {word}");
        }
    }
}

#[tokio::test]
async fn a_handler_that_drops_the_connection_closes_it() {
    let handler = |ws: WebSocketUpgrade| async { ws.on_upgrade(|ws| async { drop(ws) }) };
    let address = serve(Router::new().route("/chat", any(handler))).await;
    for version in VERSIONS {
        let (mut peer, _) = Peer::open(address, version, &[]).await;
        assert_eq!(peer.closed().await, 1000);
    }
}

/// The server ends only after its WebSockets have, and each is told.
#[tokio::test]
async fn a_graceful_shutdown_closes_with_1001() {
    let connections = Connections::new();
    let app = Router::new()
        .route("/chat", any(|ws: WebSocketUpgrade| async { ws.on_upgrade(echo) }))
        .layer(Extension(connections.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let closing = connections.clone();
    let server = axum::serve(listener, app).with_graceful_shutdown(async move {
        stopped.await.unwrap();
        closing.close();
    });
    let draining = connections.clone();
    let serving = tokio::spawn(async move {
        server.await.unwrap();
        draining.drain(Duration::from_secs(10)).await;
    });

    let mut peers = Vec::new();
    for version in VERSIONS {
        let (mut peer, _) = Peer::open(address, version, &[]).await;
        peer.expect_echo("hello").await;
        peers.push(peer);
    }
    // Several on one connection.
    let mut http2 = Http2::connect(address).await;
    for _ in 0..3 {
        let mut peer = http2.ask(&[]);
        assert_eq!(peer.head().await.status, 200);
        peer.expect_echo("hello").await;
        peers.push(peer);
    }
    assert_eq!(connections.count(), 5);
    stop.send(()).unwrap();
    for peer in &mut peers {
        assert_eq!(peer.closed().await, 1001);
    }
    drop((peers, http2));
    serving.await.unwrap();
    assert_eq!(connections.count(), 0);
}

#[derive(Clone)]
struct Gate {
    asked: Arc<Notify>,
    errors: mpsc::UnboundedSender<UpgradeError>,
}

#[tokio::test]
async fn a_client_that_leaves_before_the_response_fails_the_upgrade() {
    async fn handler(ws: WebSocketUpgrade, State(gate): State<Gate>) -> Response {
        let errors = gate.errors.clone();
        let response = ws
            .on_failed_upgrade(move |error| errors.send(error).unwrap())
            .on_upgrade(crate::reject::never);
        gate.asked.notify_one();
        // The response is never sent.
        std::future::pending::<()>().await;
        response
    }
    for version in VERSIONS {
        let (errors, mut failed) = mpsc::unbounded_channel();
        let gate = Gate { asked: Arc::default(), errors };
        let address =
            serve(Router::new().route("/chat", any(handler)).with_state(gate.clone())).await;
        let peer = Peer::ask(address, version, &[]).await;
        gate.asked.notified().await;
        peer.vanish();
        let error = failed.recv().await.unwrap();
        assert!(matches!(error, UpgradeError::Connection(_)), "{version:?}: {error:?}");
    }
}
