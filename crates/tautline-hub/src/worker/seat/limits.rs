//! What waits for a member that is too slow: by the policy of each subscription, and to its own limit.

use std::sync::atomic::Ordering;
use std::task::{Wake, Waker};

use tautline::CloseFrame;

use super::{FEEDS_OF_A_TURN, Fed, Seat, State, Sub};
use crate::delivery::Delivery;
use crate::numbers::SubNumber;
use crate::outlet::Outgoing;
use crate::slow::Pushed;

impl Seat {
    /// A publication waits.
    pub(super) fn wait(&mut self, sub: SubNumber, delivery: Delivery) {
        // A subscription that has ended has been fed or has waited before that.
        let Some(Some(Sub { slow, .. })) = self.subs.get(sub as usize) else { return };
        let slow = slow.clone();
        match self.behind_mut().push(sub, delivery, &slow) {
            Pushed::Waits { dropped, replaced } => {
                self.count_dropped(dropped);
                self.member.counts.replaced.fetch_add(replaced, Ordering::Relaxed);
                self.check_limit();
            }
            Pushed::Overrun => {
                self.count_dropped(1);
                self.overrun(slow.close());
            }
        }
    }

    /// More waits for all subscriptions together than may.
    pub(super) fn check_limit(&mut self) {
        let bytes = self.behind.as_ref().map_or(0, |behind| behind.bytes());
        self.member.counts.waiting.store(bytes, Ordering::Relaxed);
        if bytes > self.member.limit {
            self.overrun(self.member.slow.close());
        }
    }

    fn overrun(&mut self, close: CloseFrame) {
        tracing::debug!(member = %self.id(), code = close.code().as_u16(), "a member was too slow");
        self.close(close);
    }

    /// Feeds what waits, in as far as there is room.
    pub(super) fn feed_behind(&mut self) {
        let Some(mut behind) = self.behind.take() else { return };
        let mut turns = 0;
        while matches!(self.state, State::Free) {
            let Some(outgoing) = behind.next() else { break };
            if turns == FEEDS_OF_A_TURN {
                // It goes on in the next round.
                self.waker().wake_by_ref();
                self.state = State::Blocked;
                break;
            }
            turns += 1;
            let deliveries = u64::from(matches!(outgoing, Outgoing::Delivery(_)));
            let waker = Waker::from(self.waker());
            match self.feed(&outgoing, &waker) {
                Fed::Yes => {
                    self.member.counts.delivered.fetch_add(deliveries, Ordering::Relaxed);
                    if let Some(sub) = behind.gone()
                        && !matches!(self.subs.get(sub as usize), Some(Some(_)))
                    {
                        self.member.give_back(sub);
                    }
                }
                Fed::No => self.state = State::Blocked,
                Fed::Ended => self.state = State::Ended,
            }
        }
        self.member.counts.waiting.store(behind.bytes(), Ordering::Relaxed);
        if self.has_ended() {
            self.count_dropped(behind.len() as u64);
        } else if !behind.is_empty() {
            self.behind = Some(behind);
        }
    }
}
