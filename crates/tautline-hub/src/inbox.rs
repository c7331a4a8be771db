//! What publishers and members hand to a worker, and what both sides know of a member and of a target.

pub(crate) mod member;
pub(crate) mod target;

use std::sync::{Arc, Mutex};

use tautline::{CloseFrame, Prepared};
use tokio::sync::Notify;

use self::member::Shared;
use self::target::Target;
use crate::delivery::Delivery;
use crate::log::GapReason;
use crate::numbers::{Numbers, SeatNumber, SubNumber};
use crate::presence::Event;
use crate::slow::Slow;
use crate::subscribe::Start;
use crate::sync::lock;

/// How many bytes of publications wait for a worker before publishers do.
const MOST_BYTES: usize = 8 << 20;

/// One thing after the other, in the order in which they happened to a target.
#[derive(Debug)]
pub(crate) enum Entry {
    Publish { target: u64, delivery: Delivery },
    Attach(Arc<Shared>),
    Subscribe(Box<Joining>),
    Unsubscribe { seat: SeatNumber, sub: SubNumber, told: Option<(Arc<Target>, u32)> },
    Gap { target: Arc<Target>, reason: GapReason },
    Presence { target: u64, event: Arc<Event> },
    Message { seat: SeatNumber, message: Prepared },
    Close { seat: SeatNumber, frame: CloseFrame },
    Detach(SeatNumber),
}

/// A subscription that begins.
#[derive(Debug)]
pub(crate) struct Joining {
    pub(crate) seat: SeatNumber,
    pub(crate) sub: SubNumber,
    pub(crate) target: Arc<Target>,
    pub(crate) start: Start,
    pub(crate) recovered: Vec<Delivery>,
    pub(crate) slow: Arc<Slow>,
    /// It wants to know who joins and leaves.
    pub(crate) watches: bool,
    pub(crate) tag: u64,
}

/// The queue of a worker.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    changed: Notify,
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    /// Seats that have room again.
    ready: Vec<SeatNumber>,
    bytes: usize,
    numbers: Numbers,
    ended: bool,
}

impl Entry {
    fn bytes(&self) -> usize {
        match self {
            Self::Publish { delivery, .. } => delivery.size(),
            Self::Message { message, .. } => message.message().len(),
            _ => 0,
        }
    }
}

impl Inbox {
    /// Hands it over. Does nothing when the worker has ended. Returns whether there is room for more.
    pub(crate) fn push(&self, entry: Entry) -> bool {
        let mut state = lock(&self.state);
        if state.ended {
            return true;
        }
        let was_idle = state.entries.is_empty() && state.ready.is_empty();
        state.bytes += entry.bytes();
        state.entries.push(entry);
        let has_room = state.bytes < MOST_BYTES;
        drop(state);
        if was_idle {
            self.changed.notify_one();
        }
        has_room
    }

    /// This seat has something to do.
    pub(crate) fn ready(&self, seat: SeatNumber) {
        let mut state = lock(&self.state);
        if state.ended {
            return;
        }
        let was_idle = state.entries.is_empty() && state.ready.is_empty();
        state.ready.push(seat);
        drop(state);
        if was_idle {
            self.changed.notify_one();
        }
    }

    /// A number for a new member; none when the worker has ended.
    pub(crate) fn seat(&self) -> Option<SeatNumber> {
        let mut state = lock(&self.state);
        (!state.ended).then(|| state.numbers.take())
    }

    pub(crate) fn give_back(&self, seat: SeatNumber) {
        lock(&self.state).numbers.give_back(seat);
    }

    /// Takes everything, into empty lists.
    pub(crate) fn take(&self, entries: &mut Vec<Entry>, ready: &mut Vec<SeatNumber>) {
        let mut state = lock(&self.state);
        std::mem::swap(&mut state.entries, entries);
        std::mem::swap(&mut state.ready, ready);
        let had_no_room = state.bytes >= MOST_BYTES;
        state.bytes = 0;
        drop(state);
        if had_no_room {
            self.room.notify_waiters();
        }
    }

    /// Whether there is something to take.
    pub(crate) fn has_more(&self) -> bool {
        let state = lock(&self.state);
        !state.entries.is_empty() || !state.ready.is_empty()
    }

    /// Waits until there is something to take, or the end.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn has_room(&self) -> bool {
        let state = lock(&self.state);
        state.bytes < MOST_BYTES || state.ended
    }

    /// Waits until a publisher may go on.
    pub(crate) async fn room(&self) {
        while !self.has_room() {
            let room = self.room.notified();
            // From here on no notice is missed.
            if !self.has_room() {
                room.await;
            }
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        lock(&self.state).ended
    }

    /// Takes nothing any more, and lets the worker end.
    pub(crate) fn end(&self) {
        let mut state = lock(&self.state);
        state.ended = true;
        let dropped = std::mem::take(&mut state.entries);
        drop(state);
        drop(dropped);
        self.changed.notify_one();
        self.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn a_publisher_waits_until_the_worker_has_taken_what_is_too_much() {
        let inbox = Inbox::default();
        let message = |len: usize| Entry::Message { seat: 0, message: vec![0; len].into() };
        assert!(inbox.push(message(MOST_BYTES - 1)));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(pin!(inbox.room()).poll(&mut cx).is_ready());
        assert!(!inbox.push(message(1)));
        let mut room = pin!(inbox.room());
        assert!(room.as_mut().poll(&mut cx).is_pending());
        inbox.take(&mut Vec::new(), &mut Vec::new());
        assert!(room.poll(&mut cx).is_ready());
        // Nor does anybody wait for a worker that has ended.
        inbox.push(message(MOST_BYTES));
        let mut room = pin!(inbox.room());
        assert!(room.as_mut().poll(&mut cx).is_pending());
        inbox.end();
        assert!(room.poll(&mut cx).is_ready());
        assert!(inbox.push(message(MOST_BYTES)) && inbox.seat().is_none());
        inbox.ready(0);
        assert!(!inbox.has_more(), "it takes nothing any more");
    }
}
