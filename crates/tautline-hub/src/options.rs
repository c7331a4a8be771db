//! What a hub is told when it is built.

use std::fmt;
use std::sync::Arc;

use tautline::Message;

use crate::broker::{Broker, Keep};
use crate::inbox::member::MemberInfo;
use crate::outlet::{Outgoing, Tell};
use crate::presence;
use crate::slow::Slow;
use crate::topic::{Filter, Topic};

/// What a topic has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicOptions {
    /// Its history, without which nothing is kept and nothing recovered.
    pub history: Option<Keep>,
    /// Who is subscribed is known, on all nodes ([`HubBuilder::presence`](crate::HubBuilder::presence)).
    pub presence: bool,
}

impl TopicOptions {
    /// Nothing but what is published now.
    #[must_use]
    pub const fn new() -> Self {
        Self { history: None, presence: false }
    }

    /// With presence.
    #[must_use]
    pub const fn presence(mut self, presence: bool) -> Self {
        self.presence = presence;
        self
    }

    /// With a history.
    #[must_use]
    pub const fn history(mut self, keep: Keep) -> Self {
        self.history = Some(keep);
        self
    }
}

/// What somebody wants to do, for the hook that decides about it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Action<'a> {
    /// Subscribe to this.
    Subscribe(&'a Filter),
    /// Publish to this.
    Publish(&'a Topic),
}

pub(crate) type Topics = dyn Fn(&Topic) -> TopicOptions + Send + Sync;
pub(crate) type Authorize = dyn Fn(&MemberInfo, Action<'_>) -> bool + Send + Sync;

/// How a connection is attached.
///
/// ```
/// use tautline_hub::{Attach, MemberInfo, Slow};
///
/// let attach = Attach::new().info(MemberInfo::new("alice")).slow(Slow::drop_oldest(64 << 10));
/// ```
#[derive(Clone, Debug)]
pub struct Attach {
    pub(crate) info: MemberInfo,
    pub(crate) slow: Arc<Slow>,
    pub(crate) limit: usize,
    pub(crate) tell: Option<Tell>,
}

impl Attach {
    /// How many bytes wait for all subscriptions of a member together, by default: 4 MiB.
    pub const DEFAULT_LIMIT: usize = 4 << 20;

    /// A member of no particular user.
    #[must_use]
    pub fn new() -> Self {
        Self {
            info: MemberInfo::default(),
            slow: Arc::default(),
            limit: Self::DEFAULT_LIMIT,
            tell: None,
        }
    }

    /// Who it is, for the hook that decides, and for presence.
    #[must_use]
    pub fn info(mut self, info: MemberInfo) -> Self {
        self.info = info;
        self
    }

    /// What becomes of publications for which its connection has no room, where a subscription does not
    /// say otherwise. Default: [`Slow::default`].
    #[must_use]
    pub fn slow(mut self, slow: impl Into<Arc<Slow>>) -> Self {
        self.slow = slow.into();
        self
    }

    /// How many bytes may wait for all its subscriptions and messages together. Beyond that it is closed, with
    /// the code of its [`slow`](Self::slow) policy or 1013. Default: [`DEFAULT_LIMIT`](Self::DEFAULT_LIMIT).
    #[must_use]
    pub const fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// What to send for what is not a publication, such as [`Outgoing::Gap`] and [`Outgoing::Started`]. By
    /// default nothing is sent, and [`Member::subscribe`](crate::Member::subscribe) tells where a subscription
    /// starts; but a gap later closes the connection with 1013, so that the client begins anew.
    #[must_use]
    pub const fn tell(mut self, tell: fn(&Outgoing<'_>) -> Option<Message>) -> Self {
        self.tell = Some(tell);
        self
    }
}

impl Default for Attach {
    fn default() -> Self {
        Self::new()
    }
}

/// The options of a hub.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) topics: Arc<Topics>,
    pub(crate) max_topics: usize,
    pub(crate) max_subscriptions: usize,
    pub(crate) authorize: Option<Arc<Authorize>>,
    pub(crate) broker: Option<Arc<dyn Broker>>,
    pub(crate) keep_while_away: usize,
    pub(crate) presence: Option<presence::Config>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            topics: Arc::new(|_| TopicOptions::new()),
            max_topics: 1 << 20,
            max_subscriptions: 10_000,
            authorize: None,
            broker: None,
            keep_while_away: 0,
            presence: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("max_topics", &self.max_topics)
            .field("max_subscriptions", &self.max_subscriptions)
            .field("broker", &self.broker)
            .finish_non_exhaustive()
    }
}
