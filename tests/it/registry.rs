//! A registry of the connections of a server: what it tells of them, and what they are told by it.

use std::time::Duration;

use tautline::{
    Client, CloseCode, CloseFrame, Config, ConnectionInfo, Http2, Http2Config, Message, Registry,
    Server, WebSocket, connect,
};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use crate::support::handshake::{HandlerResult, bind, echo, expect_echo, uri};
use crate::support::wait::until;

/// A server with a registry, and what to connect to.
async fn start<F, Fut>(set_up: impl FnOnce(Server) -> Server, handler: F) -> (Registry, String)
where
    F: Fn(WebSocket) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = HandlerResult> + Send + 'static,
{
    let (server, address) = bind().await;
    let registry = Registry::new();
    let server = set_up(server).registry(registry.clone());
    tokio::spawn(server.serve(handler));
    (registry, uri(address))
}

/// The only connection, once this holds of it.
async fn only(registry: &Registry, holds: impl Fn(&ConnectionInfo) -> bool) -> ConnectionInfo {
    until(|| registry.list().pop().filter(&holds)).await
}

async fn expect_end(ws: &mut WebSocket, code: CloseCode) {
    let next = tokio::time::timeout(Duration::from_secs(20), ws.next());
    let end = next.await.expect("it is not closed");
    assert!(end.is_none(), "{end:?}");
    assert_eq!(ws.close_frame().unwrap().code(), code);
}

#[tokio::test]
async fn it_tells_what_has_passed_through_a_connection() {
    let set_up = |server: Server| server.subprotocols(["chat.v1"]);
    let (registry, uri) = start(set_up, echo).await;
    let mut ws = Client::new().subprotocols(["chat.v1"]).connect(&uri).await.unwrap();
    expect_echo(&mut ws, "hello").await;
    expect_echo(&mut ws, &"x".repeat(1000)).await;
    // A message in fragments is one, compressed or not, and a ping is none.
    let mut writer = ws.message_writer(tautline::Kind::Binary);
    writer.write_all(b"one part, ").await.unwrap();
    writer.flush().await.unwrap();
    writer.write_all(b"and another").await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!(ws.next().await.unwrap().unwrap().as_bytes().len(), 21);
    ws.ping().await.unwrap();

    let info = only(&registry, |info| info.messages_sent == 3 && info.bytes_sent > 1041).await;
    assert_eq!((info.messages_received, info.queued), (3, 0));
    // Each frame of the client has a mask of 4 bytes, and 2 of header, or 4 if it is long; a ping
    // of 8 bytes, which is the number of the ping, is answered.
    assert_eq!(info.bytes_sent, (2 + 5) + (4 + 1000) + (2 + 21) + (2 + 8));
    assert!(info.bytes_received > info.bytes_sent, "{info}");
    assert_eq!(info.subprotocol.as_deref(), Some("chat.v1"));
    assert_eq!((info.http_version, info.compressed), (tautline::http::Version::HTTP_11, false));
    assert!(info.peer.addr().is_some());
    let line = registry.to_string();
    assert!(line.starts_with("1 127.0.0.1:") && line.contains(" sent 3/1044 B "), "{line}");

    assert!(registry.close(info.id, CloseCode::NORMAL));
    expect_end(&mut ws, CloseCode::NORMAL).await;
    until(|| registry.is_empty().then_some(())).await;
    assert!(registry.get(info.id).is_none());
}

#[tokio::test]
async fn keepalive_measures_the_round_trip() {
    let config = Config::new().ping_interval(Some(Duration::from_millis(20)));
    let (registry, uri) = start(|server| server.config(config), echo).await;
    let mut ws = connect(&uri).await.unwrap();
    let client = tokio::spawn(async move { ws.next().await.is_none() });
    // Told after the pong, when the next ping is due.
    only(&registry, |info| info.round_trip.is_some()).await;
    registry.close_all(CloseCode::NORMAL);
    assert!(client.await.unwrap());
}

#[tokio::test]
async fn it_sends_to_one_and_closes_some_with_a_code() {
    let (ids, mut opened) = mpsc::unbounded_channel();
    let (registry, uri) = start(
        |server| server,
        move |ws| {
            ids.send(ws.id().unwrap()).unwrap();
            echo(ws)
        },
    )
    .await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let ws = connect(&uri).await.unwrap();
        clients.push((opened.recv().await.unwrap(), ws));
    }
    let [(a, one), (b, two), (c, three)] = &mut clients[..] else { panic!() };
    for n in 0..3 {
        registry.send(*b, format!("number {n}")).unwrap();
    }
    for n in 0..3 {
        let message = two.next().await.unwrap().unwrap();
        assert_eq!(message, Message::from(format!("number {n}")));
    }
    // What was sent goes first.
    registry.send(*a, "the last").unwrap();
    let frame = CloseFrame::new(CloseCode::new(4000).unwrap(), "you know why").unwrap();
    assert_eq!(registry.close_where(|info| info.id == *a, frame.clone()), 1);
    assert!(registry.send(*a, "too late").is_err());
    assert_eq!(one.next().await.unwrap().unwrap(), Message::from("the last"));
    assert!(one.next().await.is_none());
    assert_eq!(one.close_frame(), Some(&frame));
    expect_echo(three, "still here").await;
    assert_eq!(registry.close_all(CloseCode::SERVICE_RESTART), 2);
    expect_end(two, CloseCode::SERVICE_RESTART).await;
    expect_end(three, CloseCode::SERVICE_RESTART).await;
    assert!(!registry.close(*c, CloseCode::NORMAL));
}

// A handler that only sends never waits, and one that is split polls in another task than it writes.
#[tokio::test]
async fn connections_hear_of_it_however_they_are_used() {
    let (registry, uri) = start(
        |server| server,
        |mut ws| async move {
            loop {
                ws.send("tick").await?;
                tokio::task::yield_now().await;
            }
        },
    )
    .await;
    let mut ws = connect(&uri).await.unwrap();
    ws.next().await.unwrap().unwrap();
    assert_eq!(registry.close_all(CloseCode::SERVICE_RESTART), 1);
    while let Some(message) = ws.next().await {
        message.unwrap();
    }
    assert_eq!(ws.close_frame().unwrap().code(), CloseCode::SERVICE_RESTART);

    let (registry, uri) = start(
        |server| server,
        |ws| async move {
            let (mut reader, mut writer) = ws.split();
            writer.send("split").await?;
            while let Some(message) = reader.next().await {
                writer.send(message?).await?;
            }
            Ok(())
        },
    )
    .await;
    let mut ws = connect(&uri).await.unwrap();
    assert_eq!(ws.next().await.unwrap().unwrap(), Message::from("split"));
    expect_echo(&mut ws, "hello").await;
    let id = only(&registry, |_| true).await.id;
    registry.send(id, "from elsewhere").unwrap();
    assert_eq!(ws.next().await.unwrap().unwrap(), Message::from("from elsewhere"));
    assert!(registry.close(id, CloseCode::NORMAL));
    expect_end(&mut ws, CloseCode::NORMAL).await;
}

// What is sent to a client that does not read waits within bounds, as anything else.
#[tokio::test]
async fn a_slow_reader_is_seen_by_its_queue_and_takes_no_more() {
    let (registry, uri) = start(|server| server, echo).await;
    let mut ws = connect(&uri).await.unwrap();
    let id = only(&registry, |_| true).await.id;
    let message = Message::from("x".repeat(100_000));
    // Until the system, the queue and what waits for it are full.
    until(|| registry.send(id, message.clone()).is_err().then_some(())).await;
    assert!(only(&registry, |info| info.queued > 0).await.queued < 1_000_000);
    let sent = async {
        let mut count = 0;
        while let Some(message) = ws.next().await {
            assert_eq!(message.unwrap().as_bytes().len(), 100_000);
            count += 1;
        }
        count
    };
    registry.close(id, CloseCode::NORMAL);
    let sent = tokio::time::timeout(Duration::from_secs(20), sent);
    assert!(sent.await.expect("it is not closed") > Registry::MAX_WAITING);
}

#[tokio::test]
async fn streams_of_http_2_are_connections_of_their_own() {
    let (registry, uri) = start(|server| server.http2(Http2Config::new()), echo).await;
    let client = Client::new().http2(Http2::Prior);
    let mut one = client.connect(&uri).await.unwrap();
    let mut two = client.connect(&uri).await.unwrap();
    expect_echo(&mut one, "hello").await;
    expect_echo(&mut two, "hello").await;
    let list = registry.list();
    assert_eq!(list.len(), 2);
    assert!(list.iter().all(|info| info.http_version == tautline::http::Version::HTTP_2));
    registry.close(list[0].id, CloseCode::NORMAL);
    expect_end(&mut one, CloseCode::NORMAL).await;
    expect_echo(&mut two, "hello").await;
}

#[tokio::test]
async fn a_connection_that_is_dropped_or_taken_apart_leaves_it() {
    let (registry, uri) = start(
        |server| server,
        |ws| async move {
            drop(ws);
            Ok(())
        },
    )
    .await;
    connect(&uri).await.unwrap().next().await;
    until(|| registry.is_empty().then_some(())).await;

    let (registry, uri) = start(
        |server| server,
        |ws| async move {
            let parts = ws.into_inner().expect("nothing is under way");
            std::future::pending::<()>().await;
            drop(parts);
            Ok(())
        },
    )
    .await;
    let _ws = connect(&uri).await.unwrap();
    until(|| registry.is_empty().then_some(())).await;
}

// What is over is in no list of what is open, whoever still holds it.
#[tokio::test]
async fn a_connection_that_has_ended_leaves_it_though_it_is_held() {
    let (registry, uri) = start(
        |server| server,
        |mut ws| async move {
            while ws.next().await.is_some() {}
            std::future::pending::<()>().await;
            drop(ws);
            Ok(())
        },
    )
    .await;
    let mut ws = connect(&uri).await.unwrap();
    only(&registry, |_| true).await;
    ws.close().await.unwrap();
    until(|| registry.is_empty().then_some(())).await;
}
