//! How much one turn of a connection may do before other connections of its thread get theirs.

use crate::buffers;
use crate::config::{FRAME_COST, PLAIN_PER_UNIT, PLAIN_STEP, TURN};
use crate::rate::Counts;

/// What is left of a turn, in units of work of some 0.4 ns.
#[derive(Debug)]
pub(crate) struct Turn {
    /// 0 or less: the turn is over.
    left: i32,
    /// Frames that were received and not counted by a rate, control frames included. It may wrap.
    frames: u32,
    /// How many of them were control frames.
    controls: u32,
    /// Bytes that were read and not counted by a rate.
    bytes: u32,
}

impl Turn {
    pub(crate) const WHOLE: Self = Self { left: TURN, frames: 0, controls: 0, bytes: 0 };

    /// The next one.
    #[inline]
    pub(crate) const fn renew(&mut self) {
        self.left = TURN;
    }

    /// Nothing more is done in this one.
    pub(crate) const fn end(&mut self) {
        self.left = 0;
    }

    /// So many bytes were read.
    #[inline]
    pub(crate) fn note_read(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// Whether no more was received than this since it was taken.
    #[inline]
    pub(crate) const fn is_within(&self, few: &Counts) -> bool {
        self.bytes <= few.bytes && self.frames <= few.messages && self.controls <= few.controls
    }

    /// What was received since the last call.
    #[inline]
    pub(crate) const fn take_counts(&mut self) -> Counts {
        let messages = self.frames.wrapping_sub(self.controls);
        let counts = Counts { bytes: self.bytes, messages, controls: self.controls };
        (self.frames, self.controls, self.bytes) = (0, 0, 0);
        counts
    }

    /// One of the frames was a control frame.
    pub(crate) const fn note_control(&mut self) {
        self.controls = self.controls.wrapping_add(1);
    }

    #[inline]
    pub(crate) const fn is_over(&self) -> bool {
        self.left <= 0
    }

    #[inline]
    pub(crate) fn charge(&mut self, units: usize) {
        self.left = self.left.saturating_sub(i32::try_from(units).unwrap_or(i32::MAX));
    }

    /// Counts a frame, whatever it contains. Only in a turn that is not over.
    #[inline]
    pub(crate) fn charge_frame(&mut self) {
        self.left -= FRAME_COST;
        self.frames = self.frames.wrapping_add(1);
    }

    /// Counts bytes that are unmasked, checked, copied or discarded.
    #[inline]
    pub(crate) fn charge_plain(&mut self, bytes: usize) {
        self.charge(plain_units(bytes));
    }

    /// The same for as many bytes as [`plain_bytes`](Self::plain_bytes) allowed, or fewer.
    #[inline(always)]
    pub(crate) fn charge_allowed(&mut self, bytes: usize) {
        self.left -= plain_units(bytes) as i32;
    }

    /// Counts a short message: its frame and its bytes, a few thousand at most. Only in a turn that
    /// is not over.
    #[inline(always)]
    pub(crate) fn charge_short(&mut self, bytes: usize) {
        self.left -= FRAME_COST + bytes as i32;
        self.frames = self.frames.wrapping_add(1);
    }

    /// How many bytes may be unmasked, checked or copied at once when `there` bytes have arrived;
    /// may be more than those. At least [`PLAIN_STEP`] if there are as many, so that each call
    /// makes progress.
    #[inline]
    pub(crate) fn plain_bytes(&self, there: usize) -> usize {
        if there <= PLAIN_STEP {
            return there;
        }
        let left = usize::try_from(self.left).unwrap_or(0);
        let left = if buffers::is_crowded() { left * PLAIN_PER_UNIT } else { left };
        left.max(PLAIN_STEP)
    }
}

#[inline]
fn plain_units(bytes: usize) -> usize {
    // Not a division by one or the other: the CPU would divide for every frame.
    if buffers::is_crowded() { bytes.div_ceil(PLAIN_PER_UNIT) } else { bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    // 64 connections with messages of 1 MiB took twice the CPU time, because all of them had parts
    // of messages at the same time.
    #[test]
    fn a_turn_takes_a_message_of_1_mib_while_many_have_parts_of_long_ones() {
        const MESSAGE: usize = (1 << 20) + 14;
        assert!(Turn::WHOLE.plain_bytes(MESSAGE) < MESSAGE);
        let blocks = |count| -> Vec<_> {
            (0..count).map(|_| buffers::LargeBlock::new(MESSAGE).unwrap()).collect()
        };
        let few = blocks(8);
        assert!(Turn::WHOLE.plain_bytes(MESSAGE) < MESSAGE);
        let many = blocks(10_000);
        let mut turn = Turn::WHOLE;
        assert!(turn.plain_bytes(MESSAGE) >= MESSAGE);
        turn.charge_frame();
        turn.charge_allowed(MESSAGE);
        assert!(!turn.is_over());
        drop((few, many));
        assert!(Turn::WHOLE.plain_bytes(MESSAGE) < MESSAGE);
    }
}
