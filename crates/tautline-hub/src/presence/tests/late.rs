//! Signals that are lost, late or forged, one at a time.

use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::presence::config::MAX_DEPARTED;
use crate::presence::mark::Buckets;
use crate::presence::signal::{self, Signal, decode};
use crate::presence::{Config, MemberInfo, Tracker};
use crate::{NodeId, Topic};

const BEAT: std::time::Duration = Config::DEFAULT_HEARTBEAT;

/// A node with members, and one that listens.
struct Pair {
    now: Instant,
    owner: Tracker,
    other: Tracker,
    topic: Topic,
}

impl Pair {
    /// The other one knows all of the members, with these numbers and this much data.
    fn new(numbers: impl IntoIterator<Item = u64>, data: usize) -> Self {
        let now = Instant::now();
        let tracker = |node| Tracker::new(NodeId::from_u64(node), Config::new(), now);
        let (owner, other) = (tracker(1), tracker(2));
        let mut pair = Self { now, owner, other, topic: Topic::new("topic").unwrap() };
        for number in numbers {
            let info = MemberInfo::new("anna").topic_data(vec![b'x'; data]);
            pair.owner.join(now, &pair.topic, number, &info).unwrap();
        }
        for _ in 0..3 {
            let signals = pair.pass();
            pair.deliver(&signals);
        }
        assert!(pair.other.is_complete());
        pair
    }

    /// A heartbeat passes: what the owner says.
    fn pass(&mut self) -> Vec<Bytes> {
        self.now += BEAT;
        self.other.handle_timeout(self.now);
        let asked: Vec<_> = std::iter::from_fn(|| self.other.poll_signal()).collect();
        for signal in asked {
            self.owner.handle_signal(self.now, &signal).unwrap();
        }
        self.say()
    }

    /// What the owner says now.
    fn say(&mut self) -> Vec<Bytes> {
        self.owner.handle_timeout(self.now);
        std::iter::from_fn(|| self.owner.poll_signal()).collect()
    }

    fn deliver(&mut self, signals: &[Bytes]) {
        for signal in signals {
            self.other.handle_signal(self.now, signal).unwrap();
        }
    }

    fn ask(&mut self, bucket: usize) {
        let mut buckets = Buckets::default();
        buckets.insert(bucket);
        let ask = signal::ask(NodeId::from_u64(3), NodeId::from_u64(1), true, &buckets);
        self.owner.handle_signal(self.now, &ask).unwrap();
    }

    fn join(&mut self, number: u64) {
        let info = MemberInfo::new("bert");
        self.owner.join(self.now, &self.topic, number, &info).unwrap();
    }

    fn known(&self) -> usize {
        self.other.counts(&self.topic).members
    }
}

fn kinds(signals: &[Bytes]) -> Vec<&'static str> {
    let kind = |signal: &Bytes| match decode(signal).unwrap().1 {
        Signal::Beat { .. } => "beat",
        Signal::Delta { .. } => "delta",
        Signal::Ask { .. } => "ask",
        Signal::Digests { .. } => "digests",
        Signal::Piece { .. } => "piece",
        Signal::Bye => "bye",
    };
    signals.iter().map(kind).collect()
}

// Not only with the next heartbeat.
#[test]
fn a_hole_is_seen_with_whatever_comes_next() {
    for next in ["delta", "digests", "piece"] {
        let mut pair = Pair::new(0..3, 0);
        pair.join(3);
        assert_eq!(kinds(&pair.pass()), ["delta", "beat"], "both are lost");
        pair.join(4);
        pair.ask(0);
        let mut signals = pair.say();
        assert_eq!(kinds(&signals), ["delta", "digests", "piece"]);
        signals.retain(|signal| kinds(std::slice::from_ref(signal)) == [next]);
        assert!(pair.other.is_complete());
        pair.deliver(&signals);
        assert!(!pair.other.is_complete(), "{next}");
        let signals = pair.pass();
        pair.deliver(&signals);
        let signals = pair.pass();
        pair.deliver(&signals);
        assert_eq!((pair.other.is_complete(), pair.known()), (true, 5), "{next}");
    }
}

#[test]
fn what_is_late_changes_nothing() {
    let mut pair = Pair::new(0..3, 0);
    pair.ask(0);
    let late = pair.say();
    assert_eq!(kinds(&late), ["digests", "piece"], "with a member that is gone when they come");
    pair.owner.disconnect(pair.now, 0);
    let new = pair.pass();
    pair.deliver(&new);
    assert_eq!((pair.known(), pair.other.is_complete()), (2, true));
    pair.deliver(&late);
    assert_eq!((pair.known(), pair.other.is_complete()), (2, true));
}

// The version is the same, so only the digest tells.
#[test]
fn what_somebody_else_said_in_a_nodes_name_is_undone() {
    let mut pair = Pair::new(0..3, 0);
    let mut changes = BytesMut::new();
    signal::put_disconnected(&mut changes, 0);
    pair.join(3);
    let signals = pair.pass();
    let Signal::Delta { version, .. } = decode(&signals[0]).unwrap().1 else { panic!() };
    pair.deliver(&[signal::delta(NodeId::from_u64(1), version, &changes)]);
    assert_eq!(pair.known(), 2);
    pair.deliver(&signals);
    assert!(!pair.other.is_complete());
    for _ in 0..2 {
        let signals = pair.pass();
        pair.deliver(&signals);
    }
    assert_eq!((pair.known(), pair.other.is_complete()), (4, true));
}

#[test]
fn an_answer_is_behind_the_changes_that_it_has() {
    let mut pair = Pair::new(0..3, 0);
    pair.join(3);
    pair.ask(3);
    let signals = pair.say();
    assert_eq!(kinds(&signals), ["delta", "digests", "piece"]);
    pair.deliver(&signals);
    assert_eq!((pair.known(), pair.other.is_complete()), (4, true));
}

// Who asks while a bucket is being told has missed its beginning.
#[test]
fn a_bucket_that_is_asked_for_while_it_is_told_is_told_again() {
    let mut pair = Pair::new((0..300).map(|number| number * 256), 4000);
    let starts = |signals: &[Bytes]| {
        let start = |signal: &&Bytes| match decode(signal).unwrap().1 {
            Signal::Piece { from, .. } => from == crate::presence::mark::Mark::start_of(0),
            _ => false,
        };
        signals.iter().filter(start).count()
    };
    pair.ask(0);
    let mut signals = pair.pass();
    assert_eq!((starts(&signals), kinds(&signals).len()), (1, 18), "a part of it");
    pair.ask(0);
    for _ in 0..10 {
        signals.extend(pair.pass());
    }
    assert_eq!(starts(&signals), 2);
    assert_eq!(kinds(&pair.pass()), ["beat"], "and that is all");
}

#[test]
fn a_node_that_said_goodbye_is_not_brought_back_by_what_is_late() {
    let mut pair = Pair::new(0..3, 0);
    let late = pair.pass();
    pair.owner.end();
    let bye = pair.say();
    assert_eq!(kinds(&bye), ["bye"]);
    pair.deliver(&bye);
    pair.deliver(&late);
    assert_eq!(pair.other.stats().nodes, 0);
    pair.other.handle_timeout(pair.now);
    assert_eq!((pair.known(), pair.other.is_complete()), (0, true));
}

#[test]
fn those_that_said_goodbye_are_remembered_to_a_number() {
    let now = Instant::now();
    let tracker = |node| Tracker::new(NodeId::from_u64(node), Config::new(), now);
    let mut here = tracker(0);
    let last = MAX_DEPARTED as u64 + 1;
    for node in 1..=last {
        let mut there = tracker(node);
        there.end();
        here.handle_signal(now, &there.poll_signal().unwrap()).unwrap();
    }
    for (node, known) in [(last, 0), (2, 0), (1, 1)] {
        let mut late = tracker(node);
        late.handle_timeout(now + BEAT);
        here.handle_signal(now, &late.poll_signal().unwrap()).unwrap();
        assert_eq!(here.stats().nodes, known, "node {node} of {last}");
    }
}

#[test]
fn changes_wait_a_part_of_a_heartbeat_for_others() {
    let (now, topic) = (Instant::now(), Topic::new("topic").unwrap());
    let mut tracker = Tracker::new(NodeId::from_u64(1), Config::new(), now);
    let drain = |tracker: &mut Tracker| -> Vec<_> {
        std::iter::from_fn(|| tracker.poll_signal()).collect()
    };
    tracker.handle_timeout(now + BEAT);
    drain(&mut tracker);
    let (first, second) = (now + BEAT, now + BEAT + BEAT / 32);
    tracker.join(first, &topic, 1, &MemberInfo::new("anna")).unwrap();
    tracker.join(second, &topic, 2, &MemberInfo::new("bert")).unwrap();
    while tracker.poll_event(second).is_some() {}
    assert_eq!(tracker.deadline(), Some(first + BEAT / 16));
    tracker.handle_timeout(second);
    assert!(drain(&mut tracker).is_empty());
    tracker.handle_timeout(first + BEAT / 16);
    assert_eq!(kinds(&drain(&mut tracker)), ["delta"]);
}
