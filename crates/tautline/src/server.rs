//! A server: accepts connections and runs a handler for each.

mod files;
mod front;
mod handle;
#[cfg(feature = "service")]
mod http1;
#[cfg(feature = "http2")]
mod http2;
mod listen;
mod local;
mod memory;
mod opening;
mod options;
mod per_core;
mod proxied;
#[cfg(feature = "http2")]
mod received;
#[cfg(feature = "router")]
mod routes;
mod serve;
#[cfg(feature = "service")]
mod service;
mod settings;
mod span;
mod task;
mod turns;

use std::fmt;
use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tautline_frame::MemoryBudget;
use tokio::net::{TcpListener, ToSocketAddrs};

use self::handle::Shared;
pub use self::handle::{ServerHandle, ServerStage};
use self::listen::{Listener, Listeners};
use self::opening::{BoxFuture, Decision, Fallback};
pub use self::options::ListenOptions;
#[cfg(feature = "router")]
pub use self::routes::{Params, RouteError, Router};
#[cfg(feature = "service")]
pub use self::service::{OnUpgrade, RequestBody};
use crate::accept::{Acceptor, Upgrade, UpgradeRequest};
use crate::drain::Drain;
use crate::handler::HandlerResult;
use crate::observe::Observers;
#[cfg(feature = "tls")]
use crate::transport::ServerTls;
use crate::websocket::WebSocket;

/// A WebSocket server on a TCP port.
///
/// Each connection has a task of its own: the opening handshake with its deadline, then the
/// handler. Errors of one connection never stop the server; if the system is out of file
/// descriptors, it pauses and continues.
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
/// With a check of the request first, and data for the handler:
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

/// Settings that do not depend on the data of the connections.
struct Settings {
    listeners: Listeners,
    acceptor: Acceptor,
    #[cfg(feature = "tls")]
    tls: Option<ServerTls>,
    fallback: Option<Fallback>,
    max_connections: usize,
    fit_open_files: bool,
    /// How many servers share the files of the process: those of all cores.
    servers: NonZeroUsize,
    handshake_steps: usize,
    drain: Drain,
    memory_budget: Option<MemoryBudget>,
    #[cfg(feature = "http2")]
    http2: Option<crate::http2::Http2Config>,
    #[cfg(feature = "service")]
    service: Option<self::service::Service>,
    #[cfg(feature = "service")]
    service_only: bool,
    proxied: self::proxied::Proxied,
    stop: BoxFuture<()>,
    observers: Observers,
    /// What handles share with the server.
    shared: Arc<Shared>,
}

impl Server {
    /// Low enough that it applies before memory runs out. The limit of open files is raised to it,
    /// as far as the system allows: see [`fit_open_files`](Self::fit_open_files).
    pub const DEFAULT_MAX_CONNECTIONS: usize = 100_000;

    /// [`Drain::DEFAULT_TIMEOUT`].
    pub const DEFAULT_DRAIN_TIMEOUT: Duration = Drain::DEFAULT_TIMEOUT;

    /// As many as the system allows: it applies its own limit (`net.core.somaxconn` on Linux, 4,096
    /// by default) if this is more.
    pub const DEFAULT_BACKLOG: u32 = i32::MAX as u32;

    /// Sixteen short steps, or two of TLS on one thread, take a quarter of a millisecond of
    /// computing, or 1.3 ms with RSA: that is how long an open connection waits at most for the
    /// handshakes of others.
    pub const DEFAULT_HANDSHAKE_STEPS: usize = 16;

    /// Listens on this address, or on the first available one if a name has several. Port 0 selects
    /// a free port: see [`local_addr`](Self::local_addr). The queue of connections that wait to be
    /// accepted has a length of [`DEFAULT_BACKLOG`](Server::DEFAULT_BACKLOG).
    ///
    /// # Errors
    /// The system's, such as an address in use.
    pub async fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        Self::bind_with_backlog(address, Self::DEFAULT_BACKLOG).await
    }

    /// Like [`bind`](Self::bind), with room for this many connections in the system's queue, as far
    /// as the system allows. Clients that find it full try again after a second.
    ///
    /// # Errors
    /// The system's, such as an address in use.
    pub async fn bind_with_backlog(address: impl ToSocketAddrs, backlog: u32) -> io::Result<Self> {
        let options = ListenOptions::new().backlog(backlog);
        Ok(Self::from_listener(options.listen(address).await?))
    }

    /// Uses an existing listener: one with options of its own (see [`ListenOptions`]), or one that a
    /// supervisor passed on.
    #[must_use]
    pub fn from_listener(listener: TcpListener) -> Self {
        Self::listening_on(Listener::Tcp(listener))
    }

    /// Listens on a Unix socket. See [`and_unix_listener`](Self::and_unix_listener).
    ///
    /// ```no_run
    /// use tokio::net::UnixListener;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let listener = UnixListener::bind("/run/app/websocket")?;
    /// let server = tautline::Server::from_unix_listener(listener);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(unix)]
    #[must_use]
    pub fn from_unix_listener(listener: tokio::net::UnixListener) -> Self {
        Self::listening_on(Listener::Unix(listener))
    }

    fn listening_on(listener: Listener) -> Self {
        let settings = Settings {
            listeners: Listeners::new(listener),
            acceptor: Acceptor::new(),
            #[cfg(feature = "tls")]
            tls: None,
            fallback: None,
            max_connections: Self::DEFAULT_MAX_CONNECTIONS,
            fit_open_files: true,
            servers: NonZeroUsize::MIN,
            handshake_steps: Self::DEFAULT_HANDSHAKE_STEPS,
            drain: Drain::new(),
            memory_budget: Some(memory::budget()),
            #[cfg(feature = "http2")]
            http2: None,
            #[cfg(feature = "service")]
            service: None,
            #[cfg(feature = "service")]
            service_only: false,
            proxied: self::proxied::Proxied::default(),
            stop: Box::pin(std::future::pending()),
            observers: Observers::default(),
            shared: Arc::new(Shared::new(Arc::default())),
        };
        Self { settings, decision: Decision::Accept(|| ()) }
    }

    /// Calls this function for every request before it is answered. It gets the whole request and
    /// the [`Peer`](crate::Peer), and refuses with any response, or accepts with a subprotocol, headers and data
    /// for the connection's handler ([`serve_with`](Server::serve_with)).
    ///
    /// The request is a valid handshake from an allowed origin. If the function panics, the client
    /// is answered with 500; if it is late ([`Acceptor::handshake_timeout`]), or still pending one
    /// second after the server began to shut down, with 503.
    #[must_use]
    pub fn authorize<T, F, Fut>(self, authorize: F) -> Server<T>
    where
        F: Fn(UpgradeRequest) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Upgrade<T>, Response<Bytes>>> + Send + 'static,
    {
        let authorize = Arc::new(authorize);
        let decision = Decision::Ask(Box::new(move |request| {
            let authorize = authorize.clone();
            // Called when it is first polled, where a panic is caught.
            Box::pin(async move { authorize(request).await })
        }));
        Server { settings: self.settings, decision }
    }
}

impl Server {
    /// Serves connections until [`with_graceful_shutdown`](Self::with_graceful_shutdown) or
    /// [`ServerHandle::shutdown`] ends it, or forever. The handler runs in a task for each connection. It returns nothing, or a `Result`
    /// whose error is logged. It may drop the connection at any time: a connection that is still
    /// open is then closed in order, after everything that was queued, with 1000 if the handler
    /// returns nothing or `Ok`, and with 1011 after an error or a panic. Dropping this future
    /// instead of shutting down leaves the handlers running.
    ///
    /// # Errors
    /// `Unsupported`, at once, on a runtime without its time driver (`enable_time`). Failures to
    /// accept are logged and retried.
    pub async fn serve<F, Fut>(self, handler: F) -> io::Result<()>
    where
        F: Fn(WebSocket) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerResult> + Send + 'static,
    {
        self.serve_with(move |ws, ()| handler(ws)).await
    }
}

impl<T: Send + 'static> Server<T> {
    /// Like [`serve`](Server::serve), with the data that [`authorize`](Server::authorize) returned
    /// for the connection.
    ///
    /// # Errors
    /// As [`serve`](Server::serve).
    pub async fn serve_with<F, Fut>(self, handler: F) -> io::Result<()>
    where
        F: Fn(WebSocket, T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerResult> + Send + 'static,
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
            .field("listeners", &settings.listeners)
            .field("acceptor", &settings.acceptor)
            .field("max_connections", &settings.max_connections)
            .field("drain", &settings.drain)
            .finish_non_exhaustive()
    }
}
