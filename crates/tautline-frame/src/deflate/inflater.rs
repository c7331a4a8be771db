//! From compressed bytes to a message (RFC 7692 section 7.2.2).

use flate2::{Decompress, FlushDecompress, Status};

use super::TAIL;
use super::kept::{self, Kept};
use super::window::Window;
use crate::config::{
    BARREN_INPUT_COST, BARREN_INPUT_FREE, DICTIONARY_BYTES_PER_UNIT, FREE_RESTARTS, INFLATE_BACK,
    INFLATE_INPUT_COST, INFLATE_INPUT_STEP, INFLATE_OUTPUT_COST, INFLATE_START_COST, INFLATE_STEP,
    RESTART_UNITS_PER_BYTE,
};
use crate::turn::Turn;

/// A last block without content. After a whole message it ends the stream; after a part of one it
/// cannot.
const LAST_BLOCK: [u8; 2] = [0x03, 0x00];

/// How many inflaters a thread keeps. It inflates several messages at a time when they arrive in
/// pieces.
const KEPT_INFLATERS: usize = 8;

thread_local! {
    static INFLATERS: Kept<Box<Inflater>> = const { Kept::new(KEPT_INFLATERS) };
    /// What one step of inflating goes to.
    static STEP: Kept<Vec<u8>> = const { Kept::new(1) };
}

/// Why compressed data was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InflateError {
    /// It is not what RFC 1951 describes, or ends in the middle.
    Data,
    /// The message is longer than the limit.
    TooLong,
    /// More blocks are marked as the last one than there is data for.
    LastBlocks,
}

/// Whether the input so far has more output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum More {
    Yes,
    No,
}

/// An inflater in the middle of a message.
#[derive(Debug)]
pub(super) struct Inflater {
    stream: Decompress,
    /// The newest block was marked as the last one, and nothing has followed it.
    ended: bool,
    /// Bytes received of this message.
    received: usize,
    /// And what they became.
    inflated: usize,
    /// Work on continuing after last blocks within this message, in units.
    restarting: usize,
}

impl Inflater {
    /// One that knows what came before the message.
    pub(super) fn borrow(before: &Window, turn: &mut Turn) -> Box<Self> {
        // Always with the largest window, which can read what was written with any other; also
        // because a window of 256 bytes has no decoder of its own in zlib. What the peer agreed to
        // bounds what is kept between messages.
        let mut inflater = kept::take(&INFLATERS, |_| true).unwrap_or_else(|| {
            Box::new(Self {
                stream: Decompress::new(false),
                ended: false,
                received: 0,
                inflated: 0,
                restarting: 0,
            })
        });
        inflater.received = 0;
        inflater.inflated = 0;
        inflater.restarting = 0;
        turn.charge(inflater.start(before, &[]));
        inflater
    }

    pub(super) fn give_back(self: Box<Self>) {
        kept::give(&INFLATERS, self);
    }

    /// Begins a stream after what was inflated so far; returns how much work that was, in units.
    fn start(&mut self, before: &Window, message: &[u8]) -> usize {
        self.stream.reset(false);
        let message = &message[message.len().saturating_sub(INFLATE_BACK)..];
        let [older, newer] = before.parts();
        // What lies further back than any reference reaches is not worth the copy.
        let mut beyond = (older.len() + newer.len() + message.len()).saturating_sub(INFLATE_BACK);
        let mut copied = 0;
        for part in [older, newer, message] {
            let skipped = beyond.min(part.len());
            beyond -= skipped;
            let part = &part[skipped..];
            if !part.is_empty() {
                // Cannot fail: there is no header that would name another dictionary.
                let _ = self.stream.set_dictionary(part);
                copied += part.len();
            }
        }
        self.ended = false;
        INFLATE_START_COST + copied / DICTIONARY_BYTES_PER_UNIT
    }

    /// RFC 7692 section 7.2.3.4: a block that is marked as the last one ends a block, not the
    /// message, and nothing of what may be referred to. Going on after it costs a copy of that,
    /// whatever the block held. So it is allowed as often as the message grows, or a peer would buy
    /// hours of work with blocks of two bytes.
    fn restart(
        &mut self,
        before: &Window,
        message: &[u8],
        turn: &mut Turn,
    ) -> Result<(), InflateError> {
        let work = self.start(before, message);
        turn.charge(work);
        self.restarting += work;
        let paid = (self.received + self.inflated).saturating_mul(RESTART_UNITS_PER_BYTE);
        if self.restarting > FREE_RESTARTS.saturating_add(paid) {
            return Err(InflateError::LastBlocks);
        }
        Ok(())
    }

    /// Inflates some of `input` to the end of `message`, in one step of bounded work, and no
    /// further than `limit`.
    pub(super) fn inflate(
        &mut self,
        input: &mut &[u8],
        message: &mut Vec<u8>,
        before: &Window,
        limit: usize,
        turn: &mut Turn,
    ) -> Result<More, InflateError> {
        if self.ended {
            if input.is_empty() {
                return Ok(More::No);
            }
            self.restart(before, message, turn)?;
        }
        let mut out = kept::take(&STEP, |_| true).unwrap_or_default();
        out.reserve_exact(INFLATE_STEP);
        let result = self.step(input, &mut out, turn);
        let full = out.len() == out.capacity();
        // Up to the limit, so that an error in the text before it does not depend on the steps.
        let fits = out.len().min(limit - message.len());
        append(message, &out[..fits], limit);
        if fits < out.len() {
            return Err(InflateError::TooLong);
        }
        out.clear();
        kept::give(&STEP, out);
        result?;
        Ok(if full || !input.is_empty() { More::Yes } else { More::No })
    }

    fn step(
        &mut self,
        input: &mut &[u8],
        out: &mut Vec<u8>,
        turn: &mut Turn,
    ) -> Result<(), InflateError> {
        let piece = &input[..input.len().min(INFLATE_INPUT_STEP)];
        let consumed = self.stream.total_in();
        let status = self.stream.decompress_vec(piece, out, FlushDecompress::Sync);
        let consumed = (self.stream.total_in() - consumed) as usize;
        *input = &input[consumed..];
        self.received += consumed;
        self.inflated += out.len();
        let barren = consumed.saturating_sub(out.len() + BARREN_INPUT_FREE);
        turn.charge(
            consumed * INFLATE_INPUT_COST
                + barren * BARREN_INPUT_COST
                + out.len() * INFLATE_OUTPUT_COST,
        );
        match status {
            Err(_) => Err(InflateError::Data),
            Ok(Status::StreamEnd) => {
                self.ended = true;
                Ok(())
            }
            Ok(Status::Ok | Status::BufError) => {
                if consumed == 0 && out.is_empty() && !input.is_empty() {
                    // It makes no progress: never seen, and never to be waited for.
                    return Err(InflateError::Data);
                }
                Ok(())
            }
        }
    }

    /// Adds what the sender cut off, and checks that the message is whole.
    pub(super) fn end_message(
        &mut self,
        message: &mut Vec<u8>,
        before: &Window,
        limit: usize,
        turn: &mut Turn,
    ) -> Result<(), InflateError> {
        if self.ended {
            // After a last block nothing had to be cut off.
            return Ok(());
        }
        let len = message.len();
        for mut input in [&TAIL[..], &LAST_BLOCK[..]] {
            if self.ended {
                // The tail itself cannot end a stream: the message was cut in the middle of a
                // block.
                return Err(InflateError::Data);
            }
            while self.inflate(&mut input, message, before, limit, turn)? == More::Yes {}
        }
        // What was cut off is an empty block (RFC 7692 section 7.2.1). A message that ends in the
        // middle of its last block may take these bytes for the rest of it, and end with them.
        if self.ended && message.len() == len { Ok(()) } else { Err(InflateError::Data) }
    }
}

/// Adds a step to the message. Its buffer grows by as much again, but never beyond the limit; one
/// step alone gets no more room than it fills.
fn append(message: &mut Vec<u8>, step: &[u8], limit: usize) {
    if step.len() > message.capacity() - message.len() {
        let most = limit - message.len();
        message.reserve_exact(message.len().max(step.len()).min(most));
    }
    message.extend_from_slice(step);
}
