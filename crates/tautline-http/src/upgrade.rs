//! Taking a request to open a WebSocket, and answering it.

use std::fmt;

use http::request::Parts;
use http::{Request, Response};
use hyper::ext::Protocol;
use tautline::{Acceptor, Peer, RequestHead};
use tautline_handshake::{
    ConnectProtocol, Offer, ServerRequest, is_connect_request, is_upgrade_request,
};

use crate::refused::Refused;
use crate::upgrading::{UpgradeSource, Upgrading};

/// Answers a request to open a WebSocket that hyper has received: over HTTP/1.1 by an upgrade (RFC
/// 6455 section 4.2), over HTTP/2 by an extended CONNECT (RFC 8441 section 5). Returns the response
/// to send, to which you may add headers, and the future of the connection.
///
/// The server must allow upgrades (`http1::Builder` with `with_upgrades`, or hyper-util's
/// `auto::Builder::serve_connection_with_upgrades`), and over HTTP/2 extended CONNECT
/// (`enable_connect_protocol`).
///
/// Decide about the request before: if you send another response after all, drop the future. Over
/// HTTP/1.1 hyper hands over a connection whatever was answered, when it comes to its end.
///
/// # Errors
/// [`Refused`]: answer with its [`to_response`](Refused::to_response) then.
///
/// ```
/// use http_body_util::Full;
/// use hyper::body::{Bytes, Incoming};
/// use tautline::{Acceptor, Connections};
/// use tautline_http::http::{Request, Response};
///
/// /// A service of hyper.
/// async fn serve(
///     mut request: Request<Incoming>,
///     connections: Connections,
/// ) -> Result<Response<Full<Bytes>>, hyper::Error> {
///     let (response, upgrading) = match tautline_http::upgrade(&Acceptor::new(), &mut request) {
///         Ok(answer) => answer,
///         Err(refused) => return Ok(refused.to_response().map(Full::new)),
///     };
///     connections.spawn(async { upgrading.await.ok() }, |mut ws: tautline::WebSocket| async move {
///         while let Some(message) = ws.next().await {
///             ws.feed(message?).await?;
///         }
///         Ok(())
///     });
///     Ok(response.map(|()| Full::default()))
/// }
/// ```
pub fn upgrade<B>(
    acceptor: &Acceptor,
    request: &mut Request<B>,
) -> Result<(Response<()>, Upgrading), Refused> {
    let head = RequestHead::from(&*request);
    let head = with_protocol(head, request.extensions().get());
    let (version, peer) = (request.version(), request.extensions().get().cloned());
    let (response, agreed) = acceptor.respond(head).map_err(refused)?;
    let source = UpgradeSource::take(request.extensions_mut());
    let source = source.ok_or_else(|| refused(Refused::NotUpgradable))?;
    let builder = acceptor.connection(agreed).http_version(version);
    Ok((response, Upgrading::new(source, builder, peer.unwrap_or_default())))
}

fn refused(why: impl Into<Refused>) -> Refused {
    why.into().logged()
}

/// Whether a request asks for a WebSocket, validly or not.
pub(crate) fn asks<B>(request: &Request<B>) -> bool {
    let head = with_protocol(RequestHead::from(request), request.extensions().get());
    is_upgrade_request(head) || is_connect_request(head)
}

/// The head with the `:protocol` that hyper received, if it received one.
fn with_protocol<'a>(head: RequestHead<'a>, received: Option<&'a Protocol>) -> RequestHead<'a> {
    match received {
        Some(protocol) => head.with_protocol(Some(protocol.as_str())),
        None => head,
    }
}

/// A valid request to open a WebSocket that has not been answered yet: what an extractor of an HTTP
/// framework returns. It is taken out of the framework's request, which keeps all but the upgrade
/// itself.
///
/// [`upgrade`] does the same in one step.
///
/// ```
/// use tautline::Acceptor;
/// use tautline_http::{PendingUpgrade, Refused, Upgrading};
/// use tautline_http::http::{Response, request::Parts};
///
/// fn answer(parts: &mut Parts) -> Result<(Response<()>, Upgrading), Refused> {
///     let pending = PendingUpgrade::take(parts)?;
///     let graphql = pending.subprotocols().contains(&"graphql-transport-ws");
///     let acceptor = Acceptor::new().subprotocols(graphql.then_some("graphql-transport-ws"));
///     pending.accept(&acceptor)
/// }
/// ```
pub struct PendingUpgrade {
    /// A copy: a handler may take the headers of its request apart.
    head: Request<()>,
    source: UpgradeSource,
}

impl PendingUpgrade {
    /// Whether this request asks for a WebSocket, validly or not: over HTTP/1.1 by an upgrade, over
    /// HTTP/2 by an extended CONNECT. Anything else is plain HTTP, for another handler.
    #[must_use]
    pub fn is_asked(parts: &Parts) -> bool {
        let head = with_protocol(RequestHead::from(parts), parts.extensions.get());
        is_upgrade_request(head) || is_connect_request(head)
    }

    /// Takes the upgrade out of a request, and checks everything but the origin, since the
    /// settings may not be known yet: see [`accept`](Self::accept).
    ///
    /// # Errors
    /// [`Refused`]. The request is left as it was.
    pub fn take(parts: &mut Parts) -> Result<Self, Refused> {
        let head = with_protocol(RequestHead::from(&*parts), parts.extensions.get());
        ServerRequest::check(head).map_err(refused)?;
        let protocol = parts.extensions.get().map(|protocol: &Protocol| protocol.as_str());
        let protocol = protocol.map(|name| ConnectProtocol::new(name.to_owned()));
        let protocol = protocol.or_else(|| parts.extensions.get().cloned());
        let source = UpgradeSource::take(&mut parts.extensions);
        let source = source.ok_or_else(|| refused(Refused::NotUpgradable))?;
        let mut head = Request::new(());
        *head.method_mut() = parts.method.clone();
        *head.uri_mut() = parts.uri.clone();
        *head.version_mut() = parts.version;
        *head.headers_mut() = parts.headers.clone();
        if let Some(protocol) = protocol {
            head.extensions_mut().insert(protocol);
        }
        if let Some(peer) = parts.extensions.get::<Peer>() {
            head.extensions_mut().insert(peer.clone());
        }
        Ok(Self { head, source })
    }

    /// The request without its body and its extensions.
    #[must_use]
    pub const fn request(&self) -> &Request<()> {
        &self.head
    }

    /// The subprotocols that the client offers, in its order (RFC 6455 section 1.9).
    #[must_use]
    pub fn subprotocols(&self) -> Vec<&str> {
        // They were read without an error before this was made.
        Offer::read(self.head.headers()).map_or(Vec::new(), |offer| offer.subprotocols().to_vec())
    }

    /// Answers the request within these settings, as [`upgrade`] does.
    ///
    /// # Errors
    /// [`Refused`], for an origin that the settings do not allow.
    pub fn accept(self, acceptor: &Acceptor) -> Result<(Response<()>, Upgrading), Refused> {
        let (response, agreed) = acceptor.respond(&self.head).map_err(refused)?;
        let builder = acceptor.connection(agreed).http_version(self.head.version());
        let peer = self.head.extensions().get().cloned().unwrap_or_default();
        Ok((response, Upgrading::new(self.source, builder, peer)))
    }
}

/// Without headers and query, which may hold credentials.
impl fmt::Debug for PendingUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingUpgrade")
            .field("path", &self.head.uri().path())
            .field("version", &self.head.version())
            .finish_non_exhaustive()
    }
}
