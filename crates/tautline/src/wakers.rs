//! Who waits for a connection that several tasks share.
//!
//! A transport remembers one waker for reading and one for writing. If each task gave its own, the last one would steal the
//! place of the others. So every task gives the transport the same two wakers, and those wake whoever is registered here.
//! A task registers before it looks; a wake-up between its look and its sleep finds it registered.

use std::task::{Wake, Waker};

use slab::Slab;

use crate::sync::{Arc, Mutex, MutexGuard};

/// The tasks that wait: the one that reads, and any number that write.
#[derive(Debug, Default)]
pub(crate) struct Waiters(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    reader: Option<Waker>,
    /// A place for each writer, taken or not.
    writers: Slab<Option<Waker>>,
}

impl Waiters {
    /// A place for one more writer.
    pub(crate) fn add_writer(&self) -> usize {
        self.lock().writers.insert(None)
    }

    pub(crate) fn remove_writer(&self, key: usize) {
        // Whatever waker stood there is dropped outside the lock: it may own a task, and that another writer.
        let _gone = self.lock().writers.try_remove(key);
    }

    pub(crate) fn remove_reader(&self) {
        let _gone = self.lock().reader.take();
    }

    /// To be called by the reader before it looks whether there is something to read.
    pub(crate) fn register_reader(&self, waker: &Waker) {
        let _old = replace(&mut self.lock().reader, waker);
    }

    /// To be called by a writer before it looks whether there is room.
    pub(crate) fn register_writer(&self, key: usize, waker: &Waker) {
        let _old = self.lock().writers.get_mut(key).and_then(|place| replace(place, waker));
    }

    /// Something arrived, or may be read.
    pub(crate) fn wake_reader(&self) {
        let reader = self.lock().reader.take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Room was made, a pong came, or the connection is over. The writer that found it out itself needs no wake-up.
    pub(crate) fn wake_writers(&self, but: Option<usize>) {
        let mut from = 0;
        // One at a time, so that no waker runs while the list is locked.
        while let Some((key, waker)) = self.next_writer(from, but) {
            waker.wake();
            from = key + 1;
        }
    }

    fn next_writer(&self, from: usize, but: Option<usize>) -> Option<(usize, Waker)> {
        let writers = &mut self.lock().writers;
        let mut keys = (from..writers.capacity()).filter(|key| Some(*key) != but);
        keys.find_map(|key| Some((key, writers.get_mut(key)?.take()?)))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        crate::sync::lock(&self.0)
    }
}

/// Gives what stood there, for the caller to drop when the lock is open.
fn replace(place: &mut Option<Waker>, waker: &Waker) -> Option<Waker> {
    match place {
        Some(known) if known.will_wake(waker) => None,
        _ => place.replace(waker.clone()),
    }
}

/// What the transport wakes when it can be read.
#[derive(Debug)]
pub(crate) struct ReadReady(pub(crate) Arc<Waiters>);

/// What the transport wakes when it can be written, and the timer when it fires: writers that wait for room, and the reader,
/// whose pongs and Closes may be waiting too.
#[derive(Debug)]
pub(crate) struct WriteReady(pub(crate) Arc<Waiters>);

impl Wake for ReadReady {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.wake_reader();
    }
}

impl Wake for WriteReady {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.wake_writers(None);
        self.0.wake_reader();
    }
}
