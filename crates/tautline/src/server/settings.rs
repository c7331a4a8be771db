//! What can be set of a server.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tautline_frame::Config;
use tautline_handshake::OriginPolicy;

use super::{Server, ServerHandle};
use crate::accept::Acceptor;
use crate::drain::Drain;
use crate::registry::Registry;
use crate::transport::Peer;
#[cfg(feature = "tls")]
use crate::transport::ServerTls;

impl<T> Server<T> {
    /// The address that the server listens on.
    ///
    /// # Errors
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.settings.listener.local_addr()
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

    /// Serves `wss` with these settings. Connections without TLS are refused then.
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
    /// [`DEFAULT_MAX_CONNECTIONS`](Server::DEFAULT_MAX_CONNECTIONS).
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

    /// How many steps of opening handshakes run before everything else on the runtime gets a turn;
    /// at least 1. Default: [`DEFAULT_HANDSHAKE_STEPS`](Server::DEFAULT_HANDSHAKE_STEPS).
    ///
    /// A step is what can be done without waiting for the client; the long ones are those of TLS.
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

    /// Counts connections, messages, bytes and more through the [`metrics`](mod@crate::metrics)
    /// facade. Call it after a recorder was installed. Default: nothing is counted.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn metrics(mut self) -> Self {
        self.settings.observers.instruments = Some(Arc::default());
        self
    }

    fn with_acceptor(mut self, change: impl FnOnce(Acceptor) -> Acceptor) -> Self {
        self.settings.acceptor = change(self.settings.acceptor);
        self
    }
}
