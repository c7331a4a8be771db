//! Receiving compressed messages (RFC 7692 section 7.2.2).

use bytes::{Buf, BytesMut};

use super::Protocol;
use super::incoming::{Coding, Delivery, Incoming};
use super::receive::Step;
use crate::deflate::{Deflate, InflateError, More};
use crate::error::ProtocolError;
use crate::header::Header;
use crate::message::Kind;
use crate::turn::Turn;
use crate::utf8::Utf8Checker;

/// What takes part in inflating a message.
struct Inflating<'a> {
    deflate: &'a mut Deflate,
    incoming: &'a mut Incoming,
    utf8: &'a mut Utf8Checker,
    turn: &'a mut Turn,
    limit: usize,
}

impl Protocol {
    /// Takes what has newly arrived of a frame of a compressed message off the buffer and inflates
    /// it at once, without waiting for the rest. When the turn is over, what is left stays in the
    /// buffer, unmasked.
    #[inline(never)]
    pub(super) fn inflate_frame(
        &mut self,
        header: &Header,
        buffer: &mut BytesMut,
        arrived: usize,
    ) -> Result<Step, ProtocolError> {
        let limit = match self.delivery() {
            Delivery::Whole => self.config.max_message_size,
            // What is handed on is counted there.
            Delivery::Pieces | Delivery::Skipped => usize::MAX,
        };
        let (Some(deflate), Some(incoming)) = (&mut self.deflate, &mut self.incoming) else {
            // Not reached: RSV1 is accepted only with compression, and on frames that begin or
            // continue a message.
            return Err(ProtocolError::ReservedBits);
        };
        let (utf8, turn) = (&mut self.utf8, &mut self.turn);
        let before = incoming.data.len();
        let mut inflating = Inflating { deflate, incoming, utf8, turn, limit };
        let taken = inflating.take(&buffer[..arrived])?;
        buffer.advance(taken);
        self.reader.consume(taken);
        let inflated = inflating.incoming.data.len() - before;
        let waits = inflating.incoming.coding == Coding::Inflating;
        let complete = !waits && self.reader.finish().is_some();
        if complete && header.fin {
            inflating.end()?;
        }
        if self.delivery() != Delivery::Whole {
            self.count_piece(inflated as u64)?;
        }
        if complete { self.end_fragment(header) } else { Ok(Step::Incomplete) }
    }
}

impl Inflating<'_> {
    /// Inflates until nothing is left or the turn is over, at least one step. Returns how many
    /// bytes of the input it took.
    fn take(&mut self, input: &[u8]) -> Result<usize, ProtocolError> {
        let mut rest = input;
        if rest.is_empty() && self.incoming.coding != Coding::Inflating {
            return Ok(0);
        }
        loop {
            let data = &mut self.incoming.data;
            let seen = data.len();
            let more = self.deflate.inflate(&mut rest, data, self.limit, self.turn);
            // Before the error of inflating: what comes first is told, however the bytes are cut.
            self.check(seen)?;
            let more = more.map_err(|error| self.refusal(error))?;
            self.incoming.coding = match more {
                More::No => Coding::Inflated,
                More::Yes => Coding::Inflating,
            };
            if more == More::No || self.turn.is_over() {
                return Ok(input.len() - rest.len());
            }
        }
    }

    fn end(&mut self) -> Result<(), ProtocolError> {
        if self.incoming.coding != Coding::Untouched {
            let data = &mut self.incoming.data;
            let ended = self.deflate.end_message(data, self.limit, self.turn);
            ended.map_err(|error| self.refusal(error))?;
        }
        if self.incoming.delivery == Delivery::Whole {
            shrink(&mut self.incoming.data);
        }
        Ok(())
    }

    /// RFC 6455 section 8.1 applies to what was inflated (RFC 7692 section 6.2). Checked as soon as
    /// it is.
    fn check(&mut self, seen: usize) -> Result<(), ProtocolError> {
        if self.incoming.kind == Kind::Text {
            self.utf8.feed(&self.incoming.data[seen..]).map_err(|_| ProtocolError::Utf8)?;
        }
        Ok(())
    }

    fn refusal(&self, error: InflateError) -> ProtocolError {
        match error {
            InflateError::Data => ProtocolError::Inflate,
            InflateError::LastBlocks => ProtocolError::TooManyLastBlocks,
            InflateError::TooLong => ProtocolError::MessageTooLong { limit: self.limit },
        }
    }
}

/// A message may be kept for long, so it is not to have much unused capacity.
fn shrink(data: &mut Vec<u8>) {
    if data.capacity() - data.len() > data.len() / 4 {
        data.shrink_to_fit();
    }
}
