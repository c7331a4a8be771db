//! A member with its worker: what has come for it, and how it is written.

mod limits;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};

use tautline::{CloseFrame, Prefetch};

use super::behind::{Behind, Event};
use crate::delivery::Delivery;
use crate::id::MemberId;
use crate::inbox::Inbox;
use crate::inbox::member::Shared;
use crate::log::GapReason;
use crate::numbers::{SeatNumber, SubNumber};
use crate::outlet::{Deliveries, Ended, Outgoing, Outlet, Sent, feed_each};
use crate::slow::Slow;
use crate::subscribe::Start;
use crate::sync::lock;
use crate::topic::{Filter, Topic};

/// How much of what waits is fed to a connection before others get a turn, unless some of it would be given up.
const FEEDS_OF_A_TURN: u32 = 256;
/// Room for how much of a round a member keeps: 8 bytes each.
const NOTED_KEPT: usize = 8;

/// A member.
pub(super) struct Seat {
    member: Arc<Shared>,
    /// What of its connection is fetched ahead of its turn.
    ahead: Option<Prefetch>,
    subs: Vec<Option<Sub>>,
    /// What of this round is for it, and by which subscription.
    noted: Vec<(u32, SubNumber)>,
    state: State,
    marked: bool,
    /// How many were fed one by one since others had a turn.
    fed: u32,
    behind: Option<Box<Behind>>,
    waker: Option<Arc<SeatWaker>>,
}

/// A subscription.
pub(super) struct Sub {
    pub(super) target: u64,
    /// Its place among the subscribers of the target.
    pub(super) place: u32,
    pub(super) slow: Arc<Slow>,
    /// It wants to know who joins and leaves.
    pub(super) watches: bool,
}

#[derive(Debug)]
enum State {
    /// What comes is fed at once.
    Free,
    /// What was fed is being written, or there is no room; its waker is registered.
    Blocked,
    /// It is being closed; its waker is registered.
    Closing(CloseFrame),
    Ended,
}

/// Wakes the worker for one member.
struct SeatWaker {
    inbox: Weak<Inbox>,
    seat: SeatNumber,
    /// It is in the list already.
    woken: AtomicBool,
}

impl Wake for SeatWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::AcqRel)
            && let Some(inbox) = self.inbox.upgrade()
        {
            inbox.ready(self.seat);
        }
    }
}

impl Seat {
    pub(super) fn new(member: Arc<Shared>) -> Self {
        let ahead = lock(&member.outlet).with(|out| out.prefetch());
        let state = if ahead.is_some() { State::Free } else { State::Ended };
        Self {
            member,
            ahead: ahead.flatten(),
            subs: Vec::new(),
            noted: Vec::new(),
            state,
            marked: false,
            fed: 0,
            behind: None,
            waker: None,
        }
    }

    pub(super) fn id(&self) -> MemberId {
        self.member.id
    }

    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.member
    }

    /// Has the processor fetch what is needed to write to it, without waiting: while one member's is on its
    /// way, that of others can be, too.
    #[inline]
    pub(super) fn fetch(&self) {
        self.member.fetch();
        if let Some(ahead) = &self.ahead {
            ahead.fetch();
        }
    }

    /// Whether others are to have a turn now: with much that came at once, and room for it, it took long.
    #[inline]
    pub(super) const fn ends_turn(&mut self) -> bool {
        std::mem::replace(&mut self.fed, 0) > FEEDS_OF_A_TURN
    }

    pub(super) const fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Notes down one of this round. Returns whether it has to be written to, which it had not before.
    #[inline]
    pub(super) fn note(&mut self, item: u32, sub: SubNumber) -> bool {
        self.noted.push((item, sub));
        !std::mem::replace(&mut self.marked, true)
    }

    /// It has to be written to. Returns whether it had not before.
    pub(super) const fn mark(&mut self) -> bool {
        !std::mem::replace(&mut self.marked, true)
    }

    pub(super) fn join(&mut self, sub: SubNumber, joining: Sub) {
        // Turns that the former one with this number has left would be ahead of the start of this one.
        if let Some(behind) = &mut self.behind {
            behind.forget(sub);
        }
        let index = sub as usize;
        if self.subs.len() <= index {
            self.subs.resize_with(index + 1, || None);
        }
        self.subs[index] = Some(joining);
    }

    /// It is told where a subscription starts, and gets what it recovered.
    pub(super) fn start(
        &mut self,
        round: &[Delivery],
        sub: SubNumber,
        (filter, start, tag): (&Filter, Start, u64),
        recovered: Vec<Delivery>,
    ) {
        let Some(at_once) = self.ask(|out| out.takes_recovered()) else { return };
        let with = if at_once { &recovered[..] } else { &[] };
        let started = Outgoing::Started { filter, start: &start, recovered: with, tag };
        self.send(round, &started);
        self.member.counts.delivered.fetch_add(with.len() as u64, Ordering::Relaxed);
        if !at_once && !recovered.is_empty() && !self.is_leaving() {
            self.behind_mut().recover(sub, recovered);
        }
    }

    /// Something that is not a publication, behind what was noted down so far.
    pub(super) fn send(&mut self, round: &[Delivery], outgoing: &Outgoing<'_>) {
        if self.is_leaving() {
            return;
        }
        // What came first goes first.
        self.feed_noted(round);
        if matches!(self.state, State::Free) && self.behind.is_none() {
            match self.feed(outgoing, Waker::noop()) {
                Fed::Yes => return,
                Fed::Ended => self.state = State::Ended,
                Fed::No => {}
            }
        }
        if let Some(event) = Event::of(outgoing)
            && !self.is_leaving()
        {
            self.behind_mut().event(event);
            self.check_limit();
        }
    }

    const fn is_leaving(&self) -> bool {
        matches!(self.state, State::Closing(_) | State::Ended)
    }

    fn behind_mut(&mut self) -> &mut Behind {
        self.behind.get_or_insert_default()
    }

    /// Ends a subscription. What came for it before is still written, unless it is revoked.
    pub(super) fn leave(
        &mut self,
        round: &[Delivery],
        sub: SubNumber,
        revoked: bool,
    ) -> Option<Sub> {
        self.feed_noted(round);
        let left = self.subs.get_mut(sub as usize)?.take()?;
        if revoked {
            self.drop_waiting(sub);
        }
        if !self.behind.as_ref().is_some_and(|behind| behind.has(sub)) {
            self.member.give_back(sub);
        }
        Some(left)
    }

    /// Something of a subscription is missing here. What waits is dropped: it is known to be incomplete.
    pub(super) fn gap(
        &mut self,
        round: &[Delivery],
        sub: SubNumber,
        topic: &Topic,
        reason: GapReason,
    ) {
        self.feed_noted(round);
        self.drop_waiting(sub);
        let Some(close) = self.ask(|out| out.close_at_gap()) else { return };
        match close {
            Some(close) => self.close(close),
            None => self.send(round, &Outgoing::Gap(topic, reason)),
        }
    }

    fn drop_waiting(&mut self, sub: SubNumber) {
        let dropped = self.behind.as_mut().map_or(0, |behind| behind.forget(sub));
        self.count_dropped(dropped as u64);
    }

    fn count_dropped(&self, dropped: u64) {
        self.member.counts.dropped.fetch_add(dropped, Ordering::Relaxed);
    }

    pub(super) fn watches(&self, sub: SubNumber) -> bool {
        matches!(self.subs.get(sub as usize), Some(Some(Sub { watches: true, .. })))
    }

    /// Its place among the subscribers of the target is another one now.
    pub(super) fn moved(&mut self, sub: SubNumber, place: u32) {
        if let Some(Some(sub)) = self.subs.get_mut(sub as usize) {
            sub.place = place;
        }
    }

    /// All subscriptions, which it has no more.
    pub(super) fn leave_all(&mut self) -> Vec<Sub> {
        std::mem::take(&mut self.subs).into_iter().flatten().collect()
    }

    /// Its connection has room again.
    pub(super) fn woken(&mut self) {
        if let Some(waker) = &self.waker {
            waker.woken.store(false, Ordering::Release);
        }
        if matches!(self.state, State::Blocked) {
            self.state = State::Free;
        }
    }

    pub(super) fn close(&mut self, frame: CloseFrame) {
        if !self.is_leaving() {
            self.drop_everything();
            self.state = State::Closing(frame);
        }
    }

    /// It is gone.
    pub(super) fn end(&mut self) {
        if !self.has_ended() {
            self.drop_everything();
            self.state = State::Ended;
            lock(&self.member.outlet).end();
        }
    }

    fn drop_everything(&mut self) {
        let waiting = self.behind.take().map_or(0, |behind| behind.len());
        self.count_dropped((waiting + self.noted.len()) as u64);
        self.noted = Vec::new();
        self.member.counts.waiting.store(0, Ordering::Relaxed);
    }

    /// Sends what was noted down, in as far as there is room.
    pub(super) fn write(&mut self, round: &[Delivery]) {
        self.marked = false;
        let mut noted = std::mem::take(&mut self.noted);
        let sent = match noted.is_empty() {
            false => self.try_send(Deliveries::noted(round, &noted)),
            true => Sent::default(),
        };
        self.keep(&noted[sent.taken.min(noted.len())..], round);
        noted.clear();
        // What a burst has left.
        noted.shrink_to(NOTED_KEPT);
        self.noted = noted;
        self.finish(sent.flushed);
    }

    /// Sends all of these, for one subscription, in as far as there is room. Nothing was noted down.
    #[inline]
    pub(super) fn pass(&mut self, deliveries: &[Delivery], sub: SubNumber) {
        let sent = self.try_send(Deliveries::all(deliveries));
        for delivery in deliveries.iter().skip(sent.taken) {
            self.keep_one(sub, delivery);
        }
        self.finish(sent.flushed);
    }

    /// Sends these, unless others wait that come first.
    #[inline]
    fn try_send(&mut self, deliveries: Deliveries<'_>) -> Sent {
        if !matches!(self.state, State::Free) || self.behind.is_some() {
            return Sent::default();
        }
        match lock(&self.member.outlet).with(|out| out.try_send(deliveries)) {
            Some(Ok(sent)) => {
                let delivered = &self.member.counts.delivered;
                delivered.fetch_add(sent.taken as u64, Ordering::Relaxed);
                sent
            }
            Some(Err(Ended)) | None => {
                self.state = State::Ended;
                Sent::default()
            }
        }
    }

    /// Goes on with what waits, writes, and looks for the end.
    #[inline]
    fn finish(&mut self, flushed: bool) {
        let all = flushed && self.behind.is_none() && self.fed == 0;
        if all && matches!(self.state, State::Free) {
            return;
        }
        self.feed_behind();
        match &self.state {
            // It goes on in the next round.
            State::Free if self.behind.is_some() => {}
            State::Free => self.flush(),
            State::Closing(frame) => self.poll_close(&frame.clone()),
            State::Ended => lock(&self.member.outlet).end(),
            State::Blocked => {}
        }
    }

    /// What was noted down leaves, or waits by the rule of its subscription.
    fn feed_noted(&mut self, round: &[Delivery]) {
        let mut noted = std::mem::take(&mut self.noted);
        let mut fed = 0;
        if matches!(self.state, State::Free) && self.behind.is_none() {
            fed = self.feed_from(&noted, round);
        }
        self.keep(&noted[fed..], round);
        noted.clear();
        self.noted = noted;
    }

    /// These wait, or are dropped.
    fn keep(&mut self, noted: &[(u32, SubNumber)], round: &[Delivery]) {
        for (item, sub) in noted {
            if let Some(delivery) = round.get(*item as usize) {
                self.keep_one(*sub, delivery);
            }
        }
    }

    fn keep_one(&mut self, sub: SubNumber, delivery: &Delivery) {
        match self.is_leaving() {
            true => self.count_dropped(1),
            false => self.wait(sub, delivery.clone()),
        }
    }

    /// Feeds these until there is no room. Returns how many have left.
    fn feed_from(&mut self, noted: &[(u32, SubNumber)], round: &[Delivery]) -> usize {
        if noted.is_empty() {
            return 0;
        }
        // What is not fed waits with what else comes, and is when it has been asked for room with a waker.
        let feed = |out: &mut dyn Outlet, cx: &mut Context<'_>| {
            feed_each(out, Deliveries::noted(round, noted), cx)
        };
        let Some(Ok(fed)) = self.with_outlet(Waker::noop(), feed) else {
            self.state = State::Ended;
            return 0;
        };
        self.member.counts.delivered.fetch_add(fed as u64, Ordering::Relaxed);
        fed
    }

    fn flush(&mut self) {
        // Nearly always all of it can be written, and no waker is needed.
        let flushed = match self.with_outlet(Waker::noop(), Outlet::poll_flush) {
            Some(Poll::Pending) => {
                let waker = Waker::from(self.waker());
                self.with_outlet(&waker, Outlet::poll_flush)
            }
            flushed => flushed,
        };
        match flushed {
            Some(Poll::Ready(Ok(()))) => {}
            Some(Poll::Pending) => self.state = State::Blocked,
            Some(Poll::Ready(Err(Ended))) | None => self.end(),
        }
    }

    fn poll_close(&mut self, frame: &CloseFrame) {
        let waker = Waker::from(self.waker());
        let closed = self.with_outlet(&waker, |out, cx| out.poll_close(frame, cx));
        if closed != Some(Poll::Pending) {
            self.end();
        }
    }

    /// Feeds one, if there is room; this waker is woken when there is.
    fn feed(&self, outgoing: &Outgoing<'_>, waker: &Waker) -> Fed {
        match self.with_outlet(waker, |out, cx| out.poll_feed(outgoing, cx)) {
            Some(Poll::Ready(Ok(()))) => Fed::Yes,
            Some(Poll::Pending) => Fed::No,
            Some(Poll::Ready(Err(Ended))) | None => Fed::Ended,
        }
    }

    /// What the outlet says of itself. If it is gone, so is the member.
    fn ask<T>(&mut self, question: impl FnOnce(&mut dyn Outlet) -> T) -> Option<T> {
        let answer = lock(&self.member.outlet).with(question);
        if answer.is_none() {
            self.end();
        }
        answer
    }

    /// Does this with the outlet, if it is still there.
    fn with_outlet<T>(
        &self,
        waker: &Waker,
        poll: impl FnOnce(&mut dyn Outlet, &mut Context<'_>) -> T,
    ) -> Option<T> {
        lock(&self.member.outlet).with(|out| poll(out, &mut Context::from_waker(waker)))
    }

    /// One word of most members, who never need it.
    fn waker(&mut self) -> Arc<SeatWaker> {
        let (inbox, seat) = (Arc::downgrade(&self.member.inbox), self.member.seat);
        let new = || Arc::new(SeatWaker { inbox, seat, woken: AtomicBool::new(false) });
        self.waker.get_or_insert_with(new).clone()
    }
}

/// Whether something was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fed {
    Yes,
    No,
    Ended,
}
