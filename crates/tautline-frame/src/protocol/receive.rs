//! The receiving side: bytes to frames to messages.

use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};

use super::Protocol;
use super::incoming::{Coding, Delivery, Incoming, Piece};
use super::pings::PingState;
use crate::buffers;
use crate::close::CloseFrame;
use crate::codec::take_payload;
use crate::error::ProtocolError;
use crate::header::{Header, Rsv};
use crate::message::{Kind, Message};
use crate::opcode::OpCode;
use crate::state::{Event, State};
use crate::text::Text;

/// What one step through the buffer led to.
pub(super) enum Step {
    Message(Message),
    Piece(Piece),
    Handled,
    Incomplete,
}

impl Protocol {
    /// Notes that bytes have arrived, a sign of life whatever they are. Only needed for bytes that
    /// are not handed to [`handle_data`](Self::handle_data) yet, which notes those that it is
    /// given.
    #[inline]
    pub fn handle_received(&mut self, now: Instant) {
        self.last_received = self.last_received.max(now);
    }

    /// Takes frames off the buffer up to the end of a message, and answers control frames on the
    /// way.
    ///
    /// `now` is when the newest bytes in the buffer arrived. `None` means that every complete frame
    /// was taken, and that what is left in the buffer (unmasked in place; leave it there) needs
    /// more bytes; or that [the turn is over](Self::is_turn_over).
    ///
    /// # Errors
    /// The rule that the peer broke. The connection has failed: a Close with the right code is to
    /// be written, and everything else that arrives is discarded.
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

    /// The general path of [`handle_data`](Self::handle_data), for bytes whose arrival was
    /// [noted](Self::handle_received) and for which [`take_short`](Self::take_short) returned
    /// `None`.
    #[inline(never)]
    pub(crate) fn handle_arrived(
        &mut self,
        buffer: &mut BytesMut,
    ) -> Result<Option<Message>, ProtocolError> {
        Ok(match self.advance::<false>(buffer)? {
            Some(Step::Message(message)) => Some(message),
            _ => None,
        })
    }

    /// Up to the end of a message or, with `PIECES`, to the next piece of one.
    #[inline(always)]
    pub(super) fn advance<const PIECES: bool>(
        &mut self,
        buffer: &mut BytesMut,
    ) -> Result<Option<Step>, ProtocolError> {
        let now = self.last_received;
        loop {
            if self.turn.is_over() {
                return Ok(None);
            }
            if !self.state.allows(Event::ReceiveData) {
                self.discard(buffer);
                return Ok(None);
            }
            let step = match self.poll_piece::<PIECES>() {
                Ok(None) => self.step::<PIECES>(buffer, now),
                Ok(Some(piece)) => Ok(Step::Piece(piece)),
                Err(error) => Err(error),
            };
            match step {
                Ok(step @ (Step::Message(_) | Step::Piece(_))) => return Ok(Some(step)),
                // Nothing is left to read, as after most pings.
                Ok(Step::Handled) if buffer.is_empty() && !self.may_be_mid_message() => {
                    return Ok(None);
                }
                Ok(Step::Handled) => {}
                Ok(Step::Incomplete) => {
                    if PIECES && let Some(piece) = self.poll_inflated() {
                        return Ok(Some(Step::Piece(piece)));
                    }
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
        // If the peer sends more after its Close, that must be read and discarded, or a reset
        // destroys our answer.
        self.must_drain |= !buffer.is_empty();
        self.turn.charge_plain(buffer.len());
        buffer.clear();
    }

    #[inline]
    fn step<const PIECES: bool>(
        &mut self,
        buffer: &mut BytesMut,
        now: Instant,
    ) -> Result<Step, ProtocolError> {
        let header = match self.reader.current() {
            Some(header) => *header,
            None => match self.read_header::<PIECES>(buffer)? {
                Some(header) => {
                    self.turn.charge_frame();
                    self.begin_frame::<PIECES>(&header)?;
                    if PIECES && let Some(kind) = Kind::of(header.opcode) {
                        return Ok(Step::Piece(Piece::Start(kind)));
                    }
                    header
                }
                None => return Ok(Step::Incomplete),
            },
        };
        let fresh = self.reader.unmask(buffer, self.turn.plain_bytes(buffer.len()));
        self.turn.charge_allowed(fresh.len());
        if self.underway.is_some() && !header.opcode.is_control() && !fresh.is_empty() {
            // A block for a long frame is held as a whole, however little of it is filled.
            let large = buffer.capacity() > buffers::BUFFER_SIZE;
            let held = if large { buffer.capacity().min(header.len as usize) } else { fresh.end };
            self.note_progress(fresh.len(), held, now);
        }
        if self.is_compressed(&header) {
            return self.inflate_frame(&header, buffer, fresh.end);
        }
        if self.is_text(&header) {
            // RFC 6455 section 8.1, as soon as the bytes have arrived: an error is not to wait for
            // the rest.
            self.utf8.feed(&buffer[fresh.clone()]).map_err(|_| ProtocolError::Utf8)?;
        }
        if self.incoming.is_some() && !header.opcode.is_control() {
            return match self.delivery() {
                Delivery::Whole => self.append(&header, buffer, fresh.end),
                _ => self.hand_on(&header, buffer, fresh.end),
            };
        }
        let Some(len) = self.reader.finish() else { return Ok(Step::Incomplete) };
        if header.opcode.is_control() {
            let payload = take_payload(buffer, len);
            self.handle_control(header.opcode, payload, now)?;
            return Ok(Step::Handled);
        }
        let Some(kind) = Kind::of(header.opcode) else {
            // Not reached: a continuation belongs to a message that is in `incoming`.
            return Err(ProtocolError::ContinuationUnexpected);
        };
        let payload = take_payload(buffer, len);
        // Between two calls the caller owns the buffer, and may have changed what was checked:
        // `Text` relies on these bytes.
        if kind == Kind::Text && fresh.start > 0 {
            self.turn.charge_plain(payload.len());
            check_utf8(&payload)?;
        }
        self.deliver(kind, payload)
    }

    /// The next header: a declared length is believed up to the limit where it takes memory.
    #[inline(always)]
    fn read_header<const PIECES: bool>(
        &mut self,
        buffer: &mut BytesMut,
    ) -> Result<Option<Header>, ProtocolError> {
        if PIECES || self.delivery() != Delivery::Whole {
            self.reader.read_header_up_to(u64::MAX, buffer)
        } else {
            self.reader.read_header(buffer)
        }
    }

    /// Checks what the header alone decides: that the frame is legal here, and within the limits
    /// (RFC 6455 section 5.4).
    #[inline]
    fn begin_frame<const PIECES: bool>(&mut self, header: &Header) -> Result<(), ProtocolError> {
        match Kind::of(header.opcode) {
            Some(kind) if PIECES => self.begin_in_pieces(kind, header),
            Some(kind) => self.begin_whole(kind, header),
            None if header.opcode == OpCode::Continuation => self.continue_message(header),
            None => Ok(()),
        }
    }

    #[inline]
    fn begin_whole(&mut self, kind: Kind, header: &Header) -> Result<(), ProtocolError> {
        self.admit_message(header.rsv, header.memory())?;
        let plain = header.rsv.is_none();
        if !plain || !header.fin {
            let coding = if plain { Coding::Plain } else { Coding::Untouched };
            self.incoming = Some(Box::new(Incoming::new(kind, coding, Delivery::Whole)));
        }
        Ok(())
    }

    fn continue_message(&mut self, header: &Header) -> Result<(), ProtocolError> {
        let limit = self.config.max_message_size;
        let Some(incoming) = &mut self.incoming else {
            return Err(ProtocolError::ContinuationUnexpected);
        };
        if incoming.delivery != Delivery::Whole {
            return self.continue_piece(header);
        }
        if incoming.fragments >= self.config.max_fragments {
            let limit = self.config.max_fragments;
            return Err(ProtocolError::TooManyFragments { limit });
        }
        incoming.fragments += 1;
        if incoming.coding == Coding::Plain && header.memory() > limit - incoming.data.len() {
            return Err(ProtocolError::MessageTooLong { limit });
        }
        Ok(())
    }

    /// Checks that a message may begin here: not in the middle of another one.
    #[inline(always)]
    pub(super) fn admit_any_message(&self) -> Result<(), ProtocolError> {
        match self.incoming {
            None => Ok(()),
            Some(_) => Err(ProtocolError::ContinuationExpected),
        }
    }

    /// Checks that a message may begin with a frame of this length: not in the middle of another
    /// message, nor above the limit.
    #[inline(always)]
    pub(super) fn admit_message(&self, rsv: Rsv, len: usize) -> Result<(), ProtocolError> {
        self.admit_any_message()?;
        let limit = self.config.max_message_size;
        // For a compressed message the limit applies to what it inflates to, which its length does
        // not say.
        if rsv.is_none() && len > limit {
            return Err(ProtocolError::MessageTooLong { limit });
        }
        Ok(())
    }

    #[inline]
    fn is_text(&self, header: &Header) -> bool {
        match header.opcode {
            OpCode::Text => true,
            OpCode::Continuation => {
                self.incoming.as_ref().is_some_and(|incoming| incoming.kind == Kind::Text)
            }
            _ => false,
        }
    }

    /// Whether the frame belongs to a compressed message. Control frames never do, even between its
    /// fragments (RFC 7692 section 6.1).
    #[inline]
    fn is_compressed(&self, header: &Header) -> bool {
        self.deflate.is_some()
            && !header.opcode.is_control()
            && self.incoming.as_ref().is_some_and(|incoming| incoming.coding != Coding::Plain)
    }

    /// Moves what has newly arrived of a fragment to the message. Piece by piece, since moving a
    /// long fragment at once would take too long.
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

    /// A frame of a message that is assembled in [`Incoming`] is complete.
    pub(super) fn end_fragment(&mut self, header: &Header) -> Result<Step, ProtocolError> {
        if !header.fin {
            return Ok(Step::Handled);
        }
        if let Some(incoming) = &mut self.incoming
            && incoming.delivery != Delivery::Whole
        {
            incoming.ended = true;
            return Ok(Step::Handled);
        }
        match self.incoming.take() {
            Some(incoming) => self.deliver(incoming.kind, Bytes::from(incoming.data)),
            None => Ok(Step::Handled),
        }
    }

    #[inline]
    pub(super) fn deliver(&mut self, kind: Kind, payload: Bytes) -> Result<Step, ProtocolError> {
        self.end_message(kind)?;
        Ok(Step::Message(match kind {
            Kind::Text => Message::Text(Text::from_checked(payload)),
            Kind::Binary => Message::Binary(payload),
        }))
    }

    #[inline]
    pub(super) fn end_message(&mut self, kind: Kind) -> Result<(), ProtocolError> {
        self.underway = None;
        self.count_received();
        match kind {
            // RFC 6455 section 8.1: a character must not be cut off by the end of the message.
            Kind::Text => self.utf8.finish().map_err(|_| ProtocolError::Utf8),
            Kind::Binary => Ok(()),
        }
    }

    fn handle_control(
        &mut self,
        opcode: OpCode,
        payload: Bytes,
        now: Instant,
    ) -> Result<(), ProtocolError> {
        self.turn.note_control();
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

    /// RFC 6455 section 5.5.1: the answer echoes the Close, an empty one with an empty body. The
    /// reason is echoed with the code, since browsers report the answer's reason to the page.
    fn handle_close(&mut self, body: &[u8], now: Instant) -> Result<(), ProtocolError> {
        let frame = CloseFrame::decode(body)?;
        self.state = self.state.on(Event::ReceiveClose).0;
        let closing = self.closing.get_or_insert_default();
        if self.state == State::CloseReceived {
            closing.due = Some(frame.clone());
        }
        closing.theirs = Some(frame);
        if self.state == State::CloseReceived {
            self.begin_closing(now);
        }
        self.incoming = None;
        self.end_compression();
        self.stop_liveness();
        Ok(())
    }

    /// RFC 6455 section 5.5.3: a pong that answers no ping of ours is legal and has no effect.
    fn handle_pong(&mut self, payload: &[u8], now: Instant) {
        if payload.is_empty()
            && let PingState::Written(at) = self.pings.keepalive
        {
            self.pings.measured(now.saturating_duration_since(at));
        }
        let Some(asked) = &mut self.pings.asked else { return };
        let PingState::Written(at) = asked.state else { return };
        if payload == asked.id.to_be_bytes() {
            let time = now.saturating_duration_since(at);
            asked.answered = Some((asked.id, Ok(time)));
            asked.state = PingState::None;
            asked.deadline = None;
            self.pings.measured(time);
        }
    }
}

/// Checks a whole text (RFC 6455 section 8.1).
#[inline(always)]
pub(super) fn check_utf8(text: &[u8]) -> Result<(), ProtocolError> {
    simdutf8::basic::from_utf8(text).map(drop).map_err(|_| ProtocolError::Utf8)
}
