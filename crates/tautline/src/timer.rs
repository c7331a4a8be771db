//! The one timer of a connection, re-armed lazily.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::task::unconstrained;
use tokio::time::Sleep;

/// Sleeps until a deadline that may move. A later deadline is noticed when the earlier one fires,
/// so that activity costs no timer operation; the timer itself is made when something first waits.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whom it wakes, once it was found waiting.
    armed: Option<Waker>,
}

/// The present, by the clock that the timers follow (which tests can pause).
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Timer {
    /// Fires when this does, and only then at the deadline that is asked for, if that is later.
    pub(crate) const fn first(sleep: Pin<Box<Sleep>>) -> Self {
        Self { sleep: Some(sleep), armed: None }
    }

    /// Ready when `deadline` has passed; otherwise `waker` is woken by then.
    #[inline]
    pub(crate) fn poll(&mut self, deadline: Instant, waker: &Waker) -> Poll<()> {
        let deadline = tokio::time::Instant::from_std(deadline);
        if let (Some(sleep), Some(armed)) = (&self.sleep, &self.armed)
            && deadline >= sleep.deadline()
            && armed.will_wake(waker)
            && !sleep.is_elapsed()
        {
            // It knows whom to wake, and asking costs more than all else in a wake-up. Should it
            // fire right now, it wakes.
            return Poll::Pending;
        }
        self.poll_sleep(deadline, waker)
    }

    #[inline(never)]
    fn poll_sleep(&mut self, deadline: tokio::time::Instant, waker: &Waker) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if deadline < sleep.deadline() {
            sleep.as_mut().reset(deadline);
        }
        loop {
            // Not for the task's share of the runtime (tokio's coop budget): a peer that always has
            // something to read uses it up, and would keep the deadline from being seen.
            let mut cx = Context::from_waker(waker);
            if pin!(unconstrained(sleep.as_mut())).poll(&mut cx).is_pending() {
                self.armed = Some(waker.clone());
                return Poll::Pending;
            }
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::time::Duration;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    // A timer that waits is not asked again for the same task: another task and an earlier deadline
    // must get through.
    #[tokio::test(start_paused = true)]
    async fn the_newest_task_is_woken_at_the_earliest_deadline_and_no_other_is() {
        let (first, second) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let (one, two) = (Waker::from(first.clone()), Waker::from(second.clone()));
        let woken = || (first.0.load(Ordering::SeqCst), second.0.load(Ordering::SeqCst));
        let start = now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut timer = Timer::default();
        assert!(timer.poll(at(10), &one).is_pending());
        assert!(timer.poll(at(10), &one).is_pending());
        assert!(timer.poll(at(20), &two).is_pending());
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(woken(), (0, 1), "it fires at the first deadline, for the last task");
        assert!(timer.poll(at(20), &two).is_pending(), "and goes on to the later one");
        assert!(timer.poll(at(15), &two).is_pending());
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(woken(), (0, 2), "an earlier deadline is heeded");
        assert!(timer.poll(at(15), &two).is_ready());
        assert!(timer.poll(at(15), &one).is_ready());
    }
}
