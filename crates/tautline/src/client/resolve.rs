//! From a host's name to its addresses.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::pin::Pin;
use std::sync::Arc;

use tokio::net::lookup_host;

/// Resolves the names of hosts, in place of the system: see
/// [`Client::resolver`](crate::Client::resolver).
///
/// ```
/// use std::io;
/// use std::net::IpAddr;
/// use tautline::{Client, Resolve};
///
/// /// Knows one name, and asks the system for all others.
/// struct Pinned {
///     name: &'static str,
///     address: IpAddr,
/// }
///
/// impl Resolve for Pinned {
///     async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
///         if host == self.name {
///             return Ok(vec![self.address]);
///         }
///         let found = tokio::net::lookup_host((host, 0)).await?;
///         Ok(found.map(|address| address.ip()).collect())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = tautline::Server::bind("127.0.0.1:0").await?;
/// # let port = server.local_addr()?.port();
/// # tokio::spawn(server.serve(|mut ws| async move { ws.close().await?; Ok(()) }));
/// let resolver = Pinned { name: "feed.internal", address: [127, 0, 0, 1].into() };
/// let client = Client::new().no_proxy().resolver(resolver);
/// let ws = client.connect(format!("ws://feed.internal:{port}/")).await?;
/// # let _ = ws;
/// # Ok(())
/// # }
/// ```
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of this host, the preferred one first. The host is in lower case, and never
    /// an IP address: those are not resolved. If it is neither answered nor dropped, the deadlines
    /// of the [`Client`](crate::Client) apply.
    ///
    /// An error becomes [`ConnectError::Resolve`](crate::ConnectError::Resolve); no addresses are
    /// an error too.
    fn resolve(&self, host: &str) -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send;
}

impl<R: Resolve> Resolve for Arc<R> {
    fn resolve(&self, host: &str) -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send {
        (**self).resolve(host)
    }
}

type Resolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// [`Resolve`] of any type.
trait AnyResolve: Send + Sync {
    fn resolve_any<'a>(&'a self, host: &'a str) -> Resolving<'a>;
}

impl<R: Resolve> AnyResolve for R {
    fn resolve_any<'a>(&'a self, host: &'a str) -> Resolving<'a> {
        Box::pin(self.resolve(host))
    }
}

/// What a client resolves names with: the system, or what its user gave it.
#[derive(Clone, Default)]
pub(super) struct Resolver(Option<Arc<dyn AnyResolve>>);

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Resolver(own)" } else { "Resolver(system)" })
    }
}

impl Resolver {
    pub(super) fn new(resolve: impl Resolve) -> Self {
        Self(Some(Arc::new(resolve)))
    }

    /// The addresses of a host; at least one.
    pub(super) async fn addresses(
        &self,
        host: &str,
        zone: Option<&str>,
        port: u16,
    ) -> io::Result<Vec<SocketAddr>> {
        if let Some(zone) = zone {
            return zoned(host, zone, port).await;
        }
        if let Ok(ip) = host.parse() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let addresses: Vec<_> = match &self.0 {
            Some(resolver) => {
                let found = resolver.resolve_any(host).await?;
                found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
            }
            None => lookup_host((host, port)).await?.collect(),
        };
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        Ok(addresses)
    }
}

/// The number of the zone is in the address. Only the system knows the numbers of its interfaces.
async fn zoned(host: &str, zone: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let (Ok(ip), Ok(number)) = (host.parse::<Ipv6Addr>(), zone.parse()) {
        return Ok(vec![SocketAddrV6::new(ip, port, 0, number).into()]);
    }
    Ok(lookup_host((format!("{host}%{zone}"), port)).await?.collect())
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;

    struct Nobody;

    impl Resolve for Nobody {
        async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            Ok(Vec::new())
        }
    }

    #[tokio::test]
    async fn addresses_are_not_resolved_and_no_address_is_an_error() {
        let resolver = Resolver::new(Arc::new(Nobody));
        for ip in ["127.0.0.1", "2001:db8::1"] {
            let found = resolver.addresses(ip, None, 7).await.unwrap();
            assert_eq!(found, [SocketAddr::new(ip.parse().unwrap(), 7)]);
        }
        let error = resolver.addresses("a.test", None, 7).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn a_zone_is_a_number_or_the_name_of_an_interface() {
        let resolver = Resolver::default();
        let found = resolver.addresses("fe80::1", Some("3"), 7).await.unwrap();
        let expected = SocketAddrV6::new("fe80::1".parse().unwrap(), 7, 0, 3);
        assert_eq!(found, [SocketAddr::V6(expected)]);
        #[cfg(target_os = "linux")]
        {
            let found = resolver.addresses("fe80::1", Some("lo"), 7).await.unwrap();
            assert!(matches!(found[..], [SocketAddr::V6(ip)] if ip.scope_id() > 0), "{found:?}");
            assert!(resolver.addresses("fe80::1", Some("nowhere"), 7).await.is_err());
        }
    }
}
