//! One stream of an HTTP/2 connection, as a stream of bytes (RFC 8441 section 5).

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tautline_frame::WriteQueue;
use tautline_frame::session::Session;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;

use super::data::{Data, SHORT};
use super::written::{Mark, Written};
use super::{Http2Error, MIN_WINDOW, error};
use crate::timer::now;

/// The most that one write asks for.
const MOST: usize = 64 << 10;

/// DATA of this length was cut by a peer that sends no more at once: the least that an end may have
/// as its limit (RFC 9113 section 4.2).
const CUT: usize = 16 << 10;

/// How many short writes may follow one that found room, without asking for room again, which costs
/// as much as sending. If the window is shut meanwhile, so many wait in `h2`, and the next one waits
/// for them.
const UNASKED: u8 = 15;

/// How many bytes are taken before they are given back to the windows: with short messages, giving
/// them back costs as much as taking them. A quarter of the smallest window, so that the peer is
/// never without room for what this end has taken.
const GIVE_BACK: usize = MIN_WINDOW as usize / 4;

/// How long the peer may take to end a stream that this end has ended.
const LINGER: Duration = Duration::from_secs(3);

/// The DATA of one stream, both ways.
///
/// What has arrived is given back to the windows when it is taken, so a reader that does not read
/// keeps its own window shut, and no other. Dropping it before its end was sent resets the stream
/// with CANCEL, as a TCP connection would be reset (RFC 8441 section 5).
pub(crate) struct Http2Stream {
    outgoing: SendStream<Data>,
    /// `None` if it is read elsewhere.
    incoming: Option<RecvStream>,
    /// DATA of which something has not been taken yet: what is empty would still hold the memory
    /// that the connection was read into.
    data: Option<Bytes>,
    /// How many bytes were taken and not given back to the windows.
    taken: usize,
    /// How many of [`UNASKED`] are left.
    unasked: u8,
    /// END_STREAM is sent.
    shut: bool,
    /// A client's connection lives as long as its streams.
    link: Option<Arc<dyn Carrier>>,
    /// Up to the end of the stream, on this connection of a client.
    last: Option<Mark>,
}

/// The connection of a stream.
pub(crate) trait Carrier: Send + Sync {
    /// Why the peer ended it, if it has said so.
    fn end(&self) -> Option<h2::Error>;
    /// What of its streams is written.
    fn written(&self) -> &Written;
}

impl Http2Stream {
    pub(crate) const fn new(outgoing: SendStream<Data>, incoming: RecvStream) -> Self {
        Self {
            outgoing,
            incoming: Some(incoming),
            data: None,
            taken: 0,
            unasked: 0,
            shut: false,
            link: None,
            last: None,
        }
    }

    /// One that only sends: what is received is read elsewhere.
    #[cfg(feature = "service")]
    pub(crate) const fn sending(outgoing: SendStream<Data>) -> Self {
        Self {
            outgoing,
            incoming: None,
            data: None,
            taken: 0,
            unasked: 0,
            shut: false,
            link: None,
            last: None,
        }
    }

    /// Ends it with trailers.
    #[cfg(feature = "service")]
    pub(crate) fn finish(&mut self, trailers: http::HeaderMap) -> io::Result<()> {
        self.shut = true;
        self.outgoing.send_trailers(trailers).map_err(error::io)
    }

    /// One whose end was sent with its headers.
    pub(crate) const fn shut(mut self) -> Self {
        self.shut = true;
        self
    }

    /// Ready when the stream is reset, or its connection has ended.
    #[cfg(feature = "service")]
    pub(crate) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.outgoing.poll_reset(cx).map(|_| ())
    }

    /// Keeps this until the stream is dropped.
    pub(crate) fn with_link(mut self, link: Arc<dyn Carrier>) -> Self {
        self.link = Some(link);
        self
    }

    /// Waits for DATA; none at the end.
    #[inline]
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        while self.data.is_none() {
            let Some(incoming) = &mut self.incoming else { break };
            match ready!(incoming.poll_data(cx)) {
                // Empty DATA is no end (RFC 9113 section 6.1).
                Some(data) => self.data = Some(data?).filter(|data| !data.is_empty()),
                None => break,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Puts DATA there, as much as there is room for, and returns how much; 0 at the end.
    #[inline]
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        room: usize,
        mut put: impl FnMut(&[u8]),
    ) -> Poll<io::Result<usize>> {
        let mut count = 0;
        loop {
            match self.poll_data(cx) {
                Poll::Ready(Ok(())) => {}
                // It is told next time.
                _ if count > 0 => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.explain(error))),
                Poll::Pending => return Poll::Pending,
            }
            let Some(data) = &mut self.data else { break };
            let cut = data.len() == CUT;
            let some = data.len().min(room - count);
            put(&data[..some]);
            count += some;
            if some < data.len() {
                data.advance(some);
                break;
            }
            self.data = None;
            // The rest has often arrived too, and a message that is there as a whole is unmasked
            // while it is copied.
            if !cut || count == room {
                break;
            }
        }
        self.give_back(count);
        Poll::Ready(Ok(count))
    }

    /// Moves DATA to the session, or tells it of the end. A session that has to wait is not asked
    /// for a buffer.
    pub(crate) fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        session: &mut Session,
    ) -> Poll<io::Result<()>> {
        match ready!(self.poll_data(cx)) {
            Ok(()) => self.poll_taken(cx, session),
            Err(error) => Poll::Ready(Err(self.explain(error))),
        }
    }

    #[inline(never)]
    fn poll_taken(&mut self, cx: &mut Context<'_>, session: &mut Session) -> Poll<io::Result<()>> {
        let (buffer, room) = session.read_buffer();
        let count = ready!(self.poll_fill(cx, room, |data| buffer.extend_from_slice(data)))?;
        match count {
            0 => session.handle_eof(now()),
            count => session.handle_read(count, now()),
        }
        Poll::Ready(Ok(()))
    }

    /// So many bytes were taken.
    fn give_back(&mut self, count: usize) {
        self.taken += count;
        if self.taken >= GIVE_BACK
            && let Some(incoming) = &mut self.incoming
        {
            // An error would mean that more is given back than came.
            let _ = incoming.flow_control().release_capacity(self.taken);
            self.taken = 0;
        }
    }

    /// How many bytes of so many the windows of the stream and of the connection, and the buffer of
    /// this end, have room for.
    fn poll_room(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        loop {
            let wanted = wanted.min(MOST);
            self.outgoing.reserve_capacity(wanted);
            let room = match self.outgoing.poll_capacity(cx) {
                // The peer has made its window smaller meanwhile. It was told without being asked
                // to wake.
                Poll::Ready(Some(Ok(0))) => continue,
                Poll::Ready(Some(Ok(room))) => room,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(self.explain(error))),
                Poll::Ready(None) => return Poll::Ready(Err(self.why_closed(cx))),
                // It tells of room that is new, not of what was left.
                Poll::Pending => self.outgoing.capacity(),
            };
            if room >= wanted {
                return Poll::Ready(Ok(wanted));
            }
            // What is granted counts against the window of the whole connection, even if this
            // stream's user then awaits something else: so no more is asked for than shows that
            // there is room.
            self.outgoing.reserve_capacity(room.max(1));
            if room > 0 {
                return Poll::Ready(Ok(room));
            }
            if self.outgoing.capacity() == 0 {
                return Poll::Pending;
            }
        }
    }

    #[inline]
    fn send(&mut self, cx: &mut Context<'_>, data: Data) -> Poll<io::Result<usize>> {
        let count = data.remaining();
        match self.outgoing.send_data(data, false) {
            Ok(()) => Poll::Ready(Ok(count)),
            Err(_) => Poll::Ready(Err(self.why_closed(cx))),
        }
    }

    /// [`poll_room`](Self::poll_room), unless it is so little that it need not be asked for.
    #[inline]
    fn poll_room_for(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        if wanted <= SHORT && self.unasked > 0 {
            self.unasked -= 1;
            return Poll::Ready(Ok(wanted));
        }
        let room = ready!(self.poll_room(cx, wanted))?;
        self.unasked = if room == wanted { UNASKED } else { 0 };
        Poll::Ready(Ok(room))
    }

    /// Sends from the queue without a copy what is long enough for that.
    pub(crate) fn poll_give(
        &mut self,
        cx: &mut Context<'_>,
        queue: &mut WriteQueue,
    ) -> Poll<io::Result<usize>> {
        let room = ready!(self.poll_room_for(cx, queue.remaining()))?;
        let data = match queue.split_chunks(room) {
            Some(pieces) => Data::pieces(pieces),
            None => {
                let count = room.min(queue.chunk().len());
                let data = Data::copy(count, [queue.chunk()]);
                queue.advance(count);
                data
            }
        };
        self.send(cx, data)
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
        self.poll_fill(cx, buf.remaining(), |data| buf.put_slice(data)).map_ok(|_| ())
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
        let room = ready!(self.poll_room_for(cx, buf.len()))?;
        self.send(cx, Data::copy(room, [buf]))
    }

    /// One DATA for all pieces: a header and its payload are not sent apart.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total = bufs.iter().map(|buf| buf.len()).sum();
        if total == 0 {
            return Poll::Ready(Ok(0));
        }
        let room = ready!(self.poll_room(cx, total))?;
        self.send(cx, Data::copy(room, bufs.iter().map(|buf| &**buf)))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// What was written is with the task of the HTTP/2 connection, which sends it without being asked. To
    /// wait for that would wake two tasks for each message; only the end does.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// A client's program may end as soon as its WebSocket has, and the task of the connection with
    /// it; so the end waits until it is written, and the Close before it.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            self.shut = true;
            if self.outgoing.send_data(Data::empty(), true).is_err() {
                return Poll::Ready(Err(self.why_closed(cx)));
            }
            self.last = self.link.as_ref().map(|link| link.written().mark());
        }
        match (&self.link, self.last) {
            (Some(link), Some(last)) => {
                let stream = self.outgoing.stream_id().as_u32();
                link.written().poll_written(cx, stream, last).map(Ok)
            }
            _ => Poll::Ready(Ok(())),
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

#[cfg(all(test, not(tautline_loom)))]
mod tests;
