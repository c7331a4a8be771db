//! From a stream of HTTP/2 or HTTP/3 to WebSocket by extended CONNECT and 200 (RFC 8441 sections 4
//! and 5, RFC 9220 section 3). There is no key and no accept value, and no connection-specific
//! header: `:protocol` says what the stream becomes.

use http::header::{
    CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_VERSION, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Response, StatusCode, Uri, Version};

use crate::authority::Authority;
use crate::error::ConnectRefusal;
use crate::head::{ConnectProtocol, RequestHead};
use crate::response::ResponseError;
use crate::token::{Lines, lines, trim_ows};

/// The connection-specific fields, which are not allowed in HTTP/2 and HTTP/3 (RFC 9113 section
/// 8.2.2, RFC 9114 section 4.2).
const CONNECTION_FIELDS: [HeaderName; 5] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Whether a request asks to become a WebSocket by an extended CONNECT (RFC 8441 section 4): over
/// HTTP/2 or HTTP/3, with `websocket` in `:protocol`. See [`ConnectProtocol`] for where that is
/// found. Such a request must still pass [`ServerRequest::check`](crate::ServerRequest::check).
#[must_use]
pub fn is_connect_request<'a>(request: impl Into<RequestHead<'a>>) -> bool {
    let head = request.into();
    head.version >= Version::HTTP_2
        && *head.method == Method::CONNECT
        && head.protocol.is_some_and(is_websocket)
}

/// RFC 9110 section 7.8: protocol names are compared case-insensitively.
fn is_websocket(protocol: &str) -> bool {
    protocol.eq_ignore_ascii_case(ConnectProtocol::WEBSOCKET.as_str())
}

/// Checks a client's request except for its offers; returns the host that it is for.
pub(crate) fn check<'a>(head: &RequestHead<'a>) -> Result<&'a str, ConnectRefusal> {
    if *head.method != Method::CONNECT {
        return Err(ConnectRefusal::Method);
    }
    match head.protocol {
        None => return Err(ConnectRefusal::MissingProtocol),
        Some(protocol) if is_websocket(protocol) => {}
        Some(_) => return Err(ConnectRefusal::UnsupportedProtocol),
    }
    let authority = check_target(head.uri, head.headers)?;
    if connection_field(head.headers).is_some() {
        return Err(ConnectRefusal::ConnectionHeader);
    }
    // RFC 8441 section 5: the version as in RFC 6455. The key is ignored.
    match lines(head.headers, &SEC_WEBSOCKET_VERSION) {
        Lines::One(value) if trim_ows(value.as_bytes()) == b"13" => Ok(authority),
        Lines::None | Lines::One(_) | Lines::Several => Err(ConnectRefusal::Version),
    }
}

/// `:scheme`, `:path` and `:authority` are all present (RFC 8441 section 4), the first as for `ws`
/// and `wss` (section 5); a `Host` beside them must agree with `:authority` (RFC 9113 section
/// 8.3.1).
fn check_target<'a>(uri: &'a Uri, headers: &HeaderMap) -> Result<&'a str, ConnectRefusal> {
    let default = match uri.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return Err(ConnectRefusal::Scheme),
    };
    if !uri.path_and_query().is_some_and(|path| path.as_str().starts_with('/')) {
        return Err(ConnectRefusal::Path);
    }
    let authority = uri.authority().map(http::uri::Authority::as_str);
    let authority = authority.ok_or(ConnectRefusal::Authority)?;
    let parsed = Authority::parse(authority).map_err(|_| ConnectRefusal::Authority)?;
    let same = |value: &HeaderValue| {
        let host = value.to_str().ok().and_then(|host| Authority::parse(host.trim()).ok());
        host.is_some_and(|host| {
            let ports = (host.port.unwrap_or(default), parsed.port.unwrap_or(default));
            host.host == parsed.host && ports.0 == ports.1
        })
    };
    match lines(headers, &HOST) {
        Lines::None => Ok(authority),
        Lines::One(value) if same(value) => Ok(authority),
        Lines::One(_) | Lines::Several => Err(ConnectRefusal::Host),
    }
}

/// The first connection-specific field. `TE` is allowed if it is `trailers` alone (RFC 9113 section
/// 8.2.2).
pub(crate) fn connection_field(headers: &HeaderMap) -> Option<&HeaderName> {
    let trailers = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"trailers");
    headers
        .iter()
        .find(|(name, value)| {
            CONNECTION_FIELDS.contains(name) || (**name == TE && !trailers(value))
        })
        .map(|(name, _)| name)
}

/// The response that accepts: 200, after which the stream carries frames (RFC 8441 section 5).
pub(crate) fn response(version: Version) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::OK;
    *response.version_mut() = version;
    response
}

/// Adds what every extended CONNECT request has beside its pseudo-headers.
pub(crate) fn ask(headers: &mut HeaderMap) {
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
}

/// Checks whether the server accepted: any 2xx does (RFC 9110 section 9.3.6). There is no accept
/// value, and the header for it is ignored (RFC 8441 section 5).
pub(crate) fn check_response<T>(response: &Response<T>) -> Result<(), ResponseError> {
    if !response.status().is_success() {
        return Err(ResponseError::Status(response.status()));
    }
    if response.version() < Version::HTTP_2 {
        return Err(ResponseError::HttpVersion);
    }
    match connection_field(response.headers()) {
        Some(_) => Err(ResponseError::ConnectionHeader),
        None => Ok(()),
    }
}
