//! A node as a test has it: its broker runs, and what it tells is looked at one by one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tautline_hub::broker::{Arrival, Broker, BrokerError, BrokerEvent, BrokerSink, Keep};
use tautline_hub::{Filter, Position, Publication, Topic};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// What an event may take before the test has failed.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Node {
    pub(crate) broker: Arc<dyn Broker>,
    events: mpsc::UnboundedReceiver<BrokerEvent>,
    /// Told, and not asked for yet.
    seen: VecDeque<BrokerEvent>,
    running: JoinHandle<()>,
}

impl Node {
    /// Runs a broker; it may not be connected yet.
    pub(crate) fn run(broker: Arc<dyn Broker>) -> Self {
        let (told, events) = mpsc::unbounded_channel();
        let sink = BrokerSink::new(move |event| {
            let _ = told.send(event);
        });
        let running = tokio::spawn(broker.clone().run(sink));
        Self { broker, events, seen: VecDeque::new(), running }
    }

    /// The same, once it is connected.
    pub(crate) async fn connect(broker: Arc<dyn Broker>) -> Self {
        let mut node = Self::run(broker);
        node.connected().await;
        node
    }

    /// The next event that is one of those, whatever comes before or after it.
    pub(crate) async fn find<T>(&mut self, mut is: impl FnMut(&BrokerEvent) -> Option<T>) -> T {
        for (index, event) in self.seen.iter().enumerate() {
            if let Some(found) = is(event) {
                self.seen.remove(index);
                return found;
            }
        }
        loop {
            let event = timeout(PATIENCE, self.events.recv()).await;
            let event = event.unwrap_or_else(|_| panic!("nothing came but {:?}", self.seen));
            let event = event.expect("the broker ended");
            match is(&event) {
                Some(found) => return found,
                None => self.seen.push_back(event),
            }
        }
    }

    pub(crate) async fn connected(&mut self) {
        self.find(|event| matches!(event, BrokerEvent::Connected).then_some(())).await;
    }

    pub(crate) async fn lost(&mut self) -> BrokerError {
        self.find(|event| match event {
            BrokerEvent::Lost(error) => Some(error.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn arrival(&mut self) -> Arrival {
        self.find(|event| match event {
            BrokerEvent::Arrived(arrival) => Some(arrival.clone()),
            _ => None,
        })
        .await
    }

    /// The next arrival: its topic and text.
    pub(crate) async fn text(&mut self) -> (String, String) {
        let arrival = self.arrival().await;
        (arrival.topic.to_string(), text_of(arrival.encoded))
    }

    pub(crate) async fn subscribe(&self, filters: &[&str]) {
        self.broker.subscribe(filters_of(filters)).await.unwrap();
    }

    pub(crate) async fn unsubscribe(&self, filters: &[&str]) {
        self.broker.unsubscribe(filters_of(filters)).await.unwrap();
    }

    /// Publishes without history.
    pub(crate) async fn say(&self, topic_name: &str, text: &str) {
        let published = self.broker.publish(&topic(topic_name), encoded(text), None, None).await;
        assert_eq!(published.unwrap(), None);
    }

    /// Publishes with history.
    pub(crate) async fn keep(&self, topic_name: &str, text: &str) -> Position {
        let kept = self.broker.publish(&topic(topic_name), encoded(text), Some(keep()), None).await;
        kept.unwrap().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.running.abort();
    }
}

pub(crate) fn topic(name: &str) -> Topic {
    Topic::new(name).unwrap()
}

pub(crate) fn filters_of(names: &[&str]) -> Vec<Filter> {
    names.iter().map(|name| Filter::new(*name).unwrap()).collect()
}

pub(crate) fn encoded(text: &str) -> Bytes {
    Publication::new(text).encode()
}

pub(crate) fn text_of(encoded: Bytes) -> String {
    Publication::decode(encoded).unwrap().message().as_text().unwrap().to_owned()
}

pub(crate) fn keep() -> Keep {
    Keep::last(100_000).bytes(64 << 20).age(Duration::from_secs(600))
}
