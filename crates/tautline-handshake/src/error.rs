//! Why a server refuses a request, and the response that says so; why a message cannot be built.

use std::fmt;

use bytes::Bytes;
use http::header::{
    ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Response, StatusCode};

use crate::extension::ExtensionError;
use crate::subprotocol::SubprotocolError;

/// Why a server refuses an opening handshake. Each cause has one [status](Self::status) and one
/// [response](Self::to_response) (RFC 6455 sections 4.2.1, 4.2.2 and 4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The bytes are not a request head, or one over a limit.
    Head(HeadError),
    /// The head was not complete in time. The caller, who has the clock, decides that.
    TimedOut,
    /// HTTP/1.0 or another version that is not HTTP/1.1 (RFC 6455 section 4.2.1, requirement 1).
    HttpVersion,
    /// A method other than GET.
    Method,
    /// A request target that is neither a path nor an `http`, `https`, `ws` or `wss` URI.
    Target,
    /// No `Host`.
    MissingHost,
    /// `Host` stands twice.
    DuplicateHost,
    /// `Host` is not a host with an optional port, or differs from the target's authority.
    InvalidHost,
    /// A `Content-Length` other than 0: the request has no body, and what follows are frames.
    ContentLength,
    /// A `Transfer-Encoding`, for the same reason.
    TransferEncoding,
    /// An `Expect`: there is no body to wait for.
    Expect,
    /// `Upgrade` does not list `websocket`: this is a plain HTTP request.
    MissingUpgrade,
    /// `Connection` does not list `upgrade`.
    MissingConnectionUpgrade,
    /// No `Sec-WebSocket-Version`.
    MissingVersion,
    /// `Sec-WebSocket-Version` stands twice.
    DuplicateVersion,
    /// `Sec-WebSocket-Version` is not 13.
    UnsupportedVersion,
    /// No `Sec-WebSocket-Key`.
    MissingKey,
    /// `Sec-WebSocket-Key` stands twice.
    DuplicateKey,
    /// `Sec-WebSocket-Key` is not base64 of 16 bytes.
    InvalidKey,
    /// `Sec-WebSocket-Protocol` breaks its rules.
    Subprotocols(SubprotocolError),
    /// `Sec-WebSocket-Extensions` breaks its grammar.
    Extensions(ExtensionError),
    /// `Origin` stands twice.
    DuplicateOrigin,
    /// The [`OriginPolicy`](crate::OriginPolicy) does not allow the `Origin`.
    OriginNotAllowed,
}

impl HandshakeError {
    /// The status of the response.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Head(error) => error.status(),
            Self::TimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::HttpVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Expect => StatusCode::EXPECTATION_FAILED,
            Self::MissingUpgrade
            | Self::MissingConnectionUpgrade
            | Self::MissingVersion
            | Self::DuplicateVersion
            | Self::UnsupportedVersion => StatusCode::UPGRADE_REQUIRED,
            Self::DuplicateOrigin | Self::OriginNotAllowed => StatusCode::FORBIDDEN,
            Self::Target
            | Self::MissingHost
            | Self::DuplicateHost
            | Self::InvalidHost
            | Self::ContentLength
            | Self::TransferEncoding
            | Self::MissingKey
            | Self::DuplicateKey
            | Self::InvalidKey
            | Self::Subprotocols(_)
            | Self::Extensions(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// The whole response: the reason as text, `Connection: close`, and what the status demands: `Allow`
    /// with 405 (RFC 9110 section 15.5.6), `Upgrade` and the supported version with 426 (RFC 9110
    /// section 15.5.22, RFC 6455 section 4.4).
    #[must_use]
    pub fn to_response(&self) -> Response<Bytes> {
        let status = self.status();
        let mut response = text_response(status, format!("{self}\n"));
        let headers = response.headers_mut();
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("GET"));
        }
        if status == StatusCode::UPGRADE_REQUIRED {
            headers.insert(CONNECTION, HeaderValue::from_static("close, Upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        response
    }
}

/// A response of plain text that ends the connection: `Content-Type`, `Content-Length` and
/// `Connection: close` are set.
#[must_use]
pub fn text_response(status: StatusCode, body: impl Into<Bytes>) -> Response<Bytes> {
    let body = body.into();
    let length = HeaderValue::from(body.len());
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONTENT_LENGTH, length);
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Head(error) => return error.fmt(f),
            Self::Subprotocols(error) => return error.fmt(f),
            Self::Extensions(error) => return error.fmt(f),
            Self::TimedOut => "the request was not complete in time",
            Self::HttpVersion => "the request is not HTTP/1.1",
            Self::Method => "the method is not GET",
            Self::Target => "the request target is not a path",
            Self::MissingHost => "Host is missing",
            Self::DuplicateHost => "Host stands twice",
            Self::InvalidHost => "Host is malformed or differs from the request target",
            Self::ContentLength => "the request has a body (Content-Length)",
            Self::TransferEncoding => "the request has a body (Transfer-Encoding)",
            Self::Expect => "Expect is not supported",
            Self::MissingUpgrade => "this is a WebSocket endpoint: Upgrade does not list websocket",
            Self::MissingConnectionUpgrade => "Connection does not list Upgrade",
            Self::MissingVersion => "Sec-WebSocket-Version is missing",
            Self::DuplicateVersion => "Sec-WebSocket-Version stands twice",
            Self::UnsupportedVersion => "Sec-WebSocket-Version is not 13",
            Self::MissingKey => "Sec-WebSocket-Key is missing",
            Self::DuplicateKey => "Sec-WebSocket-Key stands twice",
            Self::InvalidKey => "Sec-WebSocket-Key is not base64 of 16 bytes",
            Self::DuplicateOrigin => "Origin stands twice",
            Self::OriginNotAllowed => "the Origin is not allowed",
        })
    }
}

impl std::error::Error for HandshakeError {}

impl From<HeadError> for HandshakeError {
    fn from(error: HeadError) -> Self {
        Self::Head(error)
    }
}

impl From<SubprotocolError> for HandshakeError {
    fn from(error: SubprotocolError) -> Self {
        Self::Subprotocols(error)
    }
}

impl From<ExtensionError> for HandshakeError {
    fn from(error: ExtensionError) -> Self {
        Self::Extensions(error)
    }
}

/// Why bytes are not the head of an HTTP/1.1 message (RFC 9112 sections 2 to 5), or one over a
/// limit of `HeadLimits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeadError {
    /// The first line is longer than this many bytes.
    LineTooLong(usize),
    /// The head is longer than this many bytes.
    TooLarge(usize),
    /// The head has more than this many header lines.
    TooManyHeaders(usize),
    /// The peer speaks TLS: `wss` where plain `ws` is served, or the other way about.
    Tls,
    /// The first bytes are not those of an HTTP/1 message.
    NotHttp,
    /// The first line is not a request line or a status line.
    FirstLine,
    /// An HTTP version other than 1.0 and 1.1.
    Version,
    /// A line ends in LF without CR, or has a CR elsewhere (RFC 9112 section 2.2).
    BareLineBreak,
    /// A line starts with a space or tab: obsolete line folding (RFC 9112 section 5.2).
    LineFolding,
    /// A control character.
    Control,
    /// A header line is malformed (RFC 9112 section 5).
    Header,
    /// More than this many interim (1xx) responses came before the final one.
    TooManyInterim(u8),
}

impl HeadError {
    /// The status with which a server answers.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::LineTooLong(_) => StatusCode::URI_TOO_LONG,
            Self::TooLarge(_) | Self::TooManyHeaders(_) => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::Tls
            | Self::NotHttp
            | Self::FirstLine
            | Self::BareLineBreak
            | Self::LineFolding
            | Self::Control
            | Self::Header
            | Self::TooManyInterim(_) => StatusCode::BAD_REQUEST,
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LineTooLong(limit) => {
                return write!(f, "the first line is longer than {limit} bytes");
            }
            Self::TooLarge(limit) => return write!(f, "the head is longer than {limit} bytes"),
            Self::TooManyHeaders(limit) => {
                return write!(f, "the head has more than {limit} header lines");
            }
            Self::TooManyInterim(limit) => {
                return write!(f, "more than {limit} interim responses came before the final one");
            }
            Self::Tls => "the peer speaks TLS, but this is a plain connection",
            Self::NotHttp => "this is not HTTP/1.1",
            Self::FirstLine => "the first line is malformed",
            Self::Version => "the HTTP version is not supported",
            Self::BareLineBreak => "a line does not end in CR LF",
            Self::LineFolding => "a header line is folded",
            Self::Control => "the head has a control character",
            Self::Header => "a header line is malformed",
        })
    }
}

impl std::error::Error for HeadError {}

/// Why a request or response cannot be built from what the application gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BuildError {
    /// A header's name is not a token.
    HeaderName,
    /// A header's value has a line break or another control character.
    HeaderValue,
    /// More headers than the `http` crate holds (32768).
    TooManyHeaders,
    /// The header named here is the handshake's own.
    ReservedHeader(&'static str),
    /// `Host` is not a host with an optional port.
    Host,
    /// The subprotocols break their rules.
    Subprotocols(SubprotocolError),
    /// The chosen subprotocol is not one that the client offered.
    SubprotocolNotOffered,
    /// `permessage-deflate` was chosen, but the client did not offer it.
    DeflateNotOffered,
    /// The system gave no random bytes for the key.
    Random,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReservedHeader(name) => {
                return write!(f, "the header {name} is set by the handshake itself");
            }
            Self::Subprotocols(error) => return error.fmt(f),
            Self::HeaderName => "a header's name is not a token",
            Self::HeaderValue => "a header's value has a control character",
            Self::TooManyHeaders => "there are too many headers",
            Self::Host => "Host is not a host with an optional port",
            Self::SubprotocolNotOffered => "the chosen subprotocol was not offered by the client",
            Self::DeflateNotOffered => "permessage-deflate was not offered by the client",
            Self::Random => "the system gave no random bytes",
        })
    }
}

impl std::error::Error for BuildError {}

impl From<SubprotocolError> for BuildError {
    fn from(error: SubprotocolError) -> Self {
        Self::Subprotocols(error)
    }
}
