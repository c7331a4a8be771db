//! The page, its files, and what a socket's URL asks for.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};

use crate::rooms::Ticket;

const MAX_NAME: usize = 24; // characters, as in the page
const MAX_ROOM_NAME: usize = 32; // characters, as in the page

pub(crate) fn page(request: &Request<()>) -> Response<Bytes> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    let (content_type, body) = match request.uri().path() {
        "/" => ("text/html; charset=utf-8", include_str!("index.html")),
        "/style.css" => ("text/css; charset=utf-8", include_str!("style.css")),
        "/app.js" => ("text/javascript; charset=utf-8", include_str!("app.js")),
        "/connection.js" => ("text/javascript; charset=utf-8", include_str!("connection.js")),
        "/icon.svg" => ("image/svg+xml", include_str!("icon.svg")),
        _ => return plain(StatusCode::NOT_FOUND, "not found\n"),
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

/// The page runs and loads only what this server serves; what people write cannot become code.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) fn plain(status: StatusCode, body: &'static str) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from_static(body.as_bytes()));
    *answer.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, text);
    answer
}

/// The room and name that a socket asks for; otherwise the status of the refusal.
pub(crate) fn ticket(uri: &Uri) -> Result<Ticket, StatusCode> {
    if uri.path() != "/ws" {
        return Err(StatusCode::NOT_FOUND);
    }
    let query = uri.query().unwrap_or_default();
    let room = parameter(query, "room", MAX_ROOM_NAME).ok_or(StatusCode::BAD_REQUEST)?;
    let name = parameter(query, "name", MAX_NAME).ok_or(StatusCode::BAD_REQUEST)?;
    Ok(Ticket { room, name })
}

/// A query parameter that is fit to be displayed: not empty, not too long, without control
/// characters.
fn parameter(query: &str, name: &str, max: usize) -> Option<String> {
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
