//! Whether what the streams of a connection have queued is written.
//!
//! `h2` does not tell. But each time its connection is polled, it writes all that it may, unless the
//! transport takes no more. So what was queued is written once a poll that began afterwards is over,
//! and the transport was not full then.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::sync::{Mutex, lock};

/// The polls of a connection. Clones are of the same one.
#[derive(Clone, Default)]
pub(crate) struct Written(Arc<Mutex<Polls>>);

/// What was queued before it is written by the poll with this number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(u64);

#[derive(Default)]
struct Polls {
    begun: u64,
    /// The last one that wrote everything.
    done: u64,
    /// The transport takes no more.
    full: bool,
    /// There are no others.
    over: bool,
    /// Polls the connection.
    connection: Option<Waker>,
    /// By stream: one for each at most.
    waiting: HashMap<u32, Waker>,
}

impl Polls {
    fn begin(&mut self, waker: &Waker) {
        self.begun += 1;
        match &mut self.connection {
            Some(connection) => connection.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// Who may look again.
    fn end(&mut self, over: bool) -> HashMap<u32, Waker> {
        self.over |= over;
        if self.full && !self.over {
            return HashMap::new();
        }
        self.done = self.begun;
        std::mem::take(&mut self.waiting)
    }

    fn mark(&self) -> Mark {
        Mark(self.begun + 1)
    }

    fn is_written(&self, mark: Mark) -> bool {
        self.over || self.done >= mark.0
    }
}

impl Written {
    /// Polls the connection.
    pub(crate) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        lock(&self.0).begin(cx.waker());
        let polled = poll(cx);
        self.end(polled.is_ready());
        polled
    }

    /// There will be no other poll.
    pub(crate) fn finish(&self) {
        self.end(true);
    }

    fn end(&self, over: bool) {
        let waiting = lock(&self.0).end(over);
        waiting.into_values().for_each(Waker::wake);
    }

    /// For what is queued by now.
    pub(crate) fn mark(&self) -> Mark {
        lock(&self.0).mark()
    }

    /// Ready once everything before the mark is written, or the connection is over.
    pub(crate) fn poll_written(&self, cx: &Context<'_>, stream: u32, mark: Mark) -> Poll<()> {
        let connection = {
            let mut polls = lock(&self.0);
            if polls.is_written(mark) {
                polls.waiting.remove(&stream);
                return Poll::Ready(());
            }
            polls.waiting.insert(stream, cx.waker().clone());
            // It may have been written by a poll that had begun before.
            polls.connection.clone()
        };
        if let Some(connection) = connection {
            connection.wake();
        }
        Poll::Pending
    }

    fn note<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        lock(&self.0).full = polled.is_pending();
        polled
    }

    /// The transport of the connection, which tells when it is full.
    pub(crate) fn watch<S>(&self, stream: S) -> Watched<S> {
        Watched { stream, written: self.clone() }
    }
}

/// A transport that tells when it is full.
pub(crate) struct Watched<S> {
    stream: S,
    written: Written,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written.note(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.written.note(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.written.note(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_queued_is_written_by_a_poll_that_begins_afterwards() {
        let mut polls = Polls::default();
        polls.begin(Waker::noop());
        // That one may have looked already.
        let mark = polls.mark();
        polls.end(false);
        assert!(!polls.is_written(mark));
        polls.begin(Waker::noop());
        assert!(!polls.is_written(mark));
        polls.end(false);
        assert!(polls.is_written(mark));
        assert!(!polls.is_written(polls.mark()));
    }

    #[test]
    fn a_full_transport_has_not_taken_everything() {
        let mut polls = Polls::default();
        let mark = polls.mark();
        for full in [true, true, false] {
            polls.waiting.insert(1, Waker::noop().clone());
            polls.begin(Waker::noop());
            polls.full = full;
            assert_eq!(polls.end(false).len(), usize::from(!full));
            assert_eq!(polls.is_written(mark), !full);
        }
    }

    #[test]
    fn nobody_waits_for_a_connection_that_is_over() {
        let mut polls = Polls { full: true, ..Polls::default() };
        polls.waiting.insert(1, Waker::noop().clone());
        assert_eq!(polls.end(true).len(), 1);
        assert!(polls.is_written(polls.mark()));
    }
}
