//! All of it together.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;

use super::config::{Config, LEAVING_AT_ONCE, MAX_DEPARTED, SILENT_BEATS};
use super::mark::Mark;
use super::member::{Counts, Event, JoinError, Member, MemberInfo, Presence};
use super::members::{Joining, disconnect, leave};
use super::owner::Owner;
use super::peer::{Peer, Scene};
use super::rooms::Rooms;
use super::roster::{Joined, Roster};
use super::signal::{self, Signal, SignalError};
use crate::id::{MemberId, NodeId};
use crate::topic::Topic;

/// Who is in which topic, on all nodes, as this node knows it. It has no clock and no connection: what
/// happens is told by `handle_*` and the plain verbs, and after each of them, [`poll_signal`] and
/// [`poll_event`] are called until they return `None`, and [`handle_timeout`] at the [`deadline`].
///
/// `now` does not go back; an earlier time counts as the latest one.
///
/// ```
/// use std::time::Instant;
///
/// use tautline_hub::presence::{Change, Config, MemberInfo, Tracker};
/// use tautline_hub::{NodeId, Topic};
///
/// let now = Instant::now();
/// let topic = Topic::new("chat")?;
/// let mut here = Tracker::new(NodeId::from_u64(1), Config::new(), now);
/// let mut there = Tracker::new(NodeId::from_u64(2), Config::new(), now);
///
/// here.join(now, &topic, 1, &MemberInfo::new("anna"))?;
/// here.handle_timeout(now + Config::DEFAULT_HEARTBEAT);
/// while let Some(signal) = here.poll_signal() {
///     there.handle_signal(now, &signal)?;
/// }
/// let event = there.poll_event(now).ok_or("nobody came")?;
/// assert_eq!((event.change, &*event.member.info.user), (Change::Joined, "anna"));
/// assert_eq!(there.counts(&topic).members, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`poll_signal`]: Self::poll_signal
/// [`poll_event`]: Self::poll_event
/// [`handle_timeout`]: Self::handle_timeout
/// [`deadline`]: Self::deadline
#[derive(Debug)]
pub struct Tracker {
    config: Config,
    now: Instant,
    roster: Roster,
    owner: Owner,
    rooms: Rooms,
    peers: HashMap<NodeId, Peer>,
    /// What is left of nodes that are gone. They leave a group at a time.
    gone: Vec<(NodeId, Roster)>,
    /// Nodes that said goodbye, and until when what is late is not believed.
    departed: VecDeque<(NodeId, Instant)>,
    hearing: Hearing,
    /// There were more nodes than there may be.
    crowded_until: Option<Instant>,
    stats: Stats,
}

/// Whether other nodes can be heard.
#[derive(Debug)]
enum Hearing {
    /// Nothing arrives.
    Nothing,
    /// Since a short time: there may be nodes that this one does not know.
    Since(Instant),
    /// For long enough.
    Everyone,
    /// This node has ended.
    Ended,
}

/// What a [`Tracker`] has and has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Other nodes that are known.
    pub nodes: usize,
    /// Members of topics, on all nodes. A connection is one in each of its topics.
    pub members: usize,
    /// Connections that are in any topic, on all nodes.
    pub connections: usize,
    /// Topics that somebody is in, or has left just now.
    pub topics: usize,
    /// Those in their [grace time](Config::grace).
    pub leaving: usize,
    /// What members take, as [`Config::max_bytes`] counts.
    pub bytes: usize,
    /// Signals that could not be read.
    pub malformed_signals: u64,
    /// Signals of nodes beyond [`Config::max_nodes`].
    pub refused_signals: u64,
    /// Members of the nodes that are known, for which there was no memory: each time they were told.
    pub refused_members: u64,
    /// Signals that nobody took in time.
    pub dropped_signals: u64,
}

impl Tracker {
    /// Of this node, whose number no other node has, and which had another number before it was
    /// started again.
    #[must_use]
    pub fn new(node: NodeId, config: Config, now: Instant) -> Self {
        Self {
            now,
            roster: Roster::new(),
            owner: Owner::new(node, &config, now),
            rooms: Rooms::new(config.clone()),
            peers: HashMap::new(),
            gone: Vec::new(),
            departed: VecDeque::new(),
            hearing: if config.is_alone() { Hearing::Everyone } else { Hearing::Since(now) },
            crowded_until: None,
            stats: Stats::default(),
            config,
        }
    }

    /// A connection of this node joins a topic. `number` is its own for as long as this node runs. If
    /// it is there already, it then has this `topic_data`.
    ///
    /// # Errors
    /// Why it cannot join. Nothing has changed then.
    pub fn join(
        &mut self,
        now: Instant,
        topic: &Topic,
        number: u64,
        info: &MemberInfo,
    ) -> Result<(), JoinError> {
        let now = self.advance(now);
        info.check()?;
        let (connection_data, topic_data) = (&*info.connection_data, &*info.topic_data);
        let id = MemberId { node: self.owner.node(), number };
        let joining = Joining { id, user: &info.user, connection_data, topic, topic_data };
        if joining.differs(&self.roster) {
            return Err(JoinError::Differs);
        }
        let most = self.most(self.roster.bytes());
        match joining.join(&mut self.roster, &mut self.rooms, most) {
            Err(_) => return Err(JoinError::Full),
            Ok(Joined::Same) => {}
            Ok(Joined::New | Joined::Changed) if self.is_heard() => {
                self.owner.joined(now, (number, &info.user, connection_data), topic, topic_data);
            }
            Ok(_) => {}
        }
        Ok(())
    }

    /// A connection of this node leaves a topic. Nothing happens if it is not there.
    pub fn leave(&mut self, now: Instant, topic: &Topic, number: u64) {
        let now = self.advance(now);
        let id = MemberId { node: self.owner.node(), number };
        if leave(&mut self.roster, &mut self.rooms, now, id, topic) && self.is_heard() {
            self.owner.left(now, number, topic);
        }
    }

    /// A connection of this node leaves all its topics.
    pub fn disconnect(&mut self, now: Instant, number: u64) {
        let now = self.advance(now);
        let id = MemberId { node: self.owner.node(), number };
        if disconnect(&mut self.roster, &mut self.rooms, now, id) && self.is_heard() {
            self.owner.disconnected(now, number);
        }
    }

    /// Takes a signal, of this node or another one. Signals may be lost, doubled, or come in another
    /// order.
    ///
    /// # Errors
    /// Why it cannot be read. It was ignored.
    pub fn handle_signal(&mut self, now: Instant, signal: &[u8]) -> Result<(), SignalError> {
        let now = self.advance(now);
        let decoded = signal::decode(signal);
        self.stats.malformed_signals += u64::from(decoded.is_err());
        let (node, signal) = decoded?;
        if node != self.owner.node() && self.is_heard() && !self.has_departed(node) {
            self.take(now, node, signal);
        }
        Ok(())
    }

    fn take(&mut self, now: Instant, node: NodeId, signal: Signal<'_>) {
        match signal {
            Signal::Bye => {
                if let Some(peer) = self.peers.remove(&node) {
                    self.gone.push((node, peer.into_roster()));
                }
                if self.departed.len() >= MAX_DEPARTED {
                    self.departed.pop_front();
                }
                let until = now + self.config.get_heartbeat() * SILENT_BEATS;
                return self.departed.push_back((node, until));
            }
            Signal::Ask { owner, digests, buckets } => {
                if owner == self.owner.node() {
                    self.owner.ask(digests, &buckets);
                }
                return;
            }
            Signal::Beat { hello: true, .. } => self.owner.beat_soon(now),
            _ => {}
        }
        if !self.knows(now, node) {
            self.stats.refused_signals += 1;
            return;
        }
        let most = self.most(self.peers.get(&node).map_or(0, |peer| peer.roster().bytes()));
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let mut scene = Scene { now, rooms: &mut self.rooms, most };
        let refused = peer.refused();
        match signal {
            Signal::Beat { version, digest, .. } => peer.handle_beat(now, version, digest),
            Signal::Digests { version, digests } => peer.handle_digests(now, version, &digests),
            Signal::Delta { version, changes } => peer.handle_delta(&mut scene, version, &changes),
            Signal::Piece { version, from, to, members } => {
                peer.handle_piece(&mut scene, version, (from, to), &members);
            }
            Signal::Ask { .. } | Signal::Bye => {}
        }
        self.stats.refused_members += peer.refused() - refused;
    }

    /// Whether the node is known, or there was room for another one.
    fn knows(&mut self, now: Instant, node: NodeId) -> bool {
        if self.peers.contains_key(&node) {
            return true;
        }
        let left = self.gone.iter().position(|(gone, _)| *gone == node);
        if left.is_none() && self.peers.len() + self.gone.len() >= self.config.get_max_nodes() {
            self.crowded_until = Some(now + self.config.get_heartbeat() * SILENT_BEATS);
            return false;
        }
        let roster = left.map_or_else(Roster::new, |index| self.gone.swap_remove(index).1);
        let peer = Peer::new(node, self.config.get_heartbeat(), roster, now);
        self.peers.insert(node, peer);
        true
    }

    /// The broker was lost: until it is back, nobody can be heard. Members of other nodes are kept, and
    /// what is known of them is not complete.
    pub fn handle_lost(&mut self, now: Instant) {
        self.advance(now);
        if self.is_heard() {
            self.hearing = Hearing::Nothing;
        }
    }

    /// The broker is there, at first or again: this node asks who is there. The others have the time of
    /// a newcomer to answer.
    pub fn handle_connected(&mut self, now: Instant) {
        let now = self.advance(now);
        if !self.is_heard() {
            return;
        }
        self.hearing = Hearing::Since(now);
        self.owner.hello(now);
        for peer in self.peers.values_mut() {
            peer.excuse(now.saturating_duration_since(peer.heard()));
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.advance(now);
        self.let_leave(now);
        if !self.is_heard() {
            return;
        }
        if self.heard_at().is_some_and(|at| at <= now) {
            self.hearing = Hearing::Everyone;
        }
        self.crowded_until = self.crowded_until.filter(|until| *until > now);
        if !matches!(self.hearing, Hearing::Nothing) {
            for (node, peer) in self.peers.extract_if(|_, peer| peer.silent_at() <= now) {
                self.gone.push((node, peer.into_roster()));
            }
        }
        self.owner.handle_timeout(now, &self.roster);
        for (owner, peer) in &mut self.peers {
            if let Some((digests, buckets)) = peer.poll_question(now) {
                self.owner.push(signal::ask(self.owner.node(), *owner, digests, &buckets));
            }
        }
    }

    /// This node ends: the others are told, and do not wait for it to be silent. Nothing else is told
    /// from then on, and nothing is heard.
    pub fn end(&mut self) {
        if self.is_heard() {
            self.owner.end();
            self.hearing = Hearing::Ended;
        }
    }

    /// The next signal to send to all other nodes, at most
    /// [`MAX_SIGNAL_LEN`](crate::presence::MAX_SIGNAL_LEN) bytes.
    pub fn poll_signal(&mut self) -> Option<Bytes> {
        self.owner.poll_signal()
    }

    /// The next one who joined or left.
    pub fn poll_event(&mut self, now: Instant) -> Option<Event> {
        let now = self.advance(now);
        self.rooms.poll_event(now)
    }

    /// When something is to be done: to call [`handle_timeout`](Self::handle_timeout), then
    /// [`poll_signal`](Self::poll_signal) and [`poll_event`](Self::poll_event).
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let work = (!self.gone.is_empty() || self.rooms.has_events()).then_some(self.now);
        let own = [self.rooms.deadline(), work].into_iter().flatten().min();
        if !self.is_heard() {
            return own;
        }
        let can_hear = !matches!(self.hearing, Hearing::Nothing);
        let silent = self.peers.values().filter(|_| can_hear).map(Peer::silent_at);
        let questions = self.peers.values().filter_map(Peer::ask_at);
        let heard = self.heard_at().into_iter().chain(self.crowded_until);
        own.into_iter()
            .chain([self.owner.deadline()])
            .chain(heard)
            .chain(silent)
            .chain(questions)
            .min()
    }

    /// How many are in a topic. Costs a lookup.
    #[must_use]
    pub fn counts(&self, topic: &Topic) -> Counts {
        self.rooms.counts(topic)
    }

    /// Whether connections without a user are in a topic.
    #[cfg(feature = "centrifuge")]
    pub(crate) fn has_unnamed(&self, topic: &Topic) -> bool {
        self.rooms.has_unnamed(topic)
    }

    /// Who is in a topic, in no order.
    pub fn members(&self, topic: &Topic) -> impl Iterator<Item = Member> {
        self.rooms.members(topic).filter_map(|id| {
            let info = self.roster_of(id.node)?.get(id.number)?.info(topic)?;
            Some(Member { id, info })
        })
    }

    /// At most so many of those who are in a topic, and whether these are known to be all.
    #[must_use]
    pub fn presence(&self, topic: &Topic, limit: usize) -> Presence {
        let members: Vec<_> = self.members(topic).take(limit).collect();
        let all = members.len() < limit || self.counts(topic).members <= limit;
        Presence { members, complete: all && self.is_complete() }
    }

    /// The states of all known nodes are there, and this one has listened for long enough to know them.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self.hearing, Hearing::Everyone)
            && self.crowded_until.is_none()
            && self.gone.is_empty()
            && self.peers.values().all(Peer::is_complete)
    }

    /// What there is, and what was seen.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let rosters = || self.rosters();
        Stats {
            nodes: self.peers.len(),
            members: rosters().map(Roster::len).sum(),
            connections: rosters().map(Roster::connections).sum(),
            topics: self.rooms.len(),
            leaving: self.rooms.leaving(),
            bytes: self.bytes(),
            dropped_signals: self.owner.dropped(),
            ..self.stats
        }
    }

    /// Takes the time, and returns it. If nobody called for longer than anything here waits, this
    /// process was stopped, and could not hear.
    fn advance(&mut self, now: Instant) -> Instant {
        let passed = now.saturating_duration_since(self.now);
        if passed > self.config.get_heartbeat() * 2 {
            self.peers.values_mut().for_each(|peer| peer.excuse(passed));
        }
        self.now = self.now.max(now);
        self.now
    }

    /// When this node has listened for long enough: every other one has said twice that it is there.
    fn heard_at(&self) -> Option<Instant> {
        match self.hearing {
            Hearing::Since(since) => Some(since + self.config.get_heartbeat() * 2),
            _ => None,
        }
    }

    /// There are others, to whom it matters what happens here.
    const fn is_heard(&self) -> bool {
        !self.config.is_alone() && !matches!(self.hearing, Hearing::Ended)
    }

    fn has_departed(&mut self, node: NodeId) -> bool {
        let now = self.now;
        while self.departed.front().is_some_and(|(_, until)| *until <= now) {
            self.departed.pop_front();
        }
        self.departed.iter().any(|(departed, _)| *departed == node)
    }

    /// Lets a group of the members of nodes that are gone leave.
    fn let_leave(&mut self, now: Instant) {
        let mut left = 0;
        while let Some((node, roster)) = self.gone.last_mut() {
            let first = roster.after(&Mark::start_of(0)).next();
            let first = first.map(|(number, _, topic, _)| (number, topic.clone()));
            let Some((number, topic)) = first else {
                self.gone.pop();
                continue;
            };
            if left == LEAVING_AT_ONCE {
                return;
            }
            left += 1;
            let id = MemberId { node: *node, number };
            leave(roster, &mut self.rooms, now, id, &topic);
        }
    }

    /// What the members of one roster may take, which now take `bytes`.
    fn most(&self, bytes: usize) -> usize {
        self.config.get_max_bytes().saturating_sub(self.bytes() - bytes)
    }

    fn bytes(&self) -> usize {
        self.rosters().map(Roster::bytes).sum()
    }

    fn rosters(&self) -> impl Iterator<Item = &Roster> {
        let gone = self.gone.iter().map(|(_, roster)| roster);
        std::iter::once(&self.roster).chain(self.peers.values().map(Peer::roster)).chain(gone)
    }

    fn roster_of(&self, node: NodeId) -> Option<&Roster> {
        if node == self.owner.node() {
            return Some(&self.roster);
        }
        self.peers.get(&node).map(Peer::roster)
    }
}
