//! What a node tells others of its own members.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::config::{
    ANSWERS_PER_BEAT, Config, GATHERINGS_PER_BEAT, MAX_QUEUED_SIGNALS, PIECES_PER_ANSWER,
};
use super::digest::BUCKETS;
use super::mark::{Buckets, Mark, key_of};
use super::roster::Roster;
use super::signal::{self, MAX_CHANGES_LEN, MAX_MEMBERS_LEN};
use super::version;
use crate::id::NodeId;
use crate::topic::Topic;

#[derive(Debug)]
pub(super) struct Owner {
    node: NodeId,
    heartbeat: Duration,
    /// After the last change.
    version: u64,
    changes: Changes,
    beat_at: Instant,
    last_beat: Option<Instant>,
    hello: bool,
    questions: Questions,
    answered: Option<Instant>,
    queue: VecDeque<Bytes>,
    dropped: u64,
}

/// Changes that are not told yet, as they will be written.
#[derive(Debug, Default)]
struct Changes {
    written: BytesMut,
    /// The connection that joined with the last one.
    last: Option<u64>,
    /// When they are told, if there are any.
    at: Option<Instant>,
    told: Option<Instant>,
}

/// What others have asked.
#[derive(Debug, Default)]
struct Questions {
    digests: bool,
    buckets: Buckets,
    /// Up to where the bucket that is being told has been told.
    within: Option<Mark>,
    /// It was asked for again meanwhile.
    again: bool,
    /// The bucket whose turn it is.
    turn: usize,
}

/// The most that a change takes beside its strings and data: a tag, a number and four lengths.
const CHANGE_OVERHEAD: usize = 1 + 10 + 4 * 2;

impl Owner {
    pub(super) fn new(node: NodeId, config: &Config, now: Instant) -> Self {
        Self {
            node,
            heartbeat: config.get_heartbeat(),
            // Somewhere, so that what is left of another life of this node is not taken for this one's.
            version: node.as_u64(),
            changes: Changes::default(),
            beat_at: now,
            last_beat: None,
            hello: true,
            questions: Questions::default(),
            answered: None,
            queue: VecDeque::new(),
            dropped: 0,
        }
    }

    pub(super) fn joined(
        &mut self,
        now: Instant,
        connection: (u64, &str, &[u8]),
        topic: &Topic,
        data: &[u8],
    ) {
        let (number, user, connection_data) = connection;
        self.make_room(user.len() + connection_data.len() + topic.as_str().len() + data.len());
        let changes = &mut self.changes;
        let other = changes.last != Some(number);
        signal::put_joined(&mut changes.written, other.then_some(connection), topic, data);
        changes.last = Some(number);
        self.changed(now);
    }

    pub(super) fn left(&mut self, now: Instant, number: u64, topic: &Topic) {
        self.make_room(topic.as_str().len());
        signal::put_left(&mut self.changes.written, number, topic);
        self.changes.last = None;
        self.changed(now);
    }

    pub(super) fn disconnected(&mut self, now: Instant, number: u64) {
        self.make_room(0);
        signal::put_disconnected(&mut self.changes.written, number);
        self.changes.last = None;
        self.changed(now);
    }

    fn make_room(&mut self, len: usize) {
        if self.changes.written.len() + CHANGE_OVERHEAD + len > MAX_CHANGES_LEN {
            self.tell_changes();
        }
    }

    fn changed(&mut self, now: Instant) {
        self.version = version::after(self.version, 1);
        let changes = &mut self.changes;
        if changes.at.is_none() {
            let gathered = now + self.heartbeat / GATHERINGS_PER_BEAT;
            let next = changes.told.map(|told| told + self.heartbeat);
            changes.at = Some(next.map_or(gathered, |next| next.max(gathered)));
        }
    }

    fn tell_changes(&mut self) {
        let changes = &mut self.changes;
        (changes.at, changes.last) = (None, None);
        if !changes.written.is_empty() {
            // Copied, so that what is sent is as long as it is.
            let delta = signal::delta(self.node, self.version, &changes.written);
            changes.written.clear();
            self.push(delta);
        }
    }

    /// Takes a question.
    pub(super) fn ask(&mut self, digests: bool, buckets: &Buckets) {
        let questions = &mut self.questions;
        questions.digests |= digests;
        questions.buckets.extend(buckets);
        questions.again |=
            questions.within.as_ref().is_some_and(|at| buckets.contains(at.bucket()));
    }

    /// Tells soon that this node is there: somebody wants to know.
    pub(super) fn beat_soon(&mut self, now: Instant) {
        let soon = self.last_beat.map_or(now, |last| last + self.heartbeat / ANSWERS_PER_BEAT);
        self.beat_at = self.beat_at.min(soon.max(now));
    }

    /// Asks who is there, at once.
    pub(super) fn hello(&mut self, now: Instant) {
        (self.hello, self.beat_at) = (true, now);
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, roster: &Roster) {
        if self.changes.at.is_some_and(|at| at <= now) {
            self.tell_changes();
            self.changes.told = Some(now);
        }
        if self.beat_at <= now {
            // What waits is a part of the digest.
            self.tell_changes();
            let hello = std::mem::take(&mut self.hello);
            self.push(signal::beat(self.node, self.version, roster.digest(), hello));
            self.last_beat = Some(now);
            self.beat_at = now + self.heartbeat;
        }
        if self.answer_at().is_some_and(|at| at <= now) {
            self.tell_changes();
            self.answer(roster);
            self.answered = Some(now);
        }
    }

    fn answer(&mut self, roster: &Roster) {
        if std::mem::take(&mut self.questions.digests) {
            self.push(signal::digests(self.node, self.version, roster.digests()));
        }
        for _ in 0..PIECES_PER_ANSWER {
            let Some(from) = self.questions.next() else { return };
            let limit = self.questions.limit(&from);
            let (to, members) = write_members(roster, &from, limit);
            self.questions.told(&from, &to);
            self.push(signal::piece(self.node, self.version, &from, &to, &members));
        }
    }

    /// When the next answer is due, if there is a question.
    fn answer_at(&self) -> Option<Instant> {
        let asked = self.questions.digests || !self.questions.buckets.is_empty();
        let next = self.answered.map(|last| last + self.heartbeat / ANSWERS_PER_BEAT);
        // Without an earlier one, at once: `beat_at` is never before the node was there.
        asked.then(|| next.unwrap_or_else(|| self.last_beat.unwrap_or(self.beat_at)))
    }

    pub(super) fn deadline(&self) -> Instant {
        let times = [self.changes.at, self.answer_at()];
        times.into_iter().flatten().fold(self.beat_at, Instant::min)
    }

    /// Nothing more is told but that this node ends.
    pub(super) fn end(&mut self) {
        self.queue.clear();
        self.queue.push_back(signal::bye(self.node));
    }

    pub(super) fn push(&mut self, signal: Bytes) {
        if self.queue.len() >= MAX_QUEUED_SIGNALS {
            self.queue.pop_front();
            self.dropped += 1;
        }
        self.queue.push_back(signal);
    }

    pub(super) fn poll_signal(&mut self) -> Option<Bytes> {
        self.queue.pop_front()
    }

    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(super) const fn node(&self) -> NodeId {
        self.node
    }
}

impl Questions {
    /// From where on to tell, if there is something to tell.
    fn next(&self) -> Option<Mark> {
        let next = || self.buckets.next(self.turn).map(Mark::start_of);
        self.within.clone().or_else(next)
    }

    /// Up to where, from this mark: to the end of the last bucket in a row that was asked for.
    fn limit(&self, from: &Mark) -> Mark {
        let first = from.bucket();
        let end = (first + 1..BUCKETS).find(|bucket| !self.buckets.contains(*bucket));
        Mark::start_of(end.unwrap_or(BUCKETS))
    }

    /// It was told from one mark to another.
    fn told(&mut self, from: &Mark, to: &Mark) {
        let (first, last) = (from.bucket(), to.bucket());
        for bucket in first..last {
            // Who asked for it in the middle has missed its beginning.
            if !std::mem::take(&mut self.again) {
                self.buckets.remove(bucket);
            }
        }
        self.within = (*to != Mark::start_of(last)).then(|| to.clone());
        self.turn = last % BUCKETS;
    }
}

/// The members behind `from` up to `limit`, or as many as fit: up to where they are, and as written.
fn write_members(roster: &Roster, from: &Mark, limit: Mark) -> (Mark, BytesMut) {
    let mut written = BytesMut::new();
    let (mut last, mut to) = (None, None);
    for (number, connection, topic, data) in roster.after(from) {
        let mark = Mark::At(key_of(number), Some(topic.clone()));
        if mark > limit {
            break;
        }
        let (user, more) = (&*connection.user, &*connection.data);
        let len = user.len() + more.len() + topic.as_str().len() + data.len();
        if written.len() + CHANGE_OVERHEAD + len > MAX_MEMBERS_LEN {
            // At least one fits.
            return (to.unwrap_or(limit), written);
        }
        let other = last != Some(number);
        signal::put_joined(&mut written, other.then_some((number, user, more)), topic, data);
        (last, to) = (Some(number), Some(mark));
    }
    (limit, written)
}
