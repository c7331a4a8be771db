//! What the handles of a hub share: who is a member, and what they do.

mod subscribing;

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock, Weak};
use std::time::{Duration, Instant};

use tautline::CloseCode;
use tokio::sync::watch;

use crate::attendance::Attendance;
use crate::broker::{BrokerError, History, Keep, Range};
use crate::clock::now;
use crate::delivery::Delivery;
use crate::id::{MemberId, NodeId};
use crate::inbox::member::{MemberInfo, Shared};
use crate::inbox::target::{Kept, Retire, State, Target};
use crate::inbox::{Entry, Inbox};
use crate::line::Line;
use crate::log::Log;
use crate::options::{Action, Attach, Authorize, Options, TopicOptions};
use crate::outlet::Outlet;
use crate::position::Epoch;
use crate::publication::Publication;
use crate::remote::{BrokerState, Remote};
use crate::subscribe::{PublishError, Published};
use crate::sync::{lock, read, write};
use crate::table::{Full, Table};
use crate::topic::{Filter, Topic};
use crate::workers::Workers;

/// How often histories are looked through for what is too old.
const SWEEP: Duration = Duration::from_secs(5);
/// Tables of members, each with a lock of its own.
const MEMBER_SHARDS: u64 = 16;

/// What all handles share.
pub(crate) struct Inner {
    node: NodeId,
    options: Options,
    authorize: RwLock<Option<Arc<Authorize>>>,
    table: Arc<Table>,
    remote: Option<Arc<Remote>>,
    attendance: Option<Arc<Attendance>>,
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

impl Inner {
    pub(crate) fn new(options: Options) -> Self {
        let node = NodeId::from_u64(random());
        let table = Arc::new(Table::new(options.max_topics));
        let attendance = options
            .presence
            .clone()
            .map(|config| Attendance::start(node, config, table.clone(), options.broker.clone()));
        let remote = options.broker.clone().map(|broker| {
            let kept = options.keep_while_away;
            Remote::start(broker, table.clone(), node, kept, attendance.clone())
        });
        Self {
            node,
            authorize: RwLock::new(options.authorize.clone()),
            table,
            remote,
            attendance,
            options,
            workers: Workers::default(),
            members: (0..MEMBER_SHARDS).map(|_| Mutex::default()).collect(),
            next_member: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            sweeping: AtomicBool::new(false),
        }
    }

    pub(crate) const fn node(&self) -> NodeId {
        self.node
    }

    pub(crate) const fn attendance(&self) -> Option<&Arc<Attendance>> {
        self.attendance.as_ref()
    }

    pub(crate) fn topics(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn subscribers(&self, filter: &Filter) -> usize {
        self.table.find(filter).map_or(0, |target| target.lock().subscribers())
    }

    pub(crate) fn broker_state(&self) -> Option<watch::Receiver<BrokerState>> {
        self.remote.as_ref().map(|remote| remote.state())
    }

    pub(crate) fn set_authorize(&self, authorize: Arc<Authorize>) {
        *write(&self.authorize) = Some(authorize);
    }

    /// Ends the subscriptions that may no longer be. Returns how many.
    pub(crate) fn review(&self, code: u32) -> usize {
        let mut ended = 0;
        for member in self.all_members() {
            for target in member.targets() {
                let allowed = self.allows(&member.info, Action::Subscribe(&target.filter));
                if !allowed && self.unsubscribe(&member, &target.filter, Some(code)) {
                    ended += 1;
                }
            }
        }
        ended
    }

    pub(crate) fn shut_down(&self) {
        self.ended.store(true, Ordering::Release);
        if let Some(attendance) = &self.attendance {
            attendance.end();
        }
        for member in self.all_members() {
            member.close(CloseCode::GOING_AWAY.into());
        }
    }

    pub(crate) fn attach(self: &Arc<Self>, outlet: impl Outlet, attach: Attach) -> Arc<Shared> {
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
        lock(&member.outlet).end();
        for target in member.end() {
            self.left(&target, &member.inbox);
        }
        if let Some(attendance) = &self.attendance {
            attendance.disconnect(member.id.number);
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

    pub(crate) fn member(&self, id: MemberId) -> Option<Arc<Shared>> {
        let is_here = id.node == self.node;
        is_here.then(|| lock(self.members_with(id.number)).get(&id.number).cloned())?
    }

    pub(crate) fn all_members(&self) -> Vec<Arc<Shared>> {
        let of = |shard: &Mutex<HashMap<u64, Arc<Shared>>>| {
            lock(shard).values().cloned().collect::<Vec<_>>()
        };
        self.members.iter().flat_map(of).collect()
    }

    /// What the application says of a topic. Not to be called under a lock: it may call the hub.
    fn options_of(&self, topic: &Topic) -> TopicOptions {
        (self.options.topics)(topic)
    }

    fn keep(&self, topic: &Topic) -> Option<Keep> {
        self.options_of(topic).history
    }

    fn kept(&self, keep: Option<Keep>) -> Kept {
        match (keep, &self.remote) {
            (None, _) => Kept::Nowhere,
            (Some(keep), None) => Kept::Here(Log::new(keep, Epoch::from_u64(random()), 0)),
            (Some(keep), Some(remote)) => {
                Kept::ByBroker(Line::new(keep).consecutive(remote.is_consecutive()))
            }
        }
    }

    /// The target of this topic, with its state, if there is one or has to be one.
    fn target_of(&self, filter: &Filter) -> Result<Arc<Target>, Full> {
        match filter {
            Filter::Topic(topic) => {
                let keep = self.keep(topic);
                self.table.topic(topic, || self.kept(keep))
            }
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
                let target = self.table.topic(topic, || self.kept(keep));
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

    pub(crate) async fn history(
        &self,
        topic: &Topic,
        range: Range,
        limit: usize,
    ) -> Result<History, BrokerError> {
        let Some(keep) = self.keep(topic) else {
            return Err(BrokerError::Unsupported("history of this topic"));
        };
        if let Some(remote) = &self.remote {
            return remote.history(topic, range, limit).await;
        }
        let read =
            |target: Arc<Target>| target.lock().log.as_ref().map(|log| log.read(range, limit));
        // Reading leaves nothing behind: nobody can have missed anything.
        let none = || Log::new(keep, Epoch::from_u64(random()), 0).read(range, limit);
        Ok(self.table.get(topic).and_then(read).unwrap_or_else(none))
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

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(remote) = &self.remote {
            remote.stop();
        }
        if let Some(attendance) = &self.attendance {
            attendance.stop();
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
