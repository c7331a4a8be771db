//! Frames of a client as bytes, and what is in them.

pub(crate) use crate::compressed::{compressed, deflated};

/// The last message of a flood, which is sent back: then all before it was worked through.
pub(crate) const MARKER: &[u8] = b"that was all";

/// A masked frame with this first byte (RFC 6455 section 5.2).
pub(crate) fn client(first: u8, payload: &[u8]) -> Vec<u8> {
    tautline_wire::encode(true, first, payload)
}

/// The header of a masked frame with a payload of that many bytes.
pub(crate) fn header(first: u8, length: usize) -> Vec<u8> {
    tautline_wire::with_head(true, &tautline_wire::head(first, length as u64), &[])
}

/// The first frame in bytes of a server: its first byte, where its payload begins, and where it
/// ends.
pub(crate) fn parse(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let [first, second, rest @ ..] = bytes else { return None };
    let (length, header) = match second {
        126 => (usize::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?)), 4),
        127 => (usize::try_from(u64::from_be_bytes(rest.get(..8)?.try_into().ok()?)).ok()?, 10),
        short => (usize::from(*short), 2),
    };
    Some((*first, header, header + length))
}

/// The same numbers in every run (xorshift).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new() -> Self {
        Self(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % bound
    }
}

/// Text as a feed sends it: keys repeat, values differ.
pub(crate) fn text(random: &mut Random, bytes: usize) -> Vec<u8> {
    let mut text = String::new();
    while text.len() < bytes {
        text +=
            &format!("{{\"price\":{},\"size\":{}}},", random.below(1_000_000), random.below(500));
    }
    text.truncate(bytes);
    text.into_bytes()
}

/// Bytes of so many values, the greatest ones, which have the longest of the fixed Huffman codes.
pub(crate) fn noise(random: &mut Random, bytes: usize, values: u64) -> Vec<u8> {
    (0..bytes).map(|_| (256 - values + random.below(values)) as u8).collect()
}
