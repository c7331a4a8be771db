//! A request to open a WebSocket, and its acceptance.

use std::fmt;
use std::sync::Arc;

use http::header::{HeaderMap, HeaderValue, ORIGIN};
use http::{Request, Uri};
use tautline_handshake::{Headers, Offer};

use crate::headers::header_setters;
use crate::transport::Peer;

/// A valid request to open a WebSocket that has not been answered yet: what
/// [`Server::authorize`](crate::Server::authorize) is called with. Clones share the request.
#[derive(Clone)]
pub struct UpgradeRequest {
    request: Arc<Request<()>>,
    peer: Peer,
}

impl UpgradeRequest {
    pub(crate) fn new(request: Arc<Request<()>>, peer: Peer) -> Self {
        Self { request, peer }
    }

    /// The whole request.
    #[must_use]
    pub fn request(&self) -> &Request<()> {
        &self.request
    }

    /// The target: path and query.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        self.request().uri()
    }

    /// The headers, with cookies, credentials and origin.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.request().headers()
    }

    /// The client: its address, and whether the connection is encrypted.
    #[must_use]
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The `Origin`: which page wants to connect. Browsers always send it, other clients rarely.
    /// The server's [`OriginPolicy`](crate::OriginPolicy) has allowed it already; with
    /// [`OriginPolicy::Any`](crate::OriginPolicy::Any) the decision is yours alone.
    #[must_use]
    pub fn origin(&self) -> Option<&HeaderValue> {
        self.headers().get(ORIGIN)
    }

    /// The subprotocols that the client offers, in its order.
    #[must_use]
    pub fn subprotocols(&self) -> Vec<&str> {
        // It was read without an error before this was made.
        Offer::read(self.headers()).map_or(Vec::new(), |offer| offer.subprotocols().to_vec())
    }
}

/// Without headers and query, which may hold credentials.
impl fmt::Debug for UpgradeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpgradeRequest")
            .field("path", &self.uri().path())
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// Accepts an [`UpgradeRequest`] or an [`Incoming`](crate::Incoming), with what to add to the
/// answer, and data for the connection's handler.
///
/// ```
/// use tautline::Upgrade;
///
/// let upgrade = Upgrade::new("alice").subprotocol("chat.v2").header("set-cookie", "seen=1");
/// # let _: Upgrade<&str> = upgrade;
/// ```
pub struct Upgrade<T = ()> {
    pub(super) data: T,
    pub(super) subprotocol: Option<String>,
    pub(super) headers: Headers,
}

/// Accepts, and adds nothing.
impl Default for Upgrade {
    fn default() -> Self {
        Self::new(())
    }
}

impl<T> Upgrade<T> {
    /// Accepts; `data` is passed to the connection's handler.
    #[must_use]
    pub fn new(data: T) -> Self {
        Self { data, subprotocol: None, headers: Headers::new() }
    }

    /// Selects this subprotocol, which the client must have offered. Without this, the server's own
    /// list decides.
    #[must_use]
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocol = Some(name.into());
        self
    }

    /// The same with other data.
    #[cfg(feature = "router")]
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Upgrade<U> {
        let Self { data, subprotocol, headers } = self;
        Upgrade { data: change(data), subprotocol, headers }
    }

    /// What both of them add; `other` has the last word, and its data.
    #[cfg(feature = "router")]
    pub(crate) fn and<U>(self, other: Upgrade<U>) -> Upgrade<U> {
        let mut headers = self.headers;
        headers.merge(other.headers);
        Upgrade { headers, subprotocol: other.subprotocol.or(self.subprotocol), ..other }
    }

    header_setters! {
        /// It is sent with the answer. A header that is invalid, or that belongs to the handshake,
        /// turns the answer into 500; the error that is logged names it.
    }
}

/// Without the data and the values of headers, which may be credentials.
impl<T> fmt::Debug for Upgrade<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrade")
            .field("subprotocol", &self.subprotocol.is_some())
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}
