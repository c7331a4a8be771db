//! What can be set of a server.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tautline_frame::{Config, MemoryBudget};
use tautline_handshake::OriginPolicy;
use tokio::net::TcpListener;

use super::listen::Listener;
use super::{Server, ServerHandle};
use crate::accept::Acceptor;
use crate::drain::Drain;
use crate::limits::Limits;
use crate::registry::Registry;
use crate::transport::Peer;
#[cfg(feature = "tls")]
use crate::transport::ServerTls;

impl<T> Server<T> {
    /// The address that the server listens on: the first, if there are several.
    ///
    /// # Errors
    /// The system's. `AddrNotAvailable` if it listens on Unix sockets alone.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let first = self.settings.listeners.local_addrs().next();
        first.unwrap_or_else(|| Err(io::ErrorKind::AddrNotAvailable.into()))
    }

    /// All addresses that the server listens on, in the order in which they were added; Unix sockets
    /// have none.
    ///
    /// # Errors
    /// The system's.
    pub fn local_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        self.settings.listeners.local_addrs().collect()
    }

    /// Serves the connections of this listener too: another address, port or version of IP. All
    /// settings and limits are for all listeners together. See [`ListenOptions`](crate::ListenOptions).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tautline::{ListenOptions, Server};
    ///
    /// let server = Server::bind("127.0.0.1:0").await?;
    /// let server = server.and_listener(ListenOptions::new().listen("127.0.0.1:0").await?);
    /// assert_eq!(server.local_addrs()?.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn and_listener(mut self, listener: TcpListener) -> Self {
        self.settings.listeners.add(Listener::Tcp(listener));
        self
    }

    /// Serves the connections of this Unix socket too, such as those of a proxy on the same
    /// machine. They are never encrypted, also where [`tls`](Self::tls) is set: who may connect is
    /// up to the permissions of the file. Their [`Peer`] is unknown, and no limit by address applies
    /// to them. The file remains when the server ends, and must be removed before the next one
    /// listens.
    #[cfg(unix)]
    #[must_use]
    pub fn and_unix_listener(mut self, listener: tokio::net::UnixListener) -> Self {
        self.settings.listeners.add(Listener::Unix(listener));
        self
    }

    /// How requests are checked and answered, with all settings of an [`Acceptor`]. This replaces
    /// what [`config`](Self::config), [`origins`](Self::origins),
    /// [`subprotocols`](Self::subprotocols) and `compression` have set.
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

    /// Serves `wss` with these settings. Connections without TLS are refused then, but for those of
    /// Unix sockets.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: ServerTls) -> Self {
        self.settings.tls = Some(tls);
        self
    }

    /// Serves HTTP/2 too (RFC 8441): each WebSocket is a stream, and one connection of a client
    /// carries as many as these limits allow. Clients select HTTP/2 inside TLS (ALPN, where
    /// HTTP/1.1 stays), or begin with it where there is no TLS. Handlers, [`authorize`](Server::authorize)
    /// and [`fallback`](Self::fallback) serve both versions. Default: HTTP/1.1 alone.
    ///
    /// A stream counts as a connection in [`max_connections`](Self::max_connections), beside the
    /// connection that carries it; where there is no room for another, it is refused with
    /// REFUSED_STREAM. A connection on which no stream is open is closed after a minute.
    ///
    /// A handler that does not read holds back its own stream and no other. But HTTP/2 has a limit
    /// against floods of tiny DATA that nobody reads: 4 MiB of overhead, 16,000 messages of a few
    /// bytes, end the connection with all of its streams.
    ///
    /// ```
    /// use tautline::{Client, Http2, Http2Config, Server, http::Version};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Server::bind("127.0.0.1:0").await?.http2(Http2Config::new());
    /// let uri = format!("ws://{}/", server.local_addr()?);
    /// tokio::spawn(server.serve(|mut ws| async move {
    ///     while let Some(message) = ws.next().await {
    ///         ws.send(message?).await?;
    ///     }
    ///     Ok(())
    /// }));
    /// let client = Client::new().http2(Http2::Prior);
    /// let (mut one, mut other) = (client.connect(&uri).await?, client.connect(&uri).await?);
    /// assert_eq!(one.http_version(), Version::HTTP_2);
    /// other.send("on the same connection").await?;
    /// one.send("as this").await?;
    /// assert_eq!(one.next().await.unwrap()?.as_text(), Some("as this"));
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "http2")]
    #[must_use]
    pub fn http2(mut self, config: crate::http2::Http2Config) -> Self {
        self.settings.http2 = Some(config);
        self
    }

    /// Answers requests that are not WebSocket upgrades, such as one for the page that opens the
    /// WebSocket. Bodies of requests are not read, and the connection is closed after the answer.
    /// Without this function, these requests are answered with 426; if it panics, with 500.
    ///
    /// A long answer to a slow client may take any time while the client keeps reading
    /// ([`Acceptor::answer_timeout`]). An answer that is cut off ends with a reset, and is logged
    /// at INFO.
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

    /// How many connections may be open, including handshakes; at least 1. Default:
    /// [`DEFAULT_MAX_CONNECTIONS`](Server::DEFAULT_MAX_CONNECTIONS), or as many as the limit of open
    /// files has room for ([`fit_open_files`](Self::fit_open_files)).
    ///
    /// A connection counts until it has ended, even if the handler passed it to another task and
    /// returned. A handler that is still running after its connection has ended counts as well.
    ///
    /// When that many are open, the server stops accepting. New clients then wait in the system's
    /// queue (see [`bind_with_backlog`](Server::bind_with_backlog)) without an answer until a
    /// connection ends. A client that has given up by then is still accepted in its turn, and found
    /// to be gone.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.settings.max_connections = connections.max(1);
        self
    }

    /// Whether the maximum of connections and the system's limit of open files are made to fit each
    /// other when the server starts. Default: yes.
    ///
    /// Each connection over TCP is an open file, and most systems allow a process 1,024 of them
    /// until it asks for more. The server raises that limit (`RLIMIT_NOFILE`) to what is open
    /// already, [`max_connections`](Self::max_connections) and 64 to spare; and where the hard limit
    /// is less, it raises it to that, lowers its maximum of connections to what there is room for, and
    /// warns. With HTTP/2 the maximum stays, since streams take no file. Servers of one process are
    /// raised for together, but lowered each for itself; the threads of
    /// [`per_core`](Server::per_core) share what there is.
    ///
    /// Switch it off if the process depends on a low limit, such as a library that calls `select`,
    /// or child processes, which inherit it. Nothing is done on other systems than Unix.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = tautline::Server::bind("127.0.0.1:0").await?;
    /// let server = server.fit_open_files(false).max_connections(500);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn fit_open_files(mut self, fit: bool) -> Self {
        self.settings.fit_open_files = fit;
        self
    }

    /// How much of the server one client address may take, and how many handshakes may be in
    /// flight. Default: [`Limits::new`]. The limits can be changed while the server runs:
    /// see [`ServerHandle::set_limits`].
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        self.settings.shared.gate().set_limits(limits);
        self
    }

    /// How many bytes all connections of the server together may hold, received and not taken, or
    /// queued to be sent: see [`MemoryBudget`] for what happens beyond that. Keep a clone to see how
    /// much is held, or to share it with other servers. A budget in the [`Config`] takes precedence.
    /// `None`: no limit but those of each connection.
    ///
    /// Default: half of the memory that the process may use, for all servers of the process that
    /// set none. On Linux the process may use the least of the machine's memory and the limits of
    /// the control groups that it is in; 1 GiB is assumed where the system does not say.
    ///
    /// ```
    /// use tautline::{MemoryBudget, Server};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let budget = MemoryBudget::new(512 << 20);
    /// let server = Server::bind("127.0.0.1:0").await?.memory_budget(budget.clone());
    /// println!("{} of {} bytes are held", budget.used(), budget.limit());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn memory_budget(mut self, budget: impl Into<Option<MemoryBudget>>) -> Self {
        self.settings.memory_budget = budget.into();
        self
    }

    /// How many steps of opening handshakes run before everything else on the runtime gets a turn;
    /// at least 1. Default: [`DEFAULT_HANDSHAKE_STEPS`](Server::DEFAULT_HANDSHAKE_STEPS).
    ///
    /// A step is what can be done without waiting for the client; the long ones are those of TLS. With
    /// TLS, each counts as eight, divided by the number of the runtime's threads: on one thread, two
    /// are a round by default.
    /// The limit keeps a burst of new clients from delaying open connections, and keeps accepting
    /// from outpacing the handshakes. A handshake that waits for its client uses no step.
    #[must_use]
    pub fn handshake_steps(mut self, steps: usize) -> Self {
        self.settings.handshake_steps = steps.max(1);
        self
    }

    /// Shuts down when this future completes: stops accepting, closes every connection with 1001 as
    /// soon as its handler awaits it, and waits for connections and handlers to end, in the stages
    /// of [`drain`](Self::drain). Opening handshakes have one second.
    #[must_use]
    pub fn with_graceful_shutdown(
        mut self,
        signal: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        self.settings.stop = Box::pin(signal);
        self
    }

    /// How the server shuts down. Default: [`Drain::new`].
    #[must_use]
    pub fn drain(mut self, drain: Drain) -> Self {
        self.settings.drain = drain;
        self
    }

    /// How long a shutdown waits for connections and handlers before it aborts them:
    /// [`Drain::timeout`]. Default: [`DEFAULT_DRAIN_TIMEOUT`](Server::DEFAULT_DRAIN_TIMEOUT).
    ///
    /// Then handlers are dropped at their next await, with a last attempt to send a Close. A
    /// handler that never awaits cannot be aborted, and neither can a connection that was passed to
    /// another task; [`serve`](Server::serve) returns anyway, at most 200 ms later, and logs this
    /// at WARN.
    #[must_use]
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.settings.drain = self.settings.drain.timeout(timeout);
        self
    }

    /// A handle by which the server is asked and told things while it serves.
    ///
    /// ```
    /// use tautline::Server;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Server::bind("127.0.0.1:0").await?;
    /// let handle = server.handle();
    /// let health = handle.clone();
    /// let serving = server
    ///     .fallback(move |_, _| {
    ///         let status = if health.is_ready() { 200 } else { 503 };
    ///         async move { tautline::text_response(status.try_into().unwrap(), "") }
    ///     })
    ///     .serve(|mut ws| async move { Ok(ws.close().await?) });
    /// let serving = tokio::spawn(serving);
    /// // On a signal:
    /// handle.shutdown();
    /// serving.await??;
    /// assert!(!handle.is_ready());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        ServerHandle::new(self.settings.shared.clone())
    }

    /// Keeps the open WebSockets in this registry, to list, to message and to close them. Default:
    /// none.
    #[must_use]
    pub fn registry(mut self, registry: Registry) -> Self {
        self.settings.observers.registry = Some(registry);
        self
    }

    /// Counts connections, messages, bytes, limits that strike and more through the [`metrics`](mod@crate::metrics)
    /// facade. Call it after a recorder was installed. Default: nothing is counted.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn metrics(mut self) -> Self {
        self.settings.observers.instruments = Some(Arc::default());
        self.settings.shared.gate().meter();
        self
    }

    fn with_acceptor(mut self, change: impl FnOnce(Acceptor) -> Acceptor) -> Self {
        self.settings.acceptor = change(self.settings.acceptor);
        self
    }
}
