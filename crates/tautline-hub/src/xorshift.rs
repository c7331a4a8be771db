//! Pseudorandom numbers for tests, in this crate and in `tests/`.

/// Numbers that a seed repeats, so that a failure can be replayed (xorshift, by Marsaglia). The seed is not 0.
pub(crate) struct Xorshift(pub(crate) u64);

impl Xorshift {
    /// The next one: at least 0, and less than `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    /// The index of one of so many.
    #[allow(dead_code, reason = "not all tests have lists")]
    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }
}
