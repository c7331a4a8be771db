//! Turns: the driver of a connection asks whether one is over, and says when the next begins.

use super::Protocol;
use crate::config::FRAME_COST;

impl Protocol {
    /// Whether this turn has used up its allowance: see [Turns](Self#turns). If so, `handle_data`
    /// returned `Ok(None)` though there may be whole frames in the buffer.
    #[must_use]
    #[inline]
    pub const fn is_turn_over(&self) -> bool {
        self.turn.is_over()
    }

    /// Counts a received message that is kept for later, by its memory.
    pub(crate) fn charge_kept(&mut self, len: usize) {
        self.turn.charge(len);
    }

    /// Counts what was kept and is delivered now: delivering many of those is work too.
    pub(crate) fn charge_taken(&mut self, len: usize) {
        self.turn.charge(FRAME_COST as usize);
        self.turn.charge_plain(len);
    }

    /// Begins the next turn, with its whole allowance: other connections have had theirs, or there
    /// are none.
    ///
    /// ```
    /// use std::time::Instant;
    /// use bytes::BytesMut;
    /// use tautline_frame::{Config, Protocol, Role};
    ///
    /// let now = Instant::now();
    /// let mut client = Protocol::new(Role::Client, Config::new(), now);
    /// // 1,000 messages of two bytes.
    /// let mut wire = BytesMut::from(&b"\x82\x02hi".repeat(1000)[..]);
    /// let (mut messages, mut turns) = (0, 1);
    /// loop {
    ///     match client.handle_data(&mut wire, now)? {
    ///         Some(_) => messages += 1,
    ///         None if client.is_turn_over() => {
    ///             // Here other connections have their turns.
    ///             client.begin_turn();
    ///             turns += 1;
    ///         }
    ///         None => break,
    ///     }
    /// }
    /// assert_eq!((messages, turns), (1000, 2));
    /// # Ok::<(), tautline_frame::ProtocolError>(())
    /// ```
    #[inline]
    pub fn begin_turn(&mut self) {
        if !self.is_paused() {
            self.turn.renew();
        }
    }
}
