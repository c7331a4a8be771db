//! A request to open a WebSocket, and the yes to it.

use std::fmt;
use std::sync::Arc;

use http::header::{HeaderMap, HeaderValue, ORIGIN};
use http::{Request, Uri};
use tautline_handshake::{Headers, Offer};

use crate::headers::header_setters;
use crate::transport::Peer;

/// A client's wish to open a WebSocket: checked, and not answered yet.
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

    /// What is asked for: path and query.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        self.request().uri()
    }

    /// The headers: cookies, credentials, origin.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.request().headers()
    }

    /// Who asks: the address, and whether the connection is encrypted.
    #[must_use]
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The `Origin`: which page asks. Browsers always send it, other clients seldom do. The server's
    /// [`OriginPolicy`](crate::OriginPolicy) has allowed it already; with [`OriginPolicy::Any`](crate::OriginPolicy::Any) the
    /// decision is yours alone.
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

/// Without the headers and the query: credentials are among them.
impl fmt::Debug for UpgradeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpgradeRequest")
            .field("path", &self.uri().path())
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// The yes to an [`UpgradeRequest`], with what goes into the answer and what the connection's handler is to know.
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

/// Accepts, with nothing to add.
impl Default for Upgrade {
    fn default() -> Self {
        Self::new(())
    }
}

impl<T> Upgrade<T> {
    /// Accepts; `data` is handed to the handler of the connection.
    #[must_use]
    pub fn new(data: T) -> Self {
        Self { data, subprotocol: None, headers: Headers::new() }
    }

    /// Agrees on this subprotocol, which must be one of the offered. Without this, the server's own list decides.
    #[must_use]
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocol = Some(name.into());
        self
    }

    header_setters! {
        /// It is sent with the answer. A header that is not valid, or that belongs to the handshake, turns the answer into
        /// 500; the error that is logged names it.
    }
}

/// Without the data, which may be credentials, and the values of headers.
impl<T> fmt::Debug for Upgrade<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrade")
            .field("subprotocol", &self.subprotocol.is_some())
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}
