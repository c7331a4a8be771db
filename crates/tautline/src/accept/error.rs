//! Why a connection was not accepted.

use std::fmt;
use std::io;

use tautline_handshake::{BuildError, HandshakeError};

use crate::proxy_protocol::ProxyHeaderError;

/// Why a connection was not accepted. The client has been answered with a status if that was
/// possible.
#[derive(Debug)]
#[non_exhaustive]
pub enum AcceptError {
    /// The request broke a rule, and was answered with [`HandshakeError::status`].
    Handshake(HandshakeError),
    /// The [`Upgrade`](crate::Upgrade) has something that cannot be sent; the client was answered
    /// with 500.
    Response(BuildError),
    /// The handshake took longer than
    /// [`Acceptor::handshake_timeout`](crate::Acceptor::handshake_timeout): the client was answered
    /// with 408 if its request was incomplete (and not at all if it had sent nothing), with 503 if
    /// the application was late to decide. Or the client read nothing of its answer for
    /// [`Acceptor::answer_timeout`](crate::Acceptor::answer_timeout).
    Timeout,
    /// There is no tokio runtime, or its time driver is off (`enable_time`).
    Runtime(io::Error),
    /// The stream failed, or ended before the request was complete.
    Io(io::Error),
    /// TLS failed: no common version, or not TLS at all.
    Tls(io::Error),
    /// A proxy did not say whose connection it is: see
    /// [`Server::proxy_protocol`](crate::Server::proxy_protocol).
    ProxyHeader(ProxyHeaderError),
}

impl AcceptError {
    /// Why an answer was not sent. A client that reads nothing of it is late, like one that does not
    /// send its request in time.
    pub(super) fn of_answer(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Io(error),
        }
    }
}

/// This level only: [`source`](std::error::Error::source) has the next.
impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshake(error) => {
                return write!(f, "the handshake was refused with {}", error.status());
            }
            Self::Response(_) => "the answer cannot be sent",
            Self::Timeout => "the handshake took too long",
            Self::Runtime(_) => "the runtime cannot be used",
            Self::Io(_) => "the stream failed during the handshake",
            Self::Tls(_) => "TLS failed",
            Self::ProxyHeader(_) => "the proxy did not say who the client is",
        })
    }
}

impl std::error::Error for AcceptError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Handshake(error) => Some(error),
            Self::Response(error) => Some(error),
            Self::Io(error) | Self::Tls(error) | Self::Runtime(error) => Some(error),
            Self::ProxyHeader(error) => Some(error),
            Self::Timeout => None,
        }
    }
}

impl From<HandshakeError> for AcceptError {
    fn from(error: HandshakeError) -> Self {
        Self::Handshake(error)
    }
}

impl From<BuildError> for AcceptError {
    fn from(error: BuildError) -> Self {
        Self::Response(error)
    }
}

impl From<io::Error> for AcceptError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;
    use crate::error::Chain;
    use crate::error::tests::assert_one_level_each;

    #[test]
    fn each_error_tells_its_own_level() {
        let io = || io::Error::other("a failure of the system");
        for error in [
            AcceptError::Handshake(HandshakeError::Head(tautline_handshake::HeadError::Tls)),
            AcceptError::Handshake(HandshakeError::MissingKey),
            AcceptError::Response(BuildError::SubprotocolNotOffered),
            AcceptError::Timeout,
            AcceptError::Runtime(io()),
            AcceptError::Io(io()),
            AcceptError::Tls(io()),
            AcceptError::ProxyHeader(ProxyHeaderError::Missing),
        ] {
            assert_one_level_each(&error);
        }
    }

    #[test]
    fn a_chain_has_every_level_once() {
        let error =
            AcceptError::Handshake(HandshakeError::Head(tautline_handshake::HeadError::Header));
        let text = "the handshake was refused with 400 Bad Request: the request cannot be read: a header line is malformed";
        assert_eq!(Chain(&error).to_string(), text);
        assert_eq!(Chain(&AcceptError::Timeout).to_string(), AcceptError::Timeout.to_string());
    }
}
