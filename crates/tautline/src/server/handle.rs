//! A server seen from outside while it runs.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::connections::Connections;
use crate::limits::{Gate, LimitCounts, Limits};

/// What a server is doing: see [`Drain`](crate::Drain) for the stages of its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ServerStage {
    /// It does not serve yet.
    #[default]
    Starting,
    /// It accepts connections.
    Serving,
    /// It is about to shut down and still accepts connections.
    Leaving,
    /// It accepts no more, and its connections are being closed.
    Closing,
    /// It has ended.
    Ended,
}

/// A running [`Server`](crate::Server), for other tasks: from
/// [`Server::handle`](crate::Server::handle). Clones are of the same server, and do not keep it
/// alive.
///
/// ```
/// use tautline::Server;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::bind("127.0.0.1:0").await?;
/// let handle = server.handle();
/// let serving = tokio::spawn(server.serve(|mut ws| async move { Ok(ws.close().await?) }));
/// // During an attack:
/// handle.set_limits(handle.limits().connection_rate(2).connection_burst(10));
/// println!("refused: {}", handle.counts().connection_rate);
/// # assert_eq!(handle.limits().get_connection_burst(), 10);
/// // At the end:
/// handle.shutdown();
/// serving.await??;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ServerHandle {
    shared: Arc<Shared>,
}

/// What a server and its handles share.
#[derive(Debug)]
pub(super) struct Shared {
    gate: Arc<Gate>,
    connections: Connections,
    /// Whether it was asked to shut down.
    asked: watch::Sender<bool>,
    stage: watch::Sender<ServerStage>,
}

impl Shared {
    /// With limits that others may share.
    pub(super) fn new(gate: Arc<Gate>) -> Self {
        Self {
            connections: Connections::with_gate(gate.clone()),
            gate,
            asked: watch::Sender::default(),
            stage: watch::Sender::default(),
        }
    }

    pub(super) const fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    pub(super) const fn connections(&self) -> &Connections {
        &self.connections
    }
}

impl ServerHandle {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Has the server shut down as its [`Drain`](crate::Drain) says. It does not wait: see
    /// [`ended`](Self::ended). A server that does not serve yet ends as soon as it would.
    pub fn shutdown(&self) {
        self.shared.asked.send_replace(true);
    }

    /// Whether the server wants new clients: from when it serves until it is asked to shut down. For
    /// the health checks of load balancers.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.stage() == ServerStage::Serving && !*self.shared.asked.borrow()
    }

    /// What the server is doing.
    #[must_use]
    pub fn stage(&self) -> ServerStage {
        *self.shared.stage.borrow()
    }

    /// How many connections there are, handshakes included.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.shared.connections.count()
    }

    /// The limits that apply.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.shared.gate.limits()
    }

    /// Has these limits apply from now on. No connection is closed that is already open, though it
    /// counts: for the networks that its address belonged to when it was accepted.
    pub fn set_limits(&self, limits: Limits) {
        self.shared.gate.set_limits(limits);
    }

    /// How often each limit has struck.
    #[must_use]
    pub fn counts(&self) -> LimitCounts {
        self.shared.gate.counts()
    }

    /// Waits until the server has ended, or its future was dropped. Cancel-safe.
    pub async fn ended(&self) {
        let mut stage = self.shared.stage.subscribe();
        // The sender is in `self`.
        let _ = stage.wait_for(|stage| *stage == ServerStage::Ended).await;
    }
}

/// A server while it serves. When this is dropped, it has ended.
pub(super) struct Serving<'a>(&'a Shared);

impl<'a> Serving<'a> {
    pub(super) fn begin(shared: &'a Shared) -> Self {
        shared.stage.send_replace(ServerStage::Serving);
        Self(shared)
    }

    /// Waits until the server is to stop accepting: it was asked to shut down by a handle, or by
    /// `stop`, and the notice is over.
    pub(super) async fn until_closing(&self, stop: impl Future<Output = ()>, notice: Duration) {
        let mut asked = self.0.asked.subscribe();
        tokio::select! {
            () = stop => {}
            _ = asked.wait_for(|asked| *asked) => {}
        }
        if !notice.is_zero() {
            self.0.stage.send_replace(ServerStage::Leaving);
            tracing::info!(?notice, "not ready any more");
            tokio::time::sleep(notice).await;
        }
        self.0.stage.send_replace(ServerStage::Closing);
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        self.0.stage.send_replace(ServerStage::Ended);
    }
}
