//! A client: from a URI to an open connection.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
#[cfg(feature = "deflate")]
use tautline_frame::Compression;
use tautline_frame::{Config, Role};
use tautline_handshake::{
    BuildError, ClientRequest, Expectation, HeadError, HeadLimits, ResponseError,
    ResponseHeadReader, UriError, WsUri, encode_request,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::connection::Info;
use crate::dial::dial;
use crate::handshake_io::{ReadHeadError, read_refusal, read_response};
use crate::{Transport, WebSocket};

/// Thirty seconds for names, TCP, TLS and the opening handshake together: as long as browsers' users wait.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// What [`connect`] uses: one for all, so that the system's roots are read once and TLS sessions resume.
static DEFAULT: LazyLock<Client> = LazyLock::new(Client::new);

/// Opens a connection to a `ws:` or `wss:` URI with the defaults of [`Client`].
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
pub async fn connect(uri: impl AsRef<str>) -> Result<WebSocket, ConnectError> {
    DEFAULT.connect(uri).await
}

/// How connections are opened: headers, subprotocols, TLS, limits. Make one, keep it, connect many times; clones share
/// their TLS sessions.
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
///     .timeout(Duration::from_secs(10));
/// let ws = client.connect(&uri).await?;
/// assert_eq!(ws.subprotocol(), Some("chat.v1"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    config: Arc<Config>,
    limits: HeadLimits,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The first header that is none.
    invalid: Option<BuildError>,
    subprotocols: Vec<String>,
    subprotocol_required: bool,
    timeout: Duration,
    #[cfg(feature = "deflate")]
    compression: Option<Compression>,
    #[cfg(feature = "tls")]
    tls: crate::ClientTls,
}

/// Without the values of headers: credentials are among them.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Client")
            .field("config", &self.config)
            .field("headers", &headers)
            .field("subprotocols", &self.subprotocols)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Default for Client {
    fn default() -> Self {
        Self {
            config: Arc::default(),
            limits: HeadLimits::default(),
            headers: Vec::new(),
            invalid: None,
            subprotocols: Vec::new(),
            subprotocol_required: true,
            timeout: DEFAULT_CONNECT_TIMEOUT,
            #[cfg(feature = "deflate")]
            compression: None,
            #[cfg(feature = "tls")]
            tls: crate::ClientTls::default(),
        }
    }
}

impl Client {
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

    /// How large a response's head may be.
    #[must_use]
    pub const fn head_limits(mut self, limits: HeadLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Adds a header to each request, such as `authorization`, `cookie` or `origin`. The headers of the handshake itself
    /// cannot be set; such a one, or one with a control character, is the error of [`connect`](Self::connect).
    #[must_use]
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        let invalid = match (name.try_into(), value.try_into()) {
            (Ok(name), Ok(value)) => {
                self.headers.push((name, value));
                return self;
            }
            (Err(_), _) => BuildError::HeaderName,
            (_, Err(_)) => BuildError::HeaderValue,
        };
        self.invalid.get_or_insert(invalid);
        self
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

    /// Whether a server that chooses none of the offered subprotocols is refused, as browsers do. Default: yes.
    #[must_use]
    pub const fn subprotocol_required(mut self, yes: bool) -> Self {
        self.subprotocol_required = yes;
        self
    }

    /// Offers compression (permessage-deflate, RFC 7692) with these settings; a server that does not accept it is talked to
    /// without. Default: nothing is offered. What was agreed on: [`WebSocket::compression`].
    #[cfg(feature = "deflate")]
    #[must_use]
    pub const fn compression(mut self, settings: Compression) -> Self {
        self.compression = Some(settings);
        self
    }

    /// How long opening a connection may take in all. Default: [`DEFAULT_CONNECT_TIMEOUT`].
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// TLS settings for `wss`, for instance an `Arc<rustls::ClientConfig>`. Default: the system's roots.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: impl Into<crate::ClientTls>) -> Self {
        self.tls = tls.into();
        self
    }

    /// Opens a connection to a `ws:` or `wss:` URI.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(&self, uri: impl AsRef<str>) -> Result<WebSocket, ConnectError> {
        Ok(self.connect_with_response(uri).await?.0)
    }

    /// As [`connect`](Self::connect); gives the server's response too, for its headers.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect_with_response(
        &self,
        uri: impl AsRef<str>,
    ) -> Result<(WebSocket, Response<()>), ConnectError> {
        let uri = WsUri::parse(uri.as_ref())?;
        #[cfg(not(feature = "tls"))]
        if uri.is_secure() {
            // Never in plain text what was asked for encrypted.
            return Err(ConnectError::NoTls);
        }
        let request = self.request(&uri)?;
        let opening = async {
            let addresses = tokio::net::lookup_host((uri.host(), uri.port())).await;
            let addresses: Vec<_> = addresses.map_err(ConnectError::Resolve)?.collect();
            let stream = dial(addresses).await.map_err(ConnectError::Tcp)?;
            // Messages are batched in user space; the system must not hold them back.
            stream.set_nodelay(true).map_err(ConnectError::Tcp)?;
            let peer = stream.peer_addr().map_err(ConnectError::Tcp)?;
            let transport = self.secure(stream, &uri).await?;
            let info = Info { peer: Some(peer), subprotocol: None };
            self.upgrade(request, transport, info).await
        };
        self.in_time(opening).await
    }

    /// Opens a connection over a stream that is already there: a Unix socket, a tunnel through a proxy, one end of a
    /// duplex. The URI says what to ask for; its scheme does not matter.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect_over<S>(
        &self,
        uri: impl AsRef<str>,
        stream: S,
    ) -> Result<WebSocket<S>, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let request = self.request(&WsUri::parse(uri.as_ref())?)?;
        Ok(self.in_time(self.upgrade(request, stream, Info::default())).await?.0)
    }

    async fn in_time<T>(
        &self,
        opening: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        match tokio::time::timeout(self.timeout, opening).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError::Timeout),
        }
    }

    #[cfg(feature = "tls")]
    async fn secure(
        &self,
        stream: tokio::net::TcpStream,
        uri: &WsUri,
    ) -> Result<Transport, ConnectError> {
        if uri.is_secure() {
            return Ok(self.tls.connect(stream, uri.host()).await?);
        }
        Ok(Transport::Tcp(stream))
    }

    #[cfg(not(feature = "tls"))]
    async fn secure(
        &self,
        stream: tokio::net::TcpStream,
        uri: &WsUri,
    ) -> Result<Transport, ConnectError> {
        // Never in plain text what was asked for encrypted.
        if uri.is_secure() { Err(ConnectError::NoTls) } else { Ok(Transport::Tcp(stream)) }
    }

    /// The request for this URI, and what its answer must hold. Made before anything is connected: what cannot be sent is
    /// an error whatever the network does.
    fn request(&self, uri: &WsUri) -> Result<(Request<()>, Expectation), BuildError> {
        if let Some(error) = self.invalid {
            return Err(error);
        }
        let mut request = ClientRequest::new(uri).subprotocols(&self.subprotocols);
        #[cfg(feature = "deflate")]
        if let Some(settings) = &self.compression {
            request = request.deflate(crate::compression::negotiation(settings, Role::Client));
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.subprotocol_required(self.subprotocol_required).build()
    }

    /// The opening handshake (RFC 6455 section 4.1).
    async fn upgrade<S>(
        &self,
        (request, expectation): (Request<()>, Expectation),
        mut stream: S,
        mut info: Info,
    ) -> Result<(WebSocket<S>, Response<()>), ConnectError>
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
        let accepted = match expectation.check(&response) {
            Ok(accepted) => accepted,
            Err(ResponseError::Status(_)) => {
                let refusal = read_refusal(&mut stream, response, &mut buffer).await;
                return Err(ConnectError::Refused(Box::new(refusal)));
            }
            Err(error) => return Err(error.into()),
        };
        info.subprotocol = accepted.subprotocol.map(String::into_boxed_str);
        tracing::debug!(
            peer = info.peer.map(tracing::field::display),
            subprotocol = info.subprotocol.as_deref(),
            "connection opened"
        );
        let ws = WebSocket::with_info(stream, Role::Client, self.config.clone(), buffer, info);
        #[cfg(feature = "deflate")]
        let ws = match (self.compression, accepted.deflate) {
            (Some(settings), Some(params)) => {
                ws.with_compression(crate::compression::agreed(settings, Role::Client, &params))
            }
            _ => ws,
        };
        Ok((ws, response))
    }
}

/// Why no connection was opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URI is none, or not of `ws:` or `wss:`. Correct it.
    Uri(UriError),
    /// A header or subprotocol cannot be sent. Correct it.
    Request(BuildError),
    /// The host's name was not resolved. Try again later.
    Resolve(io::Error),
    /// No address of the host took the TCP connection; the last one's error. Try again later.
    Tcp(io::Error),
    /// TLS was not set up: above all, the certificate is not to be trusted. The connection was not made in plain text.
    #[cfg(feature = "tls")]
    Tls(crate::TlsError),
    /// The URI asks for TLS, and the crate was built without the feature `tls`.
    NoTls,
    /// It took longer than [`Client::timeout`]. Try again later.
    Timeout,
    /// The stream failed, or ended, before the response was complete. Try again later.
    Io(io::Error),
    /// What came is not an HTTP response, or one over the limits.
    Head(HeadError),
    /// The server answered with another status than 101: a refusal (see its status), a redirection (see its `location`; it
    /// is not followed), a demand for credentials. The body is there up to 64 KiB.
    Refused(Box<Response<Bytes>>),
    /// The server switched protocols, but not as the RFC says: it is not a WebSocket server, or a broken one.
    Response(ResponseError),
}

impl ConnectError {
    /// The status with which the server refused.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused(response) => Some(response.status()),
            _ => None,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri(error) => error.fmt(f),
            Self::Request(error) => error.fmt(f),
            Self::Resolve(error) => write!(f, "the host's name was not resolved: {error}"),
            Self::Tcp(error) => write!(f, "cannot connect: {error}"),
            #[cfg(feature = "tls")]
            Self::Tls(error) => error.fmt(f),
            Self::NoTls => f.write_str("wss needs the feature `tls`"),
            Self::Timeout => f.write_str("opening the connection took too long"),
            Self::Io(error) => write!(f, "the stream failed during the handshake: {error}"),
            Self::Head(error) => write!(f, "not an HTTP response: {error}"),
            Self::Refused(response) => write!(f, "the server refused: {}", response.status()),
            Self::Response(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Uri(error) => Some(error),
            Self::Request(error) => Some(error),
            Self::Resolve(error) | Self::Tcp(error) | Self::Io(error) => Some(error),
            #[cfg(feature = "tls")]
            Self::Tls(error) => Some(error),
            Self::Head(error) => Some(error),
            Self::Response(error) => Some(error),
            Self::NoTls | Self::Timeout | Self::Refused(_) => None,
        }
    }
}

impl From<UriError> for ConnectError {
    fn from(error: UriError) -> Self {
        Self::Uri(error)
    }
}

impl From<BuildError> for ConnectError {
    fn from(error: BuildError) -> Self {
        Self::Request(error)
    }
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<ResponseError> for ConnectError {
    fn from(error: ResponseError) -> Self {
        Self::Response(error)
    }
}

#[cfg(feature = "tls")]
impl From<crate::TlsError> for ConnectError {
    fn from(error: crate::TlsError) -> Self {
        Self::Tls(error)
    }
}

impl From<ReadHeadError> for ConnectError {
    fn from(error: ReadHeadError) -> Self {
        match error {
            ReadHeadError::Head(error) => Self::Head(error),
            ReadHeadError::Io(error) => Self::Io(error),
        }
    }
}
