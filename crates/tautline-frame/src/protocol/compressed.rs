//! Messages that come compressed (RFC 7692 section 7.2.2).

use bytes::{Buf, Bytes, BytesMut};

use super::receive::Step;
use super::{Incoming, Protocol};
use crate::deflate::{Deflate, InflateError, More};
use crate::utf8::Utf8Checker;
use crate::{Header, ProtocolError};

/// Where a compressed message comes together.
struct Inflating<'a> {
    deflate: &'a mut Deflate,
    incoming: &'a mut Incoming,
    utf8: &'a mut Utf8Checker,
    limit: usize,
}

impl Protocol {
    /// Takes what has newly arrived of a frame of a compressed message off the buffer: it is inflated at once, so that
    /// neither it nor what it becomes waits for the rest.
    pub(super) fn inflate_frame(
        &mut self,
        header: &Header,
        buffer: &mut BytesMut,
        fresh: usize,
    ) -> Result<Step, ProtocolError> {
        let limit = self.config.max_message_size;
        let (Some(deflate), Some(incoming)) = (&mut self.deflate, &mut self.incoming) else {
            // Not reached: RSV1 is let through with compression alone, and on frames that begin or go on with a message.
            return Err(ProtocolError::ReservedBits);
        };
        let mut inflating = Inflating { deflate, incoming, utf8: &mut self.utf8, limit };
        inflating.take(&buffer[..fresh])?;
        buffer.advance(fresh);
        self.reader.consume(fresh);
        if self.reader.finish().is_none() {
            return Ok(Step::Incomplete);
        }
        if !header.fin {
            return Ok(Step::Handled);
        }
        inflating.end()?;
        let (text, payload) = (incoming.text, Bytes::from(std::mem::take(&mut incoming.data)));
        self.incoming = None;
        self.deliver(text, payload)
    }
}

impl Inflating<'_> {
    fn take(&mut self, mut input: &[u8]) -> Result<(), ProtocolError> {
        if input.is_empty() {
            return Ok(());
        }
        self.incoming.started = true;
        loop {
            let seen = self.incoming.data.len();
            let more = self.deflate.inflate(&mut input, &mut self.incoming.data, self.limit);
            let more = more.map_err(|error| self.refusal(error))?;
            self.check(seen)?;
            if more == More::No {
                return Ok(());
            }
        }
    }

    fn end(&mut self) -> Result<(), ProtocolError> {
        if self.incoming.started {
            let ended = self.deflate.end_message(&mut self.incoming.data, self.limit);
            ended.map_err(|error| self.refusal(error))?;
        }
        shrink(&mut self.incoming.data);
        Ok(())
    }

    /// RFC 6455 section 8.1 holds for what was inflated (RFC 7692 section 6.2), as soon as it is there.
    fn check(&mut self, seen: usize) -> Result<(), ProtocolError> {
        if self.incoming.text {
            self.utf8.feed(&self.incoming.data[seen..]).map_err(|_| ProtocolError::Utf8)?;
        }
        Ok(())
    }

    fn refusal(&self, error: InflateError) -> ProtocolError {
        match error {
            InflateError::Data => ProtocolError::Inflate,
            InflateError::TooLong => ProtocolError::MessageTooLong { limit: self.limit },
        }
    }
}

/// A message may be kept for long: not with as much room again as it fills.
fn shrink(data: &mut Vec<u8>) {
    if data.capacity() - data.len() > data.len() / 4 {
        data.shrink_to_fit();
    }
}
