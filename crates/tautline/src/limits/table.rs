//! Who holds connections and handshakes, and who comes too often. No clock, no lock.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Instant;

use super::network::{Key, Network, Networks};
use super::rates::Rates;
use super::{Limit, Limits};

/// What one network holds.
#[derive(Debug, Default)]
struct Held {
    connections: u32,
    /// Handshakes, each of which is one of the connections.
    opening: u32,
    /// The larger network, for which its connections count too.
    site: Option<Key>,
}

/// What all clients hold.
///
/// Counts are exact, and none is forgotten. Each entry belongs to a connection that is open, so
/// there are no more than two for each: they take less than what they count. What is remembered of
/// those who are gone has a fixed size.
#[derive(Debug, Default)]
pub(super) struct Table {
    secret: RandomState,
    held: HashMap<Key, Held>,
    rates: Rates,
    handshakes: u32,
}

impl Table {
    /// Counts a connection and its handshake, or says which limit has no room for it. Returns whom
    /// it counts for: nobody, if the address is exempt.
    pub(super) fn admit(
        &mut self,
        address: Option<IpAddr>,
        limits: &Limits,
        now: Instant,
    ) -> Result<Option<Key>, Limit> {
        let networks = address.and_then(|address| Networks::of(address, limits));
        let Some(networks) = networks else {
            self.begin_handshake();
            return Ok(None);
        };
        let key = self.key(networks.address);
        let site = networks.site.map(|site| self.key(site));
        self.check_connections(key, site, limits)?;
        let opening = self.held.get(&key).map_or(0, |held| held.opening);
        if is_reached(limits.handshakes_per_address, opening) {
            return Err(Limit::HandshakesPerAddress);
        }
        // Last: what is refused otherwise does not count as one that came.
        if let Some(rate) = limits.connection_rate
            && !self.rates.take(key, rate, limits.connection_burst, now)
        {
            return Err(Limit::ConnectionRate);
        }
        self.add(key, site);
        self.handshakes += 1;
        self.held.entry(key).or_default().opening += 1;
        Ok(Some(key))
    }

    /// Counts one more connection of somebody who has one already, if there is room.
    #[cfg(feature = "http2")]
    pub(super) fn admit_another(&mut self, key: Key, limits: &Limits) -> Result<(), Limit> {
        let site = self.site_of(key);
        self.check_connections(key, site, limits)?;
        self.add(key, site);
        Ok(())
    }

    /// Counts a handshake of nobody in particular.
    pub(super) fn begin_handshake(&mut self) {
        self.handshakes += 1;
    }

    /// Counts one that takes over from another, which is about to be [released](Self::release).
    pub(super) fn take_over(&mut self, key: Key) {
        self.add(key, self.site_of(key));
    }

    /// A connection has ended.
    pub(super) fn release(&mut self, key: Key) {
        let Some(held) = self.held.get_mut(&key) else { return };
        held.connections = held.connections.saturating_sub(1);
        let site = held.site;
        self.forget_if_unused(key);
        if let Some(site) = site {
            if let Some(held) = self.held.get_mut(&site) {
                held.connections = held.connections.saturating_sub(1);
            }
            self.forget_if_unused(site);
        }
    }

    /// A handshake has ended, whatever has become of it.
    pub(super) fn handshake_over(&mut self, key: Option<Key>) {
        self.handshakes = self.handshakes.saturating_sub(1);
        let Some(key) = key else { return };
        if let Some(held) = self.held.get_mut(&key) {
            held.opening = held.opening.saturating_sub(1);
        }
        self.forget_if_unused(key);
    }

    /// Whether one more handshake may begin, whosever it is.
    pub(super) fn has_room_for_handshake(&self, limits: &Limits) -> bool {
        !is_reached(limits.handshakes, self.handshakes)
    }

    fn check_connections(&self, key: Key, site: Option<Key>, limits: &Limits) -> Result<(), Limit> {
        if is_reached(limits.connections_per_address, self.connections(key)) {
            return Err(Limit::ConnectionsPerAddress);
        }
        if let Some(site) = site
            && is_reached(limits.connections_per_site, self.connections(site))
        {
            return Err(Limit::ConnectionsPerSite);
        }
        Ok(())
    }

    fn add(&mut self, key: Key, site: Option<Key>) {
        let held = self.held.entry(key).or_default();
        held.connections += 1;
        if held.connections == 1 {
            held.site = site;
        }
        // As it will be released: a setting that changed meanwhile is for those without any.
        if let Some(site) = held.site {
            self.held.entry(site).or_default().connections += 1;
        }
    }

    fn forget_if_unused(&mut self, key: Key) {
        if self.held.get(&key).is_some_and(|held| held.connections == 0 && held.opening == 0) {
            self.held.remove(&key);
        }
    }

    fn connections(&self, key: Key) -> u32 {
        self.held.get(&key).map_or(0, |held| held.connections)
    }

    /// How many are in flight.
    #[cfg(test)]
    pub(super) const fn handshakes(&self) -> u32 {
        self.handshakes
    }

    fn site_of(&self, key: Key) -> Option<Key> {
        self.held.get(&key).and_then(|held| held.site)
    }

    fn key(&self, network: Network) -> Key {
        Key::new(self.secret.hash_one(network)).unwrap_or(Key::MIN)
    }
}

fn is_reached(limit: Option<u32>, held: u32) -> bool {
    limit.is_some_and(|limit| held >= limit)
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use std::net::Ipv6Addr;
    use std::time::Duration;

    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    #[test]
    fn each_limit_strikes_at_its_number_and_no_other_address() {
        let now = Instant::now();
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        for (limits, expected) in [
            (Limits::none().connections_per_address(2), Limit::ConnectionsPerAddress),
            (Limits::none().handshakes_per_address(2), Limit::HandshakesPerAddress),
            (Limits::none().connection_rate(1).connection_burst(2), Limit::ConnectionRate),
        ] {
            let mut table = Table::default();
            let first = table.admit(one, &limits, now).unwrap();
            assert_eq!(table.admit(one, &limits, now), Ok(first));
            assert_eq!(table.admit(one, &limits, now), Err(expected));
            assert_ne!(table.admit(other, &limits, now), Ok(first));
            // It recovers.
            table.handshake_over(first);
            table.release(first.unwrap());
            let later = now + Duration::from_secs(1);
            assert_eq!(table.admit(one, &limits, later), Ok(first), "{expected:?}");
        }
    }

    // One connection from each /64 of a /48.
    #[test]
    fn a_site_has_a_limit_of_its_own() {
        let (limits, now) = (Limits::none().connections_per_site(100), Instant::now());
        let mut table = Table::default();
        let mut keys = Vec::new();
        for network in 0..65_536_u32 {
            let bits = (0x2001_0db8_0001_u128 << 80) | (u128::from(network) << 64) | 1;
            let address = Some(IpAddr::V6(Ipv6Addr::from_bits(bits)));
            match table.admit(address, &limits, now) {
                Ok(key) => keys.push(key.unwrap()),
                Err(limit) => assert_eq!(limit, Limit::ConnectionsPerSite),
            }
        }
        assert_eq!((keys.len(), table.held.len()), (100, 101));
        assert!(table.admit(address("2001:db8:2::1"), &limits, now).is_ok(), "another site");
        for key in keys {
            table.handshake_over(Some(key));
            table.release(key);
        }
        assert_eq!(table.held.len(), 2, "nothing is left of them");
    }

    #[test]
    fn whoever_is_exempt_counts_among_the_handshakes_alone() {
        let limits = Limits::new().connections_per_address(1).handshakes(2);
        let (mut table, now) = (Table::default(), Instant::now());
        assert_eq!(table.admit(address("127.0.0.1"), &limits, now), Ok(None));
        assert!(table.has_room_for_handshake(&limits));
        assert_eq!(table.admit(None, &limits, now), Ok(None), "a Unix socket");
        assert!(!table.has_room_for_handshake(&limits));
        table.handshake_over(None);
        assert!(table.has_room_for_handshake(&limits));
        assert!(table.held.is_empty());
    }

    #[test]
    fn who_takes_over_is_never_refused() {
        let limits = Limits::none().connections_per_address(1);
        let (mut table, now) = (Table::default(), Instant::now());
        let key = table.admit(address("192.0.2.1"), &limits, now).unwrap().unwrap();
        table.take_over(key);
        table.release(key);
        assert_eq!(table.connections(key), 1);
        table.handshake_over(Some(key));
        table.release(key);
        assert!(table.held.is_empty());
    }

    #[derive(Clone, Copy)]
    struct Open {
        address: usize,
        key: Option<Key>,
        opening: bool,
    }

    // Against a list of all that is open, with limits that change in between.
    #[test]
    fn it_agrees_with_a_list_of_what_is_open() {
        let addresses: Vec<_> = ["192.0.2.1", "192.0.2.2", "::1", "2001:db8::1", "2001:db8:0:1::1"]
            .map(address)
            .to_vec();
        let hasher = RandomState::new();
        let now = Instant::now();
        let (mut table, mut open) = (Table::default(), Vec::<Open>::new());
        let mut struck = 0;
        for step in 0..20_000_u64 {
            let random = hasher.hash_one(step) as usize;
            let most = 2 + random as u32 / 7 % 3;
            let limits = Limits::none()
                .connections_per_address(most)
                .connections_per_site(most + 1)
                .handshakes_per_address(most - 1);
            let limits = if step % 100 < 50 { limits } else { limits.exempt([]) };
            let which = random / 64 % addresses.len();
            if random.is_multiple_of(2) {
                let of = |which| open.iter().filter(move |it| it.address == which);
                let counted = |which| of(which).filter(|it| it.key.is_some()).count() as u32;
                let opening = of(which).filter(|it| it.opening && it.key.is_some()).count() as u32;
                let is_exempt = which == 2 && !limits.exempt.is_empty();
                let site = if which > 2 { counted(3) + counted(4) } else { 0 };
                let expected = if is_exempt {
                    None
                } else if counted(which) >= most {
                    Some(Limit::ConnectionsPerAddress)
                } else if site > most {
                    Some(Limit::ConnectionsPerSite)
                } else {
                    (opening >= most - 1).then_some(Limit::HandshakesPerAddress)
                };
                let admitted = table.admit(addresses[which], &limits, now);
                assert_eq!(admitted.err(), expected, "step {step}");
                struck += usize::from(expected.is_some());
                if let Ok(key) = admitted {
                    open.push(Open { address: which, key, opening: true });
                }
            } else if !open.is_empty() {
                let which = random / 64 % open.len();
                let ends = random % 4 == 1;
                if open[which].opening {
                    open[which].opening = false;
                    table.handshake_over(open[which].key);
                }
                if ends && let Some(key) = open.swap_remove(which).key {
                    table.release(key);
                }
            }
            let opening = open.iter().filter(|it| it.opening).count();
            assert_eq!(table.handshakes as usize, opening);
        }
        assert!(struck > 1_000, "{struck}");
        for it in open {
            if it.opening {
                table.handshake_over(it.key);
            }
            it.key.into_iter().for_each(|key| table.release(key));
        }
        assert!(table.held.is_empty() && table.handshakes == 0, "{table:?}");
    }
}
