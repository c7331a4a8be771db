//! From compressed bytes to a message (RFC 7692 section 7.2.2).

use flate2::{Decompress, FlushDecompress, Status};

use super::window::Window;
use super::{TAIL, pool};

/// A last block without content. Behind a whole message it ends the stream; behind a piece of one it cannot.
const LAST_BLOCK: [u8; 2] = [0x03, 0x00];

/// How far back a reference reaches at most, in bytes (RFC 1951 section 2).
const MOST_BACK: usize = 1 << 15;

/// Text comes down to about a quarter. A first guess for the length of a message: what has arrived times this.
const USUAL_RATIO: usize = 4;

/// The least and the most by which a message's buffer grows at once, in bytes.
const MIN_GROWTH: usize = 256;
const MAX_FIRST_GROWTH: usize = 64 << 10;

/// Why compressed data was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InflateError {
    /// It is not what RFC 1951 describes, or ends in the middle.
    Data,
    /// The message is longer than the limit.
    TooLong,
}

/// Whether there is more to come of the bytes that were given so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum More {
    Yes,
    No,
}

/// An inflater in the middle of a message.
#[derive(Debug)]
pub(super) struct Inflater {
    stream: Decompress,
    /// The newest block was marked as the last one, and nothing has come behind it.
    ended: bool,
}

impl Inflater {
    /// One that knows what came before the message.
    pub(super) fn borrow(before: &Window) -> Box<Self> {
        // Always with the largest window, which can read what was written with any other; also because a window of 256
        // bytes has no decoder of its own in zlib. What the peer agreed to bounds what is kept between messages.
        let mut inflater = pool::take_inflater()
            .unwrap_or_else(|| Box::new(Self { stream: Decompress::new(false), ended: false }));
        inflater.start(before, &[]);
        inflater
    }

    pub(super) fn give_back(self: Box<Self>) {
        pool::give_inflater(self);
    }

    /// Begins a stream behind what was inflated so far.
    fn start(&mut self, before: &Window, message: &[u8]) {
        self.stream.reset(false);
        let message = &message[message.len().saturating_sub(MOST_BACK)..];
        // What lies further back than any reference reaches is not worth the copy.
        let before = if message.len() < MOST_BACK { before.parts() } else { [&[][..]; 2] };
        for part in before.into_iter().chain([message]) {
            if !part.is_empty() {
                // Cannot fail: there is no header that would name another dictionary.
                let _ = self.stream.set_dictionary(part);
            }
        }
        self.ended = false;
    }

    /// Inflates some of `input` to the end of `message`, no further than a byte beyond `limit`.
    pub(super) fn inflate(
        &mut self,
        input: &mut &[u8],
        message: &mut Vec<u8>,
        before: &Window,
        limit: usize,
    ) -> Result<More, InflateError> {
        if self.ended {
            if input.is_empty() {
                return Ok(More::No);
            }
            // RFC 7692 section 7.2.3.4: a block that is marked as the last one ends a block, not the message, and nothing
            // of what may be referred to.
            self.start(before, message);
        }
        if message.len() == message.capacity() {
            grow(message, input.len(), limit);
        }
        let (consumed, len) = (self.stream.total_in(), message.len());
        let status = self.stream.decompress_vec(input, message, FlushDecompress::Sync);
        let consumed = (self.stream.total_in() - consumed) as usize;
        *input = &input[consumed..];
        if message.len() > limit {
            return Err(InflateError::TooLong);
        }
        match status {
            Err(_) => return Err(InflateError::Data),
            Ok(Status::StreamEnd) => self.ended = true,
            Ok(Status::Ok | Status::BufError) => {
                let full = message.len() == message.capacity();
                if consumed == 0 && message.len() == len && !full && !input.is_empty() {
                    // It neither takes nor gives: never seen, and never to be waited for.
                    return Err(InflateError::Data);
                }
                if full {
                    return Ok(More::Yes);
                }
            }
        }
        Ok(if input.is_empty() { More::No } else { More::Yes })
    }

    /// Adds what the sender cut off, and checks that the message is whole.
    pub(super) fn end_message(
        &mut self,
        message: &mut Vec<u8>,
        before: &Window,
        limit: usize,
    ) -> Result<(), InflateError> {
        if self.ended {
            // Behind a last block nothing had to be cut off.
            return Ok(());
        }
        let len = message.len();
        for mut input in [&TAIL[..], &LAST_BLOCK[..]] {
            if self.ended {
                // The tail itself cannot end a stream: the message was cut in the middle of a block.
                return Err(InflateError::Data);
            }
            while self.inflate(&mut input, message, before, limit)? == More::Yes {}
        }
        // What was cut off is an empty block (RFC 7692 section 7.2.1). A message that ends in the middle of its last block may
        // take these bytes for the rest of it, and end with them.
        if self.ended && message.len() == len { Ok(()) } else { Err(InflateError::Data) }
    }
}

/// Makes room for as much again, but for no more than the limit and the one byte that shows that it is passed.
fn grow(message: &mut Vec<u8>, arrived: usize, limit: usize) {
    let first = arrived.saturating_mul(USUAL_RATIO).clamp(MIN_GROWTH, MAX_FIRST_GROWTH);
    let most = (limit - message.len()).saturating_add(1);
    message.reserve_exact(message.len().max(first).min(most));
}
