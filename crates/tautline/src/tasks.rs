//! The connections of a server and the tasks of their handlers: counted, awaited, aborted.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use slab::Slab;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::limits::{Gate, Key, Opening};
use crate::sync::{Mutex, MutexGuard, lock};
use crate::transport::Peer;

/// A set of places. Each is held by a connection, by the task of its handler, or by both, and is
/// free when both are gone: a handler may pass its connection on and return, or keep running after
/// the connection has ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// That of the first task.
    runtime: OnceLock<Handle>,
    taken: Mutex<Slab<Taken>>,
    freed: Notify,
    /// The tasks were aborted: no new one is started.
    over: AtomicBool,
    /// Whose limits the places count for.
    gate: Option<Arc<Gate>>,
}

#[derive(Debug, Default)]
struct Taken {
    holders: u8,
    handler: Option<AbortHandle>,
    /// What closes the connection that a handler left open.
    closer: Option<AbortHandle>,
    /// The client for which the connection counts at the gate.
    client: Option<Key>,
}

/// Which of a place's two tasks.
#[derive(Clone, Copy)]
enum Part {
    Handler,
    Closer,
}

impl Tasks {
    /// Places that count for the limits of this gate.
    pub(crate) fn with_gate(gate: Arc<Gate>) -> Self {
        Self(Arc::new(Shared { gate: Some(gate), ..Shared::default() }))
    }

    /// Lets in one more connection of a client that has one already, and logs if not.
    #[cfg(feature = "http2")]
    pub(crate) fn admit_another(&self, client: Option<Key>, peer: &Peer) -> bool {
        self.0.gate.as_ref().is_none_or(|gate| gate.admit_another(client, peer))
    }

    /// Lets in a client whose connection is that of a proxy.
    #[cfg(feature = "http2")]
    pub(crate) fn admit(&self, peer: &Peer) -> Option<Option<Key>> {
        self.0.gate.as_ref().map_or(Some(None), |gate| gate.admit_client(peer))
    }

    /// Releases a client that was let in when this is dropped: what counts for it beyond that has
    /// [taken over](Self::take_over).
    #[cfg(feature = "service")]
    pub(crate) fn release_later(&self, client: Option<Key>) -> Admitted {
        Admitted { tasks: self.clone(), client }
    }

    /// Counts a place for the client, who is about to give up another.
    pub(crate) fn take_over(&self, client: Option<Key>) {
        if let (Some(client), Some(gate)) = (client, &self.0.gate) {
            gate.take_over(client);
        }
    }

    fn release(&self, client: Option<Key>) {
        if let (Some(client), Some(gate)) = (client, &self.0.gate) {
            gate.release(client);
        }
    }

    /// Spawns the task that `make` returns for a new place, which the task may share. Within a
    /// runtime, as `tokio::spawn`. When the place is free again, the client is released at the
    /// gate, which has let it in.
    pub(crate) fn spawn<F>(&self, client: Option<Key>, make: impl FnOnce(Place) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let key = self.lock().insert(Taken { holders: 1, client, ..Taken::default() });
        let place = Place { tasks: self.clone(), key };
        // Until the task's handle is stored, the place must not become another's.
        let _held = place.share();
        self.run(key, Part::Handler, make(place));
    }

    fn run<F>(&self, key: usize, part: Part, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // A connection may be dropped outside of any runtime.
        let first = || self.0.runtime.get_or_init(Handle::current).clone();
        let runtime = Handle::try_current().unwrap_or_else(|_| first());
        self.0.runtime.get_or_init(|| runtime.clone());
        // Not within the lock: a runtime that is going down drops the task at once.
        let handle = runtime.spawn(task).abort_handle();
        if self.0.over.load(Ordering::SeqCst) {
            handle.abort();
        }
        if let Some(taken) = self.lock().get_mut(key) {
            match part {
                // It may have ended already, and the handler run elsewhere.
                Part::Handler if taken.handler.is_some() => {}
                Part::Handler => taken.handler = Some(handle),
                Part::Closer => taken.closer = Some(handle),
            }
        }
    }

    /// Waits until fewer than `limit` places are taken.
    pub(crate) async fn fewer_than(&self, limit: usize) {
        loop {
            let mut freed = pin!(self.0.freed.notified());
            // Before counting, or a place that becomes free in between would be missed.
            freed.as_mut().enable();
            if self.count() < limit {
                return;
            }
            freed.await;
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Aborts all tasks; those that run without awaiting go on until they await.
    pub(crate) fn abort_all(&self) {
        self.0.over.store(true, Ordering::SeqCst);
        for (_, taken) in self.lock().iter() {
            for handle in [&taken.handler, &taken.closer].into_iter().flatten() {
                handle.abort();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slab<Taken>> {
        lock(&self.0.taken)
    }
}

/// A client that counts at the gate without a place, until this is dropped.
#[cfg(feature = "service")]
#[derive(Debug)]
pub(crate) struct Admitted {
    tasks: Tasks,
    client: Option<Key>,
}

#[cfg(feature = "service")]
impl Drop for Admitted {
    fn drop(&mut self) {
        self.tasks.release(self.client);
    }
}

/// A place of [`Tasks`], or one of two shares in it; freed when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    tasks: Tasks,
    key: usize,
}

/// What tells a [`Place`] from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlaceId {
    tasks: usize,
    key: usize,
}

impl Place {
    /// The same place for one more holder.
    pub(crate) fn share(&self) -> Self {
        if let Some(taken) = self.tasks.lock().get_mut(self.key) {
            taken.holders += 1;
        }
        Self { tasks: self.tasks.clone(), key: self.key }
    }

    /// Counts the place for this client instead, and its handshake if that is in flight, if the gate
    /// lets it in.
    pub(crate) fn admit(
        &self,
        peer: &Peer,
        in_flight: Option<&mut Opening>,
    ) -> Option<Option<Key>> {
        let Some(gate) = &self.tasks.0.gate else { return Some(None) };
        let client = match in_flight {
            Some(opening) => gate.admit_opening(peer, opening)?,
            None => gate.admit_client(peer)?,
        };
        let before = match self.tasks.lock().get_mut(self.key) {
            Some(taken) => std::mem::replace(&mut taken.client, client),
            None => client,
        };
        if let Some(before) = before {
            gate.release(before);
        }
        Some(client)
    }

    /// Tells it from all other places that there are at the same time.
    pub(crate) fn id(&self) -> PlaceId {
        PlaceId { tasks: Arc::as_ptr(&self.tasks.0).addr(), key: self.key }
    }

    /// Whether tasks are aborted, and no new one is started.
    pub(crate) fn is_over(&self) -> bool {
        self.tasks.0.over.load(Ordering::SeqCst)
    }

    /// The handler runs in this task.
    pub(crate) fn keep_handler(&self, handle: AbortHandle) {
        if self.is_over() {
            handle.abort();
        }
        let replaced =
            self.tasks.lock().get_mut(self.key).and_then(|taken| taken.handler.replace(handle));
        drop(replaced);
    }

    /// The task that calls this has ended as the handler's: with all the memory of its future, it
    /// must not be kept for as long as somebody holds the connection.
    pub(crate) fn end_handler(&self) {
        let this = tokio::task::try_id();
        let handle = self.tasks.lock().get_mut(self.key).and_then(|taken| {
            taken.handler.take_if(|handler| this.is_none_or(|this| handler.id() == this))
        });
        // Outside the lock: it may be the last reference to the task.
        drop(handle);
    }

    /// Spawns the task that closes the connection of this place.
    pub(crate) fn spawn_closer<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.run(self.key, Part::Closer, task);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let gone = {
            let mut places = self.tasks.lock();
            match places.get_mut(self.key) {
                Some(taken) if taken.holders > 1 => {
                    taken.holders -= 1;
                    None
                }
                _ => places.try_remove(self.key),
            }
        };
        if let Some(gone) = gone {
            self.tasks.release(gone.client);
            self.tasks.0.freed.notify_waiters();
        }
    }
}
