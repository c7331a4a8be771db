//! The frame header (RFC 6455 section 5.2): read strictly, written in its shortest form.

use bytes::BytesMut;

use crate::error::ProtocolError;
use crate::opcode::{MAX_CONTROL_PAYLOAD, OpCode};
use crate::role::Role;

const FIN: u8 = 0b1000_0000;
const RSV: u8 = 0b0111_0000;
const OPCODE: u8 = 0b0000_1111;
const MASK: u8 = 0b1000_0000;
const LENGTH: u8 = 0b0111_1111;
const LENGTH_IN_16_BITS: u8 = 126;
const LENGTH_IN_64_BITS: u8 = 127;

/// The three reserved bits of a header, which belong to negotiated extensions (RFC 6455 section
/// 5.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rsv(u8);

impl Rsv {
    /// No bit set, as in every frame when no extension was negotiated.
    pub const NONE: Self = Self(0);
    /// The first bit, which permessage-deflate sets on the first frame of a compressed message (RFC
    /// 7692 section 6).
    pub const RSV1: Self = Self(0b0100_0000);

    /// Whether every bit that is set in `other` is set here too.
    #[must_use]
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether no bit is set.
    #[must_use]
    #[inline]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The bits at their places in the first byte of a header.
    #[must_use]
    #[inline]
    pub const fn bits(self) -> u8 {
        self.0
    }
}

/// A frame header (RFC 6455 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the fields are the wire format's, which is final")]
pub struct Header {
    /// Whether this is the last frame of its message.
    pub fin: bool,
    /// The reserved bits.
    pub rsv: Rsv,
    /// The kind of frame.
    pub opcode: OpCode,
    /// The masking key: always present in a client's frames, never in a server's.
    pub mask: Option<[u8; 4]>,
    /// The length of the payload in bytes, as the sender declares it: at most 2^63 - 1.
    pub len: u64,
}

impl Header {
    /// The length of the longest header, in bytes: two, plus eight of extended length and four of
    /// masking key.
    pub const MAX_LEN: usize = 14;

    /// The first byte of a text message in a single frame, without extensions.
    pub(crate) const WHOLE_TEXT: u8 = first_byte(true, Rsv::NONE, OpCode::Text);
    /// The first byte of a binary message in a single frame, without extensions.
    pub(crate) const WHOLE_BINARY: u8 = first_byte(true, Rsv::NONE, OpCode::Binary);

    /// Reads a header from the start of `bytes`. Returns it with its own length, or `None` while
    /// bytes are missing.
    ///
    /// `role` is the reader's: a server accepts only masked frames, a client only unmasked ones.
    /// `allowed` has the reserved bits that the negotiated extensions define.
    ///
    /// # Errors
    /// The first rule that the header breaks, as soon as the bytes that show it have arrived (RFC
    /// 6455 sections 5.1, 5.2 and 5.5; RFC 7692 section 6.1 for the place of RSV1).
    ///
    /// ```
    /// use tautline_frame::{Header, OpCode, ProtocolError, Role, Rsv};
    ///
    /// let (header, len) = Header::decode(&[0x81, 0x05], Role::Client, Rsv::NONE)?.expect("complete");
    /// assert_eq!((header.opcode, header.len, len), (OpCode::Text, 5, 2));
    /// assert_eq!(Header::decode(&[0x81, 0x05], Role::Server, Rsv::NONE), Err(ProtocolError::MaskMissing));
    /// # Ok::<(), ProtocolError>(())
    /// ```
    #[inline(always)]
    pub fn decode(
        bytes: &[u8],
        role: Role,
        allowed: Rsv,
    ) -> Result<Option<(Self, usize)>, ProtocolError> {
        let &[first, second, ..] = bytes else { return Ok(None) };
        let (opcode, bits) = check_first_two(first, second, role, allowed)?;
        let Some((len, start)) = length(bytes, bits)? else { return Ok(None) };
        let Some((mask, payload)) = Self::split_key(&bytes[start..], role) else {
            return Ok(None);
        };
        let end = bytes.len() - payload.len();
        Ok(Some((Self { fin: first & FIN != 0, rsv: Rsv(first & RSV), opcode, mask, len }, end)))
    }

    /// As [`decode`](Self::decode), for a frame whose first byte is
    /// [`WHOLE_TEXT`](Self::WHOLE_TEXT) or [`WHOLE_BINARY`](Self::WHOLE_BINARY), and so breaks no
    /// rule: the length of the payload, and where the length field ends. `None` while bytes are
    /// missing, and for whatever `decode` refuses.
    #[inline(always)]
    pub(crate) fn decode_whole(bytes: &[u8], role: Role) -> Option<(u64, usize)> {
        let &[_, second, ..] = bytes else { return None };
        length(bytes, length_bits(second, role).ok()?).ok()?
    }

    /// Whether the second byte of a header announces a masking key.
    pub(crate) const fn is_masked(second: u8) -> bool {
        second & MASK != 0
    }

    /// Splits what follows the length into the masking key, which only a server receives, and the
    /// payload. `None` while bytes of the key are missing.
    #[inline(always)]
    pub(crate) fn split_key(bytes: &[u8], role: Role) -> Option<(Option<[u8; 4]>, &[u8])> {
        if role == Role::Client {
            return Some((None, bytes));
        }
        let (&key, payload) = bytes.split_first_chunk()?;
        Some((Some(key), payload))
    }

    /// Appends what [`encode`](Self::encode) writes. All but the longest headers are appended as a
    /// constant number of bytes, which needs no call of the C library's `memcpy`.
    #[inline(always)]
    pub(crate) fn append(&self, out: &mut BytesMut) {
        let first = self.first();
        if self.len >= u64::from(LENGTH_IN_16_BITS) {
            return self.append_long(first, out);
        }
        match self.mask {
            None => out.extend_from_slice(&[first, self.len as u8]),
            Some([a, b, c, d]) => {
                out.extend_from_slice(&[first, MASK | self.len as u8, a, b, c, d]);
            }
        }
    }

    fn append_long(&self, first: u8, out: &mut BytesMut) {
        if let Ok(len) = u16::try_from(self.len) {
            let [high, low] = len.to_be_bytes();
            return match self.mask {
                None => out.extend_from_slice(&[first, LENGTH_IN_16_BITS, high, low]),
                Some([a, b, c, d]) => {
                    let second = MASK | LENGTH_IN_16_BITS;
                    out.extend_from_slice(&[first, second, high, low, a, b, c, d]);
                }
            };
        }
        let mut head = [0; Self::MAX_LEN];
        let len = self.encode(&mut head);
        out.extend_from_slice(&head[..len]);
    }

    /// The length of the payload, as far as memory can be addressed: a longer one is handed on in
    /// pieces.
    #[inline]
    pub(crate) fn memory(&self) -> usize {
        usize::try_from(self.len).unwrap_or(usize::MAX)
    }

    #[inline]
    const fn first(&self) -> u8 {
        first_byte(self.fin, self.rsv, self.opcode)
    }

    /// Writes the header into `out` in as few bytes as possible (RFC 6455 section 5.2) and returns
    /// their number.
    #[inline]
    pub fn encode(&self, out: &mut [u8; Self::MAX_LEN]) -> usize {
        out[0] = self.first();
        let mask_bit = if self.mask.is_some() { MASK } else { 0 };
        let end = if self.len < u64::from(LENGTH_IN_16_BITS) {
            out[1] = mask_bit | self.len as u8;
            2
        } else if let Ok(len) = u16::try_from(self.len) {
            out[1] = mask_bit | LENGTH_IN_16_BITS;
            out[2..4].copy_from_slice(&len.to_be_bytes());
            4
        } else {
            out[1] = mask_bit | LENGTH_IN_64_BITS;
            out[2..10].copy_from_slice(&self.len.to_be_bytes());
            10
        };
        match self.mask {
            Some(key) => {
                out[end..end + 4].copy_from_slice(&key);
                end + 4
            }
            None => end,
        }
    }
}

#[inline]
const fn first_byte(fin: bool, rsv: Rsv, opcode: OpCode) -> u8 {
    ((fin as u8) << 7) | rsv.0 | opcode.bits()
}

/// Checks everything that the first two bytes can break, so that a wrong frame is refused before
/// more of it is awaited. Returns the opcode and the length bits.
#[inline]
fn check_first_two(
    first: u8,
    second: u8,
    role: Role,
    allowed: Rsv,
) -> Result<(OpCode, u8), ProtocolError> {
    let opcode =
        OpCode::from_bits(first & OPCODE).ok_or(ProtocolError::ReservedOpcode(first & OPCODE))?;
    let rsv = Rsv(first & RSV);
    if !rsv.is_none() {
        // RFC 7692 section 6.1: an extension's bit is set on the first frame of a data message and
        // nowhere else.
        let first_of_message = matches!(opcode, OpCode::Text | OpCode::Binary);
        if !first_of_message || !allowed.contains(rsv) {
            return Err(ProtocolError::ReservedBits);
        }
    }
    if opcode.is_control() {
        if first & FIN == 0 {
            return Err(ProtocolError::ControlFragmented);
        }
        if usize::from(second & LENGTH) > MAX_CONTROL_PAYLOAD {
            return Err(ProtocolError::ControlTooLong);
        }
    }
    Ok((opcode, length_bits(second, role)?))
}

/// The seven length bits of the second byte, if its mask bit is right for the reader (RFC 6455
/// section 5.1: the direction decides, before any of the payload is read).
#[inline(always)]
fn length_bits(second: u8, role: Role) -> Result<u8, ProtocolError> {
    let (right, wrong) = match role {
        Role::Server => (MASK, ProtocolError::MaskMissing),
        Role::Client => (0, ProtocolError::MaskUnexpected),
    };
    // A wrong mask bit is left over: one test for both roles.
    let bits = second ^ right;
    if bits > LENGTH { Err(wrong) } else { Ok(bits) }
}

/// The length of the payload, given the length bits of the second byte, and where the length field
/// ends (RFC 6455 section 5.2). `None` while bytes are missing.
#[inline(always)]
fn length(bytes: &[u8], bits: u8) -> Result<Option<(u64, usize)>, ProtocolError> {
    match bits {
        LENGTH_IN_16_BITS => {
            let &[_, _, high, low, ..] = bytes else { return Ok(None) };
            let len = u16::from_be_bytes([high, low]);
            if len < u16::from(LENGTH_IN_16_BITS) {
                return Err(ProtocolError::LengthNotMinimal);
            }
            Ok(Some((u64::from(len), 4)))
        }
        LENGTH_IN_64_BITS => length_in_64_bits(bytes),
        len => Ok(Some((u64::from(len), 2))),
    }
}

#[cold]
#[inline(never)]
fn length_in_64_bits(bytes: &[u8]) -> Result<Option<(u64, usize)>, ProtocolError> {
    let Some(&field) = bytes.get(2..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
    let len = u64::from_be_bytes(field);
    if len >> 63 != 0 {
        return Err(ProtocolError::LengthTopBit);
    }
    if len <= u64::from(u16::MAX) {
        return Err(ProtocolError::LengthNotMinimal);
    }
    Ok(Some((len, 10)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(bytes: &[u8]) -> Result<Option<(Header, usize)>, ProtocolError> {
        Header::decode(bytes, Role::Client, Rsv::NONE)
    }

    #[test]
    fn every_border_length_survives_a_round_trip() {
        for len in [0u64, 1, 124, 125, 126, 127, 128, 65_534, 65_535, 65_536, 65_537, (1 << 63) - 1]
        {
            for mask in [None, Some([0, 0, 0, 0]), Some([1, 2, 3, 4])] {
                let header =
                    Header { fin: true, rsv: Rsv::NONE, opcode: OpCode::Binary, mask, len };
                let mut out = [0; Header::MAX_LEN];
                let written = header.encode(&mut out);
                let mut appended = BytesMut::from(&b"x"[..]);
                header.append(&mut appended);
                assert_eq!(appended[1..], out[..written]);
                let role = if mask.is_some() { Role::Server } else { Role::Client };
                assert_eq!(
                    Header::decode(&out[..written], role, Rsv::NONE),
                    Ok(Some((header, written)))
                );
                for short in 0..written {
                    assert_eq!(
                        Header::decode(&out[..short], role, Rsv::NONE),
                        Ok(None),
                        "{len} {short}"
                    );
                }
            }
        }
    }

    // RFC 6455 section 5.2: "the minimal number of bytes MUST be used to encode the length".
    #[test]
    fn a_length_that_is_not_minimal_is_refused() {
        assert_eq!(client(&[0x82, 126, 0, 125]), Err(ProtocolError::LengthNotMinimal));
        assert_eq!(
            client(&[0x82, 127, 0, 0, 0, 0, 0, 0, 255, 255]),
            Err(ProtocolError::LengthNotMinimal)
        );
        assert_eq!(
            client(&[0x82, 127, 0, 0, 0, 0, 0, 0, 0, 0]),
            Err(ProtocolError::LengthNotMinimal)
        );
        assert!(matches!(client(&[0x82, 126, 0, 126]), Ok(Some(_))));
        assert!(matches!(client(&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]), Ok(Some(_))));
    }

    // RFC 6455 section 5.2. NATS (CVE-2026-27889) and swift-nio (CVE-2026-43678) took such a length
    // as negative.
    #[test]
    fn the_top_bit_of_a_64_bit_length_is_refused() {
        assert_eq!(
            client(&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 1]),
            Err(ProtocolError::LengthTopBit)
        );
        assert_eq!(
            client(&[0x82, 127, 255, 255, 255, 255, 255, 255, 255, 0xFC]),
            Err(ProtocolError::LengthTopBit)
        );
    }

    // RFC 6455 section 5.5: at most 125 bytes, in one frame; the extended forms of the length are
    // always wrong.
    #[test]
    fn control_frames_are_short_and_whole() {
        for opcode in [0x8u8, 0x9, 0xA] {
            assert_eq!(client(&[opcode, 0]), Err(ProtocolError::ControlFragmented));
            assert_eq!(client(&[0x80 | opcode, 126]), Err(ProtocolError::ControlTooLong));
            assert_eq!(client(&[0x80 | opcode, 127]), Err(ProtocolError::ControlTooLong));
            assert!(matches!(client(&[0x80 | opcode, 125]), Ok(Some(_))));
        }
    }

    // RFC 6455 section 5.2, opcodes 3 to 7 and B to F.
    #[test]
    fn reserved_opcodes_are_refused() {
        for opcode in (0x3..=0x7).chain(0xB..=0xF) {
            assert_eq!(client(&[0x80 | opcode, 0]), Err(ProtocolError::ReservedOpcode(opcode)));
        }
    }

    // RFC 6455 section 5.2 without an extension, RFC 7692 section 6.1 with one.
    #[test]
    fn reserved_bits_stand_only_where_an_extension_puts_them() {
        for bits in 1..8u8 {
            assert_eq!(client(&[0x81 | (bits << 4), 0]), Err(ProtocolError::ReservedBits));
        }
        let deflate = |bytes: &[u8]| Header::decode(bytes, Role::Client, Rsv::RSV1);
        assert!(matches!(deflate(&[0xC1, 0]), Ok(Some(_))));
        assert!(matches!(deflate(&[0x42, 0]), Ok(Some(_))));
        for wrong in [0xA1u8, 0x91, 0xF1, 0xC0, 0xC8, 0xC9, 0xCA] {
            assert_eq!(deflate(&[wrong, 0]), Err(ProtocolError::ReservedBits), "{wrong:x}");
        }
    }

    // RFC 6455 section 5.1. Bandit (GHSA-rhh8-5xw9-c3gm) and facil.io (#169) handed such payloads
    // on first.
    #[test]
    fn masking_in_the_wrong_direction_is_refused_from_the_first_two_bytes() {
        assert_eq!(
            Header::decode(&[0x81, 0x7E], Role::Server, Rsv::NONE),
            Err(ProtocolError::MaskMissing)
        );
        assert_eq!(
            Header::decode(&[0x81, 0xFE], Role::Client, Rsv::NONE),
            Err(ProtocolError::MaskUnexpected)
        );
    }
}
