//! Members that read slowly, or not at all.

use tautline::CloseCode;
use tautline_hub::{Attach, Hub, Publication, Slow, Subscribe};

use crate::support::{Peer, member, member_with, text, topic};

/// Larger than a pipe, so that it is never written at once.
fn large(number: usize) -> String {
    format!("{number:>2000}")
}

/// All numbers up to the end.
async fn numbers(peer: &mut Peer) -> Vec<usize> {
    let mut numbers = Vec::new();
    loop {
        let text = text(peer).await;
        match text.trim().parse() {
            Ok(number) => numbers.push(number),
            Err(_) => return numbers,
        }
    }
}

/// Publishes to one who does not read; what another one gets shows when all has been handed on.
async fn flood(hub: &Hub, count: usize, publication: impl Fn(usize) -> Publication) {
    let (witness, mut peer) = member(hub);
    witness.subscribe(&topic("a"), Subscribe::new()).await.unwrap();
    for number in 0..count {
        hub.publish(&topic("a"), publication(number)).await.unwrap();
        text(&mut peer).await;
    }
}

#[tokio::test]
async fn the_oldest_are_dropped_and_counted() {
    let hub = Hub::new();
    let (alice, mut peer) = member_with(&hub, Attach::new(), 1000);
    let slow = Slow::drop_oldest(10_000);
    alice.subscribe(&topic("a"), Subscribe::new().slow(slow)).await.unwrap();
    flood(&hub, 200, |number| Publication::new(large(number))).await;
    let counts = alice.counts();
    assert!(counts.waiting <= 10_000 && counts.waiting > 5_000, "{counts:?}");
    alice.send("end");
    let got = numbers(&mut peer).await;
    assert!(got.windows(2).all(|two| two[0] < two[1]), "{got:?}");
    assert_eq!(got.last(), Some(&199), "the newest is there");
    let counts = alice.counts();
    assert_eq!(counts.delivered + counts.dropped, 200, "{counts:?}");
    assert_eq!(counts.delivered, got.len() as u64);
    assert!(counts.dropped > 100);
}

#[tokio::test]
async fn only_the_latest_of_each_key_waits() {
    let hub = Hub::new();
    let (alice, mut peer) = member_with(&hub, Attach::new(), 1000);
    let slow = Slow::latest(100_000);
    alice.subscribe(&topic("a"), Subscribe::new().slow(slow)).await.unwrap();
    let keyed = |number: usize| Publication::new(large(number)).key(format!("key {}", number % 3));
    flood(&hub, 200, keyed).await;
    alice.send("end");
    let got = numbers(&mut peer).await;
    for last in 197..200 {
        assert!(got.contains(&last), "the latest of each key is there: {got:?}");
    }
    for key in 0..3 {
        let of_key: Vec<_> = got.iter().filter(|number| *number % 3 == key).collect();
        assert!(of_key.windows(2).all(|two| two[0] < two[1]), "never an old one after a newer");
    }
    let counts = alice.counts();
    assert_eq!((counts.delivered + counts.replaced, counts.dropped), (200, 0), "{counts:?}");
    assert!(counts.replaced > 100);
}

#[tokio::test]
async fn who_may_miss_nothing_is_closed_with_the_code_of_its_policy() {
    let hub = Hub::new();
    let (alice, mut peer) = member_with(&hub, Attach::new(), 1000);
    let slow = Slow::disconnect(10_000, CloseCode::POLICY_VIOLATION);
    alice.subscribe(&topic("a"), Subscribe::new().slow(slow)).await.unwrap();
    flood(&hub, 200, |number| Publication::new(large(number))).await;
    let mut next = 0;
    while let Some(message) = peer.next().await {
        let message = message.unwrap();
        assert_eq!(message.as_text().unwrap().trim().parse(), Ok(next), "none is missing before");
        next += 1;
    }
    assert_eq!(peer.close_frame().unwrap().code(), CloseCode::POLICY_VIOLATION);
    let counts = alice.counts();
    assert_eq!(counts.delivered, next);
    assert_eq!(counts.waiting, 0);
}

#[tokio::test]
async fn all_subscriptions_of_a_member_have_a_bound_together() {
    let hub = Hub::new();
    let attach = Attach::new().slow(Slow::drop_oldest(20_000)).limit(50_000);
    let (alice, mut peer) = member_with(&hub, attach, 1000);
    let topics: Vec<_> = (0..10).map(|number| topic(&format!("many.{number}"))).collect();
    for one in &topics {
        alice.subscribe(one, Subscribe::new()).await.unwrap();
    }
    let (witness, mut witnesses) = member(&hub);
    witness.subscribe(topic("many.9"), Subscribe::new()).await.unwrap();
    for number in 0..10 {
        for one in &topics {
            hub.publish(one, large(number)).await.unwrap();
        }
        text(&mut witnesses).await;
    }
    while let Some(Ok(_)) = peer.next().await {}
    assert_eq!(peer.close_frame().unwrap().code(), CloseCode::TRY_AGAIN_LATER);
    assert!(alice.counts().dropped > 0);
}

// A member that reads nothing costs those that read nothing.
#[tokio::test]
async fn others_do_not_wait_for_one_that_does_not_read() {
    let hub = Hub::new();
    let (stuck, _stuck) = member_with(&hub, Attach::new(), 100);
    stuck.subscribe(&topic("a"), Subscribe::new().slow(Slow::drop_oldest(0))).await.unwrap();
    flood(&hub, 1000, |number| Publication::new(large(number))).await;
    let counts = stuck.counts();
    assert!(counts.dropped > 900, "{counts:?}");
}

// What is published, and then something else in the same round: the first is fed ahead of the second.
#[tokio::test]
async fn what_there_is_room_for_does_not_wait() {
    let hub = Hub::new();
    let (alice, mut peer) = member_with(&hub, Attach::new(), 100_000);
    let none = Slow::disconnect(0, CloseCode::POLICY_VIOLATION);
    alice.subscribe(&topic("a"), Subscribe::new().slow(none)).await.unwrap();
    for number in 0..3 {
        hub.publish(&topic("a"), number.to_string()).await.unwrap();
    }
    alice.send("end");
    assert_eq!(numbers(&mut peer).await, [0, 1, 2]);
    assert_eq!(alice.counts().delivered, 3);
}
