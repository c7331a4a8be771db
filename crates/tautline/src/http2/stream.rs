//! One stream of an HTTP/2 connection, as a stream of bytes (RFC 8441 section 5).

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;

use super::Http2Error;
use super::error;

/// How long the peer may take to end a stream that this end has ended.
const LINGER: Duration = Duration::from_secs(3);

/// The DATA of one stream, both ways.
///
/// What has arrived is given back to the windows when it is taken, so a reader that does not read
/// keeps its own window shut, and no other. Dropping it before its end was sent resets the stream
/// with CANCEL, as a TCP connection would be reset (RFC 8441 section 5).
pub(crate) struct Http2Stream {
    outgoing: SendStream<Bytes>,
    /// `None` at the end.
    incoming: Option<RecvStream>,
    /// DATA that has not been taken yet.
    data: Bytes,
    /// END_STREAM is sent.
    shut: bool,
    /// A client's connection lives as long as its streams.
    link: Option<Arc<dyn Carrier>>,
}

/// The connection of a stream.
pub(crate) trait Carrier: Send + Sync {
    /// Why the peer ended it, if it has said so.
    fn end(&self) -> Option<h2::Error>;
}

impl Http2Stream {
    pub(crate) const fn new(outgoing: SendStream<Bytes>, incoming: RecvStream) -> Self {
        Self { outgoing, incoming: Some(incoming), data: Bytes::new(), shut: false, link: None }
    }

    /// One whose end was sent with its headers.
    pub(crate) const fn shut(mut self) -> Self {
        self.shut = true;
        self
    }

    /// Keeps this until the stream is dropped.
    pub(crate) fn with_link(mut self, link: Arc<dyn Carrier>) -> Self {
        self.link = Some(link);
        self
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
            let Some(incoming) = &mut self.incoming else { return Poll::Ready(Ok(taken)) };
            match incoming.poll_data(cx) {
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
                Some(Err(error)) => return Poll::Ready(Err(self.explain(error))),
                None => return Poll::Ready(Err(self.why_closed(cx))),
            }
        }
    }

    /// Why nothing can be sent any more.
    fn why_closed(&mut self, cx: &mut Context<'_>) -> io::Error {
        match self.outgoing.poll_reset(cx) {
            Poll::Ready(Ok(reason)) => Http2Error::reset(reason).into(),
            Poll::Ready(Err(error)) => self.explain(error),
            Poll::Pending => io::ErrorKind::BrokenPipe.into(),
        }
    }

    /// A stream that ends with its connection knows only that. What the peer said before, in
    /// GOAWAY, is why.
    fn explain(&self, error: h2::Error) -> io::Error {
        let said = match &self.link {
            Some(link) if error.is_io() => link.end(),
            _ => None,
        };
        error::io(said.unwrap_or(error))
    }
}

impl fmt::Debug for Http2Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Http2Stream").field(&self.outgoing.stream_id().as_u32()).finish()
    }
}

impl AsyncRead for Http2Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let taken = match ready!(self.poll_fill(cx, buf)) {
            Ok(taken) => taken,
            Err(error) => return Poll::Ready(Err(self.explain(error))),
        };
        if let Some(incoming) = &mut self.incoming {
            // An error would mean that more is given back than came.
            let _ = incoming.flow_control().release_capacity(taken);
        }
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
            return self.outgoing.send_reset(Reason::CANCEL);
        }
        // Both ends are done when both have sent their Close, but some browsers do not end the
        // stream then. To reset it at once would look like a failure to them.
        if let Some(incoming) = self.incoming.take()
            && !incoming.is_end_stream()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(tokio::time::timeout(LINGER, discard(incoming)));
        }
    }
}

/// Takes what still comes, until the peer ends the stream.
async fn discard(mut incoming: RecvStream) {
    while let Some(Ok(data)) = incoming.data().await {
        let _ = incoming.flow_control().release_capacity(data.len());
    }
}
