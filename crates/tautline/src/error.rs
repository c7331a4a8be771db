//! What can go wrong on an open connection.

use std::{fmt, io};

use tautline_frame::{CloseCode, ProtocolError, SendError, Timeout};

/// Why a connection ended otherwise than by the closing handshake, or why a command could not be carried out.
///
/// A clean close is not an error: [`next`](crate::WebSocket::next) gives `None` then, and
/// [`close_frame`](crate::WebSocket::close_frame) tells code and reason.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The peer broke a rule of the protocol or passed a limit. It was told, with the right close code. Nothing to do but to
    /// connect anew; for a limit, the message names the setting of [`Config`](crate::Config).
    Protocol(ProtocolError),
    /// The peer ended the stream without a Close frame (RFC 6455 section 7.1.5 calls it 1006). Connect anew.
    ConnectionLost,
    /// The transport failed. Connect anew.
    Io(io::Error),
    /// A deadline passed: the peer is gone, or does not read, or does not end. Connect anew.
    Timeout(Timeout),
    /// The connection is closing or closed, so that nothing more can be sent. Read on until `None` or an error, which
    /// tells why.
    Closed,
    /// This close code is not for this role to send (RFC 6455 section 7.4.1). Nothing was sent.
    CloseCode(CloseCode),
    /// More messages arrived while [`ping`](crate::WebSocket::ping) waited for its answer than it may keep for
    /// [`next`](crate::WebSocket::next). None is lost: read them, then ping again.
    Backlog,
}

impl Error {
    /// The same once more: for the second half of a split connection.
    pub(crate) fn duplicate(&self) -> Self {
        match self {
            Self::Protocol(error) => Self::Protocol(*error),
            Self::ConnectionLost => Self::ConnectionLost,
            Self::Io(error) => Self::Io(match error.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::new(error.kind(), error.to_string()),
            }),
            Self::Timeout(timeout) => Self::Timeout(*timeout),
            Self::Closed => Self::Closed,
            Self::CloseCode(code) => Self::CloseCode(*code),
            Self::Backlog => Self::Backlog,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(error) => write!(f, "the peer broke the protocol: {error}"),
            Self::ConnectionLost => f.write_str("the peer ended the stream without a close frame"),
            Self::Io(error) => write!(f, "the transport failed: {error}"),
            Self::Timeout(timeout) => timeout.fmt(f),
            Self::Closed => f.write_str("the connection is closing or closed"),
            Self::CloseCode(code) => write!(f, "close code {code} is not for this role to send"),
            Self::Backlog => f.write_str("too many messages wait to be read for a ping"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Protocol(error) => Some(error),
            Self::Io(error) => Some(error),
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
        Self::Io(error)
    }
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        match error {
            SendError::CloseCode(code) => Self::CloseCode(code),
            _ => Self::Closed,
        }
    }
}
