//! Where the connections of a server are let in, or not.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::network::Key;
use super::table::Table;
use super::{Limit, LimitCounts, Limits};
use crate::sync::{Mutex, lock};
use crate::timer::now;
use crate::transport::Peer;

/// How long it is quiet about a limit after a warning.
const QUIET: Duration = Duration::from_secs(10);

/// The limits of a server, and who takes how much of them.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    /// A handshake has ended, or the limits have changed.
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    limits: Limits,
    table: Table,
    counts: LimitCounts,
    warnings: Warnings,
    #[cfg(feature = "metrics")]
    counters: Option<Counters>,
}

/// One for each limit.
#[cfg(feature = "metrics")]
struct Counters([::metrics::Counter; Limit::ALL.len()]);

#[cfg(feature = "metrics")]
impl std::fmt::Debug for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Counters")
    }
}

impl Gate {
    pub(crate) fn limits(&self) -> Limits {
        lock(&self.state).limits.clone()
    }

    pub(crate) fn set_limits(&self, limits: Limits) {
        lock(&self.state).limits = limits;
        self.freed.notify_waiters();
    }

    pub(crate) fn counts(&self) -> LimitCounts {
        lock(&self.state).counts
    }

    /// Counts in metrics too, from now on. Servers that share their limits count once.
    #[cfg(feature = "metrics")]
    pub(crate) fn meter(&self) {
        let counter = |limit: Limit| crate::metrics::limit_counter(limit.name());
        lock(&self.state).counters = Some(Counters(Limit::ALL.map(counter)));
    }

    /// Waits until a handshake may begin.
    pub(crate) async fn room_for_handshake(&self) {
        let mut struck = false;
        loop {
            let mut freed = pin!(self.freed.notified());
            // Before looking, or one that ends in between would be missed.
            freed.as_mut().enable();
            let has_room = {
                let state = lock(&self.state);
                state.table.has_room_for_handshake(&state.limits)
            };
            if has_room {
                return;
            }
            if !std::mem::replace(&mut struck, true) {
                self.strike(Limit::Handshakes, None);
            }
            freed.await;
        }
    }

    /// Lets a connection in, or counts and logs why not. Whom it counts for is for
    /// [`release`](Self::release), once it has ended.
    pub(crate) fn admit(&self, peer: &Peer) -> Option<Option<Key>> {
        let address: Option<IpAddr> = peer.addr().map(|addr| addr.ip());
        let admitted = {
            let State { limits, table, .. } = &mut *lock(&self.state);
            table.admit(address, limits, now())
        };
        admitted.map_err(|limit| self.strike(limit, Some(peer))).ok()
    }

    /// Lets a proxy's connection in. It counts for nobody until the client is known that it is from.
    pub(crate) fn admit_proxy(&self) -> Option<Key> {
        lock(&self.state).table.begin_handshake();
        None
    }

    /// Lets in the client that a proxy's connection is from, and whose this handshake is, which has
    /// counted for nobody so far.
    pub(crate) fn admit_opening(&self, peer: &Peer, opening: &mut Opening) -> Option<Option<Key>> {
        let key = self.admit(peer)?;
        let before = std::mem::replace(&mut opening.key, key);
        self.handshake_over(before);
        Some(key)
    }

    /// Lets in the client that a request is from which a proxy has passed on: its handshake ends
    /// with the request's head.
    pub(crate) fn admit_client(&self, peer: &Peer) -> Option<Option<Key>> {
        let key = self.admit(peer)?;
        self.handshake_over(key);
        Some(key)
    }

    /// Lets in one more connection of a client that has one already: a stream of HTTP/2.
    #[cfg(feature = "http2")]
    pub(crate) fn admit_another(&self, key: Option<Key>, peer: &Peer) -> bool {
        let Some(key) = key else { return true };
        let admitted = {
            let State { limits, table, .. } = &mut *lock(&self.state);
            table.admit_another(key, limits)
        };
        admitted.map_err(|limit| self.strike(limit, Some(peer))).is_ok()
    }

    /// Counts a connection that takes over from one that is about to be released.
    pub(crate) fn take_over(&self, key: Key) {
        lock(&self.state).table.take_over(key);
    }

    pub(crate) fn release(&self, key: Key) {
        lock(&self.state).table.release(key);
    }

    fn handshake_over(&self, key: Option<Key>) {
        lock(&self.state).table.handshake_over(key);
        self.freed.notify_waiters();
    }

    fn strike(&self, limit: Limit, peer: Option<&Peer>) {
        let due = {
            let state = &mut *lock(&self.state);
            let count = state.counts.of(limit);
            *count = count.saturating_add(1);
            #[cfg(feature = "metrics")]
            if let Some(Counters(counters)) = &state.counters {
                counters[limit as usize].increment(1);
            }
            state.warnings.strike(limit, now())
        };
        let peer = peer.map(tracing::field::display);
        tracing::debug!(limit = limit.name(), peer, "a limit has struck");
        if let Some(times) = due {
            tracing::warn!(
                limit = limit.name(),
                times,
                peer,
                "a limit strikes; others are told of at DEBUG for ten seconds"
            );
        }
    }
}

/// Which limits may be warned of again.
#[derive(Debug, Default)]
struct Warnings([Quiet; 5]);

#[derive(Clone, Copy, Debug, Default)]
struct Quiet {
    last: Option<Instant>,
    since: u64,
}

impl Warnings {
    /// Returns how often it has struck since the last warning, if it is time for another.
    fn strike(&mut self, limit: Limit, now: Instant) -> Option<u64> {
        let quiet = &mut self.0[limit as usize];
        quiet.since = quiet.since.saturating_add(1);
        if quiet.last.is_some_and(|last| now.saturating_duration_since(last) < QUIET) {
            return None;
        }
        quiet.last = Some(now);
        Some(std::mem::take(&mut quiet.since))
    }
}

/// A handshake that is in flight, until this is dropped.
#[derive(Debug)]
pub(crate) struct Opening {
    gate: Arc<Gate>,
    key: Option<Key>,
}

impl Opening {
    /// The handshake of a connection that was [admitted](Gate::admit).
    pub(crate) const fn new(gate: Arc<Gate>, key: Option<Key>) -> Self {
        Self { gate, key }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.gate.handshake_over(self.key);
    }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        Peer::from(std::net::SocketAddr::new(address.parse().expect("an address"), 50_000))
    }

    // It counted once for nobody and once for the client, or was not counted at all from there on.
    #[test]
    fn a_handshake_of_a_proxy_becomes_that_of_the_client_that_it_names() {
        let gate = Arc::new(Gate::default());
        let limits = Limits::none().handshakes(2).handshakes_per_address(1);
        gate.set_limits(limits.clone());
        let has_room = || lock(&gate.state).table.has_room_for_handshake(&limits);
        let proxied = || Opening::new(gate.clone(), gate.admit_proxy());
        let mut first = proxied();
        let key = gate.admit_opening(&peer("192.0.2.7"), &mut first).expect("room");
        assert!(key.is_some() && has_room(), "it is one, and not two");
        let mut second = proxied();
        assert!(!has_room());
        assert_eq!(gate.admit_opening(&peer("192.0.2.7"), &mut second), None);
        assert_eq!(gate.counts().handshakes_per_address, 1);
        // By headers, too, while another is in flight.
        assert_eq!(gate.admit_client(&peer("192.0.2.7")), None);
        drop(first);
        assert!(gate.admit_client(&peer("192.0.2.7")).is_some());
        assert!(gate.admit_opening(&peer("192.0.2.7"), &mut second).is_some());
        drop(second);
        assert_eq!(lock(&gate.state).table.handshakes(), 0);
    }

    // A flood of connections must not be one of warnings.
    #[test]
    fn a_warning_tells_how_often_and_is_not_repeated_at_once() {
        let (mut warnings, start) = (Warnings::default(), Instant::now());
        let strikes = |warnings: &mut Warnings, seconds| {
            let now = start + Duration::from_secs(seconds);
            [(); 3].map(|()| warnings.strike(Limit::ConnectionRate, now))
        };
        assert_eq!(strikes(&mut warnings, 0), [Some(1), None, None]);
        assert_eq!(strikes(&mut warnings, 9), [None; 3]);
        assert_eq!(warnings.strike(Limit::Handshakes, start), Some(1), "each has its own");
        assert_eq!(strikes(&mut warnings, 10), [Some(6), None, None]);
    }
}
