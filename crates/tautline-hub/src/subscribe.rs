//! How a member subscribes, and what it is told.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::broker::BrokerError;
use crate::log::GapReason;
use crate::position::Position;
use crate::presence::JoinError;
use crate::slow::Slow;

/// How to subscribe.
///
/// ```
/// use tautline_hub::{Slow, Subscribe};
///
/// let prices = Subscribe::new().slow(Slow::latest(64 << 10)).last_value(true);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscribe {
    pub(crate) since: Option<Position>,
    /// Only the offset of that counts, in whatever history there is when the subscription starts.
    pub(crate) any_epoch: bool,
    pub(crate) last_value: bool,
    /// Without this, that of the member.
    pub(crate) slow: Option<Arc<Slow>>,
    pub(crate) hidden: bool,
    pub(crate) watches: bool,
    pub(crate) data: Bytes,
    pub(crate) tag: u64,
}

impl Subscribe {
    /// A subscription to what comes from now on.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins behind this position, with what was missed, if all of that is still there:
    /// [`Start::Recovered`]. If not, with what comes from now on: [`Start::Gap`]. For topics with history.
    #[must_use]
    pub const fn since(mut self, position: Position) -> Self {
        self.since = Some(position);
        self
    }

    /// Begins with the last publication, if there is one that is kept, and if no position is given or that
    /// cannot be recovered. For topics of which the last message is the state.
    #[must_use]
    pub const fn last_value(mut self, last: bool) -> Self {
        self.last_value = last;
        self
    }

    /// What becomes of publications for which the connection has no room. Default: that of the member
    /// ([`Attach::slow`](crate::Attach::slow)).
    #[must_use]
    pub fn slow(mut self, slow: impl Into<Arc<Slow>>) -> Self {
        self.slow = Some(slow.into());
        self
    }

    /// Whether this member is not among those who are present, in a topic that has presence. Default:
    /// `false`.
    #[must_use]
    pub const fn hidden(mut self, hidden: bool) -> Self {
        self.hidden = hidden;
        self
    }

    /// What others are told of it in this topic, in addition to [`MemberInfo::data`](crate::MemberInfo::data).
    #[must_use]
    pub fn presence_data(mut self, data: impl Into<Bytes>) -> Self {
        self.data = data.into();
        self
    }

    /// Whether it is told who joins and leaves, in a topic that has presence
    /// ([`Outgoing::Presence`](crate::Outgoing::Presence)). Default: `false`.
    #[must_use]
    pub const fn watch(mut self, watch: bool) -> Self {
        self.watches = watch;
        self
    }

    /// A number by which an [`Outlet`](crate::Outlet) of a protocol knows this subscription again
    /// ([`Outgoing::Started`](crate::Outgoing::Started)).
    #[must_use]
    pub const fn tag(mut self, tag: u64) -> Self {
        self.tag = tag;
        self
    }
}

/// Where a subscription starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// With what comes from now on.
    Live {
        /// Where that is, if the topic has a history.
        position: Option<Position>,
    },
    /// With what was missed: nothing lies between the position that was asked for and what follows.
    Recovered {
        /// How many come first.
        count: usize,
        /// The position of the last of them.
        position: Position,
    },
    /// With what comes from now on, since what was missed is gone.
    Gap {
        /// Why.
        reason: GapReason,
        /// Where it starts instead.
        position: Option<Position>,
    },
    /// With the last publication, which came first.
    Last {
        /// Its position.
        position: Position,
    },
}

impl Start {
    /// The position that the subscription has when it starts, after what it recovered.
    #[must_use]
    pub const fn position(&self) -> Option<Position> {
        match self {
            Self::Live { position } | Self::Gap { position, .. } => *position,
            Self::Recovered { position, .. } | Self::Last { position } => Some(*position),
        }
    }
}

/// Why a subscription was not made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The hook that decides about it refused.
    Refused,
    /// The member is subscribed to it already.
    AlreadySubscribed,
    /// The member has as many subscriptions as it may: so many.
    TooMany(usize),
    /// There are as many topics as the hub may have: so many.
    TooManyTopics(usize),
    /// The member has left, its connection has ended, or the hub was shut down.
    Ended,
    /// The broker failed.
    Broker(BrokerError),
    /// It cannot be among those who are present.
    Presence(JoinError),
}

impl SubscribeError {
    /// Whether the same may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Broker(error) => error.is_retryable(),
            Self::Presence(error) => error.is_retryable(),
            Self::TooManyTopics(_) => true,
            _ => false,
        }
    }
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("the subscription was refused"),
            Self::AlreadySubscribed => f.write_str("the member is subscribed already"),
            Self::TooMany(limit) => write!(f, "a member has at most {limit} subscriptions"),
            Self::TooManyTopics(limit) => write!(f, "the hub has at most {limit} topics"),
            Self::Ended => f.write_str("the member or the hub has ended"),
            Self::Broker(_) => f.write_str("the broker did not subscribe"),
            Self::Presence(_) => f.write_str("the member cannot be present"),
        }
    }
}

impl std::error::Error for SubscribeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Broker(error) => Some(error),
            Self::Presence(error) => Some(error),
            _ => None,
        }
    }
}

/// What became of a publication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// Where it is in the history of its topic, if that has one.
    pub position: Option<Position>,
}

/// Why a publication was not made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PublishError {
    /// The hook that decides about it refused.
    Refused,
    /// There are as many topics as the hub may have: so many.
    TooManyTopics(usize),
    /// The hub was shut down, or the member's connection has ended.
    Ended,
    /// The broker did not take it. Subscribers of this node have it nevertheless, unless the topic has a
    /// history.
    Broker(BrokerError),
    /// The broker is away, and as much is kept for it as may be: so many bytes.
    KeptFull(usize),
}

impl PublishError {
    /// Whether the same may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Broker(error) => error.is_retryable(),
            Self::TooManyTopics(_) | Self::KeptFull(_) => true,
            _ => false,
        }
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("the publication was refused"),
            Self::TooManyTopics(limit) => write!(f, "the hub has at most {limit} topics"),
            Self::Ended => f.write_str("the member or the hub has ended"),
            Self::Broker(_) => f.write_str("the broker did not take the publication"),
            Self::KeptFull(limit) => write!(f, "{limit} bytes wait for the broker already"),
        }
    }
}

impl std::error::Error for PublishError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Broker(error) => Some(error),
            _ => None,
        }
    }
}
