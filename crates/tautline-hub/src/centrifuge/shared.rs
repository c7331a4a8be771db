//! What the handler of a connection, its outlet and the application share of a session.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use tautline::Message;
use tokio::sync::{Notify, oneshot};

use super::codes::{Disconnect, Refusal, Unsubscribe};
use super::data::Publication;
use super::format::Format;
use super::grant::SubscribeGrant;
use super::request::{Answer, RequestId, Stream, Subscribed};
use super::session::Session;
use crate::clock::now;
use crate::delivery::Delivery;
use crate::subscribe::Start;
use crate::sync::lock;

/// The code with which the hub is told to end a subscription that the session has ended: that of the
/// protocol for a client that unsubscribes, which is never sent.
pub(super) const LEFT: u32 = 0;

pub(super) struct Shared {
    pub(super) format: Format,
    pub(super) max_queue: usize,
    inside: Mutex<Inside>,
    /// There may be frames to send.
    dirty: AtomicBool,
    /// The client is connected, so that publications may be sent to it.
    open: AtomicBool,
    /// There are channels that the session has left, and the hub has not.
    leaving: AtomicBool,
    /// For the handler: the session has changed.
    pub(super) changed: Notify,
    /// The hub knows of a channel that was left, or nothing follows.
    told: Notify,
}

pub(super) struct Inside {
    pub(super) session: Session,
    /// Subscriptions that the hub was asked for, by their tag.
    starting: HashMap<u64, Starting>,
    next_tag: u64,
    /// Channels that the session has left, and the hub has not.
    leaving: HashSet<String>,
    /// Those of which the handler has not heard yet.
    left: VecDeque<Left>,
    /// The handler waits until the session takes answers.
    is_full: bool,
    /// What the hub said before the client was connected, and so told of its subscriptions.
    early: Vec<Early>,
}

/// A channel that the session has left.
#[derive(Clone)]
pub(super) struct Left {
    pub(super) channel: String,
    /// The hub had ended that subscription. If it has one now, that is a newer one, which is to stay.
    pub(super) by_hub: bool,
}

/// What becomes of a subscription while its client is being connected.
enum Early {
    Ended(String, Unsubscribe),
    Lost(String),
}

/// Whose subscription it is that starts.
pub(super) enum Starting {
    /// The client's, who waits for the answer.
    Client { request: RequestId, grant: SubscribeGrant },
    /// The server's, who connects the client with it.
    Connecting { grant: SubscribeGrant, started: oneshot::Sender<Subscribed> },
    /// The server's, who pushes it.
    Pushed { channel: String, grant: SubscribeGrant, started: oneshot::Sender<bool> },
}

/// The session, as long as nobody else has it.
pub(super) struct Guard<'a> {
    inside: MutexGuard<'a, Inside>,
    flag: &'a AtomicBool,
}

impl Deref for Guard<'_> {
    type Target = Inside;

    fn deref(&self) -> &Inside {
        &self.inside
    }
}

impl DerefMut for Guard<'_> {
    fn deref_mut(&mut self) -> &mut Inside {
        &mut self.inside
    }
}

/// What was left is noted before the outlet can send what the session says about it: nothing of the channel
/// is sent after that.
impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let inside = &mut *self.inside;
        while let Some(channel) = inside.session.poll_left() {
            inside.leave(channel);
        }
        self.flag.store(!inside.leaving.is_empty(), Ordering::Release);
    }
}

impl Inside {
    fn leave(&mut self, channel: String) {
        self.leaving.insert(channel.clone());
        self.left.push_back(Left { channel, by_hub: false });
    }

    /// The hub has ended a subscription, and the session does.
    fn unsubscribe(&mut self, channel: &str, unsubscribe: Unsubscribe) {
        self.session.unsubscribe(channel, unsubscribe);
        while let Some(left) = self.session.poll_left() {
            match left == channel {
                true => self.left.push_back(Left { channel: left, by_hub: true }),
                false => self.leave(left),
            }
        }
    }

    /// If the connection ends because of that, nothing that comes behind the gap is sent: the client would come
    /// back from there.
    fn lost(&mut self, channel: &str) {
        self.session.lost(channel);
        if self.session.is_closed() {
            self.leaving.insert(channel.to_owned());
        }
    }

    /// The hub had left this channel before.
    pub(super) fn has_left(&mut self, channel: &str) {
        self.leaving.remove(channel);
    }
}

impl Shared {
    pub(super) fn new(session: Session, format: Format, max_queue: usize) -> Self {
        let inside = Inside {
            session,
            starting: HashMap::new(),
            next_tag: 0,
            leaving: HashSet::new(),
            left: VecDeque::new(),
            is_full: false,
            early: Vec::new(),
        };
        Self {
            format,
            max_queue,
            inside: Mutex::new(inside),
            dirty: AtomicBool::new(false),
            open: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            changed: Notify::new(),
            told: Notify::new(),
        }
    }

    pub(super) fn lock(&self) -> Guard<'_> {
        Guard { inside: lock(&self.inside), flag: &self.leaving }
    }

    /// Does this with the session, of which the handler is told.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Session) -> T) -> T {
        let changed = change(&mut self.lock().session);
        self.changed.notify_one();
        changed
    }

    /// For the outlet, which has changed something and looks for what there is to send.
    pub(super) fn mark(&self) {
        self.dirty.store(true, Ordering::Release);
    }

    /// For the handler: there are frames to send, of which the outlet does not know yet.
    pub(super) fn has_news(&self) -> bool {
        let inside = self.lock();
        inside.session.has_frames() && !self.dirty.swap(true, Ordering::AcqRel)
    }

    /// The next frame to send.
    pub(super) fn next_frame(&self) -> Option<Message> {
        if !self.dirty.load(Ordering::Acquire) {
            return None;
        }
        let mut inside = self.lock();
        // The application is told first that the client is connected.
        if inside.session.is_connected() && !self.is_open() {
            return None;
        }
        let frame = inside.session.poll_transmit();
        if frame.is_none() {
            self.dirty.store(false, Ordering::Release);
        }
        if inside.is_full && inside.session.takes_answers() {
            inside.is_full = false;
            self.changed.notify_one();
        }
        frame
    }

    /// For the handler: whether it may have something answered now. If not, it is told when it may.
    pub(super) fn takes_answers(&self) -> bool {
        let mut inside = self.lock();
        inside.is_full = !inside.session.takes_answers();
        !inside.is_full
    }

    /// For the handler: a command waits for a subscription that the hub has made and the outlet not answered yet.
    /// The handler is told when it has.
    pub(super) fn is_behind(&self) -> bool {
        let inside = self.lock();
        let is_client = |starting: &Starting| matches!(starting, Starting::Client { .. });
        inside.session.has_deferred() && inside.starting.values().any(is_client)
    }

    /// The application has decided whether the client is connected, and with which subscriptions. Returns whether
    /// it is.
    pub(super) fn connect(&self, id: RequestId, answer: Result<Answer, Refusal>) -> bool {
        let mut inside = self.lock();
        let inside = &mut *inside;
        inside.session.answer(id, answer, now());
        for early in std::mem::take(&mut inside.early) {
            match early {
                Early::Ended(channel, unsubscribe) => inside.unsubscribe(&channel, unsubscribe),
                Early::Lost(channel) => inside.lost(&channel),
            }
        }
        self.changed.notify_one();
        inside.session.is_connected()
    }

    /// The application knows that the client is connected. The outlet looks for the answer that says so before it
    /// sends anything that is published, and is to be woken for it.
    pub(super) fn open(&self) {
        if self.lock().session.is_closed() {
            return;
        }
        self.mark();
        self.open.store(true, Ordering::Release);
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Publications may be sent as they are: the session has nothing to say to the outlet, and has left no
    /// channel.
    pub(super) fn is_settled(&self) -> bool {
        self.is_open()
            && !self.dirty.load(Ordering::Acquire)
            && !self.leaving.load(Ordering::Acquire)
    }

    /// Whether the session has left this channel.
    pub(super) fn is_leaving(&self, channel: &str) -> bool {
        self.leaving.load(Ordering::Acquire) && self.lock().leaving.contains(channel)
    }

    /// A subscription that the hub is about to be asked for. Returns its tag.
    pub(super) fn starting(&self, starting: Starting) -> u64 {
        let mut inside = self.lock();
        inside.next_tag += 1;
        let tag = inside.next_tag;
        // Whoever waits for it after the end is told so by its being dropped.
        if !inside.session.is_closed() {
            inside.starting.insert(tag, starting);
        }
        tag
    }

    /// For the handler: the next channel that was left.
    pub(super) fn next_left(&self) -> Option<Left> {
        self.lock().left.front().cloned()
    }

    /// For the handler, which has done what there is to do about that one.
    pub(super) fn told(&self) {
        self.lock().left.pop_front();
        self.told.notify_waiters();
    }

    /// Waits until the hub knows whether the session has left this channel: before that, it would be subscribed to
    /// it already.
    pub(super) async fn until_told(&self, channel: &str) {
        loop {
            let told = self.told.notified();
            {
                let inside = self.lock();
                if inside.session.is_closed()
                    || !inside.left.iter().any(|left| left.channel == channel)
                {
                    return;
                }
            }
            told.await;
        }
    }

    /// The hub did not subscribe.
    pub(super) fn not_started(&self, tag: u64) {
        self.lock().starting.remove(&tag);
    }

    /// The hub has subscribed.
    pub(super) fn started(&self, tag: u64, start: &Start, recovered: &[Delivery]) {
        let mut inside = self.lock();
        let Some(starting) = inside.starting.remove(&tag) else { return };
        match starting {
            Starting::Client { request, grant } => {
                let subscribed = subscribed(grant, start, recovered);
                inside.session.answer(request, Ok(Answer::Subscribe(subscribed)), now());
            }
            Starting::Connecting { grant, started } => {
                // Nobody waits for it if the connection is about to end.
                let _ = started.send(subscribed(grant, start, recovered));
            }
            Starting::Pushed { channel, grant, started } => {
                let subscribed = subscribed(grant, start, recovered);
                let is_subscribed = inside.session.subscribe(&channel, &subscribed, now());
                if !is_subscribed {
                    inside.leave(channel);
                }
                // Whoever asked for it may not wait any more.
                let _ = started.send(is_subscribed);
            }
        }
        drop(inside);
        self.changed.notify_one();
    }

    /// The hub has ended a subscription, with this code. Nothing of it follows.
    pub(super) fn ended(&self, channel: &str, code: u32) {
        let mut inside = self.lock();
        inside.has_left(channel);
        if code == LEFT && !inside.session.is_subscribed(channel) {
            return;
        }
        let known = [
            Unsubscribe::SERVER,
            Unsubscribe::INSUFFICIENT_STATE,
            Unsubscribe::EXPIRED,
            Unsubscribe::STATE_INVALIDATED,
        ];
        let unsubscribe = match code {
            // It was meant for one that the hub had ended before, and was carried out on the next one.
            LEFT => Unsubscribe::SERVER,
            code => known
                .into_iter()
                .find(|known| known.code() == code)
                .unwrap_or_else(|| Unsubscribe::new(code, "")),
        };
        if inside.session.is_connecting() {
            inside.early.push(Early::Ended(channel.to_owned(), unsubscribe));
            return;
        }
        inside.unsubscribe(channel, unsubscribe);
        drop(inside);
        self.changed.notify_one();
    }

    /// Something of this channel was lost on the way.
    pub(super) fn lost(&self, channel: &str) {
        let mut inside = self.lock();
        if inside.session.is_connecting() {
            inside.early.push(Early::Lost(channel.to_owned()));
            return;
        }
        inside.lost(channel);
        drop(inside);
        self.changed.notify_one();
    }

    /// There is no outlet any more: nothing can be sent, and nothing starts.
    pub(super) fn end(&self) {
        let mut inside = self.lock();
        inside.session.disconnect(Disconnect::CONNECTION_CLOSED);
        let starting = std::mem::take(&mut inside.starting);
        drop(inside);
        drop(starting);
        self.changed.notify_one();
        self.told.notify_waiters();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("session", &self.lock().session).finish_non_exhaustive()
    }
}

/// What a client is told of a subscription that has started.
fn subscribed(grant: SubscribeGrant, start: &Start, recovered: &[Delivery]) -> Subscribed {
    let recovered = match start {
        Start::Recovered { .. } | Start::Last { .. } => {
            let first = if grant.last_value { recovered.len().saturating_sub(1) } else { 0 };
            Some(recovered[first..].iter().map(publication).collect())
        }
        _ => None,
    };
    let stream = start.position().map(|position| Stream {
        position,
        recoverable: !grant.without_recovery,
        recovered,
    });
    Subscribed { info: grant.info, data: grant.data, expiry: grant.expiry, stream }
}

/// A publication of the hub, as clients see it.
pub(super) fn publication(delivery: &Delivery) -> Publication {
    let offset = delivery.position().map_or(0, |position| position.offset);
    Publication::of_published(delivery.publication(), offset)
}

#[cfg(test)]
mod tests;
