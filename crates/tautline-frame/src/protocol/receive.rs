//! In: bytes to frames to messages.

use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};

use super::pings::PingState;
use super::{Coding, Incoming, Protocol};
use crate::close::CloseFrame;
use crate::codec::take_payload;
use crate::error::ProtocolError;
use crate::header::{Header, Rsv};
use crate::message::Message;
use crate::opcode::OpCode;
use crate::state::{Event, State};
use crate::text::Text;

/// What a look at the buffer came to.
pub(super) enum Step {
    Message(Message),
    Handled,
    Incomplete,
}

impl Protocol {
    /// Bytes arrived that nobody looks at yet: a sign of life, whatever they are.
    /// [`handle_data`](Self::handle_data) counts those that it is given.
    #[inline]
    pub fn handle_received(&mut self, now: Instant) {
        self.last_received = self.last_received.max(now);
    }

    /// Takes frames off the buffer up to the end of a message. Control frames on the way are answered.
    ///
    /// `now` is when the newest bytes in the buffer arrived. `None`: every complete frame was taken, and what is left
    /// in the buffer (unmasked in place; leave it there) waits for more bytes; or [the turn is over](Self::is_turn_over).
    ///
    /// # Errors
    /// The rule that the peer broke. The connection has failed: a Close with the right code is left to be written, and
    /// everything else that arrives is discarded.
    #[inline(always)]
    pub fn handle_data(
        &mut self,
        buffer: &mut BytesMut,
        now: Instant,
    ) -> Result<Option<Message>, ProtocolError> {
        match self.take_short(buffer) {
            Some(message) => {
                self.handle_received(now);
                Ok(Some(message))
            }
            None => {
                if !buffer.is_empty() {
                    self.handle_received(now);
                }
                self.handle_arrived(buffer)
            }
        }
    }

    /// As [`handle_data`](Self::handle_data), for bytes whose arrival was [told](Self::handle_received), and of which
    /// [`take_short`](Self::take_short) took nothing.
    #[inline(never)]
    pub(crate) fn handle_arrived(
        &mut self,
        buffer: &mut BytesMut,
    ) -> Result<Option<Message>, ProtocolError> {
        let now = self.last_received;
        loop {
            if self.turn.is_over() {
                return Ok(None);
            }
            if !self.state.allows(Event::ReceiveData) {
                self.discard(buffer);
                return Ok(None);
            }
            match self.step(buffer, now) {
                Ok(Step::Message(message)) => return Ok(Some(message)),
                // Nothing is left to look at, as behind most pings.
                Ok(Step::Handled) if buffer.is_empty() && !self.may_be_mid_message() => {
                    return Ok(None);
                }
                Ok(Step::Handled) => {}
                Ok(Step::Incomplete) => {
                    if self.may_be_mid_message() && !self.turn.is_over() {
                        self.await_rest(now);
                    }
                    return Ok(None);
                }
                Err(error) => {
                    self.fail(error.into(), now);
                    self.discard(buffer);
                    return Err(error);
                }
            }
        }
    }

    fn discard(&mut self, buffer: &mut BytesMut) {
        // A peer that goes on behind its Close must be read out, or our answer is lost to a reset.
        self.unread |= !buffer.is_empty();
        self.turn.charge_plain(buffer.len());
        buffer.clear();
    }

    #[inline]
    fn step(&mut self, buffer: &mut BytesMut, now: Instant) -> Result<Step, ProtocolError> {
        let header = match self.reader.current() {
            Some(header) => *header,
            None => match self.reader.read_header(buffer)? {
                Some(header) => {
                    self.turn.charge_frame();
                    self.begin_frame(&header)?;
                    header
                }
                None => return Ok(Step::Incomplete),
            },
        };
        let fresh = self.reader.unmask(buffer, self.turn.plain_bytes(buffer.len()));
        self.turn.charge_allowed(fresh.len());
        if self.underway.is_some() && !header.opcode.is_control() && !fresh.is_empty() {
            self.note_progress(fresh.len(), fresh.end, now);
        }
        if self.is_compressed(&header) {
            return self.inflate_frame(&header, buffer, fresh.end);
        }
        if self.is_text(&header) {
            // RFC 6455 section 8.1, as soon as the bytes are there: a wrong byte must not wait for the rest.
            self.utf8.feed(&buffer[fresh.clone()]).map_err(|_| ProtocolError::Utf8)?;
        }
        if self.incoming.is_some() && !header.opcode.is_control() {
            return self.append(&header, buffer, fresh.end);
        }
        let Some(len) = self.reader.finish() else { return Ok(Step::Incomplete) };
        if header.opcode.is_control() {
            let payload = take_payload(buffer, len);
            self.handle_control(header.opcode, payload, now)?;
            return Ok(Step::Handled);
        }
        let (text, payload) = (header.opcode == OpCode::Text, take_payload(buffer, len));
        // Between two calls the buffer is the caller's, who may have changed what was checked: `Text` relies on these bytes.
        if text && fresh.start > 0 {
            self.turn.charge_plain(payload.len());
            check_utf8(&payload)?;
        }
        self.deliver(text, payload)
    }

    /// What the header alone tells about the message: legal here, and within the limits (RFC 6455 section 5.4).
    #[inline]
    fn begin_frame(&mut self, header: &Header) -> Result<(), ProtocolError> {
        let limit = self.config.max_message_size;
        // At most `max_frame_size`, a usize.
        let len = header.len as usize;
        match header.opcode {
            OpCode::Text | OpCode::Binary => {
                self.admit_message(header.rsv, len)?;
                let compressed = header.rsv != Rsv::NONE;
                if compressed || !header.fin {
                    let text = header.opcode == OpCode::Text;
                    self.incoming = Some(Box::new(Incoming {
                        text,
                        coding: if compressed { Coding::Untouched } else { Coding::Plain },
                        fragments: 1,
                        data: Vec::new(),
                    }));
                }
            }
            OpCode::Continuation => {
                let Some(incoming) = &mut self.incoming else {
                    return Err(ProtocolError::ContinuationUnexpected);
                };
                if incoming.fragments >= self.config.max_fragments {
                    let limit = self.config.max_fragments;
                    return Err(ProtocolError::TooManyFragments { limit });
                }
                incoming.fragments += 1;
                if incoming.coding == Coding::Plain && len > limit - incoming.data.len() {
                    return Err(ProtocolError::MessageTooLong { limit });
                }
            }
            OpCode::Close | OpCode::Ping | OpCode::Pong => {}
        }
        Ok(())
    }

    /// Whether a message may begin with a frame of this length: not in the middle of another one, nor above the limit.
    #[inline(always)]
    pub(super) fn admit_message(&self, rsv: Rsv, len: usize) -> Result<(), ProtocolError> {
        if self.incoming.is_some() {
            return Err(ProtocolError::ContinuationExpected);
        }
        let limit = self.config.max_message_size;
        // For a compressed message the limit applies to what it inflates to, which its length does not say.
        if rsv.is_none() && len > limit {
            return Err(ProtocolError::MessageTooLong { limit });
        }
        Ok(())
    }

    #[inline]
    fn is_text(&self, header: &Header) -> bool {
        match header.opcode {
            OpCode::Text => true,
            OpCode::Continuation => self.incoming.as_ref().is_some_and(|incoming| incoming.text),
            _ => false,
        }
    }

    /// Whether the frame is one of a compressed message. Control frames never are, whatever they stand between (RFC 7692
    /// section 6.1).
    #[inline]
    fn is_compressed(&self, header: &Header) -> bool {
        self.deflate.is_some()
            && !header.opcode.is_control()
            && self.incoming.as_ref().is_some_and(|incoming| incoming.coding != Coding::Plain)
    }

    /// Moves what has newly arrived of a fragment to the others of its message. As it arrives: all of a long one at once
    /// would take as long as it is.
    #[inline(never)]
    fn append(
        &mut self,
        header: &Header,
        buffer: &mut BytesMut,
        fresh: usize,
    ) -> Result<Step, ProtocolError> {
        if let Some(incoming) = &mut self.incoming {
            incoming.data.extend_from_slice(&buffer[..fresh]);
        }
        buffer.advance(fresh);
        self.reader.consume(fresh);
        if self.reader.finish().is_none() {
            return Ok(Step::Incomplete);
        }
        self.end_fragment(header)
    }

    /// A frame of a message that comes together in [`Incoming`] is over.
    pub(super) fn end_fragment(&mut self, header: &Header) -> Result<Step, ProtocolError> {
        if !header.fin {
            return Ok(Step::Handled);
        }
        match self.incoming.take() {
            Some(incoming) => self.deliver(incoming.text, Bytes::from(incoming.data)),
            None => Ok(Step::Handled),
        }
    }

    #[inline]
    pub(super) fn deliver(&mut self, text: bool, payload: Bytes) -> Result<Step, ProtocolError> {
        self.underway = None;
        if !text {
            return Ok(Step::Message(Message::Binary(payload)));
        }
        // RFC 6455 section 8.1: a character must not be cut off by the end of the message.
        self.utf8.finish().map_err(|_| ProtocolError::Utf8)?;
        Ok(Step::Message(Message::Text(Text::from_checked(payload))))
    }

    fn handle_control(
        &mut self,
        opcode: OpCode,
        payload: Bytes,
        now: Instant,
    ) -> Result<(), ProtocolError> {
        if !self.state.allows(Event::ReceiveControl) {
            return Ok(());
        }
        match opcode {
            OpCode::Close => self.handle_close(&payload, now)?,
            OpCode::Ping => {
                if self.state.allows(Event::SendPong) && !self.broken {
                    self.answer_ping(payload);
                }
            }
            _ => self.handle_pong(&payload, now),
        }
        Ok(())
    }

    /// RFC 6455 section 5.5.1: the answer echoes the Close, an empty one with an empty body. The reason is echoed with the
    /// code: a browser shows its page the reason of the answer.
    fn handle_close(&mut self, body: &[u8], now: Instant) -> Result<(), ProtocolError> {
        let frame = CloseFrame::decode(body)?;
        self.state = self.state.on(Event::ReceiveClose).0;
        if self.state == State::CloseReceived {
            self.close = Some(Box::new(frame.clone()));
            self.begin_closing(now);
        }
        self.peer_close = Some(Box::new(frame));
        self.incoming = None;
        self.end_compression();
        self.stop_liveness();
        Ok(())
    }

    /// RFC 6455 section 5.5.3: a pong that answers no ping of ours is in order, and of no effect.
    fn handle_pong(&mut self, payload: &[u8], now: Instant) {
        let Some(asked) = &mut self.pings.asked else { return };
        let PingState::Written(at) = asked.state else { return };
        if payload == asked.id.to_be_bytes() {
            let time = now.saturating_duration_since(at);
            asked.answered = Some((asked.id, Ok(time)));
            asked.state = PingState::None;
            asked.deadline = None;
        }
    }
}

/// RFC 6455 section 8.1, for a whole text.
#[inline(always)]
pub(super) fn check_utf8(text: &[u8]) -> Result<(), ProtocolError> {
    simdutf8::basic::from_utf8(text).map(drop).map_err(|_| ProtocolError::Utf8)
}
