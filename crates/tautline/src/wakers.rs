//! Who waits for a connection that several tasks poll.
//!
//! A transport remembers one waker for reading and one for writing, and a timer remembers one. If
//! each task passed its own, the last one would replace the others. So every task passes the same
//! two wakers, and those wake the tasks that are registered here. A task registers before it
//! drives the connection, so that a wake-up before it sleeps finds it registered.

use std::task::{Context, Poll, Wake, Waker};

use slab::Slab;
use tautline_frame::session::Snapshot;

use crate::sync::{Arc, Mutex, MutexGuard};

/// The wakers that a transport and a timer are passed: for reading, and for writing and the time.
#[derive(Clone, Copy)]
pub(crate) struct Wakers<'a> {
    pub(crate) read: &'a Waker,
    pub(crate) write: &'a Waker,
}

impl<'a> Wakers<'a> {
    /// Those of a task that is alone.
    pub(crate) fn one(cx: &Context<'a>) -> Self {
        Self { read: cx.waker(), write: cx.waker() }
    }
}

/// A task of a connection: the one that reads, or the one of the writer with this key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Task {
    Reader,
    Writer(usize),
}

/// The tasks that wait: the one that reads, and any number that write.
#[derive(Debug, Default)]
pub(crate) struct Waiters(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    reader: Option<Waker>,
    /// For each writer that exists, its index in `writers` if it waits.
    places: Slab<Option<usize>>,
    /// Those that wait, in no order. The cost of a wake-up depends on their number, not on that of
    /// all writers.
    writers: Vec<WaitingWriter>,
}

#[derive(Debug)]
struct WaitingWriter {
    key: usize,
    waker: Waker,
    /// It waits for something that only reading brings, such as a pong.
    reads: bool,
}

impl Waiting {
    fn remove(&mut self, key: usize) -> Option<WaitingWriter> {
        let index = self.places.get_mut(key)?.take()?;
        let gone = self.writers.swap_remove(index);
        if let Some(moved) = self.writers.get(index)
            && let Some(place) = self.places.get_mut(moved.key)
        {
            *place = Some(index);
        }
        Some(gone)
    }
}

impl Waiters {
    /// Adds a writer and returns its key.
    pub(crate) fn add_writer(&self) -> usize {
        self.lock().places.insert(None)
    }

    pub(crate) fn remove_writer(&self, key: usize) {
        let mut waiting = self.lock();
        // The waker is dropped after the lock is released: it may own a task, and that task another
        // writer.
        let gone = waiting.remove(key);
        waiting.places.try_remove(key);
        drop(waiting);
        drop(gone);
    }

    pub(crate) fn remove_reader(&self) {
        let _gone = self.lock().reader.take();
    }

    /// To be called before the task drives the connection: see
    /// [`register_reader`](Self::register_reader) and [`register_writer`](Self::register_writer).
    #[inline]
    pub(crate) fn register(&self, task: Task, waker: &Waker, reads: bool) {
        match task {
            Task::Reader => self.register_reader(waker),
            Task::Writer(key) => self.register_writer(key, waker, reads),
        }
    }

    /// To be called by the reader before it tries to read.
    pub(crate) fn register_reader(&self, waker: &Waker) {
        let _old = {
            let reader = &mut self.lock().reader;
            match reader {
                Some(known) if known.will_wake(waker) => None,
                _ => reader.replace(waker.clone()),
            }
        };
    }

    /// To be called by a writer before it tries to get room or, with `reads`, something that only
    /// reading brings.
    fn register_writer(&self, key: usize, waker: &Waker, reads: bool) {
        let mut waiting = self.lock();
        let Waiting { places, writers, .. } = &mut *waiting;
        let Some(place) = places.get_mut(key) else { return };
        let old = match place.and_then(|index| writers.get_mut(index)) {
            Some(known) => {
                known.reads = reads;
                let same = known.waker.will_wake(waker);
                (!same).then(|| std::mem::replace(&mut known.waker, waker.clone()))
            }
            None => {
                *place = Some(writers.len());
                writers.push(WaitingWriter { key, waker: waker.clone(), reads });
                None
            }
        };
        drop(waiting);
        // After the lock is released, as above.
        drop(old);
    }

    /// A writer has what it waited for.
    fn forget_writer(&self, key: usize) {
        let _gone = self.lock().remove(key);
    }

    /// Something has arrived, or can be read.
    pub(crate) fn wake_reader(&self) {
        let reader = self.lock().reader.take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// There is room, a pong has arrived, or the connection is over. The task `but`, which
    /// brought that about, is not woken.
    #[inline(never)]
    pub(crate) fn wake_writers_but(&self, but: Task) {
        self.wake_those(|writer| Task::Writer(writer.key) != but);
    }

    /// As [`wake_writers_but`](Self::wake_writers_but), all of them.
    pub(crate) fn wake_writers(&self) {
        self.wake_those(|_| true);
    }

    /// Something has arrived that writers may wait for too.
    fn wake_reading_writers(&self) {
        self.wake_those(|writer| writer.reads);
    }

    fn wake_those(&self, chosen: impl Fn(&WaitingWriter) -> bool) {
        let mut from = 0;
        // One at a time, so that no waker runs while the list is locked. At most as many as waited
        // at first, since those that are woken may wait again at once.
        let waiting = self.lock().writers.len();
        for _ in 0..waiting {
            let Some(writer) = self.take_next(&mut from, &chosen) else { return };
            writer.waker.wake();
        }
    }

    fn take_next(
        &self,
        from: &mut usize,
        chosen: impl Fn(&WaitingWriter) -> bool,
    ) -> Option<WaitingWriter> {
        let mut waiting = self.lock();
        while let Some(writer) = waiting.writers.get(*from) {
            if chosen(writer) {
                let key = writer.key;
                // The last one takes its place, and is next.
                return waiting.remove(key);
            }
            *from += 1;
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        crate::sync::lock(&self.0)
    }
}

/// Woken by the transport when it can be read.
#[derive(Debug)]
struct ReadReady(Arc<Waiters>);

/// Woken by the transport when it can be written, and by the timer. It wakes the writers that wait
/// for room, and the reader, whose pongs and Close may be waiting too.
#[derive(Debug)]
struct WriteReady(Arc<Waiters>);

impl Wake for ReadReady {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.wake_reader();
        self.0.wake_reading_writers();
    }
}

impl Wake for WriteReady {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.wake_writers();
        self.0.wake_reader();
    }
}

/// The wakers that a transport is passed when several tasks share it, and the list of those tasks.
#[derive(Debug)]
pub(crate) struct SharedWakers {
    pub(crate) waiters: Arc<Waiters>,
    read_ready: Waker,
    pub(crate) write_ready: Waker,
}

impl Default for SharedWakers {
    fn default() -> Self {
        let waiters = Arc::new(Waiters::default());
        Self {
            read_ready: Waker::from(std::sync::Arc::new(ReadReady(waiters.clone()))),
            write_ready: Waker::from(std::sync::Arc::new(WriteReady(waiters.clone()))),
            waiters,
        }
    }
}

impl SharedWakers {
    pub(crate) const fn wakers(&self) -> Wakers<'_> {
        Wakers { read: &self.read_ready, write: &self.write_ready }
    }

    /// Drives the connection for a task, until the task has what it wants or is registered for what
    /// it waits for.
    #[inline]
    pub(crate) fn poll_as<T>(
        &self,
        task: Task,
        waker: &Waker,
        mut drive: impl FnMut() -> Driven<T>,
    ) -> Poll<T> {
        let mut reads = task == Task::Reader;
        loop {
            self.waiters.register(task, waker, reads);
            let Driven { polled, needs_reading } = drive();
            if let (Poll::Ready(_), Task::Writer(key)) = (&polled, task) {
                self.waiters.forget_writer(key);
            }
            if polled.is_ready() || reads || !needs_reading {
                return polled;
            }
            // It is to be woken for reading from here on: a task that closes, or waits for a pong,
            // waits for that.
            reads = true;
        }
    }

    /// What a task changed, from the snapshots before and after.
    pub(crate) fn changes(&self, task: Task, before: Snapshot, after: Snapshot) -> Changes<'_> {
        Changes { waiters: &self.waiters, task, before, after }
    }
}

/// What came of driving a connection for one of several tasks.
pub(crate) struct Driven<T> {
    pub(crate) polled: Poll<T>,
    /// The task waits for something that only reading brings.
    pub(crate) needs_reading: bool,
}

/// What one task changed that others may be waiting for.
#[must_use = "others wait for it"]
pub(crate) struct Changes<'a> {
    waiters: &'a Waiters,
    task: Task,
    before: Snapshot,
    after: Snapshot,
}

impl Changes<'_> {
    /// Wakes them. To be called when no lock is held.
    pub(crate) fn tell(self) {
        let Self { waiters, task, before, after } = self;
        if before != after {
            waiters.wake_writers_but(task);
        }
        // If the reader woke itself, it would only poll once more.
        if task != Task::Reader && after.concerns_reader(&before) {
            waiters.wake_reader();
        }
    }
}

#[cfg(all(test, not(tautline_loom)))]
pub(crate) mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    pub(crate) struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    pub(crate) fn counting() -> (Waker, std::sync::Arc<Count>) {
        let count = std::sync::Arc::new(Count::default());
        (Waker::from(count.clone()), count)
    }

    pub(crate) fn counts(all: &[(Waker, std::sync::Arc<Count>)]) -> Vec<usize> {
        all.iter().map(|(_, count)| count.0.load(Ordering::SeqCst)).collect()
    }

    // Each send of a hub's connection walked the places of all writers that had ever lived: 120 us
    // after 100,000 clones.
    #[test]
    fn a_wake_up_walks_those_that_wait_and_not_those_that_lived() {
        let waiters = Waiters::default();
        let keys: Vec<_> = (0..100_000).map(|_| waiters.add_writer()).collect();
        for key in &keys[..99_990] {
            waiters.register_writer(*key, Waker::noop(), false);
            waiters.remove_writer(*key);
        }
        assert_eq!(waiters.lock().writers.len(), 0);
        let (waker, count) = counting();
        waiters.register_writer(keys[99_995], &waker, false);
        assert_eq!(waiters.lock().writers.len(), 1, "all that a wake-up goes through");
        waiters.wake_writers();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert_eq!(waiters.lock().writers.len(), 0);
    }

    #[test]
    fn those_that_wait_are_woken_once_but_for_who_asked() {
        let waiters = Waiters::default();
        let all: Vec<_> = (0..6).map(|_| counting()).collect();
        let keys: Vec<_> = all.iter().map(|_| waiters.add_writer()).collect();
        for (key, (waker, _)) in keys.iter().zip(&all) {
            waiters.register_writer(*key, waker, key % 2 == 0);
        }
        // One again, with another waker; one that needs nothing more; one that is gone.
        let again = counting();
        waiters.register_writer(keys[1], &again.0, false);
        waiters.forget_writer(keys[2]);
        waiters.remove_writer(keys[5]);
        waiters.wake_reading_writers();
        assert_eq!(counts(&all), [1, 0, 0, 0, 1, 0]);
        waiters.wake_writers_but(Task::Writer(keys[3]));
        assert_eq!(counts(&all), [1, 0, 0, 0, 1, 0]);
        assert_eq!(counts(std::slice::from_ref(&again)), [1]);
        waiters.wake_writers();
        assert_eq!(counts(&all), [1, 0, 0, 1, 1, 0]);
        waiters.wake_writers();
        assert_eq!(counts(&all), [1, 0, 0, 1, 1, 0]);
    }
}
