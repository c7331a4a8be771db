//! A topic whose history a broker keeps, as this node follows it: what arrives is brought into one line, what is
//! missing is asked for, and what cannot be had is told as a gap. Without I/O.

use std::time::Instant;

use crate::broker::{History, Keep};
use crate::delivery::Delivery;
use crate::log::{GapReason, Log};
use crate::position::Position;
use crate::topic::Topic;

/// How many arrive behind a hole, while what is missing is asked for, before they are given up and asked for as
/// well.
const MOST_PENDING: usize = 1024;
/// And how many bytes: as many as wait for a worker before publishers do.
const MOST_PENDING_BYTES: usize = 8 << 20;
/// How often in a row something is asked for that still leaves a hole.
const TRIES: u32 = 3;

/// What this node knows of a topic.
#[derive(Debug)]
pub(crate) struct Line {
    keep: Keep,
    /// What came since this node follows the topic, and what subscribers have had it read of what was before; none
    /// until it knows where that begins.
    log: Option<Log>,
    state: State,
    /// What arrived behind a hole, or before the beginning was known, in order.
    pending: Vec<Delivery>,
    /// What these count.
    pending_bytes: usize,
    tries: u32,
    /// See [`Broker::is_consecutive`](crate::broker::Broker::is_consecutive).
    is_consecutive: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Everything up to the end of the log is there, as far as is known.
    Following,
    /// Something is missing behind it, or may be.
    Asking,
}

/// What subscribers get.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Deliver(Delivery),
    Gap(GapReason),
}

impl Line {
    pub(crate) const fn new(keep: Keep) -> Self {
        Self {
            keep,
            log: None,
            state: State::Asking,
            pending: Vec::new(),
            pending_bytes: 0,
            tries: 0,
            is_consecutive: false,
        }
    }

    /// Whether the broker says of each publication which one was ahead of it, even if it is gone.
    pub(crate) const fn consecutive(mut self, is_consecutive: bool) -> Self {
        self.is_consecutive = is_consecutive;
        self
    }

    /// What is there, if it is known where it ends.
    pub(crate) const fn log(&self) -> Option<&Log> {
        self.log.as_ref()
    }

    pub(crate) const fn log_mut(&mut self) -> Option<&mut Log> {
        self.log.as_mut()
    }

    /// The offset behind which something is to be asked for; `u64::MAX` if nothing is known yet, so that only
    /// the end is of interest.
    pub(crate) fn asks(&self) -> Option<u64> {
        let known = self.log.as_ref().map_or(u64::MAX, |log| log.top().offset);
        (self.state == State::Asking).then_some(known)
    }

    /// Something may have been lost.
    pub(crate) const fn unsure(&mut self) {
        self.state = State::Asking;
        self.tries = 0;
    }

    /// The newest position that the broker has. Something is missing if it is another one.
    pub(crate) fn newest(&mut self, newest: Position) {
        let is_same = self.log.as_ref().map(Log::top) == Some(newest);
        if !is_same && self.state == State::Following && self.log.is_some() {
            self.unsure();
        }
    }

    /// A publication arrives that cannot be decoded.
    pub(crate) fn passed(&mut self, position: Position, previous: u64) {
        if let (State::Following, Some(log)) = (self.state, &mut self.log)
            && log.top().epoch == position.epoch
            && previous <= log.top().offset
        {
            log.skip_to(position.offset);
        }
    }

    /// A publication arrives.
    pub(crate) fn arrived(&mut self, delivery: Delivery, now: Instant) -> Vec<Step> {
        let mut steps = Vec::new();
        match self.state {
            State::Following => {
                self.look_back(&delivery, &mut steps);
                if !self.append(&delivery, now, &mut steps) {
                    self.unsure();
                    self.wait(delivery);
                }
            }
            State::Asking => self.wait(delivery),
        }
        steps
    }

    fn wait(&mut self, delivery: Delivery) {
        if self.pending.len() >= MOST_PENDING
            || self.pending_bytes + delivery.size() > MOST_PENDING_BYTES
        {
            // All of them are in the history that is asked for.
            self.pending.clear();
            self.pending_bytes = 0;
        }
        self.pending_bytes += delivery.size();
        self.pending.push(delivery);
    }

    /// What arrives follows one that is not the last here: what is here beyond that was lost at the broker.
    fn look_back(&mut self, delivery: &Delivery, steps: &mut Vec<Step>) {
        let top = self.log.as_ref().map(Log::top);
        let (true, Some(top), Some(position)) = (self.is_consecutive, top, delivery.position())
        else {
            return;
        };
        let is_next = position.epoch == top.epoch && position.offset > top.offset;
        if is_next && delivery.previous() < top.offset {
            let end = Position { offset: delivery.previous(), ..top };
            self.begin_anew(end, GapReason::Ahead, steps);
        }
    }

    /// Appends it, if it is the next one, or has been there before. If not, something is missing.
    fn append(&mut self, delivery: &Delivery, now: Instant, steps: &mut Vec<Step>) -> bool {
        let (Some(log), Some(position)) = (&mut self.log, delivery.position()) else {
            return false;
        };
        let top = log.top();
        if position.epoch != top.epoch {
            return false;
        }
        if position.offset <= top.offset {
            return true;
        }
        if delivery.previous() > top.offset {
            return false;
        }
        // If what was ahead of it is gone at the broker, it still follows what is here.
        let delivery = delivery.behind(log.last());
        log.push(delivery.clone(), now);
        steps.push(Step::Deliver(delivery));
        true
    }

    /// What the broker has, behind this offset.
    pub(crate) fn answered(
        &mut self,
        topic: &Topic,
        after: u64,
        history: &History,
        now: Instant,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut is_known = true;
        let is_answer = self.log.as_ref().is_none_or(|log| log.top().offset == after);
        let before = self.log.as_ref().map(Log::top);
        match before {
            None => self.begin(topic, after, history, now),
            Some(top) if top.epoch != history.top.epoch => {
                self.begin_anew(history.top, GapReason::Epoch, &mut steps);
            }
            // What was there when it was asked for is gone. That more has arrived since says nothing.
            Some(_) if after != u64::MAX && history.top.offset < after => {
                self.begin_anew(history.top, GapReason::Ahead, &mut steps);
                // What waits may be of what is gone.
                (self.pending, self.pending_bytes) = (Vec::new(), 0);
                is_known = false;
            }
            Some(top) if history.complete && after <= top.offset => {
                let deliveries = in_order(topic, after, history);
                self.restore(&deliveries, history.read_to, now);
                for delivery in &deliveries {
                    self.append(delivery, now, &mut steps);
                }
                if let Some(log) = &mut self.log {
                    log.skip_to(history.read_to.min(history.top.offset));
                }
            }
            Some(top) if after == top.offset && history.top.offset > top.offset => {
                self.begin_anew(history.top, GapReason::Trimmed, &mut steps);
            }
            // It was asked for something else, such as what a subscriber missed: whether something is gone
            // behind the end of this line, it does not say.
            Some(_) => {}
        }
        if self.log.as_ref().map(Log::top) != before {
            self.tries = 0;
        }
        if is_answer {
            self.state = State::Following;
        }
        self.catch_up(is_answer, now, &mut steps);
        // There was more than was asked for: the rest.
        let end = self.log.as_ref().map(Log::top);
        let is_behind = end.is_some_and(|end| end.offset < history.top.offset);
        if !is_known || is_behind {
            self.state = State::Asking;
        }
        steps
    }

    /// Where it begins: with what is there behind an offset, or with the end.
    fn begin(&mut self, topic: &Topic, after: u64, history: &History, now: Instant) {
        let deliveries = in_order(topic, after, history);
        let mut log = if history.complete && after <= history.top.offset {
            Log::new(self.keep, history.top.epoch, after)
        } else {
            Log::new(self.keep, history.top.epoch, history.top.offset)
        };
        if history.complete {
            for delivery in deliveries {
                log.push(delivery, now);
            }
            log.skip_to(history.read_to.min(history.top.offset));
        }
        self.log = Some(log);
    }

    /// What was there before what is here, in order: it is kept as well, if nothing is missing between.
    pub(crate) fn restore(&mut self, earlier: &[Delivery], read_to: u64, now: Instant) {
        if let Some(log) = &mut self.log {
            log.restore(earlier, read_to, now);
        }
    }

    fn begin_anew(&mut self, top: Position, reason: GapReason, steps: &mut Vec<Step>) {
        steps.push(Step::Gap(reason));
        self.log = Some(Log::new(self.keep, top.epoch, top.offset));
    }

    /// What has arrived meanwhile follows; if there is still a hole, it is asked for again. `is_answer` if what came
    /// was the answer about what is behind the end.
    fn catch_up(&mut self, is_answer: bool, now: Instant, steps: &mut Vec<Step>) {
        let mut pending = std::mem::take(&mut self.pending).into_iter();
        let mut gone = None;
        while let Some(delivery) = pending.next() {
            let epoch = delivery.position().map(|position| position.epoch);
            if gone.is_some() && gone == epoch {
                continue;
            }
            self.look_back(&delivery, steps);
            if self.append(&delivery, now, steps) {
                self.tries = 0;
                continue;
            }
            self.tries += u32::from(is_answer);
            if self.tries < TRIES {
                self.state = State::Asking;
                self.pending = std::iter::once(delivery).chain(pending).collect();
                self.pending_bytes = self.pending.iter().map(Delivery::size).sum();
                return;
            }
            self.tries = 0;
            let Some(position) = delivery.position() else { continue };
            if self.log.as_ref().is_some_and(|log| log.top().epoch != position.epoch) {
                // It is from a history that was there before.
                gone = epoch;
                continue;
            }
            // The history does not have what was ahead of this one.
            let ahead = Position { offset: delivery.previous(), ..position };
            self.begin_anew(ahead, GapReason::Trimmed, steps);
            self.append(&delivery, now, steps);
        }
        (self.pending, self.pending_bytes) = (Vec::new(), 0);
    }
}

/// A history as deliveries, each with the offset ahead of it.
pub(crate) fn in_order(topic: &Topic, after: u64, history: &History) -> Vec<Delivery> {
    let mut previous = after;
    let delivery = |(offset, publication): &(u64, crate::publication::Publication)| {
        let position = Position { epoch: history.top.epoch, offset: *offset };
        let place = Some((position, previous));
        previous = *offset;
        Delivery::new(topic.clone(), publication.clone(), place)
    };
    history.publications.iter().map(delivery).collect()
}

#[cfg(test)]
mod tests;
