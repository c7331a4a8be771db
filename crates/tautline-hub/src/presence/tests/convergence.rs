//! Whatever happened: when it is over, all nodes know the same within the time that is documented.

use std::collections::HashSet;
use std::time::Duration;

use super::network::Network;
use crate::presence::{Config, MemberInfo, Who};
use crate::{NodeId, Topic};

/// A run for each. Thousands were tried when this was written.
const SEEDS: u64 = 40;

fn topics() -> Vec<Topic> {
    (0..5).map(|number| Topic::new(format!("topic.{number}")).unwrap()).collect()
}

/// A network in which things happen as the seed says.
struct Storm {
    network: Network,
    topics: Vec<Topic>,
    next_node: u64,
    next_number: u64,
    /// The distance of numbers: with 256, all members are in one part of their node.
    stride: u64,
    data: u64,
    /// Nodes that believe that the broker is lost.
    lost: HashSet<NodeId>,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let who = if seed.is_multiple_of(5) { Who::Connections } else { Who::Users };
        let mut network = Network::new(seed, Config::new().who(who));
        let random = &mut network.random;
        let (stride, data) =
            ([1, 256][random.below(2) as usize], [20, 4000][random.below(2) as usize]);
        network.loss = network.random.below(40);
        network.doubled = network.random.below(40);
        network.delay = network.random.below(376);
        // Versions begin with the number of the node: these wrap soon.
        let next_node = u64::MAX - 20;
        let (topics, next_number) = (topics(), 0);
        let mut storm =
            Self { network, topics, next_node, next_number, stride, data, lost: HashSet::new() };
        for _ in 0..2 + seed % 3 {
            storm.start();
        }
        storm
    }

    fn start(&mut self) {
        self.next_node = self.next_node.wrapping_add(1);
        self.network.start(self.next_node);
    }

    /// A connection joins one topic or several, or one that is there joins another one.
    fn join(&mut self, node: usize) {
        let random = &mut self.network.random;
        let own = &self.network.nodes[node].own;
        let known = own.iter().nth(random.below(own.len() as u64 + 1) as usize);
        let (number, mut info) = if let Some((number, topics)) = known
            && let Some(info) = topics.values().next()
            && random.percent(50)
        {
            (*number, info.clone())
        } else {
            self.next_number += self.stride;
            let user = ["", "anna", "bert", "cora", "dora"][random.below(5) as usize];
            let data = vec![b'c'; random.below(self.data) as usize];
            (self.next_number, MemberInfo::new(user).connection_data(data))
        };
        for _ in 0..=random.below(2) {
            let random = &mut self.network.random;
            let topic = &self.topics[random.below(self.topics.len() as u64) as usize];
            let data = vec![random.next() as u8; random.below(self.data) as usize];
            info.topic_data = data.into();
            self.network.join(node, topic, number, info.clone());
        }
    }

    fn leave(&mut self, node: usize) {
        let random = &mut self.network.random;
        let own = &self.network.nodes[node].own;
        let Some((number, topics)) = own.iter().nth(random.below(own.len() as u64 + 1) as usize)
        else {
            return;
        };
        let (number, topic) = (*number, topics.keys().next().cloned());
        match topic {
            Some(topic) if random.percent(50) => self.network.leave(node, &topic, number),
            _ => self.network.disconnect(node, number),
        }
    }

    fn step(&mut self) {
        let count = self.network.nodes.len();
        let node = self.network.random.below(count as u64) as usize;
        match self.network.random.below(100) {
            0..50 => self.join(node),
            50..85 => self.leave(node),
            85..88 if count < 6 => self.start(),
            88..90 if count > 1 => self.network.end(node, false),
            90..91 if count > 1 => self.network.end(node, true),
            91..94 => {
                let group = self.network.random.below(2);
                self.network.put_in_group(node, group);
            }
            94..96 => self.rejoin_all(),
            96..98 => self.lose_or_find_broker(node),
            _ => {}
        }
        let longest = if self.network.random.percent(10) { 5000 } else { 200 };
        let time = self.network.random.below(longest);
        self.network.run(Duration::from_millis(time));
    }

    fn lose_or_find_broker(&mut self, node: usize) {
        let (now, node) = (self.network.now, &mut self.network.nodes[node]);
        if self.lost.remove(&node.id) {
            node.tracker.handle_connected(now);
        } else {
            self.lost.insert(node.id);
            node.tracker.handle_lost(now);
        }
    }

    fn rejoin_all(&mut self) {
        for node in 0..self.network.nodes.len() {
            self.network.put_in_group(node, 0);
        }
    }

    /// Nothing happens any more, and nothing is lost; signals are still doubled and reordered. Brokers
    /// are back everywhere.
    fn quiet(&mut self) {
        self.rejoin_all();
        self.network.loss = 0;
        let now = self.network.now;
        for node in &mut self.network.nodes {
            if self.lost.remove(&node.id) {
                node.tracker.handle_connected(now);
            }
        }
    }
}

/// What the members of a node take on the wire, at most.
fn state(network: &Network) -> usize {
    let members = network.truth();
    members.values().map(|(user, more, data)| user.len() + more.len() + data.len() + 40).sum()
}

// Every member is known to every node, and every node knows that it knows; nobody joined or left
// twice, and who was told to be there is there.
#[test]
#[expect(clippy::print_stdout, reason = "shown if it fails: the last one is the seed")]
fn all_nodes_know_the_same_after_the_documented_time() {
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let mut storm = Storm::new(seed);
        for _ in 0..150 {
            storm.step();
        }
        storm.quiet();
        let (config, network) = (Config::new(), &mut storm.network);
        network.run(config.convergence(state(network)));
        network.check(&storm.topics);
        network.run(config.get_grace());
        network.check_told();
    }
}
