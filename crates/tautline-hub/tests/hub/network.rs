//! A broker in this process, with several nodes, that loses what the test says.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tautline_hub::broker::{
    Arrival, BoxFuture, Broker, BrokerError, BrokerEvent, BrokerSink, History, Range,
};
use tautline_hub::{Epoch, Filter, Hub, HubBuilder, Keep, Position, Publication, Topic};

/// What all nodes share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Network(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    topics: HashMap<Topic, Kept>,
    nodes: Vec<Node>,
    epoch: u64,
    /// Ids of publications that were made.
    made: HashMap<Bytes, Position>,
}

#[derive(Debug, Default)]
struct Kept {
    epoch: u64,
    top: u64,
    publications: Vec<(u64, Bytes)>,
}

#[derive(Debug, Default)]
struct Node {
    sink: Option<BrokerSink>,
    filters: HashSet<Filter>,
    is_away: bool,
    /// Of the next arrivals, so many are lost.
    loses: usize,
    /// So many times it has read a history.
    reads: usize,
    /// So many of its next checks of positions fail.
    failing_checks: usize,
    /// What the broker refuses it.
    refused: Option<Filter>,
}

/// One node's end.
#[derive(Debug)]
struct End {
    network: Network,
    node: usize,
}

fn away() -> BrokerError {
    BrokerError::unavailable("the test says so")
}

impl Network {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// A hub of this network, and the number of its node.
    pub(crate) fn hub(&self, builder: HubBuilder) -> (Hub, usize) {
        let mut state = self.lock();
        state.nodes.push(Node::default());
        let node = state.nodes.len() - 1;
        drop(state);
        (builder.broker(End { network: self.clone(), node }).build(), node)
    }

    /// This node cannot reach the broker any more.
    pub(crate) fn cut(&self, node: usize) {
        let mut state = self.lock();
        state.nodes[node].is_away = true;
        let sink = state.nodes[node].sink.clone();
        drop(state);
        sink.unwrap().tell(BrokerEvent::Lost(away()));
    }

    /// It can again.
    pub(crate) fn heal(&self, node: usize) {
        let mut state = self.lock();
        state.nodes[node].is_away = false;
        let sink = state.nodes[node].sink.clone();
        drop(state);
        sink.unwrap().tell(BrokerEvent::Connected);
    }

    /// So many of the next arrivals at this node are lost, and nobody is told.
    pub(crate) fn lose(&self, node: usize, count: usize) {
        self.lock().nodes[node].loses = count;
    }

    /// So many of the next checks of positions of this node fail.
    pub(crate) fn fail_checks(&self, node: usize, count: usize) {
        self.lock().nodes[node].failing_checks = count;
    }

    /// The broker refuses this to a node, with all that is asked for together with it.
    pub(crate) fn refuse(&self, node: usize, filter: Filter) {
        self.lock().nodes[node].refused = Some(filter);
    }

    /// How often a node has read a history.
    pub(crate) fn reads(&self, node: usize) -> usize {
        self.lock().nodes[node].reads
    }

    /// All histories are gone.
    pub(crate) fn forget(&self) {
        let mut state = self.lock();
        state.epoch += 1;
        state.topics.clear();
    }

    /// Something else writes to the place of a history what no node can decode.
    pub(crate) fn scribble(&self, topic: &Topic, count: usize) {
        for _ in 0..count {
            self.publish(topic, &Bytes::from_static(b"\xffnot ours"), Some(Keep::last(5_000)));
        }
    }

    /// What a node has subscribed.
    pub(crate) fn filters(&self, node: usize) -> usize {
        self.lock().nodes[node].filters.len()
    }

    fn publish(&self, topic: &Topic, encoded: &Bytes, keep: Option<Keep>) -> Option<Position> {
        let mut state = self.lock();
        let epoch = state.epoch;
        let place = keep.map(|keep| {
            let kept = state
                .topics
                .entry(topic.clone())
                .or_insert_with(|| Kept { epoch, ..Kept::default() });
            kept.top += 1;
            kept.publications.push((kept.top, encoded.clone()));
            let excess = kept.publications.len().saturating_sub(keep.messages);
            kept.publications.drain(..excess);
            (Position { epoch: Epoch::from_u64(kept.epoch), offset: kept.top }, kept.top - 1)
        });
        let mut arrivals = Vec::new();
        for node in &mut state.nodes {
            for filter in &node.filters {
                let pattern = match filter {
                    Filter::Topic(name) if name == topic => None,
                    Filter::Pattern(pattern) if pattern.matches(topic) => Some(pattern.clone()),
                    _ => continue,
                };
                let is_lost = node.is_away || node.loses > 0;
                node.loses = node.loses.saturating_sub(1);
                if let Some(sink) = node.sink.clone().filter(|_| !is_lost) {
                    let (topic, encoded) = (topic.clone(), encoded.clone());
                    arrivals.push((sink, Arrival { topic, pattern, place, encoded }));
                }
            }
        }
        // In one order for all: as a broker has it.
        for (sink, arrival) in arrivals {
            sink.tell(BrokerEvent::Arrived(arrival));
        }
        place.map(|(position, _)| position)
    }
}

impl End {
    fn check(&self) -> Result<(), BrokerError> {
        if self.network.lock().nodes[self.node].is_away { Err(away()) } else { Ok(()) }
    }
}

impl Broker for End {
    fn run(self: Arc<Self>, sink: BrokerSink) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.network.lock().nodes[self.node].sink = Some(sink.clone());
            sink.tell(BrokerEvent::Connected);
            std::future::pending::<()>().await;
        })
    }

    fn subscribe(&self, filters: Vec<Filter>) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async {
            {
                let node = &mut self.network.lock().nodes[self.node];
                if node.refused.as_ref().is_some_and(|refused| filters.contains(refused)) {
                    return Err(BrokerError::refused("the test says so"));
                }
                // Also while it is away: it has them when it is back.
                node.filters.extend(filters);
            }
            self.check()
        })
    }

    fn unsubscribe(&self, filters: Vec<Filter>) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async move {
            let mut state = self.network.lock();
            for filter in filters {
                state.nodes[self.node].filters.remove(&filter);
            }
            Ok(())
        })
    }

    fn publish(
        &self,
        topic: &Topic,
        encoded: Bytes,
        keep: Option<Keep>,
        id: Option<Bytes>,
    ) -> BoxFuture<'_, Result<Option<Position>, BrokerError>> {
        let topic = topic.clone();
        Box::pin(async move {
            self.check()?;
            if let Some(made) = id.as_ref().and_then(|id| self.network.lock().made.get(id).copied())
            {
                return Ok(Some(made));
            }
            let position = self.network.publish(&topic, &encoded, keep);
            if let (Some(id), Some(position)) = (id, position) {
                self.network.lock().made.insert(id, position);
            }
            Ok(position)
        })
    }

    fn history(
        &self,
        topic: &Topic,
        range: Range,
        limit: usize,
    ) -> BoxFuture<'_, Result<History, BrokerError>> {
        let topic = topic.clone();
        Box::pin(async move {
            self.check()?;
            // Others go on meanwhile.
            tokio::task::yield_now().await;
            let mut state = self.network.lock();
            state.nodes[self.node].reads += 1;
            let none = Kept { epoch: state.epoch, ..Kept::default() };
            let kept = state.topics.get(&topic).unwrap_or(&none);
            let given = |(offset, encoded): &(u64, Bytes)| (*offset, encoded.clone());
            let (publications, complete): (Vec<_>, _) = match range {
                Range::After(after) => {
                    let behind = kept.publications.iter().filter(|(offset, _)| *offset > after);
                    let found: Vec<_> = behind.take(limit).map(given).collect();
                    let first = kept.publications.iter().find(|(offset, _)| *offset > after);
                    let complete = match first {
                        Some((first, _)) => *first == after + 1,
                        None => after == kept.top,
                    };
                    (found, complete)
                }
                Range::Latest => {
                    (kept.publications.iter().rev().take(limit).map(given).collect(), true)
                }
            };
            let top = Position { epoch: Epoch::from_u64(kept.epoch), offset: kept.top };
            let read_to = match range {
                Range::After(after) => publications.last().map_or(after, |(offset, _)| *offset),
                Range::Latest => publications.first().map_or(0, |(offset, _)| *offset),
            };
            let decoded = |(offset, encoded)| Some((offset, Publication::decode(encoded).ok()?));
            let publications = publications.into_iter().filter_map(decoded).collect();
            Ok(History { publications, top, complete, read_to })
        })
    }

    fn tops(
        &self,
        topics: Vec<Topic>,
    ) -> BoxFuture<'_, Result<Vec<Option<Position>>, BrokerError>> {
        Box::pin(async move {
            self.check()?;
            let mut state = self.network.lock();
            let failing = &mut state.nodes[self.node].failing_checks;
            if *failing > 0 {
                *failing -= 1;
                return Err(away());
            }
            let top = |topic: &Topic| {
                let kept = state.topics.get(topic)?;
                Some(Position { epoch: Epoch::from_u64(kept.epoch), offset: kept.top })
            };
            Ok(topics.iter().map(top).collect())
        })
    }

    fn signal(&self, bytes: Bytes) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async move {
            self.check()?;
            let state = self.network.lock();
            let here = state.nodes.iter().filter(|node| !node.is_away);
            let sinks: Vec<_> = here.filter_map(|node| node.sink.clone()).collect();
            drop(state);
            for sink in sinks {
                sink.tell(BrokerEvent::Signal(bytes.clone()));
            }
            Ok(())
        })
    }
}
