//! Which addresses are one client's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU64;

use super::Limits;

/// A network, as a hash with a secret: a word, however long the address. Two networks that have the
/// same one would share their limits; nobody can look for them without the secret.
pub(crate) type Key = NonZeroU64;

/// The prefix of what a site is given (RFC 6177).
const SITE_PREFIX: u8 = 48;

/// The networks that a client counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Networks {
    pub(super) address: Network,
    pub(super) site: Option<Network>,
}

/// The first bits of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Networks {
    /// `None` if the address is exempt.
    pub(super) fn of(address: IpAddr, limits: &Limits) -> Option<Self> {
        // A socket for both versions has IPv4 addresses in this form (RFC 4291 section 2.5.5.2).
        let address = address.to_canonical();
        if limits.exempt.iter().any(|network| network.contains(&address)) {
            return None;
        }
        let (prefix, site) = match address {
            IpAddr::V4(_) => (limits.ipv4_prefix, None),
            IpAddr::V6(_) => {
                let larger = limits.ipv6_prefix > SITE_PREFIX;
                (limits.ipv6_prefix, larger.then(|| Network::new(address, SITE_PREFIX)))
            }
        };
        Some(Self { address: Network::new(address, prefix), site })
    }
}

impl Network {
    fn new(address: IpAddr, prefix: u8) -> Self {
        let bits = u32::from(prefix);
        let address = match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32u32.saturating_sub(bits)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128u32.saturating_sub(bits)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
            }
        };
        Self { address, prefix }
    }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;

    fn networks(address: &str, limits: &Limits) -> Option<Networks> {
        Networks::of(address.parse().expect("an address"), limits)
    }

    #[test]
    fn addresses_of_one_client_are_one_network() {
        let limits = Limits::new();
        let same = |one: &str, other: &str| {
            networks(one, &limits).unwrap().address == networks(other, &limits).unwrap().address
        };
        assert!(same("192.0.2.1", "192.0.2.1") && !same("192.0.2.1", "192.0.2.2"));
        assert!(same("2001:db8::1", "2001:db8::ffff:1:2:3"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
        // Otherwise all clients of a socket for both versions were one.
        assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
        let site = |address: &str| networks(address, &limits).unwrap().site;
        assert_eq!(site("2001:db8:0:1::1"), site("2001:db8:0:ffff::1"));
        assert_ne!(site("2001:db8:0:1::1"), site("2001:db8:1:1::1"));
        assert_eq!(site("192.0.2.1"), None);
        assert_ne!(site("2001:db8::1"), Some(networks("2001:db8::1", &limits).unwrap().address));
    }

    #[test]
    fn prefixes_can_be_any() {
        let limits = Limits::new().ipv4_prefix(0).ipv6_prefix(0);
        let all = networks("2001:db8::1", &limits).unwrap();
        assert_eq!(all, networks("::2", &limits).unwrap());
        assert_eq!(all.site, None, "all is more than a site");
        assert_eq!(networks("192.0.2.1", &limits), networks("198.51.100.1", &limits));
        let limits = Limits::new().ipv4_prefix(200).ipv6_prefix(200);
        assert_eq!((limits.get_ipv4_prefix(), limits.get_ipv6_prefix()), (32, 128));
        assert_ne!(networks("2001:db8::1", &limits), networks("2001:db8::2", &limits));
        let limits = Limits::new().ipv4_prefix(24);
        assert_eq!(networks("192.0.2.1", &limits), networks("192.0.2.255", &limits));
    }

    #[test]
    fn exempt_is_loopback_unless_it_is_something_else() {
        let limits = Limits::new();
        for address in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(networks(address, &limits), None, "{address}");
        }
        let limits = limits.exempt(["10.0.0.0/8".parse().unwrap()]);
        assert!(networks("10.9.9.9", &limits).is_none());
        assert!(networks("127.0.0.1", &limits).is_some());
    }
}
