//! Errors of any type, boxed and with all of their causes for logs, since each error's own text
//! tells its level only; and the error of `try_feed`.

use std::error::Error;
use std::fmt;

use tautline_frame::Message;
use tautline_frame::session::Error as ConnectionError;

/// What a handler's error becomes: `?` turns any error into it.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Displays an error and, separated by colons, its sources.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

/// Why [`WebSocket::try_feed`](crate::WebSocket::try_feed) or
/// [`Writer::try_feed`](crate::Writer::try_feed) did not queue the message.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TryFeedError {
    /// The queue is full; this is the message. Wait with [`flush`](crate::WebSocket::flush) or
    /// [`feed`](crate::WebSocket::feed), or drop the message.
    Full(Message),
    /// No message can be sent any more. [`Error::Closed`](crate::Error::Closed) if the connection
    /// is closing or closed, otherwise why it failed.
    Failed(ConnectionError),
}

impl fmt::Display for TryFeedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the queue of the connection is full",
            Self::Failed(_) => "no message can be sent any more",
        })
    }
}

impl Error for TryFeedError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Full(_) => None,
            Self::Failed(error) => Some(error),
        }
    }
}

#[cfg(all(test, not(tautline_loom)))]
pub(crate) mod tests {
    use super::*;

    /// Each level has a text, and none repeats that of its source, or the chain would print it
    /// twice.
    pub(crate) fn assert_one_level_each(error: &(dyn Error + 'static)) {
        let text = error.to_string();
        assert!(!text.is_empty(), "{error:?}");
        if let Some(source) = error.source() {
            assert!(!text.contains(&source.to_string()), "{text:?} contains its source");
            assert_one_level_each(source);
        }
    }
}
