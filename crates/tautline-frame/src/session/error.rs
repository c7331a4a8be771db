//! What can go wrong on an open connection.

use std::sync::Arc;
use std::{fmt, io};

use crate::close::CloseCode;
use crate::error::{ProtocolError, SendError, Timeout};

/// Why a connection ended without a closing handshake, or why a command could not be carried out.
///
/// A clean close is not an error: `next` returns `None` then, and `close_frame` returns the code
/// and the reason.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The peer violated the protocol or exceeded a limit. It was sent the right close code.
    /// Reconnect; for a limit, the message names the setting of [`Config`](crate::Config).
    Protocol(ProtocolError),
    /// The peer ended the stream without a Close frame (RFC 6455 section 7.1.5 calls it 1006).
    /// Reconnect.
    ConnectionLost,
    /// The transport failed. Reconnect.
    Io(Arc<io::Error>),
    /// A deadline passed: the peer is gone, does not read, or does not close. Reconnect, unless
    /// `ping` returned it and the connection is still open: then only this pong did not arrive in
    /// time.
    Timeout(Timeout),
    /// The connection is closing or closed, so that nothing more can be sent. Read on until `None`
    /// or an error, which says why.
    Closed,
    /// This close code must not be sent by this role (RFC 6455 section 7.4.1). Nothing was sent.
    CloseCode(CloseCode),
    /// More messages arrived than may be kept for `next`. From `ping`: none is lost, read them,
    /// then ping again. From `next`, in place of an end in order: those that arrived last, while
    /// the same task sent or closed, were not kept.
    Backlog,
    /// A message will not be completed. From [`MessageReader`]: the peer closed the connection in
    /// the middle of it. Otherwise a `MessageWriter` was dropped before it was finished, and the
    /// peer was told with 1011.
    ///
    /// [`MessageReader`]: https://docs.rs/tautline/latest/tautline/struct.MessageReader.html
    Unfinished,
    /// A text that is sent in pieces is not UTF-8 (RFC 6455 section 8.1). The piece was not sent,
    /// and the connection is open.
    Utf8,
    /// A message is longer than the limit that was passed to
    /// [`read_to_end`](https://docs.rs/tautline/latest/tautline/struct.MessageReader.html). The
    /// connection is open.
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
}

impl Error {
    /// Whether a new connection is likely to work where this one failed:
    /// [`ConnectionLost`](Self::ConnectionLost), [`Io`](Self::Io) and [`Timeout`](Self::Timeout),
    /// which come from the network or from a peer that is gone or overloaded; and a
    /// [`Protocol`](Self::Protocol) error that is only about the Close with which the peer ended the
    /// connection ([`ProtocolError::CloseCode`], [`CloseLength`](ProtocolError::CloseLength),
    /// [`CloseReason`](ProtocolError::CloseReason)).
    ///
    /// Not so for any other [`Protocol`](Self::Protocol) error, which the same peer is likely to cause again, and
    /// for [`Closed`](Self::Closed), [`CloseCode`](Self::CloseCode), [`Backlog`](Self::Backlog),
    /// [`Unfinished`](Self::Unfinished), [`Utf8`](Self::Utf8) and [`TooLong`](Self::TooLong), which
    /// are about the call that returned them and say nothing about the connection.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::ConnectionLost
            | Self::Io(_)
            | Self::Timeout(_)
            | Self::Protocol(
                ProtocolError::CloseCode(_)
                | ProtocolError::CloseLength
                | ProtocolError::CloseReason,
            ) => true,
            Self::Protocol(_)
            | Self::Closed
            | Self::CloseCode(_)
            | Self::Backlog
            | Self::Unfinished
            | Self::Utf8
            | Self::TooLong { .. } => false,
        }
    }

    /// The kind that an [`io::Error`] made of this has.
    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Protocol(_) => io::ErrorKind::InvalidData,
            Self::ConnectionLost | Self::Unfinished => io::ErrorKind::UnexpectedEof,
            Self::Io(error) => error.kind(),
            Self::Timeout(_) => io::ErrorKind::TimedOut,
            Self::Closed => io::ErrorKind::BrokenPipe,
            Self::CloseCode(_) | Self::Utf8 => io::ErrorKind::InvalidInput,
            Self::TooLong { .. } => io::ErrorKind::InvalidData,
            Self::Backlog => io::ErrorKind::Other,
        }
    }
}

/// This error alone: [`source`](std::error::Error::source) returns its cause.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(_) => f.write_str("the peer broke the protocol"),
            Self::ConnectionLost => f.write_str("the peer ended the stream without a close frame"),
            Self::Io(_) => f.write_str("the transport failed"),
            Self::Timeout(_) => f.write_str("a deadline of the connection passed"),
            Self::Closed => f.write_str("the connection is closing or closed"),
            Self::CloseCode(code) => write!(f, "close code {code} must not be sent by this role"),
            Self::Backlog => f.write_str("more messages arrived than are kept for later"),
            Self::Unfinished => f.write_str("a message was not finished"),
            Self::Utf8 => f.write_str("text to be sent is not UTF-8"),
            Self::TooLong { limit } => write!(f, "message over the limit of {limit} bytes"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Protocol(error) => Some(error),
            Self::Io(error) => Some(&**error),
            Self::Timeout(timeout) => Some(timeout),
            _ => None,
        }
    }
}

impl From<ProtocolError> for Error {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

impl From<Timeout> for Error {
    fn from(timeout: Timeout) -> Self {
        Self::Timeout(timeout)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

/// For code that is written for [`std::io`]: the kind says what happened, and the error itself is
/// the payload ([`io::Error::get_ref`]).
///
/// | variant | kind |
/// |---|---|
/// | [`Protocol`](Error::Protocol) | `InvalidData` |
/// | [`ConnectionLost`](Error::ConnectionLost) | `UnexpectedEof` |
/// | [`Io`](Error::Io) | that of the transport's error |
/// | [`Timeout`](Error::Timeout) | `TimedOut` |
/// | [`Closed`](Error::Closed) | `BrokenPipe` |
/// | [`CloseCode`](Error::CloseCode) | `InvalidInput` |
/// | [`Backlog`](Error::Backlog) | `Other` |
/// | [`Unfinished`](Error::Unfinished) | `UnexpectedEof` |
/// | [`Utf8`](Error::Utf8) | `InvalidInput` |
/// | [`TooLong`](Error::TooLong) | `InvalidData` |
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(error.kind(), error)
    }
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        match error {
            SendError::CloseCode(code) => Self::CloseCode(code),
            SendError::Unfinished => Self::Unfinished,
            SendError::Utf8 => Self::Utf8,
            SendError::Closed => Self::Closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No error repeats the text of its source, or a printed chain would contain it twice.
    fn assert_one_level_each(error: &(dyn std::error::Error + 'static)) {
        if let Some(source) = error.source() {
            let text = error.to_string();
            assert!(!text.contains(&source.to_string()), "{text:?} contains its source");
            assert_one_level_each(source);
        }
    }

    /// One of each variant, the kind of the `io::Error` made of it, and whether it is worth another
    /// try.
    fn every() -> [(Error, io::ErrorKind, bool); 10] {
        let reset = io::ErrorKind::ConnectionReset;
        [
            (ProtocolError::Utf8.into(), io::ErrorKind::InvalidData, false),
            (Error::ConnectionLost, io::ErrorKind::UnexpectedEof, true),
            (io::Error::new(reset, "reset by a test").into(), reset, true),
            (Timeout::Send.into(), io::ErrorKind::TimedOut, true),
            (SendError::Closed.into(), io::ErrorKind::BrokenPipe, false),
            (SendError::CloseCode(CloseCode::TLS).into(), io::ErrorKind::InvalidInput, false),
            (Error::Backlog, io::ErrorKind::Other, false),
            (Error::Unfinished, io::ErrorKind::UnexpectedEof, false),
            (SendError::Utf8.into(), io::ErrorKind::InvalidInput, false),
            (Error::TooLong { limit: 10 }, io::ErrorKind::InvalidData, false),
        ]
    }

    #[test]
    fn each_error_tells_its_own_level() {
        for (error, _, _) in every() {
            assert_one_level_each(&error);
        }
    }

    // A server of NATS ends connections to clients that were silent for too long with a Close that has
    // the code 1006, which must not be sent (RFC 6455 section 7.4.1). A client that was to stay
    // connected took the server for broken, and did not come back.
    #[test]
    fn time_heals_what_the_peer_ended_with_a_wrong_close() {
        for error in
            [ProtocolError::CloseCode(1006), ProtocolError::CloseLength, ProtocolError::CloseReason]
        {
            assert!(Error::from(error).is_retryable(), "{error}");
        }
    }

    #[test]
    fn time_heals_what_the_network_broke() {
        for (error, _, retryable) in every() {
            assert_eq!(error.is_retryable(), retryable, "{error}");
        }
    }

    // tokio-tungstenite's users have `io::Error` in their signatures, and found no way there.
    #[test]
    fn an_error_becomes_an_io_error_and_is_found_in_it() {
        for (error, kind, _) in every() {
            let text = format!("{error:?}");
            let error = io::Error::from(error);
            assert_eq!(error.kind(), kind);
            assert_one_level_each(&error);
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
            assert_eq!(format!("{:?}", inner.expect("the payload")), text);
        }
    }

    // The second half of a split connection got a copy without the payload of its `io::Error`.
    #[test]
    fn a_clone_has_the_same_io_error() {
        let error = Error::from(io::Error::other("of the transport"));
        let Error::Io(clone) = error.clone() else { unreachable!() };
        assert_eq!(clone.to_string(), "of the transport");
    }
}
