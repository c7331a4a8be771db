//! Why a server refuses a request, and the response that says so; why a request or response cannot
//! be built.

use std::error::Error as _;
use std::fmt;

use bytes::Bytes;
use http::header::{
    ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Response, StatusCode};

use crate::extension::ExtensionError;
use crate::origin::{OriginError, OriginMismatch};
use crate::subprotocol::SubprotocolError;

/// Why a server refuses an opening handshake. Each cause has one [status](Self::status) and one
/// [response](Self::to_response) (RFC 6455 sections 4.2.1, 4.2.2 and 4.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The bytes are not a request head, or the head exceeds a limit.
    Head(HeadError),
    /// The head was not complete in time. The caller, which has the clock, decides this.
    TimedOut,
    /// HTTP/1.0 or another version that is not HTTP/1.1 (RFC 6455 section 4.2.1, requirement 1).
    HttpVersion,
    /// A method other than GET.
    Method,
    /// A request target that is neither a path nor an `http`, `https`, `ws` or `wss` URI.
    Target,
    /// No `Host`.
    MissingHost,
    /// More than one `Host` header.
    DuplicateHost,
    /// `Host` is not a host with an optional port.
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
    /// More than one `Sec-WebSocket-Version` header.
    DuplicateVersion,
    /// `Sec-WebSocket-Version` is not 13.
    UnsupportedVersion,
    /// No `Sec-WebSocket-Key`.
    MissingKey,
    /// More than one `Sec-WebSocket-Key` header.
    DuplicateKey,
    /// `Sec-WebSocket-Key` is not base64 of 16 bytes.
    InvalidKey,
    /// `Sec-WebSocket-Protocol` is malformed.
    Subprotocols(SubprotocolError),
    /// `Sec-WebSocket-Extensions` does not follow its grammar.
    Extensions(ExtensionError),
    /// More than one `Origin` header.
    DuplicateOrigin,
    /// The [`OriginPolicy`](crate::OriginPolicy) does not allow the `Origin`; the value says what
    /// was compared.
    OriginNotAllowed(OriginMismatch),
    /// An HTTP/2 or HTTP/3 request is not an extended CONNECT for a WebSocket (RFC 8441 sections 4
    /// and 5).
    Connect(ConnectRefusal),
}

impl HandshakeError {
    /// The status of the response.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Head(error) => error.status(),
            Self::Connect(refusal) => refusal.status(),
            Self::TimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::HttpVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Expect => StatusCode::EXPECTATION_FAILED,
            Self::MissingUpgrade
            | Self::MissingConnectionUpgrade
            | Self::MissingVersion
            | Self::DuplicateVersion
            | Self::UnsupportedVersion => StatusCode::UPGRADE_REQUIRED,
            Self::DuplicateOrigin | Self::OriginNotAllowed(_) => StatusCode::FORBIDDEN,
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

    /// The complete response, with the reason as text and the headers that the status requires:
    /// `Allow` with 405 (RFC 9110 section 15.5.6), `Upgrade` and the supported version with 426
    /// (RFC 9110 section 15.5.22, RFC 6455 section 4.4). A response over HTTP/2 or HTTP/3 has no
    /// connection-specific header (RFC 9113 section 8.2.2). Over HTTP/1.1 the connection must end
    /// after it: `encode_response` adds `Connection: close`.
    #[must_use]
    pub fn to_response(&self) -> Response<Bytes> {
        let status = self.status();
        // The cause alone, where there is one: it names the header or the limit.
        let text = match self.source() {
            Some(source) => format!("{source}\n"),
            None => format!("{self}\n"),
        };
        let mut response = text_response(status, text);
        let headers = response.headers_mut();
        if status == StatusCode::METHOD_NOT_ALLOWED {
            let allowed = if matches!(self, Self::Connect(_)) { "CONNECT" } else { "GET" };
            headers.insert(ALLOW, HeaderValue::from_static(allowed));
        }
        if matches!(self, Self::Connect(ConnectRefusal::Version)) {
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        if status == StatusCode::UPGRADE_REQUIRED {
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        response
    }
}

/// Returns a plain-text response, for any version of HTTP: `Content-Type` and `Content-Length` are
/// set.
#[must_use]
pub fn text_response(status: StatusCode, body: impl Into<Bytes>) -> Response<Bytes> {
    let body = body.into();
    let length = HeaderValue::from(body.len());
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONTENT_LENGTH, length);
    response
}

/// Describes this error alone; its cause is the [`source`](std::error::Error::source).
impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Head(_) => "the request cannot be read",
            Self::Subprotocols(_) => "the offer of subprotocols is malformed",
            Self::Extensions(_) => "the offer of extensions is malformed",
            Self::OriginNotAllowed(mismatch) => return mismatch.fmt(f),
            Self::Connect(refusal) => return refusal.fmt(f),
            Self::TimedOut => "the request was not complete in time",
            Self::HttpVersion => "the request is not HTTP/1.1",
            Self::Method => "the method is not GET",
            Self::Target => "the request target is not a path",
            Self::MissingHost => "Host is missing",
            Self::DuplicateHost => "duplicate Host header",
            Self::InvalidHost => "malformed Host header",
            Self::ContentLength => "the request has a body (Content-Length)",
            Self::TransferEncoding => "the request has a body (Transfer-Encoding)",
            Self::Expect => "Expect is not supported",
            Self::MissingUpgrade => "this is a WebSocket endpoint: Upgrade does not list websocket",
            Self::MissingConnectionUpgrade => "Connection does not list Upgrade",
            Self::MissingVersion => "Sec-WebSocket-Version is missing",
            Self::DuplicateVersion => "duplicate Sec-WebSocket-Version header",
            Self::UnsupportedVersion => "Sec-WebSocket-Version is not 13",
            Self::MissingKey => "Sec-WebSocket-Key is missing",
            Self::DuplicateKey => "duplicate Sec-WebSocket-Key header",
            Self::InvalidKey => "Sec-WebSocket-Key is not base64 of 16 bytes",
            Self::DuplicateOrigin => "duplicate Origin header",
        })
    }
}

impl std::error::Error for HandshakeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Head(error) => Some(error),
            Self::Subprotocols(error) => Some(error),
            Self::Extensions(error) => Some(error),
            _ => None,
        }
    }
}

impl From<HeadError> for HandshakeError {
    fn from(error: HeadError) -> Self {
        Self::Head(error)
    }
}

impl From<ConnectRefusal> for HandshakeError {
    fn from(refusal: ConnectRefusal) -> Self {
        Self::Connect(refusal)
    }
}

impl From<OriginError> for HandshakeError {
    fn from(error: OriginError) -> Self {
        match error {
            OriginError::Duplicate => Self::DuplicateOrigin,
            OriginError::NotAllowed(mismatch) => Self::OriginNotAllowed(mismatch),
        }
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

/// Why bytes are not the head of an HTTP/1.1 message (RFC 9112 sections 2 to 5), or exceed one of
/// the `HeadLimits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeadError {
    /// The first line is longer than this many bytes.
    LineTooLong(usize),
    /// The head is longer than this many bytes.
    TooLarge(usize),
    /// The head has more than this many header lines.
    TooManyHeaders(usize),
    /// The peer speaks TLS: `wss` where plain `ws` is served, or the other way round.
    Tls,
    /// The first bytes are not those of an HTTP/1 message.
    NotHttp,
    /// The first line is not a request line or a status line.
    FirstLine,
    /// An HTTP version other than 1.0 and 1.1.
    Version,
    /// A line ends in LF without CR, or has a CR elsewhere (RFC 9112 section 2.2).
    BareLineBreak,
    /// A line starts with a space or tab where that is not allowed: obsolete line folding in a
    /// request (RFC 9112 section 5.2), or before the first header (section 2.2).
    LineFolding,
    /// A control character.
    Control,
    /// A header line is malformed (RFC 9112 section 5).
    Header,
    /// More than this many interim (1xx) responses came before the final one.
    TooManyInterim(u8),
}

impl HeadError {
    /// The status of a server's response.
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

/// Why a server refuses an extended CONNECT of HTTP/2 or HTTP/3, beyond what it refuses in every
/// version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectRefusal {
    /// A method other than CONNECT: this is a plain request.
    Method,
    /// No `:protocol`: this is a request for a tunnel (RFC 9110 section 9.3.6).
    MissingProtocol,
    /// `:protocol` is not `websocket`.
    UnsupportedProtocol,
    /// `:scheme` is missing, or neither `http` nor `https`.
    Scheme,
    /// `:path` is missing, or not a path.
    Path,
    /// `:authority` is missing, or not a host with an optional port.
    Authority,
    /// `Host` is present and differs from `:authority`.
    Host,
    /// A connection-specific header: `Connection`, `Upgrade`, `Keep-Alive`, `Proxy-Connection`,
    /// `Transfer-Encoding`, or a `TE` other than `trailers`.
    ConnectionHeader,
    /// `Sec-WebSocket-Version` is missing, duplicated, or not 13.
    Version,
}

impl ConnectRefusal {
    /// The status of the response: 501 for another protocol (RFC 9220 section 3), 405 for another
    /// method, otherwise 400. 426 is for HTTP/1.1 only, as it requires an `Upgrade` (RFC 9110
    /// section 15.5.22).
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnsupportedProtocol => StatusCode::NOT_IMPLEMENTED,
            Self::MissingProtocol
            | Self::Scheme
            | Self::Path
            | Self::Authority
            | Self::Host
            | Self::ConnectionHeader
            | Self::Version => StatusCode::BAD_REQUEST,
        }
    }
}

impl fmt::Display for ConnectRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Method => "this is a WebSocket endpoint: the method is not CONNECT",
            Self::MissingProtocol => "this is a WebSocket endpoint: :protocol is missing",
            Self::UnsupportedProtocol => "the :protocol is not websocket",
            Self::Scheme => "the :scheme is not http or https",
            Self::Path => "the :path is missing or not a path",
            Self::Authority => "the :authority is missing or malformed",
            Self::Host => "the Host header differs from :authority",
            Self::ConnectionHeader => "the request has a connection-specific header",
            Self::Version => "Sec-WebSocket-Version is not 13",
        })
    }
}

impl std::error::Error for ConnectRefusal {}

/// Why a request or response cannot be built from what the application passed.
///
/// Errors about a header name it. No error shows a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BuildError {
    /// A header's name is not a token; this is its start, up to the first invalid character, at
    /// most 64 bytes.
    HeaderName(String),
    /// The value of the header named here has a line break or another control character.
    HeaderValue(HeaderName),
    /// With the header named here, there are more than the `http` crate holds: some 24,000 names.
    TooManyHeaders(HeaderName),
    /// The header named here is the handshake's own.
    ReservedHeader(&'static str),
    /// The header named here is connection-specific, and not allowed in HTTP/2 (RFC 9113 section
    /// 8.2.2).
    ConnectionHeader(HeaderName),
    /// `Host` is not a host with an optional port.
    Host,
    /// The method of the application's request is not GET (RFC 6455 section 4.1).
    Method,
    /// The subprotocols are malformed.
    Subprotocols(SubprotocolError),
    /// The chosen subprotocol is not one that the client offered.
    SubprotocolNotOffered,
    /// The system returned no random bytes for the key.
    Random,
}

/// Describes this error alone; its cause is the [`source`](std::error::Error::source).
impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReservedHeader(name) => {
                return write!(f, "the header {name} is set by the handshake itself");
            }
            Self::HeaderName(start) => {
                return write!(f, "the header name that starts with {start:?} is not a token");
            }
            Self::ConnectionHeader(name) => {
                return write!(f, "the header {name} cannot be sent over HTTP/2");
            }
            Self::HeaderValue(name) => {
                return write!(f, "the value of the header {name} has a control character");
            }
            Self::TooManyHeaders(name) => {
                return write!(f, "the header {name} is one more than can be sent");
            }
            Self::Subprotocols(_) => "the subprotocols cannot be offered",
            Self::Host => "Host is not a host with an optional port",
            Self::Method => "the method of the request is not GET",
            Self::SubprotocolNotOffered => "the chosen subprotocol was not offered by the client",
            Self::Random => "the system gave no random bytes",
        })
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Subprotocols(error) => Some(error),
            _ => None,
        }
    }
}

impl From<SubprotocolError> for BuildError {
    fn from(error: SubprotocolError) -> Self {
        Self::Subprotocols(error)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;
    use crate::deflate::DeflateError;
    use crate::response::ResponseError;

    // Printing an error with its sources printed the same words twice.
    #[test]
    fn each_error_tells_its_own_level() {
        let (subprotocols, extensions) = (SubprotocolError::Duplicate, ExtensionError::Name);
        let errors: [&dyn Error; 6] = [
            &HandshakeError::Head(HeadError::Header),
            &HandshakeError::Subprotocols(subprotocols),
            &HandshakeError::Extensions(extensions),
            &BuildError::Subprotocols(subprotocols),
            &ResponseError::Extensions(extensions),
            &ResponseError::Deflate(DeflateError::Value),
        ];
        for error in errors {
            let (text, source) = (error.to_string(), error.source().unwrap());
            assert!(!text.is_empty() && !text.contains(&source.to_string()), "{text}");
            assert!(source.source().is_none());
        }
        assert!(HandshakeError::MissingKey.source().is_none());
        assert!(BuildError::Host.source().is_none());
        assert!(ResponseError::WrongAccept.source().is_none());
    }
}
