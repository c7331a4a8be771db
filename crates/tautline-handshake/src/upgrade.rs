//! From HTTP/1.1 to WebSocket by `GET` and 101 (RFC 6455 sections 4.1 and 4.2).

use http::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Method, Response, StatusCode, Version};

use crate::error::{BuildError, HandshakeError};
use crate::head::RequestHead;
use crate::key::{self, ACCEPT_LEN, KEY_LEN, generate_key, is_valid_key};
use crate::response::ResponseError;
use crate::token::{Lines, has_member, lines, members, trim_ows};

/// Whether a request asks to become a WebSocket by an upgrade: `Upgrade` lists `websocket` and
/// `Connection` lists `upgrade`. Anything else is plain HTTP, for another handler, or an extended
/// CONNECT of HTTP/2. Such a request must still pass
/// [`ServerRequest::check`](crate::ServerRequest::check). In HTTP/1.0 there is no `Upgrade` (RFC
/// 9110 section 7.8), nor in HTTP/2 (RFC 9113 section 8.6).
#[must_use]
pub fn is_upgrade_request<'a>(request: impl Into<RequestHead<'a>>) -> bool {
    let head = request.into();
    head.version == Version::HTTP_11
        && has_member(head.headers, &UPGRADE, "websocket")
        && has_member(head.headers, &CONNECTION, "upgrade")
}

/// Checks a client's request (RFC 6455 section 4.2.1) except for its offers; returns the host that
/// it is for, and the value of `Sec-WebSocket-Accept` that answers it.
pub(crate) fn check<'a>(head: &RequestHead<'a>) -> Result<(&'a str, HeaderValue), HandshakeError> {
    let headers = head.headers;
    if head.version != Version::HTTP_11 {
        return Err(HandshakeError::HttpVersion);
    }
    if *head.method != Method::GET {
        return Err(HandshakeError::Method);
    }
    let authority = head.authority()?.ok_or(HandshakeError::MissingHost)?;
    head.check_no_body()?;
    if !has_member(headers, &UPGRADE, "websocket") {
        return Err(HandshakeError::MissingUpgrade);
    }
    if !has_member(headers, &CONNECTION, "upgrade") {
        return Err(HandshakeError::MissingConnectionUpgrade);
    }
    match lines(headers, &SEC_WEBSOCKET_VERSION) {
        Lines::One(value) if trim_ows(value.as_bytes()) == b"13" => {}
        Lines::One(_) => return Err(HandshakeError::UnsupportedVersion),
        Lines::None => return Err(HandshakeError::MissingVersion),
        Lines::Several => return Err(HandshakeError::DuplicateVersion),
    }
    let key = match lines(headers, &SEC_WEBSOCKET_KEY) {
        Lines::One(value) => trim_ows(value.as_bytes()),
        Lines::None => return Err(HandshakeError::MissingKey),
        Lines::Several => return Err(HandshakeError::DuplicateKey),
    };
    if !is_valid_key(key) {
        return Err(HandshakeError::InvalidKey);
    }
    let accept =
        HeaderValue::from_bytes(&key::accept(key)).map_err(|_| HandshakeError::InvalidKey)?;
    Ok((authority, accept))
}

/// The response that accepts: a 101 with the headers that switch protocols (RFC 6455 section 4.2.2,
/// step 5).
pub(crate) fn response(accept: &HeaderValue) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.version_mut() = Version::HTTP_11;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept.clone());
    response
}

/// Adds the headers that ask for the upgrade, with a fresh key (RFC 6455 section 4.1), and returns
/// the value of `Sec-WebSocket-Accept` that the response must have.
pub(crate) fn ask(headers: &mut HeaderMap) -> Result<[u8; ACCEPT_LEN], BuildError> {
    let (key, accept) = fresh_key()?;
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    let value = HeaderValue::from_bytes(&key);
    let value = value.map_err(|_| BuildError::HeaderValue(SEC_WEBSOCKET_KEY))?;
    headers.insert(SEC_WEBSOCKET_KEY, value);
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    Ok(accept)
}

/// A key, and the value of `Sec-WebSocket-Accept` that answers it.
pub(crate) fn fresh_key() -> Result<([u8; KEY_LEN], [u8; ACCEPT_LEN]), BuildError> {
    let key = generate_key().map_err(|_| BuildError::Random)?;
    Ok((key, key::accept(&key)))
}

/// Checks whether the server switched protocols (RFC 6455 section 4.1, the list under "Once the
/// client's opening handshake has been sent").
pub(crate) fn check_response<T>(
    response: &Response<T>,
    accept: &[u8; ACCEPT_LEN],
) -> Result<(), ResponseError> {
    let headers = response.headers();
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(ResponseError::Status(response.status()));
    }
    if response.version() != Version::HTTP_11 {
        return Err(ResponseError::HttpVersion);
    }
    let mut upgrades = members(headers, &UPGRADE).filter(|member| !member.is_empty());
    let websocket = |member: &[u8]| member.eq_ignore_ascii_case(b"websocket");
    if !upgrades.next().is_some_and(websocket) || upgrades.next().is_some() {
        return Err(ResponseError::Upgrade);
    }
    if !has_member(headers, &CONNECTION, "upgrade") {
        return Err(ResponseError::Connection);
    }
    match lines(headers, &SEC_WEBSOCKET_ACCEPT) {
        Lines::None => Err(ResponseError::MissingAccept),
        Lines::Several => Err(ResponseError::DuplicateAccept),
        Lines::One(value) if trim_ows(value.as_bytes()) != accept => {
            Err(ResponseError::WrongAccept)
        }
        Lines::One(_) => Ok(()),
    }
}
