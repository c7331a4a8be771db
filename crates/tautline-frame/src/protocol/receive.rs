//! In: bytes to frames to messages.

use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};

use super::{Incoming, PingState, Protocol};
use crate::codec::take_payload;
use crate::state::{Event, State, Verdict};
use crate::{CloseFrame, Header, Message, OpCode, ProtocolError, Rsv, Text};

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
    /// in the buffer (unmasked in place; leave it there) waits for more bytes.
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
        match self.take_short(buffer, now) {
            Some(message) => Ok(Some(message)),
            None => self.handle_frames(buffer, now),
        }
    }

    /// The general way in: whatever the short one left.
    #[inline(never)]
    fn handle_frames(
        &mut self,
        buffer: &mut BytesMut,
        now: Instant,
    ) -> Result<Option<Message>, ProtocolError> {
        if !buffer.is_empty() {
            self.handle_received(now);
        }
        loop {
            if self.state.on(Event::ReceiveData).1 != Verdict::Act {
                self.discard(buffer);
                return Ok(None);
            }
            match self.step(buffer, now) {
                Ok(Step::Message(message)) => return Ok(Some(message)),
                Ok(Step::Handled) => {}
                Ok(Step::Incomplete) => return Ok(None),
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
        buffer.clear();
    }

    #[inline]
    fn step(&mut self, buffer: &mut BytesMut, now: Instant) -> Result<Step, ProtocolError> {
        let header = match self.reader.current() {
            Some(header) => *header,
            None => match self.reader.read_header(buffer)? {
                Some(header) => {
                    self.begin_frame(&header)?;
                    header
                }
                None => return Ok(Step::Incomplete),
            },
        };
        let fresh = self.reader.unmask(buffer);
        if self.is_compressed(&header) {
            return self.inflate_frame(&header, buffer, fresh.end);
        }
        if self.is_text(&header) {
            // RFC 6455 section 8.1, as soon as the bytes are there: a wrong byte must not wait for the rest.
            self.utf8.feed(&buffer[fresh]).map_err(|_| ProtocolError::Utf8)?;
        }
        let Some(len) = self.reader.finish() else { return Ok(Step::Incomplete) };
        if header.opcode.is_control() {
            let payload = take_payload(buffer, len);
            self.handle_control(header.opcode, payload, now)?;
            return Ok(Step::Handled);
        }
        self.finish_data(&header, buffer, len)
    }

    /// What the header alone tells about the message: legal here, and within the limits (RFC 6455 section 5.4).
    #[inline]
    fn begin_frame(&mut self, header: &Header) -> Result<(), ProtocolError> {
        let limit = self.config.max_message_size;
        // At most `max_frame_size`, a usize.
        let len = header.len as usize;
        match header.opcode {
            OpCode::Text | OpCode::Binary => {
                if self.incoming.is_some() {
                    return Err(ProtocolError::ContinuationExpected);
                }
                // The limit is for what comes of a compressed message, which its length does not tell.
                let compressed = header.rsv != Rsv::NONE;
                if !compressed && len > limit {
                    return Err(ProtocolError::MessageTooLong { limit });
                }
                if compressed || !header.fin {
                    let text = header.opcode == OpCode::Text;
                    self.incoming = Some(Box::new(Incoming {
                        text,
                        compressed,
                        started: false,
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
                if !incoming.compressed && len > limit - incoming.data.len() {
                    return Err(ProtocolError::MessageTooLong { limit });
                }
            }
            OpCode::Close | OpCode::Ping | OpCode::Pong => {}
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
            && self.incoming.as_ref().is_some_and(|incoming| incoming.compressed)
    }

    /// A data frame is complete at the start of the buffer.
    #[inline]
    fn finish_data(
        &mut self,
        header: &Header,
        buffer: &mut BytesMut,
        len: usize,
    ) -> Result<Step, ProtocolError> {
        let Some(incoming) = &mut self.incoming else {
            let payload = take_payload(buffer, len);
            return self.deliver(header.opcode == OpCode::Text, payload);
        };
        incoming.data.extend_from_slice(&buffer[..len]);
        buffer.advance(len);
        if !header.fin {
            return Ok(Step::Handled);
        }
        let text = incoming.text;
        let payload = Bytes::from(std::mem::take(&mut incoming.data));
        self.incoming = None;
        self.deliver(text, payload)
    }

    #[inline]
    pub(super) fn deliver(&mut self, text: bool, payload: Bytes) -> Result<Step, ProtocolError> {
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
        if self.state.on(Event::ReceiveControl).1 != Verdict::Act {
            return Ok(());
        }
        match opcode {
            OpCode::Close => self.handle_close(&payload, now)?,
            OpCode::Ping => {
                if self.state.on(Event::SendPong).1 == Verdict::Act && !self.broken {
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
            self.timers.close = now.checked_add(self.config.close_timeout);
        }
        self.peer_close = Some(Box::new(frame));
        self.incoming = None;
        self.end_compression();
        self.stop_liveness();
        Ok(())
    }

    /// RFC 6455 section 5.5.3: a pong that answers no ping of ours is in order, and of no effect.
    fn handle_pong(&mut self, payload: &[u8], now: Instant) {
        let PingState::Written(at) = self.pings.state else { return };
        if payload == self.pings.last_id.to_be_bytes() {
            self.pings.answered = Some((self.pings.last_id, now.saturating_duration_since(at)));
            self.pings.state = PingState::None;
            self.timers.ping = None;
        }
    }
}
