//! What the tests of several modules need.

use http::{HeaderMap, HeaderValue};
use tautline_handshake::{ClientRequest, WsUri};

/// The URI is never freed, so that a test can name it in place.
pub(crate) fn client(uri: &str) -> ClientRequest<'static> {
    ClientRequest::new(Box::leak(Box::new(WsUri::parse(uri).unwrap())))
}

/// All lines in their order, which are text.
pub(crate) fn lines(headers: &HeaderMap) -> Vec<(&str, &str)> {
    headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect()
}

/// Replaces all lines of `name`.
pub(crate) fn set(headers: &mut HeaderMap, name: &'static str, values: &[&[u8]]) {
    headers.remove(name);
    for value in values {
        headers.append(name, HeaderValue::from_bytes(value).unwrap());
    }
}
