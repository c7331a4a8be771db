//! Every interleaving of the halves of a split connection with a transport that becomes ready in
//! another thread.
//!
//! Each test is a small scene. loom runs it in every order of its locks and wake-ups, and reports a
//! deadlock when one of the tasks sleeps for ever. The keepalive and the deadlines are off: no
//! timer comes to the rescue.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Wake, Waker};

use futures_core::Stream;
use futures_sink::Sink;
use loom::sync::Notify;
use loom::thread;
use tautline_frame::{CloseCode, Config, Message, Role};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::split::{Reader, Writer};
use crate::sync::{Arc, Mutex, lock};
use crate::websocket::WebSocket;

/// A masked "hi", a ping without body, a Close without one. The key is zero, which is legal (RFC
/// 6455 section 5.3).
const TEXT: &[u8] = &[0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];
const PING: &[u8] = &[0x89, 0x80, 0, 0, 0, 0];
const CLOSE: &[u8] = &[0x88, 0x80, 0, 0, 0, 0];

/// One end of a transport; the test holds the other.
#[derive(Clone, Debug)]
struct Pipe(Arc<Mutex<Ends>>);

#[derive(Debug, Default)]
struct Ends {
    incoming: VecDeque<u8>,
    /// How many bytes may be written.
    room: usize,
    written: Vec<u8>,
    /// As a socket does, it keeps the newest waker for each direction.
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn new(room: usize) -> Self {
        Self(Arc::new(Mutex::new(Ends { room, ..Ends::default() })))
    }

    fn give(&self, bytes: &[u8]) {
        let mut ends = lock(&self.0);
        ends.incoming.extend(bytes);
        let waker = ends.reader.take();
        drop(ends);
        waker.map(Waker::wake);
    }

    fn make_room(&self, room: usize) {
        let mut ends = lock(&self.0);
        ends.room += room;
        let waker = ends.writer.take();
        drop(ends);
        waker.map(Waker::wake);
    }

    fn written(&self) -> Vec<u8> {
        lock(&self.0).written.clone()
    }

    fn split(&self) -> (Reader<Self>, Writer<Self>) {
        self.open().split()
    }

    fn open(&self) -> WebSocket<Self> {
        let config = Config::new()
            .ping_interval(None)
            .ping_timeout(std::time::Duration::MAX)
            .send_timeout(None)
            .close_timeout(std::time::Duration::MAX)
            .write_mark(1024);
        WebSocket::builder(Role::Server).config(config).build(self.clone())
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut ends = lock(&self.0);
        if ends.incoming.is_empty() {
            ends.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let bytes: Vec<u8> = ends.incoming.drain(..).collect();
        buf.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut ends = lock(&self.0);
        if ends.room == 0 {
            ends.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = ends.room.min(buf.len());
        ends.room -= count;
        ends.written.extend(&buf[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Sleeps until its waker is woken, which loom watches.
struct Sleeper(Notify);

impl Wake for Sleeper {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.notify();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let sleeper = std::sync::Arc::new(Sleeper(Notify::new()));
    let waker = Waker::from(sleeper.clone());
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => sleeper.0.wait(),
        }
    }
}

fn explore(scene: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(scene);
}

#[test]
fn loom_a_reader_and_a_writer_that_wait_for_one_transport_are_both_woken() {
    explore(|| {
        let pipe = Pipe::new(0);
        let (mut reader, mut writer) = pipe.split();
        let reading = thread::spawn(move || {
            let message = block_on(reader.next()).unwrap().unwrap();
            assert_eq!(message.as_text(), Some("hi"));
            reader
        });
        let writing = thread::spawn(move || {
            block_on(writer.send("yo")).unwrap();
            writer
        });
        pipe.give(TEXT);
        pipe.make_room(100);
        // Until it was looked: the last half that is dropped says that it goes.
        let halves = (writing.join().unwrap(), reading.join().unwrap());
        assert_eq!(pipe.written(), b"\x81\x02yo");
        drop(halves);
    });
}

#[test]
fn loom_two_writers_that_wait_for_room_are_both_woken() {
    explore(|| {
        let pipe = Pipe::new(0);
        let (_reader, mut writer) = pipe.split();
        let mut other = writer.clone();
        let writing = thread::spawn(move || block_on(other.send("b")).unwrap());
        let room = pipe.clone();
        let making = thread::spawn(move || {
            room.make_room(2);
            room.make_room(4);
        });
        block_on(writer.send("a")).unwrap();
        writing.join().unwrap();
        making.join().unwrap();
        let written = pipe.written();
        assert!(written == b"\x81\x01a\x81\x01b" || written == b"\x81\x01b\x81\x01a");
    });
}

#[test]
fn loom_a_pong_that_waits_for_room_is_written_by_the_reader() {
    explore(|| {
        let pipe = Pipe::new(0);
        let (mut reader, _writer) = pipe.split();
        let reading = thread::spawn(move || block_on(reader.next()).is_none());
        pipe.give(PING);
        pipe.make_room(100);
        // Nothing else wakes the reader before that.
        while pipe.written().is_empty() {
            thread::yield_now();
        }
        pipe.give(CLOSE);
        assert!(reading.join().unwrap());
        assert_eq!(pipe.written(), b"\x8A\x00\x88\x00");
    });
}

#[test]
fn loom_a_writer_that_closes_learns_of_the_end_that_the_reader_meets() {
    explore(|| {
        let pipe = Pipe::new(100);
        let (mut reader, mut writer) = pipe.split();
        let reading = thread::spawn(move || block_on(reader.next()).is_none());
        let closing = thread::spawn(move || {
            block_on(writer.close_with(CloseCode::NORMAL)).unwrap();
        });
        pipe.give(CLOSE);
        closing.join().unwrap();
        assert!(reading.join().unwrap());
    });
}

#[test]
fn loom_a_writer_that_closes_reads_when_the_reader_is_dropped() {
    explore(|| {
        let pipe = Pipe::new(100);
        let (reader, mut writer) = pipe.split();
        let closing = thread::spawn(move || block_on(writer.close()).unwrap());
        let leaving = thread::spawn(move || drop(reader));
        pipe.give(CLOSE);
        closing.join().unwrap();
        leaving.join().unwrap();
    });
}

#[test]
fn loom_a_writers_ping_learns_of_the_pong_that_the_reader_meets() {
    explore(|| {
        let pipe = Pipe::new(100);
        let (mut reader, mut writer) = pipe.split();
        let reading = thread::spawn(move || {
            assert_eq!(block_on(reader.next()).unwrap().unwrap().as_text(), Some("hi"));
            reader
        });
        let peer = pipe.clone();
        let pinging = thread::spawn(move || block_on(writer.ping()).unwrap());
        // The pong must not come before the ping.
        while peer.written().is_empty() {
            thread::yield_now();
        }
        peer.give(&[0x8A, 0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        pinging.join().unwrap();
        peer.give(TEXT);
        reading.join().unwrap();
    });
}

#[test]
fn loom_what_a_dropped_writer_had_queued_is_written_by_the_waiting_reader() {
    explore(|| {
        let pipe = Pipe::new(100);
        let (mut reader, mut writer) = pipe.split();
        let reading = thread::spawn(move || {
            block_on(reader.next()).unwrap().unwrap();
        });
        block_on(writer.feed("yo")).unwrap();
        drop(writer);
        while pipe.written().is_empty() {
            thread::yield_now();
        }
        pipe.give(TEXT);
        reading.join().unwrap();
    });
}

#[test]
fn loom_what_a_writer_tried_to_feed_is_written_by_the_waiting_reader() {
    explore(|| {
        let pipe = Pipe::new(100);
        let (mut reader, mut writer) = pipe.split();
        let reading = thread::spawn(move || {
            block_on(reader.next()).unwrap().unwrap();
        });
        writer.try_feed("yo").unwrap();
        while pipe.written().is_empty() {
            thread::yield_now();
        }
        pipe.give(TEXT);
        reading.join().unwrap();
        drop(writer);
    });
}

/// A connection that two tasks poll through its traits, with a lock between them, as `split` of
/// `futures` makes it.
#[derive(Clone)]
struct Halves(Arc<Mutex<WebSocket<Pipe>>>);

impl Halves {
    fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut WebSocket<Pipe>>, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        poll(Pin::new(&mut *lock(&self.0)), cx)
    }

    fn next(&self) -> Option<Message> {
        block_on(poll_fn(|cx| self.poll(cx, Stream::poll_next))).map(Result::unwrap)
    }

    fn send(&self, message: &'static str) {
        block_on(poll_fn(|cx| self.poll(cx, Sink::poll_ready))).unwrap();
        Pin::new(&mut *lock(&self.0)).start_send(message.into()).unwrap();
        block_on(poll_fn(|cx| self.poll(cx, Sink::poll_flush))).unwrap();
    }

    fn close(&self) {
        block_on(poll_fn(|cx| self.poll(cx, Sink::poll_close))).unwrap();
    }
}

// `send` behind `futures_util::StreamExt::split` waited for ever: see `tests/it/two_tasks.rs`.
#[test]
fn loom_two_tasks_of_one_connection_are_both_woken() {
    explore(|| {
        let pipe = Pipe::new(0);
        let halves = Halves(Arc::new(Mutex::new(pipe.open())));
        let reading = halves.clone();
        let reading = thread::spawn(move || {
            assert_eq!(reading.next().unwrap().as_text(), Some("hi"));
        });
        let writing = thread::spawn(move || halves.send("yo"));
        // The ping makes the reader write, and so take the writer's place at the transport.
        pipe.give(PING);
        pipe.make_room(2);
        pipe.make_room(100);
        pipe.give(TEXT);
        writing.join().unwrap();
        reading.join().unwrap();
    });
}

#[test]
fn loom_a_task_that_closes_the_sink_and_one_that_reads_both_see_the_end() {
    explore(|| {
        let pipe = Pipe::new(100);
        let halves = Halves(Arc::new(Mutex::new(pipe.open())));
        let reading = halves.clone();
        let reading = thread::spawn(move || assert_eq!(reading.next(), None));
        let closing = thread::spawn(move || halves.close());
        pipe.give(CLOSE);
        closing.join().unwrap();
        reading.join().unwrap();
    });
}

// The reader is there, and does not read: the writer does.
#[test]
fn loom_a_writer_reads_beside_an_idle_reader() {
    explore(|| {
        let pipe = Pipe::new(100);
        let (mut reader, mut writer) = pipe.split();
        let looking = thread::spawn(move || {
            // It looks once, takes the writer's place at the transport, and goes away.
            let mut cx = Context::from_waker(Waker::noop());
            let _ = pin!(reader.next()).poll(&mut cx);
            reader
        });
        let closing = thread::spawn(move || block_on(writer.close()).unwrap());
        pipe.give(CLOSE);
        closing.join().unwrap();
        drop(looking.join().unwrap());
    });
}
