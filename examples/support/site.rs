//! A page and its files beside the sockets of an example, and parameters of requests.
#![allow(dead_code, reason = "each example uses a part")]

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};

/// A file: its path, its type and what is in it.
pub(crate) type File = (&'static str, &'static str, &'static str);

pub(crate) const HTML: &str = "text/html; charset=utf-8";
pub(crate) const CSS: &str = "text/css; charset=utf-8";
pub(crate) const SCRIPT: &str = "text/javascript; charset=utf-8";
pub(crate) const SVG: &str = "image/svg+xml";

/// A WebSocket that reconnects by itself, for the pages.
pub(crate) const CONNECTION: File = ("/connection.js", SCRIPT, include_str!("connection.js"));

/// The page runs and loads only what this server serves; what people write cannot become code.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Answers a request for one of these files.
pub(crate) fn serve(files: &[File], request: &Request<()>) -> Response<Bytes> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    let path = request.uri().path();
    let Some(&(_, content_type, body)) = files.iter().find(|(name, ..)| *name == path) else {
        return plain(StatusCode::NOT_FOUND, "not found\n");
    };
    let mut answer = Response::new(Bytes::from_static(body.as_bytes()));
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

pub(crate) fn plain(status: StatusCode, body: &'static str) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from_static(body.as_bytes()));
    *answer.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, text);
    answer
}

/// A query parameter that is fit to be displayed: not empty, not longer than so many characters, without
/// control characters.
pub(crate) fn parameter(query: &str, name: &str, max: usize) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    let value = percent_decode(value)?.trim().to_owned();
    let fit =
        !value.is_empty() && value.chars().count() <= max && !value.contains(char::is_control);
    fit.then_some(value)
}

/// RFC 3986 section 2.1.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16)?.try_into().ok();
            let (high, low): (u8, u8) = (digit()?, digit()?);
            high * 16 + low
        } else {
            byte
        });
    }
    String::from_utf8(out).ok()
}
