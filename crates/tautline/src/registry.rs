//! The connections of a server, to look at and to act on from elsewhere.

mod info;
mod member;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tautline_frame::{CloseFrame, Message};

pub use self::info::{ConnectionId, ConnectionInfo};
use self::member::Entry;
pub(crate) use self::member::{Member, Totals};
use crate::sync::{Mutex, MutexGuard, lock};

/// So many parts with a lock of their own: connections come and go on all cores.
const SHARDS: usize = 16;

/// The open connections of a server: lists them, sends to one, and closes one, some or all. Clones
/// are the same registry. A server has one if it is [given](crate::Server::registry) one.
///
/// What is listed is what each connection last told: it does so when it has nothing left to do, or
/// its turn is over. Looking at connections takes none of their locks. With a registry, each takes
/// about 300 bytes more, and nothing more for each message.
///
/// ```
/// use tautline::{CloseCode, Registry, Server};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let registry = Registry::new();
/// let server = Server::bind("127.0.0.1:0").await?.registry(registry.clone());
/// # let uri = format!("ws://{}/", server.local_addr()?);
/// # let serving = server.serve(|mut ws| async move {
/// #     while let Some(message) = ws.next().await { ws.send(message?).await?; }
/// #     Ok(())
/// # });
/// # tokio::spawn(serving);
/// # let mut client = tautline::connect(uri).await?;
/// # client.send("hello").await?;
/// # client.next().await.unwrap()?;
/// // On demand:
/// for connection in registry.list() {
///     println!("{connection}");
/// }
/// // An announcement, and the end of those that have sent nothing.
/// for connection in registry.list() {
///     let _ = registry.send(connection.id, "maintenance at noon");
/// }
/// # assert_eq!(client.next().await.unwrap()?.as_text(), Some("maintenance at noon"));
/// registry.close_where(|it| it.messages_received == 0, CloseCode::POLICY_VIOLATION);
/// # registry.close_all(CloseCode::GOING_AWAY);
/// # assert!(client.next().await.is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Registry(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// The number of the newest.
    newest: AtomicU64,
    shards: [Mutex<Shard>; SHARDS],
}

type Shard = HashMap<ConnectionId, Arc<Entry>>;

impl Registry {
    /// How many messages of [`send`](Self::send) wait for one connection at most.
    pub const MAX_WAITING: usize = 64;

    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many connections are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, the oldest first. It is no snapshot: connections come and go meanwhile.
    #[must_use]
    pub fn list(&self) -> Vec<ConnectionInfo> {
        let mut list: Vec<_> = self.entries().iter().map(|entry| entry.info()).collect();
        list.sort_unstable_by_key(|connection| connection.id);
        list
    }

    /// One of them, if it is open.
    #[must_use]
    pub fn get(&self, id: ConnectionId) -> Option<ConnectionInfo> {
        self.entry(id).map(|entry| entry.info())
    }

    /// Sends a message to one of them, after what its handler has queued; it waits there for room
    /// like any other. A handler that does not use its connection holds it back.
    ///
    /// # Errors
    /// Returns the message if there is no such connection, if it is closing, or if
    /// [`MAX_WAITING`](Self::MAX_WAITING) messages wait for it.
    pub fn send(&self, id: ConnectionId, message: impl Into<Message>) -> Result<(), Message> {
        let message = message.into();
        match self.entry(id) {
            Some(entry) => entry.post(message),
            None => Err(message),
        }
    }

    /// Closes one of them (RFC 6455 section 7.1.2), after what was sent to it, as soon as its
    /// handler uses it. Returns whether there is one that was not told to close before.
    ///
    /// The code must be one that a server may send: with 1010, it closes with 1001.
    pub fn close(&self, id: ConnectionId, frame: impl Into<CloseFrame>) -> bool {
        self.entry(id).is_some_and(|entry| entry.close(frame.into()))
    }

    /// Closes those for which the function returns `true`. Returns how many were not told before.
    pub fn close_where(
        &self,
        mut which: impl FnMut(&ConnectionInfo) -> bool,
        frame: impl Into<CloseFrame>,
    ) -> usize {
        let frame = frame.into();
        let chosen = self.entries().into_iter().filter(|entry| which(&entry.info()));
        chosen.filter(|entry| entry.close(frame.clone())).count()
    }

    /// Closes all that are open now. Returns how many were not told before.
    pub fn close_all(&self, frame: impl Into<CloseFrame>) -> usize {
        let frame = frame.into();
        self.entries().iter().filter(|entry| entry.close(frame.clone())).count()
    }

    /// Adds a connection, until what this returns is dropped.
    pub(crate) fn enter(&self, about: impl FnOnce(ConnectionId) -> ConnectionInfo) -> Member {
        let id = ConnectionId(self.0.newest.fetch_add(1, Ordering::Relaxed) + 1);
        let entry = Arc::new(Entry::new(about(id)));
        self.shard(id).insert(id, entry.clone());
        Member::new(self.clone(), entry)
    }

    fn leave(&self, id: ConnectionId) {
        let left = self.shard(id).remove(&id);
        // Outside the lock: it may hold the last reference to a task.
        drop(left);
    }

    fn entry(&self, id: ConnectionId) -> Option<Arc<Entry>> {
        self.shard(id).get(&id).cloned()
    }

    /// Nothing of the user is called within a lock.
    fn entries(&self) -> Vec<Arc<Entry>> {
        let shards = self.0.shards.iter();
        shards.flat_map(|shard| lock(shard).values().cloned().collect::<Vec<_>>()).collect()
    }

    fn shard(&self, id: ConnectionId) -> MutexGuard<'_, Shard> {
        lock(&self.0.shards[id.0 as usize % SHARDS])
    }
}

/// One connection on each line.
impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.list().iter().try_for_each(|connection| writeln!(f, "{connection}"))
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;

    fn member(registry: &Registry) -> Member {
        registry.enter(ConnectionInfo::of_nobody)
    }

    #[test]
    fn connections_are_listed_in_their_order_until_they_leave() {
        let registry = Registry::new();
        let mut members: Vec<_> = (0..40).map(|_| member(&registry)).collect();
        let ids: Vec<_> = registry.list().iter().map(|info| info.id.as_u64()).collect();
        assert_eq!(ids, (1..=40).collect::<Vec<_>>());
        drop(members.drain(1..));
        assert_eq!((registry.len(), registry.list().len()), (1, 1));
        assert!(registry.get(members[0].id()).is_some());
        drop(members);
        assert!(registry.is_empty());
    }

    #[test]
    fn only_so_many_messages_wait_for_a_connection_and_none_behind_a_close() {
        let registry = Registry::new();
        let mut one = member(&registry);
        for _ in 0..Registry::MAX_WAITING {
            registry.send(one.id(), "hello").unwrap();
        }
        assert_eq!(registry.send(one.id(), "one more"), Err(Message::from("one more")));
        let (messages, close) = one.take_mail();
        assert_eq!((messages.len(), close), (Registry::MAX_WAITING, None));
        assert!(registry.close(one.id(), CloseCode::NORMAL));
        assert!(!registry.close(one.id(), CloseCode::GOING_AWAY), "the first counts");
        assert!(registry.send(one.id(), "late").is_err());
        assert_eq!(registry.close_all(CloseCode::GOING_AWAY), 0);
        let (messages, close) = one.take_mail();
        assert_eq!((messages.len(), close), (0, Some(CloseCode::NORMAL.into())));
    }

    // There was room for a part of it, and more came meanwhile.
    #[test]
    fn mail_that_is_put_back_stays_ahead_of_what_came_meanwhile() {
        let registry = Registry::new();
        let mut one = member(&registry);
        for text in ["a", "b"] {
            registry.send(one.id(), text).unwrap();
        }
        let (mut messages, close) = one.take_mail();
        assert_eq!(messages.pop_front(), Some(Message::from("a")));
        registry.send(one.id(), "c").unwrap();
        assert!(registry.close(one.id(), CloseCode::NORMAL));
        one.put_back(messages, close);
        assert!(one.is_called());
        let (messages, close) = one.take_mail();
        assert_eq!(messages, ["b", "c"].map(Message::from));
        assert_eq!(close, Some(CloseCode::NORMAL.into()), "the newer one");
        one.put_back(messages, close);
        assert_eq!(one.take_mail().1, Some(CloseCode::NORMAL.into()), "the one that was put back");
    }

    use tautline_frame::CloseCode;
}
