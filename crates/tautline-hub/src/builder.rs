//! How a hub is built.

use std::sync::Arc;

use crate::broker::Broker;
use crate::inbox::member::MemberInfo;
use crate::options::{Action, Options, TopicOptions};
use crate::presence;
use crate::topic::Topic;

/// Builds a [`Hub`](crate::Hub).
#[derive(Clone, Debug, Default)]
#[must_use = "build it"]
pub struct HubBuilder {
    pub(crate) options: Options,
}

impl HubBuilder {
    /// What a topic has, by its name. It is asked with each publication and subscription, and answers the same each
    /// time. Default: nothing but what is published now.
    pub fn topics(
        mut self,
        topics: impl Fn(&Topic) -> TopicOptions + Send + Sync + 'static,
    ) -> Self {
        self.options.topics = Arc::new(topics);
        self
    }

    /// How many topics, and how many patterns, there may be on this node at a time. Default: 1,048,576.
    pub const fn max_topics(mut self, most: usize) -> Self {
        self.options.max_topics = most;
        self
    }

    /// How many subscriptions a member may have. Default: 10,000.
    pub const fn max_subscriptions(mut self, most: usize) -> Self {
        self.options.max_subscriptions = most;
        self
    }

    /// Decides what members may do, whenever they do it: see [`Hub::set_authorize`](crate::Hub::set_authorize). Default: everything.
    pub fn authorize(
        mut self,
        authorize: impl Fn(&MemberInfo, Action<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.options.authorize = Some(Arc::new(authorize));
        self
    }

    /// Shares the hub's topics with the other hubs that have the same broker. The histories are the
    /// broker's then.
    ///
    /// A topic without history is delivered to subscribers of this node at once, and to those of others as
    /// the broker does it: at most once. One with a history is delivered when it comes back from the broker, to
    /// all in the same order; what a node misses it fetches from the history, and what is gone from there is a
    /// [`Gap`](crate::Outgoing::Gap).
    pub fn broker(self, broker: impl Broker) -> Self {
        self.shared_broker(Arc::new(broker))
    }

    /// As [`broker`](Self::broker), with one that is used elsewhere as well, for instance for its counts. A broker
    /// is that of one hub.
    pub fn shared_broker(mut self, broker: Arc<dyn Broker>) -> Self {
        self.options.broker = Some(broker);
        self
    }

    /// Keeps presence for topics that have it ([`TopicOptions::presence`]): who is subscribed, on all nodes that
    /// have the same broker, and who joins and leaves.
    pub fn presence(mut self, config: presence::Config) -> Self {
        self.options.presence = Some(config);
        self
    }

    /// How many bytes of publications are kept while the broker is away, and published in their order when it
    /// is back: up to 256 of them, or 1 MiB, are then under way at once. While it is away,
    /// [`Hub::publish`](crate::Hub::publish) returns without a position. Each counts 256 bytes besides.
    /// One without history that was under way when the broker was lost may reach other nodes twice. Default: 0,
    /// publishing fails.
    pub const fn keep_while_away(mut self, bytes: usize) -> Self {
        self.options.keep_while_away = bytes;
        self
    }
}
