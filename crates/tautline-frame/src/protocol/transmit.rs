//! The sending side: messages and our own control frames into the write queue.

use std::time::Instant;

use bytes::{Buf, Bytes};

use super::Protocol;
use super::closing::OurClose;
use super::pings::PingState;
use crate::compression::Compress;
use crate::error::SendError;
use crate::header::{Header, Rsv};
use crate::message::Message;
use crate::opcode::OpCode;
use crate::state::Event;
use crate::write_queue::WriteQueue;

impl Protocol {
    /// Queues a message: as one frame, or in fragments of
    /// [`Config::fragment_size`](crate::Config::fragment_size).
    ///
    /// While the connection is open, messages are always accepted: ask [`ready`](Self::ready)
    /// first, or the queue grows.
    ///
    /// # Errors
    /// [`SendError::Closed`] once a Close was sent or received (RFC 6455 section 5.5.1). Nothing
    /// was queued.
    #[inline(always)]
    pub fn send(&mut self, message: Message) -> Result<(), SendError> {
        self.send_with(message, Compress::Auto)
    }

    /// As [`send`](Self::send), choosing whether to compress this message, if compression was
    /// negotiated.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    #[inline(always)]
    pub fn send_with(&mut self, message: Message, compress: Compress) -> Result<(), SendError> {
        let opcode = if message.is_text() { OpCode::Text } else { OpCode::Binary };
        let payload = message.into_bytes();
        if self.push_short(opcode, &payload) {
            return Ok(());
        }
        self.send_payload(opcode, payload, compress)
    }

    /// The general path: for messages that are compressed, in fragments or long, and for those that
    /// are refused.
    #[inline(never)]
    pub(super) fn send_payload(
        &mut self,
        opcode: OpCode,
        payload: Bytes,
        compress: Compress,
    ) -> Result<(), SendError> {
        if !self.is_open() {
            return Err(SendError::Closed);
        }
        if self.is_writing() {
            return Err(SendError::Unfinished);
        }
        self.count_sent();
        let (rsv, payload) = match &self.deflate {
            None => (Rsv::NONE, payload),
            Some(_) => self.compress(payload, opcode, compress),
        };
        if self.sends_whole() {
            self.push(true, rsv, opcode, payload);
        } else {
            self.send_in_fragments(rsv, opcode, payload);
        }
        Ok(())
    }

    /// Whether a message goes out in a single frame: no fragment size is set, and no other message
    /// is going out in fragments.
    #[inline]
    pub(super) fn sends_whole(&self) -> bool {
        self.outgoing.is_none() && self.config.fragment_size.is_none()
    }

    /// RFC 7692 section 6.1: RSV1 marks a compressed message, on its first frame.
    fn compress(&mut self, payload: Bytes, opcode: OpCode, compress: Compress) -> (Rsv, Bytes) {
        let text = opcode == OpCode::Text;
        let deflate = self.deflate.as_mut().filter(|_| !self.broken);
        match deflate.and_then(|it| {
            it.compress(&payload, text, compress, self.last_received, &mut self.turn)
        }) {
            Some(compressed) => (Rsv::RSV1, compressed),
            None => (Rsv::NONE, payload),
        }
    }

    /// Encodes what is due: pong and ping before further data, a Close after it. Returns whether
    /// the queue holds anything to be written.
    #[inline]
    pub fn poll_transmit(&mut self) -> bool {
        let control = self.pong.is_some() || self.pings.under_way;
        if control || self.outgoing.is_some() || self.closing.is_some() {
            self.encode_due();
        }
        self.queue.has_remaining()
    }

    #[inline(never)]
    fn encode_due(&mut self) {
        if self.pong.is_some() && self.has_room() {
            self.encode_pong();
        }
        if self.pings.under_way && self.has_room() {
            self.encode_pings();
        }
        if self.outgoing.is_some() {
            self.push_fragments();
        }
        if self.owes_close() && !self.has_rest() {
            self.encode_close();
        }
    }

    /// What is to be written next; advance it by what the transport took, then call
    /// [`handle_written`](Self::handle_written).
    #[must_use]
    #[inline]
    pub const fn queue(&mut self) -> &mut WriteQueue {
        &mut self.queue
    }

    /// Drops what is queued, for a transport that has ended.
    pub fn drop_queue(&mut self) {
        self.queue.drop_all();
    }

    /// How many bytes wait to be written: what is encoded, and the rest of a message that is sent
    /// in fragments.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.remaining() + self.outgoing.as_ref().map_or(0, |outgoing| outgoing.queued())
    }

    /// How many messages wait to be written to their end, with the one that is sent in fragments
    /// or is [begun](Self::begin_message). It takes longer the more frames wait: their headers are
    /// read.
    #[must_use]
    pub fn queued_messages(&self) -> usize {
        self.queue.messages() + usize::from(self.outgoing.is_some())
    }

    /// Whether everything that was encoded has been written.
    #[must_use]
    #[inline]
    pub fn is_flushed(&self) -> bool {
        !self.queue.has_remaining()
    }

    /// The transport has taken some bytes of the queue.
    #[inline]
    pub fn handle_written(&mut self, now: Instant) {
        self.note_written(|| now);
    }

    /// The time matters only while a ping or a Close is on its way, and reading the clock costs as
    /// much as a short message.
    #[inline]
    pub(crate) fn note_written(&mut self, now: impl FnOnce() -> Instant) {
        self.timers.send = None;
        if self.pings.under_way || self.closing.is_some() {
            self.note_written_controls(now());
        }
    }

    #[cold]
    fn note_written_controls(&mut self, now: Instant) {
        self.extend_close(now);
        if self.pings.under_way {
            self.note_written_pings(now);
        }
    }

    fn note_written_pings(&mut self, now: Instant) {
        // From here on, not from when they were queued: a ping may wait until a long message is
        // written.
        let written = self.queue.written();
        self.pings.keepalive.handle_written(written, now);
        if let Some(asked) = &mut self.pings.asked
            && asked.state.handle_written(written, now)
        {
            asked.deadline = now.checked_add(self.config.ping_timeout);
        }
        self.pings.note();
    }

    /// The transport accepts nothing for now, though the queue is not empty.
    pub fn handle_blocked(&mut self, now: Instant) {
        if self.timers.send.is_none() {
            self.timers.send =
                self.config.send_timeout.and_then(|timeout| now.checked_add(timeout));
        }
    }

    /// The transport can no longer be written to. What was queued is lost. What the peer has sent
    /// can still be read until its Close, the end of the stream, or
    /// [`Config::close_timeout`](crate::Config::close_timeout).
    pub fn handle_broken(&mut self, now: Instant) {
        self.outgoing = None;
        self.pong = None;
        self.drop_close();
        self.queue.drop_all();
        self.stop_liveness();
        self.stop_compressing();
        self.timers.send = None;
        self.broken = true;
        // As if our Close had been sent: nothing more can be, and the peer's Close ends the
        // connection.
        self.state = self.state.on(Event::SendClose).0;
        self.begin_closing(now);
    }

    /// Whether so much is queued that it should be written before the next turn: half of
    /// [`Config::write_mark`](crate::Config::write_mark).
    #[must_use]
    pub fn should_write(&self) -> bool {
        self.queue.remaining() >= self.config.write_mark / 2
    }

    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.queue.remaining() < self.config.write_mark
    }

    /// Every ping gets its pong while there is room; after that only the newest does (RFC 6455
    /// section 5.5.3).
    pub(super) fn answer_ping(&mut self, payload: Bytes) {
        if self.has_room() {
            self.encode_pong();
            self.push(true, Rsv::NONE, OpCode::Pong, payload);
        } else {
            self.pong = Some(Box::new(payload));
        }
    }

    fn encode_pong(&mut self) {
        if let Some(payload) = self.pong.take() {
            self.push(true, Rsv::NONE, OpCode::Pong, *payload);
        }
    }

    fn encode_pings(&mut self) {
        let act = self.state.allows(Event::SendPing);
        if self.pings.keepalive == PingState::Due {
            self.pings.keepalive = self.encode_ping(act, Bytes::new());
        }
        if let Some(mut asked) = self.pings.asked.take() {
            if asked.state == PingState::Due {
                let payload = Bytes::copy_from_slice(&asked.id.to_be_bytes());
                asked.state = self.encode_ping(act, payload);
            }
            self.pings.asked = Some(asked);
        }
        self.pings.note();
    }

    fn encode_ping(&mut self, act: bool, payload: Bytes) -> PingState {
        if !act {
            return PingState::None;
        }
        self.push(true, Rsv::NONE, OpCode::Ping, payload);
        PingState::Queued(self.queue.end())
    }

    pub(super) fn encode_close(&mut self) {
        if let Some(frame) = self.closing.as_mut().and_then(|closing| closing.due.take()) {
            // A pong that waited for room goes first: nothing follows the answer to a Close.
            self.encode_pong();
            self.push(true, Rsv::NONE, OpCode::Close, frame.encode());
            if let Some(closing) = &mut self.closing {
                closing.ours = OurClose::Queued(self.queue.end());
            }
            self.sent_close = Some(frame.code());
            // The answer to the peer's Close ends the handshake; in any other state the Close was
            // counted when it was due.
            self.state = self.state.on(Event::SendClose).0;
        }
    }

    #[inline]
    pub(super) fn push(&mut self, fin: bool, rsv: Rsv, opcode: OpCode, payload: Bytes) {
        let header = self.header(fin, rsv, opcode, payload.len());
        let start = self.queue.end();
        self.queue.push(&header, payload);
        if self.limited.is_some() && opcode.is_control() {
            self.note_queued_control(self.queue.end() - start);
        }
    }

    #[inline]
    pub(super) fn header(&self, fin: bool, rsv: Rsv, opcode: OpCode, len: usize) -> Header {
        Header { fin, rsv, opcode, mask: self.role.fresh_key(), len: len as u64 }
    }
}
