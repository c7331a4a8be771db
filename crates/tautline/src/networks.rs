//! Sets of networks, by which proxies are known.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::transport::Peer;

/// A set of networks: whose word about a client's address is taken. Cheap to clone.
///
/// ```
/// use tautline::Networks;
///
/// let networks = Networks::parse(["10.0.0.0/8", "192.0.2.7", "fd00::/8"])?;
/// assert!(networks.contains("10.1.2.3".parse()?));
/// assert!(!networks.contains("192.0.2.8".parse()?));
/// assert!(Networks::parse(["10.0.0.0/33"]).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Networks(Arc<[IpNet]>);

impl Networks {
    /// Each entry is a network (`10.0.0.0/8`, `fd00::/8`) or a single address.
    ///
    /// # Errors
    /// [`InvalidNetwork`], which names the first entry that is neither.
    pub fn parse<I>(entries: I) -> Result<Self, InvalidNetwork>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let parse = |entry: I::Item| {
            let entry = entry.as_ref();
            let single = || entry.parse::<IpAddr>().map(|ip| IpNet::from(ip.to_canonical()));
            entry.parse().or_else(|_| single()).map_err(|_| InvalidNetwork(entry.to_owned()))
        };
        entries.into_iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// Whether this address is in one of them. An IPv4 address that is written as an IPv6 one
    /// (`::ffff:10.0.0.1`), as a listener for both sees it, is that IPv4 address.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|network| network.contains(&ip))
    }

    /// Whether the address of this peer is in one of them.
    pub(crate) fn have(&self, peer: &Peer) -> bool {
        peer.addr().is_some_and(|addr| self.contains(addr.ip()))
    }
}

/// The networks.
impl fmt::Debug for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter()).finish()
    }
}

/// An entry that is neither a network nor an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InvalidNetwork(String);

impl InvalidNetwork {
    /// The entry.
    #[must_use]
    pub fn entry(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InvalidNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is neither a network, such as 10.0.0.0/8, nor an address", self.0)
    }
}

impl std::error::Error for InvalidNetwork {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_single_addresses_of_both_families() {
        let networks =
            Networks::parse(["10.1.2.3/8", "192.0.2.7", "2001:db8::/32", "::ffff:192.0.2.9"]);
        let networks = networks.unwrap();
        for (ip, inside) in [
            ("10.255.0.1", true),
            ("::ffff:10.0.0.1", true),
            ("11.0.0.1", false),
            ("192.0.2.7", true),
            ("192.0.2.6", false),
            ("192.0.2.9", true),
            ("2001:db8:ffff::1", true),
            ("2001:db9::1", false),
            ("::1", false),
        ] {
            assert_eq!(networks.contains(ip.parse().unwrap()), inside, "{ip}");
        }
        assert!(!Networks::parse([""; 0]).unwrap().contains("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn an_entry_that_is_no_network_is_named() {
        for entry in
            ["", "10.0.0.0/33", "10.0.0/8", "example.com", "10.0.0.1:80", "::/129", "10.0.0.0/ 8"]
        {
            let error = Networks::parse(["10.0.0.0/8", entry]).unwrap_err();
            assert_eq!(error.entry(), entry);
            assert!(error.to_string().contains(entry));
        }
    }
}
