//! Opening handshakes take turns, so that a burst of them does not delay the open connections of
//! its thread.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use tokio::sync::{Notify, Semaphore};

/// How many steps of handshakes a server takes before everything else gets a turn.
///
/// A step of TLS is 0.1 ms of computing or more, and clients can cause any number of them at once.
/// The runtime's own fairness is between tasks and does not help: thousands of handshakes would all
/// run before a connection does. Here each step needs a permit, and new ones are added only after a
/// round of the runtime. Accepting needs one too, in the same queue, so that it does not outpace
/// the handshakes.
#[derive(Debug)]
pub(super) struct Turns {
    permits: Semaphore,
    used_up: Notify,
    size: usize,
}

/// A turn that is no longer than accepting a connection, or reading a request.
pub(super) const SHORT: u32 = 1;

/// How much longer a step of TLS takes: some 0.12 ms, with a key of ECDSA.
#[cfg(feature = "tls")]
const TLS: u32 = 8;

/// The weight of a step of TLS on a runtime of so many threads, which take those of one round at the
/// same time.
#[cfg(feature = "tls")]
pub(super) fn tls_weight(threads: usize) -> u32 {
    (TLS / u32::try_from(threads.max(1)).unwrap_or(u32::MAX)).max(SHORT)
}

impl Turns {
    pub(super) fn new(size: usize) -> Self {
        let size = size.clamp(1, Semaphore::MAX_PERMITS);
        Self { permits: Semaphore::new(size), used_up: Notify::new(), size }
    }

    /// Waits for a turn, which ends when the caller next waits. It takes the place of so many short
    /// ones, or of all.
    pub(super) async fn take(&self, weight: u32) {
        let weight = weight.min(u32::try_from(self.size).unwrap_or(u32::MAX));
        let permit = match self.permits.try_acquire_many(weight) {
            Ok(permit) => permit,
            Err(_) => {
                let mut waiting = pin!(self.permits.acquire_many(weight));
                let permit = poll_fn(|cx| {
                    let polled = waiting.as_mut().poll(cx);
                    if polled.is_pending() {
                        // Only now that it waits: new turns go to those that do.
                        self.used_up.notify_one();
                    }
                    polled
                });
                // Closed: turns are no longer handed out, and not needed.
                let Ok(permit) = permit.await else { return };
                permit
            }
        };
        permit.forget();
    }

    /// Does this work, with one turn of this weight for each poll.
    pub(super) async fn of<F: Future>(&self, weight: u32, mut work: Pin<&mut F>) -> F::Output {
        loop {
            self.take(weight).await;
            let mut polled = false;
            let step = poll_fn(|cx| {
                if std::mem::replace(&mut polled, true) {
                    // Woken: there is more to do, which takes another turn.
                    return Poll::Ready(None);
                }
                work.as_mut().poll(cx).map(Some)
            });
            if let Some(output) = step.await {
                return output;
            }
        }
    }

    /// Hands out new turns one round of the runtime after the last ones were taken, for as long as
    /// it is polled.
    pub(super) async fn hand_out(&self) {
        loop {
            if self.permits.available_permits() > 0 {
                self.used_up.notified().await;
            }
            // None are left: others may be waiting, and one of them notified this task.
            tokio::task::yield_now().await;
            let left = self.permits.available_permits();
            self.permits.add_permits(self.size.saturating_sub(left));
        }
    }

    /// From now on no handshake waits for a turn.
    pub(super) fn end(&self) {
        self.permits.close();
    }
}

/// [Ends](Turns::end) the turns when it is dropped.
pub(super) struct EndOfTurns<'a>(pub(super) &'a Turns);

impl Drop for EndOfTurns<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};
    use std::task::{Context, Wake, Waker};

    use super::*;

    /// How many steps of a hundred works are taken at most between two turns of another task, with
    /// four turns for each round.
    async fn most_between(weight: u32) -> usize {
        let turns = Arc::new(Turns::new(4));
        let steps = Arc::new(AtomicUsize::new(0));
        let ended = Arc::new(AtomicUsize::new(0));
        for _ in 0..100 {
            let (turns, steps, ended) = (turns.clone(), steps.clone(), ended.clone());
            tokio::spawn(async move {
                let work = pin!(async {
                    for _ in 0..3 {
                        steps.fetch_add(1, Ordering::SeqCst);
                        tokio::task::yield_now().await;
                    }
                });
                turns.of(weight, work).await;
                ended.fetch_add(1, Ordering::SeqCst);
            });
        }
        let other = async {
            let (mut before, mut most) = (0, 0);
            while ended.load(Ordering::SeqCst) < 100 {
                tokio::task::yield_now().await;
                let now = steps.load(Ordering::SeqCst);
                most = most.max(now - before);
                before = now;
            }
            most
        };
        let most = tokio::select! {
            () = turns.hand_out() => 0,
            most = other => most,
        };
        assert_eq!(steps.load(Ordering::SeqCst), 300);
        most
    }

    // 3,800 handshakes of clients that replayed a ClientHello were all worked on in one round, for
    // 330 ms, in which no open connection was.
    #[tokio::test]
    async fn no_more_steps_than_turns_are_taken_before_others_run() {
        let most = most_between(SHORT).await;
        assert!((1..=8).contains(&most), "{most} steps between two turns of another task");
    }

    // Sixteen steps of TLS were a round, as sixteen of accepting: messages beside a storm of TLS
    // handshakes took 2.2 ms instead of 0.2 ms (p99).
    #[tokio::test]
    async fn a_heavy_step_takes_the_place_of_several() {
        let most = most_between(2).await;
        assert!((1..=4).contains(&most), "{most} steps between two turns of another task");
        let most = most_between(100).await;
        assert!((1..=2).contains(&most), "{most} steps between two turns of another task");
    }

    #[cfg(feature = "tls")]
    #[test]
    fn threads_share_the_weight_of_tls() {
        assert_eq!([0, 1, 2, 4, 8, 64].map(tls_weight), [8, 8, 4, 2, 1, 1]);
    }

    #[tokio::test]
    async fn without_anybody_who_hands_out_turns_all_go_on() {
        let turns = Turns::new(1);
        turns.take(SHORT).await;
        turns.end();
        assert_eq!(turns.of(SHORT, pin!(async { 7 })).await, 7);
    }

    /// Another thread that runs in the very moment in which it is woken: it hands out turns, and takes
    /// all that nobody waits for.
    struct OtherThread {
        turns: Arc<Turns>,
        handing_out: Mutex<Pin<Box<dyn Future<Output = ()> + Send>>>,
    }

    impl Wake for OtherThread {
        fn wake(self: Arc<Self>) {
            // It wakes itself, too.
            let Ok(mut handing_out) = self.handing_out.try_lock() else { return };
            let waker = Waker::from(self.clone());
            for _ in 0..3 {
                let _ = handing_out.as_mut().poll(&mut Context::from_waker(&waker));
            }
            while let Ok(permit) = self.turns.permits.try_acquire() {
                permit.forget();
            }
        }
    }

    // On a runtime of two threads, one handshake was never opened in 5 of 1,500 bursts of 64. It had
    // said that no turn was left before it waited for one; those that were handed out in between went
    // to others, and nobody said so again.
    #[test]
    fn who_waits_for_a_turn_is_seen_to_wait() {
        let turns = Arc::new(Turns::new(1));
        let handing_out = turns.clone();
        let handing_out = Mutex::new(Box::pin(async move { handing_out.hand_out().await }) as _);
        let other = Arc::new(OtherThread { turns: turns.clone(), handing_out });
        other.wake();
        let mut waiting = pin!(turns.take(SHORT));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut cx).is_pending(), "the other has taken the only one");
        assert!(waiting.as_mut().poll(&mut cx).is_ready());
    }
}
