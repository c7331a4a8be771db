//! Several nodes with a broker.

use std::time::Duration;

use tautline::{CloseCode, Message};
use tautline_hub::{
    Attach, BrokerState, Epoch, GapReason, Hub, HubBuilder, Keep, Outgoing, Position, PublishError,
    Start, Subscribe, SubscribeError, TopicOptions,
};
use tokio::task::JoinSet;

use crate::network::Network;
use crate::support::{Peer, filter, member, member_with, text, texts, topic};
use crate::xorshift::Xorshift;

/// Topics that begin with `log` have a history.
fn builder(messages: usize) -> HubBuilder {
    Hub::builder().topics(move |topic| match topic.as_str().starts_with("log") {
        true => TopicOptions::new().history(Keep::last(messages).bytes(1 << 30)),
        false => TopicOptions::new(),
    })
}

async fn publish(hub: &Hub, name: &str, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        hub.publish(&topic(name), number.to_string()).await.unwrap();
    }
}

fn range(numbers: std::ops::RangeInclusive<u64>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

/// Two nodes, with the number of each.
fn two(messages: usize) -> (Network, (Hub, usize), (Hub, usize)) {
    let network = Network::default();
    let (one, other) = (network.hub(builder(messages)), network.hub(builder(messages)));
    (network, one, other)
}

async fn connected(hub: &Hub) {
    let mut state = hub.broker_state().unwrap();
    state.wait_for(|state| *state == BrokerState::Connected).await.unwrap();
}

#[tokio::test]
async fn what_is_published_on_one_node_reaches_all_once() {
    let (_network, (here, _), (there, _)) = two(10);
    connected(&there).await;
    for name in ["chat", "log"] {
        let (alice, mut alices) = member(&here);
        let (bob, mut bobs) = member(&there);
        let (carol, mut carols) = member(&there);
        alice.subscribe(&topic(name), Subscribe::new()).await.unwrap();
        bob.subscribe(&topic(name), Subscribe::new()).await.unwrap();
        carol.subscribe(filter("*"), Subscribe::new()).await.unwrap();
        publish(&here, name, 1..=2).await;
        publish(&there, name, 3..=3).await;
        alice.publish(&topic(name), "not to alice").await.unwrap();
        publish(&here, name, 4..=4).await;
        assert_eq!(texts(&mut alices, 4).await, ["1", "2", "3", "4"], "{name}");
        for peer in [&mut bobs, &mut carols] {
            assert_eq!(texts(peer, 5).await, ["1", "2", "3", "not to alice", "4"], "{name}");
        }
    }
}

#[tokio::test]
async fn a_node_subscribes_what_somebody_there_has_and_nothing_else() {
    let (network, (here, node), _) = two(10);
    let (alice, _peer) = member(&here);
    for name in ["a", "log", "x.*"] {
        alice.subscribe(filter(name), Subscribe::new()).await.unwrap();
    }
    assert_eq!(network.filters(node), 3);
    for name in ["a", "log"] {
        alice.unsubscribe(filter(name));
    }
    drop(alice);
    while network.filters(node) > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(here.topics(), 0);
    // Again: a former subscription that is being ended does not take the new one away.
    for _ in 0..50 {
        let (alice, mut peer) = member(&here);
        alice.subscribe(filter("a"), Subscribe::new()).await.unwrap();
        alice.unsubscribe(filter("a"));
        alice.subscribe(filter("a"), Subscribe::new()).await.unwrap();
        assert_eq!(network.filters(node), 1);
        here.publish(&topic("a"), "there").await.unwrap();
        assert_eq!(text(&mut peer).await, "there");
    }
}

#[tokio::test]
async fn who_comes_to_another_node_recovers_there() {
    let (_network, (here, _), (there, _)) = two(100);
    let third = {
        publish(&here, "log", 1..=3).await;
        here.history(&topic("log"), tautline_hub::broker::Range::Latest, 1).await.unwrap().top
    };
    publish(&here, "log", 4..=6).await;
    let mut others = Vec::new();
    for round in 0..2 {
        // First where nobody has followed the topic, then where somebody has, who has not missed that.
        let (alice, mut peer) = member(&there);
        let start = alice.subscribe(&topic("log"), Subscribe::new().since(third)).await.unwrap();
        assert!(matches!(start, Start::Recovered { count: 3.., .. }), "{round}: {start:?}");
        publish(&here, "log", 7 + round..=7 + round).await;
        assert_eq!(
            texts(&mut peer, 4 + usize::try_from(round).unwrap()).await,
            range(4..=7 + round)
        );
        // It leaves, and another one stays who began later.
        let other = member(&there);
        other.0.subscribe(&topic("log"), Subscribe::new()).await.unwrap();
        others.push(other);
    }
    let (late, mut peer) = member(&there);
    let how = Subscribe::new().last_value(true);
    let start = late.subscribe(&topic("log"), how).await.unwrap();
    assert!(matches!(start, Start::Last { position } if position.offset == 8), "{start:?}");
    assert_eq!(text(&mut peer).await, "8");
}

// A broker was asked once, for a thousand: who had missed more was told that it was trimmed, though it was all there.
#[tokio::test]
async fn whoever_has_missed_thousands_recovers_them() {
    let (_network, (here, _), (there, _)) = two(5_000);
    connected(&there).await;
    let first = here.publish(&topic("log"), "1").await.unwrap().position.unwrap();
    publish(&here, "log", 2..=3_500).await;
    // With her, the node knows the end, and nothing of what was before.
    let (carol, _carols) = member(&there);
    carol.subscribe(&topic("log"), Subscribe::new()).await.unwrap();
    let (bob, mut bobs) = member(&there);
    let start = bob.subscribe(&topic("log"), Subscribe::new().since(first)).await.unwrap();
    assert!(matches!(start, Start::Recovered { count: 3_499, .. }), "{start:?}");
    publish(&here, "log", 3_501..=3_501).await;
    assert_eq!(texts(&mut bobs, 3_500).await, range(2..=3_501));
}

// Each of two hundred that came back at once read the same pages for itself, and NATS was no longer able to answer any of
// them in time: they never came back.
#[tokio::test]
async fn those_who_come_back_at_once_are_served_by_one_reading() {
    let (network, (here, _), (there, node)) = two(5_000);
    connected(&there).await;
    let first = here.publish(&topic("log"), "1").await.unwrap().position.unwrap();
    publish(&here, "log", 2..=1_500).await;
    // With her, the node knows the end, and nothing of what was before.
    let (carol, _carols) = member(&there);
    carol.subscribe(&topic("log"), Subscribe::new()).await.unwrap();
    let (members, peers): (Vec<_>, Vec<_>) = (0..20).map(|_| member(&there)).unzip();
    let mut back = JoinSet::new();
    for member in members {
        back.spawn(async move {
            let how = Subscribe::new().since(first);
            (member.subscribe(&topic("log"), how).await, member)
        });
    }
    let mut members = Vec::new();
    for (start, member) in back.join_all().await {
        let start = start.unwrap();
        assert!(matches!(start, Start::Recovered { count: 1_499, .. }), "{start:?}");
        members.push(member);
    }
    publish(&here, "log", 1_501..=1_501).await;
    for mut peer in peers {
        assert_eq!(texts(&mut peer, 1_500).await, range(2..=1_501));
    }
    assert!(network.reads(node) <= 3, "{} readings", network.reads(node));
}

// What a later version had published, or something else that writes there, cannot be decoded. With nothing else behind what a
// node had, the node read the history again and again, without a pause.
#[tokio::test]
async fn what_cannot_be_decoded_is_read_once_and_is_no_gap() {
    let (network, (here, _), (there, node)) = two(5_000);
    connected(&there).await;
    let (carol, mut carols) = member(&there);
    carol.subscribe(&topic("log"), Subscribe::new()).await.unwrap();
    let first = here.publish(&topic("log"), "1").await.unwrap().position.unwrap();
    network.scribble(&topic("log"), 2_000);
    publish(&here, "log", 2..=2).await;
    assert_eq!(texts(&mut carols, 2).await, range(1..=2));
    network.cut(node);
    network.scribble(&topic("log"), 2_000);
    network.heal(node);
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    let reads = network.reads(node);
    assert!(reads <= 10, "{reads} readings");
    let (bob, mut bobs) = member(&there);
    let start = bob.subscribe(&topic("log"), Subscribe::new().since(first)).await.unwrap();
    assert!(matches!(start, Start::Recovered { count: 1, .. }), "{start:?}");
    publish(&here, "log", 3..=3).await;
    assert_eq!(texts(&mut bobs, 2).await, range(2..=3));
    assert_eq!(text(&mut carols).await, "3");
    // A node that begins with them, too.
    let (fresh, node) = network.hub(builder(5_000));
    connected(&fresh).await;
    let (dave, mut daves) = member(&fresh);
    let start = dave.subscribe(&topic("log"), Subscribe::new().since(first)).await.unwrap();
    assert!(matches!(start, Start::Recovered { .. }), "{start:?}");
    assert_eq!(texts(&mut daves, 2).await, range(2..=3));
    let reads = network.reads(node);
    assert!(reads <= 10, "{reads} readings");
    // Nothing else came: nothing was missed.
    let third = Position { offset: 4_003, ..first };
    network.scribble(&topic("log"), 10);
    let mut peers = vec![daves, carols];
    let (newest, _) = network.hub(builder(5_000));
    let mut members = Vec::new();
    for hub in [&there, &fresh, &newest] {
        let (member, peer) = member(hub);
        let start = member.subscribe(&topic("log"), Subscribe::new().since(third)).await.unwrap();
        assert_eq!(start, Start::Recovered { count: 0, position: third });
        members.push(member);
        peers.push(peer);
    }
    publish(&here, "log", 4..=4).await;
    for peer in &mut peers {
        assert_eq!(text(peer).await, "4");
    }
}

// With one publication kept, what came behind one that could not be decoded was told as a gap, and its subscribers were
// closed.
#[tokio::test]
async fn the_last_value_behind_one_that_cannot_be_decoded_arrives() {
    let (network, (here, _), (there, node)) = two(1);
    connected(&there).await;
    let (bob, mut bobs) = member(&there);
    bob.subscribe(&topic("log"), Subscribe::new()).await.unwrap();
    let reads = network.reads(node);
    for number in 1..=3 {
        publish(&here, "log", number..=number).await;
        assert_eq!(text(&mut bobs).await, number.to_string());
        network.scribble(&topic("log"), 2);
    }
    assert_eq!(network.reads(node), reads);
}

// A node that had nothing of the topic, or only knew where it ended, looked at the newest entry alone, and found no last
// value.
#[tokio::test]
async fn the_last_value_ahead_of_what_cannot_be_decoded_is_found() {
    for is_followed in [false, true] {
        let (network, (here, _), (there, node)) = two(5_000);
        connected(&there).await;
        publish(&here, "log", 1..=2).await;
        network.scribble(&topic("log"), 3);
        let (alice, _alices) = member(&there);
        if is_followed {
            alice.subscribe(&topic("log"), Subscribe::new()).await.unwrap();
        }
        let mut peers = Vec::new();
        let before = network.reads(node);
        for _ in 0..3 {
            let (bob, bobs) = member(&there);
            let how = Subscribe::new().last_value(true);
            let start = bob.subscribe(&topic("log"), how).await.unwrap();
            assert!(matches!(start, Start::Last { .. }), "{start:?}");
            peers.push((bob, bobs));
        }
        // For the first one.
        assert_eq!(network.reads(node), before + 2);
        publish(&here, "log", 3..=3).await;
        for (_, bobs) in &mut peers {
            assert_eq!(texts(bobs, 2).await, range(2..=3));
        }
    }
}

// Whoever came back with a position to a node that had nothing of the topic, and could not be given what was missed, was
// not given the last value either.
#[tokio::test]
async fn the_last_value_comes_where_a_position_cannot_be_recovered() {
    let (network, (here, _), (there, _)) = two(1);
    connected(&there).await;
    let first = here.publish(&topic("log"), "1").await.unwrap().position.unwrap();
    publish(&here, "log", 2..=9).await;
    let elsewhere = Position { epoch: Epoch::from_u64(77), offset: 1 };
    for since in [first, elsewhere] {
        for hub in [&there, &network.hub(builder(1)).0] {
            let (bob, mut bobs) = member(hub);
            let how = Subscribe::new().since(since).last_value(true);
            let start = bob.subscribe(&topic("log"), how).await.unwrap();
            assert!(matches!(start, Start::Last { .. }), "{start:?}");
            assert_eq!(text(&mut bobs).await, "9");
        }
    }
}

// A node whose check failed when the broker was just back looked for what it had missed after 40 seconds.
#[tokio::test(start_paused = true)]
async fn positions_are_checked_until_that_can_be_done() {
    let (network, (here, _), (there, node)) = two(10);
    connected(&there).await;
    let (bob, mut bobs) = member(&there);
    bob.subscribe(&topic("log"), Subscribe::new()).await.unwrap();
    network.cut(node);
    publish(&here, "log", 1..=2).await;
    network.fail_checks(node, 3);
    let start = tokio::time::Instant::now();
    network.heal(node);
    assert_eq!(texts(&mut bobs, 2).await, range(1..=2));
    assert!(start.elapsed() <= Duration::from_secs(5), "after {:?}", start.elapsed());
}

// All who subscribed at the same moment were refused with one of them.
#[tokio::test]
async fn what_is_refused_to_one_is_not_to_others() {
    let (network, _, (there, node)) = two(10);
    connected(&there).await;
    network.refuse(node, filter("secret.*"));
    let mut joining = JoinSet::new();
    for name in ["a", "secret.*", "b", "c"] {
        let (member, peer) = member(&there);
        joining.spawn(async move {
            let subscribed = member.subscribe(filter(name), Subscribe::new()).await;
            (name, subscribed.is_ok(), member, peer)
        });
    }
    let all = joining.join_all().await;
    for (name, is_subscribed, ..) in &all {
        assert_eq!(*is_subscribed, *name != "secret.*", "{name}");
    }
    assert_eq!(network.filters(node), 3);
}

// A topic that could not be subscribed while the broker was away was subscribed when it was back, for ever and for nobody.
#[tokio::test]
async fn what_nobody_could_subscribe_is_not_subscribed_later() {
    let (network, _, (there, node)) = two(10);
    connected(&there).await;
    let (bob, _bobs) = member(&there);
    network.cut(node);
    for name in ["a", "log"] {
        bob.subscribe(filter(name), Subscribe::new()).await.unwrap_err();
    }
    network.heal(node);
    bob.subscribe(filter("b"), Subscribe::new()).await.unwrap();
    assert_eq!(network.filters(node), 1);
    // One who gives up while it is being subscribed.
    tokio::select! {
        biased;
        _ = bob.subscribe(filter("c"), Subscribe::new()) => panic!("it was not given up"),
        () = std::future::ready(()) => {}
    }
    bob.subscribe(filter("d"), Subscribe::new()).await.unwrap();
    bob.subscribe(filter("e"), Subscribe::new()).await.unwrap();
    assert_eq!(network.filters(node), 3);
}

// The first subscriber on a node had a thousand of what it had missed, and the rest only after 40 seconds, unless
// something was published before.
#[tokio::test(start_paused = true)]
async fn the_first_subscriber_of_a_node_has_all_that_it_missed_at_once() {
    let (_network, (here, _), (there, _)) = two(5_000);
    let first = here.publish(&topic("log"), "1").await.unwrap().position.unwrap();
    publish(&here, "log", 2..=3_500).await;
    let start = tokio::time::Instant::now();
    let (bob, mut bobs) = member(&there);
    bob.subscribe(&topic("log"), Subscribe::new().since(first)).await.unwrap();
    assert_eq!(texts(&mut bobs, 3_499).await, range(2..=3_500));
    assert!(start.elapsed().is_zero(), "it waited for {:?}", start.elapsed());
}

// A node that was more than a thousand behind read one page of that, and told whoever came from a node that had all of it
// that the history had gone back.
#[tokio::test]
async fn whoever_comes_from_a_node_that_is_thousands_ahead_is_at_the_end() {
    let (network, (here, _), (there, node)) = two(5_000);
    connected(&there).await;
    let (carol, mut carols) = member(&there);
    carol.subscribe(&topic("log"), Subscribe::new()).await.unwrap();
    publish(&here, "log", 1..=1).await;
    assert_eq!(text(&mut carols).await, "1");
    network.lose(node, 3_499);
    publish(&here, "log", 2..=3_499).await;
    let last = here.publish(&topic("log"), "3500").await.unwrap().position.unwrap();
    let (bob, mut bobs) = member(&there);
    let start = bob.subscribe(&topic("log"), Subscribe::new().since(last)).await.unwrap();
    assert!(matches!(start, Start::Recovered { count: 0, .. }), "{start:?}");
    publish(&here, "log", 3_501..=3_501).await;
    assert_eq!(text(&mut bobs).await, "3501");
    assert_eq!(texts(&mut carols, 3_500).await, range(2..=3_501));
    // Beyond the end there is nothing to be had.
    let beyond = Position { offset: last.offset + 2_000, ..last };
    let (dave, _daves) = member(&there);
    let start = dave.subscribe(&topic("log"), Subscribe::new().since(beyond)).await.unwrap();
    assert!(matches!(start, Start::Gap { reason: GapReason::Ahead, .. }), "{start:?}");
}

#[tokio::test]
async fn the_last_value_is_there_though_nobody_followed_it() {
    let (_network, (here, _), (there, _)) = two(100);
    publish(&here, "log", 1..=3).await;
    let (early, mut earlier) = member(&there);
    early.subscribe(&topic("log"), Subscribe::new()).await.unwrap();
    // The node knows where the topic is, and has nothing of it.
    let (alice, mut peer) = member(&there);
    let how = Subscribe::new().last_value(true);
    alice.subscribe(&topic("log"), how).await.unwrap();
    publish(&here, "log", 4..=4).await;
    assert_eq!(texts(&mut peer, 2).await, ["3", "4"]);
    assert_eq!(text(&mut earlier).await, "4");
}

#[tokio::test]
async fn what_a_node_missed_while_it_was_cut_off_comes_when_it_is_back() {
    let (network, (here, _), (there, node)) = two(100);
    let (alice, mut peer) = member(&there);
    alice.subscribe(&topic("log"), Subscribe::new()).await.unwrap();
    publish(&here, "log", 1..=2).await;
    network.cut(node);
    publish(&here, "log", 3..=50).await;
    let refused = alice.subscribe(&topic("other"), Subscribe::new()).await;
    assert!(matches!(&refused, Err(error @ SubscribeError::Broker(_)) if error.is_retryable()));
    network.heal(node);
    publish(&here, "log", 51..=60).await;
    assert_eq!(texts(&mut peer, 60).await, range(1..=60));
}

#[tokio::test]
async fn what_is_gone_is_a_gap() {
    let (network, (here, _), (there, node)) = two(5);
    let tell = |outgoing: &Outgoing<'_>| match outgoing {
        Outgoing::Gap(topic, reason) => Some(Message::text(format!("{topic} {reason:?}"))),
        _ => None,
    };
    let (told, mut tolds) = member_with(&there, Attach::new().tell(tell), 64 << 10);
    let (plain, mut plains) = member(&there);
    for member in [&told, &plain] {
        member.subscribe(&topic("log"), Subscribe::new()).await.unwrap();
    }
    publish(&here, "log", 1..=1).await;
    assert_eq!(text(&mut plains).await, "1");
    network.cut(node);
    publish(&here, "log", 2..=20).await;
    network.heal(node);
    // Who is not told begins anew.
    assert!(plains.next().await.is_none());
    assert_eq!(plains.close_frame().unwrap().code(), CloseCode::TRY_AGAIN_LATER);
    publish(&here, "log", 21..=21).await;
    let expected = format!("log {:?}", GapReason::Trimmed);
    assert_eq!(texts(&mut tolds, 3).await, ["1", &expected, "21"]);
}

// Whoever is among the first to subscribe to a topic on a node says where it was, and may say anything. An offset
// beyond the end was taken for proof that the end was gone, and closed those who came at the same moment.
#[tokio::test]
async fn an_offset_that_never_was_is_a_gap_for_nobody_else() {
    let (_network, (here, _), (there, _)) = two(10);
    connected(&there).await;
    publish(&here, "log", 1..=2).await;
    let (alice, mut peer) = member(&there);
    let (mallory, _peer) = member(&there);
    let never = Position { epoch: Epoch::from_u64(0), offset: 1 << 40 };
    let log = topic("log");
    let (start, other) = tokio::join!(
        alice.subscribe(&log, Subscribe::new()),
        mallory.subscribe(&log, Subscribe::new().since(never)),
    );
    let end = Some(Position { offset: 2, ..never });
    assert_eq!(start.unwrap(), Start::Live { position: end });
    let gap = Start::Gap { reason: GapReason::Ahead, position: end };
    assert_eq!(other.unwrap(), gap);
    publish(&here, "log", 3..=3).await;
    assert_eq!(text(&mut peer).await, "3");
}

#[tokio::test]
async fn a_history_that_is_gone_is_a_gap() {
    let (network, (here, _), (there, node)) = two(100);
    let (alice, mut peer) = member(&there);
    alice.subscribe(&topic("log"), Subscribe::new()).await.unwrap();
    publish(&here, "log", 1..=3).await;
    assert_eq!(texts(&mut peer, 3).await, range(1..=3));
    network.cut(node);
    network.forget();
    publish(&here, "log", 4..=5).await;
    network.heal(node);
    assert!(peer.next().await.is_none());
    assert_eq!(peer.close_frame().unwrap().code(), CloseCode::TRY_AGAIN_LATER);
}

// The last one leaves no hole by which its loss could be seen.
#[tokio::test(start_paused = true)]
async fn a_last_message_that_was_lost_is_found_by_its_position() {
    let (network, (here, _), (there, node)) = two(100);
    let (alice, mut peer) = member(&there);
    alice.subscribe(&topic("log"), Subscribe::new()).await.unwrap();
    publish(&here, "log", 1..=1).await;
    network.lose(node, 1);
    publish(&here, "log", 2..=2).await;
    assert_eq!(texts(&mut peer, 2).await, ["1", "2"]);
    // One in the middle is seen when the next one comes.
    network.lose(node, 1);
    publish(&here, "log", 3..=4).await;
    assert_eq!(texts(&mut peer, 2).await, ["3", "4"]);
}

#[tokio::test]
async fn publishing_fails_while_the_broker_is_away_and_local_delivery_goes_on() {
    let (network, (here, node), _) = two(100);
    let (alice, mut peer) = member(&here);
    for name in ["chat", "log"] {
        alice.subscribe(&topic(name), Subscribe::new()).await.unwrap();
    }
    network.cut(node);
    let chat = here.publish(&topic("chat"), "hello").await;
    assert!(matches!(&chat, Err(error @ PublishError::Broker(_)) if error.is_retryable()));
    assert_eq!(text(&mut peer).await, "hello");
    let log = here.publish(&topic("log"), "nobody").await;
    assert!(matches!(log, Err(PublishError::Broker(_))));
    network.heal(node);
    publish(&here, "log", 1..=1).await;
    assert_eq!(text(&mut peer).await, "1");
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_while_the_broker_is_away_is_published_in_its_order() {
    let network = Network::default();
    let (here, node) = network.hub(builder(100).keep_while_away(3000));
    let (there, _) = network.hub(builder(100));
    let (alice, mut peer) = member(&there);
    for name in ["chat", "log"] {
        alice.subscribe(&topic(name), Subscribe::new()).await.unwrap();
    }
    connected(&here).await;
    network.cut(node);
    publish(&here, "log", 1..=3).await;
    publish(&here, "chat", 4..=5).await;
    let mut full = 0;
    for number in 6..=20 {
        match here.publish(&topic("log"), number.to_string()).await {
            Ok(published) => assert_eq!(published.position, None),
            Err(PublishError::KeptFull(3000)) => full += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!((5..15).contains(&full), "{full}");
    network.heal(node);
    assert_eq!(texts(&mut peer, 20 - full).await, range(1..=20 - full as u64));
    let last = here.publish(&topic("log"), "the last").await;
    assert!(last.is_ok());
    assert_eq!(text(&mut peer).await, "the last");
}

/// Reads numbers up to the last one, each once and in order.
async fn read_all(peer: &mut Peer, first: u64, last: u64) {
    for number in first..=last {
        assert_eq!(text(peer).await, number.to_string());
    }
}

// Nodes that are cut off, lose what arrives, and subscribers that come and go: each has the whole sequence.
#[tokio::test(start_paused = true)]
async fn nothing_is_missing_whatever_is_lost_on_the_way() {
    const LAST: u64 = 2000;
    for seed in 1..=5 {
        let mut numbers = Xorshift(seed * 7919);
        let network = Network::default();
        let (publisher, _) = network.hub(builder(5000));
        let nodes: Vec<_> = (0..3).map(|_| network.hub(builder(5000))).collect();
        for (hub, _) in &nodes {
            connected(hub).await;
        }
        let mut readers = Vec::new();
        let mut away = None;
        for number in 1..=LAST {
            publisher.publish(&topic("log"), number.to_string()).await.unwrap();
            if numbers.below(100) == 0 {
                let (hub, node) = &nodes[numbers.index(3)];
                if away.is_none() {
                    network.cut(*node);
                    away = Some(*node);
                } else if let Some(node) = away.take() {
                    network.heal(node);
                }
                let (member, mut peer) = member(hub);
                let first = numbers.below(number) + 1;
                let epoch = tautline_hub::Epoch::from_u64(0);
                let since = tautline_hub::Position { epoch, offset: first - 1 };
                match member.subscribe(&topic("log"), Subscribe::new().since(since)).await {
                    Ok(start) => {
                        assert!(matches!(start, Start::Recovered { .. }), "{seed}: {start:?}");
                        readers.push(tokio::spawn(async move {
                            read_all(&mut peer, first, LAST).await;
                            drop(member);
                        }));
                    }
                    Err(error) => assert!(error.is_retryable(), "{seed}: {error}"),
                }
            }
            if numbers.below(50) == 0 {
                let (_, node) = &nodes[numbers.index(3)];
                network.lose(*node, numbers.index(4));
            }
            if numbers.below(10) == 0 {
                tokio::task::yield_now().await;
            }
        }
        if let Some(node) = away {
            network.heal(node);
        }
        assert!(readers.len() > 5, "{seed}");
        for reader in readers {
            let done = tokio::time::timeout(Duration::from_secs(300), reader);
            done.await.unwrap_or_else(|_| panic!("seed {seed}: something is missing")).unwrap();
        }
    }
}
