//! What an application grants.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::data::Expiry;
use super::payload::Payload;
use crate::slow::Slow;

/// A client may come in.
#[derive(Clone, Debug, Default)]
#[must_use = "return it"]
pub struct ConnectGrant {
    pub(super) user: String,
    pub(super) info: Payload,
    pub(super) data: Payload,
    pub(super) expiry: Option<Expiry>,
    pub(super) channels: BTreeMap<String, SubscribeGrant>,
}

impl ConnectGrant {
    /// A client of this user; of an empty one, if it is not known.
    pub fn new(user: impl Into<String>) -> Self {
        Self { user: user.into(), ..Self::default() }
    }

    /// About the connection, for other clients.
    pub fn info(mut self, info: impl Into<Payload>) -> Self {
        self.info = info.into();
        self
    }

    /// For the client itself.
    pub fn data(mut self, data: impl Into<Payload>) -> Self {
        self.data = data.into();
        self
    }

    /// How long it may stay. Default: for ever.
    pub const fn expiry(mut self, expiry: Expiry) -> Self {
        self.expiry = Some(expiry);
        self
    }

    /// Subscribes it to a channel. What it had missed of it since it was connected before is recovered.
    pub fn channel(mut self, channel: impl Into<String>, grant: SubscribeGrant) -> Self {
        self.channels.insert(channel.into(), grant);
        self
    }
}

/// A client may subscribe.
#[derive(Clone, Debug, Default)]
#[must_use = "return it"]
pub struct SubscribeGrant {
    pub(super) info: Payload,
    pub(super) data: Payload,
    pub(super) expiry: Option<Expiry>,
    pub(super) last_value: bool,
    pub(super) without_recovery: bool,
    pub(super) join_leave: bool,
    pub(super) hidden: bool,
    pub(super) slow: Option<Arc<Slow>>,
}

impl SubscribeGrant {
    /// A subscription. If the topic has a history, the client's position is watched, and it recovers what it
    /// has missed when it comes back.
    pub fn new() -> Self {
        Self::default()
    }

    /// About the subscription, for other clients.
    pub fn info(mut self, info: impl Into<Payload>) -> Self {
        self.info = info.into();
        self
    }

    /// For the client itself.
    pub fn data(mut self, data: impl Into<Payload>) -> Self {
        self.data = data.into();
        self
    }

    /// How long it lives. Default: for ever.
    pub const fn expiry(mut self, expiry: Expiry) -> Self {
        self.expiry = Some(expiry);
        self
    }

    /// Only the latest publication counts: a client that does not have it gets that one when it subscribes,
    /// and nothing else that it missed. For topics with history.
    pub const fn last_value(mut self) -> Self {
        self.last_value = true;
        self
    }

    /// The client does not recover what it misses: its position is only watched.
    pub const fn without_recovery(mut self) -> Self {
        self.without_recovery = true;
        self
    }

    /// The client is told who joins and leaves, in a topic that has
    /// [presence](crate::TopicOptions::presence).
    pub const fn join_leave(mut self) -> Self {
        self.join_leave = true;
        self
    }

    /// Others are not told that the client is there.
    pub const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// What becomes of publications while the client is too slow. Default: it is closed
    /// ([`Disconnect::SLOW`](super::Disconnect::SLOW)) when more waits than
    /// [`Config::max_queue`](super::Config::max_queue).
    pub fn slow(mut self, slow: impl Into<Arc<Slow>>) -> Self {
        self.slow = Some(slow.into());
        self
    }
}

/// A client may publish.
#[derive(Clone, Debug)]
#[must_use = "return it"]
pub struct PublishGrant {
    pub(super) data: Payload,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) anonymous: bool,
}

impl PublishGrant {
    /// Publishes these data: those of the request, or others instead.
    pub fn new(data: impl Into<Payload>) -> Self {
        Self { data: data.into(), tags: BTreeMap::new(), anonymous: false }
    }

    /// With a tag.
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(name.into(), value.into());
        self
    }

    /// Without telling who published it.
    pub const fn anonymous(mut self) -> Self {
        self.anonymous = true;
        self
    }
}
