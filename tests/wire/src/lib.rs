//! RFC 6455 frames, written and read by hand: what tests compare the crates with. It owes nothing
//! to them, and no line of it is meant to be fast.

#![forbid(unsafe_code)]
#![expect(clippy::exhaustive_structs, reason = "not published, and tests take them apart")]

/// The key of every frame that is written masked, from the example of RFC 6455 section 5.7.
pub const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// A whole frame with any first byte and the length in its shortest form, masked or not.
#[must_use]
pub fn encode(masked: bool, first: u8, payload: &[u8]) -> Vec<u8> {
    with_head(masked, &head(first, payload.len() as u64), payload)
}

/// A head without mask: the first byte, and the length in its shortest form (RFC 6455 section 5.2).
#[must_use]
pub fn head(first: u8, len: u64) -> Vec<u8> {
    let mut head = vec![first];
    match len {
        0..=125 => head.push(len as u8),
        126..=0xFFFF => {
            head.push(126);
            head.extend((len as u16).to_be_bytes());
        }
        _ => {
            head.push(127);
            head.extend(len.to_be_bytes());
        }
    }
    head
}

/// A frame with any head, such as one that must not exist, of two bytes or more. The head is given
/// without mask.
#[must_use]
pub fn with_head(masked: bool, head: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut wire = head.to_vec();
    if masked {
        wire[1] |= 0x80;
        wire.extend(KEY);
    }
    let start = wire.len();
    wire.extend(payload);
    if masked {
        apply(KEY, &mut wire[start..]);
    }
    wire
}

/// Masks or unmasks (RFC 6455 section 5.3).
fn apply(key: [u8; 4], payload: &mut [u8]) {
    for (byte, key) in payload.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// The body of a Close frame (RFC 6455 section 5.5.1).
#[must_use]
pub fn close_body(code: u16, reason: impl AsRef<[u8]>) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_ref()].concat()
}

/// A frame as it stood on the wire, unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// FIN, the reserved bits and the opcode.
    pub first: u8,
    /// The key that it was masked with.
    pub key: Option<[u8; 4]>,
    /// Whether the length is in its shortest form.
    pub minimal: bool,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The four bits of the opcode.
    #[must_use]
    pub fn opcode(&self) -> u8 {
        self.first & 0x0F
    }

    /// Whether this ends its message.
    #[must_use]
    pub fn fin(&self) -> bool {
        self.first & 0x80 != 0
    }

    /// Whether it was masked.
    #[must_use]
    pub fn masked(&self) -> bool {
        self.key.is_some()
    }
}

/// Reads the first frame of `bytes`; returns it with its length on the wire, or `None` when it is
/// not complete.
#[must_use]
pub fn read_frame(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let short = u64::from(second & 0x7F);
    let field = match short {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let extended =
        bytes.get(2..2 + field)?.iter().fold(0u64, |len, &byte| len << 8 | u64::from(byte));
    let (len, minimal) = match short {
        126 => (extended, extended >= 126),
        127 => (extended, extended > 0xFFFF && extended >> 63 == 0),
        _ => (short, true),
    };
    let mut start = 2 + field;
    let mut key = None;
    if second & 0x80 != 0 {
        key = Some(bytes.get(start..start + 4)?.try_into().ok()?);
        start += 4;
    }
    let end = start.checked_add(usize::try_from(len).ok()?)?;
    let mut payload = bytes.get(start..end)?.to_vec();
    if let Some(key) = key {
        apply(key, &mut payload);
    }
    Some((Frame { first, key, minimal, payload }, end))
}

/// Every complete frame of `bytes`, and what is left.
#[must_use]
pub fn read_frames(mut bytes: &[u8]) -> (Vec<Frame>, &[u8]) {
    let mut frames = Vec::new();
    while let Some((frame, len)) = read_frame(bytes) {
        frames.push(frame);
        bytes = &bytes[len..];
    }
    (frames, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 6455 section 5.7: the masked and the unmasked "Hello", and the two longer forms of the
    // length.
    #[test]
    fn the_examples_of_the_rfc_are_written_and_read() {
        let hello = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
        let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(encode(false, 0x81, b"Hello"), hello);
        assert_eq!(encode(true, 0x81, b"Hello"), masked);
        for (bytes, key) in [(&hello[..], None), (&masked[..], Some(KEY))] {
            let frame = Frame { first: 0x81, key, minimal: true, payload: b"Hello".to_vec() };
            assert_eq!(read_frame(bytes), Some((frame, bytes.len())));
            assert_eq!(read_frame(&bytes[..bytes.len() - 1]), None);
        }
        assert_eq!(head(0x82, 256), [0x82, 0x7E, 0x01, 0x00]);
        assert_eq!(head(0x82, 65536), [0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_length_that_could_be_shorter_is_told() {
        let long = with_head(false, &[0x82, 126, 0, 1], b"x");
        let (frames, rest) = read_frames(&long);
        assert!(!frames[0].minimal && rest.is_empty());
    }
}
