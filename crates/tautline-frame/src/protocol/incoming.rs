//! The message that is being received, if it is not a single frame that is delivered as it is.

use bytes::Bytes;

use crate::config::INFLATE_BACK;
use crate::message::Kind;

/// What arrives of a message that is received in pieces, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a message has a beginning, contents and an end")]
pub enum Piece {
    /// A message begins.
    Start(Kind),
    /// The next bytes of it, at least one. They follow what arrived, not the frames that the peer
    /// chose. A piece of a text may begin and end in the middle of a character.
    Data(Bytes),
    /// The message is complete.
    End,
}

#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) kind: Kind,
    pub(super) coding: Coding,
    pub(super) delivery: Delivery,
    pub(super) fragments: u32,
    /// Its last frame is complete, though not all of it has been handed on.
    pub(super) ended: bool,
    /// How many bytes of it have arrived, inflated, if they are handed on in pieces.
    pub(super) received: u64,
    /// What has arrived of it, inflated. If it is handed on in pieces: what was not handed on, and
    /// before it what the rest of a compressed message may refer to.
    pub(super) data: Vec<u8>,
    /// How much of `data` was handed on.
    pub(super) taken: usize,
}

/// Whether a message is compressed, as RSV1 of its first frame says (RFC 7692 section 6), and how
/// far it is inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Plain,
    /// Compressed, and no byte has arrived yet.
    Untouched,
    /// All that arrived is inflated.
    Inflated,
    /// The turn was over before all that arrived was inflated.
    Inflating,
}

/// What becomes of the bytes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// They are collected until it is complete.
    Whole,
    /// They are handed on as they arrive.
    Pieces,
    /// They are dropped: nobody wants the rest.
    Skipped,
}

impl Incoming {
    pub(super) const fn new(kind: Kind, coding: Coding, delivery: Delivery) -> Self {
        Self {
            kind,
            coding,
            delivery,
            fragments: 1,
            ended: false,
            received: 0,
            data: Vec::new(),
            taken: 0,
        }
    }

    /// Takes what was not handed on yet.
    pub(super) fn take_piece(&mut self) -> Option<Bytes> {
        if self.taken == self.data.len() {
            return None;
        }
        let piece = if self.coding == Coding::Plain {
            Bytes::from(std::mem::take(&mut self.data))
        } else {
            let piece = Bytes::copy_from_slice(&self.data[self.taken..]);
            self.forget_piece();
            piece
        };
        Some(piece)
    }

    /// As if what was not handed on yet had been.
    pub(super) fn forget_piece(&mut self) {
        if self.coding == Coding::Plain {
            self.data = Vec::new();
        } else if self.data.len() > 2 * INFLATE_BACK {
            self.data.drain(..self.data.len() - INFLATE_BACK);
        }
        self.taken = self.data.len();
    }
}
