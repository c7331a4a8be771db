//! What is kept, and who gets it later.

use std::time::Duration;

use tautline_hub::broker::{BrokerError, History, Range};
use tautline_hub::{
    Epoch, GapReason, Hub, Keep, Position, Publication, Start, Subscribe, TopicOptions,
};

use crate::support::{filter, member, text, texts, topic};

fn hub(keep: Keep) -> Hub {
    Hub::builder().topics(move |_| TopicOptions::new().history(keep)).build()
}

async fn publish(hub: &Hub, numbers: std::ops::RangeInclusive<u64>) -> Position {
    let mut last = None;
    for number in numbers {
        last = hub.publish(&topic("a"), number.to_string()).await.unwrap().position;
    }
    last.unwrap()
}

#[tokio::test]
async fn who_comes_back_gets_what_it_missed() {
    let hub = hub(Keep::last(3));
    let third = publish(&hub, 1..=3).await;
    assert_eq!(third.offset, 3);
    publish(&hub, 4..=5).await;
    let (alice, mut peer) = member(&hub);
    let start = alice.subscribe(&topic("a"), Subscribe::new().since(third)).await.unwrap();
    let position = Position { offset: 5, ..third };
    assert_eq!(start, Start::Recovered { count: 2, position });
    publish(&hub, 6..=6).await;
    assert_eq!(texts(&mut peer, 3).await, ["4", "5", "6"]);
    // With nothing missed.
    let (bob, mut bobs) = member(&hub);
    let last = Position { offset: 6, ..third };
    let start = bob.subscribe(&topic("a"), Subscribe::new().since(last)).await.unwrap();
    assert_eq!(start, Start::Recovered { count: 0, position: last });
    publish(&hub, 7..=7).await;
    assert_eq!(text(&mut bobs).await, "7");
}

#[tokio::test]
async fn who_missed_too_much_is_told_why_and_gets_nothing_half() {
    let hub = hub(Keep::last(3));
    let first = publish(&hub, 1..=1).await;
    let last = publish(&hub, 2..=5).await;
    let other = Epoch::from_u64(first.epoch.as_u64() ^ 1);
    for (since, reason) in [
        (first, GapReason::Trimmed),
        (Position { epoch: other, ..last }, GapReason::Epoch),
        (Position { offset: 6, ..last }, GapReason::Ahead),
    ] {
        let (alice, mut peer) = member(&hub);
        let start = alice.subscribe(&topic("a"), Subscribe::new().since(since)).await.unwrap();
        assert_eq!(start, Start::Gap { reason, position: Some(last) });
        assert!(alice.unsubscribe(topic("a")));
        alice.send("the end");
        assert_eq!(text(&mut peer).await, "the end");
    }
}

#[tokio::test]
async fn a_topic_without_history_recovers_nothing() {
    let hub = Hub::new();
    let (alice, _peer) = member(&hub);
    let since = Position { epoch: Epoch::from_u64(1), offset: 1 };
    for name in ["a", "a.*"] {
        let start = alice.subscribe(filter(name), Subscribe::new().since(since)).await.unwrap();
        assert_eq!(start, Start::Gap { reason: GapReason::Unavailable, position: None });
    }
}

#[tokio::test]
async fn the_last_value_comes_first() {
    let hub = hub(Keep::last(10));
    let (early, mut earlier) = member(&hub);
    let how = Subscribe::new().last_value(true);
    let start = early.subscribe(&topic("a"), how.clone()).await.unwrap();
    assert!(matches!(start, Start::Live { position: Some(Position { offset: 0, .. }) }));
    let last = publish(&hub, 1..=2).await;
    let (alice, mut peer) = member(&hub);
    let start = alice.subscribe(&topic("a"), how.clone()).await.unwrap();
    assert_eq!(start, Start::Last { position: last });
    assert_eq!(start.position(), Some(last));
    publish(&hub, 3..=3).await;
    assert_eq!(texts(&mut peer, 2).await, ["2", "3"]);
    assert_eq!(texts(&mut earlier, 3).await, ["1", "2", "3"]);
    // A position that can be recovered is better.
    let (bob, mut bobs) = member(&hub);
    bob.subscribe(&topic("a"), how.since(last)).await.unwrap();
    publish(&hub, 4..=4).await;
    assert_eq!(texts(&mut bobs, 2).await, ["3", "4"]);
}

#[tokio::test(start_paused = true)]
async fn a_history_that_is_too_old_is_forgotten() {
    let hub = hub(Keep::last(10).age(Duration::from_secs(60)));
    let (early, _) = member(&hub);
    early.subscribe(&topic("b"), Subscribe::new()).await.unwrap();
    let last = publish(&hub, 1..=2).await;
    assert_eq!(hub.history(&topic("a"), Range::After(0), 10).await.unwrap().publications.len(), 2);
    assert_eq!(hub.topics(), 2);
    tokio::time::sleep(Duration::from_secs(70)).await;
    assert_eq!(hub.topics(), 1, "nobody is subscribed, and nothing is kept");
    let (alice, mut peer) = member(&hub);
    let start = alice.subscribe(&topic("a"), Subscribe::new().since(last)).await.unwrap();
    assert!(matches!(start, Start::Gap { reason: GapReason::Epoch, .. }));
    let first = publish(&hub, 1..=1).await;
    assert_ne!(first.epoch, last.epoch);
    assert_eq!(text(&mut peer).await, "1");
}

// Its last subscriber had left, and with it its epoch: who came back a moment later was told of a gap, although
// nothing was ever published.
#[tokio::test(start_paused = true)]
async fn nothing_is_missed_of_a_topic_in_which_nothing_was_published() {
    let hub = hub(Keep::last(10).age(Duration::from_secs(60)));
    let come = async |since: Option<Position>| {
        let (alice, _peer) = member(&hub);
        let how = since.map_or_else(Subscribe::new, |since| Subscribe::new().since(since));
        let start = alice.subscribe(&topic("a"), how).await.unwrap();
        (start, start.position().unwrap())
    };
    let (_, first) = come(None).await;
    tokio::time::sleep(Duration::from_secs(50)).await;
    let (start, position) = come(Some(first)).await;
    assert_eq!(start, Start::Recovered { count: 0, position: first });
    // Each time it is left, the time begins anew.
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert!(matches!(come(Some(position)).await.0, Start::Recovered { count: 0, .. }));
    tokio::time::sleep(Duration::from_secs(70)).await;
    assert_eq!(hub.topics(), 0);
    let (start, _) = come(Some(position)).await;
    assert!(matches!(start, Start::Gap { reason: GapReason::Epoch, .. }));
}

// Topics that nobody uses any more give way to those that somebody wants.
#[tokio::test]
async fn who_may_come_back_does_not_take_the_room_of_who_comes() {
    let hub = Hub::builder()
        .topics(|_| TopicOptions::new().history(Keep::last(10)))
        .max_topics(3)
        .build();
    let (alice, _peer) = member(&hub);
    for number in 0..10 {
        let name = topic(&format!("t.{number}"));
        alice.subscribe(&name, Subscribe::new()).await.unwrap();
        alice.unsubscribe(name);
    }
    publish(&hub, 1..=1).await;
    for name in ["b", "c"] {
        alice.subscribe(topic(name), Subscribe::new()).await.unwrap();
    }
    let full = alice.subscribe(topic("d"), Subscribe::new()).await;
    assert!(full.is_err(), "what is kept, and what is used, stays");
}

#[tokio::test]
async fn what_is_kept_can_be_read() {
    let hub = hub(Keep::last(3));
    let last = publish(&hub, 1..=5).await;
    let a = topic("a");
    let kept = hub.history(&a, Range::After(3), 10).await.unwrap();
    let offsets = |history: &History| -> Vec<u64> {
        history.publications.iter().map(|(offset, _)| *offset).collect()
    };
    assert_eq!((kept.top, offsets(&kept), kept.complete), (last, vec![4, 5], true));
    let all = hub.history(&a, Range::After(0), 2).await.unwrap();
    assert_eq!((offsets(&all), all.complete), (vec![3, 4], false));
    let latest = hub.history(&a, Range::Latest, 2).await.unwrap();
    assert_eq!((offsets(&latest), latest.complete), (vec![5, 4], true));
    let nothing = hub.history(&topic("b"), Range::Latest, 2).await.unwrap();
    assert_eq!((nothing.top.offset, nothing.publications.len()), (0, 0));
    assert_eq!(hub.topics(), 1, "reading leaves nothing behind");
    let none = Hub::new().history(&a, Range::Latest, 2).await;
    assert!(matches!(none, Err(BrokerError::Unsupported(_))));
}

// The hard part: from any position, whatever is published meanwhile, nothing is missing between history and
// live, and nothing comes twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn there_is_no_gap_between_history_and_what_is_published_meanwhile() {
    const MESSAGES: u64 = 3000;
    const COMINGS: usize = 200;
    let hub = hub(Keep::last(MESSAGES as usize).bytes(usize::MAX));
    let epoch = publish(&hub, 1..=1).await.epoch;
    let publisher = {
        let hub = hub.clone();
        tokio::spawn(async move {
            for number in 2..=MESSAGES {
                let publication = Publication::new(number.to_string());
                hub.publish(&topic("a"), publication).await.unwrap();
                tokio::task::yield_now().await;
            }
        })
    };
    let mut tasks = Vec::new();
    for coming in 0..COMINGS {
        let hub = hub.clone();
        tasks.push(tokio::spawn(async move {
            let (member, mut peer) = member(&hub);
            // From the beginning, or from where the topic is now.
            let now = hub.history(&topic("a"), Range::After(0), 0).await.unwrap().top.offset;
            let offset = if coming % 3 == 0 { 0 } else { now };
            let since = Subscribe::new().since(Position { epoch, offset });
            let start = member.subscribe(&topic("a"), since).await.unwrap();
            assert!(matches!(start, Start::Recovered { .. }), "{start:?}");
            for number in offset + 1..=MESSAGES {
                assert_eq!(text(&mut peer).await, number.to_string());
            }
            assert_eq!(member.counts().delivered, MESSAGES - offset);
        }));
    }
    publisher.await.unwrap();
    for task in tasks {
        task.await.unwrap();
    }
}
