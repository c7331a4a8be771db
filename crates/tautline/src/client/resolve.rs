//! From a host's name to its addresses.

use std::fmt;
use std::future::{Future, Ready};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::pin::Pin;
use std::sync::Arc;

use dns_lookup::{AddrFamily, AddrInfoHints, SockType, getaddrinfo};
use tokio::net::lookup_host;

use super::lookup::{Lookup, Lookups};

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

    /// The addresses of one family alone, for a resolver that looks up each by itself, as DNS does (`A`
    /// and `AAAA`). Then both are looked up at the same time, instead of [`resolve`](Self::resolve), and
    /// connecting begins with the first answer, although an IPv4 address waits for up to 50 ms for the
    /// IPv6 ones (RFC 8305 section 3). An error of one family matters only if there is no address of
    /// the other.
    ///
    /// Default: `None`, which is that `resolve` answers for both.
    ///
    /// ```
    /// use std::io;
    /// use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    /// use tautline::{IpFamily, Resolve};
    ///
    /// # struct Dns;
    /// # impl Dns {
    /// #     async fn a(&self, _: &str) -> io::Result<Vec<Ipv4Addr>> { Ok(Vec::new()) }
    /// #     async fn aaaa(&self, _: &str) -> io::Result<Vec<Ipv6Addr>> { Ok(Vec::new()) }
    /// # }
    /// impl Resolve for Dns {
    ///     async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
    ///         Ok(self.a(host).await?.into_iter().map(IpAddr::from).collect())
    ///     }
    ///
    ///     fn resolve_family(
    ///         &self,
    ///         host: &str,
    ///         family: IpFamily,
    ///     ) -> Option<impl Future<Output = io::Result<Vec<IpAddr>>> + Send> {
    ///         Some(async move {
    ///             Ok(match family {
    ///                 IpFamily::V4 => self.a(host).await?.into_iter().map(IpAddr::from).collect(),
    ///                 IpFamily::V6 => self.aaaa(host).await?.into_iter().map(IpAddr::from).collect(),
    ///             })
    ///         })
    ///     }
    /// }
    /// ```
    fn resolve_family(
        &self,
        host: &str,
        family: IpFamily,
    ) -> Option<impl Future<Output = io::Result<Vec<IpAddr>>> + Send> {
        let _ = (host, family);
        None::<Ready<io::Result<Vec<IpAddr>>>>
    }
}

/// One of the two kinds of IP addresses: see [`Resolve::resolve_family`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "there is no other")]
pub enum IpFamily {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl<R: Resolve> Resolve for Arc<R> {
    fn resolve(&self, host: &str) -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send {
        (**self).resolve(host)
    }

    fn resolve_family(
        &self,
        host: &str,
        family: IpFamily,
    ) -> Option<impl Future<Output = io::Result<Vec<IpAddr>>> + Send> {
        (**self).resolve_family(host, family)
    }
}

type Resolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// [`Resolve`] of any type.
trait AnyResolve: Send + Sync {
    fn resolve_any<'a>(&'a self, host: &'a str) -> Resolving<'a>;

    fn resolve_any_family<'a>(&'a self, host: &'a str, family: IpFamily) -> Option<Resolving<'a>>;
}

impl<R: Resolve> AnyResolve for R {
    fn resolve_any<'a>(&'a self, host: &'a str) -> Resolving<'a> {
        Box::pin(self.resolve(host))
    }

    fn resolve_any_family<'a>(&'a self, host: &'a str, family: IpFamily) -> Option<Resolving<'a>> {
        Some(Box::pin(self.resolve_family(host, family)?))
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

    /// The look-ups of a host's addresses.
    pub(super) fn lookups<'a>(
        &'a self,
        host: &'a str,
        zone: Option<&'a str>,
        port: u16,
    ) -> Lookups<'a> {
        if let Some(zone) = zone {
            return zoned(host, zone, port);
        }
        if let Ok(ip) = host.parse() {
            return Lookups::known(SocketAddr::new(ip, port));
        }
        let Some(resolver) = &self.0 else { return by_the_system(host, port) };
        let families = [IpFamily::V6, IpFamily::V4];
        match families.map(|family| resolver.resolve_any_family(host, family)) {
            [Some(v6), Some(v4)] => Lookups::each([v6, v4].map(|found| with_port(found, port))),
            _ => Lookups::both(with_port(resolver.resolve_any(host), port)),
        }
    }
}

fn with_port(resolving: Resolving<'_>, port: u16) -> Lookup<'_> {
    Box::pin(async move {
        let found = resolving.await?.into_iter();
        Ok(found.map(|ip| SocketAddr::new(ip, port)).collect())
    })
}

/// The number of the zone is in the address. Only the system knows the numbers of its interfaces.
fn zoned<'a>(host: &'a str, zone: &'a str, port: u16) -> Lookups<'a> {
    if let (Ok(ip), Ok(number)) = (host.parse::<Ipv6Addr>(), zone.parse()) {
        return Lookups::known(SocketAddrV6::new(ip, port, 0, number).into());
    }
    Lookups::both(Box::pin(async move {
        Ok(lookup_host((format!("{host}%{zone}"), port)).await?.collect())
    }))
}

/// One call for both families: it costs half as much as two, and the system sorts the addresses by what
/// it knows of its networks (RFC 6724). But it waits for both answers, also if one of them is lost. So if
/// it takes long, each family is asked for as well.
fn by_the_system(host: &str, port: u16) -> Lookups<'_> {
    let both = async move { Ok(lookup_host((host, port)).await?.collect()) };
    let apart = move || {
        [AddrFamily::Inet6, AddrFamily::Inet]
            .map(|family| -> Lookup<'_> { Box::pin(family_by_the_system(host, family, port)) })
    };
    Lookups::both(Box::pin(both)).or_each(apart)
}

async fn family_by_the_system(
    host: &str,
    family: AddrFamily,
    port: u16,
) -> io::Result<Vec<SocketAddr>> {
    let host = host.to_owned();
    let looking = tokio::task::spawn_blocking(move || {
        let hints = AddrInfoHints {
            address: family.into(),
            socktype: SockType::Stream.into(),
            ..AddrInfoHints::default()
        };
        let found = getaddrinfo(Some(&host), None, Some(hints)).map_err(io::Error::from)?;
        let with_port = |mut address: SocketAddr| {
            address.set_port(port);
            address
        };
        found.map(|found| Ok(with_port(found?.sockaddr))).collect()
    });
    looking.await.unwrap_or_else(|_| Err(io::Error::other("the look-up was cut off")))
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

    /// All that these look-ups find, or why they find nothing.
    async fn found(mut lookups: Lookups<'_>) -> io::Result<Vec<SocketAddr>> {
        let mut found = Vec::from_iter(lookups.known_address());
        while !lookups.is_over() {
            found.extend(lookups.next().await);
        }
        if found.is_empty() { Err(lookups.into_error()) } else { Ok(found) }
    }

    #[tokio::test]
    async fn addresses_are_not_resolved_and_no_address_is_an_error() {
        let resolver = Resolver::new(Arc::new(Nobody));
        for ip in ["127.0.0.1", "2001:db8::1"] {
            let found = resolver.lookups(ip, None, 7).known_address();
            assert_eq!(found, Some(SocketAddr::new(ip.parse().unwrap(), 7)));
        }
        let error = found(resolver.lookups("a.test", None, 7)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn a_zone_is_a_number_or_the_name_of_an_interface() {
        let resolver = Resolver::default();
        let found_in = |zone| found(resolver.lookups("fe80::1", Some(zone), 7));
        let expected = SocketAddrV6::new("fe80::1".parse().unwrap(), 7, 0, 3);
        assert_eq!(found_in("3").await.unwrap(), [SocketAddr::V6(expected)]);
        #[cfg(target_os = "linux")]
        {
            let found = found_in("lo").await.unwrap();
            assert!(matches!(found[..], [SocketAddr::V6(ip)] if ip.scope_id() > 0), "{found:?}");
            assert!(found_in("nowhere").await.is_err());
        }
    }

    #[tokio::test]
    async fn the_system_is_asked_for_one_family_too() {
        let found = family_by_the_system("localhost", AddrFamily::Inet, 7).await.unwrap();
        assert_eq!(found.first(), Some(&SocketAddr::from(([127, 0, 0, 1], 7))), "{found:?}");
        let error = family_by_the_system("a.invalid", AddrFamily::Inet, 7).await.unwrap_err();
        assert!(!error.to_string().is_empty());
    }
}
