//! Who is told what, and when; what is bounded; what is complete.

use std::time::{Duration, Instant};

use super::network::Network;
use crate::presence::{
    Change, Config, Counts, JoinError, MAX_DATA_LEN, MAX_USER_LEN, MemberInfo, Tracker, Who,
};
use crate::{NodeId, Topic};

fn topic() -> Topic {
    Topic::new("topic").unwrap()
}

fn network(config: Config, nodes: u64) -> Network {
    let mut network = Network::new(1, config);
    for node in 1..=nodes {
        network.start(node);
    }
    network
}

fn user(name: &str) -> MemberInfo {
    MemberInfo::new(name)
}

/// What was told on a node since the last time.
fn told(network: &mut Network, node: usize) -> Vec<(Change, String, u64)> {
    let events = std::mem::take(&mut network.nodes[node].events);
    let event = |event: &crate::presence::Event| {
        let member = &event.member;
        (event.change, member.info.user.to_string(), member.id.number)
    };
    events.iter().map(event).collect()
}

const SECOND: Duration = Duration::from_secs(1);
const BEAT: Duration = Config::DEFAULT_HEARTBEAT;
const GRACE: Duration = Config::DEFAULT_GRACE;

// A time without end, which no clock can have, was a panic in whoever left next.
#[test]
fn times_are_bounded() {
    let config = Config::new().grace(Duration::MAX).heartbeat(Duration::MAX);
    assert_eq!((config.get_grace(), config.get_heartbeat()), (86_400 * SECOND, 86_400 * SECOND));
    let mut network = network(config, 1);
    network.join(0, &topic(), 1, user("anna"));
    network.disconnect(0, 1);
    assert_eq!(network.nodes[0].tracker.counts(&topic()), Counts::default());
}

#[test]
fn who_comes_back_within_the_grace_time_is_not_told() {
    let mut network = network(Config::new(), 2);
    network.join(0, &topic(), 1, user("anna"));
    network.run(BEAT);
    for node in 0..2 {
        assert_eq!(told(&mut network, node), [(Change::Joined, "anna".into(), 1)]);
    }
    // To another node, by another connection.
    network.disconnect(0, 1);
    network.run(2 * SECOND);
    assert_eq!(network.nodes[1].tracker.counts(&topic()), Counts::default(), "known at once");
    network.join(1, &topic(), 2, user("anna"));
    network.run(3 * GRACE);
    for node in 0..2 {
        assert_eq!(told(&mut network, node), []);
        assert_eq!(network.nodes[node].tracker.counts(&topic()), Counts { members: 1, users: 1 });
    }
    // And when it is too late.
    network.disconnect(1, 2);
    network.run(GRACE - Duration::from_millis(1));
    assert_eq!(told(&mut network, 1), []);
    network.run(2 * SECOND);
    for node in 0..2 {
        assert_eq!(told(&mut network, node), [(Change::Left, "anna".into(), 2)]);
        assert_eq!(network.nodes[node].tracker.stats().topics, 0, "nothing is kept");
    }
    network.join(0, &topic(), 3, user("anna"));
    assert_eq!(told(&mut network, 0), [(Change::Joined, "anna".into(), 3)]);
}

#[test]
fn a_user_joins_with_the_first_connection_and_leaves_with_the_last() {
    let mut network = network(Config::new(), 1);
    for number in 1..=3 {
        network.join(0, &topic(), number, user("anna"));
    }
    network.join(0, &topic(), 4, user(""));
    network.join(0, &topic(), 5, user(""));
    assert_eq!(network.nodes[0].tracker.counts(&topic()), Counts { members: 5, users: 1 });
    let joined = |user: &str, number| (Change::Joined, user.to_owned(), number);
    assert_eq!(told(&mut network, 0), [joined("anna", 1), joined("", 4), joined("", 5)]);
    for number in [1, 3, 4] {
        network.leave(0, &topic(), number);
    }
    network.run(2 * GRACE);
    assert_eq!(told(&mut network, 0), [(Change::Left, String::new(), 4)]);
    network.leave(0, &topic(), 2);
    network.run(2 * GRACE);
    assert_eq!(told(&mut network, 0), [(Change::Left, "anna".into(), 2)]);
    assert_eq!(network.nodes[0].tracker.counts(&topic()), Counts { members: 1, users: 0 });
}

#[test]
fn connections_are_told_each_if_that_is_asked_for() {
    let mut network = network(Config::new().who(Who::Connections), 1);
    network.join(0, &topic(), 1, user("anna"));
    network.join(0, &topic(), 2, user("anna"));
    network.leave(0, &topic(), 1);
    assert_eq!(network.nodes[0].tracker.counts(&topic()), Counts { members: 1, users: 1 });
    network.join(0, &topic(), 1, user("anna"));
    network.leave(0, &topic(), 2);
    network.run(2 * GRACE);
    let (joined, left) = (Change::Joined, Change::Left);
    let anna = || "anna".to_owned();
    assert_eq!(
        told(&mut network, 0),
        [(joined, anna(), 1), (joined, anna(), 2), (left, anna(), 2)]
    );
}

#[test]
fn those_in_their_grace_time_are_bounded() {
    let mut network = network(Config::new().max_leaving(10), 1);
    for number in 0..30 {
        network.join(0, &topic(), number, user(&number.to_string()));
    }
    told(&mut network, 0);
    for number in 0..30 {
        network.leave(0, &topic(), number);
    }
    let early: Vec<_> = (0..20).map(|number| (Change::Left, number.to_string(), number)).collect();
    assert_eq!(told(&mut network, 0), early);
    assert_eq!(network.nodes[0].tracker.stats().leaving, 10);
    network.run(GRACE);
    assert_eq!(told(&mut network, 0).len(), 10);
}

#[test]
fn what_cannot_join_changes_nothing() {
    let mut network = network(Config::new().max_bytes(2000), 1);
    network.join(0, &topic(), 1, user("anna"));
    let now = network.now;
    let tracker = &mut network.nodes[0].tracker;
    let before = tracker.stats();
    let other = Topic::new("other").unwrap();
    let mut join =
        |topic: &Topic, number, info: MemberInfo| tracker.join(now, topic, number, &info);
    let long = user(&"x".repeat(256));
    assert_eq!(join(&topic(), 2, long), Err(JoinError::UserTooLong(MAX_USER_LEN + 1)));
    let data = vec![0; MAX_DATA_LEN + 1];
    let error = Err(JoinError::DataTooLong(MAX_DATA_LEN + 1));
    assert_eq!(join(&topic(), 2, user("a").topic_data(data.clone())), error);
    assert_eq!(join(&topic(), 2, user("a").connection_data(data)), error);
    assert_eq!(join(&other, 1, user("bert")), Err(JoinError::Differs));
    assert_eq!(join(&other, 1, user("anna").connection_data("x")), Err(JoinError::Differs));
    assert_eq!(join(&topic(), 2, user("a").topic_data(vec![0; 2000])), Err(JoinError::Full));
    assert_eq!(tracker.stats(), before);
}

#[test]
fn a_node_alone_knows_all_and_says_nothing() {
    let mut network = network(Config::new().alone(true), 1);
    assert!(network.nodes[0].tracker.is_complete());
    network.join(0, &topic(), 1, user("anna"));
    network.run(10 * BEAT);
    assert_eq!((network.bytes, network.nodes[0].tracker.deadline()), (0, None));
}

#[test]
fn a_newcomer_says_that_it_does_not_know_all() {
    let mut network = network(Config::new(), 1);
    network.run(3 * BEAT);
    assert!(network.nodes[0].tracker.is_complete(), "it has heard nobody");
    let data = vec![b'x'; 1000];
    let members = 2000;
    for number in 0..members {
        network.join(0, &topic(), number, user(&number.to_string()).topic_data(data.clone()));
    }
    network.run(BEAT);
    network.start(2);
    let mut partly = false;
    let mut waited = Duration::ZERO;
    while !network.nodes[1].tracker.is_complete() {
        network.run(BEAT / 4);
        waited += BEAT / 4;
        assert!(waited < 20 * BEAT, "it never knows all");
        let presence = network.nodes[1].tracker.presence(&topic(), usize::MAX);
        partly |= !presence.complete && (1..members as usize).contains(&presence.members.len());
    }
    assert!(partly, "it learned everything at once");
    assert!(waited <= Config::new().convergence(2000 * 1050), "{waited:?}");
    network.check(&[topic()]);
    let some = network.nodes[1].tracker.presence(&topic(), 10);
    assert_eq!((some.members.len(), some.complete), (10, false));
}

#[test]
fn a_node_that_dies_is_dropped_whole_and_one_that_ends_at_once() {
    let mut network = network(Config::new(), 3);
    for (node, name) in [(0, "anna"), (1, "bert"), (2, "cora")] {
        network.join(node, &topic(), 1, user(name));
    }
    network.run(3 * BEAT);
    network.end(2, false);
    network.run(4 * BEAT - Duration::from_millis(1) - BEAT);
    assert_eq!(network.nodes[0].tracker.counts(&topic()).members, 3);
    network.run(BEAT + Duration::from_millis(1));
    network.check(&[topic()]);
    // What it said before it ended comes late.
    network.delay = 300;
    network.join(1, &topic(), 2, user("bert"));
    network.end(1, true);
    network.run(Duration::from_millis(300));
    network.check(&[topic()]);
    network.run(GRACE + BEAT);
    network.check_told();
}

// A node may be back while its members are still leaving, a group at a time.
#[test]
fn a_node_that_returns_finds_what_is_left_of_it() {
    let mut network = network(Config::new(), 2);
    for number in 0..10_000 {
        network.join(0, &topic(), number, user(&number.to_string()));
    }
    network.run(2 * BEAT);
    network.put_in_group(1, 1);
    // Both drop each other, but the first step of it is not all.
    let at = network.nodes[1].tracker.deadline().unwrap() + 5 * BEAT;
    let tracker = &mut network.nodes[1].tracker;
    for _ in 0..5 {
        // The times that it is called, so that it was not stopped.
        network.now += BEAT;
        tracker.handle_timeout(network.now);
        while tracker.poll_signal().is_some() {}
    }
    assert!(network.now <= at);
    assert_eq!(tracker.counts(&topic()).members, 10_000 - 4096);
    assert!(!tracker.is_complete());
    assert_eq!(tracker.members(&topic()).count(), 0, "those that are gone are not shown");
    // It is heard before the next group has left.
    network.nodes[0].tracker.handle_timeout(network.now);
    while let Some(signal) = network.nodes[0].tracker.poll_signal() {
        network.nodes[1].tracker.handle_signal(network.now, &signal).unwrap();
    }
    assert_eq!(network.nodes[1].tracker.members(&topic()).count(), 10_000 - 4096);
    network.put_in_group(1, 0);
    let before = network.bytes;
    network.run(4 * BEAT);
    network.check(&[topic()]);
    assert!(network.bytes - before < 200_000, "all was told: {}", network.bytes - before);
}

// Everything would be 3 MB.
#[test]
fn a_loss_costs_what_was_lost_and_not_everything() {
    let mut network = network(Config::new(), 2);
    let data = vec![b'x'; 100];
    for number in 0..20_000 {
        network.join(0, &topic(), number, user(&number.to_string()).topic_data(data.clone()));
    }
    network.run(4 * BEAT);
    network.check(&[topic()]);
    network.loss = 100;
    network.join(0, &topic(), 20_000, user("anna"));
    network.leave(0, &topic(), 7);
    network.run(BEAT / 2);
    network.loss = 0;
    let before = network.bytes;
    network.run(3 * BEAT);
    network.check(&[topic()]);
    assert!(network.bytes - before < 50_000, "{} bytes", network.bytes - before);
}

#[test]
fn members_of_others_are_bounded_and_learned_when_there_is_room() {
    let mut network = network(Config::new(), 1);
    network.config = Config::new().max_bytes(100_000);
    network.start(2);
    for number in 0..500 {
        network.join(0, &topic(), number, user(&number.to_string()));
    }
    network.run(10 * BEAT);
    let stats = network.nodes[1].tracker.stats();
    assert!((90_000..=100_000).contains(&stats.bytes), "{stats:?}");
    assert!(!network.nodes[1].tracker.is_complete() && stats.refused_members > 0);
    // It does not ask for everything again and again.
    assert!(network.bytes < 40_000, "{} bytes", network.bytes);
    for number in 0..450 {
        network.leave(0, &topic(), number);
    }
    network.run(21 * BEAT + Config::new().convergence(0));
    network.check(&[topic()]);
}

#[test]
fn nodes_are_bounded() {
    let mut network = network(Config::new().max_nodes(2), 4);
    network.run(4 * BEAT);
    let tracker = &network.nodes[0].tracker;
    let stats = tracker.stats();
    assert_eq!((stats.nodes, tracker.is_complete()), (2, false));
    assert!(stats.refused_signals > 0);
    network.end(3, false);
    network.run(10 * BEAT);
    assert!(network.nodes[0].tracker.is_complete(), "{:?}", network.nodes[0].tracker.stats());
}

// A process that was stopped, or starved, has heard nobody meanwhile; all were dropped when it went on.
#[test]
fn who_was_stopped_does_not_take_others_for_gone() {
    let mut network = network(Config::new(), 2);
    network.join(0, &topic(), 1, user("anna"));
    network.run(2 * BEAT);
    let now = network.now + 60 * SECOND;
    let tracker = &mut network.nodes[1].tracker;
    tracker.handle_timeout(now);
    assert_eq!((tracker.stats().nodes, tracker.counts(&topic()).members), (1, 1));
}

#[test]
fn members_are_kept_while_the_broker_is_lost() {
    let mut network = network(Config::new(), 2);
    network.join(0, &topic(), 1, user("anna"));
    network.run(3 * BEAT);
    let now = network.now;
    network.nodes[1].tracker.handle_lost(now);
    network.put_in_group(1, 1);
    network.run(20 * BEAT);
    let tracker = &mut network.nodes[1].tracker;
    assert_eq!((tracker.counts(&topic()).members, tracker.is_complete()), (1, false));
    tracker.handle_connected(network.now);
    network.put_in_group(1, 0);
    network.run(3 * BEAT);
    network.check(&[topic()]);
    assert_eq!(told(&mut network, 1).len(), 1, "nobody left");
}

// Node ids are random, but somebody may set them.
#[test]
fn a_node_that_restarts_with_its_old_number_is_known_in_the_end() {
    let mut network = network(Config::new(), 2);
    for number in 0..10 {
        network.join(0, &topic(), number, user("anna"));
    }
    network.run(2 * BEAT);
    network.end(0, false);
    network.start(1);
    assert_eq!(network.nodes[1].id, NodeId::from_u64(1));
    network.join(1, &topic(), 1, user("bert"));
    network.run(Config::new().convergence(0) + 2 * BEAT);
    network.check(&[topic()]);
}

#[test]
fn a_node_that_has_ended_says_nothing_and_hears_nothing() {
    let now = Instant::now();
    let tracker = |node| Tracker::new(NodeId::from_u64(node), Config::new(), now);
    let (mut here, mut there) = (tracker(1), tracker(2));
    here.join(now, &topic(), 1, &user("anna")).unwrap();
    there.join(now, &topic(), 1, &user("bert")).unwrap();
    here.end();
    assert!(here.poll_signal().is_some(), "goodbye");
    there.handle_timeout(now + BEAT);
    while let Some(signal) = there.poll_signal() {
        here.handle_signal(now, &signal).unwrap();
    }
    here.join(now, &topic(), 2, &user("carl")).unwrap();
    here.leave(now, &topic(), 1);
    here.handle_lost(now);
    here.handle_connected(now);
    here.end();
    here.handle_timeout(now + 10 * BEAT);
    assert_eq!(here.poll_signal(), None);
    assert_eq!(here.counts(&topic()), Counts { members: 1, users: 1 }, "its own");
    assert_eq!(here.stats().nodes, 0);
}
