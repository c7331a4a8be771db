//! What is known of another node's members.

use std::time::{Duration, Instant};

use super::config::{ANSWERS_PER_BEAT, SILENT_BEATS};
use super::digest::{BucketDigests, Digest};
use super::mark::{Buckets, Coverage, Mark, bucket_of, key_of};
use super::members::{Joining, disconnect, leave};
use super::rooms::Rooms;
use super::roster::Roster;
use super::signal::{Heard, HeardMember};
use super::version;
use crate::id::{MemberId, NodeId};
use crate::topic::Topic;

/// What there is no memory for is asked for again after so many heartbeats.
const FULL_BEATS: u32 = 20;

/// Another node.
///
/// What it has told is known for certain in those parts that are covered. A hole in its versions means
/// that nothing is certain any more; its digests then show what still is, and the rest is asked for.
#[derive(Debug)]
pub(super) struct Peer {
    node: NodeId,
    heartbeat: Duration,
    roster: Roster,
    /// The newest version that anything was told of.
    version: Option<u64>,
    coverage: Coverage,
    heard: Instant,
    question: Question,
    asked: Option<Instant>,
    /// There was no memory for some of its members: they are not asked for before.
    full_until: Option<Instant>,
    refused: u64,
}

/// What is to be asked, and when.
#[derive(Debug)]
enum Question {
    Nothing,
    Digests(Instant),
    Members(Instant),
}

/// What a peer's signal is applied to.
pub(super) struct Scene<'a> {
    pub(super) now: Instant,
    pub(super) rooms: &'a mut Rooms,
    /// What the members of the peer may take.
    pub(super) most: usize,
}

impl Peer {
    /// A node that was heard of just now. The roster is empty, or has what is left of it from before.
    pub(super) const fn new(
        node: NodeId,
        heartbeat: Duration,
        roster: Roster,
        now: Instant,
    ) -> Self {
        Self {
            node,
            heartbeat,
            roster,
            version: None,
            coverage: Coverage::new(),
            heard: now,
            question: Question::Nothing,
            asked: None,
            full_until: None,
            refused: 0,
        }
    }

    /// All of its members are known.
    pub(super) fn is_complete(&self) -> bool {
        self.coverage.is_whole()
    }

    pub(super) const fn roster(&self) -> &Roster {
        &self.roster
    }

    pub(super) fn into_roster(self) -> Roster {
        self.roster
    }

    /// How many members there was no memory for.
    pub(super) const fn refused(&self) -> u64 {
        self.refused
    }

    /// When it is taken to be gone, unless it is heard until then.
    pub(super) fn silent_at(&self) -> Instant {
        self.heard + self.heartbeat * SILENT_BEATS
    }

    pub(super) const fn heard(&self) -> Instant {
        self.heard
    }

    /// Silence up to now does not count for so long.
    pub(super) fn excuse(&mut self, time: Duration) {
        self.heard += time;
    }

    /// When the next question is due.
    pub(super) fn ask_at(&self) -> Option<Instant> {
        let at = match self.question {
            Question::Nothing => return None,
            Question::Digests(at) | Question::Members(at) => at,
        };
        Some(self.full_until.map_or(at, |until| until.max(at)))
    }

    /// The question, if one is due: whether it is for digests, and for which buckets. It is asked again
    /// after a heartbeat without an answer.
    pub(super) fn poll_question(&mut self, now: Instant) -> Option<(bool, Buckets)> {
        if self.ask_at().is_none_or(|at| at > now) {
            return None;
        }
        self.asked = Some(now);
        self.full_until = None;
        let again = now + self.heartbeat;
        match &mut self.question {
            Question::Nothing => None,
            Question::Digests(at) => {
                *at = again;
                Some((true, Buckets::default()))
            }
            Question::Members(at) => {
                *at = again;
                Some((false, self.coverage.missing()))
            }
        }
    }

    /// Something as of this version was told: whether it is not older than what is known. If something
    /// was missed before it, nothing is certain any more.
    fn advance(&mut self, now: Instant, version: u64) -> bool {
        match self.version {
            None if self.roster.len() == 0 => self.question = Question::Members(now),
            None => self.lose(now),
            Some(known) if known == version => {}
            // Nor is it a sign of life: it is late, or of another life.
            Some(known) if version::is_before(version, known) => return false,
            Some(_) => self.lose(now),
        }
        self.version = Some(version);
        self.heard = now;
        true
    }

    /// Nothing is certain any more.
    fn lose(&mut self, now: Instant) {
        self.coverage.clear();
        let pause = self.heartbeat / ANSWERS_PER_BEAT;
        let at = self.asked.map_or(now, |asked| (asked + pause).max(now));
        self.question = Question::Digests(at);
    }

    /// Asks for members that are missing, if any are.
    fn settle(&mut self, at: Instant) {
        self.question =
            if self.coverage.is_whole() { Question::Nothing } else { Question::Members(at) };
    }

    pub(super) fn handle_beat(&mut self, now: Instant, version: u64, digest: Digest) {
        if !self.advance(now, version) {
            return;
        }
        if digest == self.roster.digest() {
            self.coverage.add_all();
            self.settle(now);
        } else if self.coverage.is_whole() {
            self.lose(now);
        }
    }

    pub(super) fn handle_digests(&mut self, now: Instant, version: u64, digests: &BucketDigests) {
        if !self.advance(now, version) {
            return;
        }
        for (bucket, (told, known)) in digests.iter().zip(self.roster.digests()).enumerate() {
            if told == known {
                self.coverage.add_bucket(bucket);
            } else if self.coverage.has_bucket(bucket) {
                self.coverage.remove_bucket(bucket);
            }
        }
        self.settle(now);
    }

    pub(super) fn handle_delta(
        &mut self,
        scene: &mut Scene<'_>,
        version: u64,
        changes: &[Heard<'_>],
    ) {
        let before = version.wrapping_sub(changes.len() as u64);
        if self.version == Some(before) {
            (self.version, self.heard) = (Some(version), scene.now);
        } else if self.version == Some(version) || !self.advance(scene.now, version) {
            return;
        }
        for change in changes {
            match change {
                Heard::Joined(member) => {
                    if !self.join(scene, member) {
                        self.coverage.remove_bucket(bucket_of(key_of(member.number)));
                        self.settle(scene.now);
                    }
                }
                Heard::Left { number, topic } => self.leave(scene, *number, topic),
                Heard::Disconnected { number } => {
                    let id = self.id(*number);
                    disconnect(&mut self.roster, scene.rooms, scene.now, id);
                }
            }
        }
    }

    pub(super) fn handle_piece(
        &mut self,
        scene: &mut Scene<'_>,
        version: u64,
        (from, to): (Mark, Mark),
        members: &[HeardMember<'_>],
    ) {
        if !self.advance(scene.now, version) {
            return;
        }
        for (number, topic) in self.not_among(&from, &to, members) {
            self.leave(scene, number, &topic);
        }
        let mut all = true;
        for member in members {
            all &= self.join(scene, member);
        }
        if all {
            self.coverage.add(from, to);
        }
        // More may be on the way.
        if !matches!(self.question, Question::Digests(_)) || self.coverage.is_whole() {
            self.settle(scene.now + self.heartbeat);
        }
    }

    /// What is known between two marks, but is not among these members, which are in order.
    fn not_among(&self, from: &Mark, to: &Mark, members: &[HeardMember<'_>]) -> Vec<(u64, Topic)> {
        let mut told = members.iter().peekable();
        let mut others = Vec::new();
        for (number, _, topic, _) in self.roster.after(from) {
            let place = (key_of(number), topic);
            if Mark::At(place.0, Some(topic.clone())) > *to {
                break;
            }
            while told.next_if(|told| (key_of(told.number), &told.topic) < place).is_some() {}
            if told.next_if(|told| (key_of(told.number), &told.topic) == place).is_none() {
                others.push((number, topic.clone()));
            }
        }
        others
    }

    /// Whether there was memory for it.
    fn join(&mut self, scene: &mut Scene<'_>, member: &HeardMember<'_>) -> bool {
        let joining = Joining {
            id: self.id(member.number),
            user: member.user,
            connection_data: member.connection_data,
            topic: &member.topic,
            topic_data: member.topic_data,
        };
        if joining.differs(&self.roster) {
            disconnect(&mut self.roster, scene.rooms, scene.now, joining.id);
        }
        let joined = joining.join(&mut self.roster, scene.rooms, scene.most);
        if joined.is_err() {
            self.refused += 1;
            self.full_until = Some(scene.now + self.heartbeat * FULL_BEATS);
        }
        joined.is_ok()
    }

    fn leave(&mut self, scene: &mut Scene<'_>, number: u64, topic: &Topic) {
        let id = self.id(number);
        leave(&mut self.roster, scene.rooms, scene.now, id, topic);
    }

    const fn id(&self, number: u64) -> MemberId {
        MemberId { node: self.node, number }
    }
}
