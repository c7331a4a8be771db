//! Who is at the other end of a connection.

use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// The peer of a connection: its address, and whether the connection to it is encrypted.
///
/// [`Client`](crate::Client) and [`Server`](crate::Server) fill it in. For a stream of your own,
/// you can set it:
///
/// ```
/// use std::net::SocketAddr;
/// use tautline::{Acceptor, Peer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (near, far) = tokio::io::duplex(4096);
/// let server = tokio::spawn(async move {
///     // For instance from a header of the proxy that ends TLS.
///     let client: SocketAddr = ([192, 0, 2, 7], 50_000).into();
///     let peer = Peer::from(client).with_secure(true);
///     Acceptor::new().read(far).await?.with_peer(peer).accept(Default::default()).await
/// });
/// let _ws = tautline::Client::new().connect_over("ws://localhost/", near).await?;
/// let ws = server.await??;
/// assert_eq!(ws.peer().to_string(), "192.0.2.7:50000");
/// assert!(ws.peer().is_secure());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Peer {
    // The parts of a `SocketAddr`, which takes more room than they do: every idle connection holds
    // one.
    ip: Option<IpAddr>,
    port: u16,
    secure: bool,
    flowinfo: u32,
    scope_id: u32,
}

impl Peer {
    /// A peer about which nothing is known, without encryption.
    #[must_use]
    pub const fn unknown() -> Self {
        Self { ip: None, port: 0, secure: false, flowinfo: 0, scope_id: 0 }
    }

    /// Sets whether the connection is encrypted.
    #[must_use]
    pub const fn with_secure(mut self, secure: bool) -> Self {
        self.secure = secure;
        self
    }

    /// The network address. `None` if it is unknown, or if the connection does not use a network.
    #[must_use]
    pub const fn addr(&self) -> Option<SocketAddr> {
        match self.ip {
            Some(IpAddr::V4(ip)) => Some(SocketAddr::V4(SocketAddrV4::new(ip, self.port))),
            Some(IpAddr::V6(ip)) => {
                let addr = SocketAddrV6::new(ip, self.port, self.flowinfo, self.scope_id);
                Some(SocketAddr::V6(addr))
            }
            None => None,
        }
    }

    /// Whether the connection is encrypted: by this crate, or, for a stream of your own, as set by
    /// [`with_secure`](Self::with_secure).
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.secure
    }
}

impl From<SocketAddr> for Peer {
    /// A peer at this address, without encryption.
    fn from(addr: SocketAddr) -> Self {
        let (flowinfo, scope_id) = match addr {
            SocketAddr::V4(_) => (0, 0),
            SocketAddr::V6(addr) => (addr.flowinfo(), addr.scope_id()),
        };
        Self { ip: Some(addr.ip()), port: addr.port(), secure: false, flowinfo, scope_id }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("addr", &self.addr()).field("secure", &self.secure).finish()
    }
}

/// The address, or `unknown`.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addr() {
            Some(addr) => addr.fmt(f),
            None => f.pad("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_back_as_it_was_given() {
        let scoped =
            SocketAddr::from(SocketAddrV6::new([0xfe80, 0, 0, 0, 0, 0, 0, 1].into(), 9001, 7, 3));
        for addr in
            ["192.0.2.7:50000".parse().unwrap(), "[2001:db8::1]:80".parse().unwrap(), scoped]
        {
            let peer = Peer::from(addr);
            assert_eq!(peer.addr(), Some(addr));
            assert_eq!(peer.to_string(), addr.to_string());
            assert!(!peer.is_secure() && peer.with_secure(true).is_secure());
        }
        assert_eq!(Peer::unknown().addr(), None);
        assert_eq!(Peer::unknown().to_string(), "unknown");
        assert_eq!(Peer::default(), Peer::unknown());
    }
}
