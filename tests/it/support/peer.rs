//! A peer that speaks raw frames, as `tautline-wire` writes and reads them, and streams that
//! misbehave.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use futures_util::FutureExt;
use tautline::{Config, Role, WebSocket};
use tautline_wire::read_frame;
pub(crate) use tautline_wire::{Frame, close_body, encode, with_head};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// What holds for one end holds for the other.
pub(crate) const ROLES: [Role; 2] = [Role::Client, Role::Server];

pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;
pub(crate) const FIN: u8 = 0x80;

/// The other end of a connection.
pub(crate) struct Peer<S> {
    pub(crate) stream: S,
    /// Whether this end is the client, whose frames are masked (RFC 6455 section 5.1).
    pub(crate) client: bool,
    read: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// The peer of an end with this role.
    pub(crate) fn of(role: Role, stream: S) -> Self {
        Self { stream, client: role == Role::Server, read: BytesMut::new() }
    }

    pub(crate) fn encode(&self, first: u8, payload: &[u8]) -> Vec<u8> {
        encode(self.client, first, payload)
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn send(&mut self, first: u8, payload: impl AsRef<[u8]>) {
        let wire = self.encode(first, payload.as_ref());
        self.write(&wire).await;
    }

    /// The next frame, `None` at the end of the stream. A reset, or an end inside a frame, fails
    /// the test.
    pub(crate) async fn recv(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decode() {
                return Some(frame);
            }
            if self.stream.read_buf(&mut self.read).await.unwrap() == 0 {
                assert!(self.read.is_empty(), "the stream ended inside a frame");
                return None;
            }
        }
    }

    /// Whether a frame is there already.
    pub(crate) fn try_recv(&mut self) -> Option<Frame> {
        self.recv().now_or_never().flatten()
    }

    pub(crate) async fn expect(&mut self, first: u8, payload: impl AsRef<[u8]>) {
        let frame = self.recv().await.expect("a frame");
        let payload = payload.as_ref();
        assert_eq!((frame.first, frame.payload.len()), (first, payload.len()), "{frame:?}");
        assert!(frame.payload == payload, "{first:#x}: another payload");
    }

    /// A Close with this code, whatever its reason.
    pub(crate) async fn expect_close(&mut self, code: u16) {
        let frame = self.recv().await.expect("a Close, not the end");
        assert_eq!(frame.first, FIN | CLOSE, "{frame:?}");
        assert_eq!(frame.payload[..2], code.to_be_bytes(), "{frame:?}");
    }

    /// Answers a Close with this code and no reason, and ends as the peer of its role does.
    pub(crate) async fn answer_close(&mut self, code: u16) {
        self.expect(FIN | CLOSE, close_body(code, "")).await;
        self.send(FIN | CLOSE, close_body(code, "")).await;
        if !self.client {
            self.stream.shutdown().await.unwrap();
        }
        self.expect_eof().await;
    }

    /// The end of the stream, in order.
    pub(crate) async fn expect_eof(&mut self) {
        assert_eq!(self.recv().await, None);
    }

    fn decode(&mut self) -> Option<Frame> {
        let (frame, len) = read_frame(&self.read)?;
        assert_eq!(frame.masked(), !self.client, "masked by a server, or not by a client");
        let _ = self.read.split_to(len);
        Some(frame)
    }
}

/// A connection over this stream, nothing read yet.
pub(crate) fn open<S>(stream: S, role: Role, config: Config) -> WebSocket<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    WebSocket::builder(role).config(config).build(stream)
}

/// Both ends of a connection over these streams: the client and the server.
pub(crate) fn both_ends<S>((near, far): (S, S)) -> (WebSocket<S>, WebSocket<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    (open(near, Role::Client, Config::new()), open(far, Role::Server, Config::new()))
}

/// A connection in memory, each direction holding this many bytes.
pub(crate) fn duplex(
    role: Role,
    config: Config,
    capacity: usize,
) -> (WebSocket<DuplexStream>, Peer<DuplexStream>) {
    let (near, far) = tokio::io::duplex(capacity);
    (open(near, role, config), Peer::of(role, far))
}

/// Both ends of a TCP connection.
pub(crate) async fn tcp_streams() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (near, listener.accept().await.unwrap().0)
}

/// A connection over TCP.
pub(crate) async fn tcp(role: Role, config: Config) -> (WebSocket<TcpStream>, Peer<TcpStream>) {
    let (near, far) = tcp_streams().await;
    (open(near, role, config), Peer::of(role, far))
}

/// A stream that counts the writes that took something.
pub(crate) struct Counted<S> {
    pub(crate) stream: S,
    writes: Arc<AtomicUsize>,
}

impl<S> Counted<S> {
    pub(crate) fn new(stream: S) -> (Self, Arc<AtomicUsize>) {
        let writes = Arc::new(AtomicUsize::new(0));
        (Self { stream, writes: writes.clone() }, writes)
    }

    fn count(&self, result: &Poll<io::Result<usize>>) {
        if matches!(result, Poll::Ready(Ok(count)) if *count > 0) {
            self.writes.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.count(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.count(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A stream on which every other call is not ready, and none moves more than a few bytes.
pub(crate) struct Choppy<S> {
    stream: S,
    step: usize,
    turns: [bool; 4],
}

impl<S> Choppy<S> {
    pub(crate) fn new(stream: S, step: usize) -> Self {
        Self { stream, step, turns: [false; 4] }
    }

    /// Ready at every second call.
    fn turn(&mut self, which: usize, cx: &Context<'_>) -> Poll<()> {
        self.turns[which] = !self.turns[which];
        if self.turns[which] {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Choppy<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.turn(0, cx));
        let mut few = [0; 64];
        let mut few = ReadBuf::new(&mut few[..self.step.min(buf.remaining())]);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut few))?;
        buf.put_slice(few.filled());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Choppy<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.turn(1, cx));
        let count = buf.len().min(self.step);
        Pin::new(&mut self.stream).poll_write(cx, &buf[..count])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.turn(2, cx));
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.turn(3, cx));
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A stream that gives these reads one after the other and then waits for ever; whether it can be
/// written is a matter of the script as well.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) reads: VecDeque<io::Result<Vec<u8>>>,
    /// What every write ends with; `None` takes everything.
    pub(crate) write_error: Option<io::ErrorKind>,
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.reads.pop_front() {
            Some(Ok(bytes)) => buf.put_slice(&bytes),
            Some(Err(error)) => return Poll::Ready(Err(error)),
            None => return Poll::Pending,
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.write_error.map_or(Ok(buf.len()), |kind| Err(kind.into())))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
