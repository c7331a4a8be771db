//! Which end of a connection this is.

use std::hash::{BuildHasher, RandomState};

use crate::mask;

/// Which end of a connection this is: this decides which end masks (RFC 6455 section 5.1) and which
/// closes first (section 7.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a connection has two ends")]
pub enum Role {
    /// The end that opened the connection: it masks what it sends.
    Client,
    /// The end that accepted the connection: it accepts masked frames only.
    Server,
}

impl Role {
    /// The length of the masking key of a frame that this end receives, in bytes.
    #[inline]
    pub(crate) const fn received_key_len(self) -> usize {
        match self {
            Self::Client => 0,
            Self::Server => 4,
        }
    }

    /// The key for the next frame that this end sends: a fresh one for a client, `None` for a
    /// server.
    #[inline]
    pub(crate) fn fresh_key(self) -> Option<[u8; 4]> {
        match self {
            Self::Client => Some(unpredictable_key()),
            Self::Server => None,
        }
    }
}

/// Four bytes that no outsider can predict. If the system's generator fails in a process that is
/// already running, they come from a keyed hash, different for each call, whose secret the standard
/// library took from the system.
#[inline]
pub(crate) fn unpredictable_key() -> [u8; 4] {
    mask::random_key().unwrap_or_else(|_| {
        let [_, _, _, _, key @ ..] = RandomState::new().hash_one(0).to_be_bytes();
        key
    })
}
