//! Members that read slowly, or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tautline::{CloseCode, CloseFrame};
use tautline_hub::{
    Attach, Deliveries, Ended, Hub, Outgoing, Outlet, Publication, Sent, Slow, Subscribe,
};

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

// Only as much was sent at once as the connection's own queue takes, 64 KiB. The rest of a burst counted as what waits
// for want of room, though there was room: members that read were closed, or missed what they had room for, when the
// worker came late to what others had published.
#[tokio::test]
async fn a_burst_that_there_is_room_for_goes_out_whole() {
    let hub = Hub::new();
    let (alice, mut peer) = member_with(&hub, Attach::new(), 1_000_000);
    let none = Slow::disconnect(0, CloseCode::POLICY_VIOLATION);
    alice.subscribe(&topic("a"), Subscribe::new().slow(none)).await.unwrap();
    // Without a turn for the worker: all of it comes in one round.
    for number in 0..400 {
        hub.publish(&topic("a"), large(number)).await.unwrap();
    }
    hub.publish(&topic("a"), "end").await.unwrap();
    assert_eq!(numbers(&mut peer).await, (0..400).collect::<Vec<_>>());
    assert_eq!(alice.counts().delivered, 401);
}

// The same with policies under which nothing is closed: what there was room for was dropped, or replaced. And with the
// bound for all that waits for a member.
#[tokio::test]
async fn of_a_burst_that_there_is_room_for_nothing_is_dropped() {
    for (limit, slow) in [
        (usize::MAX, Slow::drop_oldest(3000)),
        (usize::MAX, Slow::latest(100_000)),
        (3000, Slow::drop_oldest(1_000_000)),
    ] {
        let hub = Hub::new();
        let (alice, mut peer) = member_with(&hub, Attach::new().limit(limit), 1_000_000);
        alice.subscribe(&topic("a"), Subscribe::new().slow(slow)).await.unwrap();
        for number in 0..400 {
            hub.publish(&topic("a"), large(number)).await.unwrap();
        }
        hub.publish(&topic("a"), "end").await.unwrap();
        assert_eq!(numbers(&mut peer).await, (0..400).collect::<Vec<_>>());
        let counts = alice.counts();
        assert_eq!((counts.delivered, counts.dropped, counts.replaced), (401, 0, 0));
    }
}

// The reader had taken what was sent before, but the worker came late: what others had published meanwhile was counted
// ahead of what the connection had room for by then, and members that read were closed.
#[tokio::test]
async fn who_has_room_again_is_asked_before_more_waits() {
    for by_topic in [true, false] {
        let hub = Hub::new();
        let slow = Slow::disconnect(100_000, CloseCode::POLICY_VIOLATION);
        let attach = Attach::new().slow(slow).limit(100_000);
        let (alice, mut peer) = member_with(&hub, attach, 100_000);
        alice.subscribe(&topic("a"), Subscribe::new()).await.unwrap();
        let (witness, mut witnesses) = member(&hub);
        witness.subscribe(&topic("b"), Subscribe::new()).await.unwrap();
        let give = async |number| match by_topic {
            true => hub.publish(&topic("a"), large(number)).await.map(drop).unwrap(),
            false => alice.send(large(number)),
        };
        // More than the pipe takes: some of it waits.
        for number in 0..75 {
            give(number).await;
            hub.publish(&topic("b"), "written").await.unwrap();
            assert_eq!(text(&mut witnesses).await, "written");
        }
        let waiting = alice.counts().waiting;
        assert!(waiting > 50_000, "{waiting}");
        // The peer reads, which wakes the worker; before that has its turn, more comes.
        for number in 0..20 {
            assert_eq!(text(&mut peer).await.trim(), number.to_string());
        }
        for number in 75..105 {
            give(number).await;
        }
        alice.send("end");
        assert_eq!(numbers(&mut peer).await, (20..105).collect::<Vec<_>>(), "{by_topic}");
    }
}

/// Takes two at once, and one by one as many as come; counts what it has not written yet.
struct Narrow(Arc<AtomicUsize>);

impl Outlet for Narrow {
    fn poll_feed(&mut self, _: &Outgoing<'_>, _: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        self.0.store(0, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    fn try_send(&mut self, deliveries: Deliveries<'_>) -> Result<Sent, Ended> {
        Ok(Sent { taken: deliveries.take(2).count(), flushed: true })
    }

    fn poll_close(&mut self, _: &CloseFrame, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

#[tokio::test]
async fn the_rest_of_a_burst_is_written_too() {
    let (hub, unwritten) = (Hub::new(), Arc::new(AtomicUsize::new(0)));
    let attach = Attach::new().slow(Slow::disconnect(0, CloseCode::POLICY_VIOLATION));
    let alice = hub.attach_outlet(Narrow(unwritten.clone()), attach);
    alice.subscribe(&topic("a"), Subscribe::new()).await.unwrap();
    for number in 0..5 {
        hub.publish(&topic("a"), number.to_string()).await.unwrap();
    }
    while alice.counts().delivered < 5 && !alice.has_ended() {
        tokio::task::yield_now().await;
    }
    assert_eq!(alice.counts().delivered, 5);
    assert_eq!(unwritten.load(Ordering::Relaxed), 0);
}

// All that there is room for goes in one turn of the member, however much it is: others come before the next member.
#[tokio::test]
async fn behind_a_member_that_takes_a_long_burst_others_have_a_turn() {
    const BURST: u64 = 1000;
    let hub = Hub::new();
    let attach = || Attach::new().slow(Slow::disconnect(0, CloseCode::POLICY_VIOLATION));
    let members = [(); 2].map(|()| hub.attach_outlet(Narrow(Arc::default()), attach()));
    for member in &members {
        member.subscribe(&topic("a"), Subscribe::new()).await.unwrap();
    }
    for number in 0..BURST {
        hub.publish(&topic("a"), number.to_string()).await.unwrap();
    }
    let mut seen = Vec::new();
    while seen.last() != Some(&[BURST; 2]) && !members[1].has_ended() {
        tokio::task::yield_now().await;
        seen.push([0, 1].map(|number: usize| members[number].counts().delivered));
    }
    assert!(seen.contains(&[BURST, 0]) || seen.contains(&[0, BURST]), "{seen:?}");
}

/// Has no room for the first publication that it is fed by itself, and room again at once.
struct Flickering {
    refused: bool,
}

impl Outlet for Flickering {
    fn poll_feed(&mut self, out: &Outgoing<'_>, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        let is_first = matches!(out, Outgoing::Delivery(_)) && !self.refused;
        if !is_first {
            return Poll::Ready(Ok(()));
        }
        self.refused = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        Poll::Ready(Ok(()))
    }

    fn try_send(&mut self, deliveries: Deliveries<'_>) -> Result<Sent, Ended> {
        Ok(Sent { taken: deliveries.take(1).count(), flushed: true })
    }

    fn poll_close(&mut self, _: &CloseFrame, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

// The peer made room while the worker was at what others had published, which it heard of only when it was done with all
// of that: until then, all of it counted as too much.
#[tokio::test]
async fn who_makes_room_meanwhile_is_not_too_slow() {
    let hub = Hub::new();
    let attach = Attach::new().slow(Slow::drop_oldest(1000));
    let alice = hub.attach_outlet(Flickering { refused: false }, attach);
    alice.subscribe(&topic("a"), Subscribe::new()).await.unwrap();
    // Without a turn for the worker: all of it comes in one round.
    for number in 0..100 {
        hub.publish(&topic("a"), number.to_string()).await.unwrap();
    }
    while alice.counts().delivered + alice.counts().dropped < 100 {
        tokio::task::yield_now().await;
    }
    // One has gone before there was room again.
    assert_eq!(alice.counts().dropped, 1);
}
