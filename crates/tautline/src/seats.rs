//! The tasks that drive a connection that is not split: nearly always one, but two after the
//! `split` of `futures`.

use std::task::Waker;

use crate::wakers::{SharedWakers, Task};

/// The side of a connection that a task uses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Side {
    Read,
    Write,
}

impl Side {
    /// This side's task among the waiters.
    pub(crate) const fn task(self) -> Task {
        match self {
            Self::Read => Task::Reader,
            Self::Write => Task::Writer(WRITER),
        }
    }
}

/// The tasks of a connection that is not split by [`WebSocket::split`](crate::WebSocket::split). It
/// is nearly always one, but after the `split` of `futures` one polls the stream and another the
/// sink.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    reading: Seat,
    /// Made when a task first waits for the write side, which most connections never do.
    writing: Option<Box<Writing>>,
}

#[derive(Debug, Default)]
struct Writing {
    seat: Seat,
    /// Made when two tasks wait at the same time. It has their wakers from then on.
    shared: Option<Box<SharedWakers>>,
}

#[derive(Debug, Default)]
struct Seat {
    waits: bool,
    /// The newest task that waited. Kept when it no longer waits, since it is likely to be the next
    /// one too.
    task: Option<Waker>,
}

impl Seat {
    #[inline(always)]
    fn leave(&mut self, waker: &Waker, waits: bool) {
        self.waits = waits;
        if waits && !self.is_of(waker) {
            self.task = Some(waker.clone());
        }
    }

    fn is_taken_by_other(&self, waker: &Waker) -> bool {
        self.waits && !self.is_of(waker)
    }

    fn is_of(&self, waker: &Waker) -> bool {
        self.task.as_ref().is_some_and(|task| task.will_wake(waker))
    }
}

/// The key of the only writer.
const WRITER: usize = 0;

impl Seats {
    /// Whether nobody waits on the other side, so that [`enter`](Self::enter) need not be called.
    #[inline(always)]
    pub(crate) fn is_other_free(&self, side: Side) -> bool {
        match (&self.writing, side) {
            (None, Side::Read) => true,
            (None, Side::Write) => !self.reading.waits,
            (Some(writing), Side::Read) => writing.shared.is_none() && !writing.seat.waits,
            (Some(writing), Side::Write) => writing.shared.is_none() && !self.reading.waits,
        }
    }

    /// To be called before the task drives the connection. Returns the wakers to use if a second
    /// task waits, and `None` if this task is alone.
    pub(crate) fn enter(&mut self, side: Side, waker: &Waker) -> Option<Box<SharedWakers>> {
        let Self { reading, writing } = self;
        let other = match side {
            Side::Read => writing.as_ref().map(|writing| &writing.seat),
            Side::Write => Some(&*reading),
        };
        let is_shared = writing.as_ref().is_some_and(|writing| writing.shared.is_some());
        if !is_shared && !other.is_some_and(|other| other.is_taken_by_other(waker)) {
            return None;
        }
        Some(self.share())
    }

    #[inline(never)]
    fn share(&mut self) -> Box<SharedWakers> {
        let Self { reading, writing } = self;
        let Writing { seat, shared } = &mut **writing.get_or_insert_default();
        shared.take().unwrap_or_else(|| {
            let shared = Box::new(SharedWakers::default());
            let key = shared.waiters.add_writer();
            debug_assert_eq!(key, WRITER);
            if let Some(task) = reading.task.take().filter(|_| reading.waits) {
                shared.waiters.register(Side::Read.task(), &task, true);
            }
            if let Some(task) = seat.task.take().filter(|_| seat.waits) {
                // What it waits for is not known here, so it is woken for everything.
                shared.waiters.register(Side::Write.task(), &task, true);
            }
            shared
        })
    }

    /// To be called after the task drove the connection with its own wakers.
    #[inline(always)]
    pub(crate) fn leave(&mut self, side: Side, waker: &Waker, waits: bool) {
        match (side, &mut self.writing) {
            (Side::Read, _) => self.reading.leave(waker, waits),
            (Side::Write, Some(writing)) => writing.seat.leave(waker, waits),
            (Side::Write, none) if waits => none.get_or_insert_default().seat.leave(waker, waits),
            (Side::Write, None) => {}
        }
    }

    /// Wakes the task that reads, if it is another one, for a new deadline.
    pub(crate) fn tell_of_deadline(&self) {
        if let Some(shared) = self.writing.as_ref().and_then(|writing| writing.shared.as_ref()) {
            shared.waiters.wake_reader();
        }
    }

    /// To be called after the task drove the connection with shared wakers, with what `enter`
    /// returned.
    pub(crate) fn give_back(&mut self, shared: Box<SharedWakers>) {
        self.writing.get_or_insert_default().shared = Some(shared);
    }

    /// Whether another task may be reading.
    pub(crate) fn has_other_reader(&self, waker: &Waker) -> bool {
        // The newest task that read, whether it is waiting or handling a message.
        let is_shared = self.writing.as_ref().is_some_and(|writing| writing.shared.is_some());
        is_shared || (self.reading.task.is_some() && !self.reading.is_of(waker))
    }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;
    use crate::wakers::tests::{counting, counts};

    #[test]
    fn a_connection_is_shared_when_two_tasks_wait_and_not_before() {
        let mut seats = Seats::default();
        let (one, two) = (counting(), counting());
        // One task on both sides, and another one that takes over from it.
        for (side, waker, waits) in [
            (Side::Read, &one.0, true),
            (Side::Write, &one.0, true),
            (Side::Write, &one.0, false),
            (Side::Read, &one.0, false),
            (Side::Write, &two.0, true),
            (Side::Read, &two.0, true),
        ] {
            assert!(seats.enter(side, waker).is_none());
            seats.leave(side, waker, waits);
        }
        let shared = seats.enter(Side::Write, &one.0).expect("the other one waits to read");
        shared.waiters.register(Side::Write.task(), &one.0, false);
        shared.write_ready.wake_by_ref();
        assert_eq!(
            counts(&[one, two]),
            [1, 1],
            "both, though one of them waited before it was shared"
        );
    }
}
