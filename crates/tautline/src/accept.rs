//! The server's end of the opening handshake, over any stream.

mod asked;
mod error;
mod handshake;
mod incoming;
mod upgrade;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::Response;
use tautline_frame::{Compression, Config, MemoryBudget, Role};
use tautline_handshake::{
    Agreed, BuildError, HandshakeError, HeadLimits, OriginError, OriginPolicy, RequestHead,
    ServerRequest,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

#[cfg(feature = "http2")]
pub(crate) use self::asked::turn_away;
pub(crate) use self::asked::{Asked, too_many};
pub use self::error::AcceptError;
#[cfg(feature = "http2")]
pub(crate) use self::handshake::Acceptance;
pub(crate) use self::handshake::{Opening, ServerHandshake, internal_error, until};
pub use self::incoming::Incoming;
pub use self::upgrade::{Upgrade, UpgradeRequest};
use crate::builder::WebSocketBuilder;
use crate::handshake_io::deadline_in;
#[cfg(feature = "tls")]
use crate::transport::{Peer, ServerTls, Transport};
use crate::websocket::WebSocket;

/// Accepts a WebSocket connection on a stream of your own: does the server's side of the opening
/// handshake (RFC 6455 section 4.2) with the defaults of [`Acceptor`].
///
/// # Errors
/// [`AcceptError`]. The peer has been answered with the status that says why.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (near, far) = tokio::io::duplex(4096);
/// let server = tokio::spawn(async move {
///     let mut ws = tautline::accept(far).await.expect("a WebSocket client");
///     ws.next().await
/// });
/// let mut ws = tautline::Client::new().connect_over("ws://localhost/", near).await?;
/// ws.send("hello").await?;
/// assert_eq!(server.await?.unwrap()?.as_text(), Some("hello"));
/// # Ok(())
/// # }
/// ```
pub fn accept<S>(stream: S) -> impl Future<Output = Result<WebSocket<S>, AcceptError>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    Acceptor::new().accept(stream)
}

/// Settings for accepting connections: limits, origins, subprotocols. Cheap to clone: clones share
/// their settings.
#[derive(Clone, Debug, Default)]
pub struct Acceptor {
    settings: Arc<Settings>,
}

#[derive(Clone, Debug)]
struct Settings {
    config: Arc<Config>,
    limits: HeadLimits,
    origins: OriginPolicy,
    subprotocols: Vec<String>,
    handshake_timeout: Duration,
    answer_timeout: Duration,
    /// `None` without the feature `deflate`.
    compression: Option<Compression>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            config: Arc::default(),
            limits: HeadLimits::default(),
            origins: OriginPolicy::default(),
            subprotocols: Vec::new(),
            handshake_timeout: Acceptor::DEFAULT_HANDSHAKE_TIMEOUT,
            answer_timeout: Acceptor::DEFAULT_ANSWER_TIMEOUT,
            compression: None,
        }
    }
}

impl Acceptor {
    /// Ten seconds: enough for TLS over a bad mobile link, and a bound for a peer that sends one
    /// byte at a time.
    pub const DEFAULT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

    /// The same as for messages: see [`Config::send_timeout`].
    pub const DEFAULT_ANSWER_TIMEOUT: Duration = Config::DEFAULT_SEND_TIMEOUT;

    /// The defaults: pages of other origins are refused, and there is no subprotocol.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Limits and deadlines of the connections.
    #[must_use]
    pub fn config(mut self, config: impl Into<Arc<Config>>) -> Self {
        self.settings().config = config.into();
        self
    }

    /// Connections share this budget, unless their limits have one.
    pub(crate) fn within(mut self, budget: Option<MemoryBudget>) -> Self {
        if budget.is_some() && self.settings.config.get_memory_budget().is_none() {
            let config = Config::clone(&self.settings.config);
            self.settings().config = Arc::new(config.memory_budget(budget));
        }
        self
    }

    /// How large the head of a request may be. A larger one is answered with 431 or 414.
    #[must_use]
    pub fn head_limits(mut self, limits: HeadLimits) -> Self {
        self.settings().limits = limits;
        self
    }

    /// Whose pages may connect (RFC 6455 section 10.2). Default: [`OriginPolicy::SameOrigin`], so
    /// that pages of other sites cannot use your visitors' cookies. Clients that are not browsers
    /// send no `Origin` and are allowed.
    #[must_use]
    pub fn origins(mut self, origins: OriginPolicy) -> Self {
        self.settings().origins = origins;
        self
    }

    /// The subprotocols that this server speaks, the preferred one first (RFC 6455 section 1.9).
    /// The first one that the client offers too is selected; if there is none, the connection is
    /// opened without a subprotocol.
    #[must_use]
    pub fn subprotocols<I>(mut self, names: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        self.settings().subprotocols = names.into_iter().map(Into::into).collect();
        self
    }

    /// Accepts offers of compression (permessage-deflate, RFC 7692) within these settings; clients
    /// that offer nothing acceptable are served uncompressed. Default: no offer is accepted.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn compression(mut self, settings: Compression) -> Self {
        self.settings().compression = Some(settings);
        self
    }

    /// How long TLS and the opening handshake may take together, until the request is read, and, in
    /// a [`Server`](crate::Server), until [`authorize`](crate::Server::authorize) or
    /// [`fallback`](crate::Server::fallback) has decided about it. Default:
    /// [`DEFAULT_HANDSHAKE_TIMEOUT`](Self::DEFAULT_HANDSHAKE_TIMEOUT).
    ///
    /// A client that has sent only part of its request by then is answered with 408; if it is the
    /// decision that is late, with 503.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.settings().handshake_timeout = timeout;
        self
    }

    /// Disconnects a client that accepts no byte of its answer for this long, whatever the answer
    /// is. A long answer may take any time while the client keeps reading. Default:
    /// [`DEFAULT_ANSWER_TIMEOUT`](Self::DEFAULT_ANSWER_TIMEOUT).
    #[must_use]
    pub fn answer_timeout(mut self, timeout: Duration) -> Self {
        self.settings().answer_timeout = timeout;
        self
    }

    fn settings(&mut self) -> &mut Settings {
        Arc::make_mut(&mut self.settings)
    }

    /// Accepts a connection on this stream, as [`accept`] does: [`read`](Self::read), followed by
    /// [`Incoming::accept`].
    ///
    /// # Errors
    /// [`AcceptError`]. The peer has been answered with the status that says why.
    pub fn accept<S>(
        &self,
        stream: S,
    ) -> impl Future<Output = Result<WebSocket<S>, AcceptError>> + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = self.clone();
        Opening::new(async move {
            let incoming = acceptor.read_request(stream).await?;
            Ok(incoming.open(Upgrade::default()).await?.0)
        })
    }

    /// Reads the request of an opening handshake from this stream, and checks it and its origin.
    /// Use it to decide about a request, for instance by its credentials, before it is answered.
    /// The handshake's deadline applies until the request is read; the decision may take any time.
    ///
    /// # Errors
    /// [`AcceptError`]. A request that is not a valid handshake, or whose origin is not allowed,
    /// has been answered.
    ///
    /// ```
    /// use tautline::{Acceptor, Client, Upgrade};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (near, far) = tokio::io::duplex(4096);
    /// let server = tokio::spawn(async move {
    ///     let incoming = Acceptor::new().read(far).await?;
    ///     if incoming.request().headers().get("authorization").is_none() {
    ///         let response = http::Response::builder().status(401).body("who are you?\n").expect("it is valid");
    ///         incoming.refuse(response).await?;
    ///         return Ok(None);
    ///     }
    ///     let upgrade = Upgrade::default().header("set-cookie", "session=1");
    ///     incoming.accept(upgrade).await.map(Some)
    /// });
    /// let error = Client::new().connect_over("ws://localhost/", near).await.unwrap_err();
    /// assert_eq!(error.status().map(|status| status.as_u16()), Some(401));
    /// assert!(server.await?.map_err(|error: tautline::AcceptError| error)?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn read<S>(
        &self,
        stream: S,
    ) -> impl Future<Output = Result<Incoming<S>, AcceptError>> + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = self.clone();
        // Boxed: the state of a handshake is large.
        Box::pin(async move { acceptor.read_request(stream).await?.checked().await })
    }

    /// Accepts a `wss` connection on this stream: TLS, then the opening handshake, with one
    /// deadline for both.
    ///
    /// # Errors
    /// [`AcceptError::Tls`] when TLS fails; the others as for [`accept`](Self::accept).
    ///
    /// ```no_run
    /// use tautline::{Acceptor, ServerTls};
    ///
    /// # async fn example(stream: tokio::io::DuplexStream) -> Result<(), Box<dyn std::error::Error>> {
    /// let tls = ServerTls::from_pem_files("chain.pem", "key.pem")?;
    /// let mut ws = Acceptor::new().accept_tls(stream, &tls).await?;
    /// ws.send("hello").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "tls")]
    pub fn accept_tls<S>(
        &self,
        stream: S,
        tls: &ServerTls,
    ) -> impl Future<Output = Result<WebSocket<Transport<S>>, AcceptError>> + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (acceptor, tls) = (self.clone(), tls.clone());
        Opening::new(async move {
            crate::runtime::check().map_err(AcceptError::Runtime)?;
            let deadline = acceptor.deadline();
            let transport = {
                let securing = std::pin::pin!(tls.accept(stream));
                until(deadline, securing).await?.map_err(AcceptError::Tls)?
            };
            let handshake = ServerHandshake::new(transport, acceptor, deadline, |_| {});
            let incoming = Incoming::read(handshake).await?;
            let peer = incoming.get_ref().secured(Peer::unknown());
            let incoming = incoming.with_peer(peer);
            Ok(incoming.open(Upgrade::default()).await?.0)
        })
    }

    async fn read_request<S>(self, stream: S) -> Result<Incoming<S>, AcceptError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        crate::runtime::check().map_err(AcceptError::Runtime)?;
        let deadline = self.deadline();
        Incoming::read(ServerHandshake::new(stream, self, deadline, |_| {})).await
    }

    /// Answers a request without I/O: returns the response that opens the connection, and what it
    /// agrees on. Use it behind a framework that has read the request, sends the response, and then
    /// hands over the stream, for [`WebSocket::builder`]. You may add headers to the
    /// response. [`accept`](Self::accept) answers in the same way.
    ///
    /// # Errors
    /// [`HandshakeError`] if the request is not an opening handshake, or its origin is not allowed.
    /// Answer with its [`to_response`](HandshakeError::to_response) then.
    ///
    /// ```
    /// use tautline::Acceptor;
    ///
    /// let acceptor = Acceptor::new().subprotocols(["chat.v1"]);
    /// let request = http::Request::get("/chat")
    ///     .header("host", "example.com")
    ///     .header("origin", "https://example.com")
    ///     .header("upgrade", "websocket")
    ///     .header("connection", "Upgrade")
    ///     .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    ///     .header("sec-websocket-version", "13")
    ///     .header("sec-websocket-protocol", "chat.v2, chat.v1")
    ///     .body(())?;
    /// let (parts, ()) = request.into_parts();
    /// let (response, agreed) = acceptor.respond(&parts)?;
    /// assert_eq!(response.status(), 101);
    /// assert_eq!(agreed.subprotocol.as_deref(), Some("chat.v1"));
    ///
    /// let (parts, ()) = http::Request::get("/").header("host", "example.com").body(())?.into_parts();
    /// let refused = acceptor.respond(&parts).expect_err("it asks for no WebSocket").to_response();
    /// assert_eq!(refused.status(), 426);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn respond<'a>(
        &self,
        request: impl Into<RequestHead<'a>>,
    ) -> Result<(Response<()>, Agreed), HandshakeError> {
        let request = self.check(request.into())?;
        Ok(request.accept(&self.settings.subprotocols, self.settings.compression.as_ref()))
    }

    /// The subprotocol that a client with these offers is given: the first of
    /// [`subprotocols`](Self::subprotocols) that is among them.
    ///
    /// ```
    /// let acceptor = tautline::Acceptor::new().subprotocols(["chat.v2", "chat.v1"]);
    /// assert_eq!(acceptor.select_subprotocol(&["chat.v1", "chat.v2"]), Some("chat.v2"));
    /// ```
    #[must_use]
    pub fn select_subprotocol(&self, offered: &[impl AsRef<str>]) -> Option<&str> {
        let is_offered = |name: &&String| offered.iter().any(|offer| offer.as_ref() == *name);
        self.settings.subprotocols.iter().find(is_offered).map(String::as_str)
    }

    /// The connection that [`respond`](Self::respond) has agreed on, with this acceptor's
    /// [`config`](Self::config): build it over the stream that carried the request.
    ///
    /// ```
    /// # use tautline::Acceptor;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (near, _far) = tokio::io::duplex(4096);
    /// # let request = http::Request::get("/")
    /// #     .header("host", "example.com")
    /// #     .header("upgrade", "websocket")
    /// #     .header("connection", "Upgrade")
    /// #     .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    /// #     .header("sec-websocket-version", "13")
    /// #     .body(())?;
    /// let acceptor = Acceptor::new();
    /// let (response, agreed) = acceptor.respond(&request)?;
    /// // The framework sends the response, and hands over the stream.
    /// let ws = acceptor.connection(agreed).build(near);
    /// # let _ = (response, ws);
    /// # Ok(())
    /// # }
    /// ```
    pub fn connection(&self, agreed: Agreed) -> WebSocketBuilder {
        WebSocket::builder(Role::Server).config(self.settings.config.clone()).agreed(agreed)
    }

    /// Checks the handshake and the origin. What an origin was compared with is logged, since most
    /// refusals of this kind are caused by the settings of a proxy, or by a mistake in the list.
    pub(crate) fn check<'a>(
        &self,
        head: RequestHead<'a>,
    ) -> Result<ServerRequest<'a>, HandshakeError> {
        let request = ServerRequest::check(head)?;
        let authority = head.forwarded_host().unwrap_or(request.authority());
        let allowed = self.settings.origins.allows(head.headers(), authority);
        if let Err(OriginError::NotAllowed(mismatch)) = &allowed {
            tracing::debug!(
                origin = mismatch.origin(),
                host = mismatch.host(),
                allowed = %self.settings.origins,
                "origin refused"
            );
        }
        allowed?;
        Ok(request)
    }

    /// The response that accepts a request that was [checked](Self::check), what it agrees on, and
    /// the data of `upgrade`. Nothing is sent.
    pub(crate) fn accept_with<T>(
        &self,
        request: &ServerRequest<'_>,
        upgrade: Upgrade<T>,
    ) -> Result<((Response<()>, Agreed), T), BuildError> {
        let preferred =
            || request.offer().select_subprotocol(&self.settings.subprotocols).map(str::to_owned);
        let mut response = request.respond().headers(upgrade.headers);
        if let Some(name) = upgrade.subprotocol.or_else(preferred) {
            response = response.subprotocol(name);
        }
        if let Some(compression) = self.settings.compression {
            response = response.compression(compression);
        }
        Ok((response.build()?, upgrade.data))
    }

    #[cfg(feature = "http2")]
    pub(crate) fn limits(&self) -> &HeadLimits {
        &self.settings.limits
    }

    #[cfg(feature = "service")]
    pub(crate) fn handshake_patience(&self) -> Duration {
        self.settings.handshake_timeout.min(crate::handshake_io::NEVER)
    }

    /// How long the client may read nothing of an answer.
    #[cfg(feature = "http2")]
    pub(crate) fn patience(&self) -> Duration {
        self.settings.answer_timeout.min(crate::handshake_io::NEVER)
    }

    /// The deadline of a handshake that starts now.
    pub(crate) fn deadline(&self) -> Instant {
        deadline_in(self.settings.handshake_timeout)
    }
}
