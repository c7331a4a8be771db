//! A stream of which the first bytes were read already.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// Reads what was read before, and then the stream.
#[derive(Debug)]
pub(crate) struct Rewound<S> {
    /// `None` once it was given back.
    stream: Option<S>,
    read: BytesMut,
    owner: Option<oneshot::Sender<S>>,
}

impl<S> Rewound<S> {
    pub(crate) const fn new(stream: S, read: BytesMut) -> Self {
        Self { stream: Some(stream), read, owner: None }
    }

    /// Gives the stream back when this is dropped.
    #[cfg(any(test, feature = "http2"))]
    pub(crate) fn with_owner(mut self, owner: oneshot::Sender<S>) -> Self {
        self.owner = Some(owner);
        self
    }
}

impl<S> Rewound<S> {
    /// The stream, and what is still to be read before it. `None` once it was given back.
    #[cfg(feature = "service")]
    pub(crate) fn into_parts(mut self) -> Option<(S, BytesMut)> {
        Some((self.stream.take()?, std::mem::take(&mut self.read)))
    }
}

impl<S: Unpin> Rewound<S> {
    fn stream(&mut self) -> io::Result<Pin<&mut S>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<S> Drop for Rewound<S> {
    fn drop(&mut self) {
        if let (Some(owner), Some(stream)) = (self.owner.take(), self.stream.take()) {
            let _ = owner.send(stream);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return self.stream()?.poll_read(cx, buf);
        }
        let count = self.read.len().min(buf.remaining());
        buf.put_slice(&self.read[..count]);
        self.read.advance(count);
        if self.read.is_empty() {
            self.read = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_was_read_comes_first_and_the_stream_is_given_back() {
        let (near, mut far) = tokio::io::duplex(100);
        let (owner, owned) = oneshot::channel();
        let mut rewound = Rewound::new(near, BytesMut::from(&b"first "[..])).with_owner(owner);
        far.write_all(b"and then").await.unwrap();
        let mut read = [0; 14];
        for byte in &mut read {
            *byte = rewound.read_u8().await.unwrap();
        }
        assert_eq!(&read, b"first and then");
        rewound.write_all(b"out").await.unwrap();
        drop(rewound);
        let mut near = owned.await.unwrap();
        near.write_all(b" again").await.unwrap();
        drop(near);
        let mut out = String::new();
        far.read_to_string(&mut out).await.unwrap();
        assert_eq!(out, "out again");
    }
}
