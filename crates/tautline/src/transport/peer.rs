//! Who is at the other end of a connection.

use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;

#[cfg(feature = "tls")]
use super::tls::{TlsFacts, TlsInfo};

/// The peer of a connection: its address, whether the connection to it is encrypted, and, on a
/// server that asks for it, its certificate.
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
    proxied: bool,
    rare: Option<Arc<Rare>>,
}

/// What few peers have. Shared by the streams of an HTTP/2 connection.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct Rare {
    flowinfo: u32,
    scope_id: u32,
    certificate: Option<Arc<[u8]>>,
    /// Of an HTTP/2 connection.
    #[cfg(feature = "tls")]
    tls: Option<Arc<TlsFacts>>,
}

impl Peer {
    /// A peer about which nothing is known, without encryption.
    #[must_use]
    pub const fn unknown() -> Self {
        Self { ip: None, port: 0, secure: false, proxied: false, rare: None }
    }

    /// Sets whether the connection is encrypted.
    #[must_use]
    pub const fn with_secure(mut self, secure: bool) -> Self {
        self.secure = secure;
        self
    }

    /// The peer is reached through a proxy, whose address is that of the connection.
    pub(crate) const fn through_proxy(mut self) -> Self {
        self.proxied = true;
        self
    }

    /// Sets the certificate of a client, in DER, that was verified elsewhere, such as by a proxy.
    #[must_use]
    pub fn with_certificate(mut self, certificate: impl Into<Arc<[u8]>>) -> Self {
        let rare = Arc::make_mut(self.rare.get_or_insert_default());
        rare.certificate = Some(certificate.into());
        self
    }

    /// On a server that asks for it (`ClientAuth`): the certificate of the client, in DER (RFC 5280),
    /// which was verified. Parse it with a crate for X.509. `None` if the client has none, and on a
    /// client: see `WebSocket::tls` there, which also has the rest of the chain.
    #[must_use]
    pub fn certificate(&self) -> Option<&[u8]> {
        self.rare.as_ref()?.certificate.as_deref()
    }

    /// With what TLS negotiated for the connection, for those who do not see it.
    #[cfg(all(feature = "http2", feature = "tls"))]
    pub(super) fn with_tls(mut self, facts: TlsFacts) -> Self {
        Arc::make_mut(self.rare.get_or_insert_default()).tls = Some(Arc::new(facts));
        self
    }

    #[cfg(feature = "tls")]
    pub(crate) fn tls(&self) -> Option<TlsInfo<'_>> {
        self.rare.as_ref()?.tls.as_deref().map(TlsInfo::kept)
    }

    /// The network address; that of the proxy if it [is reached through one](Self::is_proxied). `None`
    /// if it is unknown, or if the connection does not use a network.
    #[must_use]
    pub fn addr(&self) -> Option<SocketAddr> {
        match self.ip {
            Some(IpAddr::V4(ip)) => Some(SocketAddr::V4(SocketAddrV4::new(ip, self.port))),
            Some(IpAddr::V6(ip)) => {
                let rare = self.rare.as_ref();
                let (flowinfo, scope_id) =
                    rare.map_or((0, 0), |rare| (rare.flowinfo, rare.scope_id));
                let addr = SocketAddrV6::new(ip, self.port, flowinfo, scope_id);
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

    /// Whether a [`Client`](crate::Client) reached it through a proxy ([`Client::proxy`], or one of the
    /// environment). On a server it is `false`: what a proxy in front of it tells of the client is in
    /// the address (`TrustedProxies`).
    ///
    /// [`Client::proxy`]: crate::Client::proxy
    #[must_use]
    pub const fn is_proxied(&self) -> bool {
        self.proxied
    }
}

impl From<SocketAddr> for Peer {
    /// A peer at this address, without encryption.
    fn from(addr: SocketAddr) -> Self {
        let (flowinfo, scope_id) = match addr {
            SocketAddr::V4(_) => (0, 0),
            SocketAddr::V6(addr) => (addr.flowinfo(), addr.scope_id()),
        };
        let is_rare = (flowinfo, scope_id) != (0, 0);
        let rare = is_rare.then(|| Arc::new(Rare { flowinfo, scope_id, ..Rare::default() }));
        Self { ip: Some(addr.ip()), port: addr.port(), secure: false, proxied: false, rare }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("addr", &self.addr())
            .field("secure", &self.secure)
            .field("proxied", &self.proxied)
            .field("certificate", &self.certificate().is_some())
            .finish()
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
        let known = Peer::from(scoped).with_certificate([0x30, 0]);
        assert_eq!((known.addr(), known.certificate()), (Some(scoped), Some(&[0x30, 0][..])));
        assert_ne!(known, Peer::from(scoped));
        assert_eq!(Peer::from(scoped).certificate(), None);
        // What every idle connection holds.
        assert_eq!(size_of::<Peer>(), 32);
        assert_eq!(Peer::unknown().addr(), None);
        assert_eq!(Peer::unknown().to_string(), "unknown");
        assert_eq!(Peer::default(), Peer::unknown());
    }
}
