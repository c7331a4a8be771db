//! One stream of an HTTP/2 connection, as a stream of bytes (RFC 8441 section 5).

mod error;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub use self::error::Http2Error;

/// The DATA of one stream, both ways.
///
/// A reader that does not read keeps its own window shut, and no other: what has arrived is given
/// back to the windows when it is taken. Dropping it before the end resets the stream with CANCEL,
/// as dropping a TCP connection with unread data resets that (RFC 8441 section 5).
pub(crate) struct Http2Stream {
    outgoing: SendStream<Bytes>,
    incoming: RecvStream,
    /// DATA that has not been taken yet.
    data: Bytes,
    /// END_STREAM is sent.
    shut: bool,
}

impl Http2Stream {
    pub(crate) const fn new(outgoing: SendStream<Bytes>, incoming: RecvStream) -> Self {
        Self { outgoing, incoming, data: Bytes::new(), shut: false }
    }

    /// Takes DATA until the buffer is full or nothing more has arrived. Returns how much.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<usize, h2::Error>> {
        let mut taken = 0;
        loop {
            let count = self.data.len().min(buf.remaining());
            buf.put_slice(&self.data[..count]);
            self.data.advance(count);
            taken += count;
            if buf.remaining() == 0 {
                return Poll::Ready(Ok(taken));
            }
            match self.incoming.poll_data(cx) {
                // Empty DATA is no end (RFC 9113 section 6.1).
                Poll::Ready(Some(Ok(data))) => self.data = data,
                Poll::Ready(None) => return Poll::Ready(Ok(taken)),
                // It comes again, after what was taken.
                Poll::Ready(Some(Err(_))) | Poll::Pending if taken > 0 => {
                    return Poll::Ready(Ok(taken));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// How many bytes the windows of the stream and of the connection, and the buffer of this end,
    /// have room for.
    fn poll_room(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        loop {
            let room = self.outgoing.capacity();
            if room > 0 {
                return Poll::Ready(Ok(room));
            }
            // What is granted counts against the window of the whole connection: no more than
            // will be sent.
            self.outgoing.reserve_capacity(wanted);
            match ready!(self.outgoing.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(error::io(error))),
                None => return Poll::Ready(Err(self.why_closed(cx))),
            }
        }
    }

    /// Why nothing can be sent any more.
    fn why_closed(&mut self, cx: &mut Context<'_>) -> io::Error {
        match self.outgoing.poll_reset(cx) {
            Poll::Ready(Ok(reason)) => Http2Error::reset(reason).into(),
            Poll::Ready(Err(error)) => error::io(error),
            Poll::Pending => io::ErrorKind::BrokenPipe.into(),
        }
    }
}

impl AsyncRead for Http2Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let taken = ready!(self.poll_fill(cx, buf)).map_err(error::io)?;
        // An error would mean that more is given back than came.
        let _ = self.incoming.flow_control().release_capacity(taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Http2Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let room = ready!(self.poll_room(cx, buf.len()))?;
        let count = room.min(buf.len());
        let sent = self.outgoing.send_data(Bytes::copy_from_slice(&buf[..count]), false);
        match sent {
            Ok(()) => Poll::Ready(Ok(count)),
            Err(_) => Poll::Ready(Err(self.why_closed(cx))),
        }
    }

    /// What was written is with the HTTP/2 connection, which sends it without being asked.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.shut {
            return Poll::Ready(Ok(()));
        }
        self.shut = true;
        match self.outgoing.send_data(Bytes::new(), true) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(_) => Poll::Ready(Err(self.why_closed(cx))),
        }
    }
}

impl Drop for Http2Stream {
    fn drop(&mut self) {
        if !self.shut {
            self.outgoing.send_reset(Reason::CANCEL);
        }
    }
}
