//! Why a signal cannot be read.

use std::fmt;

use crate::topic::TopicError;

/// What came is not a signal of presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignalError {
    /// It is of a version that this one does not know: so says its first byte.
    Version(u8),
    /// It is of a kind that this one does not know: so says its second byte.
    Kind(u8),
    /// It has more than [`MAX_SIGNAL_LEN`](crate::presence::MAX_SIGNAL_LEN) bytes: so many.
    TooLong(usize),
    /// It ends too early.
    Truncated,
    /// It goes on behind its end, for so many bytes.
    Trailing(usize),
    /// A number does not fit in 64 bits, or is not written in the shortest way.
    Number,
    /// A byte that says what follows has a value that means nothing.
    Tag(u8),
    /// The name of a user has so many bytes, more than are possible.
    UserTooLong(usize),
    /// Data has so many bytes, more than are possible.
    DataTooLong(usize),
    /// The name of a user or a topic is not UTF-8.
    Utf8,
    /// A topic has no possible name.
    Topic(TopicError),
    /// Members are not in their order, or outside of the marks they are said to be between.
    Order,
}

impl fmt::Display for SignalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "a presence signal of version {version}"),
            Self::Kind(kind) => write!(f, "a presence signal of the unknown kind {kind}"),
            Self::TooLong(len) => write!(f, "a presence signal of {len} bytes is too long"),
            Self::Truncated => f.write_str("a presence signal is cut off"),
            Self::Trailing(len) => write!(f, "a presence signal has {len} bytes behind its end"),
            Self::Number => f.write_str("a number in a presence signal is damaged"),
            Self::Tag(tag) => write!(f, "a presence signal has the unknown tag {tag}"),
            Self::UserTooLong(len) => write!(f, "a user of {len} bytes in a presence signal"),
            Self::DataTooLong(len) => write!(f, "data of {len} bytes in a presence signal"),
            Self::Utf8 => f.write_str("a name in a presence signal is not UTF-8"),
            Self::Topic(_) => f.write_str("a topic in a presence signal has no possible name"),
            Self::Order => f.write_str("members in a presence signal are not in order"),
        }
    }
}

impl std::error::Error for SignalError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Topic(error) => Some(error),
            _ => None,
        }
    }
}
