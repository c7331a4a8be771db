//! Which requests wait for an answer.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tautline_frame::Message;
use tokio::sync::oneshot;

use super::{CallError, CallFormat};

/// The requests that wait for their answers, without a connection: it says which message to send,
/// and is told what arrives. Clones are the same table.
///
/// [`split`](super::split) does this for a connection. A table alone is for senders of another kind:
/// one that outlives connections, or several connections.
///
/// ```
/// # use std::convert::Infallible;
/// # use tautline::Message;
/// # use tautline::calls::{Answer, CallFormat, CallTable};
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
/// let table = CallTable::new(Lines);
/// let (message, answering) = table.begin("time".to_owned())?;
/// assert_eq!(message.as_text(), Some("1 time")); // to be sent
/// assert!(table.handle("hello".into()).is_some(), "no answer");
/// assert!(table.handle("1 12:30".into()).is_none());
/// assert_eq!(answering.await?, "12:30");
/// # Ok(())
/// # }
/// ```
pub struct CallTable<F: CallFormat>(Arc<Shared<F>>);

struct Shared<F: CallFormat> {
    format: F,
    state: Mutex<State<F>>,
}

type Answered<F> = Result<<F as CallFormat>::Response, <F as CallFormat>::Error>;

struct State<F: CallFormat> {
    newest: u64,
    waiting: HashMap<u64, oneshot::Sender<Answered<F>>>,
    limit: usize,
    ended: bool,
}

impl<F: CallFormat> Clone for CallTable<F> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<F: CallFormat> fmt::Debug for CallTable<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallTable").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

impl<F: CallFormat> Shared<F> {
    fn change<T>(&self, change: impl FnOnce(&mut State<F>) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<F: CallFormat> CallTable<F> {
    /// How many requests may wait at once.
    pub const DEFAULT_MAX_IN_FLIGHT: usize = 1024;

    /// An empty table.
    #[must_use]
    pub fn new(format: F) -> Self {
        let limit = Self::DEFAULT_MAX_IN_FLIGHT;
        let state = State { newest: 0, waiting: HashMap::new(), limit, ended: false };
        Self(Arc::new(Shared { format, state: Mutex::new(state) }))
    }

    /// How many requests may wait at once, from now on. Default:
    /// [`DEFAULT_MAX_IN_FLIGHT`](Self::DEFAULT_MAX_IN_FLIGHT).
    pub fn max_in_flight(&self, limit: usize) {
        self.0.change(|state| state.limit = limit);
    }

    /// How many requests wait now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.0.change(|state| state.waiting.len())
    }

    /// What requests and responses look like.
    #[must_use]
    pub fn format(&self) -> &F {
        &self.0.format
    }

    /// The message that asks this, to be sent by the caller, and the future of the answer. Its time
    /// is not limited: see [`tokio::time::timeout`].
    ///
    /// # Errors
    /// [`CallError::Format`] if there is no message for this request; [`CallError::TooMany`];
    /// [`CallError::Ended`] after [`end`](Self::end).
    pub fn begin(
        &self,
        request: F::Request,
    ) -> Result<(Message, Answering<F>), CallError<F::Error>> {
        let (told, answer) = oneshot::channel();
        let id = self.0.change(|state| {
            if state.ended {
                return Err(CallError::Ended);
            }
            if state.waiting.len() >= state.limit {
                return Err(CallError::TooMany { limit: state.limit });
            }
            state.newest += 1;
            state.waiting.insert(state.newest, told);
            Ok(state.newest)
        })?;
        // From here on it is taken out of the table when it is dropped.
        let answering = Answering { table: self.clone(), id, answer, is_over: false };
        // Not under the lock: it is the user's code.
        let message = self.0.format.encode(id, request).map_err(CallError::Format)?;
        Ok((message, answering))
    }

    /// What has arrived. Returns the message if it is no answer to a request of this table. An
    /// answer that comes too late is nobody's, and is dropped.
    #[must_use = "it may be a message that is no answer"]
    pub fn handle(&self, message: Message) -> Option<Message> {
        let Some(answer) = self.0.format.decode(&message) else { return Some(message) };
        let waiting = self.0.change(|state| {
            let known = answer.id >= 1 && answer.id <= state.newest;
            known.then(|| state.waiting.remove(&answer.id))
        });
        let Some(waiting) = waiting else { return Some(message) };
        if let Some(told) = waiting {
            // Whoever waited may have gone this moment.
            let _ = told.send(answer.result);
        }
        None
    }

    /// No more answers will come, of this table's requests or of later ones: all get
    /// [`CallError::Ended`].
    pub fn end(&self) {
        let waiting = self.0.change(|state| {
            state.ended = true;
            std::mem::take(&mut state.waiting)
        });
        drop(waiting);
    }

    /// The connection was lost, and another one follows: those that wait get [`CallError::Ended`],
    /// later ones do not.
    pub fn lose(&self) {
        drop(self.0.change(|state| std::mem::take(&mut state.waiting)));
    }
}

/// The future of an answer. Dropped, nobody waits for it.
#[must_use = "it is the answer"]
pub struct Answering<F: CallFormat> {
    table: CallTable<F>,
    id: u64,
    answer: oneshot::Receiver<Answered<F>>,
    is_over: bool,
}

impl<F: CallFormat> fmt::Debug for Answering<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answering").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<F: CallFormat> Answering<F> {
    /// The id of the request.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Whether the answer is still to come.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.is_over && self.table.0.change(|state| state.waiting.contains_key(&self.id))
    }
}

impl<F: CallFormat> Future for Answering<F> {
    type Output = Result<F::Response, CallError<F::Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.answer).poll(cx);
        this.is_over |= polled.is_ready();
        polled.map(|answer| match answer {
            Ok(result) => result.map_err(CallError::Format),
            // The table has dropped the other end.
            Err(_) => Err(CallError::Ended),
        })
    }
}

impl<F: CallFormat> Drop for Answering<F> {
    fn drop(&mut self) {
        if !self.is_over {
            let own = self.table.0.change(|state| state.waiting.remove(&self.id));
            drop(own);
        }
    }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::calls::Answer;

    /// `id:request`, and `id=response` or `id!error`.
    struct Test;

    impl CallFormat for Test {
        type Request = &'static str;
        type Response = String;
        type Error = String;

        fn encode(&self, id: u64, request: &'static str) -> Result<Message, String> {
            if request.is_empty() {
                Err("empty".into())
            } else {
                Ok(format!("{id}:{request}").into())
            }
        }

        fn decode(&self, message: &Message) -> Option<Answer<String, String>> {
            let text = message.as_text()?;
            let (id, result) = match text.split_once('=') {
                Some((id, response)) => (id, Ok(response.to_owned())),
                None => text.split_once('!').map(|(id, error)| (id, Err(error.to_owned())))?,
            };
            Some(Answer::new(id.parse().ok()?, result))
        }
    }

    fn poll(answering: &mut Answering<Test>) -> Poll<Result<String, CallError<String>>> {
        Pin::new(answering).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn answers_find_their_requests_in_any_order() {
        let table = CallTable::new(Test);
        let (first, mut one) = table.begin("a").unwrap();
        let (second, mut two) = table.begin("b").unwrap();
        assert_eq!((first.as_text(), second.as_text()), (Some("1:a"), Some("2:b")));
        assert_eq!(table.handle("2=right".into()), None);
        assert!(poll(&mut one).is_pending());
        assert!(matches!(poll(&mut two), Poll::Ready(Ok(text)) if text == "right"));
        assert_eq!(table.handle("1!wrong".into()), None);
        assert!(
            matches!(poll(&mut one), Poll::Ready(Err(CallError::Format(text))) if text == "wrong")
        );
        assert_eq!(table.in_flight(), 0);
    }

    #[test]
    fn what_is_no_answer_is_handed_on_and_a_late_one_is_dropped() {
        let table = CallTable::new(Test);
        let (_, one) = table.begin("a").unwrap();
        for other in ["hello", "0=x", "2=not asked yet", "x=y"] {
            assert_eq!(table.handle(other.into()), Some(Message::from(other)));
        }
        assert!(one.is_waiting());
        drop(one);
        assert_eq!(table.in_flight(), 0);
        assert_eq!(table.handle("1=late".into()), None);
    }

    #[test]
    fn no_more_wait_than_are_allowed_and_what_cannot_be_asked_does_not_wait() {
        let table = CallTable::new(Test);
        table.max_in_flight(2);
        assert!(matches!(table.begin(""), Err(CallError::Format(error)) if error == "empty"));
        let waiting = [table.begin("a").unwrap().1, table.begin("b").unwrap().1];
        assert!(matches!(table.begin("c"), Err(CallError::TooMany { limit: 2 })));
        drop(waiting);
        assert!(table.begin("c").is_ok());
    }

    #[test]
    fn those_that_wait_end_with_the_connection() {
        let table = CallTable::new(Test);
        let (_, mut one) = table.begin("a").unwrap();
        table.lose();
        assert!(matches!(poll(&mut one), Poll::Ready(Err(CallError::Ended))));
        let (_, mut two) = table.begin("b").unwrap();
        table.end();
        assert!(matches!(poll(&mut two), Poll::Ready(Err(CallError::Ended))));
        assert!(matches!(table.begin("c"), Err(CallError::Ended)));
    }
}
