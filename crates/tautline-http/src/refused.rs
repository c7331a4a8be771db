//! Why a request is not upgraded.

use std::fmt;

use bytes::Bytes;
use http::{Response, StatusCode};
use tautline::{HandshakeError, text_response};

/// Why a request is not upgraded. Each cause has one [status](Self::status) and one
/// [response](Self::to_response).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// The request is not a valid opening handshake, or its origin is not allowed (RFC 6455
    /// section 4.2, RFC 8441 section 5).
    Handshake(HandshakeError),
    /// The request is valid, but its connection cannot be taken over: the request did not come from
    /// hyper, or something has taken the upgrade out of its extensions before. A mistake in the
    /// server, so the response is a 500.
    NotUpgradable,
}

impl Refused {
    /// The status of the response.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Handshake(error) => error.status(),
            Self::NotUpgradable => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Logs it as our own server logs a handshake that it does not accept.
    pub(crate) fn logged(self) -> Self {
        match self {
            Self::Handshake(_) => {
                tracing::debug!(error = %Chain(&self), "connection not accepted");
            }
            // A mistake in the server, which nobody would find otherwise.
            Self::NotUpgradable => {
                tracing::warn!(error = %Chain(&self), "connection not accepted");
            }
        }
        self
    }

    /// The complete response, as of [`HandshakeError::to_response`].
    #[must_use]
    pub fn to_response(&self) -> Response<Bytes> {
        match self {
            Self::Handshake(error) => error.to_response(),
            Self::NotUpgradable => text_response(self.status(), format!("{self}\n")),
        }
    }
}

/// Displays an error and, separated by colons, its sources.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        self.0.source().map_or(Ok(()), |source| write!(f, ": {}", Chain(source)))
    }
}

/// This level only: [`source`](std::error::Error::source) has the next.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handshake(error) => {
                write!(f, "the handshake was refused with {}", error.status())
            }
            Self::NotUpgradable => f.write_str("the connection of this request cannot be upgraded"),
        }
    }
}

impl std::error::Error for Refused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Handshake(error) => Some(error),
            Self::NotUpgradable => None,
        }
    }
}

impl From<HandshakeError> for Refused {
    fn from(error: HandshakeError) -> Self {
        Self::Handshake(error)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn each_refusal_tells_its_own_level_and_has_a_response() {
        let handshake = Refused::from(HandshakeError::MissingKey);
        let cause = handshake.source().map(ToString::to_string);
        assert_eq!(handshake.to_string(), "the handshake was refused with 400 Bad Request");
        assert_eq!(cause.as_deref(), Some("Sec-WebSocket-Key is missing"));
        assert_eq!(handshake.to_response().body(), "Sec-WebSocket-Key is missing\n");
        assert!(Refused::NotUpgradable.source().is_none());
        for refused in [handshake, Refused::NotUpgradable] {
            assert_eq!(refused.to_response().status(), refused.status());
        }
    }
}
