//! Requests one by one: `Acceptor::read`, then `Incoming::accept` or `Incoming::refuse`, over your
//! own stream.

use std::net::SocketAddr;

use http::{Response, StatusCode};
use tautline::{
    AcceptError, Acceptor, Client, ConnectError, HandshakeError, Incoming, Peer, Upgrade,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use crate::support::handshake::{REQUEST, request_but};
use crate::support::peer::encode;

/// A stream on which a good request has arrived, with these bytes after it, and the request.
async fn requested(behind: &[u8]) -> (DuplexStream, Incoming<DuplexStream>) {
    let (mut near, far) = duplex(4096);
    near.write_all(&[REQUEST.as_bytes(), behind].concat()).await.unwrap();
    (near, Acceptor::new().read(far).await.unwrap())
}

// Authentication was only possible with `Server` on TCP: with your own stream you could neither see
// the request nor refuse it.
#[tokio::test]
async fn who_decides_sees_the_request_and_the_client_the_decision() {
    for (token, allowed) in [("right", true), ("wrong", false)] {
        let (near, far) = duplex(4096);
        let server = tokio::spawn(async move {
            let acceptor = Acceptor::new().subprotocols(["chat.v1"]);
            let incoming = acceptor.read(far).await.unwrap();
            assert_eq!(incoming.request().uri(), "/room?id=7");
            if incoming.request().headers()["authorization"] != "right" {
                let response = Response::builder().status(401).body("no such token").unwrap();
                assert_eq!(incoming.refuse(response).await.unwrap(), StatusCode::UNAUTHORIZED);
                return;
            }
            let upgrade = Upgrade::default().header("set-cookie", "session=1");
            let mut ws = incoming.accept(upgrade).await.unwrap();
            assert_eq!(ws.subprotocol(), Some("chat.v1"));
            assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("hello"));
            ws.close().await.unwrap();
        });
        let client = Client::new().header("authorization", token).subprotocols(["chat.v1"]);
        let opened = client.connect_over("ws://localhost/room?id=7", near).await;
        match opened {
            Ok(mut ws) => {
                assert!(allowed);
                ws.send("hello").await.unwrap();
                assert!(ws.next().await.is_none());
            }
            Err(ConnectError::Refused(response)) => {
                assert!(!allowed);
                assert_eq!(response.status(), 401);
                assert_eq!(&response.body()[..], b"no such token");
            }
            Err(error) => panic!("{error:?}"),
        }
        server.await.unwrap();
    }
}

/// RFC 6455 section 4.2.1: what is not an opening handshake never gets as far as a decision, and is
/// answered with the reason.
#[tokio::test]
async fn a_request_that_is_none_is_answered_by_read() {
    let (mut near, far) = duplex(4096);
    let server = tokio::spawn(async move { Acceptor::new().read(far).await.map(|_| ()) });
    near.write_all(&request_but("Version: 13", "Version: 8")).await.unwrap();
    near.shutdown().await.unwrap();
    let mut answer = String::new();
    near.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    let error = server.await.unwrap().unwrap_err();
    assert!(
        matches!(error, AcceptError::Handshake(HandshakeError::UnsupportedVersion)),
        "{error:?}"
    );
}

/// What arrived after the request before the decision is frames, and none is lost.
#[tokio::test]
async fn frames_that_come_ahead_of_the_decision_are_delivered_after_it() {
    let (mut near, incoming) = requested(&encode(true, 0x81, b"early")).await;
    near.write_all(&encode(true, 0x81, b"meanwhile")).await.unwrap();
    let mut ws = incoming.accept(Upgrade::default()).await.unwrap();
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("early"));
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("meanwhile"));
}

#[tokio::test]
async fn a_request_that_is_dropped_ends_the_stream_without_an_answer() {
    let (mut near, incoming) = requested(b"").await;
    let debug = format!("{incoming:?}");
    assert!(debug.contains("/chat") && !debug.contains("localhost"), "{debug}");
    drop(incoming);
    let mut answer = Vec::new();
    near.read_to_end(&mut answer).await.unwrap();
    assert!(answer.is_empty());
}

/// A decision may take longer than the handshake's deadline, which is for the client.
#[tokio::test(start_paused = true)]
async fn the_decision_may_take_its_time() {
    let (_near, incoming) = requested(b"").await;
    tokio::time::sleep(10 * Acceptor::DEFAULT_HANDSHAKE_TIMEOUT).await;
    assert!(incoming.accept(Upgrade::default()).await.is_ok());
}

/// An invalid response from the application is a 500 for the client, and an error that names it for
/// the application.
#[tokio::test]
async fn a_subprotocol_that_was_not_offered_is_a_500() {
    let (mut near, incoming) = requested(b"").await;
    near.shutdown().await.unwrap();
    let error = incoming.accept(Upgrade::default().subprotocol("mqtt")).await.unwrap_err();
    assert!(matches!(error, AcceptError::Response(_)), "{error:?}");
    let mut answer = String::new();
    near.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
}

/// A server behind a proxy knows its client's address from elsewhere, and so do its handlers and
/// events then.
#[tokio::test]
async fn the_peer_is_whoever_the_application_says() {
    let client = Peer::from(SocketAddr::from(([192, 0, 2, 7], 50_000))).with_secure(true);
    let (_near, incoming) = requested(b"").await;
    assert_eq!(*incoming.peer(), Peer::unknown());
    assert_eq!(incoming.peer().to_string(), "unknown");
    let incoming = incoming.with_peer(client.clone());
    assert_eq!(*incoming.peer(), client);
    let ws = incoming.accept(Upgrade::default()).await.unwrap();
    assert_eq!(*ws.peer(), client);
    let (reader, writer) = ws.with_peer(client.addr().unwrap()).split();
    assert_eq!(reader.peer().to_string(), "192.0.2.7:50000");
    assert_eq!(writer.peer(), client.with_secure(false));
    assert_eq!(
        (reader.peer_addr(), writer.peer_addr()),
        (writer.peer().addr(), reader.peer().addr())
    );
}

/// They are in the task of the connection as long as it lives: a pointer each.
#[test]
fn futures_of_a_handshake_are_small() {
    let (_, far) = duplex(1);
    assert!(size_of_val(&Acceptor::new().read(far)) <= 2 * size_of::<usize>());
    let (_, far) = duplex(1);
    assert!(size_of_val(&Acceptor::new().accept(far)) <= 2 * size_of::<usize>());
}
