//! A stream that is read while the node has room for what comes.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::broker::{BoxFuture, BrokerSink};

/// A stream that waits, ahead of each read, until there is room at the sink: so what is too much stays with the
/// server, which ends a connection that leaves it too much (`client-output-buffer-limit`).
pub(super) struct Gate<S> {
    stream: S,
    sink: Option<BrokerSink>,
    waiting: Option<BoxFuture<'static, ()>>,
}

impl<S> Gate<S> {
    /// Without a sink, it never waits.
    pub(super) const fn new(stream: S, sink: Option<BrokerSink>) -> Self {
        Self { stream, sink, waiting: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gate<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(sink) = &this.sink {
            let waiting = this.waiting.get_or_insert_with(|| {
                let sink = sink.clone();
                Box::pin(async move { sink.ready().await })
            });
            ready!(waiting.as_mut().poll(cx));
            this.waiting = None;
        }
        Pin::new(&mut this.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S> fmt::Debug for Gate<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("waits", &self.waiting.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn nothing_is_read_while_there_is_no_room() {
        let room = Arc::new(Semaphore::new(0));
        let wait = room.clone();
        let ready = move || -> BoxFuture<'static, ()> {
            let wait = wait.clone();
            Box::pin(async move { wait.acquire_owned().await.unwrap().forget() })
        };
        let (near, mut far) = tokio::io::duplex(64);
        let mut gate = Gate::new(near, Some(BrokerSink::bounded(|_| (), ready)));
        far.write_all(b"ab").await.unwrap();
        let mut byte = [0];
        tokio::select! {
            biased;
            read = gate.read_exact(&mut byte) => panic!("{read:?}"),
            () = tokio::task::yield_now() => {}
        }
        // Writing does not wait.
        gate.write_all(b"x").await.unwrap();
        room.add_permits(1);
        gate.read_exact(&mut byte).await.unwrap();
        assert_eq!(&byte, b"a");
    }
}
