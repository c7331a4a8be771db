//! Compressing a message in pieces (RFC 7692 section 7.2.1).

use std::time::Instant;

use bytes::Bytes;

use super::{Deflate, TAIL, compressor};
use crate::compression::Compress;
use crate::config::COMPRESS_COST;
use crate::turn::Turn;

/// What else is to be written with a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flush {
    /// Nothing: the compressor may keep some of it for later.
    No,
    /// All of it, so that the peer can inflate what was sent so far.
    Yes,
    /// It is the last one.
    End,
}

/// A message that is compressed in pieces.
#[derive(Debug, Default)]
pub(super) struct Streaming {
    /// The compressor has something that it has not written.
    unflushed: bool,
    /// What was written last ended with [`TAIL`], which was held back: it is left out at the end of
    /// the message.
    tail: bool,
}

impl Deflate {
    /// Whether a message that begins with these bytes is to be compressed. It has begun then.
    pub(crate) fn begin(&mut self, sample: &[u8], text: bool, compress: Compress) -> bool {
        let compresses = match compress {
            _ if !self.settings.get_own_compression() => false,
            Compress::Never => false,
            Compress::Always => true,
            Compress::Auto => text || !compressor::looks_random(sample),
        };
        self.streaming = compresses.then(Streaming::default);
        compresses
    }

    /// The next piece of the message, compressed: it may be empty.
    pub(crate) fn compress_piece(
        &mut self,
        piece: &[u8],
        flush: Flush,
        since: Instant,
        turn: &mut Turn,
    ) -> Bytes {
        turn.charge(piece.len().saturating_mul(COMPRESS_COST));
        let Some(mut streaming) = self.streaming.take() else {
            // The compressor was taken away: nothing is sent any more.
            return Bytes::new();
        };
        let takeover = self.settings.get_own_context_takeover();
        let mut compressor = self.compressor();
        let mut out = Vec::new();
        streaming.unflushed |= !piece.is_empty();
        if streaming.tail && streaming.unflushed {
            out.extend_from_slice(&TAIL);
            streaming.tail = false;
        }
        if flush == Flush::No {
            compressor.write(piece, &mut out);
        } else if streaming.unflushed {
            compressor.flush(piece, &mut out);
            streaming.unflushed = false;
            streaming.tail = true;
        }
        if takeover {
            self.sent.push(piece);
        }
        if flush != Flush::End {
            self.compressor = Some(compressor);
            self.streaming = Some(streaming);
        } else if takeover {
            self.compressor = Some(compressor);
            self.note_use(since);
        } else {
            compressor.give_back();
        }
        Bytes::from(out)
    }
}
