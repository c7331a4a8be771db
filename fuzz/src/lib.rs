//! What the fuzz targets share: reading decisions off the input. Frames are read by
//! `tautline-wire`, which owes nothing to the crates.

pub mod centrifuge;

/// Decisions from the start of a fuzz input; zeros once it is used up.
#[derive(Debug)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// Of these bytes.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether everything was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// The next two bytes as a number.
    pub fn pair(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// The next bytes: as many as asked for, or all that is left.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// All that is left.
    #[must_use]
    pub fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// Cuts bytes into pieces whose lengths follow from a seed. Seed 0 cuts into single bytes.
#[derive(Debug)]
pub struct Pieces<'a> {
    bytes: &'a [u8],
    seed: u32,
}

impl<'a> Pieces<'a> {
    /// The pieces of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8], seed: u16) -> Self {
        Self { bytes, seed: u32::from(seed) }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.bytes.is_empty() {
            return None;
        }
        let len = if self.seed == 0 {
            1
        } else {
            self.seed = self.seed.wrapping_mul(1_103_515_245).wrapping_add(12_345) | 1;
            // Short pieces mostly, and long ones now and then.
            match self.seed >> 16 & 0xF {
                0..=9 => 1 + (self.seed >> 20 & 7) as usize,
                10..=13 => 1 + (self.seed >> 20 & 63) as usize,
                _ => 1 + (self.seed >> 20) as usize,
            }
        };
        let (piece, rest) = self.bytes.split_at(len.min(self.bytes.len()));
        self.bytes = rest;
        Some(piece)
    }
}
