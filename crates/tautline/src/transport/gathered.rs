//! A stream for `h2`, which writes each frame by itself, and reads one or two at a time.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tautline_frame::buffers;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ahead::Ahead;
use crate::sync::{Arc, Mutex, lock};

/// A longer piece is read or written by itself: a system call for so much costs less than copying
/// it.
const LONG: usize = buffers::BUFFER_SIZE / 2;

/// So much in one read, and the next is one that reads ahead. With less, the buffer of `h2` has room
/// for all of it anyway.
const MUCH: usize = 8 << 10;

/// The stream as it is read and written: in large pieces, so that many frames share a system call,
/// and a segment of TCP. What is written during a [poll](Gatherer::poll) leaves at the end of it;
/// at any other time it is written and flushed at once.
///
/// It holds up to two buffers of 65 KiB: one while something was read and not taken, and one while
/// something was gathered and not written. When that is full, the writer waits for the stream.
#[derive(Debug)]
pub(crate) struct Gathered<S>(Arc<Mutex<Gathering<S>>>);

/// Polls the user of a [`Gathered`].
#[derive(Debug)]
pub(crate) struct Gatherer<S>(Arc<Mutex<Gathering<S>>>);

#[derive(Debug)]
struct Gathering<S> {
    stream: S,
    /// Whether more may be read than was asked for.
    reads_ahead: bool,
    /// How much the last read brought.
    last_read: usize,
    /// What was read and not taken.
    ahead: Ahead,
    /// Whether the user is being polled, so that what it writes can wait for the end of that.
    polling: bool,
    /// What was gathered and not written.
    queue: Option<Box<BytesMut>>,
    /// Why it was not written: the user is told when it asks for anything next.
    failed: Option<io::Error>,
}

impl<S> Gathered<S> {
    /// Reads ahead if `reads_ahead`: what is decrypted in memory comes without a system call.
    pub(crate) fn new(stream: S, reads_ahead: bool) -> (Self, Gatherer<S>) {
        let shared = Arc::new(Mutex::new(Gathering {
            stream,
            reads_ahead,
            last_read: 0,
            ahead: Ahead::new(),
            polling: false,
            queue: None,
            failed: None,
        }));
        (Self(shared.clone()), Gatherer(shared))
    }
}

impl<S> Gathering<S> {
    fn check(&mut self) -> io::Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }
}

impl<S: AsyncWrite + Unpin> Gatherer<S> {
    /// Polls the user with this, and then writes what it has written.
    pub(crate) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        user: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        lock(&self.0).polling = true;
        let polled = user(cx);
        let mut gathering = lock(&self.0);
        gathering.polling = false;
        if gathering.queue.is_some()
            && let Poll::Ready(Err(error)) = gathering.poll_flush(cx)
        {
            gathering.failed = Some(error);
            cx.waker().wake_by_ref();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> Gathering<S> {
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        let total = bufs.iter().map(|buf| buf.len()).sum();
        let room = self.queue.as_ref().map_or(LONG, |queue| queue.capacity() - queue.len());
        // `h2` gathers short frames itself, and writes them as one piece.
        let in_pieces = self.queue.is_some() || bufs.len() > 1;
        let waits = self.polling && in_pieces && (1..=LONG).contains(&total);
        if !waits || room < total {
            ready!(self.poll_empty(cx))?;
        }
        if !waits {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        }
        let queue = self.queue.get_or_insert_with(buffers::take);
        for buf in bufs {
            queue.extend_from_slice(buf);
        }
        Poll::Ready(Ok(total))
    }

    /// Writes what was gathered.
    fn poll_empty(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(queue) = &mut self.queue {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, queue))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            queue.advance(count);
            if queue.is_empty()
                && let Some(queue) = self.queue.take()
            {
                buffers::give(queue);
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_empty(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

impl<S: AsyncRead + Unpin> Gathering<S> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        if self.ahead.is_empty() {
            if !self.reads_ahead || self.last_read < MUCH || buf.remaining() > LONG {
                let before = buf.filled().len();
                ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
                self.last_read = buf.filled().len() - before;
                return Poll::Ready(Ok(()));
            }
            let count = ready!(self.ahead.poll_fill(&mut self.stream, cx))?;
            if count > 0 {
                self.last_read = count;
            }
        }
        self.ahead.take(buf);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        lock(&self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_write(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_write(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathering = lock(&self.0);
        gathering.check()?;
        if gathering.polling && gathering.queue.is_some() {
            return Poll::Ready(Ok(()));
        }
        gathering.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathering = lock(&self.0);
        ready!(gathering.poll_empty(cx))?;
        Pin::new(&mut gathering.stream).poll_shutdown(cx)
    }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use super::*;

    /// What is written, in the pieces in which it came, and what there is to read.
    #[derive(Default)]
    struct Wire {
        writes: Vec<Vec<u8>>,
        flushes: usize,
        /// How many bytes it still takes.
        room: usize,
        broken: bool,
        shut: bool,
        input: BytesMut,
        reads: usize,
    }

    impl AsyncWrite for Wire {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            if self.broken {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            let count = buf.len().min(self.room);
            if count == 0 {
                return Poll::Pending;
            }
            self.room -= count;
            self.writes.push(buf[..count].to_vec());
            Poll::Ready(Ok(count))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = bufs.iter().flat_map(|buf| buf.to_vec()).collect();
            self.poll_write(cx, &all)
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.flushes += 1;
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.shut = true;
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncRead for Wire {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.reads += 1;
            let count = self.input.len().min(buf.remaining());
            buf.put_slice(&self.input.split_to(count));
            Poll::Ready(Ok(()))
        }
    }

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn gathered(room: usize, input: &[u8]) -> (Gathered<Wire>, Gatherer<Wire>) {
        let input = BytesMut::from(input);
        Gathered::new(Wire { room, input, ..Wire::default() }, true)
    }

    /// Writes and flushes a frame, as `h2` does.
    fn frame(io: &mut Gathered<Wire>, cx: &mut Context<'_>, len: usize) -> Poll<io::Result<()>> {
        let bytes: Vec<u8> = (0..len).map(|at| (at * 7 + len) as u8).collect();
        let (head, payload) = bytes.split_at(len.min(9));
        let mut written = 0;
        while written < len {
            let bufs = match written {
                0 => [IoSlice::new(head), IoSlice::new(payload)],
                _ => [IoSlice::new(&bytes[written..]), IoSlice::new(&[])],
            };
            written += ready!(Pin::new(&mut *io).poll_write_vectored(cx, &bufs))?;
        }
        Pin::new(io).poll_flush(cx)
    }

    fn lengths(io: &Gathered<Wire>) -> Vec<usize> {
        lock(&io.0).stream.writes.iter().map(Vec::len).collect()
    }

    // With messages of 16 KiB, each DATA was a system call and a segment of its own.
    #[test]
    fn the_frames_of_a_poll_leave_in_one_write_and_others_at_once() {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut io, mut gatherer) = gathered(usize::MAX, b"");
        assert!(frame(&mut io, &mut cx, 100).is_ready());
        assert_eq!(lengths(&io), [100], "nobody gathers");
        let polled = gatherer.poll(&mut cx, |cx| {
            for len in [16_393, 13, 16_393] {
                assert!(frame(&mut io, cx, len).is_ready());
            }
            assert_eq!(lengths(&io), [100]);
            Poll::Ready(7)
        });
        assert_eq!(polled, Poll::Ready(7));
        assert_eq!(lengths(&io), [100, 2 * 16_393 + 13]);
        assert_eq!(lock(&io.0).stream.flushes, 2);
        assert!(lock(&io.0).queue.is_none(), "no buffer is held while nothing waits");
        assert!(gatherer.poll(&mut cx, |_| Poll::<()>::Pending).is_pending());
        assert_eq!(lock(&io.0).stream.flushes, 2, "nothing was written");
    }

    #[test]
    fn what_is_long_follows_what_was_gathered() {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut io, mut gatherer) = gathered(usize::MAX, b"");
        let _ = gatherer.poll(&mut cx, |cx| {
            for len in [10, LONG + 1, 20, LONG, LONG] {
                assert!(frame(&mut io, cx, len).is_ready());
            }
            Poll::<()>::Pending
        });
        assert_eq!(lengths(&io), [10, LONG + 1, 20 + LONG, LONG]);
    }

    #[test]
    fn one_piece_is_written_at_once_unless_others_wait() {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut io, mut gatherer) = gathered(usize::MAX, b"");
        let _ = gatherer.poll(&mut cx, |cx| {
            for len in [7000, 8000] {
                let written = Pin::new(&mut io).poll_write(cx, &vec![1; len]);
                assert!(matches!(written, Poll::Ready(Ok(count)) if count == len));
                assert_eq!(lengths(&io), [7000], "the second one follows a frame that waits");
                assert!(frame(&mut io, cx, 300).is_ready());
            }
            Poll::<()>::Pending
        });
        assert_eq!(lengths(&io), [7000, 300 + 8000 + 300]);
    }

    #[test]
    fn a_writer_waits_when_the_buffer_is_full_and_nothing_is_lost() {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut io, mut gatherer) = gathered(1000, b"");
        let (mut plain, _other) = gathered(usize::MAX, b"");
        let mut sent = 0;
        for round in 0..50 {
            let _ = gatherer.poll(&mut cx, |cx| {
                while sent < 20 && frame(&mut io, cx, 9000 + sent).is_ready() {
                    sent += 1;
                }
                Poll::<()>::Pending
            });
            assert!(round > 0 || sent == 7, "65 KiB, and no more: {sent}");
            lock(&io.0).stream.room = 7000;
        }
        for len in 9000..9020 {
            assert!(frame(&mut plain, &mut cx, len).is_ready());
        }
        let all = |io: &Gathered<Wire>| lock(&io.0).stream.writes.concat();
        assert_eq!(all(&io), all(&plain));
    }

    #[test]
    fn an_error_after_the_poll_is_told_in_the_next() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let mut cx = Context::from_waker(&waker);
        let (mut io, mut gatherer) = gathered(usize::MAX, b"");
        lock(&io.0).stream.broken = true;
        let _ = gatherer.poll(&mut cx, |cx| {
            assert!(frame(&mut io, cx, 10).is_ready());
            Poll::<()>::Pending
        });
        assert_eq!(count.0.load(Ordering::SeqCst), 1, "it is polled again");
        let mut bytes = [0; 10];
        let read = Pin::new(&mut io).poll_read(&mut cx, &mut ReadBuf::new(&mut bytes));
        let Poll::Ready(Err(error)) = read else { panic!("{read:?}") };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn what_was_gathered_leaves_before_the_end() {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut io, mut gatherer) = gathered(0, b"");
        let _ = gatherer.poll(&mut cx, |cx| frame(&mut io, cx, 10));
        assert!(Pin::new(&mut io).poll_shutdown(&mut cx).is_pending());
        assert!(!lock(&io.0).stream.shut);
        lock(&io.0).stream.room = 10;
        assert!(Pin::new(&mut io).poll_shutdown(&mut cx).is_ready());
        assert_eq!(lengths(&io), [10]);
        assert!(lock(&io.0).stream.shut);
    }

    #[test]
    fn one_read_serves_many_and_the_end_is_told() {
        let mut cx = Context::from_waker(Waker::noop());
        let input: Vec<u8> = (0..50_000).map(|at| (at * 3) as u8).collect();
        let (mut io, _gatherer) = gathered(0, &input);
        let (mut all, mut bytes) = (Vec::new(), [0; 8192]);
        loop {
            let mut buf = ReadBuf::new(&mut bytes);
            assert!(Pin::new(&mut io).poll_read(&mut cx, &mut buf).is_ready());
            if buf.filled().is_empty() {
                break;
            }
            all.extend_from_slice(buf.filled());
        }
        assert_eq!(all, input);
        assert_eq!(lock(&io.0).stream.reads, 3, "the first, one for the rest, one for the end");
        assert!(lock(&io.0).ahead.is_empty());
    }
}
