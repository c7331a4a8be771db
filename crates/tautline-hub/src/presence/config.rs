//! Numbers of ours, each with its reason.

use std::time::Duration;

/// The longest name of a user, in bytes.
pub const MAX_USER_LEN: usize = 255;

/// The most data of a connection, and the most data of a member of a topic, in bytes: so that several
/// members fit in a signal.
pub const MAX_DATA_LEN: usize = 4096;

/// The longest signal, in bytes. Brokers carry 64 KiB without questions; a shorter one delays what
/// waits behind it less.
pub const MAX_SIGNAL_LEN: usize = 32 * 1024;

/// A node that was silent for so many heartbeats is gone: three that were missed, and one more for
/// what is late.
pub(super) const SILENT_BEATS: u32 = 4;

/// A node answers questions of others at most so often in a heartbeat, so that all who have the same
/// question get one answer.
pub(super) const ANSWERS_PER_BEAT: u32 = 4;

/// An answer has at most so many signals with members: with the longest signals and the default
/// heartbeat, 1.4 MB a second. Several nodes ask for everything at once after a broker was away.
pub(super) const PIECES_PER_ANSWER: usize = 16;

/// The first change after a quiet time waits for others, for this part of a heartbeat: connections
/// come and go in groups, and each of them with several topics.
pub(super) const GATHERINGS_PER_BEAT: u32 = 16;

/// Signals that wait to be taken; beyond that the oldest are dropped, which others notice as a loss.
pub(super) const MAX_QUEUED_SIGNALS: usize = 256;

/// Members of a node that is gone leave in groups of so many, so that one call stays below some
/// milliseconds.
pub(super) const LEAVING_AT_ONCE: usize = 4096;

/// Nodes that said goodbye, and are not believed to be back when something of theirs is late.
pub(super) const MAX_DEPARTED: usize = 256;

/// What a connection counts beside its user and its data, and what a topic that it is in counts
/// beside its name and its data: measured, with its user, a member that is alone in its topic takes 800
/// bytes, one among many 370, and each of many topics of a connection 170.
pub(super) const CONNECTION_OVERHEAD: usize = 256;
pub(super) const MEMBER_OVERHEAD: usize = 576;

/// The longest heartbeat and grace time: beyond any use, and a time that a clock can have.
const MAX_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Who it is that joins and leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a user has connections, and there is nothing between")]
pub enum Who {
    /// The user: joins with the first connection and leaves with the last one, wherever they are. A
    /// connection without a user is one of its own.
    #[default]
    Users,
    /// Each connection, as clients expect that know each other by connection.
    Connections,
}

/// How presence is kept.
///
/// All nodes that share a broker have the same heartbeat.
///
/// ```
/// use std::time::Duration;
///
/// use tautline_hub::presence::Config;
///
/// let config = Config::new().grace(Duration::from_secs(10));
/// assert_eq!(config.get_heartbeat(), Config::DEFAULT_HEARTBEAT);
/// assert_eq!(config.convergence(0), Duration::from_millis(6375));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    heartbeat: Duration,
    grace: Duration,
    who: Who,
    alone: bool,
    max_nodes: usize,
    max_bytes: usize,
    max_leaving: usize,
}

const fn shorter(one: Duration, other: Duration) -> Duration {
    if one.as_nanos() < other.as_nanos() { one } else { other }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

impl Config {
    /// See [`heartbeat`](Self::heartbeat).
    pub const DEFAULT_HEARTBEAT: Duration = Duration::from_millis(1500);
    /// See [`grace`](Self::grace).
    pub const DEFAULT_GRACE: Duration = Duration::from_secs(5);
    /// See [`max_nodes`](Self::max_nodes).
    pub const DEFAULT_MAX_NODES: usize = 256;
    /// See [`max_bytes`](Self::max_bytes).
    pub const DEFAULT_MAX_BYTES: usize = 1 << 30;
    /// See [`max_leaving`](Self::max_leaving).
    pub const DEFAULT_MAX_LEAVING: usize = 100_000;
    /// The shortest heartbeat.
    pub const MIN_HEARTBEAT: Duration = Duration::from_millis(10);

    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            heartbeat: Self::DEFAULT_HEARTBEAT,
            grace: Self::DEFAULT_GRACE,
            who: Who::Users,
            alone: false,
            max_nodes: Self::DEFAULT_MAX_NODES,
            max_bytes: Self::DEFAULT_MAX_BYTES,
            max_leaving: Self::DEFAULT_MAX_LEAVING,
        }
    }

    /// How often a node tells that it is there, and how long changes may wait for others to be sent
    /// with. 1.5 s, at least [`MIN_HEARTBEAT`](Self::MIN_HEARTBEAT), and at most a day.
    #[must_use]
    pub const fn heartbeat(mut self, heartbeat: Duration) -> Self {
        let least = Self::MIN_HEARTBEAT;
        let heartbeat = shorter(heartbeat, MAX_TIME);
        self.heartbeat = if heartbeat.as_nanos() < least.as_nanos() { least } else { heartbeat };
        self
    }

    /// How long somebody may be away before it is told that they left, so that nothing is told of one
    /// who reconnects. 5 s, and at most a day. Counts and members do not wait for it.
    #[must_use]
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.grace = shorter(grace, MAX_TIME);
        self
    }

    /// Who it is that joins and leaves: users.
    #[must_use]
    pub const fn who(mut self, who: Who) -> Self {
        self.who = who;
        self
    }

    /// There are no other nodes, so nothing is signalled, and what this one knows is complete. Off.
    #[must_use]
    pub const fn alone(mut self, alone: bool) -> Self {
        self.alone = alone;
        self
    }

    /// How many other nodes there may be. What further ones say is ignored, and what is known then is
    /// not complete. 256.
    #[must_use]
    pub const fn max_nodes(mut self, nodes: usize) -> Self {
        self.max_nodes = nodes;
        self
    }

    /// How much memory the members of all nodes may take, counted as some 830 bytes for each and their
    /// names and data. Beyond, those of this node are refused, and those of others unknown. 1 GiB.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// How many may be in their [grace time](Self::grace) together. If there are more, it is shorter
    /// for the first of them. 100,000.
    #[must_use]
    pub const fn max_leaving(mut self, leaving: usize) -> Self {
        self.max_leaving = leaving;
        self
    }

    /// The heartbeat.
    #[must_use]
    pub const fn get_heartbeat(&self) -> Duration {
        self.heartbeat
    }

    /// The grace time.
    #[must_use]
    pub const fn get_grace(&self) -> Duration {
        self.grace
    }

    /// Who it is that joins and leaves.
    #[must_use]
    pub const fn get_who(&self) -> Who {
        self.who
    }

    /// Whether there are no other nodes.
    #[must_use]
    pub const fn is_alone(&self) -> bool {
        self.alone
    }

    /// How many other nodes there may be.
    #[must_use]
    pub const fn get_max_nodes(&self) -> usize {
        self.max_nodes
    }

    /// How much memory members may take.
    #[must_use]
    pub const fn get_max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// How many may be in their grace time.
    #[must_use]
    pub const fn get_max_leaving(&self) -> usize {
        self.max_leaving
    }

    /// When all nodes know the same members, at the latest, after members stopped changing, nodes
    /// stopped coming and going, and signals are no longer lost: if the members of a node take
    /// `state` bytes on the wire, and a signal arrives within a quarter of a heartbeat.
    ///
    /// A node that died is dropped 4 heartbeats after the last signal of it arrived. A loss is noticed
    /// with the next heartbeat; what follows takes a question and an answer, twice, each with two
    /// signals on their way and a pause of a quarter of a heartbeat before: less than 4. For each
    /// further 512 KiB of state that must be sent, it takes a quarter more.
    #[must_use]
    pub fn convergence(&self, state: usize) -> Duration {
        let quarter = self.heartbeat / ANSWERS_PER_BEAT;
        let answers = state / (PIECES_PER_ANSWER * MAX_SIGNAL_LEN);
        let further = quarter.saturating_mul(u32::try_from(answers).unwrap_or(u32::MAX));
        self.heartbeat.saturating_mul(SILENT_BEATS).saturating_add(quarter).saturating_add(further)
    }
}
