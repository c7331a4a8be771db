//! A member of a hub: what its handle and its worker share.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tautline::CloseFrame;

use crate::id::MemberId;
use crate::inbox::target::Target;
use crate::inbox::{Entry, Inbox};
use crate::numbers::{Numbers, SeatNumber, SubNumber};
use crate::outlet::Outlet;
use crate::slow::Slow;
use crate::sync::lock;

/// What the application tells of a member.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberInfo {
    /// Whose connection it is; several members may be of one user.
    pub user: Arc<str>,
    /// Anything else. It means nothing to the hub.
    pub data: Bytes,
}

impl MemberInfo {
    /// A member of this user.
    #[must_use]
    pub fn new(user: impl Into<Arc<str>>) -> Self {
        Self { user: user.into(), data: Bytes::new() }
    }

    /// With this data.
    #[must_use]
    pub fn data(mut self, data: impl Into<Bytes>) -> Self {
        self.data = data.into();
        self
    }
}

/// Without the data, which does not belong in logs.
impl fmt::Debug for MemberInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemberInfo").field("user", &self.user).finish_non_exhaustive()
    }
}

/// What became of publications for a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberCounts {
    /// Left for its connection.
    pub delivered: u64,
    /// Dropped, since the connection had no room for too long, or because a subscription or the member
    /// ended while they waited.
    pub dropped: u64,
    /// Replaced by a later one with the same key, while they waited.
    pub replaced: u64,
    /// That wait now, in bytes.
    pub waiting: usize,
}

/// What the handle of a member and its worker share.
///
/// The outlet is part of it, not behind a pointer of its own: when many members are written to, none of this
/// is in the cache, and each pointer on the way costs as much as all else that is done here.
pub(crate) struct Shared<O: ?Sized = dyn Hold> {
    pub(crate) id: MemberId,
    pub(crate) info: MemberInfo,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) seat: SeatNumber,
    /// How many bytes may wait for it in all.
    pub(crate) limit: usize,
    pub(crate) slow: Arc<Slow>,
    subs: Mutex<Subs>,
    pub(crate) counts: Counts,
    /// Dropped by whoever ends it: a handler that returns lets go of its connection at once.
    pub(crate) outlet: Mutex<O>,
}

/// An outlet, until it is let go.
pub(crate) trait Hold: Send {
    fn get(&mut self) -> Option<&mut dyn Outlet>;
    fn let_go(&mut self);
}

impl dyn Hold {
    /// Does this with the outlet, if it is still there. An outlet that panics is let go, as one that has ended: it
    /// is the application's code, and those of other members are with the same worker.
    #[inline]
    pub(crate) fn with<T>(&mut self, act: impl FnOnce(&mut dyn Outlet) -> T) -> Option<T> {
        let acted = catch_unwind(AssertUnwindSafe(|| self.get().map(act)));
        acted.unwrap_or_else(|_| self.fail())
    }

    #[cold]
    fn fail<T>(&mut self) -> Option<T> {
        tracing::error!("an outlet panicked, and its member has ended");
        self.end();
        None
    }

    /// Lets the outlet go. What it owns may panic, too.
    pub(crate) fn end(&mut self) {
        if catch_unwind(AssertUnwindSafe(|| self.let_go())).is_err() {
            tracing::error!("an outlet panicked when it was dropped");
        }
    }
}

impl<O: Outlet> Hold for Option<O> {
    fn get(&mut self) -> Option<&mut dyn Outlet> {
        self.as_mut().map(|outlet| outlet as &mut dyn Outlet)
    }

    fn let_go(&mut self) {
        *self = None;
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) delivered: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) replaced: AtomicU64,
    pub(crate) waiting: AtomicUsize,
}

#[derive(Default)]
struct Subs {
    by_target: HashMap<ById, SubNumber>,
    numbers: Numbers,
    ended: bool,
}

/// A target by its number, which the map need not hold a second time.
struct ById(Arc<Target>);

impl Borrow<u64> for ById {
    fn borrow(&self) -> &u64 {
        &self.0.id
    }
}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ById {}

/// Why there is no number for a subscription.
pub(crate) enum NoNumber {
    Ended,
    There,
    TooMany,
}

impl Shared {
    pub(crate) fn new(
        id: MemberId,
        info: MemberInfo,
        (inbox, seat): (Arc<Inbox>, SeatNumber),
        (limit, slow): (usize, Arc<Slow>),
        outlet: impl Outlet,
    ) -> Arc<Self> {
        let (subs, counts) = (Mutex::default(), Counts::default());
        let outlet = Mutex::new(Some(outlet));
        Arc::new(Shared { id, info, inbox, seat, limit, slow, subs, counts, outlet })
    }

    /// Has the processor fetch this part of a member.
    #[inline]
    pub(crate) fn fetch(&self) {
        black_box((self.outlet.is_poisoned(), self.counts.delivered.load(Ordering::Relaxed)));
    }

    /// A number for a subscription to this target, under whose lock this is called.
    pub(crate) fn join(&self, target: &Arc<Target>, most: usize) -> Result<SubNumber, NoNumber> {
        let mut subs = lock(&self.subs);
        if subs.ended {
            return Err(NoNumber::Ended);
        }
        if subs.by_target.contains_key(&target.id) {
            return Err(NoNumber::There);
        }
        if subs.by_target.len() >= most {
            return Err(NoNumber::TooMany);
        }
        let number = subs.numbers.take();
        subs.by_target.insert(ById(target.clone()), number);
        Ok(number)
    }

    /// Ends a subscription. The worker gives its number back.
    pub(crate) fn leave(&self, target: u64) -> Option<SubNumber> {
        lock(&self.subs).by_target.remove(&target)
    }

    pub(crate) fn give_back(&self, sub: SubNumber) {
        lock(&self.subs).numbers.give_back(sub);
    }

    pub(crate) fn targets(&self) -> Vec<Arc<Target>> {
        lock(&self.subs).by_target.keys().map(|ById(target)| target.clone()).collect()
    }

    pub(crate) fn subscriptions(&self) -> usize {
        lock(&self.subs).by_target.len()
    }

    /// Ends: no subscription is made any more. Returns those there were.
    pub(crate) fn end(&self) -> Vec<Arc<Target>> {
        let mut subs = lock(&self.subs);
        subs.ended = true;
        std::mem::take(&mut subs.by_target).into_keys().map(|ById(target)| target).collect()
    }

    pub(crate) fn has_ended(&self) -> bool {
        lock(&self.subs).ended
    }

    pub(crate) fn close(&self, frame: CloseFrame) {
        self.inbox.push(Entry::Close { seat: self.seat, frame });
    }

    pub(crate) fn counts(&self) -> MemberCounts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        MemberCounts {
            delivered: of(&self.counts.delivered),
            dropped: of(&self.counts.dropped),
            replaced: of(&self.counts.replaced),
            waiting: self.counts.waiting.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("id", &self.id)
            .field("info", &self.info)
            .field("subscriptions", &self.subscriptions())
            .finish_non_exhaustive()
    }
}
