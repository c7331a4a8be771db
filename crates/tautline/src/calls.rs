//! Requests and their responses over a connection: ids, deadlines, many at once, cancellation.
//!
//! A WebSocket has messages and no more. APIs of exchanges, Chrome DevTools, Home Assistant and many
//! others number their requests and put the number into the response. [`split`] makes a
//! [`Caller`] of one end of a connection, which sends requests and gets their responses, and a
//! [`CallReader`] for all other messages. What requests and responses look like is up to a
//! [`CallFormat`]; `JsonRpc` (feature `json-rpc`) is the one of JSON-RPC 2.0.
//!
//! A [`CallTable`] has the same without a connection, for senders of another kind.

#[cfg(feature = "json-rpc")]
mod json_rpc;
mod table;

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::{FusedStream, Stream};
use tautline_frame::Message;
use tautline_frame::session::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

#[cfg(feature = "json-rpc")]
pub use self::json_rpc::{JsonRpc, JsonRpcCall, JsonRpcError, JsonRpcErrorObject, JsonRpcRequest};
pub use self::table::{Answering, CallTable};
use crate::split::{Reader, Writer};
use crate::transport::Transport;
use crate::websocket::WebSocket;

/// What requests and responses look like as messages.
///
/// ```
/// use std::convert::Infallible;
/// use tautline::Message;
/// use tautline::calls::{Answer, CallFormat};
///
/// /// Lines such as `7 time` and `7 12:30`.
/// struct Lines;
///
/// impl CallFormat for Lines {
///     type Request = String;
///     type Response = String;
///     type Error = Infallible;
///
///     fn encode(&self, id: u64, request: String) -> Result<Message, Infallible> {
///         Ok(format!("{id} {request}").into())
///     }
///
///     fn decode(&self, message: &Message) -> Option<Answer<String, Infallible>> {
///         let (id, response) = message.as_text()?.split_once(' ')?;
///         Some(Answer::new(id.parse().ok()?, Ok(response.to_owned())))
///     }
/// }
/// ```
pub trait CallFormat {
    /// What is asked.
    type Request;
    /// What is answered.
    type Response;
    /// Why a request cannot be sent, or what the peer answers instead of a response.
    type Error;

    /// The message that asks this, under this id. Ids count from 1, and are below 2^53, so that a
    /// number of JavaScript can hold them.
    ///
    /// # Errors
    /// If there is no message for this request.
    fn encode(&self, id: u64, request: Self::Request) -> Result<Message, Self::Error>;

    /// The answer that this message is; `None` if it is something else.
    fn decode(&self, message: &Message) -> Option<Answer<Self::Response, Self::Error>>;

    /// The message that tells the peer that nobody waits for its answer any more. Default: none is
    /// sent.
    fn cancel(&self, id: u64) -> Option<Message> {
        let _ = id;
        None
    }
}

/// What a message of the peer answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer<T, E> {
    /// To which request.
    pub id: u64,
    /// What it is.
    pub result: Result<T, E>,
}

impl<T, E> Answer<T, E> {
    /// The answer to the request with this id.
    pub const fn new(id: u64, result: Result<T, E>) -> Self {
        Self { id, result }
    }
}

/// Why there is no response. `E` is the format's own error.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CallError<E> {
    /// The request was not sent: the connection is closing or has failed.
    Send(Error),
    /// The connection ended before the answer, or while the request was written. The peer may have
    /// carried out the request, or not.
    Ended,
    /// No answer came in time. The peer may have carried out the request, or not.
    Timeout,
    /// So many requests wait for answers already: the most that are allowed. This one was not sent.
    #[non_exhaustive]
    TooMany {
        /// The most.
        limit: usize,
    },
    /// What the peer answered instead of a response, or why the request cannot be sent.
    Format(E),
}

impl<E> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Send(_) => "the request was not sent",
            Self::Ended => "the connection ended before the answer",
            Self::Timeout => "no answer came in time",
            Self::TooMany { limit } => {
                return write!(f, "{limit} requests wait for answers already");
            }
            Self::Format(_) => "the call failed",
        })
    }
}

impl<E: std::error::Error + 'static> std::error::Error for CallError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Send(error) => Some(error),
            Self::Format(error) => Some(error),
            Self::Ended | Self::Timeout | Self::TooMany { .. } => None,
        }
    }
}

/// Makes one end of a connection ready for calls. The reader has to be polled for answers to
/// arrive: while nobody polls it, calls end with [`CallError::Timeout`], and once it is dropped, with
/// [`CallError::Ended`].
///
/// ```
/// # use std::convert::Infallible;
/// # use tautline::Message;
/// # use tautline::calls::{self, Answer, CallFormat};
/// # struct Lines;
/// # impl CallFormat for Lines {
/// #     type Request = String;
/// #     type Response = String;
/// #     type Error = Infallible;
/// #     fn encode(&self, id: u64, request: String) -> Result<Message, Infallible> {
/// #         Ok(format!("{id} {request}").into())
/// #     }
/// #     fn decode(&self, message: &Message) -> Option<Answer<String, Infallible>> {
/// #         let (id, response) = message.as_text()?.split_once(' ')?;
/// #         Some(Answer::new(id.parse().ok()?, Ok(response.to_owned())))
/// #     }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = tautline::Server::bind("127.0.0.1:0").await?;
/// # let uri = format!("ws://{}/", server.local_addr()?);
/// # tokio::spawn(server.serve(|mut ws| async move {
/// #     while let Some(message) = ws.next().await {
/// #         ws.send(message?).await?;
/// #     }
/// #     Ok(())
/// # }));
/// let ws = tautline::connect(uri).await?;
/// let (caller, mut reader) = calls::split(ws, Lines);
/// tokio::spawn(async move {
///     while let Some(Ok(message)) = reader.next().await {
///         println!("no answer: {message}");
///     }
/// });
/// // At the same time, over one connection.
/// let (time, date) = tokio::join!(caller.call("time".into()), caller.call("date".into()));
/// # assert_eq!((time?, date?), ("time".into(), "date".into())); // of an echo
/// # Ok(())
/// # }
/// ```
pub fn split<F, S>(ws: WebSocket<S>, format: F) -> (Caller<F, S>, CallReader<F, S>)
where
    F: CallFormat,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (reader, writer) = ws.split();
    let table = CallTable::new(format);
    let timeout = Caller::<F, S>::DEFAULT_TIMEOUT;
    let caller = Caller { table: table.clone(), writer, timeout };
    (caller, CallReader { reader, table })
}

/// Sends requests and waits for their responses. Clones use the same connection, and so do calls
/// of one caller at the same time.
pub struct Caller<F: CallFormat, S = Transport> {
    table: CallTable<F>,
    writer: Writer<S>,
    timeout: Duration,
}

impl<F: CallFormat, S> Clone for Caller<F, S> {
    fn clone(&self) -> Self {
        Self { table: self.table.clone(), writer: self.writer.clone(), timeout: self.timeout }
    }
}

impl<F: CallFormat, S> fmt::Debug for Caller<F, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("in_flight", &self.table.in_flight()).finish_non_exhaustive()
    }
}

impl<F: CallFormat, S> Caller<F, S> {
    /// Half a minute: longer than answers take, and short enough that a lost one is noticed.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

    /// How long a call may take, from sending the request to its response. Default:
    /// [`DEFAULT_TIMEOUT`](Self::DEFAULT_TIMEOUT).
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The requests that wait for their answers, of all callers of this connection.
    #[must_use]
    pub const fn table(&self) -> &CallTable<F> {
        &self.table
    }

    /// The writing half of the connection, for messages that get no answer.
    #[must_use]
    pub fn writer(&self) -> Writer<S> {
        self.writer.clone()
    }
}

impl<F: CallFormat, S: AsyncRead + AsyncWrite + Unpin> Caller<F, S> {
    /// Asks this, and waits for the answer. Any number of calls may wait at the same time, up to
    /// [`CallTable::max_in_flight`]. When the future is dropped, or the time is over, nobody waits
    /// for the answer any more, and the peer is told if [the format has a
    /// way](CallFormat::cancel).
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(&self, request: F::Request) -> Result<F::Response, CallError<F::Error>> {
        let (message, answering) = self.table.begin(request)?;
        let mut asked = Asked { caller: self, answering, is_sent: false };
        let calling = async {
            let mut writer = self.writer.clone();
            writer.feed(message).await.map_err(CallError::Send)?;
            asked.is_sent = true;
            // From here on, nobody knows what the peer has.
            writer.flush().await.map_err(|_| CallError::Ended)?;
            (&mut asked.answering).await
        };
        timeout(self.timeout, calling).await.unwrap_or(Err(CallError::Timeout))
    }
}

/// A request of which the peer is told if nobody waits for the answer any more.
struct Asked<'a, F: CallFormat, S: AsyncRead + AsyncWrite + Unpin> {
    caller: &'a Caller<F, S>,
    answering: Answering<F>,
    is_sent: bool,
}

impl<F: CallFormat, S: AsyncRead + AsyncWrite + Unpin> Drop for Asked<'_, F, S> {
    fn drop(&mut self) {
        if self.is_sent
            && self.answering.is_waiting()
            && let Some(message) = self.caller.table.format().cancel(self.answering.id())
        {
            // It spares the peer some work. If there is no room for it, that is not worth waiting.
            let _ = self.caller.writer.clone().try_feed(message);
        }
    }
}

/// Reads from a connection: takes the answers to the calls, and returns all other messages. When it
/// is dropped, or the connection ends, the calls that wait end with [`CallError::Ended`].
pub struct CallReader<F: CallFormat, S = Transport> {
    reader: Reader<S>,
    table: CallTable<F>,
}

impl<F: CallFormat, S> fmt::Debug for CallReader<F, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallReader")
            .field("in_flight", &self.table.in_flight())
            .finish_non_exhaustive()
    }
}

impl<F: CallFormat, S> Drop for CallReader<F, S> {
    fn drop(&mut self) {
        self.table.end();
    }
}

impl<F: CallFormat, S: AsyncRead + AsyncWrite + Unpin> CallReader<F, S> {
    /// The next message that is no answer: see [`Reader::next`]. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<Message, Error>> {
        poll_fn(|cx| self.poll_message(cx)).await
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, Error>>> {
        loop {
            match ready!(Pin::new(&mut self.reader).poll_next(cx)) {
                Some(Ok(message)) => {
                    if let Some(message) = self.table.handle(message) {
                        return Poll::Ready(Some(Ok(message)));
                    }
                }
                end => {
                    self.table.end();
                    return Poll::Ready(end);
                }
            }
        }
    }
}

impl<F: CallFormat, S: AsyncRead + AsyncWrite + Unpin> Stream for CallReader<F, S> {
    type Item = Result<Message, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_message(cx)
    }
}

impl<F: CallFormat, S: AsyncRead + AsyncWrite + Unpin> FusedStream for CallReader<F, S> {
    fn is_terminated(&self) -> bool {
        self.reader.is_terminated()
    }
}
