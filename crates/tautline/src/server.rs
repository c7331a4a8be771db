//! A server: accepts connections, opens each, and runs a handler for it.

mod listen;
mod opening;
mod serve;
mod turns;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tautline_frame::Config;
use tautline_handshake::OriginPolicy;
use tokio::net::{TcpListener, ToSocketAddrs};

use self::opening::{BoxFuture, Decision, Fallback};
use crate::accept::{Acceptor, Upgrade, UpgradeRequest};
use crate::error::BoxError;
use crate::transport::Peer;
#[cfg(feature = "tls")]
use crate::transport::ServerTls;
use crate::websocket::WebSocket;

/// A WebSocket server on a TCP port.
///
/// Each connection has its task: the opening handshake against a deadline, then the handler. Errors of one connection never
/// end the server; when the system is out of files, it pauses and goes on.
///
/// ```no_run
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = tautline::Server::bind("127.0.0.1:9001").await?;
/// server
///     .serve(|mut ws| async move {
///         while let Some(message) = ws.next().await {
///             ws.feed(message?).await?;
///         }
///         Ok(())
///     })
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// With a look at the request first, and data for the handler:
///
/// ```
/// use tautline::{Server, Upgrade, http};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::bind("127.0.0.1:0").await?;
/// # let address = server.local_addr()?;
/// let serving = server
///     .authorize(|request| async move {
///         match request.uri().path().strip_prefix("/user/") {
///             Some(name) => Ok(Upgrade::new(name.to_owned())),
///             None => Err(http::Response::builder().status(404).body("who?".into()).unwrap()),
///         }
///     })
///     .serve_with(|mut ws, name| async move {
///         ws.send(format!("hello {name}")).await?;
///         ws.close().await?;
///         Ok(())
///     });
/// # tokio::spawn(serving);
/// # let mut ws = tautline::connect(format!("ws://{address}/user/alice")).await?;
/// # assert_eq!(ws.next().await.unwrap()?.as_text(), Some("hello alice"));
/// # assert!(tautline::connect(format!("ws://{address}/")).await.is_err());
/// # Ok(())
/// # }
/// ```
pub struct Server<T = ()> {
    settings: Settings,
    decision: Decision<T>,
}

/// What does not depend on the data of the connections.
struct Settings {
    listener: TcpListener,
    acceptor: Acceptor,
    #[cfg(feature = "tls")]
    tls: Option<ServerTls>,
    fallback: Option<Fallback>,
    max_connections: usize,
    handshake_steps: usize,
    drain_timeout: Duration,
    stop: BoxFuture<()>,
}

impl Server {
    /// More than most machines' limits of open files: what ends accepting before memory does.
    pub const DEFAULT_MAX_CONNECTIONS: usize = 100_000;

    /// Twice the default close deadline: every connection whose handler cooperates has ended by then.
    pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

    /// As much as the system allows: it takes its own limit (`net.core.somaxconn` on Linux, 4,096 by default) where this is more.
    pub const DEFAULT_BACKLOG: u32 = i32::MAX as u32;

    /// Sixteen steps of TLS are 2 ms of computing, or 10 with RSA: what an open connection waits at most for the handshakes of others.
    pub const DEFAULT_HANDSHAKE_STEPS: usize = 16;

    /// Listens on this address, the first that can be had where a name has several. Port 0 takes a free one: see
    /// [`local_addr`](Self::local_addr). The queue of connections to be accepted is [`DEFAULT_BACKLOG`](Server::DEFAULT_BACKLOG) long.
    ///
    /// # Errors
    /// The system's, such as an address in use.
    pub async fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        Self::bind_with_backlog(address, Self::DEFAULT_BACKLOG).await
    }

    /// As [`bind`](Self::bind), with room for this many connections in the system's queue, as far as the system allows.
    /// Connections that find it full try again after a second.
    ///
    /// # Errors
    /// The system's, such as an address in use.
    pub async fn bind_with_backlog(address: impl ToSocketAddrs, backlog: u32) -> io::Result<Self> {
        Ok(Self::from_listener(listen::bind(address, backlog).await?))
    }

    /// A server on a listener that is already there: made with options of its own, or handed over by a supervisor.
    #[must_use]
    pub fn from_listener(listener: TcpListener) -> Self {
        let settings = Settings {
            listener,
            acceptor: Acceptor::new(),
            #[cfg(feature = "tls")]
            tls: None,
            fallback: None,
            max_connections: Self::DEFAULT_MAX_CONNECTIONS,
            handshake_steps: Self::DEFAULT_HANDSHAKE_STEPS,
            drain_timeout: Self::DEFAULT_DRAIN_TIMEOUT,
            stop: Box::pin(std::future::pending()),
        };
        Self { settings, decision: Decision::Accept(|| ()) }
    }

    /// Asks this function about every request before it is answered. It sees the whole request and the [`Peer`], and refuses
    /// with any response, or accepts with a subprotocol, headers and data for the connection's handler
    /// ([`serve_with`](Server::serve_with)).
    ///
    /// The request has been checked: it is a valid handshake from an allowed origin. If the function panics, the client is
    /// answered with 500; if it is late ([`Acceptor::handshake_timeout`]), or still undecided one second after the server
    /// began to shut down, with 503.
    #[must_use]
    pub fn authorize<T, F, Fut>(self, authorize: F) -> Server<T>
    where
        F: Fn(UpgradeRequest) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Upgrade<T>, Response<Bytes>>> + Send + 'static,
    {
        let authorize = Arc::new(authorize);
        let decision = Decision::Ask(Box::new(move |request| {
            let authorize = authorize.clone();
            // Called when it is polled, where a panic is caught.
            Box::pin(async move { authorize(request).await })
        }));
        Server { settings: self.settings, decision }
    }
}

impl<T> Server<T> {
    /// The address that the server listens on.
    ///
    /// # Errors
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.settings.listener.local_addr()
    }

    /// How requests are checked and answered, with all settings of an [`Acceptor`]. Replaces what
    /// [`config`](Self::config), [`origins`](Self::origins), [`subprotocols`](Self::subprotocols) and `compression` set
    /// before.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tautline::{Acceptor, Server};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let acceptor = Acceptor::new().handshake_timeout(Duration::from_secs(5));
    /// let server = Server::bind("127.0.0.1:0").await?.acceptor(acceptor);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn acceptor(self, acceptor: Acceptor) -> Self {
        self.with_acceptor(|_| acceptor)
    }

    /// See [`Acceptor::config`].
    #[must_use]
    pub fn config(self, config: impl Into<Arc<Config>>) -> Self {
        self.with_acceptor(|acceptor| acceptor.config(config))
    }

    /// See [`Acceptor::origins`].
    #[must_use]
    pub fn origins(self, origins: OriginPolicy) -> Self {
        self.with_acceptor(|acceptor| acceptor.origins(origins))
    }

    /// See [`Acceptor::subprotocols`].
    #[must_use]
    pub fn subprotocols<I>(self, names: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        self.with_acceptor(|acceptor| acceptor.subprotocols(names))
    }

    /// See [`Acceptor::compression`].
    ///
    /// ```
    /// use tautline::{Compression, Server};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Server::bind("127.0.0.1:0").await?.compression(Compression::low_memory());
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn compression(self, settings: tautline_frame::Compression) -> Self {
        self.with_acceptor(|acceptor| acceptor.compression(settings))
    }

    /// Serves `wss` with these settings, for instance an `Arc<rustls::ServerConfig>`. Plain `ws` is refused then.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: impl Into<ServerTls>) -> Self {
        self.settings.tls = Some(tls.into());
        self
    }

    /// Answers requests that are not WebSocket upgrades, such as one for the page that opens one. Bodies of requests are not
    /// read, and the connection ends after the answer. Without this they are answered with 426; if it panics, with 500.
    ///
    /// An answer may be long and its client slow: the deadline is on progress ([`Acceptor::answer_timeout`]). An answer that
    /// is cut ends with a reset, and is logged at INFO.
    #[must_use]
    pub fn fallback<F, Fut>(mut self, fallback: F) -> Self
    where
        F: Fn(Request<()>, Peer) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response<Bytes>> + Send + 'static,
    {
        let fallback = Arc::new(fallback);
        self.settings.fallback = Some(Box::new(move |request, peer| {
            let fallback = fallback.clone();
            // As in `authorize`.
            Box::pin(async move { fallback(request, peer).await })
        }));
        self
    }

    /// How many connections may be open, handshakes included; at least 1. Default: [`DEFAULT_MAX_CONNECTIONS`](Server::DEFAULT_MAX_CONNECTIONS).
    ///
    /// A connection counts until it has ended, whoever holds it: also when the handler handed it to another task and returned. A
    /// handler that goes on when its connection has ended counts as well.
    ///
    /// When that many are open, the server stops accepting. Clients that come then wait in the system's queue (see
    /// [`bind_with_backlog`](Server::bind_with_backlog)) without an answer, until one ends. One that gave up meanwhile is still taken in its turn, and found gone.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.settings.max_connections = connections.max(1);
        self
    }

    /// How many steps of opening handshakes are taken before everything else on the runtime has its turn; at least 1.
    /// Default: [`DEFAULT_HANDSHAKE_STEPS`](Server::DEFAULT_HANDSHAKE_STEPS).
    ///
    /// A step is what can be done without waiting for the client; the long ones are those of TLS. The bound keeps a burst of
    /// clients from holding up connections that are open, and keeps accepting from outpacing the handshakes. Handshakes that
    /// wait for their client cost no step.
    #[must_use]
    pub fn handshake_steps(mut self, steps: usize) -> Self {
        self.settings.handshake_steps = steps.max(1);
        self
    }

    /// Shuts down when this future is ready: stops accepting, closes every connection with 1001 where its handler awaits it, and
    /// waits for connections and handlers to end. Handshakes have a second.
    #[must_use]
    pub fn with_graceful_shutdown(
        mut self,
        signal: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        self.settings.stop = Box::pin(signal);
        self
    }

    /// How long a shutdown waits for connections and handlers before it ends them. Default: [`DEFAULT_DRAIN_TIMEOUT`](Server::DEFAULT_DRAIN_TIMEOUT).
    ///
    /// Then handlers are dropped where they await, with a last attempt at a Close. One that works on without awaiting cannot
    /// be ended, and neither can a connection that was handed to another task; [`serve`](Server::serve) returns all the same,
    /// a fifth of a second later at most, and says so at WARN.
    #[must_use]
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.settings.drain_timeout = timeout;
        self
    }

    fn with_acceptor(mut self, change: impl FnOnce(Acceptor) -> Acceptor) -> Self {
        self.settings.acceptor = change(self.settings.acceptor);
        self
    }
}

impl Server {
    /// Serves connections until [`with_graceful_shutdown`](Self::with_graceful_shutdown), forever by default. The handler runs as a task for each;
    /// an error that it returns is logged. It may drop the connection at any time: what is open then is closed in order, with
    /// 1000 when the handler returns `Ok`, with 1011 after an error or a panic, and with everything written that was queued.
    /// Dropping this future instead of shutting down leaves the handlers running.
    ///
    /// # Errors
    /// `Unsupported` on a runtime without its time driver (`enable_time`), at once. Failures to accept are logged and
    /// waited out.
    pub async fn serve<F, Fut>(self, handler: F) -> io::Result<()>
    where
        F: Fn(WebSocket) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.serve_with(move |ws, ()| handler(ws)).await
    }
}

impl<T: Send + 'static> Server<T> {
    /// As [`serve`](Server::serve), with the data that [`authorize`](Server::authorize) gave for the connection.
    ///
    /// # Errors
    /// As [`serve`](Server::serve).
    pub async fn serve_with<F, Fut>(self, handler: F) -> io::Result<()>
    where
        F: Fn(WebSocket, T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        crate::runtime::check()?;
        serve::run(self, handler).await;
        Ok(())
    }
}

impl<T> fmt::Debug for Server<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { settings, .. } = self;
        f.debug_struct("Server")
            .field("listener", &settings.listener)
            .field("acceptor", &settings.acceptor)
            .field("max_connections", &settings.max_connections)
            .field("drain_timeout", &settings.drain_timeout)
            .finish_non_exhaustive()
    }
}
