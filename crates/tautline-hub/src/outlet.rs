//! Where the messages of a member go.

use std::future::Future;
use std::pin::pin;
use std::slice;
use std::task::{Context, Poll, Waker, ready};

use tautline::{CloseCode, CloseFrame, Message, Prefetch, Prepared, Writer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::delivery::Delivery;
use crate::log::GapReason;
use crate::numbers::SubNumber;
use crate::presence::Event;
use crate::subscribe::Start;
use crate::topic::{Filter, Topic};

/// The end of an outlet: it takes nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "why is the connection's to tell")]
pub struct Ended;

/// What a member gets, in this order.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outgoing<'a> {
    /// A publication.
    Delivery(&'a Delivery),
    /// A subscription begins here: what follows of it was published afterwards. With what it recovered,
    /// if the outlet [takes that at once](Outlet::takes_recovered).
    Started {
        /// What is subscribed.
        filter: &'a Filter,
        /// Where it starts.
        start: &'a Start,
        /// What was missed, oldest first.
        recovered: &'a [Delivery],
        /// What [`Subscribe::tag`](crate::Subscribe::tag) said.
        tag: u64,
    },
    /// Something of this topic is missing here.
    Gap(&'a Topic, GapReason),
    /// The hub, not the member, ended a subscription: with this number, which
    /// [`Hub::unsubscribe`](crate::Hub::unsubscribe) was given.
    Unsubscribed(&'a Filter, u32),
    /// Somebody joined a topic or left it, if the subscription [wants to know](crate::Subscribe::watch).
    Presence(&'a Event),
    /// A message for this member alone.
    Message(&'a Prepared),
}

/// Publications for one member, in their order: see [`Outlet::try_send`].
#[derive(Clone, Debug)]
pub struct Deliveries<'a>(Which<'a>);

#[derive(Clone, Debug)]
enum Which<'a> {
    All(slice::Iter<'a, Delivery>),
    Noted { round: &'a [Delivery], noted: slice::Iter<'a, (u32, SubNumber)> },
}

impl<'a> Deliveries<'a> {
    /// All of these.
    pub(crate) fn all(deliveries: &'a [Delivery]) -> Self {
        Self(Which::All(deliveries.iter()))
    }

    /// Those of a round that were noted down.
    pub(crate) fn noted(round: &'a [Delivery], noted: &'a [(u32, SubNumber)]) -> Self {
        Self(Which::Noted { round, noted: noted.iter() })
    }
}

impl<'a> Iterator for Deliveries<'a> {
    type Item = &'a Delivery;

    #[inline]
    fn next(&mut self) -> Option<&'a Delivery> {
        match &mut self.0 {
            Which::All(deliveries) => deliveries.next(),
            Which::Noted { round, noted } => round.get(noted.next()?.0 as usize),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Which::All(deliveries) => deliveries.size_hint(),
            Which::Noted { noted, .. } => (0, noted.size_hint().1),
        }
    }
}

/// What an outlet has done with publications: see [`Outlet::try_send`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "outlets make it")]
pub struct Sent {
    /// How many it has taken: the first ones. For the others there is no room now.
    pub taken: usize,
    /// Whether everything that it has taken, now or before, is written.
    pub flushed: bool,
}

/// A connection, or what stands for one: it takes what is published, as long as it has room.
///
/// [`Hub::attach`](crate::Hub::attach) makes one of a [`Writer`]: it sends each publication as the message
/// that was published. A protocol has an outlet of its own, and decides in which form publications go out
/// ([`Delivery::form`]). One that panics is dropped, and its member has ended.
pub trait Outlet: Send + 'static {
    /// Queues one, if there is room: while this is pending, it was not taken, and is given again.
    fn poll_feed(
        &mut self,
        outgoing: &Outgoing<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Ended>>;

    /// Writes what is queued. While this is pending, nothing is fed, and what waits is bounded by the policy
    /// of each subscription.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>>;

    /// Queues as many of these as there is room for, in their order, and writes what can be written without
    /// waiting. If it says that not everything is written, [`poll_flush`](Self::poll_flush) is called next.
    ///
    /// By default this is [`poll_feed`](Self::poll_feed) for each and [`poll_flush`](Self::poll_flush), with
    /// a waker that does nothing; an outlet for which one step costs less than that has its own.
    fn try_send(&mut self, deliveries: Deliveries<'_>) -> Result<Sent, Ended> {
        try_each(self, deliveries)
    }

    /// Ends it with this Close: ready when that is done, or has failed.
    fn poll_close(&mut self, frame: &CloseFrame, cx: &mut Context<'_>) -> Poll<()>;

    /// How a member is closed that is not told of a gap in a topic ([`Outgoing::Gap`]). `None` if it is told.
    fn close_at_gap(&self) -> Option<CloseFrame> {
        None
    }

    /// Whether what a subscription recovers comes with its start, or one by one behind that.
    fn takes_recovered(&self) -> bool {
        false
    }

    /// What is fetched into the processor's cache ahead of its turn, when many are written to: that of its
    /// connection, see [`Writer::prefetch`]. Called once, when the member is attached.
    fn prefetch(&self) -> Option<Prefetch> {
        None
    }
}

/// [`Outlet::try_send`] by its other methods.
pub(crate) fn try_each<O: Outlet + ?Sized>(
    outlet: &mut O,
    deliveries: Deliveries<'_>,
) -> Result<Sent, Ended> {
    let mut cx = Context::from_waker(Waker::noop());
    let taken = feed_each(outlet, deliveries, &mut cx)?;
    match outlet.poll_flush(&mut cx) {
        Poll::Ready(flushed) => flushed.map(|()| Sent { taken, flushed: true }),
        Poll::Pending => Ok(Sent { taken, flushed: false }),
    }
}

/// Feeds these until there is no room. Returns how many were taken.
pub(crate) fn feed_each<O: Outlet + ?Sized>(
    outlet: &mut O,
    deliveries: Deliveries<'_>,
    cx: &mut Context<'_>,
) -> Result<usize, Ended> {
    let mut taken = 0;
    for delivery in deliveries {
        match outlet.poll_feed(&Outgoing::Delivery(delivery), cx) {
            Poll::Ready(fed) => fed?,
            Poll::Pending => break,
        }
        taken += 1;
    }
    Ok(taken)
}

/// What to send for what is not a publication, if anything.
pub(crate) type Tell = fn(&Outgoing<'_>) -> Option<Message>;

/// The outlet of a connection without a protocol.
pub(crate) struct WriterOutlet<S> {
    pub(crate) writer: Writer<S>,
    pub(crate) tell: Option<Tell>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Outlet for WriterOutlet<S> {
    fn poll_feed(
        &mut self,
        outgoing: &Outgoing<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Ended>> {
        let told;
        let message = match outgoing {
            Outgoing::Delivery(delivery) => delivery.plain(),
            Outgoing::Message(message) => message,
            other => match self.tell.and_then(|tell| tell(other)) {
                Some(message) => {
                    told = Prepared::new(message);
                    &told
                }
                None => return Poll::Ready(Ok(())),
            },
        };
        pin!(self.writer.feed_prepared(message)).poll(cx).map_err(|_| Ended)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        pin!(self.writer.flush()).poll(cx).map_err(|_| Ended)
    }

    fn try_send(&mut self, deliveries: Deliveries<'_>) -> Result<Sent, Ended> {
        let sent = self.writer.try_send_prepared(deliveries.map(Delivery::plain));
        sent.map(|sent| Sent { taken: sent.queued, flushed: sent.flushed }).map_err(|_| Ended)
    }

    fn poll_close(&mut self, frame: &CloseFrame, cx: &mut Context<'_>) -> Poll<()> {
        let closed: Result<(), _> = ready!(pin!(self.writer.close_with(frame.clone())).poll(cx));
        if let Err(error) = closed {
            tracing::debug!(%error, "a member was not closed in order");
        }
        Poll::Ready(())
    }

    fn close_at_gap(&self) -> Option<CloseFrame> {
        self.tell.is_none().then(|| CloseCode::TRY_AGAIN_LATER.into())
    }

    fn prefetch(&self) -> Option<Prefetch> {
        Some(self.writer.prefetch())
    }
}
