//! Receiving a message in pieces: as it arrives, without collecting it.

use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};

use super::Protocol;
use super::incoming::{Coding, Delivery, Incoming, Piece};
use super::receive::Step;
use crate::config::SLICE_THRESHOLD;
use crate::error::ProtocolError;
use crate::header::Header;
use crate::message::Kind;
use crate::state::Event;

impl Protocol {
    /// Takes frames off the buffer up to the next piece of a message, like
    /// [`handle_data`](Self::handle_data), and answers control frames on the way. Text is checked
    /// as it comes (RFC 6455 section 8.1), and compressed messages are inflated as they come.
    ///
    /// [`Config::max_message_size`], [`max_frame_size`] and [`max_fragments`] do not apply, since
    /// nothing is collected; [`max_streamed_size`] does.
    ///
    /// Call it again until it returns `Ok(None)`, even with an empty buffer. If `handle_data` is
    /// called in the middle of a message, the rest of that message is skipped. If this is called
    /// where `handle_data` has begun to collect a message, all of that message comes in pieces.
    ///
    /// [`Config::max_message_size`]: crate::Config::max_message_size
    /// [`max_frame_size`]: crate::Config::max_frame_size
    /// [`max_fragments`]: crate::Config::max_fragments
    /// [`max_streamed_size`]: crate::Config::max_streamed_size
    ///
    /// ```
    /// use std::time::Instant;
    /// use bytes::{Bytes, BytesMut};
    /// use tautline_frame::{Config, Kind, Piece, Protocol, Role};
    ///
    /// let now = Instant::now();
    /// let mut client = Protocol::new(Role::Client, Config::new(), now);
    /// // The first three bytes of "Hello".
    /// let mut wire = BytesMut::from(&b"\x81\x05Hel"[..]);
    /// assert_eq!(client.handle_pieces(&mut wire, now)?, Some(Piece::Start(Kind::Text)));
    /// assert_eq!(client.handle_pieces(&mut wire, now)?, Some(Piece::Data("Hel".into())));
    /// assert_eq!(client.handle_pieces(&mut wire, now)?, None);
    /// wire.extend_from_slice(b"lo");
    /// assert_eq!(client.handle_pieces(&mut wire, now)?, Some(Piece::Data("lo".into())));
    /// assert_eq!(client.handle_pieces(&mut wire, now)?, Some(Piece::End));
    /// # Ok::<(), tautline_frame::ProtocolError>(())
    /// ```
    ///
    /// # Errors
    /// As [`handle_data`](Self::handle_data).
    pub fn handle_pieces(
        &mut self,
        buffer: &mut BytesMut,
        now: Instant,
    ) -> Result<Option<Piece>, ProtocolError> {
        if !buffer.is_empty() {
            self.handle_received(now);
        }
        self.handle_arrived_pieces(buffer)
    }

    /// [`handle_pieces`](Self::handle_pieces) for bytes whose arrival was
    /// [noted](Self::handle_received).
    pub(crate) fn handle_arrived_pieces(
        &mut self,
        buffer: &mut BytesMut,
    ) -> Result<Option<Piece>, ProtocolError> {
        if let Some(kind) = self.continue_in_pieces() {
            // The frame that is under way was not counted.
            if let Err(error) = self.count_piece(self.rest_of_frame()) {
                self.fail(error.into(), self.last_received);
                return Err(error);
            }
            return Ok(Some(Piece::Start(kind)));
        }
        Ok(match self.advance::<true>(buffer)? {
            Some(Step::Piece(piece)) => Some(piece),
            _ => None,
        })
    }

    /// Drops the rest of a message that was begun in pieces, as it arrives.
    pub fn skip_message(&mut self) {
        if let Some(incoming) = &mut self.incoming
            && incoming.delivery == Delivery::Pieces
        {
            incoming.delivery = Delivery::Skipped;
            incoming.forget_piece();
        }
    }

    /// A piece that needs no more bytes.
    ///
    /// # Errors
    /// As [`handle_pieces`](Self::handle_pieces).
    pub(crate) fn poll_due_piece(&mut self) -> Result<Option<Piece>, ProtocolError> {
        self.poll_piece::<true>()
            .inspect_err(|error| self.fail((*error).into(), self.last_received))
    }

    /// Whether so many bytes of a message may be collected that came in pieces, and the rest of the
    /// frame that is under way, which was admitted without a limit.
    ///
    /// # Errors
    /// It is too long for that. The connection has failed.
    pub(crate) fn admit_collected(&mut self, len: usize) -> Result<(), ProtocolError> {
        let limit = self.config.max_message_size;
        if (len as u64).saturating_add(self.rest_of_frame()) <= limit as u64 {
            return Ok(());
        }
        let error = ProtocolError::MessageTooLong { limit };
        self.fail(error.into(), self.last_received);
        Err(error)
    }

    /// The message that was begun in pieces is collected after all: this is all of it so far.
    pub(crate) fn collect_rest(&mut self, data: Vec<u8>) {
        if let Some(incoming) = &mut self.incoming {
            incoming.delivery = Delivery::Whole;
            incoming.data = data;
            incoming.taken = 0;
        }
    }

    /// How many bytes of the frame that is under way were not taken. What a compressed one inflates
    /// to is counted there.
    fn rest_of_frame(&self) -> u64 {
        let plain = self.incoming.as_ref().is_some_and(|it| it.coding == Coding::Plain);
        let frame = self.reader.current().filter(|it| plain && !it.opcode.is_control());
        frame.map_or(0, |header| header.len)
    }

    /// Whether a message that is being received is handed on in pieces.
    pub(crate) fn is_in_pieces(&self) -> bool {
        self.delivery() == Delivery::Pieces
    }

    /// Whether a message is being collected, or a part of it is in the buffer.
    pub(crate) fn is_collecting(&self) -> bool {
        let in_buffer = || self.reader.current().is_some_and(|it| Kind::of(it.opcode).is_some());
        let whole = self.delivery() == Delivery::Whole && (self.incoming.is_some() || in_buffer());
        whole && self.state.allows(Event::ReceiveData)
    }

    /// A message that is being collected is handed on in pieces from here on.
    fn continue_in_pieces(&mut self) -> Option<Kind> {
        if !self.is_collecting() {
            return None;
        }
        if let Some(incoming) = &mut self.incoming {
            incoming.delivery = Delivery::Pieces;
            incoming.received = incoming.data.len() as u64;
            return Some(incoming.kind);
        }
        // A single frame, of which a part is in the buffer.
        let kind = Kind::of(self.reader.current()?.opcode)?;
        self.incoming = Some(Box::new(Incoming::new(kind, Coding::Plain, Delivery::Pieces)));
        Some(kind)
    }

    /// What is due of the message before more of the buffer is processed.
    #[inline]
    pub(super) fn poll_piece<const PIECES: bool>(
        &mut self,
    ) -> Result<Option<Piece>, ProtocolError> {
        if self.delivery() == Delivery::Whole {
            return Ok(None);
        }
        if !PIECES {
            self.skip_message();
        }
        self.poll_any_piece()
    }

    #[inline(never)]
    fn poll_any_piece(&mut self) -> Result<Option<Piece>, ProtocolError> {
        if let Some(piece) = self.poll_inflated() {
            return Ok(Some(piece));
        }
        let Some(ended) = self.incoming.take_if(|incoming| incoming.ended) else {
            return Ok(None);
        };
        self.end_message(ended.kind)?;
        Ok((ended.delivery == Delivery::Pieces).then_some(Piece::End))
    }

    /// What was inflated, or collected before the message was wanted in pieces.
    pub(super) fn poll_inflated(&mut self) -> Option<Piece> {
        let incoming = self.incoming.as_mut()?;
        if incoming.delivery != Delivery::Pieces {
            return None;
        }
        incoming.take_piece().map(Piece::Data)
    }

    pub(super) fn begin_in_pieces(
        &mut self,
        kind: Kind,
        header: &Header,
    ) -> Result<(), ProtocolError> {
        self.admit_any_message()?;
        let plain = header.rsv.is_none();
        let coding = if plain { Coding::Plain } else { Coding::Untouched };
        self.incoming = Some(Box::new(Incoming::new(kind, coding, Delivery::Pieces)));
        self.continue_piece(header)
    }

    /// The next frame of a message that is handed on in pieces.
    pub(super) fn continue_piece(&mut self, header: &Header) -> Result<(), ProtocolError> {
        match &self.incoming {
            Some(incoming) if incoming.coding == Coding::Plain => self.count_piece(header.len),
            // What it inflates to is counted.
            _ => Ok(()),
        }
    }

    /// Counts the bytes of a message of any length.
    pub(super) fn count_piece(&mut self, len: u64) -> Result<(), ProtocolError> {
        let Some(incoming) = &mut self.incoming else { return Ok(()) };
        if incoming.delivery == Delivery::Skipped {
            incoming.forget_piece();
        }
        incoming.received = incoming.received.saturating_add(len);
        match self.config.max_streamed_size {
            Some(limit) if incoming.received > limit => Err(ProtocolError::StreamTooLong { limit }),
            _ => Ok(()),
        }
    }

    /// Takes what has arrived of a frame, unmasked and checked, off the buffer.
    #[inline(never)]
    pub(super) fn hand_on(
        &mut self,
        header: &Header,
        buffer: &mut BytesMut,
        arrived: usize,
    ) -> Result<Step, ProtocolError> {
        self.reader.consume(arrived);
        let piece = match self.delivery() {
            Delivery::Pieces if arrived > 0 => Some(take_piece(buffer, arrived)),
            _ => {
                buffer.advance(arrived);
                None
            }
        };
        let complete = self.reader.finish().is_some();
        if complete {
            self.end_fragment(header)?;
        }
        Ok(match piece {
            Some(piece) => Step::Piece(Piece::Data(piece)),
            None if complete => Step::Handled,
            None => Step::Incomplete,
        })
    }

    /// What becomes of the message that is being received.
    #[inline]
    pub(super) fn delivery(&self) -> Delivery {
        self.incoming.as_ref().map_or(Delivery::Whole, |incoming| incoming.delivery)
    }
}

/// A large piece is a slice of the buffer, unless it would keep much more than itself alive.
fn take_piece(buffer: &mut BytesMut, len: usize) -> Bytes {
    if len >= SLICE_THRESHOLD && 2 * len >= buffer.capacity() {
        return buffer.split_to(len).freeze();
    }
    let piece = Bytes::copy_from_slice(&buffer[..len]);
    buffer.advance(len);
    piece
}
