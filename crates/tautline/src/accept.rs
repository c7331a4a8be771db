//! The server's end of the opening handshake, over any stream.

mod error;
mod incoming;
mod upgrade;

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode};
use tautline_frame::Compression;
use tautline_frame::{Config, Role};
use tautline_handshake::{
    Agreed, BuildError, HandshakeError, HeadLimits, OriginError, OriginPolicy, RequestHead,
    RequestHeadReader, ServerRequest, encode_response, text_response,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

pub use self::error::AcceptError;
pub use self::incoming::Incoming;
pub use self::upgrade::{Upgrade, UpgradeRequest};
use crate::handshake_io::{Answer, NEVER, ReadHeadError, deadline_in, read_request};
use crate::transport::Peer;
use crate::websocket::WebSocket;

/// Room for an answer with a subprotocol and compression: 129 bytes without either.
const RESPONSE_SIZE: usize = 256;

/// Accepts a WebSocket connection on a stream that is already there: the server's end of the opening handshake (RFC 6455
/// section 4.2), with the defaults of [`Acceptor`].
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

/// How connections are accepted: limits, origins, subprotocols. Cheap to clone: clones share their settings.
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
    timeout: Duration,
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
            timeout: Acceptor::DEFAULT_HANDSHAKE_TIMEOUT,
            answer_timeout: Acceptor::DEFAULT_ANSWER_TIMEOUT,
            compression: None,
        }
    }
}

impl Acceptor {
    /// Ten seconds: enough for a bad mobile link with TLS in front, and all that a peer gets that sends a byte at a time.
    pub const DEFAULT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

    /// As for messages: see [`Config::send_timeout`].
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

    /// How large a request's head may be: 431 or 414 beyond.
    #[must_use]
    pub fn head_limits(mut self, limits: HeadLimits) -> Self {
        self.settings().limits = limits;
        self
    }

    /// Whose pages may connect (RFC 6455 section 10.2). Default: [`OriginPolicy::SameOrigin`], so that no other page can
    /// use the cookies of this one's visitors. Clients that are not browsers send no `Origin` and are let in.
    #[must_use]
    pub fn origins(mut self, origins: OriginPolicy) -> Self {
        self.settings().origins = origins;
        self
    }

    /// The subprotocols that this server speaks, the preferred one first (RFC 6455 section 1.9). The first that the client
    /// offers is agreed on; without a common one the connection goes on without.
    #[must_use]
    pub fn subprotocols<I>(mut self, names: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        self.settings().subprotocols = names.into_iter().map(Into::into).collect();
        self
    }

    /// Accepts offers of compression (permessage-deflate, RFC 7692), as far as these settings allow; who offers none, or only
    /// what cannot be accepted, is served without. Default: no offer is accepted.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn compression(mut self, settings: Compression) -> Self {
        self.settings().compression = Some(settings);
        self
    }

    /// How long TLS and the opening handshake may take together, until the request is read, and, in a
    /// [`Server`](crate::Server), until [`authorize`](crate::Server::authorize) or [`fallback`](crate::Server::fallback) has
    /// decided about it. Default: [`DEFAULT_HANDSHAKE_TIMEOUT`](Self::DEFAULT_HANDSHAKE_TIMEOUT).
    ///
    /// A client that has sent only part of its request by then is answered with 408; if it is the decision that is late, with
    /// 503.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.settings().timeout = timeout;
        self
    }

    /// Cuts a client that accepts nothing of its answer for this long, whatever the answer is. A long answer may take any
    /// time while it moves. Default: [`DEFAULT_ANSWER_TIMEOUT`](Self::DEFAULT_ANSWER_TIMEOUT).
    #[must_use]
    pub fn answer_timeout(mut self, timeout: Duration) -> Self {
        self.settings().answer_timeout = timeout;
        self
    }

    fn settings(&mut self) -> &mut Settings {
        Arc::make_mut(&mut self.settings)
    }

    /// Accepts a connection on this stream, as [`accept`] does: [`read`](Self::read), and [`Incoming::accept`] at once.
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
        // Boxed: the state of a handshake is large, and gone when the connection is there.
        Box::pin(async move {
            let incoming = acceptor.read_request(stream).await?;
            Ok(incoming.open(Upgrade::default()).await?.0)
        })
    }

    /// Reads the request of an opening handshake on this stream, and checks it and its origin: for who decides about it, for
    /// instance by its credentials, before it is answered. The handshake's deadline holds until it is read; the decision may take any
    /// time.
    ///
    /// # Errors
    /// [`AcceptError`]. A request that is none, or whose origin may not connect, has been answered.
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
        // Boxed, as above.
        Box::pin(async move { acceptor.read_request(stream).await?.checked().await })
    }

    /// Accepts a `wss` connection on this stream: TLS first, then the opening handshake, within one deadline.
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
        tls: &crate::transport::ServerTls,
    ) -> impl Future<Output = Result<WebSocket<crate::transport::Transport<S>>, AcceptError>> + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (acceptor, tls) = (self.clone(), tls.clone());
        // Boxed, as above.
        Box::pin(async move {
            crate::runtime::check().map_err(AcceptError::Runtime)?;
            let deadline = acceptor.deadline();
            let transport = {
                let securing = pin!(tls.accept(stream));
                until(deadline, securing).await?.map_err(AcceptError::Tls)?
            };
            let pending = PendingUpgrade::new(transport, acceptor, deadline, |_| {});
            let incoming = pending.read().await?.with_peer(Peer::unknown().with_secure(true));
            Ok(incoming.open(Upgrade::default()).await?.0)
        })
    }

    async fn read_request<S>(self, stream: S) -> Result<Incoming<S>, AcceptError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        crate::runtime::check().map_err(AcceptError::Runtime)?;
        let deadline = self.deadline();
        PendingUpgrade::new(stream, self, deadline, |_| {}).read().await
    }

    /// The answer to a request, decided without I/O: the response that opens the connection, and what is agreed on with it. It is
    /// for a stream that somebody else upgrades: a framework, which has read the request, sends the response and hands over the
    /// stream, for [`WebSocket::builder`]. Headers may be added to the response. [`accept`](Self::accept) answers in the
    /// same way.
    ///
    /// # Errors
    /// [`HandshakeError`]: the request is no opening handshake, or its origin may not connect. Its
    /// [`to_response`](HandshakeError::to_response) is the answer then.
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

    /// Checks the handshake and the origin. What an origin was compared with is logged, as most refusals of this kind are
    /// mistakes in a proxy's settings or in this list.
    pub(crate) fn check<'a>(
        &self,
        head: RequestHead<'a>,
    ) -> Result<ServerRequest<'a>, HandshakeError> {
        let request = ServerRequest::check(head)?;
        let allowed = self.settings.origins.allows(head.headers(), request.authority());
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

    /// The answer to a request that was let in by this.
    pub(crate) fn answer<T>(
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
        if let Some(wish) = self.settings.compression {
            response = response.compression(wish);
        }
        Ok((response.build()?, upgrade.data))
    }

    /// When a handshake that starts now must be over.
    pub(crate) fn deadline(&self) -> Instant {
        deadline_in(self.settings.timeout)
    }
}

/// What this future gives, or [`AcceptError::Timeout`]. It is pinned where it stands: the state of a handshake is large, and
/// each combinator that takes it by value would copy it.
pub(crate) fn until<F: Future + ?Sized>(
    deadline: Instant,
    future: Pin<&mut F>,
) -> impl Future<Output = Result<F::Output, AcceptError>> {
    let timeout = tokio::time::timeout_at(deadline, future);
    async move { timeout.await.map_err(|_| AcceptError::Timeout) }
}

/// A stream whose request is not answered.
pub(crate) struct PendingUpgrade<S> {
    stream: S,
    acceptor: Acceptor,
    /// A part of the request; then what came behind it: frames.
    buffer: BytesMut,
    deadline: Instant,
    /// Makes the end of the stream a reset, where it can be one.
    reset: fn(&S),
}

impl<S: AsyncRead + AsyncWrite + Unpin> PendingUpgrade<S> {
    pub(crate) fn new(stream: S, acceptor: Acceptor, deadline: Instant, reset: fn(&S)) -> Self {
        Self { stream, acceptor, buffer: BytesMut::new(), deadline, reset }
    }

    /// How long the client may take nothing of an answer.
    fn patience(&self) -> Duration {
        self.acceptor.settings.answer_timeout.min(NEVER)
    }

    /// Reads the request. Who has sent a part of one by the deadline is answered.
    pub(crate) async fn read(mut self) -> Result<Incoming<S>, AcceptError> {
        let reader = RequestHeadReader::new(self.acceptor.settings.limits);
        let read = {
            let reading = pin!(read_request(&mut self.stream, reader, &mut self.buffer));
            until(self.deadline, reading).await
        };
        match read {
            Ok(Ok(request)) => Ok(Incoming::new(self, request)),
            Ok(Err(ReadHeadError::Io(error))) => Err(error.into()),
            Ok(Err(ReadHeadError::Head(error, _))) => {
                Err(self.turn_away(error.into(), false).await)
            }
            Err(late) => {
                if !self.buffer.is_empty() {
                    self.tell(&HandshakeError::TimedOut.to_response(), false).await;
                }
                Err(late)
            }
        }
    }

    /// Answers with the reason of a refusal. That the peer did not wait for it changes nothing about the reason.
    async fn tell(&mut self, response: &Response<Bytes>, head_only: bool) {
        match self.refuse(response, head_only).await {
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "a refusal did not reach its peer"),
        }
    }

    async fn refuse(&mut self, response: &Response<Bytes>, head_only: bool) -> io::Result<()> {
        let patience = self.patience();
        let answer = Answer::new(&mut self.stream, self.reset, response.status());
        // Boxed: it is rare, and would be a large part of the state of every handshake.
        Box::pin(answer.refuse(response, head_only, patience)).await
    }

    /// Answers a request that is refused.
    pub(crate) async fn turn_away(
        &mut self,
        error: HandshakeError,
        head_only: bool,
    ) -> AcceptError {
        self.tell(&error.to_response(), head_only).await;
        error.into()
    }

    /// Answers with 500, as what the application wants in the answer cannot be sent.
    pub(crate) async fn fail(&mut self, error: BuildError) -> AcceptError {
        self.tell(&internal_error(), false).await;
        error.into()
    }

    /// Answers with something else than a WebSocket, and gives the status that was sent.
    pub(crate) async fn answer(
        mut self,
        mut response: Response<Bytes>,
        head_only: bool,
    ) -> Result<StatusCode, AcceptError> {
        if response.status().is_informational() {
            // 101 would promise frames, and another interim status an answer that never comes (RFC 9110 section 15.2).
            response = internal_error();
        }
        self.refuse(&response, head_only).await.map_err(late_or_failed)?;
        Ok(response.status())
    }

    /// Switches protocols.
    pub(crate) async fn switch(
        mut self,
        (response, agreed): (Response<()>, Agreed),
        peer: Peer,
    ) -> Result<WebSocket<S>, AcceptError> {
        let mut wire = BytesMut::with_capacity(RESPONSE_SIZE);
        encode_response(&response.map(|()| ""), &mut wire);
        let patience = self.patience();
        let answer = Answer::new(&mut self.stream, self.reset, StatusCode::SWITCHING_PROTOCOLS);
        answer.switch(&wire, patience).await.map_err(late_or_failed)?;
        Ok(WebSocket::builder(Role::Server)
            .config(self.acceptor.settings.config.clone())
            .agreed(agreed)
            .peer(peer)
            .leftover(self.buffer)
            .build(self.stream))
    }
}

/// Who took nothing of the answer for too long is late, like who did not ask in time.
fn late_or_failed(error: io::Error) -> AcceptError {
    match error.kind() {
        io::ErrorKind::TimedOut => AcceptError::Timeout,
        _ => AcceptError::Io(error),
    }
}

/// What the client is told of a mistake of the application.
pub(crate) fn internal_error() -> Response<Bytes> {
    text_response(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n")
}
