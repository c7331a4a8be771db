//! One frame out of bytes that arrive in any pieces.

use std::ops::Range;

use bytes::{Buf, BytesMut};

use crate::{Header, ProtocolError, Role, Rsv, mask};

/// Takes headers off a buffer and unmasks payloads in it, as far as they have arrived.
#[derive(Clone, Debug)]
pub(crate) struct FrameReader {
    role: Role,
    allowed: Rsv,
    max_frame_size: usize,
    /// How much of the current payload, at the start of the buffer, is unmasked.
    unmasked: usize,
    current: Option<Header>,
}

impl FrameReader {
    pub(crate) fn new(role: Role, allowed: Rsv, max_frame_size: usize) -> Self {
        Self { role, allowed, max_frame_size, unmasked: 0, current: None }
    }

    /// Lets these reserved bits through, where they may stand.
    #[cfg(feature = "deflate")]
    pub(crate) fn allow(&mut self, allowed: Rsv) {
        self.allowed = allowed;
    }

    /// The frame whose payload is awaited.
    #[inline]
    pub(crate) fn current(&self) -> Option<&Header> {
        self.current.as_ref()
    }

    /// Takes the next header off the buffer; `None` while bytes are missing.
    #[inline]
    pub(crate) fn read_header(
        &mut self,
        buffer: &mut BytesMut,
    ) -> Result<Option<Header>, ProtocolError> {
        debug_assert!(self.current.is_none());
        let Some((header, len)) = Header::decode(buffer, self.role, self.allowed)? else {
            return Ok(None);
        };
        // No length that the peer merely declared is believed beyond this line. Control frames are short anyway.
        if header.len > self.max_frame_size as u64 && !header.opcode.is_control() {
            return Err(ProtocolError::FrameTooLong { limit: self.max_frame_size });
        }
        buffer.advance(len);
        self.unmasked = 0;
        self.current = Some(header);
        Ok(Some(header))
    }

    /// Unmasks what has newly arrived of the current payload and tells where it stands in the buffer.
    #[inline]
    pub(crate) fn unmask(&mut self, buffer: &mut BytesMut) -> Range<usize> {
        let Some(header) = &self.current else { return 0..0 };
        // The length is at most `max_frame_size`, a usize.
        let arrived = buffer.len().min(header.len as usize);
        let fresh = self.unmasked..arrived;
        if let Some(key) = header.mask {
            mask::apply(key, fresh.start, &mut buffer[fresh.clone()]);
        }
        self.unmasked = arrived;
        fresh
    }

    /// The length of the current payload once all of it is unmasked at the start of the buffer. The frame is then over:
    /// the caller takes so many bytes off the buffer.
    #[inline]
    pub(crate) fn finish(&mut self) -> Option<usize> {
        let len = self.current.as_ref()?.len as usize;
        if self.unmasked < len {
            return None;
        }
        self.current = None;
        Some(len)
    }

    /// `count` unmasked bytes of the current payload were taken off the buffer ahead of its end.
    pub(crate) fn consume(&mut self, count: usize) {
        if let Some(header) = &mut self.current {
            header.len -= count as u64;
            if let Some(key) = &mut header.mask {
                key.rotate_left(count % 4);
            }
            self.unmasked -= count;
        }
    }

    /// How many bytes of the current payload have not arrived, when `buffered` bytes are in the buffer.
    pub(crate) fn missing(&self, buffered: usize) -> usize {
        self.current.as_ref().map_or(0, |header| (header.len as usize).saturating_sub(buffered))
    }
}
