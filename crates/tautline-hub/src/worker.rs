//! A task that writes to its members: publications come in one by one, and each member gets all that have
//! come for it at once.

mod behind;
mod seat;

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use self::seat::{Seat, Sub};
use crate::delivery::Delivery;
use crate::inbox::target::{Retire, Target};
use crate::inbox::{Entry, Inbox, Joining};
use crate::log::GapReason;
use crate::numbers::{SeatNumber, SubNumber};
use crate::outlet::Outgoing;
use crate::presence::Event;

/// How many deliveries are noted down before members are written to.
const MOST_NOTED: usize = 128 << 10;
/// How many deliveries are noted down between two turns of others: some 40 us.
const NOTES_OF_A_TURN: usize = 4096;
/// How many members are written to between two turns of others: some 50 us.
const WRITES_OF_A_TURN: usize = 32;

/// Members of this worker by number, and who of them is subscribed to what.
struct Worker {
    inbox: Arc<Inbox>,
    table: Weak<dyn Retire>,
    seats: Vec<Option<Seat>>,
    /// The subscribers of each target.
    targets: HashMap<u64, Vec<(SeatNumber, SubNumber)>>,
    /// What has come in this round. Members note down which of these are theirs.
    round: Vec<Delivery>,
    /// The last of these, which nobody has noted down yet.
    run: Option<Run>,
    /// Who has something to write.
    dirty: Vec<SeatNumber>,
    noted: usize,
}

/// Publications to one target, one after the other. If nothing else comes in this round, they go to its
/// subscribers as they are.
#[derive(Clone, Copy)]
struct Run {
    target: u64,
    /// Where they begin in the round; they go to its end.
    first: usize,
    /// How many subscribers there are.
    subs: usize,
    /// Some of them are not for all.
    excludes: bool,
}

/// Ends the inbox when the task ends, or its runtime does.
struct EndOfInbox(Arc<Inbox>);

impl Drop for EndOfInbox {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Works until the inbox has ended. Not under the runtime's own budget, which counts writes to all members as
/// if they were one connection's: instead, others get a turn after each few.
pub(crate) async fn run(inbox: Arc<Inbox>, table: Weak<dyn Retire>) {
    let end = EndOfInbox(inbox.clone());
    let mut worker = Worker::new(inbox, table);
    let (mut entries, mut ready) = (Vec::new(), Vec::new());
    while !end.0.has_ended() {
        worker.inbox.take(&mut entries, &mut ready);
        if entries.is_empty() && ready.is_empty() {
            worker.inbox.changed().await;
            continue;
        }
        for seat in ready.drain(..) {
            worker.wake(seat);
        }
        for entry in entries.drain(..) {
            worker.handle(entry).await;
        }
        worker.write().await;
        // What a burst has left.
        entries.shrink_to(1024);
        if worker.inbox.has_more() {
            // Publishers get a turn. If there is nothing to take, they have one anyway.
            tokio::task::yield_now().await;
        }
    }
    worker.end();
}

impl Worker {
    fn new(inbox: Arc<Inbox>, table: Weak<dyn Retire>) -> Self {
        Self {
            inbox,
            table,
            seats: Vec::new(),
            targets: HashMap::new(),
            round: Vec::new(),
            run: None,
            dirty: Vec::new(),
            noted: 0,
        }
    }

    async fn handle(&mut self, entry: Entry) {
        if !matches!(entry, Entry::Publish { .. } | Entry::Attach(_)) {
            self.settle().await;
        }
        match entry {
            Entry::Publish { target, delivery } => self.publish(target, delivery).await,
            Entry::Attach(member) => {
                let index = member.seat as usize;
                if self.seats.len() <= index {
                    self.seats.resize_with(index + 1, || None);
                }
                self.seats[index] = Some(Seat::new(member));
            }
            Entry::Subscribe(joining) => self.subscribe(*joining),
            Entry::Unsubscribe { seat, sub, told } => self.unsubscribe(seat, sub, told),
            Entry::Gap { target, reason } => self.gap(&target, reason),
            Entry::Presence { target, event } => self.announce(target, &event),
            Entry::Message { seat, message } => {
                if let Some(member) = seat_of(&mut self.seats, seat) {
                    member.send(&self.round, &Outgoing::Message(&message));
                    self.mark(seat);
                }
            }
            Entry::Close { seat, frame } => {
                if let Some(member) = seat_of(&mut self.seats, seat) {
                    member.close(frame);
                    self.mark(seat);
                }
            }
            Entry::Detach(seat) => self.detach(seat),
        }
    }

    /// A publication joins the run, or begins another one.
    async fn publish(&mut self, target: u64, delivery: Delivery) {
        let excludes = delivery.publication().excluded().is_some();
        match &mut self.run {
            Some(run) if run.target == target => run.excludes |= excludes,
            _ => {
                let Some(subs) = self.targets.get(&target).map(Vec::len) else { return };
                self.settle().await;
                self.run = Some(Run { target, first: self.round.len(), subs, excludes });
            }
        }
        self.round.push(delivery);
    }

    /// What was published first comes first: the run is noted down, or written if that would be too much.
    async fn settle(&mut self) {
        match self.run {
            Some(run) if self.noted.saturating_add(self.notes(run)) > MOST_NOTED => {
                self.write().await;
            }
            Some(_) => self.spread().await,
            None => {}
        }
    }

    /// How many deliveries a run is.
    fn notes(&self, run: Run) -> usize {
        run.subs.saturating_mul(self.round.len() - run.first)
    }

    /// Has the subscribers of the run note it down.
    async fn spread(&mut self) {
        let Some(run) = self.run.take() else { return };
        self.noted += self.notes(run);
        let at_once = (NOTES_OF_A_TURN / (self.round.len() - run.first).max(1)).max(1);
        let mut begin = 0;
        // Nobody joins or leaves meanwhile: that comes through this task.
        while let Some(subs) = self.targets.get(&run.target)
            && begin < subs.len()
        {
            let end = subs.len().min(begin + at_once);
            for (seat, sub) in &subs[begin..end] {
                if let Some(member) = seat_of(&mut self.seats, *seat)
                    && note_all(member, &self.round, run, *sub)
                {
                    self.dirty.push(*seat);
                }
            }
            let is_over = end == subs.len();
            begin = end;
            if !is_over {
                tokio::task::yield_now().await;
            }
        }
    }

    fn subscribe(&mut self, joining: Joining) {
        let Joining { seat, sub, target, start, recovered, slow, watches, tag } = joining;
        let Some(member) = seat_of(&mut self.seats, seat) else { return };
        let subs = self.targets.entry(target.id).or_default();
        let place = u32::try_from(subs.len()).unwrap_or(u32::MAX);
        subs.push((seat, sub));
        member.join(sub, Sub { target: target.id, place, slow, watches });
        member.start(&self.round, sub, (&target.filter, start, tag), recovered);
        self.mark(seat);
    }

    fn unsubscribe(&mut self, seat: SeatNumber, sub: SubNumber, told: Option<(Arc<Target>, u32)>) {
        let Some(member) = seat_of(&mut self.seats, seat) else { return };
        let Some(left) = member.leave(&self.round, sub, told.is_some()) else { return };
        if let Some((target, code)) = told {
            member.send(&self.round, &Outgoing::Unsubscribed(&target.filter, code));
        }
        self.remove(left.target, left.place);
        self.mark(seat);
    }

    /// Takes a subscriber out of its target; the last one has its place then.
    fn remove(&mut self, target: u64, place: u32) {
        let Some(subs) = self.targets.get_mut(&target) else { return };
        subs.swap_remove(place as usize);
        if let Some((seat, sub)) = subs.get(place as usize).copied() {
            if let Some(moved) = seat_of(&mut self.seats, seat) {
                moved.moved(sub, place);
            }
        } else if subs.is_empty() {
            self.targets.remove(&target);
            if self.targets.capacity() > 64 && self.targets.len() < self.targets.capacity() / 4 {
                self.targets.shrink_to(self.targets.len() * 2);
            }
        }
        if let Some(subs) = self.targets.get_mut(&target)
            && subs.capacity() > 32
            && subs.len() < subs.capacity() / 4
        {
            subs.shrink_to(subs.len() * 2);
        }
    }

    fn gap(&mut self, target: &Target, reason: GapReason) {
        let Some(topic) = target.topic() else { return };
        let Self { targets, seats, round, dirty, .. } = self;
        for (seat, sub) in targets.get(&target.id).into_iter().flatten() {
            if let Some(member) = seat_of(seats, *seat) {
                member.gap(round, *sub, topic, reason);
                if member.mark() {
                    dirty.push(*seat);
                }
            }
        }
    }

    /// Somebody joined or left: for those who want to know.
    fn announce(&mut self, target: u64, event: &Event) {
        let Self { targets, seats, round, dirty, .. } = self;
        for (seat, sub) in targets.get(&target).into_iter().flatten() {
            if let Some(member) = seat_of(seats, *seat)
                && member.watches(*sub)
            {
                member.send(round, &Outgoing::Presence(event));
                if member.mark() {
                    dirty.push(*seat);
                }
            }
        }
    }

    /// This one has something to write.
    fn mark(&mut self, seat: SeatNumber) {
        if let Some(member) = seat_of(&mut self.seats, seat)
            && member.mark()
        {
            self.dirty.push(seat);
        }
    }

    /// This one's connection has room again, or has ended.
    fn wake(&mut self, seat: SeatNumber) {
        if let Some(member) = seat_of(&mut self.seats, seat) {
            member.woken();
        }
        self.mark(seat);
    }

    /// Writes to all who have something.
    async fn write(&mut self) {
        if let Some(run) = self.run
            && !self.dirty.is_empty()
            && self.noted.saturating_add(self.notes(run)) <= MOST_NOTED
        {
            // So that who has both is written to once.
            self.spread().await;
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        for (number, seats) in dirty.chunks(WRITES_OF_A_TURN).enumerate() {
            if number > 0 {
                tokio::task::yield_now().await;
            }
            let members = seats.iter().filter_map(|seat| seat_at(&self.seats, *seat));
            members.for_each(Seat::fetch);
            for seat in seats {
                let Some(member) = seat_of(&mut self.seats, *seat) else { continue };
                member.write(&self.round);
                let is_long = member.ends_turn();
                if member.has_ended() {
                    self.leave_all(*seat);
                }
                if is_long {
                    tokio::task::yield_now().await;
                }
            }
        }
        dirty.clear();
        dirty.shrink_to(64 << 10);
        self.dirty = dirty;
        if let Some(run) = self.run.take() {
            self.pass(run).await;
        }
        self.round.clear();
        self.round.shrink_to(1024);
        self.noted = 0;
    }

    /// Writes a run to its subscribers, none of whom has noted anything down.
    async fn pass(&mut self, run: Run) {
        let mut ended = Vec::new();
        let mut begin = 0;
        // Of those who are still there: some may just have been found to have ended.
        while let Some(subs) = self.targets.get(&run.target)
            && begin < subs.len()
        {
            let end = subs.len().min(begin + WRITES_OF_A_TURN);
            let members = subs[begin..end].iter();
            members.filter_map(|(seat, _)| seat_at(&self.seats, *seat)).for_each(Seat::fetch);
            for (seat, sub) in &subs[begin..end] {
                let Some(member) = seat_of(&mut self.seats, *seat) else { continue };
                let all = &self.round[run.first..];
                let is_excluded =
                    |one: &Delivery| one.publication().excluded() == Some(member.id());
                if !run.excludes || !all.iter().any(is_excluded) {
                    member.pass(all, *sub);
                } else if note_all(member, &self.round, run, *sub) {
                    member.write(&self.round);
                }
                if member.has_ended() {
                    ended.push(*seat);
                }
                if member.ends_turn() {
                    tokio::task::yield_now().await;
                }
            }
            let is_over = end == subs.len();
            begin = end;
            if !is_over {
                tokio::task::yield_now().await;
            }
        }
        for seat in ended {
            self.leave_all(seat);
        }
    }

    /// Its connection has ended: it has no subscriptions any more.
    fn leave_all(&mut self, seat: SeatNumber) {
        let Some(member) = seat_of(&mut self.seats, seat) else { return };
        let left = member.leave_all();
        let shared = member.shared().clone();
        for sub in left {
            // Of the places that have moved since, the present ones.
            self.remove(sub.target, sub.place);
        }
        for target in shared.end() {
            let is_last = target.lock().leave(&self.inbox);
            if is_last && let Some(table) = self.table.upgrade() {
                table.retire(&target);
            }
        }
    }

    fn detach(&mut self, seat: SeatNumber) {
        if let Some(member) = seat_of(&mut self.seats, seat) {
            member.end();
            self.leave_all(seat);
        }
        if let Some(place) = self.seats.get_mut(seat as usize) {
            *place = None;
            self.inbox.give_back(seat);
        }
    }

    fn end(mut self) {
        for seat in 0..self.seats.len() {
            let seat = u32::try_from(seat).unwrap_or(u32::MAX);
            self.leave_all(seat);
        }
    }
}

/// Has a subscriber note down what is for it of a run. Returns whether it has to be written to, which it had
/// not before.
fn note_all(member: &mut Seat, round: &[Delivery], run: Run, sub: SubNumber) -> bool {
    let mut is_new = false;
    for (item, delivery) in round.iter().enumerate().skip(run.first) {
        if !run.excludes || delivery.publication().excluded() != Some(member.id()) {
            is_new |= member.note(u32::try_from(item).unwrap_or(u32::MAX), sub);
        }
    }
    is_new
}

fn seat_at(seats: &[Option<Seat>], seat: SeatNumber) -> Option<&Seat> {
    seats.get(seat as usize)?.as_ref()
}

fn seat_of(seats: &mut [Option<Seat>], seat: SeatNumber) -> Option<&mut Seat> {
    seats.get_mut(seat as usize)?.as_mut()
}
