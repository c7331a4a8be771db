//! Histories of Redis that go back: what was lost is never mistaken for what is published later.

use std::sync::Arc;

use tautline_hub::Position;
use tautline_hub::broker::{History, Range};

use crate::node::{Node, topic};
use crate::redis::settings;
use crate::server::{Kind, words};

async fn after(node: &Node, offset: u64) -> History {
    node.broker.history(&topic("a"), Range::After(offset), 100).await.unwrap()
}

fn texts(history: &History) -> Vec<&str> {
    history.publications.iter().map(|(_, it)| it.message().as_text().unwrap()).collect()
}

async fn top(node: &Node) -> Option<Position> {
    node.broker.tops(vec![topic("a")]).await.unwrap()[0]
}

// A server that saves now and then lost its last second. It counted on from what it had, so a subscriber that
// had seen the lost offset 3 was told that it had missed nothing when the new 3 was there.
#[tokio::test]
async fn offsets_that_were_lost_are_not_used_again() {
    let Some(mut server) = Kind::Redis.start_with(words("--appendonly no")) else { return };
    let mut node = Node::connect(server.broker()).await;
    node.subscribe(&["a"]).await;
    node.keep("a", "1").await;
    let saved = node.keep("a", "2").await;
    assert_eq!(server.say(&["SAVE"]), "+OK");
    let lost = node.keep("a", "lost").await;
    for _ in 0..3 {
        node.arrival().await;
    }
    server.kill();
    node.lost().await;
    server.begin();
    node.connected().await;
    assert_eq!(top(&node).await, Some(saved), "it went back");
    assert!(!after(&node, lost.offset).await.complete, "beyond the end");
    let next = node.keep("a", "3").await;
    assert_eq!((next.epoch, next.offset), (saved.epoch, 1_000_000_001));
    assert_eq!(node.arrival().await.place, Some((next, saved.offset)), "the hole is none");
    // One that had all that is left has missed nothing but the new one. One that had what is lost is told.
    for (offset, complete) in [(saved.offset, true), (lost.offset, false)] {
        let since = after(&node, offset).await;
        assert_eq!((texts(&since), since.complete), (vec!["3"], complete));
    }
    assert!(after(&node, 0).await.complete);
    assert_eq!(node.keep("a", "4").await.offset, 1_000_000_002);
    assert_eq!(texts(&after(&node, 1).await), ["2", "3", "4"]);
}

#[tokio::test]
async fn a_server_that_lost_everything_begins_new_epochs() {
    let options = words("--appendonly no --save ");
    let Some(mut server) = Kind::Redis.start_with(options) else { return };
    let mut node = Node::connect(server.broker()).await;
    let old = node.keep("a", "1").await;
    server.kill();
    node.lost().await;
    server.begin();
    node.connected().await;
    assert_eq!(top(&node).await, None);
    let new = node.keep("a", "2").await;
    assert_ne!(new.epoch, old.epoch);
    assert_eq!(new.offset, 1);
}

#[tokio::test]
async fn the_replica_that_takes_over_is_found_and_goes_on() {
    let Some(mut first) = Kind::Redis.start() else { return };
    let replica = format!("--replicaof 127.0.0.1 {} --repl-diskless-sync-delay 0", first.port);
    let Some(second) = Kind::Redis.start_with(words(&replica)) else { return };
    // The replica comes first in the list and is passed over.
    let broker = settings(&second.url()).or(&first.url()).build().unwrap();
    let mut node = Node::connect(Arc::new(broker)).await;
    node.subscribe(&["a"]).await;
    let before = node.keep("a", "1").await;
    assert_eq!(node.text().await.1, "1");
    // The replica has it when it says so.
    while first.say(&["WAIT 1 10000"]) != ":1" {}
    first.kill();
    assert!(node.lost().await.is_retryable());
    assert_eq!(second.say(&["REPLICAOF NO ONE"]), "+OK");
    node.connected().await;
    let after_it = node.keep("a", "2").await;
    assert_eq!((after_it.epoch, after_it.offset), (before.epoch, 1_000_000_001));
    assert_eq!(node.arrival().await.place, Some((after_it, before.offset)));
    assert!(after(&node, before.offset).await.complete);
}

#[tokio::test]
async fn a_primary_that_becomes_a_replica_is_left() {
    let Some(first) = Kind::Redis.start() else { return };
    let Some(second) = Kind::Redis.start() else { return };
    let broker = settings(&first.url()).or(&second.url()).build().unwrap();
    let mut node = Node::connect(Arc::new(broker)).await;
    node.subscribe(&["a"]).await;
    node.keep("a", "1").await;
    node.arrival().await;
    first.say(&[&format!("REPLICAOF 127.0.0.1 {}", second.port)]);
    let refused = node.broker.publish(
        &topic("a"),
        crate::node::encoded("x"),
        Some(crate::node::keep()),
        None,
    );
    assert!(refused.await.unwrap_err().is_retryable());
    node.lost().await;
    node.connected().await;
    node.keep("a", "2").await;
    assert_eq!(node.text().await.1, "2");
}
