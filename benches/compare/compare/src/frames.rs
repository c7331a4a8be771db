//! Frames as they stand on the wire (RFC 6455 section 5.2): the client's are made once beforehand,
//! the server's are counted.

/// Frames of a client, one behind the other, sent round and round.
pub(crate) struct Pool {
    /// All frames twice, so that as many as there are can be written in one piece from anywhere.
    bytes: Vec<u8>,
    /// Length of each.
    lengths: Vec<usize>,
    /// Bytes of all frames.
    round: usize,
    /// What a server must answer to each: exactly this.
    replies: Vec<Vec<u8>>,
}

/// The kind of a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Binary,
    Ping,
}

impl Pool {
    /// Frames with these payloads. A compressed payload has RSV1 set.
    pub(crate) fn new(kind: Kind, payloads: &[Vec<u8>], compressed: bool) -> Self {
        let opcode = match kind {
            Kind::Text => 1,
            Kind::Binary => 2,
            Kind::Ping => 9,
        };
        let first = 0x80 | opcode | if compressed { 0x40 } else { 0 };
        let mut pool =
            Self { bytes: Vec::new(), lengths: Vec::new(), round: 0, replies: Vec::new() };
        for (number, payload) in payloads.iter().enumerate() {
            let key = (0x9e37_79b9_u32.wrapping_mul(number as u32 + 1)).to_ne_bytes();
            let frame = client_frame(first, payload, key);
            pool.lengths.push(frame.len());
            pool.bytes.extend_from_slice(&frame);
            pool.replies.push(server_frame(first, payload));
        }
        pool.round = pool.bytes.len();
        pool.bytes.extend_from_within(..);
        pool
    }

    /// As many copies as are in flight, up to about a megabyte.
    pub(crate) fn binary(payload: usize, in_flight: usize) -> Self {
        let count = in_flight.min((1 << 20) / payload.max(1)).max(1);
        let body: Vec<u8> = (0..payload).map(|at| (at * 31 + at / 251) as u8).collect();
        Self::new(Kind::Binary, &vec![body; count], false)
    }

    /// Length of the frame of this number, counted round and round.
    pub(crate) fn length(&self, number: usize) -> usize {
        self.lengths[number % self.lengths.len()]
    }

    /// The frame of this number.
    pub(crate) fn frame(&self, number: usize) -> &[u8] {
        let start: usize = self.lengths[..number % self.lengths.len()].iter().sum();
        &self.bytes[start..start + self.length(number)]
    }

    /// The bytes from this place of the round on, at most this many.
    pub(crate) fn slice(&self, at: usize, count: usize) -> &[u8] {
        let at = at % self.round;
        &self.bytes[at..self.bytes.len().min(at + count)]
    }

    /// What a server answers to the frame of this number.
    pub(crate) fn reply(&self, number: usize) -> &[u8] {
        &self.replies[number % self.replies.len()]
    }
}

fn put_length(frame: &mut Vec<u8>, mask: u8, length: usize) {
    match length {
        0..126 => frame.push(mask | length as u8),
        126..0x1_0000 => {
            frame.push(mask | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            frame.push(mask | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// A masked frame.
pub(crate) fn client_frame(first: u8, payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![first];
    put_length(&mut frame, 0x80, payload.len());
    frame.extend_from_slice(&key);
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// A frame as a server sends it.
pub(crate) fn server_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    put_length(&mut frame, 0, payload.len());
    frame.extend_from_slice(payload);
    frame
}

/// Length of a header and of its payload; `None` when it is not complete. Masked or not.
pub(crate) fn parse_header(bytes: &[u8]) -> Option<(usize, usize)> {
    let [_, second, rest @ ..] = bytes else { return None };
    let (payload, length) = match second & 0x7f {
        126 => (usize::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?)), 4),
        127 => (u64::from_be_bytes(rest.get(..8)?.try_into().ok()?) as usize, 10),
        short => (usize::from(short), 2),
    };
    let length = length + if second & 0x80 != 0 { 4 } else { 0 };
    (bytes.len() >= length).then_some((length, payload))
}

/// Counts messages in the bytes of a server by their headers, without keeping payloads.
#[derive(Default)]
pub(crate) struct Counter {
    head: [u8; 14],
    head_length: usize,
    skip: usize,
    /// The frame that is being skipped ends a message.
    ends: bool,
    /// All bytes of data frames, headers included.
    pub(crate) wire_bytes: u64,
}

impl Counter {
    /// Gives the number of messages that ended within these bytes.
    pub(crate) fn count(&mut self, mut bytes: &[u8]) -> usize {
        let mut messages = 0;
        self.wire_bytes += bytes.len() as u64;
        loop {
            if self.skip > 0 {
                let count = self.skip.min(bytes.len());
                self.skip -= count;
                bytes = &bytes[count..];
                if self.skip > 0 {
                    return messages;
                }
                messages += usize::from(std::mem::take(&mut self.ends));
            }
            let Some(&byte) = bytes.first() else { return messages };
            self.head[self.head_length] = byte;
            self.head_length += 1;
            bytes = &bytes[1..];
            if let Some((_, payload)) = parse_header(&self.head[..self.head_length]) {
                self.head_length = 0;
                let (fin, opcode) = (self.head[0] & 0x80 != 0, self.head[0] & 0x0f);
                self.skip = payload;
                self.ends = fin && opcode < 8;
                if payload == 0 {
                    messages += usize::from(std::mem::take(&mut self.ends));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        let mut bytes = server_frame(0x82, &[7; 300]);
        bytes.extend(server_frame(0x01, b"frag"));
        bytes.extend(server_frame(0x89, b"ping"));
        bytes.extend(server_frame(0x80, b"ment"));
        bytes.extend(server_frame(0x82, b""));
        for cut in 1..bytes.len() {
            let mut counter = Counter::default();
            let messages: usize = bytes.chunks(cut).map(|chunk| counter.count(chunk)).sum();
            assert_eq!(messages, 3, "in pieces of {cut}");
        }
    }

    #[test]
    fn a_pool_goes_round() {
        let pool = Pool::new(Kind::Binary, &[vec![1; 3], vec![2; 200]], false);
        assert_eq!(pool.length(0), 9);
        assert_eq!(pool.length(3), 208);
        assert_eq!(pool.slice(217 + 9, 4), pool.slice(9, 4));
        assert_eq!(pool.reply(2), [0x82, 3, 1, 1, 1]);
    }
}
