//! Credentials in the header `Authorization`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;

use super::Client;

impl Client {
    /// Sends this token as `Authorization: Bearer` (RFC 6750 section 2.1) with each request. It is
    /// never shown by `Debug` or in errors. For one that expires, see
    /// [`on_request`](Self::on_request).
    ///
    /// If it cannot be sent, [`connect`](Self::connect) returns an error.
    ///
    /// ```
    /// let client = tautline::Client::new().bearer("3f2a");
    /// # let _ = client;
    /// ```
    #[must_use]
    pub fn bearer(self, token: impl AsRef<str>) -> Self {
        self.header(AUTHORIZATION, bearer(token.as_ref()))
    }

    /// Sends this name and password as `Authorization: Basic` (RFC 7617) with each request. They are
    /// never shown by `Debug` or in errors. The same can be written into the URI, as in
    /// `wss://name:password@example.com/`, which applies unless this is set.
    ///
    /// The name must not contain a colon, and neither a control character (RFC 7617 section 2): if
    /// they cannot be sent, [`connect`](Self::connect) returns an error.
    ///
    /// ```
    /// let client = tautline::Client::new().basic("ada", "open sesame");
    /// # let _ = client;
    /// ```
    #[must_use]
    pub fn basic(self, name: impl AsRef<str>, password: impl AsRef<str>) -> Self {
        self.header(AUTHORIZATION, basic(name.as_ref(), password.as_ref()))
    }
}

pub(super) fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

pub(super) fn basic(name: &str, password: &str) -> String {
    // RFC 7617 section 2. A line break is no header value, so that the mistake is reported.
    if name.contains(':') || name.chars().chain(password.chars()).any(char::is_control) {
        return "\n".to_owned();
    }
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;

    // The example of RFC 7617 section 2.
    #[test]
    fn basic_credentials() {
        assert_eq!(basic("Aladdin", "open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(basic("", "a:b"), "Basic OmE6Yg==");
        for (name, password) in [("a:b", "c"), ("a", "b\n"), ("a\u{7f}", "b")] {
            assert!(http::HeaderValue::try_from(basic(name, password)).is_err());
        }
    }
}
