//! A market that is made up: a price that wanders, and orders around it. It knows neither clock nor
//! connection, and does the same for the same seed.

use crate::book::{Book, Side};

/// How many prices on each side of the middle have orders.
pub(crate) const DEPTH: u64 = 20;
/// In hundredths: the market keeps away from zero.
const LOWEST: u64 = 10 * DEPTH;

/// The quantity at a price is now this one; none is left if it is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) side: Side,
    pub(crate) price: u64,
    pub(crate) quantity: u64,
}

#[derive(Debug)]
pub(crate) struct Market {
    pub(crate) symbol: &'static str,
    pub(crate) book: Book,
    /// How often it has changed.
    pub(crate) number: u64,
    /// What the first price was, in hundredths.
    pub(crate) open: u64,
    /// What was last paid, in hundredths.
    pub(crate) last: u64,
    /// Between what is bid and what is asked.
    middle: u64,
    random: Random,
}

impl Market {
    pub(crate) fn new(symbol: &'static str, open: u64, seed: u64) -> Self {
        let (book, random) = (Book::default(), Random(seed | 1));
        Self { symbol, book, number: 0, open, last: open, middle: open, random }
    }

    /// A moment later: what has changed, which is never nothing.
    pub(crate) fn step(&mut self) -> Vec<Level> {
        self.wander();
        let mut levels = self.out_of_place();
        for _ in 0..=self.random.below(3) {
            let side = if self.random.below(2) == 0 { Side::Bid } else { Side::Ask };
            // More orders near the middle.
            let distance = 1 + self.random.below(DEPTH).min(self.random.below(DEPTH));
            let leaves = distance > 1 && self.random.below(5) == 0;
            let quantity = if leaves { 0 } else { 1 + self.random.below(900) };
            levels.push(Level { side, price: self.price(side, distance), quantity });
        }
        for level in &levels {
            self.book.set(level.side, level.price, level.quantity);
        }
        levels.extend(self.missing());
        for level in &levels {
            self.book.set(level.side, level.price, level.quantity);
        }
        self.number += 1;
        levels
    }

    fn wander(&mut self) {
        match self.random.below(6) {
            0 => self.middle += 1,
            1 if self.middle > LOWEST => self.middle -= 1,
            _ => return,
        }
        self.last = self.middle;
    }

    fn price(&self, side: Side, distance: u64) -> u64 {
        match side {
            Side::Bid => self.middle - distance,
            Side::Ask => self.middle + distance,
        }
    }

    /// Orders that were carried out since the middle has moved, or are too far away.
    fn out_of_place(&self) -> Vec<Level> {
        let mut gone = Vec::new();
        for side in [Side::Bid, Side::Ask] {
            let (near, far) = (self.price(side, 1), self.price(side, DEPTH));
            let (low, high) = (near.min(far), near.max(far));
            let prices = self.book.levels(side).map(|(price, _)| price);
            let outside = prices.filter(|price| *price < low || *price > high);
            gone.extend(outside.map(|price| Level { side, price, quantity: 0 }));
        }
        gone
    }

    /// Somebody always offers the best price on each side.
    fn missing(&mut self) -> Vec<Level> {
        let mut missing = Vec::new();
        for side in [Side::Bid, Side::Ask] {
            let price = self.price(side, 1);
            if self.book.levels(side).all(|(other, _)| other != price) {
                missing.push(Level { side, price, quantity: 1 + self.random.below(900) });
            }
        }
        missing
    }
}

/// Numbers without a visible order (xorshift, by Marsaglia): enough for a made-up market.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}
