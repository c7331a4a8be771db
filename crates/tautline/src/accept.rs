//! The server's end of the opening handshake, over any stream.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
#[cfg(feature = "deflate")]
use tautline_frame::Compression;
use tautline_frame::{Config, Role};
use tautline_handshake::{
    BuildError, HandshakeError, HeadLimits, OriginPolicy, RequestHeadReader, ServerRequest,
    encode_response, text_response,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::connection::Info;
use crate::handshake_io::{ReadHeadError, head_refusal, read_request, refuse, write};
use crate::{Transport, WebSocket};

/// Ten seconds: enough for a bad mobile link with TLS in front, and all that a peer gets that sends a byte at a time.
pub const DEFAULT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What may come on top of the deadline: telling the peer that it has passed.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// Room for an answer with a subprotocol and compression: 129 bytes without either.
const RESPONSE_SIZE: usize = 256;

/// Later than any deadline that matters, and not beyond what an `Instant` can hold.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

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
pub async fn accept<S>(stream: S) -> Result<WebSocket<S>, AcceptError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    Acceptor::new().accept(stream).await
}

/// How connections are accepted: limits, origins, subprotocols. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Acceptor {
    config: Arc<Config>,
    limits: HeadLimits,
    origins: Arc<OriginPolicy>,
    subprotocols: Arc<[String]>,
    timeout: Duration,
    #[cfg(feature = "deflate")]
    compression: Option<Compression>,
}

impl Default for Acceptor {
    fn default() -> Self {
        Self {
            config: Arc::default(),
            limits: HeadLimits::default(),
            origins: Arc::default(),
            subprotocols: Arc::from([]),
            timeout: DEFAULT_HANDSHAKE_TIMEOUT,
            #[cfg(feature = "deflate")]
            compression: None,
        }
    }
}

impl Acceptor {
    /// The defaults: pages of other origins are refused, no subprotocol, [`DEFAULT_HANDSHAKE_TIMEOUT`].
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

    /// How large a request's head may be: 431 or 414 beyond.
    #[must_use]
    pub const fn head_limits(mut self, limits: HeadLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Whose pages may connect (RFC 6455 section 10.2). Default: [`OriginPolicy::SameOrigin`], so that no other page can
    /// use the cookies of this one's visitors. Clients that are not browsers send no `Origin` and are let in.
    #[must_use]
    pub fn origins(mut self, origins: OriginPolicy) -> Self {
        self.origins = Arc::new(origins);
        self
    }

    /// The subprotocols that this server speaks, the preferred one first (RFC 6455 section 1.9). The first that the client
    /// offers is agreed on; without a common one the connection goes on without.
    #[must_use]
    pub fn subprotocols<I>(mut self, names: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        self.subprotocols = names.into_iter().map(Into::into).collect();
        self
    }

    /// Accepts offers of compression (permessage-deflate, RFC 7692), as far as these settings allow; who offers none, or only
    /// what cannot be accepted, is served without. Default: no offer is accepted.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub const fn compression(mut self, settings: Compression) -> Self {
        self.compression = Some(settings);
        self
    }

    /// How long the whole handshake may take. Default: [`DEFAULT_HANDSHAKE_TIMEOUT`]. Who has sent a part of a request by
    /// then is answered with 408.
    #[must_use]
    pub const fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Accepts a connection on this stream, as [`accept`] does.
    ///
    /// # Errors
    /// [`AcceptError`]. The peer has been answered with the status that says why.
    pub async fn accept<S>(&self, stream: S) -> Result<WebSocket<S>, AcceptError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut pending = PendingUpgrade::new(stream, self.deadline());
        let request = pending.read(self).await?;
        let request = pending.check(self, request).await?;
        let upgrade = self.choose(&request, Upgrade::new(()));
        pending.finish(self, &request, upgrade, None).await.map(|(ws, ())| ws)
    }

    /// When a handshake that starts now must be over.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout.min(NEVER)
    }

    /// The subprotocol of our preference, unless one is chosen.
    pub(crate) fn choose<T>(&self, request: &ServerRequest, mut upgrade: Upgrade<T>) -> Upgrade<T> {
        if upgrade.subprotocol.is_none() {
            upgrade.subprotocol = request.select_subprotocol(&self.subprotocols).map(str::to_owned);
        }
        upgrade
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
    /// A part of the request; then what came behind it: frames.
    buffer: BytesMut,
    deadline: Instant,
}

impl<S: AsyncRead + AsyncWrite + Unpin> PendingUpgrade<S> {
    pub(crate) fn new(stream: S, deadline: Instant) -> Self {
        Self { stream, buffer: BytesMut::new(), deadline }
    }

    pub(crate) const fn stream(&self) -> &S {
        &self.stream
    }

    /// By when the client must have taken the answer: a little after the deadline, so that who missed it can be told.
    fn answer_by(&self) -> Instant {
        self.deadline + ANSWER_TIME
    }

    /// Reads the request. Who has sent a part of one by the deadline is answered.
    pub(crate) async fn read(&mut self, acceptor: &Acceptor) -> Result<Request<()>, AcceptError> {
        let reader = RequestHeadReader::new(acceptor.limits);
        let read = {
            let reading = pin!(read_request(&mut self.stream, reader, &mut self.buffer));
            until(self.deadline, reading).await
        };
        match read {
            Ok(Ok(request)) => Ok(request),
            Ok(Err(ReadHeadError::Io(error))) => Err(error.into()),
            Ok(Err(ReadHeadError::Head(error))) => {
                self.tell(&head_refusal(error), false).await;
                Err(HandshakeError::Head(error).into())
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
        let answer_by = self.answer_by();
        // Boxed: it is rare, and would be a large part of the state of every handshake.
        let mut answering = Box::pin(refuse(&mut self.stream, response, head_only));
        match until(answer_by, answering.as_mut()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a refusal did not reach its peer"),
            Err(_) => tracing::debug!("a refusal did not reach its peer in time"),
        }
    }

    /// Checks the handshake and the origin; a request that fails is answered.
    pub(crate) async fn check(
        &mut self,
        acceptor: &Acceptor,
        request: Request<()>,
    ) -> Result<ServerRequest, AcceptError> {
        let head_only = request.method() == Method::HEAD;
        let checked = ServerRequest::check(request).and_then(|request| {
            acceptor.origins.allows(request.request().headers())?;
            Ok(request)
        });
        match checked {
            Ok(request) => Ok(request),
            Err(error) => {
                self.tell(&error.to_response(), head_only).await;
                Err(error.into())
            }
        }
    }

    /// Tells the client that the application took longer than the deadline.
    pub(crate) async fn answer_late(self, head_only: bool) -> AcceptError {
        let response = text_response(StatusCode::SERVICE_UNAVAILABLE, "the server took too long\n");
        self.answer(response, head_only).await.err().unwrap_or(AcceptError::Timeout)
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
        let answer_by = self.answer_by();
        let mut answering = Box::pin(refuse(&mut self.stream, &response, head_only));
        until(answer_by, answering.as_mut()).await??;
        Ok(response.status())
    }

    /// Switches protocols.
    pub(crate) async fn finish<T>(
        mut self,
        acceptor: &Acceptor,
        request: &ServerRequest,
        upgrade: Upgrade<T>,
        peer: Option<SocketAddr>,
    ) -> Result<(WebSocket<S>, T), AcceptError> {
        let mut response = request.respond();
        if let Some(name) = &upgrade.subprotocol {
            response = response.subprotocol(name);
        }
        #[cfg(feature = "deflate")]
        let agreed = acceptor.compression.and_then(|settings| {
            let config = crate::compression::negotiation(&settings, Role::Server);
            Some((settings, request.negotiate_deflate(&config)?))
        });
        #[cfg(feature = "deflate")]
        if let Some((_, params)) = agreed {
            response = response.deflate(params);
        }
        for (name, value) in upgrade.headers {
            response = response.header(name, value);
        }
        let built = upgrade.invalid.map_or_else(|| response.build(), Err);
        let response = match built {
            Ok(response) => response.map(|()| ""),
            Err(error) => {
                self.tell(&internal_error(), false).await;
                return Err(error.into());
            }
        };
        let mut wire = BytesMut::with_capacity(RESPONSE_SIZE);
        encode_response(&response, &mut wire);
        let answer_by = self.answer_by();
        {
            let answering = pin!(write(&mut self.stream, &wire));
            until(answer_by, answering).await??;
        }
        let info = Info { peer, subprotocol: upgrade.subprotocol.map(String::into_boxed_str) };
        let config = acceptor.config.clone();
        let ws = WebSocket::with_info(self.stream, Role::Server, config, self.buffer, info);
        #[cfg(feature = "deflate")]
        let ws = match agreed {
            Some((settings, params)) => {
                ws.with_compression(crate::compression::agreed(settings, Role::Server, &params))
            }
            None => ws,
        };
        Ok((ws, upgrade.data))
    }
}

/// What the client is told of a mistake of the application.
fn internal_error() -> Response<Bytes> {
    text_response(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n")
}

/// A client's wish to open a WebSocket: checked, and not answered yet.
pub struct UpgradeRequest {
    request: Arc<ServerRequest>,
    peer: SocketAddr,
    secure: bool,
}

impl UpgradeRequest {
    pub(crate) fn new(
        request: Arc<ServerRequest>,
        peer: SocketAddr,
        transport: &Transport,
    ) -> Self {
        Self { request, peer, secure: transport.is_tls() }
    }

    /// The whole request.
    #[must_use]
    pub fn request(&self) -> &Request<()> {
        self.request.request()
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

    /// Where the connection comes from.
    #[must_use]
    pub const fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// The subprotocols that the client offers, in its order.
    #[must_use]
    pub fn subprotocols(&self) -> &[String] {
        self.request.subprotocols()
    }
}

/// Without the headers and the query: credentials are among them.
impl fmt::Debug for UpgradeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpgradeRequest")
            .field("path", &self.uri().path())
            .field("peer", &self.peer)
            .field("secure", &self.secure)
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
#[derive(Debug)]
pub struct Upgrade<T = ()> {
    data: T,
    subprotocol: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
    invalid: Option<BuildError>,
}

impl<T> Upgrade<T> {
    /// Accepts; `data` is handed to the handler of the connection.
    #[must_use]
    pub const fn new(data: T) -> Self {
        Self { data, subprotocol: None, headers: Vec::new(), invalid: None }
    }

    /// Agrees on this subprotocol, which must be one of the offered. Without this, the server's own list decides.
    #[must_use]
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocol = Some(name.into());
        self
    }

    /// Adds a header to the answer, such as a cookie. A header that is not valid, or that belongs to the handshake, turns the
    /// answer into 500.
    #[must_use]
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        match (name.try_into(), value.try_into()) {
            (Ok(name), Ok(value)) => self.headers.push((name, value)),
            (Err(_), _) => self.invalid = Some(BuildError::HeaderName),
            (_, Err(_)) => self.invalid = Some(BuildError::HeaderValue),
        }
        self
    }
}

/// Why a connection was not accepted. The peer was answered with a status, as far as it could be.
#[derive(Debug)]
#[non_exhaustive]
pub enum AcceptError {
    /// The request broke a rule; it was answered with [`HandshakeError::status`].
    Handshake(HandshakeError),
    /// The hook of [`Server::on_upgrade`](crate::Server::on_upgrade) refused with this status.
    Refused(StatusCode),
    /// What the upgrade hook wanted in the answer cannot be sent; the client got 500.
    Response(BuildError),
    /// The handshake took longer than its deadline: the client was answered with 408 if its request was not whole (and not at
    /// all if none had begun), with 503 if it was the upgrade hook that was late.
    Timeout,
    /// The stream failed, or ended before the request was complete.
    Io(io::Error),
    /// TLS failed: no common version, or not TLS at all.
    Tls(io::Error),
}

impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handshake(error) => write!(f, "{} ({})", error, error.status().as_u16()),
            Self::Refused(status) => write!(f, "refused with {status}"),
            Self::Response(error) => write!(f, "the answer cannot be sent: {error}"),
            Self::Timeout => f.write_str("the handshake took too long"),
            Self::Io(error) => write!(f, "the stream failed during the handshake: {error}"),
            Self::Tls(error) => write!(f, "TLS failed: {error}"),
        }
    }
}

impl std::error::Error for AcceptError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Handshake(error) => Some(error),
            Self::Response(error) => Some(error),
            Self::Io(error) | Self::Tls(error) => Some(error),
            Self::Refused(_) | Self::Timeout => None,
        }
    }
}

impl From<HandshakeError> for AcceptError {
    fn from(error: HandshakeError) -> Self {
        Self::Handshake(error)
    }
}

impl From<BuildError> for AcceptError {
    fn from(error: BuildError) -> Self {
        Self::Response(error)
    }
}

impl From<io::Error> for AcceptError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
