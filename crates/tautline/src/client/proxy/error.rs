//! Why a proxy opened no tunnel.

use std::fmt;
use std::io;

use bytes::Bytes;
use http::{Response, StatusCode};
use tautline_handshake::HeadError;

use crate::client::dial_error::DialError;
use crate::handshake_io::ReadHeadError;
#[cfg(feature = "tls")]
use crate::transport::TlsError;

/// Why there is no tunnel through a proxy:
/// [`ConnectError::Proxy`](crate::ConnectError::Proxy).
#[non_exhaustive]
pub enum ProxyError {
    /// The name of the proxy was not resolved.
    Resolve(io::Error),
    /// Connecting failed for every address of the proxy, each of which is listed.
    Tcp(DialError),
    /// TLS with an `https` proxy could not be set up.
    #[cfg(feature = "tls")]
    Tls(TlsError),
    /// The HTTP proxy answered CONNECT with a status other than 2xx: 407 if it wants credentials,
    /// or others; 403 if it does not allow this server; 502 to 504 if it does not reach it. The
    /// body holds up to 64 KiB, as far as it arrived within 2 seconds and before the deadline.
    Refused(Box<Response<Bytes>>),
    /// The SOCKS proxy refused (RFC 1928 section 6).
    Socks(SocksReply),
    /// The SOCKS proxy wants credentials, or others (RFC 1928 section 3, RFC 1929).
    Authentication,
    /// What arrived is not an HTTP response, or exceeds the limits of heads. The status is known if
    /// the first line was valid up to it.
    #[non_exhaustive]
    Head {
        /// What is wrong.
        error: HeadError,
        /// The status of the response.
        status: Option<StatusCode>,
    },
    /// What arrived is not SOCKS version 5.
    NotSocks5,
    /// The stream failed or ended before the proxy had answered.
    Io(io::Error),
}

/// How a SOCKS5 proxy refuses (RFC 1928 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SocksReply {
    /// 1: general failure of the proxy.
    GeneralFailure,
    /// 2: its rules do not allow the connection.
    NotAllowed,
    /// 3: the network is unreachable.
    NetworkUnreachable,
    /// 4: the host is unreachable, or its name is not known.
    HostUnreachable,
    /// 5: the server refused the connection.
    ConnectionRefused,
    /// 6: the TTL expired.
    TtlExpired,
    /// 7: it does not connect at all.
    CommandNotSupported,
    /// 8: it does not know this kind of address.
    AddressTypeNotSupported,
    /// A code that RFC 1928 does not have.
    Unassigned,
}

impl ProxyError {
    /// The status of the refusal of an HTTP proxy, or of a response whose head could not be read.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused(response) => Some(response.status()),
            Self::Head { status, .. } => *status,
            _ => None,
        }
    }
}

/// Without headers and body of a refusal.
impl fmt::Debug for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tuple =
            |name: &str, field: &dyn fmt::Debug| f.debug_tuple(name).field(field).finish();
        match self {
            Self::Resolve(error) => tuple("Resolve", error),
            Self::Tcp(error) => tuple("Tcp", error),
            #[cfg(feature = "tls")]
            Self::Tls(error) => tuple("Tls", error),
            Self::Refused(response) => tuple("Refused", &response.status()),
            Self::Socks(reply) => tuple("Socks", reply),
            Self::Authentication => f.write_str("Authentication"),
            Self::Head { error, status } => {
                f.debug_struct("Head").field("error", error).field("status", status).finish()
            }
            Self::NotSocks5 => f.write_str("NotSocks5"),
            Self::Io(error) => tuple("Io", error),
        }
    }
}

/// This level only: [`source`](std::error::Error::source) has the next.
impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve(_) => "the name of the proxy was not resolved",
            Self::Tcp(_) => "the TCP connection to the proxy failed",
            #[cfg(feature = "tls")]
            Self::Tls(_) => "TLS with the proxy could not be set up",
            Self::Refused(response) => {
                return write!(f, "the proxy refused with {}", response.status());
            }
            Self::Socks(reply) => return write!(f, "the proxy refused: {reply}"),
            Self::Authentication => "the proxy wants credentials, or others",
            Self::Head { status: None, .. } => "what the proxy sent is not an HTTP response",
            Self::Head { status: Some(status), .. } => {
                return write!(f, "the head of the proxy's response ({status}) cannot be read");
            }
            Self::NotSocks5 => "what the proxy sent is not SOCKS version 5",
            Self::Io(_) => "the stream to the proxy failed",
        })
    }
}

impl std::error::Error for ProxyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Resolve(error) | Self::Io(error) => Some(error),
            Self::Tcp(error) => Some(error),
            #[cfg(feature = "tls")]
            Self::Tls(error) => Some(error),
            Self::Head { error, .. } => Some(error),
            Self::Refused(_) | Self::Socks(_) | Self::Authentication | Self::NotSocks5 => None,
        }
    }
}

impl From<io::Error> for ProxyError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<ReadHeadError> for ProxyError {
    fn from(error: ReadHeadError) -> Self {
        match error {
            ReadHeadError::Head(error, status) => Self::Head { error, status },
            ReadHeadError::Io(error) => Self::Io(error),
        }
    }
}

impl fmt::Display for SocksReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GeneralFailure => "general failure",
            Self::NotAllowed => "its rules do not allow the connection",
            Self::NetworkUnreachable => "the network is unreachable",
            Self::HostUnreachable => "the host is unreachable",
            Self::ConnectionRefused => "the server refused the connection",
            Self::TtlExpired => "the TTL expired",
            Self::CommandNotSupported => "it does not connect",
            Self::AddressTypeNotSupported => "it does not know this kind of address",
            Self::Unassigned => "with a code that is not assigned",
        })
    }
}
