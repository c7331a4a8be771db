//! Who is in a topic.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::config::{MAX_DATA_LEN, MAX_USER_LEN};
use crate::id::MemberId;
use crate::topic::Topic;

/// What others are told of a member.
#[derive(Clone, PartialEq, Eq, Default)]
#[expect(clippy::exhaustive_structs, reason = "who, by which connection, in which topic")]
pub struct MemberInfo {
    /// Whose connection it is; empty if that is not known. At most [`MAX_USER_LEN`] bytes. The same
    /// for all topics of a connection.
    pub user: Arc<str>,
    /// What is told of the connection, at most [`MAX_DATA_LEN`] bytes. The same for all its topics.
    pub connection_data: Bytes,
    /// What is told of it in this topic, at most [`MAX_DATA_LEN`] bytes.
    pub topic_data: Bytes,
}

impl MemberInfo {
    /// Of this user, without data.
    #[must_use]
    pub fn new(user: impl Into<Arc<str>>) -> Self {
        Self { user: user.into(), ..Self::default() }
    }

    /// What is told of the connection.
    #[must_use]
    pub fn connection_data(mut self, data: impl Into<Bytes>) -> Self {
        self.connection_data = data.into();
        self
    }

    /// What is told of it in this topic.
    #[must_use]
    pub fn topic_data(mut self, data: impl Into<Bytes>) -> Self {
        self.topic_data = data.into();
        self
    }

    pub(super) fn check(&self) -> Result<(), JoinError> {
        let data = self.connection_data.len().max(self.topic_data.len());
        match (self.user.len(), data) {
            (len, _) if len > MAX_USER_LEN => Err(JoinError::UserTooLong(len)),
            (_, len) if len > MAX_DATA_LEN => Err(JoinError::DataTooLong(len)),
            _ => Ok(()),
        }
    }
}

/// Without the data, which does not belong in logs.
impl fmt::Debug for MemberInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemberInfo").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A member of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "which one, and what is told of it")]
pub struct Member {
    /// Which connection.
    pub id: MemberId,
    /// What is told of it.
    pub info: MemberInfo,
}

/// How many are in a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "connections and users")]
pub struct Counts {
    /// Connections.
    pub members: usize,
    /// Users, each counted once. Connections without a user are not counted here.
    pub users: usize,
}

/// The members of a topic, of all nodes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Presence {
    /// Those that this node knows, in no order.
    pub members: Vec<Member>,
    /// This node has the state of all nodes that it knows of, and has listened for long enough to know
    /// them. If not, members may be missing, or be gone, for as long as
    /// [`Config::convergence`](super::Config::convergence) says.
    pub complete: bool,
}

/// Somebody joined a topic, or left it.
///
/// For each topic, a join and a leave of the same one (see [`Who`](super::Who)) follow each other in
/// turns.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "where, what, and who")]
pub struct Event {
    /// The topic.
    pub topic: Topic,
    /// What happened.
    pub change: Change,
    /// The connection by which it happened: the first one of a user who joins, the last one of a user
    /// who leaves.
    pub member: Member,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "one is there or is not")]
pub enum Change {
    /// They were not there before.
    Joined,
    /// They did not come back within the grace time.
    Left,
}

/// Why a member cannot join a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinError {
    /// The user has more than [`MAX_USER_LEN`] bytes: so many.
    UserTooLong(usize),
    /// Data has more than [`MAX_DATA_LEN`] bytes: so many.
    DataTooLong(usize),
    /// This connection is in other topics, with another user or other data.
    Differs,
    /// The members of all nodes take what they may
    /// ([`Config::max_bytes`](super::Config::max_bytes)).
    Full,
}

impl JoinError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Full)
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UserTooLong(len) => {
                write!(f, "the name of the user has {len} bytes, and {MAX_USER_LEN} are possible")
            }
            Self::DataTooLong(len) => {
                write!(f, "the data of the member has {len} bytes, and {MAX_DATA_LEN} are possible")
            }
            Self::Differs => f.write_str(
                "the connection is in other topics with another user or other data: leave them first",
            ),
            Self::Full => f.write_str("members take all the memory that `max_bytes` allows"),
        }
    }
}

impl std::error::Error for JoinError {}
