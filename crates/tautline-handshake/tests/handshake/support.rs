//! What the tests of several modules need.

use http::{HeaderMap, HeaderValue};
use tautline_handshake::{ClientRequest, WsUri};

pub(crate) fn client(uri: &str) -> ClientRequest {
    ClientRequest::new(&WsUri::parse(uri).unwrap())
}

/// Replaces all lines of `name`.
pub(crate) fn set(headers: &mut HeaderMap, name: &'static str, values: &[&[u8]]) {
    headers.remove(name);
    for value in values {
        headers.append(name, HeaderValue::from_bytes(value).unwrap());
    }
}
