//! An order book, and how the feed writes what changes it.
#![allow(dead_code, reason = "each example uses a part")]

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Bid,
    Ask,
}

/// The quantity at a price has changed; none is left if it is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Update {
    /// One more than that of the update before.
    pub(crate) number: u64,
    pub(crate) side: Side,
    pub(crate) price: u64,
    pub(crate) quantity: u64,
    /// [`Book::check`] after this update.
    pub(crate) check: u64,
}

/// The quantities that are offered at each price.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Book {
    bids: BTreeMap<u64, u64>,
    asks: BTreeMap<u64, u64>,
}

impl Book {
    pub(crate) fn set(&mut self, side: Side, price: u64, quantity: u64) {
        let levels = match side {
            Side::Bid => &mut self.bids,
            Side::Ask => &mut self.asks,
        };
        if quantity == 0 {
            levels.remove(&price);
        } else {
            levels.insert(price, quantity);
        }
    }

    /// The prices of a side with their quantities, lowest price first.
    pub(crate) fn levels(&self, side: Side) -> impl Iterator<Item = (u64, u64)> + '_ {
        let levels = if side == Side::Bid { &self.bids } else { &self.asks };
        levels.iter().map(|(price, quantity)| (*price, *quantity))
    }

    /// The highest price that is bid, and the lowest that is asked.
    pub(crate) fn best(&self) -> (Option<u64>, Option<u64>) {
        (self.bids.keys().next_back().copied(), self.asks.keys().next().copied())
    }

    /// A number that two books have in common if they are the same: exchanges send one, so that a
    /// client notices a mistake of its own.
    pub(crate) fn check(&self) -> u64 {
        let mix = |sum: u64, (price, quantity): (&u64, &u64)| {
            sum.wrapping_mul(31).wrapping_add(price.wrapping_mul(1_000_003) ^ quantity)
        };
        self.asks.iter().fold(self.bids.iter().fold(0, mix).wrapping_add(1), mix)
    }
}

/// What the server sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The whole book after the update with this number, of the market that was opened with this
    /// name. Numbers of another market mean nothing.
    Snapshot {
        market: String,
        number: u64,
        book: Book,
    },
    Update(Update),
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Bid { "bid" } else { "ask" })
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Update(Update { number, side, price, quantity, check }) => {
                write!(f, "update {number} {side} {price} {quantity} {check}")
            }
            Self::Snapshot { market, number, book } => {
                write!(f, "snapshot {market} {number}")?;
                let sides = [(Side::Bid, &book.bids), (Side::Ask, &book.asks)];
                for (side, levels) in sides {
                    for (price, quantity) in levels {
                        write!(f, " {side} {price} {quantity}")?;
                    }
                }
                Ok(())
            }
        }
    }
}

impl FromStr for Sent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split(' ');
        match words.next() {
            Some("update") => {
                let number = number(words.next())?;
                let (side, price, quantity) = level(&mut words)?.ok_or("no level")?;
                let check = self::number(words.next())?;
                Ok(Self::Update(Update { number, side, price, quantity, check }))
            }
            Some("snapshot") => {
                let market = words.next().ok_or("no market")?.to_owned();
                let number = number(words.next())?;
                let mut book = Book::default();
                while let Some((side, price, quantity)) = level(&mut words)? {
                    book.set(side, price, quantity);
                }
                Ok(Self::Snapshot { market, number, book })
            }
            _ => Err(format!("neither an update nor a snapshot: {text:?}")),
        }
    }
}

fn number(word: Option<&str>) -> Result<u64, String> {
    let word = word.ok_or("a number is missing")?;
    word.parse().map_err(|_| format!("not a number: {word:?}"))
}

fn level<'a>(
    words: &mut impl Iterator<Item = &'a str>,
) -> Result<Option<(Side, u64, u64)>, String> {
    let side = match words.next() {
        None => return Ok(None),
        Some("bid") => Side::Bid,
        Some("ask") => Side::Ask,
        Some(other) => return Err(format!("neither bid nor ask: {other:?}")),
    };
    Ok(Some((side, number(words.next())?, number(words.next())?)))
}
