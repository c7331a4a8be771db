//! Why a client cannot go on with a server's response.

use std::fmt;

use http::StatusCode;

use crate::deflate::DeflateError;
use crate::extension::ExtensionError;

/// Why a client cannot go on with a server's response (RFC 6455 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResponseError {
    /// A status other than 101, or over HTTP/2 other than 2xx: a refusal, a redirection, a demand for credentials.
    Status(StatusCode),
    /// The response is not of the HTTP version in which was asked.
    HttpVersion,
    /// A response of HTTP/2 or HTTP/3 has a header that speaks of one connection (RFC 9113 section 8.2.2).
    ConnectionHeader,
    /// `Upgrade` is not `websocket` and nothing else.
    Upgrade,
    /// `Connection` does not list `upgrade`.
    Connection,
    /// No `Sec-WebSocket-Accept`: whatever answered does not speak WebSocket.
    MissingAccept,
    /// `Sec-WebSocket-Accept` stands twice.
    DuplicateAccept,
    /// `Sec-WebSocket-Accept` does not answer our key.
    WrongAccept,
    /// Subprotocols were offered and none was chosen; see
    /// [`ClientRequest::subprotocol_required`](crate::ClientRequest::subprotocol_required).
    MissingSubprotocol,
    /// `Sec-WebSocket-Protocol` stands twice.
    DuplicateSubprotocol,
    /// The chosen subprotocol was not offered.
    SubprotocolNotOffered,
    /// `Sec-WebSocket-Extensions` breaks its grammar.
    Extensions(ExtensionError),
    /// An extension was not offered.
    ExtensionNotOffered,
    /// `permessage-deflate` was accepted twice.
    DuplicateExtension,
    /// The answer about `permessage-deflate` is not one that the offer allows.
    Deflate(DeflateError),
}

/// This level only: [`source`](std::error::Error::source) has the next.
impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Status(status) => {
                return write!(f, "the server answered {status} instead of switching protocols");
            }
            Self::Extensions(_) => "the server's choice of extensions is malformed",
            Self::Deflate(_) => "the server's answer about compression cannot be accepted",
            Self::HttpVersion => "the server's response has another HTTP version than the request",
            Self::ConnectionHeader => "the server's response has a connection-specific header",
            Self::Upgrade => "the server's Upgrade is not websocket",
            Self::Connection => "the server's Connection does not list Upgrade",
            Self::MissingAccept => "the server sent no Sec-WebSocket-Accept",
            Self::DuplicateAccept => "the server sent Sec-WebSocket-Accept twice",
            Self::WrongAccept => "the server's Sec-WebSocket-Accept does not answer our key",
            Self::MissingSubprotocol => "the server chose none of the offered subprotocols",
            Self::DuplicateSubprotocol => "the server sent Sec-WebSocket-Protocol twice",
            Self::SubprotocolNotOffered => "the server chose a subprotocol that was not offered",
            Self::ExtensionNotOffered => "the server chose an extension that was not offered",
            Self::DuplicateExtension => "the server accepted permessage-deflate twice",
        })
    }
}

impl std::error::Error for ResponseError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Extensions(error) => Some(error),
            Self::Deflate(error) => Some(error),
            _ => None,
        }
    }
}
