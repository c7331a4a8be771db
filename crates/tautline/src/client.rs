//! A client: from a URI to an open connection.

mod dial;
mod error;
mod target;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, Request, Response};
#[cfg(feature = "deflate")]
use tautline_frame::Compression;
use tautline_frame::{Config, Role};
use tautline_handshake::{
    BuildError, ClientRequest, Expectation, HeadLimits, Headers, ResponseError, ResponseHeadReader,
    WsUri, encode_request,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use self::dial::dial;
pub use self::error::ConnectError;
pub use self::target::IntoRequest;
use self::target::Target;
use crate::handshake_io::{deadline_in, read_refusal, read_response};
use crate::headers::header_setters;
#[cfg(feature = "tls")]
use crate::transport::ClientTls;
use crate::transport::{Peer, Transport, socket};
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
    #[cfg(feature = "deflate")]
    compression: Option<Compression>,
    #[cfg(feature = "tls")]
    tls: ClientTls,
}

/// Without the values of headers and without subprotocols, which may be credentials.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("config", &self.config)
            .field("headers", &self.headers)
            .field("subprotocols", &self.subprotocols.len())
            .field("connect_timeout", &self.connect_timeout)
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
            #[cfg(feature = "deflate")]
            compression: None,
            #[cfg(feature = "tls")]
            tls: ClientTls::default(),
        }
    }
}

impl Client {
    /// Thirty seconds for name resolution, TCP, TLS and the opening handshake together: about as
    /// long as a user of a browser waits.
    pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

    /// The defaults.
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
    pub const fn head_limits(mut self, limits: HeadLimits) -> Self {
        self.limits = limits;
        self
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
    /// [`DEFAULT_CONNECT_TIMEOUT`](Self::DEFAULT_CONNECT_TIMEOUT).
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
        // Boxed: the state of a handshake is large, and dropped when the connection is open.
        Box::pin(self.open_tcp(request.into_target()))
    }

    async fn open_tcp(
        &self,
        target: Result<Target, ConnectError>,
    ) -> Result<(WebSocket, Response<()>), ConnectError> {
        let (uri, request) = self.prepare(target)?;
        let security = Security::of(&uri)?;
        let opening = async {
            let (stream, peer) = connect_tcp(&uri).await?;
            let transport = self.secure(stream, &uri, security).await?;
            let peer = peer.with_secure(transport.is_tls());
            self.upgrade(request, transport, peer).await
        };
        self.in_time(opening).await
    }

    /// Opens a connection over a stream of your own: a Unix socket, a tunnel through a proxy, one
    /// end of a duplex. The URI says what to request; with `wss:`, TLS runs over the stream, and
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
            let (uri, request) = self.prepare(target)?;
            let security = Security::of(&uri)?;
            let opening = async {
                let transport = self.secure(stream, &uri, security).await?;
                let peer = Peer::unknown().with_secure(transport.is_tls());
                self.upgrade(request, transport, peer).await
            };
            Ok(self.in_time(opening).await?.0)
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
            let (_, request) = self.prepare(target)?;
            Ok(self.in_time(self.upgrade(request, stream, Peer::unknown())).await?.0)
        })
    }

    /// What is checked before anything is connected: these are errors whatever the network does.
    fn prepare(
        &self,
        target: Result<Target, ConnectError>,
    ) -> Result<(WsUri, (Request<()>, Expectation)), ConnectError> {
        crate::runtime::check().map_err(ConnectError::Runtime)?;
        let Target { uri, headers } = target?;
        let request = self.request(&uri, headers)?;
        Ok((uri, request))
    }

    /// Applies the deadline. Once the head of a refusal is there, its status is the result, even if
    /// the deadline passes while its body is read: the body is then what arrived.
    async fn in_time<S: AsyncRead + Unpin>(
        &self,
        opening: impl Future<Output = Result<Reply<S>, ConnectError>>,
    ) -> Result<(WebSocket<S>, Response<()>), ConnectError> {
        let deadline = deadline_in(self.connect_timeout);
        let reply = tokio::time::timeout_at(deadline, opening).await;
        match reply.map_err(|_| ConnectError::Timeout)?? {
            Reply::Open(ws, response) => Ok((*ws, response)),
            Reply::Refused(mut stream, head, mut buffer) => {
                let refusal = read_refusal(&mut stream, head, &mut buffer, deadline).await;
                Err(ConnectError::Refused(Box::new(refusal)))
            }
        }
    }

    #[cfg_attr(not(feature = "tls"), expect(unused_variables, reason = "the host is for TLS"))]
    async fn secure<S>(
        &self,
        stream: S,
        uri: &WsUri,
        security: Security,
    ) -> Result<Transport<S>, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match security {
            Security::Plain => Ok(Transport::plain(stream)),
            #[cfg(feature = "tls")]
            Security::Tls => Ok(self.tls.connect(stream, uri.host()).await?),
        }
    }

    /// The request for this URI, and what the response must hold.
    fn request(
        &self,
        uri: &WsUri,
        own: HeaderMap,
    ) -> Result<(Request<()>, Expectation), BuildError> {
        let mut headers = self.headers.clone();
        headers.extend(own);
        let request = ClientRequest::new(uri).headers(headers).subprotocols(&self.subprotocols);
        #[cfg(feature = "deflate")]
        let request = match &self.compression {
            Some(compression) => request.compression(*compression),
            None => request,
        };
        request.subprotocol_required(self.subprotocol_required).build()
    }

    /// The opening handshake (RFC 6455 section 4.1).
    async fn upgrade<S>(
        &self,
        (request, expectation): (Request<()>, Expectation),
        mut stream: S,
        peer: Peer,
    ) -> Result<Reply<S>, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut buffer = BytesMut::new();
        encode_request(&request, &mut buffer);
        stream.write_all(&buffer).await?;
        stream.flush().await?;
        buffer.clear();

        let reader = ResponseHeadReader::new(self.limits);
        let response = read_response(&mut stream, reader, &mut buffer).await?;
        let agreed = match expectation.check(&response) {
            Ok(agreed) => agreed,
            Err(ResponseError::Status(_)) => {
                return Ok(Reply::Refused(stream, response, buffer));
            }
            Err(error) => return Err(error.into()),
        };
        tracing::debug!(%peer, subprotocol = agreed.subprotocol.as_deref(), "connection opened");
        let ws = WebSocket::builder(Role::Client)
            .config(self.config.clone())
            .agreed(agreed)
            .peer(peer)
            .leftover(buffer)
            .build(stream);
        Ok(Reply::Open(Box::new(ws), response))
    }
}

/// A TCP connection to the host of this URI, and its peer.
async fn connect_tcp(uri: &WsUri) -> Result<(TcpStream, Peer), ConnectError> {
    let host = || uri.host().to_owned();
    let failed = |error| ConnectError::Tcp { host: host(), port: uri.port(), error };
    let addresses = tokio::net::lookup_host((uri.host(), uri.port())).await;
    let addresses = addresses.map_err(|error| ConnectError::Resolve { host: host(), error })?;
    let stream = dial(addresses.collect()).await.map_err(failed)?;
    socket::prepare(&stream).map_err(failed)?;
    let peer = stream.peer_addr().map_err(failed)?;
    Ok((stream, peer.into()))
}

/// The outcome of a handshake whose response was read.
enum Reply<S> {
    Open(Box<WebSocket<S>>, Response<()>),
    /// A status other than 101; the buffer has the start of its body.
    Refused(S, Response<()>, BytesMut),
}

/// What runs between a stream and the handshake.
enum Security {
    Plain,
    #[cfg(feature = "tls")]
    Tls,
}

impl Security {
    /// What the scheme asks for. It is asked before anything is connected: what should be encrypted
    /// is never sent in plain text.
    fn of(uri: &WsUri) -> Result<Self, ConnectError> {
        match uri.is_secure() {
            false => Ok(Self::Plain),
            #[cfg(feature = "tls")]
            true => Ok(Self::Tls),
            #[cfg(not(feature = "tls"))]
            true => Err(ConnectError::NoTls),
        }
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
