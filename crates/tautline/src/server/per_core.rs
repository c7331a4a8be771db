//! A server on each core.

use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use tokio::net::{TcpListener, ToSocketAddrs};
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use super::handle::Shared;
use super::{ListenOptions, Server};
use crate::limits::Gate;

impl Server {
    /// Runs a server on each of so many threads, which share the port: the system gives each new
    /// connection to one of them (`SO_REUSEPORT`), where it stays. Nothing is passed between cores,
    /// and handlers that are started by [`serve_local`](Server::serve_local) need not be `Send`.
    ///
    /// `serve` is called on each thread, with a server that listens already, and runs within a
    /// `LocalSet` on a runtime of that thread alone. What it captures is shared by all of them; so
    /// is what ends them: clone the signal of
    /// [`with_graceful_shutdown`](Self::with_graceful_shutdown) into each. Limits such as
    /// [`max_connections`](Self::max_connections) are those of one thread; but [`Limits`](crate::Limits) are
    /// for all threads together, with those that were set last.
    ///
    /// The system does not look at how busy a thread is. With few long connections, or with some that
    /// cost much more than others, the runtime of several threads that `#[tokio::main]` starts
    /// uses the cores better.
    ///
    /// ```no_run
    /// use std::thread::available_parallelism;
    /// use tautline::{Server, WebSocket};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cores = available_parallelism()?;
    /// Server::per_core("127.0.0.1:9001", cores, |server| async move {
    ///     let handler = |mut ws: WebSocket, ()| async move {
    ///         while let Some(message) = ws.next().await {
    ///             ws.feed(message?).await?;
    ///         }
    ///         Ok(())
    ///     };
    ///     server.serve_local(handler).await
    /// })
    /// .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The system's if it cannot listen, before any thread is started; `Unsupported` where it has no
    /// `SO_REUSEPORT` that shares connections out. Otherwise this returns when all threads have
    /// ended, with the first error of any; a panic of `serve` is one. Dropping this future leaves the
    /// threads running.
    pub async fn per_core<F, Fut>(
        address: impl ToSocketAddrs,
        cores: NonZeroUsize,
        serve: F,
    ) -> io::Result<()>
    where
        F: Fn(Self) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = io::Result<()>> + 'static,
    {
        let gate: Arc<Gate> = Arc::default();
        let mut ends = Vec::new();
        for (number, listener) in listen(address, cores).await?.into_iter().enumerate() {
            let (serve, gate) = (serve.clone(), gate.clone());
            let (sender, end) = oneshot::channel();
            thread::Builder::new().name(format!("tautline-{number}")).spawn(move || {
                // Nobody receives it if the caller has given up.
                let _ = sender.send(run(listener, (gate, cores), serve));
            })?;
            ends.push(end);
        }
        let mut outcome = Ok(());
        for end in ends {
            let ended = end.await.unwrap_or_else(|_| Err(io::Error::other("a server panicked")));
            outcome = outcome.and(ended);
        }
        outcome
    }
}

/// Serves on this thread.
fn run<F, Fut>(
    listener: std::net::TcpListener,
    (gate, cores): (Arc<Gate>, NonZeroUsize),
    serve: F,
) -> io::Result<()>
where
    F: Fn(Server) -> Fut,
    Fut: Future<Output = io::Result<()>> + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let serving = async move {
        let listener = TcpListener::from_std(listener)?;
        let mut server = Server::from_listener(listener);
        server.settings.shared = Arc::new(Shared::new(gate));
        server.settings.servers = cores;
        serve(server).await
    };
    LocalSet::new().block_on(&runtime, serving)
}

/// Listens so many times on one address.
async fn listen(
    address: impl ToSocketAddrs,
    count: NonZeroUsize,
) -> io::Result<Vec<std::net::TcpListener>> {
    // Elsewhere the last listener would get all connections.
    if !cfg!(any(target_os = "linux", target_os = "android")) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let options = ListenOptions::new().reuse_port(true);
    let first = options.listen(address).await?;
    // Port 0: the others get what the first one got.
    let address = first.local_addr()?;
    let mut listeners = vec![first.into_std()?];
    while listeners.len() < count.get() {
        listeners.push(options.listen(address).await?.into_std()?);
    }
    Ok(listeners)
}
