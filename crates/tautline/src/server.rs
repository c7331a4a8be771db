//! A server: accepts connections, opens each, and runs a handler for it.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use tautline_frame::Config;
use tautline_handshake::{HeadLimits, OriginPolicy, check_host, is_upgrade_request};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::time::Instant;
use tracing::Instrument;

use crate::accept::{AcceptError, Acceptor, PendingUpgrade, Upgrade, UpgradeRequest, until};
use crate::shutdown::Shutdown;
use crate::tasks::{Place, Tasks};
use crate::{Transport, WebSocket};

/// More than most machines' limits of open files: what ends accepting before memory does.
pub const DEFAULT_MAX_CONNECTIONS: usize = 100_000;

/// Twice the default close deadline: every connection whose handler cooperates has ended by then.
pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long accepting pauses when the system is out of files or memory: it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a connection has for its request when the server goes down: enough for one that is on its way. One that says
/// nothing, such as a browser opens ahead of need, is not waited for.
const OPENING_GRACE: Duration = Duration::from_secs(1);

/// What a handler's error becomes: `?` turns any error into it.
pub type BoxError = Box<dyn StdError + Send + Sync>;
type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Hook<T> =
    Arc<dyn Fn(UpgradeRequest) -> BoxFuture<Result<Upgrade<T>, Response<Bytes>>> + Send + Sync>;
type Fallback = Arc<dyn Fn(Request<()>, SocketAddr) -> BoxFuture<Response<Bytes>> + Send + Sync>;

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
    tls: Option<crate::ServerTls>,
    hook: Option<Hook<T>>,
    fallback: Option<Fallback>,
    max_connections: usize,
    drain_timeout: Duration,
    stop: BoxFuture<()>,
}

impl Server {
    /// Listens on this address. Port 0 takes a free one: see [`local_addr`](Self::local_addr).
    ///
    /// # Errors
    /// The system's, such as an address in use.
    pub async fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        Ok(Self::from_listener(TcpListener::bind(address).await?))
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
            max_connections: DEFAULT_MAX_CONNECTIONS,
            drain_timeout: DEFAULT_DRAIN_TIMEOUT,
            stop: Box::pin(std::future::pending()),
        }
    }

    /// Asks this function about every upgrade: it sees the whole request and the peer's address, and refuses with any
    /// response, or accepts with a subprotocol, headers and data for the connection's handler
    /// ([`serve_with`](Server::serve_with)). The request has been checked: it is a valid handshake of an allowed origin.
    #[must_use]
    pub fn on_upgrade<T, F, Fut>(self, hook: F) -> Server<T>
    where
        F: Fn(UpgradeRequest) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Upgrade<T>, Response<Bytes>>> + Send + 'static,
    {
        Server {
            listener: self.listener,
            acceptor: self.acceptor,
            #[cfg(feature = "tls")]
            tls: self.tls,
            hook: Some(Arc::new(move |request| Box::pin(hook(request)))),
            fallback: self.fallback,
            max_connections: self.max_connections,
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

    /// Serves `wss` with this certificate. Plain `ws` is refused then.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: crate::ServerTls) -> Self {
        self.tls = Some(tls);
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

    /// Answers requests that ask for no WebSocket, such as the page that opens one. Bodies of requests are not read, and
    /// the connection ends behind the answer. Without this they are answered with 426.
    #[must_use]
    pub fn fallback<F, Fut>(mut self, fallback: F) -> Self
    where
        F: Fn(Request<()>, SocketAddr) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response<Bytes>> + Send + 'static,
    {
        self.fallback = Some(Arc::new(move |request, peer| Box::pin(fallback(request, peer))));
        self
    }

    /// How many connections may be open, handshakes included; more wait in the system's queue. Default:
    /// [`DEFAULT_MAX_CONNECTIONS`]. At least 1.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections.max(1);
        self
    }

    /// Shuts down when this future is ready: stops accepting, closes every connection with 1001 where its handler awaits it, and
    /// waits for the handlers.
    #[must_use]
    pub fn shutdown_on(mut self, stop: impl Future<Output = ()> + Send + 'static) -> Self {
        self.stop = Box::pin(stop);
        self
    }

    /// How long a shutdown waits for handlers before it ends them. Default: [`DEFAULT_DRAIN_TIMEOUT`].
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
    /// an error that it gives is logged. It may drop the connection when [`next`](WebSocket::next) gives `None` or an error.
    /// Dropping this future instead of shutting down leaves the handlers running.
    ///
    /// # Errors
    /// None at present: failures to accept are logged and waited out.
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
    /// `InvalidInput` without [`on_upgrade`](Server::on_upgrade), at once.
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
        let shutdown = Shutdown::default();
        let opener = Arc::new(Opener {
            acceptor: self.acceptor,
            #[cfg(feature = "tls")]
            tls: self.tls,
            decision,
            fallback: self.fallback,
            shutdown: shutdown.clone(),
        });
        let handler = Arc::new(handler);
        let tasks = Tasks::default();
        let accepting = async {
            loop {
                tasks.fewer_than(self.max_connections).await;
                let (stream, peer) = accept(&self.listener).await;
                let (opener, handler) = (opener.clone(), handler.clone());
                // Boxed: the state of a handshake is large, and gone when the handler starts.
                let opening = Box::pin(async move {
                    let opened = opener.open(stream, peer).await?;
                    Ok(opened.map(|(ws, data)| handler(ws, data)))
                });
                let span = tracing::debug_span!("connection", %peer);
                tasks.spawn(|place| connection(opening, place).instrument(span));
            }
        };
        tokio::select! {
            () = accepting => {}
            () = self.stop => {}
        }
        drop(self.listener);
        tracing::info!(connections = tasks.count(), "shutting down");
        shutdown.fire();
        if tokio::time::timeout(self.drain_timeout, tasks.fewer_than(1)).await.is_err() {
            tracing::warn!(connections = tasks.count(), "ending handlers that did not finish");
            tasks.abort_all();
            tasks.fewer_than(1).await;
        }
        Ok(())
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

/// The next connection, whatever happens to others: a peer that left already is skipped, a system that is out of files is
/// given time.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "accepting pauses");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// The task of a connection: the handshake, which gives the handler's future, and then that. What it holds while the handler
/// runs counts for every idle connection.
async fn connection<O, Fut>(opening: Pin<Box<O>>, _place: Place)
where
    O: Future<Output = Result<Option<Fut>, AcceptError>>,
    Fut: Future<Output = Result<(), BoxError>>,
{
    let handling = match opening.await {
        Ok(Some(handling)) => handling,
        Ok(None) => return,
        Err(error) => return tracing::debug!(%error, "connection was not accepted"),
    };
    match handling.await {
        // The connection's own end has been told already.
        Err(error) if error.is::<crate::Error>() => {
            tracing::debug!(%error, "handler ended with the connection");
        }
        Err(error) => tracing::warn!(%error, "handler ended with an error"),
        Ok(()) => {}
    }
}

/// What opens connections.
struct Opener<T> {
    acceptor: Acceptor,
    #[cfg(feature = "tls")]
    tls: Option<crate::ServerTls>,
    decision: Decision<T>,
    fallback: Option<Fallback>,
    shutdown: Shutdown,
}

impl<T> Opener<T> {
    /// `None`: the request was answered, and is no WebSocket; or none came before the server went down.
    async fn open(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> Result<Option<(WebSocket, T)>, AcceptError> {
        let deadline = self.acceptor.deadline();
        // Messages are batched in user space; the system must not hold them back.
        stream.set_nodelay(true)?;
        // The connection goes on with it: as nearly all requests are waited for, it stands in the list by then.
        let mut signal = self.shutdown.signal();
        let read = {
            let reading = pin!(self.read(stream, deadline));
            let going_down = pin!(async {
                signal.fired().await;
                tokio::time::sleep(OPENING_GRACE).await;
            });
            tokio::select! {
                // A request that is there is heard, and the list is left alone then.
                biased;
                read = reading => Some(read),
                () = going_down => None,
            }
        };
        let Some(read) = read else {
            return Ok(None);
        };
        let (mut pending, request) = read?;
        if let Some(fallback) = &self.fallback
            && !is_upgrade_request(&request)
        {
            let head_only = request.method() == Method::HEAD;
            if let Err(error) = check_host(&request) {
                pending.answer(error.to_response(), head_only).await?;
                return Err(error.into());
            }
            let mut answering = fallback(request, peer);
            let Ok(response) = until(deadline, answering.as_mut()).await else {
                return Err(pending.answer_late(head_only).await);
            };
            pending.answer(response, head_only).await?;
            return Ok(None);
        }
        let request = Arc::new(pending.check(&self.acceptor, request).await?);
        let decision = match &self.decision {
            Decision::Accept(data) => Ok(Upgrade::new(data())),
            Decision::Ask(hook) => {
                let asked = UpgradeRequest::new(request.clone(), peer, pending.stream());
                let mut deciding = hook(asked);
                let Ok(decision) = until(deadline, deciding.as_mut()).await else {
                    return Err(pending.answer_late(false).await);
                };
                decision
            }
        };
        let upgrade = match decision {
            Ok(upgrade) => self.acceptor.choose(&request, upgrade),
            Err(response) => {
                let status = pending.answer(response, false).await?;
                return Err(AcceptError::Refused(status));
            }
        };
        let (mut ws, data) = pending.finish(&self.acceptor, &request, upgrade, Some(peer)).await?;
        ws.watch(signal);
        tracing::debug!(subprotocol = ws.subprotocol(), "connection opened");
        Ok(Some((ws, data)))
    }

    async fn read(
        &self,
        stream: TcpStream,
        deadline: Instant,
    ) -> Result<(PendingUpgrade<Transport>, Request<()>), AcceptError> {
        #[cfg(feature = "tls")]
        let transport = match &self.tls {
            Some(tls) => {
                // Boxed: it would be the larger part of the state of every handshake.
                let mut securing = Box::pin(tls.accept(stream));
                until(deadline, securing.as_mut()).await?.map_err(AcceptError::Tls)?
            }
            None => Transport::Tcp(stream),
        };
        #[cfg(not(feature = "tls"))]
        let transport = Transport::Tcp(stream);
        let mut pending = PendingUpgrade::new(transport, deadline);
        let request = pending.read(&self.acceptor).await?;
        Ok((pending, request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A peer that left before it was accepted says nothing about the listener; EMFILE (24) and ENFILE (23) do.
    #[test]
    fn errors_of_one_connection_do_not_pause_accepting() {
        assert!(is_about_one_connection(&io::ErrorKind::ConnectionAborted.into()));
        assert!(!is_about_one_connection(&io::Error::from_raw_os_error(24)));
        assert!(!is_about_one_connection(&io::Error::from_raw_os_error(23)));
    }
}
