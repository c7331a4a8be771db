//! What a registry tells of a connection.

use std::fmt;
use std::time::Duration;

use http::Version;

use crate::transport::Peer;

/// The number of a connection in its [`Registry`](crate::Registry): 1 for the first, and never used
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub(super) u64);

impl ConnectionId {
    /// One with this number, for instance from the request of an operator.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

/// The number.
impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A connection as it last told its [`Registry`](crate::Registry) about itself.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// Its number.
    pub id: ConnectionId,
    /// Who is at the other end.
    pub peer: Peer,
    /// The version of HTTP of its opening handshake.
    pub http_version: Version,
    /// The subprotocol that was agreed on.
    pub subprotocol: Option<String>,
    /// Whether compression was agreed on (RFC 7692).
    pub compressed: bool,
    /// How long ago it was opened.
    pub age: Duration,
    /// Messages that the peer has sent, whole ones, also those that were skipped.
    pub messages_received: u64,
    /// Messages that were queued for the peer, whole ones.
    pub messages_sent: u64,
    /// Bytes of frames that were read, within TLS, also those that came behind the opening handshake.
    pub bytes_received: u64,
    /// Bytes of frames that were written, within TLS.
    pub bytes_sent: u64,
    /// Bytes that wait to be written.
    pub queued: u64,
    /// How long the peer took for its last pong; `None` before the first.
    pub round_trip: Option<Duration>,
}

impl ConnectionInfo {
    /// For tests.
    #[cfg(test)]
    pub(super) fn of_nobody(id: ConnectionId) -> Self {
        Self::opened(id, Peer::unknown(), Version::HTTP_11)
    }

    /// One that was just opened.
    pub(crate) const fn opened(id: ConnectionId, peer: Peer, http_version: Version) -> Self {
        Self {
            id,
            peer,
            http_version,
            subprotocol: None,
            compressed: false,
            age: Duration::ZERO,
            messages_received: 0,
            messages_sent: 0,
            bytes_received: 0,
            bytes_sent: 0,
            queued: 0,
            round_trip: None,
        }
    }
}

/// In one line.
impl fmt::Display for ConnectionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {:?} age {:.0?} received {}/{} B sent {}/{} B queued {} B",
            self.id,
            self.peer,
            self.http_version,
            self.age,
            self.messages_received,
            self.bytes_received,
            self.messages_sent,
            self.bytes_sent,
            self.queued,
        )?;
        if let Some(time) = self.round_trip {
            write!(f, " round trip {time:.1?}")?;
        }
        if self.compressed {
            f.write_str(" compressed")?;
        }
        match &self.subprotocol {
            Some(name) => write!(f, " subprotocol {name}"),
            None => Ok(()),
        }
    }
}
