//! The one timer of a connection, re-armed lazily.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::task::unconstrained;
use tokio::time::Sleep;

/// Sleeps until a deadline that may move. A later deadline is noticed when the earlier one fires, so that activity costs
/// no timer operation; the timer itself is made when something first waits.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
}

/// The present, by the clock that the timers follow (which tests can pause).
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Timer {
    /// Ready when `deadline` has passed.
    pub(crate) fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = tokio::time::Instant::from_std(deadline);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if deadline < sleep.deadline() {
            sleep.as_mut().reset(deadline);
        }
        loop {
            // Not for the task's share of the runtime (tokio's coop budget): a peer that always has something to read uses
            // it up, and would keep the deadline from being seen.
            std::task::ready!(pin!(unconstrained(sleep.as_mut())).poll(cx));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}
