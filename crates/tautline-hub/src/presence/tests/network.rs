//! Nodes on a channel that loses, doubles and delays what is told, in virtual time.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::presence::{Change, Config, Event, MAX_SIGNAL_LEN, MemberInfo, Tracker, Who};
use crate::{MemberId, NodeId, Topic};

/// Numbers that look random: the same ones for a seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// Everyone in a topic: topic, connection, what is told of it.
pub(super) type Members = BTreeMap<(String, MemberId), (String, Vec<u8>, Vec<u8>)>;

pub(super) struct Node {
    pub(super) tracker: Tracker,
    pub(super) id: NodeId,
    /// Its own members, as they are.
    pub(super) own: BTreeMap<u64, BTreeMap<Topic, MemberInfo>>,
    /// Who was told to be there.
    told: HashSet<(Topic, String)>,
    group: u64,
    pub(super) events: Vec<Event>,
    who: Who,
}

pub(super) struct Network {
    pub(super) now: Instant,
    pub(super) random: Random,
    pub(super) nodes: Vec<Node>,
    on_the_way: BTreeMap<(Instant, u64), (NodeId, Bytes)>,
    sent: u64,
    pub(super) bytes: usize,
    /// In percent.
    pub(super) loss: u64,
    pub(super) doubled: u64,
    /// The longest time that a signal takes, in milliseconds.
    pub(super) delay: u64,
    pub(super) config: Config,
}

impl Network {
    pub(super) fn new(seed: u64, config: Config) -> Self {
        Self {
            now: Instant::now(),
            random: Random(seed),
            nodes: Vec::new(),
            on_the_way: BTreeMap::new(),
            sent: 0,
            bytes: 0,
            loss: 0,
            doubled: 0,
            delay: 0,
            config,
        }
    }

    /// A node of this number begins.
    pub(super) fn start(&mut self, number: u64) -> usize {
        let id = NodeId::from_u64(number);
        self.nodes.push(Node {
            tracker: Tracker::new(id, self.config.clone(), self.now),
            id,
            own: BTreeMap::new(),
            told: HashSet::new(),
            group: 0,
            events: Vec::new(),
            who: self.config.get_who(),
        });
        self.drain(self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    /// Only nodes of the same group reach each other.
    pub(super) fn put_in_group(&mut self, node: usize, group: u64) {
        self.nodes[node].group = group;
    }

    pub(super) fn join(&mut self, node: usize, topic: &Topic, number: u64, info: MemberInfo) {
        let Node { tracker, own, .. } = &mut self.nodes[node];
        tracker.join(self.now, topic, number, &info).unwrap();
        own.entry(number).or_default().insert(topic.clone(), info);
        self.drain(node);
    }

    pub(super) fn leave(&mut self, node: usize, topic: &Topic, number: u64) {
        let Node { tracker, own, .. } = &mut self.nodes[node];
        tracker.leave(self.now, topic, number);
        if let Some(topics) = own.get_mut(&number) {
            topics.remove(topic);
        }
        own.retain(|_, topics| !topics.is_empty());
        self.drain(node);
    }

    pub(super) fn disconnect(&mut self, node: usize, number: u64) {
        self.nodes[node].tracker.disconnect(self.now, number);
        self.nodes[node].own.remove(&number);
        self.drain(node);
    }

    /// The node says goodbye and ends, or just ends.
    pub(super) fn end(&mut self, node: usize, goodbye: bool) {
        if goodbye {
            self.nodes[node].tracker.end();
            self.drain(node);
        }
        self.nodes.swap_remove(node);
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut turns = 0;
        loop {
            turns += 1;
            assert!(turns < 1_000_000, "a deadline is never met");
            let due = |node: &Node| node.tracker.deadline();
            let deadline = self.nodes.iter().filter_map(due).min();
            let arrival = self.on_the_way.first_key_value().map(|((at, _), _)| *at);
            let Some(next) = deadline.into_iter().chain(arrival).min().filter(|at| *at <= end)
            else {
                break;
            };
            self.now = self.now.max(next);
            while let Some(arrival) = self.on_the_way.first_entry() {
                if arrival.key().0 > self.now {
                    break;
                }
                let (to, bytes) = arrival.remove();
                if let Some(index) = self.nodes.iter().position(|node| node.id == to) {
                    self.nodes[index].tracker.handle_signal(self.now, &bytes).unwrap();
                    self.drain(index);
                }
            }
            for index in 0..self.nodes.len() {
                if due(&self.nodes[index]).is_some_and(|at| at <= self.now) {
                    self.nodes[index].tracker.handle_timeout(self.now);
                    self.drain(index);
                }
            }
        }
        self.now = end;
    }

    fn drain(&mut self, index: usize) {
        while let Some(signal) = self.nodes[index].tracker.poll_signal() {
            assert!(signal.len() <= MAX_SIGNAL_LEN);
            self.bytes += signal.len();
            let group = self.nodes[index].group;
            for to in 0..self.nodes.len() {
                let copies = 1 + u64::from(self.random.percent(self.doubled));
                for _ in 0..copies {
                    if self.nodes[to].group == group && !self.random.percent(self.loss) {
                        let delay = Duration::from_millis(self.random.below(self.delay + 1));
                        self.sent += 1;
                        let key = (self.now + delay, self.sent);
                        self.on_the_way.insert(key, (self.nodes[to].id, signal.clone()));
                    }
                }
            }
        }
        let node = &mut self.nodes[index];
        while let Some(event) = node.tracker.poll_event(self.now) {
            let key = (event.topic.clone(), node.key(&event.member.info.user, event.member.id));
            match event.change {
                Change::Joined => assert!(node.told.insert(key), "joined twice: {event:?}"),
                Change::Left => assert!(node.told.remove(&key), "left, not joined: {event:?}"),
            }
            node.events.push(event);
        }
    }

    /// Everybody who is there.
    pub(super) fn truth(&self) -> Members {
        let mut members = Members::new();
        for node in &self.nodes {
            for (number, topics) in &node.own {
                for (topic, info) in topics {
                    let id = MemberId { node: node.id, number: *number };
                    members.insert((topic.to_string(), id), parts(info));
                }
            }
        }
        members
    }

    /// All nodes know what is so, and that they do; their counts say the same.
    pub(super) fn check(&self, topics: &[Topic]) {
        let truth = self.truth();
        for node in &self.nodes {
            let known = node.members(topics);
            let (id, stats) = (node.id, node.tracker.stats());
            assert!(known == truth, "{id}: {:?}", differences(&known, &truth));
            assert!(node.tracker.is_complete(), "{id} does not know that it knows all: {stats:?}");
            assert_eq!((stats.members, stats.nodes + 1), (truth.len(), self.nodes.len()), "{id}");
            for topic in topics {
                let here = || truth.iter().filter(|((name, _), _)| *name == topic.as_str());
                let users: BTreeSet<_> =
                    here().map(|(_, (user, ..))| user).filter(|user| !user.is_empty()).collect();
                let counts = node.tracker.counts(topic);
                assert_eq!((counts.members, counts.users), (here().count(), users.len()), "{id}");
            }
        }
    }

    /// Who was told to be there is there, and the other way round.
    pub(super) fn check_told(&self) {
        for node in &self.nodes {
            let present: HashSet<_> = self
                .truth()
                .iter()
                .map(|((topic, id), (user, ..))| {
                    (Topic::new(&**topic).unwrap(), node.key(user, *id))
                })
                .collect();
            assert!(node.told == present, "{}: {:?} {present:?}", node.id, node.told);
        }
    }
}

impl Node {
    /// Who joins or leaves, if this one does.
    fn key(&self, user: &str, id: MemberId) -> String {
        if user.is_empty() || self.who == Who::Connections {
            return id.to_string();
        }
        user.to_owned()
    }

    /// What it knows.
    pub(super) fn members(&self, topics: &[Topic]) -> Members {
        let mut members = Members::new();
        for topic in topics {
            for member in self.tracker.members(topic) {
                members.insert((topic.to_string(), member.id), parts(&member.info));
            }
        }
        members
    }
}

fn parts(info: &MemberInfo) -> (String, Vec<u8>, Vec<u8>) {
    (info.user.to_string(), info.connection_data.to_vec(), info.topic_data.to_vec())
}

/// The first few, for messages.
fn differences(known: &Members, truth: &Members) -> Vec<String> {
    let missing = truth.keys().filter(|key| known.get(*key) != truth.get(*key));
    let wrong = known.keys().filter(|key| !truth.contains_key(*key));
    let missing = missing.map(|(topic, id)| format!("{id} in {topic} is missing or differs"));
    missing.chain(wrong.map(|(topic, id)| format!("{id} in {topic} is gone"))).take(5).collect()
}
