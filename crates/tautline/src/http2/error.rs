//! Why a stream of HTTP/2 ended before its end.

use std::error::Error;
use std::fmt;
use std::io;

use h2::Reason;

/// How a stream of HTTP/2 ended out of order: what is in the [`io::Error`] of an
/// [`Error::Io`](crate::Error::Io) of a connection over HTTP/2.
///
/// ```
/// use tautline::{Error, Http2Error};
///
/// fn was_cancelled(error: &Error) -> bool {
///     const CANCEL: u32 = 8; // RFC 9113 section 7
///     matches!(Http2Error::of(error), Some(Http2Error::Reset { code: CANCEL }))
/// }
/// # let _ = was_cancelled;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Http2Error {
    /// The peer reset this stream (RST_STREAM, RFC 9113 section 6.4), with this error code. CANCEL,
    /// 8, is what a TCP connection that is reset is over HTTP/2 (RFC 8441 section 5).
    Reset {
        /// RFC 9113 section 7.
        code: u32,
    },
    /// The peer ended the whole connection (GOAWAY, RFC 9113 section 6.8), with this error code.
    /// Without an error, 0, it goes away in order, and did not serve this stream any more.
    GoAway {
        /// RFC 9113 section 7.
        code: u32,
    },
    /// This end ended the stream or the connection, because the peer broke a rule of HTTP/2.
    Peer {
        /// RFC 9113 section 7.
        code: u32,
    },
}

impl Http2Error {
    /// What is in this error, an [`Error`](crate::Error) or a
    /// [`ConnectError`](crate::ConnectError), if it is one of HTTP/2.
    #[must_use]
    pub fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut level = Some(error);
        while let Some(error) = level {
            let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            if let Some(found) = inner.and_then(|inner| inner.downcast_ref()) {
                return Some(*found);
            }
            level = error.source();
        }
        None
    }

    pub(crate) fn reset(reason: Reason) -> Self {
        Self::Reset { code: reason.into() }
    }

    /// The error code (RFC 9113 section 7).
    #[must_use]
    pub const fn code(&self) -> u32 {
        match self {
            Self::Reset { code } | Self::GoAway { code } | Self::Peer { code } => *code,
        }
    }
}

impl fmt::Display for Http2Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = Reason::from(self.code());
        match self {
            Self::Reset { .. } => write!(f, "the peer reset the HTTP/2 stream: {reason}"),
            Self::GoAway { .. } => write!(f, "the peer ended the HTTP/2 connection: {reason}"),
            Self::Peer { .. } => write!(f, "the peer broke a rule of HTTP/2: {reason}"),
        }
    }
}

impl Error for Http2Error {}

impl From<Http2Error> for io::Error {
    fn from(error: Http2Error) -> Self {
        let kind = match error {
            Http2Error::Reset { .. } => io::ErrorKind::ConnectionReset,
            Http2Error::GoAway { .. } => io::ErrorKind::ConnectionAborted,
            Http2Error::Peer { .. } => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

/// The error of a stream as one of its bytes.
pub(crate) fn io(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error.into_io().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
    }
    match error.reason() {
        Some(reason) if !error.is_remote() => Http2Error::Peer { code: reason.into() }.into(),
        Some(reason) if error.is_go_away() => Http2Error::GoAway { code: reason.into() }.into(),
        Some(reason) => Http2Error::reset(reason).into(),
        // A misuse of the stream, such as sending after the end.
        None => io::Error::other(error),
    }
}
