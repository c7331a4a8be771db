//! A hub for the broadcast: one message to all connections, by a queue for each. The same for all
//! libraries; what they differ in is what a connection does with the messages in its queue.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// The connections that get every message. `M` is whatever a library can share between connections
/// at the least cost.
#[derive(Debug)]
pub struct Hub<M>(Arc<Mutex<Vec<UnboundedSender<M>>>>);

/// The messages for one connection.
pub type Subscription<M> = UnboundedReceiver<M>;

impl<M> Clone for Hub<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M> Default for Hub<M> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<M: Clone> Hub<M> {
    /// Joins.
    #[must_use]
    pub fn subscribe(&self) -> Subscription<M> {
        let (sender, receiver) = unbounded_channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        receiver
    }

    /// Gives a message to all; who has left is forgotten.
    #[allow(clippy::needless_pass_by_value, reason = "as a channel takes it")]
    pub fn publish(&self, message: M) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|sender| sender.send(message.clone()).is_ok());
    }
}
