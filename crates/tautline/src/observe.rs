//! Who watches the connections of a server: a registry, metrics, both, or nobody.

use std::task::Waker;
use std::time::Instant;
#[cfg(feature = "metrics")]
use {
    crate::metrics::{Instruments, Meter},
    crate::timer::now,
    std::sync::Arc,
};

use tautline_frame::Protocol;

use crate::outcome::Outcome;
use crate::registry::{ConnectionId, ConnectionInfo, Member, Registry, Totals};

/// Those of a server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observers {
    pub(crate) registry: Option<Registry>,
    #[cfg(feature = "metrics")]
    pub(crate) instruments: Option<Arc<Instruments>>,
}

impl Observers {
    /// The observers of one more connection.
    pub(crate) fn observe(
        &self,
        about: impl FnOnce(ConnectionId) -> ConnectionInfo,
    ) -> Option<Box<Observed>> {
        let member = self.registry.as_ref().map(|registry| registry.enter(about));
        #[cfg(feature = "metrics")]
        let meter = self.instruments.as_ref().map(|instruments| Meter::new(instruments.clone()));
        #[cfg(feature = "metrics")]
        let observed = member.is_some() || meter.is_some();
        #[cfg(not(feature = "metrics"))]
        let observed = member.is_some();
        observed.then(|| {
            Box::new(Observed {
                member,
                #[cfg(feature = "metrics")]
                meter,
            })
        })
    }

    /// There is no place for another connection.
    pub(crate) fn full(&self) {
        #[cfg(feature = "metrics")]
        if let Some(instruments) = &self.instruments {
            instruments.is_full();
        }
    }

    /// An opening handshake begins.
    pub(crate) fn begin(&self) -> Option<Instant> {
        #[cfg(feature = "metrics")]
        if self.instruments.is_some() {
            return Some(now());
        }
        None
    }

    /// It has ended like this; without an outcome, it is another that counts.
    pub(crate) fn opened(&self, begun: Option<Instant>, outcome: Option<Outcome>) {
        #[cfg(feature = "metrics")]
        if let Some(instruments) = &self.instruments
            && let (Some(begun), Some(outcome)) = (begun, outcome)
        {
            instruments.opened(outcome, now().saturating_duration_since(begun));
        }
        #[cfg(not(feature = "metrics"))]
        let _ = (begun, outcome);
    }
}

/// What is kept of a connection that is watched.
pub(crate) struct Observed {
    member: Option<Member>,
    #[cfg(feature = "metrics")]
    meter: Option<Meter>,
}

impl Observed {
    pub(crate) fn id(&self) -> Option<ConnectionId> {
        self.member.as_ref().map(Member::id)
    }

    pub(crate) const fn member(&mut self) -> Option<&mut Member> {
        self.member.as_mut()
    }

    /// Whether something is asked of the connection.
    #[inline]
    pub(crate) fn is_called(&self) -> bool {
        self.member.as_ref().is_some_and(Member::is_called)
    }

    /// Has this waker woken when something is. Returns whether something is now.
    #[inline]
    pub(crate) fn listen(&mut self, waker: &Waker) -> bool {
        self.member.as_mut().is_some_and(|member| member.listen(waker))
    }

    /// Tells how things are.
    pub(crate) fn report(&mut self, protocol: &Protocol) {
        let totals = Totals::of(protocol);
        let queued = protocol.queued() as u64;
        if let Some(member) = &self.member {
            member.tell(&totals, queued, protocol.round_trip());
        }
        #[cfg(feature = "metrics")]
        if let Some(meter) = &mut self.meter {
            meter.report(&totals, queued, protocol);
        }
    }

    /// The connection has ended.
    pub(crate) fn end(&mut self, protocol: &Protocol) {
        #[cfg(feature = "metrics")]
        if let Some(meter) = &mut self.meter {
            meter.end(&Totals::of(protocol), protocol);
        }
        #[cfg(not(feature = "metrics"))]
        let _ = protocol;
    }
}
