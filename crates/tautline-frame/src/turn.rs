//! How much one turn of a connection may do before other connections of its thread get theirs.

use crate::config::{FRAME_COST, PLAIN_PER_UNIT, PLAIN_STEP, TURN};

/// What is left of a turn, in units of work of some 0.4 ns.
#[derive(Debug)]
pub(crate) struct Turn {
    /// 0 or less: the turn is over.
    left: i32,
}

impl Turn {
    pub(crate) const WHOLE: Self = Self { left: TURN };

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
    }

    /// Counts bytes that are unmasked, checked, copied or discarded.
    #[inline]
    pub(crate) fn charge_plain(&mut self, bytes: usize) {
        self.charge(bytes.div_ceil(PLAIN_PER_UNIT));
    }

    /// The same for as many bytes as [`plain_bytes`](Self::plain_bytes) allowed, or fewer.
    #[inline(always)]
    pub(crate) fn charge_allowed(&mut self, bytes: usize) {
        self.left -= bytes.div_ceil(PLAIN_PER_UNIT) as i32;
    }

    /// Counts a short message: its frame and its bytes, a few thousand at most. Only in a turn that is not over.
    #[inline(always)]
    pub(crate) fn charge_short(&mut self, bytes: usize) {
        self.left -= FRAME_COST + bytes as i32;
    }

    /// How many bytes of `there` may be unmasked, checked or copied at once. At least [`PLAIN_STEP`], so that each call
    /// makes progress.
    #[inline]
    pub(crate) fn plain_bytes(&self, there: usize) -> usize {
        if there <= PLAIN_STEP {
            return there;
        }
        (usize::try_from(self.left).unwrap_or(0) * PLAIN_PER_UNIT).max(PLAIN_STEP)
    }
}
