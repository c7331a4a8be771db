//! A server while it runs.

use std::sync::Arc;

use crate::limits::{Gate, LimitCounts, Limits};

/// What can be asked of a [`Server`](crate::Server), and changed, while it runs: see
/// [`Server::handle`](crate::Server::handle). Clones are of the same server. It does not keep the
/// server from ending.
///
/// ```
/// use tautline::Server;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::bind("127.0.0.1:0").await?;
/// let handle = server.handle();
/// tokio::spawn(server.serve(|mut ws| async move { Ok(ws.close().await?) }));
/// // During an attack:
/// handle.set_limits(handle.limits().connection_rate(2).connection_burst(10));
/// println!("refused: {}", handle.counts().connection_rate);
/// # assert_eq!(handle.limits().get_connection_burst(), 10);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ServerHandle {
    gate: Arc<Gate>,
}

impl ServerHandle {
    pub(super) const fn new(gate: Arc<Gate>) -> Self {
        Self { gate }
    }

    /// The limits that apply.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.gate.limits()
    }

    /// Has these limits apply from now on. No connection is closed that is already open, though it
    /// counts: for the networks that its address belonged to when it was accepted.
    pub fn set_limits(&self, limits: Limits) {
        self.gate.set_limits(limits);
    }

    /// How often each limit has struck.
    #[must_use]
    pub fn counts(&self) -> LimitCounts {
        self.gate.counts()
    }
}
