//! What was read from a stream ahead of whoever reads it, in a buffer that is held only until it is taken.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tautline_frame::buffers;
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::io::poll_read_buf;

/// Bytes that were read and not taken.
#[derive(Debug, Default)]
pub(super) struct Ahead(Option<Box<BytesMut>>);

impl Ahead {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Reads as much as a buffer takes, when there is nothing. Ready with how much that was; 0 at the end of
    /// the stream.
    pub(super) fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut buffer = buffers::take();
        let read = poll_read_buf(Pin::new(stream), cx, &mut *buffer);
        if buffer.is_empty() {
            buffers::give(buffer);
        } else {
            self.0 = Some(buffer);
        }
        read
    }

    /// Gives what there is, as much as there is room for.
    pub(super) fn take(&mut self, buf: &mut ReadBuf<'_>) {
        let Some(mut ahead) = self.0.take() else { return };
        let count = ahead.len().min(buf.remaining());
        buf.put_slice(&ahead[..count]);
        ahead.advance(count);
        if ahead.is_empty() {
            buffers::give(ahead);
        } else {
            self.0 = Some(ahead);
        }
    }
}
