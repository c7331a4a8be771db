//! Why a request cannot be extracted as a WebSocket.

use std::error::Error;
use std::fmt;

use axum_core::body::Body;
use axum_core::response::{IntoResponse, Response};
use http::StatusCode;
use tautline::HandshakeError;
use tautline_http::Refused;

/// Why [`WebSocketUpgrade`](crate::WebSocketUpgrade) could not be extracted. As a response it has
/// the status that the cause requires, and a text that says what is wrong with the request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WebSocketUpgradeRejection {
    /// The request is not a valid opening handshake (RFC 6455 section 4.2.1, RFC 8441 section 5):
    /// 426 if it asks for no WebSocket, or for another version than 13; 405 for another method, 505
    /// for HTTP/1.0, otherwise 400. Over HTTP/2 the method is CONNECT, which reaches a handler only
    /// if it is routed with `any`.
    Handshake(HandshakeError),
    /// The connection cannot be taken over: the request did not come from hyper, or its upgrade has
    /// been taken already, for instance by an extractor before this one. 500.
    NotUpgradable,
}

impl WebSocketUpgradeRejection {
    /// The status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        Refused::from(self.clone()).status()
    }
}

impl IntoResponse for WebSocketUpgradeRejection {
    fn into_response(self) -> Response {
        Refused::from(self).to_response().map(Body::from)
    }
}

/// This level only: [`source`](Error::source) has the next.
impl fmt::Display for WebSocketUpgradeRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Refused::from(self.clone()).fmt(f)
    }
}

impl Error for WebSocketUpgradeRejection {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Handshake(error) => Some(error),
            Self::NotUpgradable => None,
        }
    }
}

impl From<Refused> for WebSocketUpgradeRejection {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Handshake(error) => Self::Handshake(error),
            // All that `Refused` may have later is about the connection.
            _ => Self::NotUpgradable,
        }
    }
}

impl From<WebSocketUpgradeRejection> for Refused {
    fn from(rejection: WebSocketUpgradeRejection) -> Self {
        match rejection {
            WebSocketUpgradeRejection::Handshake(error) => Self::Handshake(error),
            WebSocketUpgradeRejection::NotUpgradable => Self::NotUpgradable,
        }
    }
}
