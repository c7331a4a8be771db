//! What the stream and its senders share: the connection of now, what waits for it, and what was
//! asked for.

use std::mem;
use std::task::Waker;

use tautline_frame::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, oneshot, watch};

use super::event::{SendError, State, Stopped};
use super::outbox::{Outbox, WhileAway};
use crate::split::Writer;
use crate::sync::{Mutex, lock};

/// By which the sender of a kept message learns what became of it.
pub(super) type Ticket = oneshot::Sender<Result<(), SendError>>;

pub(super) struct Shared<S> {
    inner: Mutex<Inner<S>>,
    /// The link has changed, or the outbox has become empty.
    changed: Notify,
    pub(super) state: watch::Sender<State>,
}

struct Inner<S> {
    link: Link<S>,
    /// How many connections there were: which one a writer belongs to.
    generation: u64,
    outbox: Outbox<Ticket>,
    /// Kept messages are being handed to the connection, ahead of others.
    handing_over: bool,
    while_away: WhileAway,
    asked: Asked,
    /// Of the task that polls the stream.
    driver: Option<Waker>,
}

/// What senders can reach.
enum Link<S> {
    Away,
    Live(Writer<S>),
    Stopped(Stopped),
}

/// What was asked of the stream. A later variant includes the earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asked {
    Nothing,
    Reconnect,
    Close,
}

/// What becomes of a message that is to be sent now.
pub(super) enum Way<S> {
    /// This connection takes it.
    Live(Writer<S>, u64),
    /// It waits for a connection: the sender holds it.
    Wait,
    /// It waits for a connection in the outbox.
    Kept(oneshot::Receiver<Result<(), SendError>>),
}

impl<S> Shared<S> {
    pub(super) fn new() -> Self {
        let inner = Inner {
            link: Link::Away,
            generation: 0,
            outbox: Outbox::default(),
            handing_over: false,
            while_away: WhileAway::Fail,
            asked: Asked::Nothing,
            driver: None,
        };
        let state = watch::Sender::new(State::Connecting);
        Self { inner: Mutex::new(inner), changed: Notify::new(), state }
    }

    pub(super) fn set_while_away(&self, while_away: WhileAway) {
        lock(&self.inner).while_away = while_away;
    }

    /// Ready at the next change after it was enabled.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    pub(super) fn kept_bytes(&self) -> usize {
        lock(&self.inner).outbox.bytes()
    }

    /// Where this message goes. While kept messages are handed to a connection, others are kept
    /// behind them: nothing overtakes.
    pub(super) fn way(&self, message: &Message) -> Result<Way<S>, SendError> {
        let mut inner = lock(&self.inner);
        let inner = &mut *inner;
        match (&inner.link, inner.while_away) {
            (Link::Stopped(stopped), _) => {
                Err(SendError::Stopped { message: message.clone(), stopped: stopped.clone() })
            }
            (Link::Live(writer), _) if !inner.handing_over => {
                Ok(Way::Live(writer.clone(), inner.generation))
            }
            (_, WhileAway::Wait) => Ok(Way::Wait),
            (_, WhileAway::Fail) => Err(SendError::NotConnected(message.clone())),
            (_, WhileAway::Keep { max_bytes }) => {
                let (ticket, outcome) = oneshot::channel();
                match inner.outbox.push(message.clone(), ticket, max_bytes) {
                    Ok(()) => Ok(Way::Kept(outcome)),
                    Err(message) => Err(SendError::Full(message)),
                }
            }
        }
    }

    /// Whether the connection of this generation is the one of now.
    pub(super) fn is_current(&self, generation: u64) -> bool {
        let inner = lock(&self.inner);
        inner.generation == generation && matches!(inner.link, Link::Live(_))
    }

    /// A connection is open. What was kept is [handed over](Self::hand_over) next.
    pub(super) fn connected(&self, writer: Writer<S>) {
        self.change(|inner| {
            inner.generation += 1;
            inner.handing_over = !inner.outbox.is_empty();
            mem::replace(&mut inner.link, Link::Live(writer))
        });
        self.state.send_replace(State::Connected);
    }

    /// The connection takes no messages any more. A sender may notice before the stream does.
    pub(super) fn disconnected(&self, generation: Option<u64>) {
        self.change(|inner| {
            let live = matches!(inner.link, Link::Live(_));
            if live && generation.is_none_or(|generation| generation == inner.generation) {
                mem::replace(&mut inner.link, Link::Away)
            } else {
                Link::Away
            }
        });
    }

    /// There will be no other connection. What was kept goes back to its senders.
    pub(super) fn stop(&self, stopped: &Stopped) {
        let kept = self.change(|inner| {
            let link = mem::replace(&mut inner.link, Link::Stopped(stopped.clone()));
            (link, mem::take(&mut inner.outbox))
        });
        let (_, mut outbox) = kept;
        while let Some((message, ticket)) = outbox.pop() {
            let stopped = stopped.clone();
            // Its sender may not want to know.
            let _ = ticket.send(Err(SendError::Stopped { message, stopped }));
        }
        self.state.send_replace(State::Stopped(stopped.clone()));
    }

    /// What is replaced is dropped by the caller, after the lock is released: dropping a writer
    /// wakes tasks.
    fn change<T>(&self, change: impl FnOnce(&mut Inner<S>) -> T) -> T {
        let replaced = change(&mut lock(&self.inner));
        self.changed.notify_waiters();
        replaced
    }

    /// Asks something of the stream, whose task is woken.
    pub(super) fn ask(&self, what: Asked) {
        let driver = {
            let mut inner = lock(&self.inner);
            inner.asked = inner.asked.max(what);
            inner.driver.take()
        };
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// What was asked, which is then done; otherwise this task is woken when something is.
    pub(super) fn take_asked(&self, driver: &Waker) -> Asked {
        let mut inner = lock(&self.inner);
        let asked = mem::replace(&mut inner.asked, Asked::Nothing);
        if !inner.driver.as_ref().is_some_and(|known| known.will_wake(driver)) {
            inner.driver = Some(driver.clone());
        }
        asked
    }

    fn pop_kept(&self) -> Option<(Message, Ticket)> {
        let mut inner = lock(&self.inner);
        let kept = inner.outbox.pop();
        if kept.is_none() && mem::replace(&mut inner.handing_over, false) {
            drop(inner);
            self.changed.notify_waiters();
        }
        kept
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Shared<S> {
    /// Hands kept messages to a connection, as far as it takes them now. Returns whether all were.
    pub(super) fn hand_over(&self, writer: &mut Writer<S>) -> bool {
        while let Some((message, ticket)) = self.pop_kept() {
            // Copies of a message share its payload.
            if writer.try_feed(message.clone()).is_err() {
                lock(&self.inner).outbox.put_back(message, ticket);
                return false;
            }
            let _ = ticket.send(Ok(()));
        }
        true
    }
}
