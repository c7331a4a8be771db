//! A stream for an HTTP library, which reads and writes without limits of its own.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::timer::{Timer, now};

/// How much is read before other tasks run. Those that take what was read find it in the cache, and
/// no peer that always has more delays the others. For messages of 16 KiB on 16 and on 256 streams
/// of HTTP/2, 64 to 128 KiB cost least, and less and more cost more (`docs/performance.md`).
const TURN: usize = 64 << 10;

/// Fails with `TimedOut` when the peer has taken no byte for as long as its patience lasts, and is
/// read in turns.
#[derive(Debug)]
pub(crate) struct Patient<S> {
    stream: S,
    patience: Duration,
    /// Until when the peer must take something, if it is being waited for.
    deadline: Option<Instant>,
    timer: Timer,
    /// How much of this turn is left, in bytes.
    turn: usize,
}

impl<S> Patient<S> {
    pub(crate) fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, deadline: None, timer: Timer::default(), turn: TURN }
    }

    #[cfg(feature = "service")]
    pub(crate) fn into_inner(self) -> S {
        self.stream
    }

    fn watch<T>(&mut self, polled: Poll<io::Result<T>>, cx: &Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.deadline = None;
            return polled;
        }
        let deadline = *self.deadline.get_or_insert_with(|| now() + self.patience);
        self.timer.poll(deadline, cx.waker()).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.turn == 0 {
            self.turn = TURN;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.turn = match polled {
            Poll::Ready(_) => self.turn.saturating_sub(buf.filled().len() - before),
            Poll::Pending => TURN,
        };
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(polled, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch(polled, cx)
    }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A client that asked for a large page and read none of it held its connection, and the page,
    /// for ever.
    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_given_up_and_one_that_is_slow_is_not() {
        let (near, mut far) = tokio::io::duplex(10);
        let mut stream = Patient::new(near, Duration::from_secs(5));
        let reading = tokio::spawn(async move {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(4)).await;
                far.read_exact(&mut [0; 10]).await.unwrap();
            }
            far
        });
        stream.write_all(&[1; 100]).await.unwrap();
        let _far = reading.await.unwrap();
        let before = now();
        let error = stream.write_all(&[1; 100]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(now() - before, Duration::from_secs(5));
    }
    // All that 256 streams of one connection had sent was read before the first of them was looked
    // at, and had left the cache by then.
    #[tokio::test]
    async fn others_run_after_each_turn_of_a_peer_that_always_has_more() {
        let mut stream = Patient::new(tokio::io::repeat(7), Duration::from_secs(5));
        for turn in 0..3 {
            let (mut read, mut over) = (0, false);
            let waited = std::future::poll_fn(|cx| {
                let mut bytes = [0; 5000];
                while !over {
                    let mut buf = ReadBuf::new(&mut bytes);
                    match Pin::new(&mut stream).poll_read(cx, &mut buf) {
                        Poll::Ready(result) => result.unwrap(),
                        // It has woken this task.
                        Poll::Pending => {
                            over = true;
                            return Poll::Pending;
                        }
                    }
                    read += buf.filled().len();
                }
                Poll::Ready(())
            });
            tokio::time::timeout(Duration::from_secs(5), waited).await.expect("woken");
            assert!((TURN..TURN + 5000).contains(&read), "{turn}: {read}");
        }
    }
}
