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
        self.lock().writers.try_remove(key);
    }

    /// To be called by the reader before it looks whether there is something to read.
    pub(crate) fn register_reader(&self, waker: &Waker) {
        replace(&mut self.lock().reader, waker);
    }

    /// To be called by a writer before it looks whether there is room.
    pub(crate) fn register_writer(&self, key: usize, waker: &Waker) {
        if let Some(place) = self.lock().writers.get_mut(key) {
            replace(place, waker);
        }
    }

    /// Something arrived, or may be read.
    pub(crate) fn wake_reader(&self) {
        let reader = self.lock().reader.take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Room was made, a pong came, or the connection is over.
    pub(crate) fn wake_writers(&self) {
        let mut from = 0;
        // One at a time, so that no waker runs while the list is locked.
        while let Some((key, waker)) = self.next_writer(from) {
            waker.wake();
            from = key + 1;
        }
    }

    fn next_writer(&self, from: usize) -> Option<(usize, Waker)> {
        let mut waiting = self.lock();
        let places = waiting.writers.iter_mut().filter(|(key, _)| *key >= from);
        places.filter_map(|(key, place)| Some((key, place.take()?))).next()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        crate::sync::lock(&self.0)
    }
}

fn replace(place: &mut Option<Waker>, waker: &Waker) {
    match place {
        Some(known) => known.clone_from(waker),
        None => *place = Some(waker.clone()),
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
        self.0.wake_writers();
        self.0.wake_reader();
    }
}
