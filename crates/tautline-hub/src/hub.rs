//! The hub.

use std::sync::Arc;

use tautline::{CloseFrame, Prepared, Writer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

#[cfg(feature = "centrifuge")]
use crate::attendance::Attendance;
use crate::broker::{BrokerError, History, Range};
use crate::builder::HubBuilder;
use crate::handle::Member;
use crate::id::{MemberId, NodeId};
use crate::inbox::Entry;
use crate::inbox::member::{MemberInfo, Shared};
use crate::inner::Inner;
use crate::options::{Action, Attach};
use crate::outlet::{Outlet, WriterOutlet};
use crate::presence::{Counts, Presence};
use crate::publication::Publication;
use crate::remote::BrokerState;
use crate::subscribe::{PublishError, Published};
use crate::topic::{Filter, Topic};

/// Topics, and who is subscribed to them.
#[derive(Clone, Debug)]
pub struct Hub {
    inner: Arc<Inner>,
}

impl HubBuilder {
    /// The hub.
    ///
    /// # Panics
    /// With a broker or presence, outside of a Tokio runtime.
    #[must_use]
    pub fn build(self) -> Hub {
        Hub { inner: Arc::new(Inner::new(self.options)) }
    }
}

impl Default for Hub {
    fn default() -> Self {
        Self::new()
    }
}

impl Hub {
    /// A hub for one process, whose topics have no history.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// A hub with options.
    pub fn builder() -> HubBuilder {
        HubBuilder::default()
    }

    /// The number of this node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.inner.node()
    }

    /// Makes a connection a member: what it subscribes to is sent to it. The handler that has the reader keeps
    /// the [`Member`], and drops it when it returns.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    #[must_use]
    pub fn attach<S>(&self, writer: &Writer<S>) -> Member
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.attach_with(writer, Attach::new())
    }

    /// As [`attach`](Self::attach), with options.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    #[must_use]
    pub fn attach_with<S>(&self, writer: &Writer<S>, attach: Attach) -> Member
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let outlet = WriterOutlet { writer: writer.clone(), tell: attach.tell };
        self.attach_outlet(outlet, attach)
    }

    /// Makes a member of an outlet of one's own.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    #[must_use]
    pub fn attach_outlet(&self, outlet: impl Outlet, attach: Attach) -> Member {
        Member::new(self.inner.attach(outlet, attach), self.inner.clone())
    }

    /// Publishes. When this returns, it is on its way to all who are subscribed, and none who subscribes
    /// later misses what comes after it. It waits while more is on its way to a worker than 8 MiB, and, with a
    /// [broker](HubBuilder::broker), until that has it.
    ///
    /// Cancel safe: without a broker it is published as soon as the future has been polled. With one, whether it is
    /// published is not known if the future is dropped; or, without a history, whether it is on other nodes.
    ///
    /// # Errors
    /// Why it was not published.
    pub async fn publish(
        &self,
        topic: &Topic,
        publication: impl Into<Publication>,
    ) -> Result<Published, PublishError> {
        self.inner.publish(topic, publication.into()).await
    }

    /// Reads a topic's history: at most so many publications of a range. A broker may have more of
    /// [`Range::After`] than it gives at once, of Redis and NATS those beyond 4 MiB:
    /// [`History::read_to`](crate::broker::History::read_to) tells where to go on.
    ///
    /// # Errors
    /// [`BrokerError::Unsupported`] if the topic has no history, or why the broker could not read it.
    pub async fn history(
        &self,
        topic: &Topic,
        range: Range,
        limit: usize,
    ) -> Result<History, BrokerError> {
        self.inner.history(topic, range, limit).await
    }

    /// At most so many of those who are present in a topic, on all nodes; `None` without
    /// [presence](HubBuilder::presence).
    #[must_use]
    pub fn presence(&self, topic: &Topic, limit: usize) -> Option<Presence> {
        self.inner.attendance().map(|attendance| attendance.presence(topic, limit))
    }

    /// How many are present in a topic, on all nodes, which costs no more than looking it up; `None` without
    /// [presence](HubBuilder::presence).
    #[must_use]
    pub fn present(&self, topic: &Topic) -> Option<Counts> {
        self.inner.attendance().map(|attendance| attendance.counts(topic))
    }

    /// Who keeps presence, if the topic has any.
    #[cfg(feature = "centrifuge")]
    pub(crate) fn attendance_of(&self, topic: &Topic) -> Option<&Attendance> {
        let attendance = self.inner.attendance()?;
        self.inner.has_presence(&topic.into()).then_some(attendance)
    }

    /// Whether the broker can be reached, if there is one.
    #[must_use]
    pub fn broker_state(&self) -> Option<watch::Receiver<BrokerState>> {
        self.inner.broker_state()
    }

    /// How many members of this node are subscribed to a topic or a pattern.
    #[must_use]
    pub fn subscribers(&self, filter: &Filter) -> usize {
        self.inner.subscribers(filter)
    }

    /// How many topics this node has: those that somebody is subscribed to, and those of which something
    /// is kept.
    #[must_use]
    pub fn topics(&self) -> usize {
        self.inner.topics()
    }

    /// The members of this node.
    #[must_use]
    pub fn members(&self) -> Vec<(MemberId, MemberInfo)> {
        let members = self.inner.all_members();
        members.iter().map(|member| (member.id, member.info.clone())).collect()
    }

    /// Closes the connection of a member of this node. Returns whether there was one.
    pub fn disconnect(&self, member: MemberId, close: impl Into<CloseFrame>) -> bool {
        self.inner.member(member).inspect(|member| member.close(close.into())).is_some()
    }

    /// Ends a subscription of a member of this node, and tells it so with this number
    /// ([`Outgoing::Unsubscribed`](crate::Outgoing::Unsubscribed)): nothing of it follows. Returns whether
    /// there was one.
    #[expect(clippy::must_use_candidate, reason = "what it does counts, not what it returns")]
    pub fn unsubscribe(&self, member: MemberId, filter: &Filter, code: u32) -> bool {
        let member = self.inner.member(member);
        member.is_some_and(|member| self.inner.unsubscribe(&member, filter, Some(code)))
    }

    /// Sends a message to one member of this node, behind what was published before, as
    /// [`Member::send`]. Returns whether there is such a member.
    pub fn send(&self, member: MemberId, message: impl Into<Prepared>) -> bool {
        let send = |member: &Arc<Shared>| {
            member.inbox.push(Entry::Message { seat: member.seat, message: message.into() });
        };
        self.inner.member(member).as_ref().map(send).is_some()
    }

    /// Decides from now on what members may do. What was subscribed before stays so until
    /// [`review`](Self::review).
    pub fn set_authorize(
        &self,
        authorize: impl Fn(&MemberInfo, Action<'_>) -> bool + Send + Sync + 'static,
    ) {
        self.inner.set_authorize(Arc::new(authorize));
    }

    /// Asks again about each subscription of each member of this node, and ends those that may no longer be, with this
    /// number: see [`unsubscribe`](Self::unsubscribe). Returns how many those were. With very many subscriptions this
    /// takes long, and gives no other task a turn: call it where that is no harm.
    #[expect(clippy::must_use_candidate, reason = "what it does counts, not what it returns")]
    pub fn review(&self, code: u32) -> usize {
        self.inner.review(code)
    }

    /// Ends: closes all members with 1001, and refuses everything from now on.
    pub fn shut_down(&self) {
        self.inner.shut_down();
    }
}
