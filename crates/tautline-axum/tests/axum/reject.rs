//! Requests that are rejected, with the status and the text that say why.

use std::error::Error;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use http::{Method, Request, Version};
use tautline::HandshakeError;
use tautline_axum::{WebSocketUpgrade, WebSocketUpgradeRejection};

use crate::peer::{Http2, Peer, REQUEST, VERSIONS};
use crate::serve;

/// The handler of a connection that must not be opened.
pub(crate) async fn never(_: tautline::WebSocket) {
    panic!("it was opened");
}

fn app() -> Router {
    Router::new().route("/chat", any(|ws: WebSocketUpgrade| async { ws.on_upgrade(never) }))
}

#[tokio::test]
async fn over_http1_each_cause_has_its_status() {
    let address = serve(app()).await;
    let but = |part, by| REQUEST.replacen(part, by, 1);
    for (request, status, text) in [
        (but("Version: 13", "Version: 8"), 426, "Sec-WebSocket-Version is not 13\n"),
        (but("Upgrade: websocket\r\n", ""), 426, "Upgrade does not list websocket\n"),
        // axum's own looks for the word anywhere in the header.
        (but("Connection: Upgrade", "Connection: no-upgrade"), 426, "Connection does not list"),
        (but("Key: dGhl", "Kez: dGhl"), 400, "Sec-WebSocket-Key is missing\n"),
        (but("dGhl", "dGh"), 400, "Sec-WebSocket-Key is not base64 of 16 bytes\n"),
        (but("GET", "POST"), 405, "the method is not GET\n"),
        (but("HTTP/1.1", "HTTP/1.0"), 505, "the request is not HTTP/1.1\n"),
        (but("Host", "Sec-WebSocket-Protocol: a b\r\nHost"), 400, "not a token"),
    ] {
        let mut peer = Peer::send_raw(address, &request).await;
        if status == 505 {
            // hyper answers in the version of the request.
            let answer = peer.all().await;
            assert!(answer.starts_with("HTTP/1.0 505 "), "{answer}");
            continue;
        }
        let head = peer.head().await;
        let body = peer.body(&head).await;
        assert_eq!(head.status, status, "{request}{body}");
        assert!(body.contains(text), "{request}{body}");
        assert_eq!(head.get("sec-websocket-version"), (status == 426).then_some("13"));
    }
}

#[tokio::test]
async fn over_http2_each_cause_has_its_status() {
    let address = serve(app()).await;
    let mut http2 = Http2::connect(address).await;
    let (head, body) = http2.ask(&[("sec-websocket-version", "8")]).refusal().await;
    assert_eq!((head.status, &body[..]), (400, "Sec-WebSocket-Version is not 13\n"));
    let (head, body) = http2.plain(Method::GET, "/chat").refusal().await;
    assert_eq!((head.status, head.get("allow")), (405, Some("CONNECT")), "{body}");
}

/// axum answers this itself: the extractor is not asked.
#[tokio::test]
async fn a_route_for_get_does_not_serve_http2() {
    let handler = |ws: WebSocketUpgrade| async { ws.on_upgrade(never) };
    let address = serve(Router::new().route("/chat", get(handler))).await;
    let (head, _) = Peer::ask(address, Version::HTTP_2, &[]).await.refusal().await;
    assert_eq!(head.status, 405);
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_by_default() {
    let address = serve(app()).await;
    for version in VERSIONS {
        let peer = Peer::ask(address, version, &[("origin", "http://example.org")]).await;
        let (head, body) = peer.refusal().await;
        assert_eq!(head.status, 403);
        assert!(body.contains("http://example.org"), "{body}");
    }
}

#[tokio::test]
async fn a_handler_can_look_at_the_rejection() {
    async fn handler(ws: Result<WebSocketUpgrade, WebSocketUpgradeRejection>) -> Response {
        match ws {
            Ok(ws) => ws.on_upgrade(never),
            Err(WebSocketUpgradeRejection::Handshake(HandshakeError::MissingUpgrade)) => {
                "a page".into_response()
            }
            Err(rejection) => rejection.into_response(),
        }
    }
    let address = serve(Router::new().route("/chat", any(handler))).await;
    let page = "GET /chat HTTP/1.1\r\nHost: example.com\r\n\r\n";
    let (head, body) = Peer::send_raw(address, page).await.refusal().await;
    assert_eq!((head.status, &body[..]), (200, "a page"));
    let other = REQUEST.replace("Version: 13", "Version: 8");
    let (head, _) = Peer::send_raw(address, other).await.refusal().await;
    assert_eq!(head.status, 426);
}

#[tokio::test]
async fn a_request_that_did_not_come_from_hyper_is_rejected() {
    let request = Request::get("/")
        .header("host", "example.com")
        .header("upgrade", "websocket")
        .header("connection", "Upgrade")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-version", "13");
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    let rejection = <WebSocketUpgrade as FromRequestParts<()>>::from_request_parts(&mut parts, &())
        .await
        .unwrap_err();
    assert_eq!(rejection, WebSocketUpgradeRejection::NotUpgradable);
    assert_eq!(rejection.status(), 500);
    assert_eq!(rejection.to_string(), "the connection of this request cannot be upgraded");
    assert!(rejection.source().is_none());
    assert_eq!(rejection.into_response().status(), 500);
}
