//! From `http` types to bytes.

use bytes::{BufMut as _, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, TRANSFER_ENCODING, UPGRADE,
};
use http::{Request, Response, StatusCode, Version};

use crate::token::has_member;

/// Appends a request to `dst`: `Host` first, names in their customary case, since some servers
/// compare them case-sensitively.
///
/// No line break can be injected: the types of `http` allow none in methods, URIs, names and
/// values.
///
/// ```
/// let request = http::Request::get("/chat").header("x-id", "7").header("host", "h").body(())?;
/// let mut bytes = bytes::BytesMut::new();
/// tautline_handshake::encode_request(&request, &mut bytes);
/// assert_eq!(bytes, "GET /chat HTTP/1.1\r\nHost: h\r\nX-Id: 7\r\n\r\n");
/// # Ok::<(), http::Error>(())
/// ```
pub fn encode_request<T>(request: &Request<T>, dst: &mut BytesMut) {
    dst.put_slice(request.method().as_str().as_bytes());
    dst.put_u8(b' ');
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    dst.put_slice(target.as_bytes());
    let http_1_0 = request.version() == Version::HTTP_10;
    dst.put_slice(if http_1_0 { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" });
    for value in request.headers().get_all(HOST) {
        put_header(&HOST, value.as_bytes(), dst);
    }
    put_headers(request.headers(), |name| *name != HOST, dst);
    dst.put_slice(b"\r\n");
}

/// Appends a response with its body to `dst`.
///
/// The headers that say where the body ends are set here, whatever the response has:
/// `Content-Length` is the body's length, `Transfer-Encoding` is left out, and every status but 101
/// has `Connection: close` (listing `Upgrade` too if there is such a header, RFC 9110 section 7.8),
/// since no second request can follow on this connection. A status that has no body (1xx, 204, 304)
/// is written without one.
///
/// ```
/// let response = tautline_handshake::HandshakeError::Method.to_response();
/// let mut bytes = bytes::BytesMut::new();
/// tautline_handshake::encode_response(&response, &mut bytes);
/// assert!(bytes.starts_with(b"HTTP/1.1 405 Method Not Allowed\r\n"));
/// assert!(bytes.ends_with(b"\r\n\r\nthe method is not GET\n"));
/// ```
pub fn encode_response<B: AsRef<[u8]>>(response: &Response<B>, dst: &mut BytesMut) {
    encode(response, true, dst);
}

/// Appends the response to a `HEAD` request to `dst`: like [`encode_response`], but without the
/// body (RFC 9110 section 9.3.2).
pub fn encode_response_to_head<B: AsRef<[u8]>>(response: &Response<B>, dst: &mut BytesMut) {
    encode(response, false, dst);
}

fn encode<B: AsRef<[u8]>>(response: &Response<B>, with_body: bool, dst: &mut BytesMut) {
    let status = response.status();
    let headers = response.headers();
    let body = response.body().as_ref();
    dst.put_slice(b"HTTP/1.1 ");
    dst.put_slice(status.as_str().as_bytes());
    dst.put_u8(b' ');
    dst.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    dst.put_slice(b"\r\n");

    let switching = status == StatusCode::SWITCHING_PROTOCOLS;
    let keep_connection = switching || has_member(headers, &CONNECTION, "close");
    let framing = |name: &HeaderName| *name == CONTENT_LENGTH || *name == TRANSFER_ENCODING;
    let kept = |name: &HeaderName| !framing(name) && (keep_connection || *name != CONNECTION);
    put_headers(headers, kept, dst);
    let bodiless = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if !bodiless {
        put_header(&CONTENT_LENGTH, body.len().to_string().as_bytes(), dst);
    }
    if !keep_connection {
        // RFC 9110 section 7.8: `Upgrade` is for this connection alone, and must be named here.
        let options: &[u8] =
            if headers.contains_key(UPGRADE) { b"close, Upgrade" } else { b"close" };
        put_header(&CONNECTION, options, dst);
    }
    dst.put_slice(b"\r\n");
    if with_body && !bodiless {
        dst.put_slice(body);
    }
}

pub(crate) fn put_headers(
    headers: &HeaderMap,
    kept: impl Fn(&HeaderName) -> bool,
    dst: &mut BytesMut,
) {
    for (name, value) in headers.iter().filter(|(name, _)| kept(name)) {
        put_header(name, value.as_bytes(), dst);
    }
}

pub(crate) fn put_header(name: &HeaderName, value: &[u8], dst: &mut BytesMut) {
    let start = dst.len();
    dst.put_slice(name.as_str().as_bytes());
    for word in dst[start..].split_mut(|&byte| byte == b'-') {
        match &*word {
            b"websocket" => word.copy_from_slice(b"WebSocket"),
            b"www" => word.copy_from_slice(b"WWW"),
            _ => word.iter_mut().take(1).for_each(u8::make_ascii_uppercase),
        }
    }
    dst.put_slice(b": ");
    dst.put_slice(value);
    dst.put_slice(b"\r\n");
}
