//! A hub for the broadcast: one message to all connections, by a queue for each. The same for all
//! libraries; what they differ in is what a connection does with the messages in its queue. And many
//! of them, for topics.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// The connections that get every message. `M` is whatever a library can share between connections
/// at the least cost.
#[derive(Debug)]
pub struct Hub<M>(Arc<Mutex<Vec<UnboundedSender<M>>>>);

/// The messages for one connection.
pub type Subscription<M> = UnboundedReceiver<M>;

impl<M> Clone for Hub<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M> Default for Hub<M> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<M: Clone> Hub<M> {
    /// Joins.
    #[must_use]
    pub fn subscribe(&self) -> Subscription<M> {
        let (sender, receiver) = unbounded_channel();
        self.join(sender);
        receiver
    }

    fn join(&self, sender: UnboundedSender<M>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
    }

    /// Gives a message to all; who has left is forgotten.
    #[allow(clippy::needless_pass_by_value, reason = "as a channel takes it")]
    pub fn publish(&self, message: M) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|sender| sender.send(message.clone()).is_ok());
    }
}

/// Topics by number, a square of them, each with its subscribers. A connection has one queue, and as many
/// topics as the square is wide.
#[derive(Debug)]
pub struct Topics<M> {
    topics: Arc<[Hub<M>]>,
    joined: Arc<AtomicUsize>,
}

impl<M> Clone for Topics<M> {
    fn clone(&self) -> Self {
        Self { topics: self.topics.clone(), joined: self.joined.clone() }
    }
}

impl<M: Clone> Topics<M> {
    /// So many topics.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { topics: (0..count).map(|_| Hub::default()).collect(), joined: Arc::default() }
    }

    /// Subscribes the next connection to its topics.
    #[must_use]
    pub fn subscribe(&self) -> Subscription<M> {
        let (sender, receiver) = unbounded_channel();
        let connection = self.joined.fetch_add(1, Ordering::Relaxed);
        for topic in topics_of(connection, self.topics.len()) {
            self.topics[topic].join(sender.clone());
        }
        receiver
    }

    /// Gives a message to all who have this topic.
    pub fn publish(&self, topic: usize, message: M) {
        if let Some(topic) = self.topics.get(topic) {
            topic.publish(message);
        }
    }
}

/// The topics of the connection of this number: one of each row of the square, in other columns than
/// those of most others, so that each topic has as many subscribers. Of one topic, that one.
pub fn topics_of(connection: usize, topics: usize) -> impl Iterator<Item = usize> {
    let side = topics.isqrt().max(1);
    (0..side).map(move |row| row * side + (connection + row * (connection / side)) % side)
}

/// The topic that a message is for: its first four bytes.
#[must_use]
pub fn topic_of(message: &[u8]) -> usize {
    let number = message.first_chunk().map_or(u32::MAX, |bytes| u32::from_le_bytes(*bytes));
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_topic_has_as_many_subscribers() {
        for (connections, topics, each) in [(1_000, 10_000, 10), (50, 1, 50)] {
            let mut counts = vec![0; topics];
            for connection in 0..connections {
                topics_of(connection, topics).for_each(|topic| counts[topic] += 1);
            }
            assert!(counts.iter().all(|count| *count == each));
        }
    }
}
