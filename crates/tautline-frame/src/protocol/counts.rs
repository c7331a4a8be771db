//! What has passed through a connection, for observers. Counting costs one instruction for each message
//! and each read.

use std::time::{Duration, Instant};

use super::Protocol;

impl Protocol {
    /// How many messages have been received to their end, also those that were skipped.
    ///
    /// ```
    /// use std::time::Instant;
    /// use bytes::BytesMut;
    /// use tautline_frame::{Config, Protocol, Role};
    ///
    /// let now = Instant::now();
    /// let mut client = Protocol::new(Role::Client, Config::new(), now);
    /// let mut wire = BytesMut::from(&b"\x82\x02hi\x89\x00\x82\x01!"[..]);
    /// while client.handle_data(&mut wire, now)?.is_some() {}
    /// assert_eq!(client.received_messages(), 2, "and a ping");
    /// # Ok::<(), tautline_frame::ProtocolError>(())
    /// ```
    #[must_use]
    pub const fn received_messages(&self) -> u64 {
        self.received
    }

    /// How many messages have been queued to their end.
    #[must_use]
    pub const fn sent_messages(&self) -> u64 {
        self.sent
    }

    /// How many bytes of frames have been read, with those that came behind the opening handshake. Only
    /// a [`Session`](crate::session::Session) counts them.
    #[must_use]
    pub const fn read_bytes(&self) -> u64 {
        self.arrived
    }

    /// Bytes were read.
    #[inline]
    pub(crate) const fn note_arrived(&mut self, count: usize) {
        self.arrived += count as u64;
    }

    /// How many bytes of frames the transport has taken.
    #[must_use]
    pub const fn written_bytes(&self) -> u64 {
        self.queue.written()
    }

    /// When anything was last received: the time of the newest read, or when the connection began.
    #[must_use]
    pub const fn last_received(&self) -> Instant {
        self.last_received
    }

    /// How long the peer took for its last pong, to the microsecond, whether a user had asked for
    /// the ping or it was for keepalive; `None` before the first.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        let micros = self.pings.round_trip;
        (micros > 0).then(|| Duration::from_micros(micros.into()))
    }
}
