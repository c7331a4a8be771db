//! How much of a server one client may take.

mod gate;
mod network;
mod rates;
mod table;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

pub(crate) use self::gate::{Gate, Opening};
pub(crate) use self::network::Key;

/// How much of a [`Server`](crate::Server) one client address may take. All limits are on, and
/// `None` switches one off.
///
/// An address is a network: by default one IPv4 address, or the /64 of an IPv6 address, of which a
/// client has 2^64 of its own. IPv4 addresses that are mapped into IPv6 count as IPv4. The
/// connection of a proxy that the server [trusts](crate::Server::trusted_proxies) counts for the
/// client that the proxy names; make any other proxy [`exempt`](Self::exempt).
///
/// A connection beyond a limit is reset as soon as it was accepted, before TLS and before its
/// request: answering it would cost what the limit is there to protect. A WebSocket over HTTP/2 is
/// answered with 429. What strikes is counted ([`LimitCounts`]), and logged: each at DEBUG, and at
/// WARN with their number, at most every ten seconds for each limit.
///
/// A setter has the name of its setting; the getter has the prefix `get_`.
///
/// ```
/// use tautline::{Limits, Server};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limits = Limits::new()
///     .connections_per_address(1_000)
///     .connection_rate(None)
///     .exempt(["127.0.0.0/8".parse()?, "10.1.0.0/16".parse()?]);
/// let server = Server::bind("127.0.0.1:0").await?.limits(limits);
/// let handle = server.handle();
/// // Also while the server runs:
/// handle.set_limits(handle.limits().connections_per_address(500));
/// assert_eq!(handle.counts().connections_per_address, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    connections_per_address: Option<u32>,
    connections_per_site: Option<u32>,
    connection_rate: Option<u32>,
    connection_burst: u32,
    handshakes: Option<u32>,
    handshakes_per_address: Option<u32>,
    ipv4_prefix: u8,
    ipv6_prefix: u8,
    exempt: Vec<IpNet>,
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}

impl Limits {
    /// Enough for an office behind one address.
    pub const DEFAULT_CONNECTIONS_PER_ADDRESS: u32 = 256;

    /// Sixteen times that of an address. A provider that gives each phone a /64 of one /48 has some
    /// thousands there that are connected at the same time.
    pub const DEFAULT_CONNECTIONS_PER_SITE: u32 = 4_096;

    /// An address that is at its limit of connections gets back all of them in ten seconds.
    pub const DEFAULT_CONNECTION_RATE: u32 = 30;

    /// Clients behind one address that connect again at the same time.
    pub const DEFAULT_CONNECTION_BURST: u32 = 100;

    /// At 1.3 kB each, and more under TLS: a few MiB.
    pub const DEFAULT_HANDSHAKES: u32 = 1_024;

    /// A client that takes a fifth of a second for its handshake still gets 80 a second.
    pub const DEFAULT_HANDSHAKES_PER_ADDRESS: u32 = 16;

    /// The defaults; loopback addresses are exempt.
    #[must_use]
    pub fn new() -> Self {
        let loopback = [
            IpNet::V4(Ipv4Net::new_assert([127, 0, 0, 0].into(), 8)),
            IpNet::V6(Ipv6Net::new_assert(std::net::Ipv6Addr::LOCALHOST, 128)),
        ];
        Self {
            connections_per_address: Some(Self::DEFAULT_CONNECTIONS_PER_ADDRESS),
            connections_per_site: Some(Self::DEFAULT_CONNECTIONS_PER_SITE),
            connection_rate: Some(Self::DEFAULT_CONNECTION_RATE),
            connection_burst: Self::DEFAULT_CONNECTION_BURST,
            handshakes: Some(Self::DEFAULT_HANDSHAKES),
            handshakes_per_address: Some(Self::DEFAULT_HANDSHAKES_PER_ADDRESS),
            ipv4_prefix: 32,
            ipv6_prefix: 64,
            exempt: loopback.to_vec(),
        }
    }

    /// No limit.
    ///
    /// ```
    /// let limits = tautline::Limits::none();
    /// assert_eq!(limits.get_connections_per_address(), None);
    /// assert_eq!(limits.handshakes(100).get_handshakes(), Some(100));
    /// ```
    #[must_use]
    pub fn none() -> Self {
        Self {
            connections_per_address: None,
            connections_per_site: None,
            connection_rate: None,
            handshakes: None,
            handshakes_per_address: None,
            ..Self::new()
        }
    }

    /// How many connections an address may have open, including handshakes; at least 1. Each
    /// WebSocket over HTTP/2 counts too, beside the connection that carries it; other requests over
    /// HTTP/2 do not. A connection counts for as long as in
    /// [`max_connections`](crate::Server::max_connections). Default:
    /// [`DEFAULT_CONNECTIONS_PER_ADDRESS`](Self::DEFAULT_CONNECTIONS_PER_ADDRESS).
    #[must_use]
    pub fn connections_per_address(mut self, connections: impl Into<Option<u32>>) -> Self {
        self.connections_per_address = at_least_one(connections);
        self
    }

    /// The same for all IPv6 addresses of one /48, which is what a site is given (RFC 6177): it has
    /// 65,536 networks of 64 bits. It does not apply if [`ipv6_prefix`](Self::ipv6_prefix) is 48
    /// or less. Default: [`DEFAULT_CONNECTIONS_PER_SITE`](Self::DEFAULT_CONNECTIONS_PER_SITE).
    #[must_use]
    pub fn connections_per_site(mut self, connections: impl Into<Option<u32>>) -> Self {
        self.connections_per_site = at_least_one(connections);
        self
    }

    /// How many new connections an address may open per second in the long run; at least 1.
    /// Streams of HTTP/2 do not count. Default:
    /// [`DEFAULT_CONNECTION_RATE`](Self::DEFAULT_CONNECTION_RATE).
    #[must_use]
    pub fn connection_rate(mut self, per_second: impl Into<Option<u32>>) -> Self {
        self.connection_rate = at_least_one(per_second);
        self
    }

    /// How many of them at once, after a time without any; at least 1. Default:
    /// [`DEFAULT_CONNECTION_BURST`](Self::DEFAULT_CONNECTION_BURST).
    #[must_use]
    pub const fn connection_burst(mut self, connections: u32) -> Self {
        self.connection_burst = if connections == 0 { 1 } else { connections };
        self
    }

    /// How many handshakes may be in flight in all, those of exempt addresses included; at least 1.
    /// One is in flight from accepting to the end of its request's head, TLS included. At this limit
    /// nothing is reset: the server accepts no more until one has ended, and clients wait in the
    /// system's queue. Default: [`DEFAULT_HANDSHAKES`](Self::DEFAULT_HANDSHAKES).
    #[must_use]
    pub fn handshakes(mut self, handshakes: impl Into<Option<u32>>) -> Self {
        self.handshakes = at_least_one(handshakes);
        self
    }

    /// How many of them an address may have; at least 1. Behind a proxy, they are those of the client
    /// that the PROXY protocol names. A client that only the headers of its request name has none: its
    /// handshake has ended by then, and is turned away only if others of that address are in flight.
    /// Default: [`DEFAULT_HANDSHAKES_PER_ADDRESS`](Self::DEFAULT_HANDSHAKES_PER_ADDRESS).
    #[must_use]
    pub fn handshakes_per_address(mut self, handshakes: impl Into<Option<u32>>) -> Self {
        self.handshakes_per_address = at_least_one(handshakes);
        self
    }

    /// How many bits of an IPv4 address tell clients apart, up to 32, which is the default.
    #[must_use]
    pub const fn ipv4_prefix(mut self, bits: u8) -> Self {
        self.ipv4_prefix = if bits > 32 { 32 } else { bits };
        self
    }

    /// How many bits of an IPv6 address tell clients apart, up to 128. Default: 64, which is what a
    /// client has at least (RFC 6177).
    #[must_use]
    pub const fn ipv6_prefix(mut self, bits: u8) -> Self {
        self.ipv6_prefix = if bits > 128 { 128 } else { bits };
        self
    }

    /// To which networks no limit by address applies. This replaces the default, which is loopback:
    /// proxies and tests on the same machine. Connections that are not from a network (Unix
    /// sockets) are always exempt.
    #[must_use]
    pub fn exempt(mut self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        self.exempt = networks.into_iter().collect();
        self
    }

    /// See [`connections_per_address`](Self::connections_per_address).
    #[must_use]
    pub const fn get_connections_per_address(&self) -> Option<u32> {
        self.connections_per_address
    }

    /// See [`connections_per_site`](Self::connections_per_site).
    #[must_use]
    pub const fn get_connections_per_site(&self) -> Option<u32> {
        self.connections_per_site
    }

    /// See [`connection_rate`](Self::connection_rate).
    #[must_use]
    pub const fn get_connection_rate(&self) -> Option<u32> {
        self.connection_rate
    }

    /// See [`connection_burst`](Self::connection_burst).
    #[must_use]
    pub const fn get_connection_burst(&self) -> u32 {
        self.connection_burst
    }

    /// See [`handshakes`](Self::handshakes).
    #[must_use]
    pub const fn get_handshakes(&self) -> Option<u32> {
        self.handshakes
    }

    /// See [`handshakes_per_address`](Self::handshakes_per_address).
    #[must_use]
    pub const fn get_handshakes_per_address(&self) -> Option<u32> {
        self.handshakes_per_address
    }

    /// See [`ipv4_prefix`](Self::ipv4_prefix).
    #[must_use]
    pub const fn get_ipv4_prefix(&self) -> u8 {
        self.ipv4_prefix
    }

    /// See [`ipv6_prefix`](Self::ipv6_prefix).
    #[must_use]
    pub const fn get_ipv6_prefix(&self) -> u8 {
        self.ipv6_prefix
    }

    /// See [`exempt`](Self::exempt).
    #[must_use]
    pub fn get_exempt(&self) -> &[IpNet] {
        &self.exempt
    }
}

fn at_least_one(limit: impl Into<Option<u32>>) -> Option<u32> {
    limit.into().map(|limit| limit.max(1))
}

/// How often each of the [`Limits`] of a server has struck since the server was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitCounts {
    /// Connections, and WebSockets over HTTP/2, that were refused by
    /// [`Limits::connections_per_address`].
    pub connections_per_address: u64,
    /// Those that were refused by [`Limits::connections_per_site`].
    pub connections_per_site: u64,
    /// Connections that were refused by [`Limits::connection_rate`].
    pub connection_rate: u64,
    /// How often accepting has waited for [`Limits::handshakes`].
    pub handshakes: u64,
    /// Connections that were refused by [`Limits::handshakes_per_address`].
    pub handshakes_per_address: u64,
}

/// One of the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    ConnectionsPerAddress,
    ConnectionsPerSite,
    ConnectionRate,
    Handshakes,
    HandshakesPerAddress,
}

impl Limit {
    /// In the order of their declaration.
    #[cfg(feature = "metrics")]
    const ALL: [Self; 5] = [
        Self::ConnectionsPerAddress,
        Self::ConnectionsPerSite,
        Self::ConnectionRate,
        Self::Handshakes,
        Self::HandshakesPerAddress,
    ];

    /// The name of its setting.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ConnectionsPerAddress => "connections_per_address",
            Self::ConnectionsPerSite => "connections_per_site",
            Self::ConnectionRate => "connection_rate",
            Self::Handshakes => "handshakes",
            Self::HandshakesPerAddress => "handshakes_per_address",
        }
    }
}

impl LimitCounts {
    /// How often this one has struck.
    fn of(&mut self, limit: Limit) -> &mut u64 {
        match limit {
            Limit::ConnectionsPerAddress => &mut self.connections_per_address,
            Limit::ConnectionsPerSite => &mut self.connections_per_site,
            Limit::ConnectionRate => &mut self.connection_rate,
            Limit::Handshakes => &mut self.handshakes,
            Limit::HandshakesPerAddress => &mut self.handshakes_per_address,
        }
    }
}

#[cfg(all(test, feature = "metrics", not(tautline_loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_limit_has_its_own_place() {
        let mut counts = LimitCounts::default();
        for (place, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, place, "{limit:?}");
            *counts.of(limit) += 1;
        }
        let LimitCounts {
            connections_per_address,
            connections_per_site,
            connection_rate,
            handshakes,
            handshakes_per_address,
        } = counts;
        assert_eq!([connections_per_address, connections_per_site, connection_rate], [1; 3]);
        assert_eq!([handshakes, handshakes_per_address], [1; 2]);
    }
}
