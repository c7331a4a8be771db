//! How a server tells its connections that it is shutting down.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use slab::Slab;

use crate::sync::{Mutex, lock};

/// One signal for many connections. Without a shutdown, a connection pays for one atomic load per
/// poll.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shutdown(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    fired: AtomicBool,
    waiting: Mutex<Slab<Waker>>,
}

impl Shutdown {
    /// A signal for one connection to watch.
    pub(crate) fn signal(&self) -> ShutdownSignal {
        ShutdownSignal { shutdown: self.clone(), registered: None }
    }

    /// Wakes every connection that watches; later ones find that it has fired.
    pub(crate) fn fire(&self) {
        self.0.fired.store(true, Ordering::SeqCst);
        let waiting = std::mem::take(&mut *lock(&self.0.waiting));
        for (_, waker) in waiting {
            waker.wake();
        }
    }
}

/// One connection's view of a [`Shutdown`].
#[derive(Debug)]
pub(crate) struct ShutdownSignal {
    shutdown: Shutdown,
    /// The key in the list, and the waker that is stored there.
    registered: Option<(usize, Waker)>,
}

impl ShutdownSignal {
    /// Completes when the server shuts down.
    pub(crate) async fn fired(&mut self) {
        let poll = |cx: &mut Context<'_>| {
            if self.poll(cx.waker()) { Poll::Ready(()) } else { Poll::Pending }
        };
        poll_fn(poll).await;
    }

    /// Whether the server is shutting down; if not, `waker` is woken when it does.
    pub(crate) fn poll(&mut self, waker: &Waker) -> bool {
        if self.shutdown.0.fired.load(Ordering::SeqCst) {
            return true;
        }
        if let Some((_, known)) = &self.registered
            && known.will_wake(waker)
        {
            return false;
        }
        let mut waiting = lock(&self.shutdown.0.waiting);
        if self.shutdown.0.fired.load(Ordering::SeqCst) {
            return true;
        }
        let (key, replaced) = match &self.registered {
            Some((key, _)) => (*key, Some(std::mem::replace(&mut waiting[*key], waker.clone()))),
            None => (waiting.insert(waker.clone()), None),
        };
        drop(waiting);
        // Outside the lock: a waker may own a task, and with it another signal.
        drop(replaced);
        self.registered = Some((key, waker.clone()));
        false
    }
}

impl Drop for ShutdownSignal {
    fn drop(&mut self) {
        if let Some((key, _)) = self.registered.take() {
            // The list is empty once the signal has fired.
            let removed = { lock(&self.shutdown.0.waiting).try_remove(key) };
            // Outside the lock, as above.
            drop(removed);
        }
    }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn those_who_watch_are_woken_once_and_those_who_left_are_not() {
        let shutdown = Shutdown::default();
        let counts: Vec<_> = (0..3).map(|_| Arc::new(Count(AtomicUsize::new(0)))).collect();
        let mut signals: Vec<_> = counts
            .iter()
            .map(|count| {
                let mut signal = shutdown.signal();
                assert!(!signal.poll(&Waker::from(count.clone())));
                signal
            })
            .collect();
        drop(signals.remove(1));
        shutdown.fire();
        assert!(signals.iter_mut().all(|signal| signal.poll(Waker::noop())));
        assert!(shutdown.signal().poll(Waker::noop()));
        let woken: Vec<_> = counts.iter().map(|count| count.0.load(Ordering::SeqCst)).collect();
        assert_eq!(woken, [1, 0, 1]);
        assert!(lock(&shutdown.0.waiting).is_empty());
    }

    #[test]
    fn a_waker_that_changes_replaces_the_old_one() {
        let shutdown = Shutdown::default();
        let (first, second) =
            (Arc::new(Count(AtomicUsize::new(0))), Arc::new(Count(AtomicUsize::new(0))));
        let mut signal = shutdown.signal();
        signal.poll(&Waker::from(first.clone()));
        signal.poll(&Waker::from(second.clone()));
        assert_eq!(lock(&shutdown.0.waiting).len(), 1);
        shutdown.fire();
        assert_eq!(first.0.load(Ordering::SeqCst), 0);
        assert_eq!(second.0.load(Ordering::SeqCst), 1);
    }
}
