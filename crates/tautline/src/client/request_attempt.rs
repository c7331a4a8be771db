//! A request that is about to be sent.

use std::fmt;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap};
use http::{HeaderValue, Response};
use tautline_handshake::{BuildError, WsUri};

use super::credentials;

/// A request that is about to be sent, which the hook of
/// [`Client::on_request`](crate::Client::on_request) may change.
///
/// `Debug` shows neither the query of the URI nor the values of headers.
pub struct RequestAttempt {
    pub(super) uri: WsUri,
    pub(super) headers: HeaderMap,
    pub(super) number: u32,
    pub(super) left_origin: bool,
    pub(super) previous: Option<Box<Response<Bytes>>>,
}

impl RequestAttempt {
    /// Where it is sent.
    #[must_use]
    pub const fn uri(&self) -> &WsUri {
        &self.uri
    }

    /// Sends it elsewhere, for instance with a fresh token in the query. This holds for this attempt:
    /// a later one starts from the URI that [`connect`](crate::Client::connect) got, or from that of
    /// a redirection. Its user name and password, if it has them, become the `Authorization`.
    pub fn set_uri(&mut self, uri: WsUri) {
        if let Some(credentials) = uri.authorization() {
            self.headers.insert(AUTHORIZATION, credentials.clone());
        }
        self.uri = uri.without_credentials();
    }

    /// The headers of the application: those of the client, of the request, the credentials of the
    /// URI, and the cookies of the jar.
    #[must_use]
    pub const fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// For changing them, for this attempt. The handshake's own headers, such as
    /// `sec-websocket-key`, must not be among them.
    #[must_use]
    pub const fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }

    /// Sends this token as `Authorization: Bearer` (RFC 6750 section 2.1).
    ///
    /// # Errors
    /// [`BuildError::HeaderValue`] if a header cannot have it.
    pub fn set_bearer(&mut self, token: impl AsRef<str>) -> Result<(), BuildError> {
        let value = HeaderValue::try_from(credentials::bearer(token.as_ref()));
        let mut value = value.map_err(|_| BuildError::HeaderValue(AUTHORIZATION))?;
        value.set_sensitive(true);
        self.headers.insert(AUTHORIZATION, value);
        Ok(())
    }

    /// Which attempt this is to open one connection: 1 for the first, and one more after each
    /// redirection, 401 and 407.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Whether redirections have led away from the scheme, host or port of the first request, or from
    /// its Unix socket. Its
    /// credentials have been dropped then; do not add others that are not meant for
    /// [`uri`](Self::uri).
    #[must_use]
    pub const fn left_origin(&self) -> bool {
        self.left_origin
    }

    /// The answer to the attempt before: a redirection, 401 (see its `www-authenticate`) or 407.
    #[must_use]
    pub fn previous(&self) -> Option<&Response<Bytes>> {
        self.previous.as_deref()
    }
}

impl fmt::Debug for RequestAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestAttempt")
            .field("uri", &self.uri)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("number", &self.number)
            .field("left_origin", &self.left_origin)
            .field("previous", &self.previous().map(Response::status))
            .finish()
    }
}
