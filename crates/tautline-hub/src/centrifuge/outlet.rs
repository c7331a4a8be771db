//! The one place that writes to a client: what its session has to say, and what is published, in their
//! order.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tautline::{CloseCode, CloseFrame, Message, Prefetch, Prepared, Writer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::codes::Disconnect;
use super::data::{ClientInfo, Membership};
use super::format::Format;
use super::payload::Payload;
use super::shared::{Shared, publication};
use crate::delivery::{Delivery, Format as Form};
use crate::outlet::{Deliveries, Ended, Outgoing, Outlet, Sent, try_each};
use crate::presence::{Change, Event};
use crate::topic::Topic;

/// A publication as a push in JSON, made once for all clients that have JSON. Empty if it is not JSON.
struct JsonPush;

impl Form for JsonPush {
    fn encode(delivery: &Delivery) -> Message {
        push(delivery, Format::Json)
    }
}

/// The same in Protobuf.
#[cfg(feature = "centrifuge-protobuf")]
struct ProtobufPush;

#[cfg(feature = "centrifuge-protobuf")]
impl Form for ProtobufPush {
    fn encode(delivery: &Delivery) -> Message {
        push(delivery, Format::Protobuf)
    }
}

fn push(delivery: &Delivery, format: Format) -> Message {
    let topic = delivery.topic().as_str();
    publication(delivery).push(format, topic).unwrap_or_default()
}

/// A publication in this format. Empty if it cannot be.
fn form_in(format: Format, delivery: &Delivery) -> &Prepared {
    match format {
        Format::Json => delivery.form::<JsonPush>(),
        #[cfg(feature = "centrifuge-protobuf")]
        Format::Protobuf => delivery.form::<ProtobufPush>(),
    }
}

pub(super) struct ClientOutlet<S> {
    writer: Writer<S>,
    shared: Arc<Shared>,
    /// A frame for which there was no room.
    stuck: Option<Prepared>,
    /// What happened in its channels before the client is connected, and what that takes.
    early: VecDeque<Early>,
    early_bytes: usize,
}

/// Something that a client is told of once it is connected.
enum Early {
    Delivery(Delivery),
    /// Somebody joined or left.
    Presence(Event),
}

impl Early {
    fn topic(&self) -> &Topic {
        match self {
            Self::Delivery(delivery) => delivery.topic(),
            Self::Presence(event) => &event.topic,
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Delivery(delivery) => delivery.size(),
            Self::Presence(Event { member, .. }) => {
                let info = &member.info;
                size_of::<Event>()
                    + info.user.len()
                    + info.connection_data.len()
                    + info.topic_data.len()
            }
        }
    }
}

/// The handler may be waiting for the client to take something.
impl<S> Drop for ClientOutlet<S> {
    fn drop(&mut self) {
        self.shared.end();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> ClientOutlet<S> {
    pub(super) const fn new(writer: Writer<S>, shared: Arc<Shared>) -> Self {
        Self { writer, shared, stuck: None, early: VecDeque::new(), early_bytes: 0 }
    }

    /// Queues what the session has to say, and then what waited for that.
    fn poll_session(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        loop {
            if let Some(frame) = &self.stuck {
                ready!(pin!(self.writer.feed_prepared(frame)).poll(cx)).map_err(|_| Ended)?;
                self.stuck = None;
            }
            // Looked at first: once it is open, the answer that says so is among the frames.
            let is_open = self.shared.is_open();
            if let Some(frame) = self.shared.next_frame() {
                self.stuck = Some(Prepared::new(frame));
                continue;
            }
            if !is_open {
                return Poll::Ready(Ok(()));
            }
            match self.early.pop_front() {
                Some(Early::Delivery(delivery)) => self.stuck = self.form(&delivery).cloned(),
                Some(Early::Presence(event)) => self.presence(&event),
                None => return Poll::Ready(Ok(())),
            }
        }
    }

    /// A publication as this client gets it, if it does.
    fn form<'a>(&self, delivery: &'a Delivery) -> Option<&'a Prepared> {
        if self.shared.is_leaving(delivery.topic().as_str()) {
            return None;
        }
        let message = form_in(self.shared.format, delivery);
        if message.message().is_empty() {
            self.shared.change(|session| session.disconnect(Disconnect::INAPPROPRIATE_PROTOCOL));
            return None;
        }
        Some(message)
    }

    /// Until it is connected, a client does not know what it is subscribed to.
    fn keep(&mut self, early: Early) {
        self.early_bytes += early.size();
        if self.early_bytes > self.shared.max_queue {
            self.early.clear();
            self.shared.change(|session| session.disconnect(Disconnect::SLOW));
            return;
        }
        self.early.push_back(early);
    }

    /// Has the session say who joined or left.
    fn presence(&self, Event { topic, change, member }: &Event) {
        let membership = match change {
            Change::Joined => Membership::Join,
            Change::Left => Membership::Leave,
        };
        let info = ClientInfo::of_member(member);
        self.shared.change(|session| session.membership(topic.as_str(), membership, &info));
        self.shared.mark();
    }

    fn poll_delivery(
        &mut self,
        delivery: &Delivery,
        is_open: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Ended>> {
        if !is_open {
            self.keep(Early::Delivery(delivery.clone()));
            return Poll::Ready(Ok(()));
        }
        match self.form(delivery) {
            Some(message) => pin!(self.writer.feed_prepared(message)).poll(cx).map_err(|_| Ended),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Outlet for ClientOutlet<S> {
    fn poll_feed(
        &mut self,
        outgoing: &Outgoing<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Ended>> {
        let is_open = self.shared.is_open();
        ready!(self.poll_session(cx))?;
        match outgoing {
            Outgoing::Delivery(delivery) => return self.poll_delivery(delivery, is_open, cx),
            Outgoing::Started { start, recovered, tag, .. } => {
                self.shared.started(*tag, start, recovered);
            }
            Outgoing::Gap(topic, reason) => {
                tracing::debug!(%topic, ?reason, "a client has lost its position");
                self.shared.lost(topic.as_str());
            }
            Outgoing::Unsubscribed(filter, code) => {
                self.early.retain(|early| early.topic().as_str() != filter.as_str());
                self.early_bytes = self.early.iter().map(Early::size).sum();
                self.shared.ended(filter.as_str(), *code);
            }
            Outgoing::Presence(event) if is_open => self.presence(event),
            Outgoing::Presence(event) => self.keep(Early::Presence((*event).clone())),
            // An empty one only says that the session has something to send.
            Outgoing::Message(message) if message.message().is_empty() => {}
            Outgoing::Message(message) => {
                let data = Payload::from(message.message().clone());
                self.shared.change(|session| session.message(&data));
            }
        }
        self.shared.mark();
        // It is taken; what the session says to it goes out as soon as there is room.
        match self.poll_session(cx) {
            Poll::Ready(Err(Ended)) => Poll::Ready(Err(Ended)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(())),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        ready!(self.poll_session(cx))?;
        pin!(self.writer.flush()).poll(cx).map_err(|_| Ended)
    }

    /// Nearly always there is nothing but publications to send.
    fn try_send(&mut self, deliveries: Deliveries<'_>) -> Result<Sent, Ended> {
        let format = self.shared.format;
        let is_plain = |delivery| !form_in(format, delivery).message().is_empty();
        let waits = self.stuck.is_some() || !self.early.is_empty();
        if waits || !self.shared.is_settled() || !deliveries.clone().all(is_plain) {
            return try_each(self, deliveries);
        }
        let prepared = deliveries.map(|delivery| form_in(format, delivery));
        let sent = self.writer.try_send_prepared(prepared).map_err(|_| Ended)?;
        Ok(Sent { taken: sent.queued, flushed: sent.flushed })
    }

    fn poll_close(&mut self, frame: &CloseFrame, cx: &mut Context<'_>) -> Poll<()> {
        // A client that has no room for what is left is not waited for.
        let _ = self.poll_session(cx);
        let frame = match frame.code() {
            CloseCode::GOING_AWAY => Disconnect::SHUTDOWN.close_frame(),
            _ => frame.clone(),
        };
        let closed = ready!(pin!(self.writer.close_with(frame)).poll(cx));
        if let Err(error) = closed {
            tracing::debug!(%error, "a client was not closed in order");
        }
        Poll::Ready(())
    }

    fn takes_recovered(&self) -> bool {
        true
    }

    fn prefetch(&self) -> Option<Prefetch> {
        Some(self.writer.prefetch())
    }
}
