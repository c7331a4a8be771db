//! A stream under TLS, read in large pieces.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::consume_budget;

use super::ahead::Ahead;

/// The stream under TLS. rustls reads 4 KiB at a time, with a system call for each: here one call
/// reads all that has arrived, up to 64 KiB, into a buffer that is held only until rustls has taken
/// it.
#[derive(Debug)]
pub(crate) struct ReadAhead<S> {
    socket: S,
    /// What was read and has not been taken yet.
    ahead: Ahead,
}

impl<S> ReadAhead<S> {
    pub(crate) const fn new(socket: S) -> Self {
        Self { socket, ahead: Ahead::new() }
    }

    pub(crate) const fn get_ref(&self) -> &S {
        &self.socket
    }
}

impl<S: AsyncRead + Unpin> ReadAhead<S> {
    /// Ready when the buffer has bytes, or the stream has ended.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return self.ahead.poll_fill(&mut self.socket, cx).map_ok(drop);
        }
        // Counted as a read, so that a peer that sends many tiny records does not monopolize the
        // thread.
        ready!(pin!(consume_budget()).poll(cx));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_fill(cx))?;
        this.ahead.take(buf);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair() -> (ReadAhead<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (ReadAhead::new(listener.accept().await.unwrap().0), peer)
    }

    #[tokio::test]
    async fn all_bytes_come_in_order_and_no_buffer_is_held_without_any() {
        let (mut socket, mut peer) = pair().await;
        let sent: Vec<u8> = (0..10_000u32).map(|i| (i * 7) as u8).collect();
        peer.write_all(&sent).await.unwrap();
        socket.get_ref().readable().await.unwrap();
        let mut got = vec![0; 10_000];
        for piece in got.chunks_mut(3000) {
            socket.read_exact(piece).await.unwrap();
        }
        assert!(got == sent);
        assert!(socket.ahead.is_empty());
        drop(peer);
        assert_eq!(socket.read(&mut got).await.unwrap(), 0);
        assert!(socket.ahead.is_empty());
    }

    /// 10,000 tiny records that arrived with one system call must not be one turn of the task.
    #[tokio::test]
    async fn reads_from_memory_count_for_the_share_of_the_task() {
        let (mut socket, mut peer) = pair().await;
        peer.write_all(&[1; 10_000]).await.unwrap();
        socket.read_u8().await.unwrap();
        tokio::task::yield_now().await;
        let mut turns = 0;
        let mut count = 0;
        poll_fn(|cx| {
            turns += 1;
            while count < 1000 {
                let mut byte = [0];
                let mut into = ReadBuf::new(&mut byte);
                ready!(Pin::new(&mut socket).poll_read(cx, &mut into)).unwrap();
                count += 1;
            }
            Poll::Ready(())
        })
        .await;
        assert!(turns >= 1000 / 128, "{turns} turns");
    }
}
