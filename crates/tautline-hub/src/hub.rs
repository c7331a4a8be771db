//! The hub.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock, Weak};
use std::time::{Duration, Instant};

use tautline::{CloseCode, CloseFrame, Prepared, Writer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::begin::{Fetched, begin};
use crate::broker::{Broker, BrokerError, History, Keep, Range};
use crate::clock::now;
use crate::delivery::Delivery;
use crate::handle::Member;
use crate::id::{MemberId, NodeId};
use crate::inbox::{Entry, Inbox, Joining};
use crate::line::Line;
use crate::log::Log;
use crate::member::{MemberInfo, NoNumber, Shared};
use crate::options::{Action, Attach, Authorize, Options, TopicOptions};
use crate::outlet::{Outlet, Plain};
use crate::position::Epoch;
use crate::publication::Publication;
use crate::remote::{BrokerState, Remote};
use crate::subscribe::{PublishError, Published, Start, Subscribe, SubscribeError};
use crate::sync::{lock, read, write};
use crate::table::{Full, Table};
use crate::target::{Kept, Retire, State, Target};
use crate::topic::{Filter, Topic};
use crate::workers::Workers;

/// How often histories are looked through for what is too old.
const SWEEP: Duration = Duration::from_secs(5);
/// Tables of members, each with a lock of its own.
const MEMBER_SHARDS: u64 = 16;

/// Topics, and who is subscribed to them.
#[derive(Clone, Debug)]
pub struct Hub {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    node: NodeId,
    options: Options,
    authorize: RwLock<Option<Arc<Authorize>>>,
    table: Arc<Table>,
    remote: Option<Arc<Remote>>,
    workers: Workers,
    members: Vec<Mutex<HashMap<u64, Arc<Shared>>>>,
    next_member: AtomicU64,
    ended: AtomicBool,
    sweeping: AtomicBool,
}

/// A number that nobody else has: not a secret.
fn random() -> u64 {
    RandomState::new().hash_one(Instant::now())
}

/// Builds a [`Hub`].
#[derive(Clone, Debug, Default)]
#[must_use = "build it"]
pub struct HubBuilder {
    options: Options,
}

impl HubBuilder {
    /// What a topic has, by its name. It is asked often, and answers the same each time. Default: nothing
    /// but what is published now.
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

    /// Decides what members may do, whenever they do it: see [`Hub::set_authorize`]. Default: everything.
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
    pub fn broker(mut self, broker: impl Broker) -> Self {
        self.options.broker = Some(Arc::new(broker));
        self
    }

    /// How many bytes of publications are kept while the broker is away, and published in their order when it
    /// is back. [`Hub::publish`] returns without a position then. Default: 0, publishing fails.
    pub const fn keep_while_away(mut self, bytes: usize) -> Self {
        self.options.keep_while_away = bytes;
        self
    }

    /// The hub.
    ///
    /// # Panics
    /// With a broker, outside of a Tokio runtime.
    #[must_use]
    pub fn build(self) -> Hub {
        let options = self.options;
        let node = NodeId::from_u64(random());
        let table = Arc::new(Table::new(options.max_topics));
        let remote = options
            .broker
            .clone()
            .map(|broker| Remote::start(broker, table.clone(), node, options.keep_while_away));
        Hub {
            inner: Arc::new(Inner {
                node,
                authorize: RwLock::new(options.authorize.clone()),
                table,
                remote,
                options,
                workers: Workers::default(),
                members: (0..MEMBER_SHARDS).map(|_| Mutex::default()).collect(),
                next_member: AtomicU64::new(0),
                ended: AtomicBool::new(false),
                sweeping: AtomicBool::new(false),
            }),
        }
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
        self.inner.node
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
        let outlet = Plain { writer: writer.clone(), tell: attach.tell };
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
    /// later misses what comes after it. It waits while more is on its way than 8 MiB.
    ///
    /// Cancel safe: it is published as soon as the future has been polled.
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

    /// Reads a topic's history: at most so many publications of a range.
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

    /// Whether the broker can be reached, if there is one.
    #[must_use]
    pub fn broker_state(&self) -> Option<watch::Receiver<BrokerState>> {
        self.inner.remote.as_ref().map(|remote| remote.state())
    }

    /// How many members of this node are subscribed to a topic or a pattern.
    #[must_use]
    pub fn subscribers(&self, filter: &Filter) -> usize {
        self.inner.table.find(filter).map_or(0, |target| target.lock().subscribers())
    }

    /// How many topics this node has: those that somebody is subscribed to, and those of which something
    /// is kept.
    #[must_use]
    pub fn topics(&self) -> usize {
        self.inner.table.len()
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

    /// Sends a message to one member of this node, behind what was published before. Returns whether there
    /// is such a member.
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
        *write(&self.inner.authorize) = Some(Arc::new(authorize));
    }

    /// Asks again about each subscription of each member, and ends those that may no longer be, with this
    /// number: see [`unsubscribe`](Self::unsubscribe). Returns how many those were.
    #[expect(clippy::must_use_candidate, reason = "what it does counts, not what it returns")]
    pub fn review(&self, code: u32) -> usize {
        let mut ended = 0;
        for member in self.inner.all_members() {
            for target in member.targets() {
                let allowed = self.inner.allows(&member.info, Action::Subscribe(&target.filter));
                if !allowed && self.inner.unsubscribe(&member, &target.filter, Some(code)) {
                    ended += 1;
                }
            }
        }
        ended
    }

    /// Ends: closes all members with 1001, and refuses everything from now on.
    pub fn shut_down(&self) {
        self.inner.ended.store(true, Ordering::Release);
        for member in self.inner.all_members() {
            member.close(CloseCode::GOING_AWAY.into());
        }
    }
}

impl Inner {
    fn attach(self: &Arc<Self>, outlet: impl Outlet, attach: Attach) -> Arc<Shared> {
        self.sweep_from_time_to_time();
        let table: Weak<dyn Retire> = match &self.remote {
            Some(remote) => Arc::<Remote>::downgrade(remote),
            None => Arc::<Table>::downgrade(&self.table),
        };
        // A worker that ends at this moment has no number, and another is started.
        let (inbox, seat) = loop {
            let inbox = self.workers.one(&table);
            if let Some(seat) = inbox.seat() {
                break (inbox, seat);
            }
        };
        let number = self.next_member.fetch_add(1, Ordering::Relaxed);
        let id = MemberId { node: self.node, number };
        let bounds = (attach.limit, attach.slow);
        let member = Shared::new(id, attach.info, (inbox, seat), bounds, outlet);
        member.inbox.push(Entry::Attach(member.clone()));
        lock(self.members_with(number)).insert(number, member.clone());
        if self.has_ended() {
            member.close(CloseCode::GOING_AWAY.into());
        }
        member
    }

    /// Ends a member, whose handle is dropped.
    pub(crate) fn detach(&self, member: &Arc<Shared>) {
        lock(self.members_with(member.id.number)).remove(&member.id.number);
        // In the task that had the connection: what ends with this one ends as that task does.
        lock(&member.outlet).let_go();
        for target in member.end() {
            self.left(&target, &member.inbox);
        }
        member.inbox.push(Entry::Detach(member.seat));
    }

    fn left(&self, target: &Arc<Target>, inbox: &Arc<Inbox>) {
        let is_last = target.lock().leave(inbox);
        if is_last {
            self.retire(target);
        }
    }

    fn retire(&self, target: &Arc<Target>) {
        match &self.remote {
            Some(remote) => remote.retire(target),
            None => self.table.retire(target),
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(crate) fn allows(&self, info: &MemberInfo, action: Action<'_>) -> bool {
        let authorize = read(&self.authorize).clone();
        authorize.is_none_or(|authorize| authorize(info, action))
    }

    fn members_with(&self, number: u64) -> &Mutex<HashMap<u64, Arc<Shared>>> {
        &self.members[(number % MEMBER_SHARDS) as usize]
    }

    fn member(&self, id: MemberId) -> Option<Arc<Shared>> {
        let is_here = id.node == self.node;
        is_here.then(|| lock(self.members_with(id.number)).get(&id.number).cloned())?
    }

    fn all_members(&self) -> Vec<Arc<Shared>> {
        let of = |shard: &Mutex<HashMap<u64, Arc<Shared>>>| {
            lock(shard).values().cloned().collect::<Vec<_>>()
        };
        self.members.iter().flat_map(of).collect()
    }

    fn keep(&self, topic: &Topic) -> Option<Keep> {
        (self.options.topics)(topic).history
    }

    fn kept(&self, topic: &Topic) -> Kept {
        match (self.keep(topic), &self.remote) {
            (None, _) => Kept::Nowhere,
            (Some(keep), None) => Kept::Here(Log::new(keep, Epoch::from_u64(random()), 0)),
            (Some(keep), Some(_)) => Kept::ByBroker(Line::new(keep)),
        }
    }

    /// The target of this topic, with its state, if there is one or has to be one.
    fn target_of(&self, filter: &Filter) -> Result<Arc<Target>, Full> {
        match filter {
            Filter::Topic(topic) => self.table.topic(topic, || self.kept(topic)),
            Filter::Pattern(pattern) => self.table.pattern(pattern),
        }
    }

    pub(crate) async fn publish(
        &self,
        topic: &Topic,
        publication: Publication,
    ) -> Result<Published, PublishError> {
        if self.has_ended() {
            return Err(PublishError::Ended);
        }
        let keep = self.keep(topic);
        let Some(remote) = &self.remote else {
            return self.publish_here(topic, publication, keep).await;
        };
        if keep.is_some() {
            let position = remote.publish(topic, &publication, keep).await?;
            return Ok(Published { position });
        }
        let publication = publication.published_by(self.node);
        self.publish_here(topic, publication.clone(), None).await?;
        remote.publish(topic, &publication, None).await?;
        Ok(Published::default())
    }

    async fn publish_here(
        &self,
        topic: &Topic,
        publication: Publication,
        keep: Option<Keep>,
    ) -> Result<Published, PublishError> {
        let (published, crowded) = self.hand_over(topic, publication, keep)?;
        if let Some(inbox) = crowded {
            inbox.room().await;
        }
        Ok(published)
    }

    /// Hands a publication to the workers. Returns one that has enough to do.
    fn hand_over(
        &self,
        topic: &Topic,
        publication: Publication,
        keep: Option<Keep>,
    ) -> Result<(Published, Option<Arc<Inbox>>), PublishError> {
        loop {
            let target = if keep.is_some() {
                let target = self.table.topic(topic, || self.kept(topic));
                Some(target.map_err(|Full(most)| PublishError::TooManyTopics(most))?)
            } else {
                self.table.get(topic)
            };
            let Some(target) = target else {
                let delivery = Delivery::new(topic.clone(), publication, None);
                let crowded = self.tell_patterns(&delivery);
                return Ok((Published::default(), crowded));
            };
            let mut state = target.lock();
            if !state.gone {
                return Ok(self.publish_to(topic, &target, &mut state, publication));
            }
        }
    }

    fn publish_to(
        &self,
        topic: &Topic,
        target: &Target,
        state: &mut State,
        publication: Publication,
    ) -> (Published, Option<Arc<Inbox>>) {
        let place = state.log.as_ref().map(Log::next);
        let delivery = Delivery::new(topic.clone(), publication, place);
        if let Some(log) = &mut state.log {
            log.push(delivery.clone(), now());
        }
        let entry = || Entry::Publish { target: target.id, delivery: delivery.clone() };
        let crowded = state.tell(entry);
        let crowded = self.tell_patterns(&delivery).or(crowded);
        (Published { position: delivery.position() }, crowded)
    }

    fn tell_patterns(&self, delivery: &Delivery) -> Option<Arc<Inbox>> {
        let mut crowded = None;
        self.table.matching(delivery.topic(), |target| {
            let entry = || Entry::Publish { target: target.id, delivery: delivery.clone() };
            if let Some(inbox) = target.lock().tell(entry) {
                crowded = Some(inbox);
            }
        });
        crowded
    }

    pub(crate) async fn subscribe(
        &self,
        member: &Arc<Shared>,
        filter: &Filter,
        how: &Subscribe,
    ) -> Result<Start, SubscribeError> {
        if self.has_ended() {
            return Err(SubscribeError::Ended);
        }
        if !self.allows(&member.info, Action::Subscribe(filter)) {
            return Err(SubscribeError::Refused);
        }
        let asked = self.ask_for(filter)?;
        let fetched = match &self.remote {
            Some(remote) => {
                remote.join(&asked.target).await.map_err(SubscribeError::Broker)?;
                self.fetch_for(remote, &asked.target, how).await?
            }
            None => None,
        };
        let mut state = asked.target.lock();
        self.join(member, &asked.target, &mut state, how, fetched)
    }

    /// The target of this topic or pattern, which stays while this is held.
    fn ask_for(&self, filter: &Filter) -> Result<Asked<'_>, SubscribeError> {
        loop {
            let target = self.target_of(filter);
            let target = target.map_err(|Full(most)| SubscribeError::TooManyTopics(most))?;
            let mut state = target.lock();
            if !state.gone {
                state.asked += 1;
                drop(state);
                return Ok(Asked { inner: self, target });
            }
        }
    }

    async fn fetch_for(
        &self,
        remote: &Remote,
        target: &Arc<Target>,
        how: &Subscribe,
    ) -> Result<Option<Fetched>, SubscribeError> {
        let Some(keep) = target.topic().and_then(|topic| self.keep(topic)) else {
            return Ok(None);
        };
        remote.fetch_for(target, keep, how).await.map_err(SubscribeError::Broker)
    }

    /// Under the lock of the target: what was published before is recovered or not, and what is published
    /// afterwards comes behind that.
    fn join(
        &self,
        member: &Arc<Shared>,
        target: &Arc<Target>,
        state: &mut State,
        how: &Subscribe,
        fetched: Option<Fetched>,
    ) -> Result<Start, SubscribeError> {
        let most = self.options.max_subscriptions;
        let sub = member.join(target, most).map_err(|none| match none {
            NoNumber::Ended => SubscribeError::Ended,
            NoNumber::There => SubscribeError::AlreadySubscribed,
            NoNumber::TooMany => SubscribeError::TooMany(most),
        })?;
        state.trim(now());
        let (start, recovered) = begin(state.history(), how, fetched);
        state.join(&member.inbox);
        let slow = how.slow.clone().unwrap_or_else(|| member.slow.clone());
        let (seat, target, tag) = (member.seat, target.clone(), how.tag);
        let joining = Joining { seat, sub, target, start, recovered, slow, tag };
        member.inbox.push(Entry::Subscribe(Box::new(joining)));
        Ok(start)
    }

    pub(crate) fn unsubscribe(
        &self,
        member: &Arc<Shared>,
        filter: &Filter,
        code: Option<u32>,
    ) -> bool {
        let Some(target) = self.table.find(filter) else { return false };
        let mut state = target.lock();
        let Some(sub) = member.leave(target.id) else { return false };
        let is_last = state.leave(&member.inbox);
        let told = code.map(|code| (target.clone(), code));
        member.inbox.push(Entry::Unsubscribe { seat: member.seat, sub, told });
        drop(state);
        if is_last {
            self.retire(&target);
        }
        true
    }

    async fn history(
        &self,
        topic: &Topic,
        range: Range,
        limit: usize,
    ) -> Result<History, BrokerError> {
        if self.keep(topic).is_none() {
            return Err(BrokerError::Unsupported("history of this topic"));
        }
        if let Some(remote) = &self.remote {
            return remote.history(topic, range, limit).await;
        }
        let target = self.table.topic(topic, || self.kept(topic));
        let target = target.map_err(|Full(_)| BrokerError::Unsupported("room for topics"))?;
        let history = target.lock().log.as_ref().map(|log| log.read(range, limit));
        self.retire(&target);
        history.ok_or(BrokerError::Unsupported("history of this topic"))
    }

    /// Histories forget what is too old, also where nothing is published.
    fn sweep_from_time_to_time(self: &Arc<Self>) {
        if self.sweeping.swap(true, Ordering::AcqRel) {
            return;
        }
        let inner = Arc::downgrade(self);
        tokio::spawn(async move {
            let _end = EndOfSweeping(inner.clone());
            loop {
                tokio::time::sleep(SWEEP).await;
                let mut shard = 0;
                while let Some(inner) = inner.upgrade()
                    && inner.table.sweep(shard, now())
                {
                    drop(inner);
                    shard += 1;
                    tokio::task::yield_now().await;
                }
                if inner.strong_count() == 0 {
                    return;
                }
            }
        });
    }
}

/// A target that somebody is about to subscribe to: it is not taken out meanwhile.
struct Asked<'a> {
    inner: &'a Inner,
    target: Arc<Target>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.target.lock().asked -= 1;
        self.inner.retire(&self.target);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(remote) = &self.remote {
            remote.stop();
        }
    }
}

/// When the task ends with its runtime, the next member starts another one.
struct EndOfSweeping(Weak<Inner>);

impl Drop for EndOfSweeping {
    fn drop(&mut self) {
        if let Some(inner) = self.0.upgrade() {
            inner.sweeping.store(false, Ordering::Release);
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("node", &self.node)
            .field("topics", &self.table.len())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
