//! Why a client cannot accept a server's response.

use std::fmt;

use http::StatusCode;

use crate::deflate::DeflateError;
use crate::extension::ExtensionError;

/// Why a client cannot accept a server's response (RFC 6455 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResponseError {
    /// A status other than 101, or over HTTP/2 other than 2xx: a refusal, a redirection or a
    /// request for credentials.
    Status(StatusCode),
    /// The HTTP version of the response differs from that of the request.
    HttpVersion,
    /// An HTTP/2 or HTTP/3 response has a connection-specific header (RFC 9113 section 8.2.2).
    ConnectionHeader,
    /// `Upgrade` is not exactly `websocket`.
    Upgrade,
    /// `Connection` does not list `upgrade`.
    Connection,
    /// No `Sec-WebSocket-Accept`: whatever answered does not speak WebSocket.
    MissingAccept,
    /// More than one `Sec-WebSocket-Accept` header.
    DuplicateAccept,
    /// `Sec-WebSocket-Accept` does not match our key.
    WrongAccept,
    /// Subprotocols were offered and none was chosen; see
    /// [`ClientRequest::subprotocol_required`](crate::ClientRequest::subprotocol_required).
    MissingSubprotocol,
    /// More than one `Sec-WebSocket-Protocol` header.
    DuplicateSubprotocol,
    /// The chosen subprotocol was not offered.
    SubprotocolNotOffered,
    /// `Sec-WebSocket-Extensions` does not follow its grammar.
    Extensions(ExtensionError),
    /// The server chose an extension that was not offered.
    ExtensionNotOffered,
    /// `permessage-deflate` was accepted twice.
    DuplicateExtension,
    /// The answer for `permessage-deflate` is not one that the offer allows.
    Deflate(DeflateError),
}

/// Describes this error alone; its cause is the [`source`](std::error::Error::source).
impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Status(status) => {
                return write!(f, "the server answered {status} instead of switching protocols");
            }
            Self::Extensions(_) => "the server's choice of extensions is malformed",
            Self::Deflate(_) => "the server's answer about compression cannot be accepted",
            Self::HttpVersion => {
                "the server's response has a different HTTP version than the request"
            }
            Self::ConnectionHeader => "the server's response has a connection-specific header",
            Self::Upgrade => "the server's Upgrade is not websocket",
            Self::Connection => "the server's Connection does not list Upgrade",
            Self::MissingAccept => "the server sent no Sec-WebSocket-Accept",
            Self::DuplicateAccept => "the server sent Sec-WebSocket-Accept twice",
            Self::WrongAccept => "the server's Sec-WebSocket-Accept does not match our key",
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
