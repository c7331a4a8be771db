//! A connection in a registry: what it tells, and what it is told.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use tautline_frame::{CloseFrame, Message, Protocol};

use super::{ConnectionId, ConnectionInfo, Registry};
use crate::sync::{Mutex, lock};
use crate::timer::now;

/// What has passed through a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) messages_received: u64,
    pub(crate) messages_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
}

impl Totals {
    pub(crate) fn of(protocol: &Protocol) -> Self {
        Self {
            messages_received: protocol.received_messages(),
            messages_sent: protocol.sent_messages(),
            bytes_received: protocol.read_bytes(),
            bytes_sent: protocol.written_bytes(),
        }
    }
}

/// A connection as a registry sees it.
pub(super) struct Entry {
    /// As it was opened.
    about: ConnectionInfo,
    opened: Instant,
    told: Told,
    /// Whether there is mail. Changed within its lock.
    called: AtomicBool,
    mail: Mutex<Mail>,
}

/// Written by the connection alone. Numbers of one moment need not fit those of another.
#[derive(Default)]
struct Told {
    messages_received: AtomicU64,
    messages_sent: AtomicU64,
    bytes_received: AtomicU64,
    bytes_sent: AtomicU64,
    queued: AtomicU64,
    /// In microseconds; 0 before the first.
    round_trip: AtomicU64,
}

#[derive(Default)]
struct Mail {
    messages: VecDeque<Message>,
    close: Option<CloseFrame>,
    /// It was told to close, and takes no more mail.
    closed: bool,
    /// The task of the connection.
    waker: Option<Waker>,
}

impl Entry {
    pub(super) fn new(about: ConnectionInfo) -> Self {
        Self {
            about,
            opened: now(),
            told: Told::default(),
            called: AtomicBool::new(false),
            mail: Mutex::default(),
        }
    }

    pub(super) fn info(&self) -> ConnectionInfo {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let round_trip = read(&self.told.round_trip);
        ConnectionInfo {
            age: now().saturating_duration_since(self.opened),
            messages_received: read(&self.told.messages_received),
            messages_sent: read(&self.told.messages_sent),
            bytes_received: read(&self.told.bytes_received),
            bytes_sent: read(&self.told.bytes_sent),
            queued: read(&self.told.queued),
            round_trip: (round_trip > 0).then(|| Duration::from_micros(round_trip)),
            ..self.about.clone()
        }
    }

    pub(super) fn post(&self, message: Message) -> Result<(), Message> {
        self.deliver(|mail| {
            if mail.closed || mail.messages.len() >= Registry::MAX_WAITING {
                return Err(message);
            }
            mail.messages.push_back(message);
            Ok(())
        })
    }

    pub(super) fn close(&self, frame: CloseFrame) -> bool {
        let posted = self.deliver(|mail| {
            if mail.closed {
                return Err(());
            }
            (mail.closed, mail.close) = (true, Some(frame));
            Ok(())
        });
        posted.is_ok()
    }

    fn deliver<E>(&self, put: impl FnOnce(&mut Mail) -> Result<(), E>) -> Result<(), E> {
        let waker = {
            let mut mail = lock(&self.mail);
            put(&mut mail)?;
            self.called.store(true, Ordering::SeqCst);
            mail.waker.take()
        };
        // Outside the lock.
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }
}

/// A connection's own side of its entry. It leaves the registry when this is dropped.
pub(crate) struct Member {
    registry: Registry,
    entry: Arc<Entry>,
    /// What is stored in the entry, unless it was taken.
    known: Option<Waker>,
}

impl Member {
    pub(super) const fn new(registry: Registry, entry: Arc<Entry>) -> Self {
        Self { registry, entry, known: None }
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.entry.about.id
    }

    /// Whether there is mail.
    #[inline]
    pub(crate) fn is_called(&self) -> bool {
        self.entry.called.load(Ordering::Relaxed)
    }

    /// Tells how things are.
    #[inline]
    pub(crate) fn tell(&self, totals: &Totals, queued: u64, round_trip: Option<Duration>) {
        let write = |number: &AtomicU64, value| number.store(value, Ordering::Relaxed);
        let told = &self.entry.told;
        write(&told.messages_received, totals.messages_received);
        write(&told.messages_sent, totals.messages_sent);
        write(&told.bytes_received, totals.bytes_received);
        write(&told.bytes_sent, totals.bytes_sent);
        write(&told.queued, queued);
        if let Some(time) = round_trip {
            write(&told.round_trip, u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        }
    }

    /// Has this waker woken when there is mail. Returns whether there is some already.
    #[inline]
    pub(crate) fn listen(&mut self, waker: &Waker) -> bool {
        if !self.is_called()
            && let Some(known) = &self.known
            && known.will_wake(waker)
        {
            return false;
        }
        self.listen_anew(waker)
    }

    #[cold]
    fn listen_anew(&mut self, waker: &Waker) -> bool {
        let (called, replaced) = {
            let mut mail = lock(&self.entry.mail);
            (self.entry.called.load(Ordering::SeqCst), mail.waker.replace(waker.clone()))
        };
        // Outside the lock: it may be the last reference to a task.
        drop(replaced);
        self.known = Some(waker.clone());
        called
    }

    /// Takes the mail. Later mail wakes again once this has listened.
    pub(crate) fn take_mail(&mut self) -> (VecDeque<Message>, Option<CloseFrame>) {
        self.known = None;
        let mut mail = lock(&self.entry.mail);
        self.entry.called.store(false, Ordering::SeqCst);
        (std::mem::take(&mut mail.messages), mail.close.take())
    }

    /// Puts mail back for which there was no room. Newer mail stays behind it.
    pub(crate) fn put_back(&mut self, mut messages: VecDeque<Message>, close: Option<CloseFrame>) {
        let mut mail = lock(&self.entry.mail);
        messages.append(&mut mail.messages);
        mail.messages = messages;
        mail.close = close.or_else(|| mail.close.take());
        self.entry.called.store(true, Ordering::SeqCst);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.registry.leave(self.id());
    }
}
