//! How a server tells its connections that it is shutting down.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use slab::Slab;
use tautline_frame::CloseCode;

use crate::sync::{Mutex, lock};

/// One signal for many connections, which are told one after the other or all at once. Without a
/// shutdown, a connection pays for one atomic load per poll.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shutdown(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Connections with a key below this have been told.
    told: AtomicUsize,
    /// What they are closed with; 0 until it is set.
    code: AtomicU16,
    /// Those that have not been told. Keys that have been told are not used again.
    waiting: Mutex<Slab<Waker>>,
}

/// Of [`Shared::told`]: also those that are not in the list yet.
const ALL: usize = usize::MAX;

impl Shutdown {
    /// A signal for one connection to watch.
    pub(crate) fn signal(&self) -> ShutdownSignal {
        ShutdownSignal { shutdown: self.clone(), registered: None }
    }

    /// What connections are closed with that are told from now on. Default: 1001.
    pub(crate) fn set_code(&self, code: CloseCode) {
        self.0.code.store(code.as_u16(), Ordering::SeqCst);
    }

    /// Tells every connection that watches; later ones find that they have been told.
    pub(crate) fn fire(&self) {
        let waiting = {
            let mut waiting = lock(&self.0.waiting);
            self.0.told.store(ALL, Ordering::SeqCst);
            std::mem::take(&mut *waiting)
        };
        for (_, waker) in waiting {
            waker.wake();
        }
    }

    /// How many there are to be told, as [`tell`](Self::tell) counts them.
    pub(crate) fn count(&self) -> usize {
        lock(&self.0.waiting).iter().next_back().map_or(0, |(key, _)| key + 1)
    }

    /// Tells the first so many of them.
    pub(crate) fn tell(&self, first: usize) {
        let told: Vec<_> = {
            let mut waiting = lock(&self.0.waiting);
            // Only changed within the lock.
            let before = self.0.told.load(Ordering::SeqCst);
            self.0.told.store(before.max(first), Ordering::SeqCst);
            (before..first).filter_map(|key| waiting.try_remove(key)).collect()
        };
        // Outside the lock: a waker may own a task, and with it another signal.
        for waker in told {
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

    /// What to close with.
    pub(crate) fn code(&self) -> CloseCode {
        let code = self.shutdown.0.code.load(Ordering::SeqCst);
        CloseCode::new(code).unwrap_or(CloseCode::GOING_AWAY)
    }

    /// Whether this connection is to close; if not, `waker` is woken when it is.
    #[inline]
    pub(crate) fn poll(&mut self, waker: &Waker) -> bool {
        let told = self.shutdown.0.told.load(Ordering::SeqCst);
        match &self.registered {
            Some((key, known)) if *key >= told && known.will_wake(waker) => false,
            _ => self.register(waker, told),
        }
    }

    #[inline(never)]
    fn register(&mut self, waker: &Waker, told: usize) -> bool {
        if self.registered.as_ref().map_or(told == ALL, |(key, _)| *key < told) {
            return true;
        }
        let mut waiting = lock(&self.shutdown.0.waiting);
        let told = self.shutdown.0.told.load(Ordering::SeqCst);
        let key = self.registered.as_ref().map_or_else(|| waiting.vacant_key(), |(key, _)| *key);
        if key < told {
            return true;
        }
        let replaced = match waiting.get_mut(key) {
            Some(known) => Some(std::mem::replace(known, waker.clone())),
            None => {
                waiting.insert(waker.clone());
                None
            }
        };
        drop(waiting);
        // Outside the lock, as above.
        drop(replaced);
        self.registered = Some((key, waker.clone()));
        false
    }
}

impl Drop for ShutdownSignal {
    fn drop(&mut self) {
        if let Some((key, _)) = self.registered.take() {
            // Not there if it was told.
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
    fn those_who_are_told_first_are_those_who_watch_longest() {
        let shutdown = Shutdown::default();
        shutdown.set_code(CloseCode::SERVICE_RESTART);
        let mut signals: Vec<_> = (0..4).map(|_| shutdown.signal()).collect();
        for signal in &mut signals {
            assert!(!signal.poll(Waker::noop()));
        }
        let mut told = |first| {
            shutdown.tell(first);
            signals.iter_mut().map(|signal| signal.poll(Waker::noop())).collect::<Vec<_>>()
        };
        assert_eq!(shutdown.count(), 4);
        assert_eq!(told(2), [true, true, false, false]);
        assert_eq!(told(1), [true, true, false, false]);
        // One that comes meanwhile in a place of those who were told is told at once, and does not
        // stay in the list; the next one waits.
        for _ in 0..3 {
            let mut new = shutdown.signal();
            assert!(new.poll(Waker::noop()));
            assert_eq!(new.code(), CloseCode::SERVICE_RESTART);
        }
        assert_eq!(told(3), [true, true, true, false]);
        assert_eq!(shutdown.count(), 4);
        shutdown.fire();
        assert!(told(0).iter().all(|told| *told));
        assert_eq!(shutdown.count(), 0);
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
