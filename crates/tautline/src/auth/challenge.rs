//! The answer to a request whose sender is not known.

use bytes::Bytes;
use http::header::WWW_AUTHENTICATE;
use http::{Response, StatusCode};
use tautline_handshake::text_response;

use super::{AuthError, header_value};

/// What a server asks for: the `WWW-Authenticate` that every 401 must have (RFC 9110 section 15.5.2).
///
/// ```
/// use tautline::auth::{AuthError, Challenge};
///
/// let response = Challenge::bearer("chat").response(AuthError::Invalid);
/// assert_eq!(response.status(), 401);
/// let asked = &response.headers()["www-authenticate"];
/// assert_eq!(asked, "Bearer realm=\"chat\", error=\"invalid_token\"");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    scheme: Scheme,
    realm: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Bearer,
    Basic,
}

impl Challenge {
    /// Asks for a token (RFC 6750 section 3). The realm is what people may be shown of the place that
    /// the credentials are for; of it, what is not ASCII, and control characters, are left out.
    #[must_use]
    pub fn bearer(realm: impl Into<String>) -> Self {
        Self { scheme: Scheme::Bearer, realm: realm.into() }
    }

    /// Asks for user and password, in UTF-8 (RFC 7617 section 2). The realm is as for
    /// [`bearer`](Self::bearer).
    #[must_use]
    pub fn basic(realm: impl Into<String>) -> Self {
        Self { scheme: Scheme::Basic, realm: realm.into() }
    }

    /// The answer: 401, or 400 where what was sent cannot be read as credentials (RFC 6750 section
    /// 3.1), with the reason as its body.
    #[must_use]
    pub fn response(&self, error: AuthError) -> Response<Bytes> {
        let status = match error {
            AuthError::Duplicate | AuthError::Malformed => StatusCode::BAD_REQUEST,
            AuthError::Missing | AuthError::OtherScheme | AuthError::Invalid => {
                StatusCode::UNAUTHORIZED
            }
        };
        let mut response = text_response(status, format!("{error}\n"));
        response.headers_mut().insert(WWW_AUTHENTICATE, header_value(&self.value(error)));
        response
    }

    fn value(&self, error: AuthError) -> String {
        let realm = self.realm.replace('\\', "\\\\").replace('"', "\\\"");
        match self.scheme {
            Scheme::Basic => format!("Basic realm=\"{realm}\", charset=\"UTF-8\""),
            Scheme::Bearer => {
                let code = match error {
                    // Who sent none learns no more than that one is needed.
                    AuthError::Missing | AuthError::OtherScheme => "",
                    AuthError::Duplicate | AuthError::Malformed => ", error=\"invalid_request\"",
                    AuthError::Invalid => ", error=\"invalid_token\"",
                };
                format!("Bearer realm=\"{realm}\"{code}")
            }
        }
    }
}
