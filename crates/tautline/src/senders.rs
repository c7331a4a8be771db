//! Senders that never wait, for peers that may be too slow.

mod queue;

use std::fmt;
use std::future::{Future, poll_fn};
use std::hash::Hash;

use tautline_frame::session::Error;
use tautline_frame::{CloseCode, CloseFrame, Prepared};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

pub use self::queue::SenderCounts;
use self::queue::{All, Latest, Newest, Queue};
use crate::futures::Transmit;
use crate::split::Writer;
use crate::sync::{Arc, Mutex, lock};

/// What the handles of a sender share with the task that feeds the connection.
struct Shared<Q> {
    state: Mutex<State<Q>>,
    /// There is a message, or no handle is left.
    changed: Notify,
    /// More has come than may wait.
    overrun: Notify,
}

struct State<Q> {
    queue: Q,
    handles: usize,
    /// Why nothing is sent any more.
    ended: Option<Error>,
}

/// One handle. The last one that is dropped lets the task end.
struct Handle<Q>(Arc<Shared<Q>>);

impl<Q> Clone for Handle<Q> {
    fn clone(&self) -> Self {
        lock(&self.0.state).handles += 1;
        Self(self.0.clone())
    }
}

impl<Q> Drop for Handle<Q> {
    fn drop(&mut self) {
        lock(&self.0.state).handles -= 1;
        self.0.changed.notify_one();
    }
}

impl<Q: Queue> Handle<Q> {
    fn push(&self, push: impl FnOnce(&mut Q)) -> Result<(), Error> {
        let mut state = lock(&self.0.state);
        if let Some(error) = &state.ended {
            return Err(error.clone());
        }
        push(&mut state.queue);
        let overrun = state.queue.overrun().is_some();
        if overrun {
            state.ended = Some(Error::Closed);
        }
        drop(state);
        if overrun {
            self.0.overrun.notify_one();
            return Err(Error::Closed);
        }
        self.0.changed.notify_one();
        Ok(())
    }

    fn counts(&self) -> SenderCounts {
        lock(&self.0.state).queue.counts()
    }
}

/// What the task does next.
enum Next {
    Send(Prepared),
    /// Nothing waits.
    Wait,
    /// Nothing waits, and nothing will come.
    End,
}

impl<Q: Queue> Shared<Q> {
    fn next(&self) -> Next {
        let mut state = lock(&self.state);
        match state.queue.pop() {
            Some(message) => Next::Send(message),
            None if state.handles == 0 => Next::End,
            None => Next::Wait,
        }
    }

    /// Feeds the connection with what waits. A message leaves the queue when there is room for it,
    /// and no more leave while what was fed is being written.
    async fn feed<S>(&self, writer: &mut Writer<S>) -> Result<(), Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            writer.ready().await?;
            match self.next() {
                Next::Send(message) => writer.feed_prepared(&message).await?,
                Next::Wait => {
                    writer.flush().await?;
                    tokio::select! {
                        () = self.changed.notified() => {}
                        // `ready` returns why.
                        () = poll_fn(|cx| writer.poll_closed(cx)) => {}
                    }
                }
                Next::End => return writer.flush().await,
            }
        }
    }

    /// Feeds the connection until the end, or until more waits than may: then it is closed, with
    /// what was fed before the Close.
    async fn feed_or_close<S>(&self, writer: &mut Writer<S>) -> Result<(), Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        tokio::select! {
            biased;
            // Whatever this waits for, it is for the slow peer.
            fed = self.feed(writer) => fed?,
            () = self.overrun.notified() => {}
        }
        let close = lock(&self.state).queue.overrun().cloned();
        let Some(close) = close else { return Ok(()) };
        tracing::debug!(code = close.code().as_u16(), "a peer was too slow for its sender");
        writer.close_with(close).await?;
        Err(Error::Closed)
    }
}

fn pair<Q, S>(
    queue: Q,
    mut writer: Writer<S>,
) -> (Handle<Q>, impl Future<Output = Result<(), Error>>)
where
    Q: Queue,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let state = State { queue, handles: 1, ended: None };
    let (changed, overrun) = (Notify::new(), Notify::new());
    let shared = Arc::new(Shared { state: Mutex::new(state), changed, overrun });
    let handle = Handle(shared.clone());
    let task = Task(shared);
    let feeding = async move {
        let result = task.0.feed_or_close(&mut writer).await;
        lock(&task.0.state).ended = result.clone().err();
        result
    };
    (handle, feeding)
}

/// The task that feeds the connection. Without it, whether it has ended or was dropped, nothing is
/// sent.
struct Task<Q>(Arc<Shared<Q>>);

impl<Q> Drop for Task<Q> {
    fn drop(&mut self) {
        lock(&self.0.state).ended.get_or_insert(Error::Closed);
    }
}

/// Sends without waiting, to a peer that may be too slow: what has not left for the connection is
/// kept up to a number of bytes, and beyond that the oldest messages are dropped. For events of
/// which the newest matter, such as those of a log.
///
/// [`Writer::dropping_sender`] makes it. Clones share one queue.
#[derive(Clone)]
pub struct DroppingSender(Handle<Newest>);

impl DroppingSender {
    /// Queues a message; if there is no room for it, the oldest ones are dropped.
    ///
    /// # Errors
    /// Why nothing is sent any more: the connection is closing or has failed, or its task has
    /// ended.
    pub fn send(&self, message: impl Into<Prepared>) -> Result<(), Error> {
        self.0.push(|queue| queue.push(message.into()))
    }

    /// What became of the messages so far.
    #[must_use]
    pub fn counts(&self) -> SenderCounts {
        self.0.counts()
    }
}

impl fmt::Debug for DroppingSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DroppingSender").field(&self.counts()).finish()
    }
}

/// Sends without waiting, to a peer that may be too slow: what has not left for the connection is
/// kept up to a number of bytes, and beyond that the connection is closed. For messages of which
/// none may be missing: a peer gets all of them in order, or a Close and may start again.
///
/// [`Writer::closing_sender`] makes it. Clones share one queue.
#[derive(Clone)]
pub struct ClosingSender(Handle<All>);

impl ClosingSender {
    /// Queues a message; if there is no room for it, nothing is sent any more, and the connection is
    /// closed.
    ///
    /// # Errors
    /// [`Error::Closed`] if there was no room for this message or an earlier one. Otherwise why
    /// nothing is sent any more: the connection is closing or has failed, or its task has ended.
    pub fn send(&self, message: impl Into<Prepared>) -> Result<(), Error> {
        self.0.push(|queue| queue.push(message.into()))
    }

    /// Whether more has come than may wait, so that the connection is being closed or has ended.
    #[must_use]
    pub fn is_overrun(&self) -> bool {
        lock(&self.0.0.state).queue.overrun().is_some()
    }

    /// What became of the messages so far.
    #[must_use]
    pub fn counts(&self) -> SenderCounts {
        self.0.counts()
    }
}

impl fmt::Debug for ClosingSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClosingSender").field(&self.counts()).finish()
    }
}

/// Sends without waiting, to a peer that may be too slow: while the message of a key has not left
/// for the connection, a newer one takes its place. For prices, positions and other states of which
/// only the last matters: a slow peer sees fewer of them, and never an old one after a newer.
///
/// [`Writer::latest_sender`] makes it. Clones share one queue.
pub struct LatestSender<K>(Handle<Latest<K>>);

impl<K> Clone for LatestSender<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Clone + Eq + Hash> LatestSender<K> {
    /// Queues a message, in place of one with the same key that has not left. Keys leave in the
    /// order in which they began to wait. If all that waits is more than the limit, what has waited
    /// longest is dropped.
    ///
    /// # Errors
    /// Why nothing is sent any more: the connection is closing or has failed, or its task has
    /// ended.
    pub fn send(&self, key: K, message: impl Into<Prepared>) -> Result<(), Error> {
        self.0.push(|queue| queue.push(key, message.into()))
    }

    /// What became of the messages so far.
    #[must_use]
    pub fn counts(&self) -> SenderCounts {
        self.0.counts()
    }
}

impl<K: Clone + Eq + Hash> fmt::Debug for LatestSender<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LatestSender").field(&self.counts()).finish()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Writer<S> {
    /// A sender that never waits, and drops the oldest messages when those that wait take more than
    /// `limit` bytes: see [`DroppingSender`]. The future feeds the connection: spawn it, or poll it
    /// beside the reader. It ends when the connection does, or, after all was written, when the
    /// last clone of the sender is dropped.
    ///
    /// Each message counts its payload and 512 bytes for what else it takes: 64 KiB have room for
    /// 42 messages of 1 KiB, or for 128 without payload. One that counts more than `limit` by
    /// itself is dropped too.
    ///
    /// What has left is in the connection's own queue, of
    /// [`Config::write_mark`](crate::Config::write_mark) bytes, and can no longer be dropped.
    ///
    /// ```
    /// use tautline::{Role, WebSocket};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (near, far) = tokio::io::duplex(1024);
    /// # let ws = WebSocket::builder(Role::Server).build(near);
    /// # let mut peer = WebSocket::builder(Role::Client).build(far);
    /// let (_reader, writer) = ws.split();
    /// let (sender, task) = writer.dropping_sender(64 << 10);
    /// tokio::spawn(task);
    /// sender.send("started")?;
    /// # assert_eq!(peer.next().await.unwrap()?.as_text(), Some("started"));
    /// assert_eq!(sender.counts().dropped, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn dropping_sender(
        self,
        limit: usize,
    ) -> (DroppingSender, impl Future<Output = Result<(), Error>>) {
        let (handle, task) = pair(Newest::new(limit), self);
        (DroppingSender(handle), task)
    }

    /// A sender that never waits, and closes the connection with 1013, "try again later", when the
    /// messages that wait take more than `limit` bytes: see [`ClosingSender`]. The future is as that
    /// of [`dropping_sender`](Self::dropping_sender), and so is what a message counts; one that counts
    /// more than `limit` by itself closes the connection too.
    ///
    /// What waits is dropped then, and counted. What has left for the connection's own queue is
    /// written before the Close, if the peer reads it: one that takes nothing is given up after
    /// [`Config::close_timeout`](crate::Config::close_timeout). The future waits for that, and returns
    /// [`Error::Closed`], or why the connection did not end in order.
    ///
    /// ```
    /// use tautline::{CloseCode, Role, WebSocket};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (near, far) = tokio::io::duplex(1024);
    /// # let ws = WebSocket::builder(Role::Server).build(near);
    /// # let mut peer = WebSocket::builder(Role::Client).build(far);
    /// let (_reader, writer) = ws.split();
    /// let (orders, task) = writer.closing_sender(1 << 10);
    /// # let mut sent = 0;
    /// while orders.send("order").is_ok() {
    ///     // The task does not run here, as if the peer were too slow.
    /// #   sent += 1;
    /// }
    /// assert!(orders.is_overrun());
    /// # assert_eq!(sent, 1);
    /// tokio::spawn(task);
    /// # assert!(peer.next().await.is_none());
    /// // What the peer sees:
    /// assert_eq!(peer.close_frame().unwrap().code(), CloseCode::TRY_AGAIN_LATER);
    /// # Ok(())
    /// # }
    /// ```
    pub fn closing_sender(
        self,
        limit: usize,
    ) -> (ClosingSender, impl Future<Output = Result<(), Error>>) {
        self.closing_sender_with(limit, CloseCode::TRY_AGAIN_LATER)
    }

    /// As [`closing_sender`](Self::closing_sender), with another code, such as
    /// [`CloseCode::POLICY_VIOLATION`] (1008), and a reason.
    ///
    /// A code that this role must not send (RFC 6455 section 7.4.1: 1010, by a server) closes
    /// nothing: the future returns [`Error::CloseCode`].
    pub fn closing_sender_with(
        self,
        limit: usize,
        close: impl Into<CloseFrame>,
    ) -> (ClosingSender, impl Future<Output = Result<(), Error>>) {
        let (handle, task) = pair(All::new(limit, close.into()), self);
        (ClosingSender(handle), task)
    }

    /// A sender that never waits, and keeps only the latest message for each key: see
    /// [`LatestSender`]. `limit` and the future are as those of
    /// [`dropping_sender`](Self::dropping_sender). A key counts five times its size in addition,
    /// for its places in the queue; what it points to, such as the characters of a `String`, is not
    /// counted.
    ///
    /// ```
    /// use tautline::{Role, WebSocket};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (near, far) = tokio::io::duplex(1024);
    /// # let ws = WebSocket::builder(Role::Server).build(near);
    /// # let mut peer = WebSocket::builder(Role::Client).build(far);
    /// let (_reader, writer) = ws.split();
    /// let (prices, task) = writer.latest_sender(64 << 10);
    /// prices.send("TAUT", "TAUT 101.25")?;
    /// prices.send("LINE", "LINE 17.5")?;
    /// prices.send("TAUT", "TAUT 101.50")?;
    /// tokio::spawn(task);
    /// # assert_eq!(peer.next().await.unwrap()?.as_text(), Some("TAUT 101.50"));
    /// assert_eq!(prices.counts().replaced, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn latest_sender<K: Clone + Eq + Hash>(
        self,
        limit: usize,
    ) -> (LatestSender<K>, impl Future<Output = Result<(), Error>>) {
        let (handle, task) = pair(Latest::new(limit), self);
        (LatestSender(handle), task)
    }
}
