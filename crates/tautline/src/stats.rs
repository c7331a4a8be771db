//! What has passed through a connection, for whoever holds it.

use std::time::Duration;

use tautline_frame::Protocol;

/// What has passed through a connection so far: see [`WebSocket::stats`](crate::WebSocket::stats).
/// It is the same for both ends, and stays what it was when the connection has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionStats {
    /// Messages that the peer has sent, whole ones, also those that were skipped.
    pub messages_received: u64,
    /// Messages that were queued for the peer, whole ones.
    pub messages_sent: u64,
    /// Bytes of frames that were read, within TLS, also those that came behind the opening
    /// handshake; with pings, pongs and the Close.
    pub bytes_received: u64,
    /// Bytes of frames that were written, within TLS; with pings, pongs and the Close.
    pub bytes_sent: u64,
    /// How long the peer took for its last pong, whether you have asked for the ping
    /// ([`WebSocket::ping`](crate::WebSocket::ping)) or it was for keepalive; `None` before the
    /// first.
    pub round_trip: Option<Duration>,
}

impl ConnectionStats {
    pub(crate) fn of(protocol: &Protocol) -> Self {
        Self {
            messages_received: protocol.received_messages(),
            messages_sent: protocol.sent_messages(),
            bytes_received: protocol.read_bytes(),
            bytes_sent: protocol.written_bytes(),
            round_trip: protocol.round_trip(),
        }
    }
}
