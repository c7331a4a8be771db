//! A client: from a URI to an open connection.

mod asking;
mod connector;
mod cookies;
mod credentials;
mod dial;
mod dial_error;
mod endpoint;
mod error;
#[cfg(feature = "http2")]
mod http2;
#[cfg(feature = "http2")]
mod link;
mod local;
mod lookup;
mod open;
mod proxy;
mod race;
mod reach;
mod redirect;
mod request_attempt;
mod resolve;
mod retryable;
mod stream;
mod target;
mod timing;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::{HeaderMap, Response};
#[cfg(feature = "deflate")]
use tautline_frame::Compression;
use tautline_frame::Config;
use tautline_handshake::{BuildError, ClientRequest, HeadLimits, Headers, WsUri};
use tokio::io::{AsyncRead, AsyncWrite};

use self::asking::Asking;
pub use self::cookies::CookieJar;
pub use self::dial_error::{DialAttempt, DialError};
use self::endpoint::Endpoint;
pub use self::error::ConnectError;
#[cfg(feature = "http2")]
use self::link::Pool;
use self::open::{Asked, Security};
pub use self::proxy::{InvalidProxy, Proxies, Proxy, ProxyError, SocksReply};
use self::reach::Reach;
pub use self::redirect::RedirectError;
pub use self::request_attempt::RequestAttempt;
pub use self::resolve::{IpFamily, Resolve};
pub use self::target::IntoRequest;
use self::target::Target;
pub use self::timing::ConnectStage;
use crate::headers::header_setters;
#[cfg(feature = "http2")]
use crate::http2::{Http2, Http2Config};
#[cfg(feature = "tls")]
use crate::transport::ClientTls;
use crate::transport::{Peer, Transport};
use crate::websocket::WebSocket;

/// What [`connect`] uses: one for all calls, so that the system's roots are read once and TLS
/// sessions resume.
static DEFAULT: LazyLock<Client> = LazyLock::new(Client::new);

/// Opens a connection to a `ws:` or `wss:` URI, or with a request, using the defaults of
/// [`Client`].
///
/// # Errors
/// [`ConnectError`].
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut ws = tautline::connect("wss://example.com/feed").await?;
/// ws.send("hello").await?;
/// while let Some(message) = ws.next().await {
///     println!("{}", message?);
/// }
/// # Ok(())
/// # }
/// ```
pub fn connect(request: impl IntoRequest) -> impl Future<Output = Result<WebSocket, ConnectError>> {
    DEFAULT.connect(request)
}

/// Settings for opening connections: headers, subprotocols, TLS, limits. Make one, keep it, and
/// connect many times; clones share their TLS sessions.
///
/// ```
/// use std::time::Duration;
/// use tautline::Client;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = tautline::Server::bind("127.0.0.1:0").await?.subprotocols(["chat.v1"]);
/// # let uri = format!("ws://{}/room", server.local_addr()?);
/// # tokio::spawn(server.serve(|mut ws| async move { ws.close().await?; Ok(()) }));
/// let client = Client::new()
///     .header("authorization", "Bearer 3f2a")
///     .subprotocols(["chat.v2", "chat.v1"])
///     .connect_timeout(Duration::from_secs(10));
/// let ws = client.connect(&uri).await?;
/// assert_eq!(ws.subprotocol(), Some("chat.v1"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    config: Arc<Config>,
    limits: HeadLimits,
    headers: Headers,
    subprotocols: Vec<String>,
    subprotocol_required: bool,
    connect_timeout: Duration,
    asking: Asking,
    reach: Reach,
    #[cfg(feature = "deflate")]
    compression: Option<Compression>,
    #[cfg(feature = "tls")]
    tls: ClientTls,
    #[cfg(feature = "http2")]
    http2: Http2,
    #[cfg(feature = "http2")]
    http2_config: Http2Config,
    #[cfg(feature = "http2")]
    pool: Pool,
}

/// Without the values of headers and without subprotocols, which may be credentials.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("config", &self.config)
            .field("headers", &self.headers)
            .field("subprotocols", &self.subprotocols.len())
            .field("connect_timeout", &self.connect_timeout)
            .field("reach", &self.reach)
            .finish_non_exhaustive()
    }
}

impl Default for Client {
    fn default() -> Self {
        Self {
            config: Arc::default(),
            limits: HeadLimits::default(),
            headers: Headers::new(),
            subprotocols: Vec::new(),
            subprotocol_required: true,
            connect_timeout: Self::DEFAULT_CONNECT_TIMEOUT,
            asking: Asking::default(),
            reach: Reach::default(),
            #[cfg(feature = "deflate")]
            compression: None,
            #[cfg(feature = "tls")]
            tls: ClientTls::default(),
            #[cfg(feature = "http2")]
            http2: Http2::Never,
            #[cfg(feature = "http2")]
            http2_config: Http2Config::new(),
            #[cfg(feature = "http2")]
            pool: Pool::default(),
        }
    }
}

impl Client {
    /// Thirty seconds for name resolution, TCP, a proxy, TLS and the opening handshake together:
    /// about as long as a user of a browser waits.
    pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

    /// The defaults. The proxies of the environment are read now: see
    /// [`Proxies::from_env`] and [`no_proxy`](Self::no_proxy).
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Limits and deadlines of the connections.
    #[must_use]
    pub fn config(mut self, config: impl Into<Arc<Config>>) -> Self {
        self.config = config.into();
        self
    }

    /// How large the head of a response may be.
    #[must_use]
    pub fn head_limits(mut self, limits: HeadLimits) -> Self {
        self.limits = limits;
        // Those of an HTTP/2 connection are fixed when it is opened.
        self.with_own_connections()
    }

    header_setters! {
        /// It is sent with each request, for instance `authorization`, `cookie` or `origin`. If it
        /// is invalid, or one of the handshake's own headers, [`connect`](Self::connect) returns an
        /// error that names it.
        ///
        /// ```
        /// use tautline::Client;
        ///
        /// let client = Client::new().header("authorization", "Bearer 3f2a");
        /// let other = client.clone().header("authorization", "Bearer 77c1"); // sends only the new one
        /// # let _ = other;
        /// ```
    }

    /// The subprotocols to offer, the preferred one first (RFC 6455 section 1.9).
    #[must_use]
    pub fn subprotocols<I>(mut self, names: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        self.subprotocols = names.into_iter().map(Into::into).collect();
        self
    }

    /// Whether to fail if the server selects none of the offered subprotocols, as browsers do.
    /// Default: yes.
    #[must_use]
    pub const fn subprotocol_required(mut self, yes: bool) -> Self {
        self.subprotocol_required = yes;
        self
    }

    /// Offers compression (permessage-deflate, RFC 7692) with these settings; with a server that
    /// declines, the connection is uncompressed. Default: nothing is offered.
    /// [`WebSocket::compression`] returns what was agreed on.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub const fn compression(mut self, settings: Compression) -> Self {
        self.compression = Some(settings);
        self
    }

    /// How long opening a connection may take in total. Default:
    /// [`DEFAULT_CONNECT_TIMEOUT`](Self::DEFAULT_CONNECT_TIMEOUT). For single stages there is
    /// [`stage_timeout`](Self::stage_timeout).
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// TLS settings for `wss`. Default: the system's roots.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.tls = tls;
        // Connections that other settings trust are not for these.
        #[cfg(feature = "http2")]
        {
            self.pool = Pool::default();
        }
        self
    }

    /// Whether to open WebSockets as streams of HTTP/2 connections (RFC 8441). Clients that are
    /// clones of each other share these connections; each is closed when its last WebSocket has
    /// ended. [`connect_over`](Self::connect_over) and [`handshake_over`](Self::handshake_over)
    /// always use HTTP/1.1. Default: [`Http2::Never`].
    ///
    /// ```no_run
    /// use tautline::{Client, Http2, http::Version};
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = Client::new().http2(Http2::Auto);
    /// let chat = client.connect("wss://example.com/chat").await?;
    /// let feed = client.connect("wss://example.com/feed").await?; // on the same connection
    /// if chat.http_version() == Version::HTTP_2 {
    ///     println!("one connection carries both");
    /// }
    /// # let _ = feed;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "http2")]
    #[must_use]
    pub const fn http2(mut self, mode: Http2) -> Self {
        self.http2 = mode;
        self
    }

    /// Limits of HTTP/2 connections that are opened from now on.
    #[cfg(feature = "http2")]
    #[must_use]
    pub const fn http2_config(mut self, config: Http2Config) -> Self {
        self.http2_config = config;
        self
    }

    /// Opens a connection to a `ws:` or `wss:` URI, or with a request: see [`IntoRequest`].
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect(
        &self,
        request: impl IntoRequest,
    ) -> impl Future<Output = Result<WebSocket, ConnectError>> {
        let opening = self.connect_with_response(request);
        async { Ok(opening.await?.0) }
    }

    /// Like [`connect`](Self::connect), but also returns the server's response, for its headers.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect_with_response(
        &self,
        request: impl IntoRequest,
    ) -> impl Future<Output = Result<(WebSocket, Response<()>), ConnectError>> {
        // Boxed: the state of a handshake is large, and dropped when the connection is open. Written into
        // the box: `Box::pin` would make it elsewhere, and copy all of it.
        Box::into_pin(Box::write(Box::new_uninit(), self.ask(request.into_target())))
    }

    async fn open_tcp(
        &self,
        target: Result<Target, ConnectError>,
    ) -> Result<(WebSocket, Response<()>), ConnectError> {
        #[cfg(feature = "http2")]
        if self.http2 != Http2::Never {
            return self.open_tcp_shared(target).await;
        }
        let mut timing = self.timing()?;
        let (endpoint, request) = self.prepare(target)?;
        let security = Security::of(&endpoint.uri)?;
        let reply = self.open_own(&endpoint, request, security, &mut timing).await?;
        Self::outcome(reply, &timing).await
    }

    #[cfg(feature = "http2")]
    async fn open_tcp_shared(
        &self,
        target: Result<Target, ConnectError>,
    ) -> Result<(WebSocket, Response<()>), ConnectError> {
        let mut timing = self.timing()?;
        let Target { endpoint, headers } = target?;
        let upgrade = Asked::new(self.request(&endpoint.uri, headers.clone())?)?;
        let connect = self.request(&endpoint.uri, headers)?.build_connect()?;
        let security = Security::of(&endpoint.uri)?;
        let opening = self.open_shared(&endpoint, upgrade, connect, security, &mut timing);
        let reply = Box::pin(opening).await?;
        Self::outcome(reply, &timing).await
    }

    /// Opens a connection over a stream of your own: one end of a tunnel, of a pipe, or of a duplex.
    /// For Unix sockets and proxies it is not needed: see [`IntoRequest`] and
    /// [`proxy`](Self::proxy). The URI says what to request; with `wss:`, TLS runs over the stream, and
    /// the certificate must be for the URI's host. No part of a `wss:` request is ever sent
    /// unencrypted.
    ///
    /// For a stream that is already encrypted, see [`handshake_over`](Self::handshake_over).
    ///
    /// # Errors
    /// [`ConnectError`]; [`ConnectError::NoTls`] for `wss:` without the feature `tls`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (near, far) = tokio::io::duplex(4096);
    /// # tokio::spawn(async move { tautline::accept(far).await.unwrap().send("hello").await });
    /// let mut ws = tautline::Client::new().connect_over("ws://localhost/", near).await?;
    /// assert!(ws.get_ref().is_some_and(|transport| !transport.is_tls()));
    /// assert_eq!(ws.next().await.unwrap()?.as_text(), Some("hello"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn connect_over<S>(
        &self,
        request: impl IntoRequest,
        stream: S,
    ) -> impl Future<Output = Result<WebSocket<Transport<S>>, ConnectError>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let target = request.into_target();
        Box::pin(async move {
            let (client, target) = self.ask_once(target).await?;
            let mut timing = client.timing()?;
            let (endpoint, mut request) = client.prepare(Ok(target))?;
            let security = Security::of(&endpoint.uri)?;
            let (uri, timing) = (&endpoint.uri, &mut timing);
            let transport = client.secure(stream, uri, &mut request, security, timing).await?;
            let peer = Peer::unknown().with_secure(transport.is_tls());
            let reply = client.upgrade(request, transport, peer, timing).await?;
            let opened = Self::outcome(reply, timing).await;
            self.asking.note_outcome(&endpoint, &opened);
            Ok(opened?.0)
        })
    }

    /// Does only the opening handshake, on a stream that is already secure or needs no security:
    /// **no TLS is added, whatever the scheme**. With `wss:`, the request and its credentials are
    /// sent over this stream as it is.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn handshake_over<S>(
        &self,
        request: impl IntoRequest,
        stream: S,
    ) -> impl Future<Output = Result<WebSocket<S>, ConnectError>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let target = request.into_target();
        Box::pin(async move {
            let (client, target) = self.ask_once(target).await?;
            let mut timing = client.timing()?;
            let (endpoint, request) = client.prepare(Ok(target))?;
            let reply = client.upgrade(request, stream, Peer::unknown(), &mut timing).await?;
            let opened = Self::outcome(reply, &timing).await;
            self.asking.note_outcome(&endpoint, &opened);
            Ok(opened?.0)
        })
    }

    /// See [`connect_timeout`](Self::connect_timeout).
    pub(crate) const fn time_to_connect(&self) -> Duration {
        self.connect_timeout
    }

    /// What is checked before anything is connected: these are errors whatever the network does.
    fn prepare(
        &self,
        target: Result<Target, ConnectError>,
    ) -> Result<(Endpoint, Asked), ConnectError> {
        let Target { endpoint, headers } = target?;
        let asked = Asked::new(self.request(&endpoint.uri, headers)?)?;
        Ok((endpoint, asked))
    }

    /// The request for this URI.
    fn request<'a>(&self, uri: &'a WsUri, own: HeaderMap) -> Result<ClientRequest<'a>, BuildError> {
        let mut headers = self.headers.clone();
        headers.extend(own);
        let request = ClientRequest::new(uri).headers(headers).subprotocols(&self.subprotocols);
        #[cfg(feature = "deflate")]
        let request = match &self.compression {
            Some(compression) => request.compression(*compression),
            None => request,
        };
        Ok(request.subprotocol_required(self.subprotocol_required))
    }
}

#[cfg(all(test, not(feature = "tls"), not(tautline_loom)))]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn wss_without_tls_is_an_error_and_nothing_is_sent() {
        let (near, mut far) = tokio::io::duplex(4096);
        let result = Client::new().connect_over("wss://localhost/", near).await;
        assert!(matches!(result, Err(ConnectError::NoTls)), "{result:?}");
        assert_eq!(far.read_u8().await.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
        // Before the name is looked up, which would fail here.
        let result = connect("wss://name.invalid/").await;
        assert!(matches!(result, Err(ConnectError::NoTls)), "{result:?}");
    }
}
