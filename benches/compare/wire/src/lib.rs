//! Frames as bytes (RFC 6455 section 5.2), for the floor and for the load generator: nothing is
//! checked.

use std::ops::Range;

/// The longest header: two bytes, a length of eight, a key of four.
pub const MAX_HEADER: usize = 14;

/// A header, as far as echoing needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Of the header itself, with the key.
    pub length: usize,
    /// Bytes behind it.
    pub payload: u64,
    /// The last four bytes of the header are a key.
    pub masked: bool,
}

/// The header at the beginning of these bytes; `None` when it is not complete.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Header> {
    let [_, second, rest @ ..] = bytes else { return None };
    let masked = second & 0x80 != 0;
    let (payload, length) = match second & 0x7f {
        126 => (u64::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?)), 4),
        127 => (u64::from_be_bytes(rest.get(..8)?.try_into().ok()?), 10),
        short => (u64::from(short), 2),
    };
    let length = length + if masked { 4 } else { 0 };
    (bytes.len() >= length).then_some(Header { length, payload, masked })
}

/// Masks or unmasks (RFC 6455 section 5.3).
pub fn unmask(data: &mut [u8], key: [u8; 4]) {
    let word = u64::from(u32::from_ne_bytes(key));
    let word = word | word << 32;
    let (words, rest) = data.as_chunks_mut::<8>();
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// Where an echo stands between two reads. Messages pass piece by piece, as they come.
#[derive(Debug, Default)]
pub struct Turn {
    /// Bytes of the payload that are still to come.
    remaining: u64,
    /// The key, turned to the next byte of the payload.
    key: [u8; 4],
    /// The beginning of a header that was cut.
    carry: [u8; MAX_HEADER],
    carried: usize,
}

impl Turn {
    /// Puts what was left of the last read in front; the next read goes behind that many bytes.
    pub fn resume(&mut self, buffer: &mut [u8]) -> usize {
        let carried = self.carried;
        buffer[..carried].copy_from_slice(&self.carry[..carried]);
        carried
    }

    /// Bytes of the payload that are still to come.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// The key for the next byte of the payload.
    #[must_use]
    pub fn key(&self) -> [u8; 4] {
        self.key
    }

    /// Masks what follows with this key.
    pub fn set_key(&mut self, key: [u8; 4]) {
        self.key = key;
    }

    /// Begins a frame. A header that is cut is kept for the next read.
    pub fn header(&mut self, bytes: &[u8]) -> Option<Header> {
        let Some(header) = parse(bytes) else {
            self.carried = bytes.len();
            self.carry[..bytes.len()].copy_from_slice(bytes);
            return None;
        };
        self.carried = 0;
        self.remaining = header.payload;
        Some(header)
    }

    /// How many of so many bytes belong to the frame.
    #[must_use]
    pub fn take(&self, there: usize) -> usize {
        usize::try_from(self.remaining).unwrap_or(usize::MAX).min(there)
    }

    /// Goes on behind so many bytes of the payload.
    pub fn advance(&mut self, count: usize) {
        self.key.rotate_left(count % 4);
        self.remaining -= count as u64;
    }

    /// Turns the frames of a client into those of a server, in place: `buffer[..filled]` holds what
    /// was read. Gives where the replies are, and how many frames ended in them.
    pub fn turn(&mut self, buffer: &mut [u8], filled: usize) -> (Range<usize>, usize) {
        let (mut at, mut end, mut frames) = (0, 0, 0);
        let mut start = None;
        self.carried = 0;
        while at < filled {
            if self.remaining == 0 {
                let Some(header) = self.header(&buffer[at..filled]) else { break };
                let payload_at = at + header.length;
                self.key.copy_from_slice(&buffer[payload_at - 4..payload_at]);
                let short = header.length - 4;
                // The first one stays where it is, its header right before its payload; the others
                // move up to it.
                let to = if start.is_none() { payload_at - short } else { end };
                start.get_or_insert(to);
                buffer.copy_within(at..at + short, to);
                buffer[to + 1] &= 0x7f;
                (at, end) = (payload_at, to + short);
            }
            let count = self.take(filled - at);
            if start.is_none() {
                (start, end) = (Some(at), at);
            }
            unmask(&mut buffer[at..at + count], self.key);
            if end != at {
                buffer.copy_within(at..at + count, end);
            }
            self.advance(count);
            frames += usize::from(self.remaining == 0);
            (at, end) = (at + count, end + count);
        }
        (start.unwrap_or(end)..end, frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A masked frame with a payload of that many bytes.
    fn frame(payload: usize, key: [u8; 4]) -> (Vec<u8>, Vec<u8>) {
        let mut header = vec![0x82];
        match payload {
            0..126 => header.push(payload as u8),
            _ => {
                header.push(126);
                header.extend_from_slice(&(payload as u16).to_be_bytes());
            }
        }
        let mut body: Vec<u8> = (0..payload).map(|at| at as u8).collect();
        let reply = [&header[..], &body[..]].concat();
        header[1] |= 0x80;
        header.extend_from_slice(&key);
        unmask(&mut body, key);
        ([header, body].concat(), reply)
    }

    #[test]
    fn frames_are_turned_however_they_are_cut() {
        let (mut sent, mut expected) = (Vec::new(), Vec::new());
        for (number, payload) in [0, 5, 300, 1, 126, 16].into_iter().enumerate() {
            let (frame, reply) = frame(payload, [number as u8, 7, 99, 200]);
            sent.extend(frame);
            expected.extend(reply);
        }
        for cut in 1..sent.len() {
            let (mut turn, mut buffer) = (Turn::default(), vec![0; 1024]);
            let (mut replies, mut frames) = (Vec::new(), 0);
            for piece in sent.chunks(cut) {
                let carried = turn.resume(&mut buffer);
                buffer[carried..carried + piece.len()].copy_from_slice(piece);
                let (range, ended) = turn.turn(&mut buffer, carried + piece.len());
                replies.extend_from_slice(&buffer[range]);
                frames += ended;
            }
            assert_eq!((replies == expected, frames), (true, 6), "in pieces of {cut}");
        }
    }
}
