//! Opening handshakes take turns, so that a burst of them does not delay the open connections of
//! its thread.

use std::future::{Future, poll_fn};
use std::pin::Pin;
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

impl Turns {
    pub(super) fn new(size: usize) -> Self {
        let size = size.clamp(1, Semaphore::MAX_PERMITS);
        Self { permits: Semaphore::new(size), used_up: Notify::new(), size }
    }

    /// Waits for a turn, which ends when the caller next waits.
    pub(super) async fn take(&self) {
        let permit = match self.permits.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                self.used_up.notify_one();
                // Closed: turns are no longer handed out, and not needed.
                let Ok(permit) = self.permits.acquire().await else { return };
                permit
            }
        };
        permit.forget();
    }

    /// Does this work, with one turn for each poll.
    pub(super) async fn of<F: Future>(&self, mut work: Pin<&mut F>) -> F::Output {
        loop {
            self.take().await;
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
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    // 3,800 handshakes of clients that replayed a ClientHello were all worked on in one round, for
    // 330 ms, in which no open connection was.
    #[tokio::test]
    async fn no_more_steps_than_turns_are_taken_before_others_run() {
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
                turns.of(work).await;
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
        assert!((1..=8).contains(&most), "{most} steps between two turns of another task");
        assert_eq!(steps.load(Ordering::SeqCst), 300);
    }

    #[tokio::test]
    async fn without_anybody_who_hands_out_turns_all_go_on() {
        let turns = Turns::new(1);
        turns.take().await;
        turns.end();
        assert_eq!(turns.of(pin!(async { 7 })).await, 7);
    }
}
