//! Fixed runs whose instructions and allocations `cargo xtask instructions` counts under callgrind.
//! By itself: `cargo run --profile bench -p tautline-bench --bin instructions [RUN [ROUNDS]]`;
//! without a name it lists them. With a number of rounds it tells the time that a message took too,
//! for what instructions do not show.
//!
//! Nothing here depends on the time, the network or chance: the transport is memory, and a task is
//! polled by hand once per wake-up. Each run warms up, then does its work inside of [`measured`],
//! where alone callgrind counts.

use std::cell::Cell;
use std::error::Error;
use std::future::Future;
use std::hint::black_box;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use tautline::WebSocket;
use tautline_frame::{Codec, Config, Frame, Message, OpCode, Protocol, Role, Rsv};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Wake-ups, or calls, of a run unless told, and those before it.
const ROUNDS: usize = 1000;
const WARM_UP: usize = 10;
/// Messages of one wake-up, where there are many.
const BATCH: usize = 64;

/// A run by its name; it gives how many messages were measured.
type Run = (&'static str, fn() -> Result<usize>);

const RUNS: &[Run] = &[
    ("codec decode, 16 B", || decode(16)),
    ("codec decode, 1 KiB", || decode(1 << 10)),
    ("codec encode, 16 B", || encode(Role::Server, 16)),
    ("codec encode, 1 KiB", || encode(Role::Server, 1 << 10)),
    ("codec encode masked, 16 B", || encode(Role::Client, 16)),
    ("codec encode masked, 1 KiB", || encode(Role::Client, 1 << 10)),
    ("protocol echo, 16 B", || protocol_echo(16)),
    ("echo, 16 B", || echo(OpCode::Binary, 16, 1)),
    ("echo, 16 B of text", || echo(OpCode::Text, 16, 1)),
    ("echo, 1 KiB", || echo(OpCode::Binary, 1 << 10, 1)),
    ("echo, 16 KiB", || echo(OpCode::Binary, 16 << 10, 1)),
    ("echo, 1 MiB", || echo(OpCode::Binary, 1 << 20, 1)),
    ("echo, 64 of 16 B", || echo(OpCode::Binary, 16, BATCH)),
    ("echo, 32 of 1 KiB", || echo(OpCode::Binary, 1 << 10, BATCH / 2)),
    ("ping answered, 16 B", || echo(OpCode::Ping, 16, 1)),
    ("split echo, 16 B", || split_echo(16, 1)),
    ("split echo, 64 of 16 B", || split_echo(16, BATCH)),
    ("client send, 16 B", || client_send(16)),
    ("client feed, 64 of 16 B", || client_feed(16, BATCH)),
    ("client receive, 64 of 16 B", || client_receive(16, BATCH)),
];

fn main() -> Result {
    let Some(name) = std::env::args().nth(1) else {
        check_layout()?;
        for (name, _) in RUNS {
            println!("{name}");
        }
        return Ok(());
    };
    let (_, run) = RUNS.iter().find(|(known, _)| *known == name).ok_or("there is no such run")?;
    // Connections need timers; nobody turns the runtime, so none fires.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let _entered = runtime.enter();
    let start = Instant::now();
    let messages = run()?;
    println!("messages: {messages}");
    if std::env::args().len() > 2 {
        println!("nanoseconds: {:.1}", start.elapsed().as_nanos() as f64 / messages as f64);
    }
    Ok(())
}

/// Whether the payload of a message stands at the start of whatever it is wrapped in: see `Checked`
/// in the frame crate's text.rs. Only speed depends on it. Another layout, which the compiler is
/// free to choose, is slower by a third, and no instruction more.
fn check_layout() -> Result {
    type Given = Option<std::result::Result<Message, u64>>;

    let binary: Given = Some(Ok(Message::from(b"abc")));
    let text: Given = Some(Ok(Message::from("abc")));
    let starts = [&binary, &text].map(|given| match given {
        Some(Ok(Message::Binary(payload))) => std::ptr::addr_eq(payload, given),
        Some(Ok(Message::Text(text))) => std::ptr::addr_eq(text, given),
        _ => false,
    });
    if starts == [true, true] && size_of::<Given>() == size_of::<Bytes>() + 8 {
        return Ok(());
    }
    Err("the payload of a message does not stand at the start of what it is wrapped in".into())
}

fn asked() -> usize {
    std::env::args().nth(2).and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS)
}

/// What callgrind counts, with all that it calls.
#[inline(never)]
fn measured(work: &mut dyn FnMut() -> Result) -> Result {
    work()
}

/// Warms up, then measures.
fn rounds(mut round: impl FnMut() -> Result) -> Result {
    for _ in 0..WARM_UP {
        round()?;
    }
    let rounds = asked();
    measured(&mut || (0..rounds).try_for_each(|_| round()))
}

fn frame(opcode: OpCode, len: usize) -> Frame {
    Frame { fin: true, rsv: Rsv::NONE, opcode, payload: Bytes::from(vec![b'x'; len]) }
}

/// Frames as this role sends them.
fn wire(from: Role, opcode: OpCode, len: usize, count: usize) -> Result<Bytes> {
    let mut wire = BytesMut::new();
    for _ in 0..count {
        Codec::new(from).encode(&frame(opcode, len), &mut wire)?;
    }
    Ok(wire.freeze())
}

fn decode(len: usize) -> Result<usize> {
    let wire = wire(Role::Client, OpCode::Binary, len, 1)?;
    let mut codec = Codec::new(Role::Server);
    let mut buffer = BytesMut::with_capacity(64 << 10);
    rounds(|| {
        buffer.clear();
        buffer.extend_from_slice(&wire);
        black_box(codec.decode(&mut buffer)?.ok_or("no frame")?);
        Ok(())
    })?;
    Ok(asked())
}

fn encode(role: Role, len: usize) -> Result<usize> {
    let codec = Codec::new(role);
    let frame = frame(OpCode::Binary, len);
    let mut buffer = BytesMut::with_capacity(64 << 10);
    rounds(|| {
        buffer.clear();
        codec.encode(&frame, &mut buffer)?;
        black_box(&buffer);
        Ok(())
    })?;
    Ok(asked())
}

fn protocol_echo(len: usize) -> Result<usize> {
    let wire = wire(Role::Client, OpCode::Binary, len, 1)?;
    let now = Instant::now();
    let mut protocol = Protocol::new(Role::Server, Config::new(), now);
    protocol.queue().lend_buffer(Box::new(BytesMut::with_capacity(64 << 10)));
    let mut buffer = BytesMut::with_capacity(64 << 10);
    rounds(|| {
        buffer.clear();
        buffer.extend_from_slice(&wire);
        protocol.begin_turn();
        let message = protocol.handle_data(&mut buffer, now)?.ok_or("no message")?;
        protocol.send(message)?;
        protocol.poll_transmit();
        let queued = protocol.queue().remaining();
        black_box(protocol.queue().chunk());
        protocol.queue().advance(queued);
        protocol.handle_written(now);
        Ok(())
    })?;
    Ok(asked())
}

fn echo(opcode: OpCode, len: usize, batch: usize) -> Result<usize> {
    let memory = Memory::new(wire(Role::Client, opcode, len, batch)?);
    let mut ws = server(&memory);
    let echo = async {
        while let Some(message) = ws.next().await {
            ws.feed(message?).await?;
        }
        Ok(())
    };
    memory.wake_ups(echo)?;
    let back = wire(Role::Server, opcode, len, batch)?.len();
    memory.took(back)?;
    Ok(asked() * batch)
}

fn split_echo(len: usize, batch: usize) -> Result<usize> {
    let memory = Memory::new(wire(Role::Client, OpCode::Binary, len, batch)?);
    let (mut reader, mut writer) = server(&memory).split();
    let echo = async {
        while let Some(message) = reader.next().await {
            writer.feed(message?).await?;
        }
        Ok(())
    };
    memory.wake_ups(echo)?;
    let back = wire(Role::Server, OpCode::Binary, len, batch)?.len();
    memory.took(back)?;
    Ok(asked() * batch)
}

fn client_send(len: usize) -> Result<usize> {
    let memory = Memory::new(Bytes::new());
    let mut ws = client(&memory);
    let message = Message::from(vec![b'x'; len]);
    rounds(|| at_once(ws.send(message.clone())))?;
    memory.took(wire(Role::Client, OpCode::Binary, len, 1)?.len())?;
    Ok(asked())
}

fn client_feed(len: usize, batch: usize) -> Result<usize> {
    let memory = Memory::new(Bytes::new());
    let mut ws = client(&memory);
    let message = Message::from(vec![b'x'; len]);
    rounds(|| {
        for _ in 0..batch {
            at_once(ws.feed(message.clone()))?;
        }
        at_once(ws.flush())
    })?;
    memory.took(wire(Role::Client, OpCode::Binary, len, batch)?.len())?;
    Ok(asked() * batch)
}

fn client_receive(len: usize, batch: usize) -> Result<usize> {
    let memory = Memory::new(wire(Role::Server, OpCode::Binary, len, batch)?);
    let mut ws = client(&memory);
    let received = Cell::new(0);
    let receive = async {
        while let Some(message) = ws.next().await {
            black_box(message?);
            received.set(received.get() + 1);
        }
        Ok(())
    };
    memory.wake_ups(receive)?;
    if received.get() != (WARM_UP + asked()) * batch {
        return Err("messages are missing".into());
    }
    Ok(asked() * batch)
}

fn server(memory: &Memory) -> WebSocket<Memory> {
    WebSocket::builder(Role::Server).build(memory.clone())
}

fn client(memory: &Memory) -> WebSocket<Memory> {
    WebSocket::builder(Role::Client).build(memory.clone())
}

/// Drives what never waits.
fn at_once<E: Into<Box<dyn Error + Send + Sync>>>(
    future: impl Future<Output = std::result::Result<(), E>>,
) -> Result {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result.map_err(Into::into),
        Poll::Pending => Err("it waits".into()),
    }
}

/// Whether a task woke itself.
#[derive(Default)]
struct Yielded(AtomicBool);

impl Wake for Yielded {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A transport that has the same bytes to read at each wake-up, and takes whatever is written.
#[derive(Clone)]
struct Memory(Rc<Traffic>);

struct Traffic {
    wire: Bytes,
    /// How much of it is still to be read.
    left: Cell<usize>,
    written: Cell<usize>,
}

impl Memory {
    fn new(wire: Bytes) -> Self {
        Self(Rc::new(Traffic { wire, left: Cell::new(0), written: Cell::new(0) }))
    }

    /// Polls a task as a runtime does when the socket has become readable.
    fn wake_ups(&self, task: impl Future<Output = Result>) -> Result {
        let mut task = pin!(task);
        let yielded = Arc::new(Yielded::default());
        let waker = Waker::from(yielded.clone());
        let mut cx = Context::from_waker(&waker);
        rounds(|| {
            self.0.left.set(self.0.wire.len());
            loop {
                match task.as_mut().poll(&mut cx) {
                    // It let others have their turn, of which there are none.
                    Poll::Pending if yielded.0.swap(false, Ordering::Relaxed) => {}
                    Poll::Pending => return Ok(()),
                    Poll::Ready(result) => return Err(result.err().unwrap_or("it ended".into())),
                }
            }
        })
    }

    /// Whether each round wrote so many bytes.
    fn took(&self, bytes: usize) -> Result {
        if self.0.written.get() == (WARM_UP + asked()) * bytes {
            return Ok(());
        }
        Err(format!("{} bytes were written", self.0.written.get()).into())
    }
}

impl AsyncRead for Memory {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.0.left.get();
        if left == 0 {
            return Poll::Pending;
        }
        let count = left.min(buffer.remaining());
        buffer.put_slice(&self.0.wire[self.0.wire.len() - left..][..count]);
        self.0.left.set(left - count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Memory {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buffer)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = buffers.iter().map(|buffer| buffer.len()).sum();
        self.0.written.set(self.0.written.get() + len);
        Poll::Ready(Ok(len))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
