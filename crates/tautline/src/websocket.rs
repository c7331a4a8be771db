//! A connection as users hold it: a `Stream` and a `Sink` of messages.

mod facts;
mod parts;
mod poll;

use std::net::SocketAddr;
use std::time::Duration;

use http::Version;
use tautline_frame::session::Error;
use tautline_frame::{CloseCode, CloseFrame, Compress, Compression, Kind, Message, Prepared, Role};
use tokio::io::{AsyncRead, AsyncWrite};

pub use self::parts::Parts;
#[cfg(feature = "http2")]
use crate::connection::Direct;
use crate::connection::{Connection, OnDrop};
use crate::error::TryFeedError;
use crate::futures::{self, Feed, FeedWith, Next, Send, SendWith, Transmit};
use crate::message_reader::MessageReader;
use crate::message_writer::MessageWriter;
use crate::observe::Observers;
use crate::registry::ConnectionId;
use crate::shutdown::ShutdownSignal;
use crate::split;
use crate::split::{Reader, ReuniteError, Writer};
use crate::tasks::Place;
use crate::timer::Timer;
use crate::transport::{Peer, Transport};

/// An open WebSocket connection.
///
/// It is a [`Stream`](futures_core::Stream) of received messages and a [`Sink`](futures_sink::Sink)
/// for messages to send; methods with the same names do the same without an import. While
/// [`next`](Self::next) is awaited, pings and a Close are answered and a silent peer is pinged. So
/// keep a task in `next`, or [`split`](Self::split) the connection.
///
/// `next` returns `None` after the closing handshake (see [`close_frame`](Self::close_frame) for
/// the code and the reason), and one [`Error`] if the connection ended in any other way. By then
/// the peer has been sent the right close code, and the connection can simply be dropped.
///
/// A connection that is dropped earlier sends what it can without waiting: what was
/// [fed](Self::feed), and a Close with 1001 (1011 during a panic). If the handler of a
/// [`Server`](crate::Server) drops it, it is closed in order: with 1000 when the handler returns
/// `Ok`, with 1011 after an error or a panic. To be sure that everything arrived, call
/// [`close`](Self::close).
///
/// # Cancel safety
/// The future of every method may be dropped at any await, as `select!` or a timeout does. No
/// received message is lost, and no frame is cut in two. A message that was passed to
/// [`send`](Self::send) or [`feed`](Self::feed) has then been queued as a whole or not at all.
///
/// # Runtime
/// Deadlines need Tokio's time driver (`enable_time`), which `#[tokio::main]` turns on.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = tautline::Server::bind("127.0.0.1:0").await?;
/// # let address = server.local_addr()?;
/// # tokio::spawn(server.serve(|mut ws| async move {
/// #     while let Some(message) = ws.next().await { ws.feed(message?).await?; }
/// #     Ok(())
/// # }));
/// let mut ws = tautline::connect(format!("ws://{address}")).await?;
/// ws.send("hello").await?;
/// while let Some(message) = ws.next().await {
///     assert_eq!(message?.as_text(), Some("hello"));
///     ws.close().await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct WebSocket<S = Transport> {
    /// Boxed: the futures of users hold a `WebSocket`, often several times over, and a connection
    /// takes half a KiB.
    connection: Box<Connection<S>>,
}

impl<S> WebSocket<S> {
    /// The peer's Close frame, once received. The code of a frame without one is
    /// [`CloseCode::NO_STATUS`].
    #[must_use]
    pub fn close_frame(&self) -> Option<&CloseFrame> {
        self.connection.session().protocol().peer_close()
    }

    /// The subprotocol that was agreed on (RFC 6455 section 1.9).
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        self.connection.info.subprotocol()
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.connection.info.peer
    }

    /// The peer's address, if it is known: see [`peer`](Self::peer).
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer().addr()
    }

    /// The version of HTTP of the opening handshake: HTTP/1.1, or HTTP/2 if the connection is a
    /// stream of an HTTP/2 connection (RFC 8441).
    #[must_use]
    pub fn http_version(&self) -> Version {
        self.connection.info.version()
    }

    /// How messages are compressed, if that was agreed on (RFC 7692).
    #[must_use]
    pub fn compression(&self) -> Option<&Compression> {
        self.connection.session().protocol().compression()
    }

    /// Whether this is the client's or the server's end.
    #[must_use]
    pub fn role(&self) -> Role {
        self.connection.session().protocol().role()
    }

    /// Whether messages can be sent: neither end has sent a Close, and nothing failed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.connection.session().protocol().is_open()
    }

    /// The underlying transport, for inspection. Do not read from it or write to it. `None` once
    /// the connection has ended, which closes the transport.
    #[must_use]
    pub fn get_ref(&self) -> Option<&S> {
        self.connection.get_ref()
    }

    /// How many bytes are queued to be written. From
    /// [`Config::write_mark`](crate::Config::write_mark) on, [`feed`](Self::feed) waits and
    /// [`try_feed`](Self::try_feed) returns its message. See also
    /// [`queued_messages`](Self::queued_messages).
    #[must_use]
    pub fn queued(&self) -> usize {
        self.connection.session().protocol().queued()
    }

    /// How many messages are queued that are not written to their end, with one that is being
    /// written [in pieces](Self::message_writer). For observation: unlike
    /// [`queued`](Self::queued), which is one addition, this looks at each frame in the queue.
    #[must_use]
    pub fn queued_messages(&self) -> usize {
        self.connection.session().protocol().queued_messages()
    }

    /// Sets who is at the other end, for a stream of your own. [`peer`](Self::peer) returns it, and
    /// events show it; nothing else changes.
    #[must_use]
    pub fn with_peer(mut self, peer: impl Into<Peer>) -> Self {
        self.connection.info.peer = peer.into();
        self
    }

    pub(crate) fn watch(&mut self, shutdown: ShutdownSignal) {
        self.connection.watch(shutdown);
    }

    pub(crate) fn go_on_with(&mut self, timer: Timer) {
        self.connection.go_on_with(timer);
    }

    #[cfg(feature = "http2")]
    pub(crate) fn move_by(&mut self, direct: Option<Direct<S>>) {
        self.connection.move_by(direct);
    }

    pub(crate) const fn place(&self) -> Option<&Place> {
        self.connection.place()
    }

    /// The number of the connection in the [`Registry`](crate::Registry) of its server; `None`
    /// without one, and after the end.
    #[must_use]
    pub fn id(&self) -> Option<ConnectionId> {
        self.connection.registered()
    }

    pub(crate) fn observe(&mut self, observers: &Observers) {
        self.connection.observe(observers);
    }

    pub(crate) fn keep_place(&mut self, place: Place, on_drop: OnDrop<S>) {
        self.connection.keep_place(place, on_drop);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Reader<S> {
    /// Joins the two halves again, which undoes [`WebSocket::split`]. Messages that have not been
    /// read or written yet stay in the connection.
    ///
    /// ```
    /// # use tautline::{Role, WebSocket};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (near, _far) = tokio::io::duplex(1024);
    /// # let ws = WebSocket::builder(Role::Client).build(near);
    /// let (reader, mut writer) = ws.split();
    /// writer.send("hello").await?;
    /// let ws = reader.reunite(writer)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ReuniteError`], which has both halves, if they belong to different connections or if
    /// clones of the writer exist.
    pub fn reunite(self, writer: Writer<S>) -> Result<WebSocket<S>, ReuniteError<S>> {
        split::join(self, writer).map(WebSocket::from)
    }
}

impl<S> From<Connection<S>> for WebSocket<S> {
    fn from(connection: Connection<S>) -> Self {
        Self { connection: Box::new(connection) }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Receives the next message. Queued messages and automatic replies are written before it
    /// waits. Cancel safe: no message is lost.
    ///
    /// Returns `None` after the connection was closed in order. An error is returned once; `None`
    /// follows.
    #[expect(
        clippy::should_implement_trait,
        reason = "it is that of `StreamExt`, not of `Iterator`"
    )]
    #[inline(always)]
    pub fn next(&mut self) -> Next<'_, Self> {
        Next { from: self }
    }

    /// Receives the next message in pieces: see [`MessageReader`]. It returns as soon as the
    /// message has begun, and takes no memory for it, so that
    /// [`Config::max_message_size`](crate::Config::max_message_size) does not apply, but
    /// [`max_streamed_size`](crate::Config::max_streamed_size) does. It may be used in turn with
    /// [`next`](Self::next).
    ///
    /// Returns `Ok(None)` after the connection was closed in order. Cancel safe.
    ///
    /// ```
    /// use tautline::{Role, WebSocket};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (near, far) = tokio::io::duplex(1024);
    /// # let mut peer = WebSocket::builder(Role::Client).build(near);
    /// # let mut ws = WebSocket::builder(Role::Server).build(far);
    /// # tokio::spawn(async move { peer.send(vec![7; 100_000]).await?; peer.close().await });
    /// let mut file = tokio::io::sink();
    /// while let Some(mut message) = ws.next_message().await? {
    ///     let length = tokio::io::copy(&mut message, &mut file).await?;
    ///     assert_eq!(length, 100_000);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Why the connection ended, if not in order: once, as `next` does.
    pub async fn next_message(&mut self) -> Result<Option<MessageReader<'_, Self>>, Error> {
        MessageReader::start(self).await
    }

    /// Sends a message in pieces: see [`MessageWriter`].
    ///
    /// ```
    /// use tautline::{Kind, Role, WebSocket};
    /// use tokio::io::AsyncWriteExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (near, far) = tokio::io::duplex(1024);
    /// # let mut ws = WebSocket::builder(Role::Client).build(near);
    /// # let mut peer = WebSocket::builder(Role::Server).build(far);
    /// # let peer = tokio::spawn(async move { peer.next().await });
    /// let mut message = ws.message_writer(Kind::Text);
    /// message.write_all(b"as long ").await?;
    /// message.write_all(b"as you like").await?;
    /// message.finish().await?;
    /// # assert_eq!(peer.await?.unwrap()?.as_text(), Some("as long as you like"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn message_writer(&mut self, kind: Kind) -> MessageWriter<'_, Self> {
        MessageWriter::new(self, kind)
    }

    /// Sends a message: [`feed`](Self::feed), then [`flush`](Self::flush). For many messages in a
    /// row, `feed` is cheaper.
    ///
    /// Cancel safe: the message has been queued as a whole or not at all. If it was queued, the
    /// next method that is called writes it.
    ///
    /// While it waits for the peer to take the data, it does not read. If both ends of a connection
    /// send more than the network holds before they read, each waits for the other until
    /// [`Config::send_timeout`](crate::Config::send_timeout): [`split`](Self::split) the connection
    /// to do both at the same time.
    ///
    /// # Errors
    /// [`Error::Closed`] if the connection is closing, otherwise why it failed. The error is
    /// returned after the end, within [`Config::close_timeout`](crate::Config::close_timeout). What
    /// the peer sends until then is kept for [`next`](Self::next), up to 1 MiB.
    #[inline(always)]
    pub fn send(&mut self, message: impl Into<Message>) -> Send<'_, Self> {
        Send { to: self, message: Some(message.into()) }
    }

    /// Like [`send`](Self::send), choosing whether to compress this message. Without an agreement
    /// on compression it is sent uncompressed. Cancel safe.
    ///
    /// ```
    /// use tautline::{Client, Compress, Compression, Server};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = Server::bind("127.0.0.1:0").await?.compression(Compression::new());
    /// # let uri = format!("ws://{}", server.local_addr()?);
    /// # tokio::spawn(server.serve(|mut ws| async move {
    /// #     while let Some(message) = ws.next().await { ws.feed(message?).await?; }
    /// #     Ok(())
    /// # }));
    /// let mut ws = Client::new().compression(Compression::new()).connect(&uri).await?;
    /// assert!(ws.compression().is_some());
    /// ws.send("long and repetitive text ".repeat(100)).await?;
    /// // Uncompressed, its length reveals nothing about its content.
    /// ws.send_with("token=3f2a", Compress::Never).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_with(
        &mut self,
        message: impl Into<Message>,
        compress: Compress,
    ) -> SendWith<'_, Self> {
        SendWith { send: self.send(message), compress }
    }

    /// Queues a message. It is written by the next [`flush`](Self::flush), or when
    /// [`next`](Self::next) has nothing left to read. Waits only while
    /// [`Config::write_mark`](crate::Config::write_mark) bytes are queued. Cancel safe: the message
    /// is queued as a whole or not at all.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    #[inline(always)]
    pub fn feed(&mut self, message: impl Into<Message>) -> Feed<'_, Self> {
        Feed { to: self, message: Some(message.into()) }
    }

    /// Like [`feed`](Self::feed), choosing whether to compress this message. Cancel safe.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn feed_with(
        &mut self,
        message: impl Into<Message>,
        compress: Compress,
    ) -> FeedWith<'_, Self> {
        FeedWith { feed: self.feed(message), compress }
    }

    /// Queues a message without waiting. It is written when a message that was
    /// [fed](Self::feed) would be.
    ///
    /// ```
    /// use tautline::{Config, Role, TryFeedError, WebSocket};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (near, far) = tokio::io::duplex(1 << 16);
    /// let mut ws = WebSocket::builder(Role::Server).config(Config::new().write_mark(1024)).build(near);
    /// while ws.try_feed("tick").is_ok() {}
    /// assert!(ws.queued() >= 1024);
    /// // The queue is full. This message is not sent; a newer one may do as well.
    /// assert!(matches!(ws.try_feed("tock"), Err(TryFeedError::Full(_))));
    /// ws.flush().await?;
    /// assert_eq!(ws.queued(), 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`TryFeedError::Full`], with the message, if
    /// [`Config::write_mark`](crate::Config::write_mark) bytes are queued or a long message is
    /// still being fragmented. [`TryFeedError::Failed`] if the connection is closing or has failed.
    /// Unlike [`feed`](Self::feed) it does not wait for the end: call [`next`](Self::next) until
    /// that returns `None` or an error.
    pub fn try_feed(&mut self, message: impl Into<Message>) -> Result<(), TryFeedError> {
        self.try_queue(message.into())
    }

    /// Queues a message that is shared with other connections, and writes everything that is
    /// queued: see [`Prepared`]. Cancel safe.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_prepared(&mut self, message: &Prepared) -> Result<(), Error> {
        futures::feed_prepared(self, message).await?;
        futures::flush(self).await
    }

    /// Queues a message that is shared with other connections: see [`Prepared`]. Otherwise as
    /// [`feed`](Self::feed). Cancel safe.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn feed_prepared(&mut self, message: &Prepared) -> Result<(), Error> {
        futures::feed_prepared(self, message).await
    }

    /// Queues a message that is shared with other connections, without waiting: see [`Prepared`].
    /// Otherwise as [`try_feed`](Self::try_feed).
    ///
    /// # Errors
    /// As [`try_feed`](Self::try_feed).
    pub fn try_feed_prepared(&mut self, message: &Prepared) -> Result<(), TryFeedError> {
        self.try_prepared(message)
    }

    /// Waits until there is room for a message, so that the next [`try_feed`](Self::try_feed)
    /// succeeds unless another task takes the room first. Cancel safe.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn ready(&mut self) -> Result<(), Error> {
        futures::ready(self).await
    }

    /// Writes everything that is queued. Cancel safe.
    ///
    /// # Errors
    /// Why the connection failed.
    pub async fn flush(&mut self) -> Result<(), Error> {
        futures::flush(self).await
    }

    /// Closes in order, with 1000 and no reason: see [`close_with`](Self::close_with).
    ///
    /// # Errors
    /// As [`close_with`](Self::close_with).
    pub async fn close(&mut self) -> Result<(), Error> {
        self.close_with(CloseCode::NORMAL).await
    }

    /// Closes in order (RFC 6455 section 7.1.2): sends what is queued and then the Close, waits for
    /// the peer's Close, and ends the transport, all within
    /// [`Config::close_timeout`](crate::Config::close_timeout). Messages that arrive meanwhile are
    /// discarded. If the connection is closing already, it waits for the end.
    ///
    /// Cancel safe: calling it or [`next`](Self::next) again continues the closing. `next` then
    /// returns messages that arrive later, not those that were discarded.
    ///
    /// # Errors
    /// [`Error::CloseCode`] if this role must not send the code, otherwise why the connection did
    /// not end in order.
    pub async fn close_with(&mut self, frame: impl Into<CloseFrame>) -> Result<(), Error> {
        futures::close(self, frame.into()).await
    }

    /// Pings the peer and returns the round-trip time, from writing the last byte of the ping to
    /// reading the pong. Messages that arrive meanwhile are kept for [`next`](Self::next). Cancel
    /// safe.
    ///
    /// # Errors
    /// [`Error::Timeout`] if the pong does not arrive within
    /// [`Config::ping_timeout`](crate::Config::ping_timeout) after the ping was written. The
    /// connection stays open if anything else was received since, and has failed otherwise.
    /// [`Error::Backlog`] if more than 1 MiB of messages arrived first. Otherwise why the
    /// connection ended.
    pub async fn ping(&mut self) -> Result<Duration, Error> {
        futures::ping(self).await
    }

    /// Splits the connection into a reading and a writing half, for different tasks. The writer can
    /// be cloned; [`Reader::reunite`] joins the halves again.
    ///
    /// The reader does the automatic work: keep it in [`next`](Reader::next).
    #[must_use]
    pub fn split(self) -> (Reader<S>, Writer<S>) {
        split::split(*self.connection)
    }
}
