//! What has passed through a connection, for obclients. Messages are counted in small words, so that
//! an idle connection has room for them; how often these have wrapped is kept where few connections
//! have anything.

use std::time::{Duration, Instant};

use super::Protocol;
use super::limited::Limited;

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
    pub fn received_messages(&self) -> u64 {
        self.whole(self.received, 0)
    }

    /// How many messages have been queued to their end.
    #[must_use]
    pub fn sent_messages(&self) -> u64 {
        self.whole(self.sent, 1)
    }

    fn whole(&self, count: u32, which: usize) -> u64 {
        let wraps = self.limited.as_ref().map_or(0, |limited| limited.wraps[which]);
        u64::from(wraps) << 32 | u64::from(count)
    }

    /// A message has been received to its end.
    #[inline]
    pub(super) fn count_received(&mut self) {
        self.received = self.received.wrapping_add(1);
        if self.received == 0 {
            self.note_wrap(0);
        }
    }

    /// A message has been queued to its end.
    #[inline]
    pub(super) fn count_sent(&mut self) {
        self.sent = self.sent.wrapping_add(1);
        if self.sent == 0 {
            self.note_wrap(1);
        }
    }

    #[cold]
    fn note_wrap(&mut self, which: usize) {
        let now = self.last_received;
        let limited = self.limited.get_or_insert_with(|| Box::new(Limited::new(now)));
        limited.wraps[which] = limited.wraps[which].wrapping_add(1);
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

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::{Config, Message, Role};

    #[test]
    fn counts_go_on_where_their_words_end() {
        let now = Instant::now();
        let mut client = Protocol::new(Role::Client, Config::new(), now);
        (client.received, client.sent) = (u32::MAX - 1, u32::MAX);
        for count in 1..=3 {
            let mut wire = BytesMut::from(&b"\x82\x01x"[..]);
            client.handle_data(&mut wire, now).unwrap().unwrap();
            client.send(Message::from("x")).unwrap();
            assert_eq!(client.received_messages(), u64::from(u32::MAX) - 1 + count);
            assert_eq!(client.sent_messages(), u64::from(u32::MAX) + count);
        }
    }
}
