//! The tasks of a server: counted, waited for, ended.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slab::Slab;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// A set of running tasks, without their results.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    running: Mutex<Slab<Option<AbortHandle>>>,
    ended: Notify,
}

impl Tasks {
    /// Spawns the task that this makes. The task holds its place for as long as it lives.
    ///
    /// Called by one task at a time, so that a place cannot be taken anew before its handle stands in it.
    pub(crate) fn spawn<F>(&self, make: impl FnOnce(Place) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let key = self.lock().insert(None);
        let handle = tokio::spawn(make(Place { tasks: self.clone(), key }));
        if let Some(slot) = self.lock().get_mut(key) {
            *slot = Some(handle.abort_handle());
        }
    }

    /// Ready when fewer than `limit` tasks run. For one waiter.
    pub(crate) async fn fewer_than(&self, limit: usize) {
        while self.lock().len() >= limit {
            self.0.ended.notified().await;
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    pub(crate) fn abort_all(&self) {
        for (_, handle) in self.lock().iter() {
            if let Some(handle) = handle {
                handle.abort();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slab<Option<AbortHandle>>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task's place in the list, given back however the task ends.
pub(crate) struct Place {
    tasks: Tasks,
    key: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.tasks.lock().try_remove(self.key);
        self.tasks.0.ended.notify_one();
    }
}
