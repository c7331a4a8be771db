//! A node that can be killed as a process can.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tautline::{Role, WebSocket};
use tautline_hub::{Hub, HubBuilder};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::runtime::{Builder, Runtime};

/// A hub in a runtime of its own, with all that belongs to the node: the tasks of its broker, its workers, and its
/// halves of connections. When this is dropped, all of that is gone at once, wherever it was.
pub(crate) struct Process {
    hub: Hub,
    runtime: Option<Runtime>,
    killed: Arc<AtomicBool>,
}

impl Process {
    pub(crate) fn begin(hub: HubBuilder) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let hub = {
            let _within = runtime.enter();
            hub.build()
        };
        Self { hub, runtime: Some(runtime), killed: Arc::default() }
    }

    pub(crate) const fn hub(&self) -> &Hub {
        &self.hub
    }

    /// A connection to the node, which serves its half like this for as long as both live.
    pub(crate) fn connect<F>(&self, serve: impl FnOnce(Hub, Wire) -> F) -> Peer
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (near, far) = tokio::io::duplex(64 << 10);
        if let Some(runtime) = &self.runtime {
            let wire = Wire { stream: near, killed: self.killed.clone() };
            runtime.spawn(serve(self.hub.clone(), wire));
        }
        WebSocket::builder(Role::Client).build(far)
    }
}

/// The other half of a connection, which lives with the test.
pub(crate) type Peer = WebSocket<DuplexStream>;

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            self.killed.store(true, Ordering::SeqCst);
            // Without waiting, which nobody may in the runtime of the test.
            runtime.shutdown_background();
        }
    }
}

/// The node's half of a connection: when the node is killed, nothing is written any more. What ends with its runtime
/// would say goodbye, which a killed process does not.
pub(crate) struct Wire {
    stream: DuplexStream,
    killed: Arc<AtomicBool>,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.killed.load(Ordering::SeqCst) {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
