//! Reads one frame from bytes that arrive in pieces of any size.

use std::ops::Range;

use bytes::{Buf, BytesMut};

use crate::config::SLICE_THRESHOLD;
use crate::error::ProtocolError;
use crate::header::{Header, Rsv};
use crate::mask;
use crate::role::Role;

/// Takes headers off a buffer, and unmasks payloads in place as far as they have arrived.
#[derive(Clone, Debug)]
pub(crate) struct FrameReader {
    role: Role,
    allowed: Rsv,
    max_frame_size: usize,
    /// How many bytes of the current payload, at the start of the buffer, are unmasked.
    unmasked: usize,
    current: Option<Header>,
}

impl FrameReader {
    pub(crate) fn new(role: Role, allowed: Rsv, max_frame_size: usize) -> Self {
        Self { role, allowed, max_frame_size, unmasked: 0, current: None }
    }

    /// Lets these reserved bits through where they may be set.
    #[cfg(feature = "deflate")]
    pub(crate) fn allow(&mut self, allowed: Rsv) {
        self.allowed = allowed;
    }

    /// The frame whose payload has not been completely received.
    #[inline]
    pub(crate) fn current(&self) -> Option<&Header> {
        self.current.as_ref()
    }

    /// Takes the next header off the buffer; `None` while bytes are missing.
    #[inline(always)]
    pub(crate) fn read_header(
        &mut self,
        buffer: &mut BytesMut,
    ) -> Result<Option<Header>, ProtocolError> {
        self.read_header_up_to(self.max_frame_size as u64, buffer)
    }

    /// [`read_header`](Self::read_header) with another limit.
    #[inline(always)]
    pub(crate) fn read_header_up_to(
        &mut self,
        limit: u64,
        buffer: &mut BytesMut,
    ) -> Result<Option<Header>, ProtocolError> {
        debug_assert!(self.current.is_none());
        let Some((header, len)) = Header::decode(buffer, self.role, self.allowed)? else {
            return Ok(None);
        };
        // A declared length is believed only up to the limit. Control frames are short anyway.
        if header.len > limit && !header.opcode.is_control() {
            return Err(ProtocolError::FrameTooLong { limit: self.max_frame_size });
        }
        buffer.advance(len);
        self.unmasked = 0;
        self.current = Some(header);
        Ok(Some(header))
    }

    /// Whether the limit allows a data frame with a payload of this length.
    #[inline(always)]
    const fn admits(&self, len: u64) -> bool {
        len <= self.max_frame_size as u64
    }

    /// If the buffer starts with a whole frame that is short enough to be copied out: the length of
    /// its payload, and the place of its masking key and payload. The caller has checked that its
    /// first byte is [`Header::WHOLE_TEXT`] or [`Header::WHOLE_BINARY`]. `None` for anything else,
    /// right or wrong: [`read_header`](Self::read_header) decides.
    #[inline(always)]
    pub(crate) fn peek_whole(&self, buffer: &[u8]) -> Option<(usize, Range<usize>)> {
        let (len, start) = Header::decode_whole(buffer, self.role)?;
        if self.current.is_some() || len >= SLICE_THRESHOLD as u64 || !self.admits(len) {
            return None;
        }
        let len = len as usize;
        let end = start + self.role.received_key_len() + len;
        if buffer.len() < end {
            return None;
        }
        Some((len, start..end))
    }

    /// The payload of a frame that [`peek_whole`](Self::peek_whole) found, unmasked while it is
    /// copied.
    #[inline(always)]
    pub(crate) fn copy_whole(&self, key_and_payload: &[u8]) -> Option<Box<[u8]>> {
        let payload = match Header::split_key(key_and_payload, self.role)? {
            (Some(key), payload) => mask::to_vec(key, payload),
            (None, payload) => payload.to_vec(),
        };
        Some(payload.into_boxed_slice())
    }

    /// Unmasks what has newly arrived of the current payload, up to `most` bytes, and returns its
    /// place in the buffer.
    #[inline]
    pub(crate) fn unmask(&mut self, buffer: &mut BytesMut, most: usize) -> Range<usize> {
        let Some(header) = &self.current else { return 0..0 };
        let arrived = buffer.len().min(header.memory()).min(self.unmasked.saturating_add(most));
        let fresh = self.unmasked..arrived;
        if let Some(key) = header.mask {
            mask::apply(key, fresh.start, &mut buffer[fresh.clone()]);
        }
        self.unmasked = arrived;
        fresh
    }

    /// Returns the length of the current payload once all of it is unmasked at the start of the
    /// buffer. The frame is then complete, and the caller takes that many bytes off the buffer.
    #[inline]
    pub(crate) fn finish(&mut self) -> Option<usize> {
        let len = self.current.as_ref()?.memory();
        if self.unmasked < len {
            return None;
        }
        self.current = None;
        Some(len)
    }

    /// The caller has taken `count` unmasked bytes of the current payload off the buffer before it
    /// is complete.
    pub(crate) fn consume(&mut self, count: usize) {
        if let Some(header) = &mut self.current {
            header.len -= count as u64;
            if let Some(key) = &mut header.mask {
                key.rotate_left(count % 4);
            }
            self.unmasked -= count;
        }
    }

    /// How many bytes of the current payload are still to arrive when `buffered` bytes are in the
    /// buffer.
    pub(crate) fn missing(&self, buffered: usize) -> usize {
        self.current.as_ref().map_or(0, |header| header.memory().saturating_sub(buffered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fast path must take exactly what the general path would, and leave everything else to
    /// it.
    #[test]
    fn the_fast_path_agrees_with_the_general_one() {
        for first in 0..=255u8 {
            for second in [0, 1, 5, 125, 126, 127] {
                for (role, mask_bit) in [(Role::Server, 0x80), (Role::Client, 0)] {
                    for wrong_mask in [false, true] {
                        let second = second | if wrong_mask { 0x80 - mask_bit } else { mask_bit };
                        let mut wire = vec![first, second];
                        wire.extend((0..140).map(|i| i as u8 ^ 0x5a));
                        check(role, &wire, 100);
                        check(role, &wire, 1 << 20);
                        for cut in [0, 1, 2, 5, 6, 7, 10, 11, 126, 127, 130, 131] {
                            check(role, &wire[..cut.min(wire.len())], 1 << 20);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_fast_path_agrees_with_the_general_one_on_lengths_in_16_bits() {
        for len in [0u16, 125, 126, 127, 300, 4095, 4096, 4097, u16::MAX] {
            for (role, mask_bit, key) in [(Role::Server, 0x80, 4), (Role::Client, 0, 0)] {
                for first in [0x81, 0x82, 0x02, 0xC2, 0x80, 0x89] {
                    let [high, low] = len.to_be_bytes();
                    let mut wire = vec![first, mask_bit | 126, high, low];
                    let end = 4 + key + usize::from(len);
                    wire.extend((4..end + 3).map(|i| (i * 7) as u8));
                    for limit in [usize::from(len).saturating_sub(1), usize::from(len), 1 << 20] {
                        check(role, &wire, limit);
                    }
                    for cut in [2, 3, 4, 7, 8, 9, end - 1, end] {
                        check(role, &wire[..cut.min(wire.len())], 1 << 20);
                    }
                }
            }
        }
    }

    fn check(role: Role, wire: &[u8], limit: usize) {
        let reader = FrameReader::new(role, Rsv::NONE, limit);
        let peeked = reader.peek_whole(wire);
        let whole = matches!(wire.first(), Some(&(Header::WHOLE_TEXT | Header::WHOLE_BINARY)));
        let mut general = FrameReader::new(role, Rsv::NONE, limit);
        let Some((_, range)) = peeked.filter(|_| whole) else {
            let mut buffer = BytesMut::from(wire);
            if let Ok(Some(header)) = general.read_header(&mut buffer)
                && whole
                && header.len < SLICE_THRESHOLD as u64
            {
                general.unmask(&mut buffer, usize::MAX);
                assert_eq!(general.finish(), None, "a whole short message was left: {wire:?}");
            }
            return;
        };
        let mut expected = BytesMut::from(wire);
        let header = general.read_header(&mut expected).unwrap().unwrap();
        general.unmask(&mut expected, usize::MAX);
        let len = general.finish().unwrap();
        assert!(header.fin && header.rsv.is_none() && !header.opcode.is_control());
        let payload = reader.copy_whole(&wire[range.clone()]).unwrap();
        assert_eq!(payload[..], expected[..len]);
        assert_eq!(wire[range.end..], expected[len..], "the rest stays");
    }
}
