//! What waits for a member that is too slow: by the policy of each subscription, and to its own limit.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Wake, Waker};

use tautline::CloseFrame;

use super::{FEEDS_OF_A_TURN, Fed, Seat, SeatWaker, State, Sub};
use crate::delivery::Delivery;
use crate::numbers::SubNumber;
use crate::outlet::Outgoing;
use crate::slow::{Pushed, Slow};

impl Seat {
    /// A publication waits, or goes, if it would wait at another one's cost and there is room.
    pub(super) fn wait(&mut self, sub: SubNumber, delivery: Delivery) {
        // A subscription that has ended has been fed or has waited before that.
        let Some(Some(Sub { slow, .. })) = self.subs.get(sub as usize) else { return };
        let slow = slow.clone();
        if !self.fits(sub, &delivery, &slow) {
            if self.has_room() && self.feed_in_time(&delivery) {
                return;
            }
            if self.is_leaving() {
                self.count_dropped(1);
                return;
            }
        }
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

    /// Whether it may be fed. The worker is told of a connection that has room again only when this round is over: until
    /// then, it is looked at here.
    fn has_room(&mut self) -> bool {
        let woken = |waker: &Arc<SeatWaker>| waker.woken.load(Ordering::Acquire);
        if matches!(self.state, State::Blocked) && self.waker.as_ref().is_some_and(woken) {
            self.state = State::Free;
        }
        matches!(self.state, State::Free)
    }

    fn fits(&self, sub: SubNumber, delivery: &Delivery, slow: &Slow) -> bool {
        match &self.behind {
            Some(behind) => behind.fits(sub, delivery, slow),
            None => delivery.size() <= slow.limit,
        }
    }

    /// Feeds all that waits, and this one, as far as there is room: of what comes at once, no more has been tried than
    /// the connection's queue takes. Returns whether this one has gone.
    fn feed_in_time(&mut self, delivery: &Delivery) -> bool {
        self.feed_up_to(u32::MAX);
        if !matches!(self.state, State::Free) {
            return false;
        }
        let waker = Waker::from(self.waker());
        match self.feed(&Outgoing::Delivery(delivery), &waker) {
            Fed::Yes => {
                self.member.counts.delivered.fetch_add(1, Ordering::Relaxed);
                self.fed = self.fed.saturating_add(1);
            }
            Fed::No => self.state = State::Blocked,
            Fed::Ended => self.state = State::Ended,
        }
        matches!(self.state, State::Free)
    }

    /// More waits for all subscriptions together than may, unless there is room for it.
    pub(super) fn check_limit(&mut self) {
        if self.waiting() > self.member.limit && self.has_room() {
            self.feed_up_to(u32::MAX);
        }
        let bytes = self.waiting();
        self.member.counts.waiting.store(bytes, Ordering::Relaxed);
        if bytes > self.member.limit && !self.is_leaving() {
            self.overrun(self.member.slow.close());
        }
    }

    fn waiting(&self) -> usize {
        self.behind.as_ref().map_or(0, |behind| behind.bytes())
    }

    fn overrun(&mut self, close: CloseFrame) {
        tracing::debug!(member = %self.id(), code = close.code().as_u16(), "a member was too slow");
        self.close(close);
    }

    /// Feeds what waits, in as far as there is room. If it is much, it goes on in the next round.
    pub(super) fn feed_behind(&mut self) {
        self.feed_up_to(FEEDS_OF_A_TURN);
    }

    fn feed_up_to(&mut self, most: u32) {
        let Some(mut behind) = self.behind.take() else { return };
        let mut turns = 0_u32;
        while matches!(self.state, State::Free) {
            let Some(outgoing) = behind.next() else { break };
            if turns == most {
                self.waker().wake_by_ref();
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
        self.fed = self.fed.saturating_add(turns);
        self.member.counts.waiting.store(behind.bytes(), Ordering::Relaxed);
        if self.has_ended() {
            self.count_dropped(behind.len() as u64);
        } else if !behind.is_empty() {
            self.behind = Some(behind);
        }
    }
}
