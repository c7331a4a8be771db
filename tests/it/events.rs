//! What is logged of an opening handshake, whoever answers it.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use axum::Router;
use axum::routing::any;
use http::{Request, Response};
use tautline::{Acceptor, Client, RequestBody};
use tautline_axum::WebSocketUpgrade;
use tautline_http::UpgradeLayer;
use tokio::sync::oneshot;
use tower_layer::Layer;

use crate::support::handshake::{answer_to, bind, echo, expect_echo, request_with, uri};
use crate::support::log::Log;

/// A service with nothing behind its WebSockets.
#[derive(Clone)]
struct Nothing;

impl tower_service::Service<Request<RequestBody>> for Nothing {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<RequestBody>) -> Self::Future {
        ready(Ok(Response::default()))
    }
}

/// Who answers the handshakes of a server.
#[derive(Clone, Copy, Debug)]
enum By {
    Server,
    Layer,
    Extractor,
}

// What went through an extractor or the layer was logged in other words or not at all: nobody who
// searched the log for a refused client found it there.
#[tokio::test]
async fn what_is_logged_of_a_handshake_is_the_same_whoever_answers_it() {
    for by in [By::Server, By::Layer, By::Extractor] {
        let log = Log::default();
        let _collecting = log.start();
        let (server, address) = bind().await;
        let (stop, stopped) = oneshot::channel::<()>();
        let server = server.with_graceful_shutdown(async { drop(stopped.await) });
        let server = server.acceptor(Acceptor::new().subprotocols(["chat"]));
        let serving = match by {
            By::Server => tokio::spawn(server.serve(echo)),
            By::Layer => {
                let service = UpgradeLayer::new(|ws, _| echo(ws)).layer(Nothing);
                tokio::spawn(server.serve_service(service))
            }
            By::Extractor => {
                let upgrade = |upgrade: WebSocketUpgrade| async { upgrade.on_upgrade(echo) };
                let app = Router::new().route("/", any(upgrade)).route("/chat", any(upgrade));
                tokio::spawn(server.serve_service(app))
            }
        };
        let mut ws = Client::new().subprotocols(["chat"]).connect(uri(address)).await.unwrap();
        expect_echo(&mut ws, "hello").await;
        let foreign = request_with("Origin: http://example.org\r\n");
        assert_eq!(answer_to(address, foreign).await.0.status(), 403);
        let no_key = request_with("Sec-WebSocket-Key: again\r\n");
        assert_eq!(answer_to(address, no_key).await.0.status(), 400);
        ws.close().await.unwrap();
        // Some of it is logged when the client has gone.
        drop(stop);
        serving.await.unwrap().unwrap();
        let text = log.text();
        let count = |event: &str| text.matches(event).count();
        // The client's own event is on this thread too.
        assert_eq!(count("connection opened"), 2, "{by:?}: {text}");
        assert_eq!(count("connection opened subprotocol=\"chat\""), 1, "{by:?}: {text}");
        let refused = "connection not accepted error=the handshake was refused with ";
        assert_eq!(count("connection not accepted"), 2, "{by:?}: {text}");
        assert_eq!(count(&format!("{refused}403 Forbidden: ")), 1, "{by:?}: {text}");
        assert_eq!(count(&format!("{refused}400 Bad Request: ")), 1, "{by:?}: {text}");
    }
}
