//! Where a subscriber is in a topic.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

/// The life of a topic's history. Positions of another epoch say nothing: what they counted is gone, as
/// after a restart without storage.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(u64);

/// A place in the history of a topic: everything up to this message was received.
///
/// Offsets grow, and 0 is ahead of the first message. In memory and on Redis they begin with 1 and are
/// contiguous, but for jumps of Redis after restarts; on NATS they only grow. They stay below 2^53, so that
/// languages whose numbers are floating point have them exactly.
///
/// Clients keep it as text:
///
/// ```
/// use tautline_hub::Position;
///
/// let position: Position = "7@a3".parse()?;
/// assert_eq!((position.offset, position.epoch.as_u64()), (7, 0xa3));
/// assert_eq!(position.to_string(), "7@a3");
/// assert!("7".parse::<Position>().is_err() && "7@x".parse::<Position>().is_err());
/// # Ok::<(), tautline_hub::ParsePositionError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "a place is a history and a number in it")]
pub struct Position {
    /// In which history.
    pub epoch: Epoch,
    /// Of the last message that was received.
    pub offset: u64,
}

impl Epoch {
    /// An epoch of this number.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

/// In hexadecimal, which [`FromStr`] reads.
impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Epoch {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

/// As `OFFSET@EPOCH`, which [`FromStr`] reads.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.offset, self.epoch)
    }
}

/// A text is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParsePositionError;

impl fmt::Display for ParsePositionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a position, which is OFFSET@EPOCH")
    }
}

impl std::error::Error for ParsePositionError {}

impl FromStr for Position {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, ParsePositionError> {
        let (offset, epoch) = text.split_once('@').ok_or(ParsePositionError)?;
        match (offset.parse(), epoch.parse()) {
            (Ok(offset), Ok(epoch)) => Ok(Self { epoch, offset }),
            _ => Err(ParsePositionError),
        }
    }
}
