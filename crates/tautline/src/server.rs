//! A server: accepts connections, opens each, and runs a handler for it.

mod listen;
mod opening;
mod turns;

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tautline_frame::Config;
use tautline_handshake::{HeadLimits, OriginPolicy};
use tokio::net::{TcpListener, ToSocketAddrs};
use tokio::runtime::Handle;
use tracing::Instrument;

use self::opening::Opener;
use self::turns::{EndOfTurns, Turns};
use crate::accept::{AcceptError, Acceptor, Upgrade, UpgradeRequest};
use crate::error::{BoxError, Chain};
use crate::parting::{Ended, poll_handler};
use crate::shutdown::Shutdown;
use crate::tasks::{Place, Tasks};
use crate::transport::Peer;
use crate::websocket::WebSocket;

/// How long tasks have to end when they are told to, at the end of the drain: enough for all that await something.
const ABORT_GRACE: Duration = Duration::from_millis(200);

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Hook<T> =
    Arc<dyn Fn(UpgradeRequest) -> BoxFuture<Result<Upgrade<T>, Response<Bytes>>> + Send + Sync>;
type Fallback = Arc<dyn Fn(Request<()>, Peer) -> BoxFuture<Response<Bytes>> + Send + Sync>;

/// Who decides about the upgrades that are valid.
enum Decision<T> {
    /// All are accepted; what makes the data for their handlers.
    Accept(fn() -> T),
    Ask(Hook<T>),
}

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
///     .on_upgrade(|request| async move {
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
    listener: TcpListener,
    acceptor: Acceptor,
    #[cfg(feature = "tls")]
    tls: Option<crate::transport::ServerTls>,
    hook: Option<Hook<T>>,
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
        Self {
            listener,
            acceptor: Acceptor::new(),
            #[cfg(feature = "tls")]
            tls: None,
            hook: None,
            fallback: None,
            max_connections: Self::DEFAULT_MAX_CONNECTIONS,
            handshake_steps: Self::DEFAULT_HANDSHAKE_STEPS,
            drain_timeout: Self::DEFAULT_DRAIN_TIMEOUT,
            stop: Box::pin(std::future::pending()),
        }
    }

    /// Asks this function about every upgrade: it sees the whole request and the peer's address, and refuses with any
    /// response, or accepts with a subprotocol, headers and data for the connection's handler
    /// ([`serve_with`](Server::serve_with)). The request has been checked: it is a valid handshake of an allowed origin.
    /// A hook that panics is answered for with 500; one that is still undecided a second after the server began to shut
    /// down, with 503.
    #[must_use]
    pub fn on_upgrade<T, F, Fut>(self, hook: F) -> Server<T>
    where
        F: Fn(UpgradeRequest) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Upgrade<T>, Response<Bytes>>> + Send + 'static,
    {
        let hook = Arc::new(hook);
        Server {
            listener: self.listener,
            acceptor: self.acceptor,
            #[cfg(feature = "tls")]
            tls: self.tls,
            hook: Some(Arc::new(move |request| {
                let hook = hook.clone();
                // Called when it is polled, where a panic is caught.
                Box::pin(async move { hook(request).await })
            })),
            fallback: self.fallback,
            max_connections: self.max_connections,
            handshake_steps: self.handshake_steps,
            drain_timeout: self.drain_timeout,
            stop: self.stop,
        }
    }
}

impl<T> Server<T> {
    /// The address that the server listens on.
    ///
    /// # Errors
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Limits and deadlines of the connections.
    #[must_use]
    pub fn config(self, config: impl Into<Arc<Config>>) -> Self {
        self.with_acceptor(|acceptor| acceptor.config(config))
    }

    /// How requests are checked: see [`Acceptor`]. Replaces what `config`, `origins`, `subprotocols`, `compression`,
    /// `head_limits` and `handshake_timeout` set.
    #[must_use]
    pub fn acceptor(self, acceptor: Acceptor) -> Self {
        self.with_acceptor(|_| acceptor)
    }

    /// How large a request's head may be: see [`Acceptor::head_limits`].
    #[must_use]
    pub fn head_limits(self, limits: HeadLimits) -> Self {
        self.with_acceptor(|acceptor| acceptor.head_limits(limits))
    }

    /// Serves `wss` with these settings, for instance an `Arc<rustls::ServerConfig>`. Plain `ws` is refused then.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: impl Into<crate::transport::ServerTls>) -> Self {
        self.tls = Some(tls.into());
        self
    }

    /// Whose pages may connect: see [`Acceptor::origins`].
    #[must_use]
    pub fn origins(self, origins: OriginPolicy) -> Self {
        self.with_acceptor(|acceptor| acceptor.origins(origins))
    }

    /// The subprotocols that this server speaks: see [`Acceptor::subprotocols`].
    #[must_use]
    pub fn subprotocols<I>(self, names: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        self.with_acceptor(|acceptor| acceptor.subprotocols(names))
    }

    /// Accepts offers of compression: see [`Acceptor::compression`].
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

    /// How long TLS, the opening handshake and what [`on_upgrade`](Server::on_upgrade) or [`fallback`](Self::fallback) do
    /// about it may take together: see [`Acceptor::handshake_timeout`]. If these are late, the client is answered with 503.
    #[must_use]
    pub fn handshake_timeout(self, timeout: Duration) -> Self {
        self.with_acceptor(|acceptor| acceptor.handshake_timeout(timeout))
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
        self.fallback = Some(Arc::new(move |request, peer| {
            let fallback = fallback.clone();
            // As for the hook.
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
        self.max_connections = connections.max(1);
        self
    }

    /// Cuts a client that accepts nothing of its answer for this long: see [`Acceptor::answer_timeout`].
    #[must_use]
    pub fn answer_timeout(self, timeout: Duration) -> Self {
        self.with_acceptor(|acceptor| acceptor.answer_timeout(timeout))
    }

    /// How many steps of opening handshakes are taken before everything else on the runtime has its turn; at least 1.
    /// Default: [`DEFAULT_HANDSHAKE_STEPS`](Server::DEFAULT_HANDSHAKE_STEPS).
    ///
    /// A step is what can be done without waiting for the client; the long ones are those of TLS. The bound keeps a burst of
    /// clients from holding up connections that are open, and keeps accepting from outpacing the handshakes. Handshakes that
    /// wait for their client cost no step.
    #[must_use]
    pub fn handshake_steps(mut self, steps: usize) -> Self {
        self.handshake_steps = steps.max(1);
        self
    }

    /// Shuts down when this future is ready: stops accepting, closes every connection with 1001 where its handler awaits it, and
    /// waits for connections and handlers to end. Handshakes have a second.
    #[must_use]
    pub fn shutdown_on(mut self, stop: impl Future<Output = ()> + Send + 'static) -> Self {
        self.stop = Box::pin(stop);
        self
    }

    /// How long a shutdown waits for connections and handlers before it ends them. Default: [`DEFAULT_DRAIN_TIMEOUT`](Server::DEFAULT_DRAIN_TIMEOUT).
    ///
    /// Then handlers are dropped where they await, with a last attempt at a Close. One that works on without awaiting cannot
    /// be ended, and neither can a connection that was handed to another task; [`serve`](Server::serve) returns all the same,
    /// a fifth of a second later at most, and says so at WARN.
    #[must_use]
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    fn with_acceptor(mut self, change: impl FnOnce(Acceptor) -> Acceptor) -> Self {
        self.acceptor = change(self.acceptor);
        self
    }
}

impl Server {
    /// Serves connections until [`shutdown_on`](Self::shutdown_on), forever by default. The handler runs as a task for each;
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
        let decision = self.hook.clone().map_or(Decision::Accept(|| ()), Decision::Ask);
        self.run(decision, move |ws, ()| handler(ws)).await
    }
}

impl<T: Send + 'static> Server<T> {
    /// As [`serve`](Server::serve), with the data that [`on_upgrade`](Server::on_upgrade) gave for the connection.
    ///
    /// # Errors
    /// `InvalidInput` without [`on_upgrade`](Server::on_upgrade), at once; otherwise as [`serve`](Server::serve).
    pub async fn serve_with<F, Fut>(self, handler: F) -> io::Result<()>
    where
        F: Fn(WebSocket, T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        match self.hook.clone() {
            Some(hook) => self.run(Decision::Ask(hook), handler).await,
            // Only `on_upgrade` makes a server with other data than `()`, which `serve` is for.
            None => Err(io::Error::new(io::ErrorKind::InvalidInput, "serve_with needs on_upgrade")),
        }
    }

    async fn run<F, Fut>(self, decision: Decision<T>, handler: F) -> io::Result<()>
    where
        F: Fn(WebSocket, T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        crate::runtime::check()?;
        let shutdown = Shutdown::default();
        let turns = Arc::new(Turns::new(self.handshake_steps));
        let opener = Arc::new(Opener {
            acceptor: self.acceptor,
            #[cfg(feature = "tls")]
            tls: self.tls,
            decision,
            fallback: self.fallback,
            shutdown: shutdown.clone(),
        });
        let handler = Arc::new(handler);
        let tasks = Tasks::new(Handle::current());
        let (stop, drain_timeout) = (self.stop, self.drain_timeout);
        let (places, accept_turns) = (tasks.clone(), turns.clone());
        let accepting = async move {
            loop {
                places.fewer_than(self.max_connections).await;
                accept_turns.take().await;
                let (stream, addr) = listen::accept(&self.listener).await;
                let peer = Peer::from(addr);
                let (opener, handler) = (opener.clone(), handler.clone());
                let turns = accept_turns.clone();
                let span = tracing::debug_span!("connection", %peer);
                places.spawn(|place| {
                    let held = place.share();
                    // Boxed: the state of a handshake is large, and gone when the handler starts.
                    let opening = Box::pin(async move {
                        let opened = turns.of(pin!(opener.open(stream, peer, held))).await?;
                        Ok(opened.and_then(|(ws, data)| opening::start(&*handler, ws, data)))
                    });
                    connection(opening, place).instrument(span)
                });
            }
        };
        let stopped = async {
            // The listener goes with what accepts.
            tokio::select! {
                () = accepting => {}
                () = stop => {}
            }
            tracing::info!(connections = tasks.count(), "shutting down");
            shutdown.fire();
            drain(&tasks, drain_timeout).await;
        };
        // Whether it ends or is dropped: the handshakes that are under way need nobody.
        let _turns = EndOfTurns(&turns);
        tokio::select! {
            () = stopped => {}
            () = turns.hand_out() => {}
        }
        Ok(())
    }
}

/// Waits for what is left of a server that goes down, and ends what does not end.
async fn drain(tasks: &Tasks, timeout: Duration) {
    if tokio::time::timeout(timeout, tasks.fewer_than(1)).await.is_ok() {
        return;
    }
    tracing::warn!(connections = tasks.count(), "ending handlers that did not finish");
    tasks.abort_all();
    if tokio::time::timeout(ABORT_GRACE, tasks.fewer_than(1)).await.is_err() {
        tracing::warn!(
            connections = tasks.count(),
            "leaving behind handlers that block their thread, or connections that others hold"
        );
    }
}

impl<T> fmt::Debug for Server<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("listener", &self.listener)
            .field("acceptor", &self.acceptor)
            .field("max_connections", &self.max_connections)
            .field("drain_timeout", &self.drain_timeout)
            .finish_non_exhaustive()
    }
}

/// The task of a connection: the handshake, which gives the handler's future, and then that. What it holds while the handler
/// runs counts for every idle connection.
async fn connection<O, Fut>(opening: Pin<Box<O>>, place: Place)
where
    O: Future<Output = Result<Option<Fut>, AcceptError>>,
    Fut: Future<Output = Result<(), BoxError>>,
{
    let handling = match opening.await {
        Ok(Some(handling)) => handling,
        Ok(None) => return,
        Err(error) => return tracing::debug!(error = %Chain(&error), "connection not accepted"),
    };
    let mut place = Some(place);
    let mut handling = pin!(Some(handling));
    match poll_fn(|cx| poll_handler(&mut place, handling.as_mut(), cx)).await {
        // The connection's own end has been told already.
        Ended::With(error) if error.is::<tautline_frame::session::Error>() => {
            tracing::debug!(error = %Chain(&*error), "handler ended with the connection");
        }
        Ended::With(error) => {
            tracing::warn!(error = %Chain(&*error), "handler ended with an error");
        }
        Ended::Panicked => tracing::error!("handler panicked"),
        Ended::Well => {}
    }
    if let Some(place) = place {
        place.end_handler();
    }
}
