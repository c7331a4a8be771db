//! Looking at a connection ahead of its turn.

use std::fmt;
use std::hint::black_box;
use std::sync::Weak;

/// For a task that writes to many connections: see [`Writer::prefetch`](super::Writer::prefetch).
#[derive(Clone)]
pub struct Prefetch(pub(super) Weak<dyn Send + Sync>);

impl Prefetch {
    /// Has the processor fetch what [`try_send_prepared`](super::Writer::try_send_prepared) begins with, without
    /// waiting for it.
    #[inline]
    pub fn fetch(&self) {
        // The count is beside the lock.
        black_box(self.0.strong_count());
    }
}

impl fmt::Debug for Prefetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prefetch").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tautline_frame::Role;
    use tokio::io::AsyncReadExt;

    use crate::WebSocket;

    #[tokio::test]
    async fn a_connection_ends_though_somebody_would_look_at_it() {
        let (near, mut far) = tokio::io::duplex(64);
        let (reader, writer) = WebSocket::builder(Role::Server).build(near).split();
        let ahead = writer.prefetch();
        ahead.fetch();
        let ws = reader.reunite(writer).expect("the only halves");
        ahead.fetch();
        drop(ws);
        ahead.fetch();
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.expect("the end");
    }
}
