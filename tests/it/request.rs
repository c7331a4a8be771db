//! What a client can be asked to connect to: text, a URI, a request with headers.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;

use http::{Request, Uri};
use tautline::{BuildError, Client, ConnectError, UriError, WebSocket, WsUri, connect};

use crate::support::handshake::{Head, answering, switching};

/// The request that a server gets.
async fn sent<F>(connecting: impl FnOnce(String) -> F) -> Head
where
    F: Future<Output = Result<WebSocket, ConnectError>>,
{
    let (address, serving) = answering(|request| switching(request, "").into()).await;
    connecting(format!("ws://{address}/feed?since=7")).await.unwrap();
    serving.await.unwrap().0
}

// Users of tokio-tungstenite have an `http::Uri` or a request in their hands: `connect` took text alone.
#[tokio::test]
async fn text_and_uris_lead_to_the_same_request() {
    let client = &Client::new();
    let requests = [
        sent(|uri| async move { connect(uri.as_str()).await }).await,
        sent(connect).await,
        sent(|uri| async move { connect(&uri).await }).await,
        sent(|uri| async move { connect(Cow::from(uri)).await }).await,
        sent(|uri| connect(uri.into_boxed_str())).await,
        sent(|uri| connect(Arc::<str>::from(uri))).await,
        sent(|uri| async move { connect(&Arc::<str>::from(uri)).await }).await,
        sent(|uri| connect(uri.parse::<Uri>().unwrap())).await,
        sent(|uri| async move { connect(&uri.parse::<Uri>().unwrap()).await }).await,
        sent(|uri| client.connect(WsUri::parse(&uri).unwrap())).await,
        sent(|uri| async move { client.connect(&WsUri::parse(&uri).unwrap()).await }).await,
        sent(|uri| client.connect(Request::get(uri).body(()).unwrap())).await,
        sent(|uri| async move { client.connect(&Request::get(uri).body(()).unwrap()).await }).await,
    ];
    for request in requests {
        assert_eq!(request.first, "GET /feed?since=7 HTTP/1.1");
    }
}

#[tokio::test]
async fn the_headers_of_a_request_replace_those_of_the_client_once() {
    let client =
        Client::new().header("authorization", "Bearer client").header("user-agent", "client");
    let connecting = |uri| {
        let request = Request::get(uri).header("authorization", "Bearer request");
        client.connect(request.header("x-id", "a").header("x-id", "b").body(()).unwrap())
    };
    let request = sent(connecting).await;
    assert_eq!(request.get("authorization"), Some("Bearer request"));
    assert_eq!(request.get("user-agent"), Some("client"));
    assert_eq!(request.all("x-id"), ["a", "b"]);

    let request = sent(|uri| client.connect(uri)).await;
    assert_eq!(request.get("authorization"), Some("Bearer client"));
    assert_eq!(request.get("x-id"), None);
}

#[tokio::test]
async fn a_request_that_cannot_be_sent_is_an_error_that_says_why() {
    let request = || Request::get("ws://127.0.0.1:1/");
    let cases = [
        (request().method("POST"), BuildError::Method),
        // As tungstenite's users write it, who make the whole of the handshake by hand.
        (
            request().header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            BuildError::ReservedHeader("Sec-WebSocket-Key"),
        ),
        (request().header("host", "a b"), BuildError::Host),
    ];
    for (request, expected) in cases {
        match connect(request.body(()).unwrap()).await {
            Err(ConnectError::Request(error)) => assert_eq!(error, expected),
            other => panic!("{expected:?}: {other:?}"),
        }
    }
    for uri in ["/feed", "https://example.com/", "127.0.0.1:80"] {
        let uri: Uri = uri.parse().unwrap();
        let asked = connect(Request::get(uri.clone()).body(()).unwrap()).await;
        for result in [asked, connect(uri).await] {
            match result {
                Err(ConnectError::Uri(error)) => assert_eq!(error, UriError::Scheme),
                other => panic!("{other:?}"),
            }
        }
    }
}
