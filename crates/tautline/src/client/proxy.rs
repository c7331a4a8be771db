//! Proxies between a client and its server: which one, and who needs none. Opening a tunnel
//! through one is in `tunnel`.

mod environment;
mod error;
mod exceptions;
mod invalid;
mod tunnel;

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use tautline_handshake::WsUri;

use self::environment::Environment;
pub use self::error::{ProxyError, SocksReply};
use self::exceptions::Exceptions;
pub use self::invalid::InvalidProxy;
use self::invalid::Reason;
pub(super) use self::tunnel::{Tunnel, open_tunnel};
#[cfg(feature = "tls")]
use crate::transport::ClientTls;

/// A proxy, through which a [`Client`](crate::Client) reaches servers: an HTTP proxy that is asked
/// for a tunnel by CONNECT (RFC 9110 section 9.3.6), plain or over TLS, or a SOCKS5 proxy (RFC
/// 1928).
///
/// The URI of the proxy is read as curl does:
///
/// | URI | proxy |
/// |---|---|
/// | `http://proxy.example:3128`, `proxy.example:3128` | HTTP, plain |
/// | `https://proxy.example` | HTTP over TLS |
/// | `socks5://proxy.example`, `socks5h://proxy.example` | SOCKS5 (feature `socks`) |
///
/// - Without a port it is 1080, and 443 for `https`.
/// - `user:password@`, percent-encoded, are credentials: see [`credentials`](Self::credentials).
/// - The proxy resolves the names of servers, also with `socks5`, where curl resolves them itself.
/// - A path is ignored.
///
/// Nothing but the request for the tunnel is sent before the proxy has agreed to it (RFC 9931). A
/// `wss` connection is encrypted from end to end: the proxy sees host and port alone. A `ws`
/// connection goes through a tunnel too, as RFC 6455 section 4.1 asks for.
///
/// `Debug` and `Display` never show the credentials.
///
/// ```
/// use tautline::{Client, Proxy};
///
/// let proxy = Proxy::new("http://proxy.example:3128")?
///     .credentials("user", "secret")?
///     .except("localhost, .internal, 10.0.0.0/8");
/// let client = Client::new().proxy(proxy);
/// # let _ = client;
/// # Ok::<(), tautline::InvalidProxy>(())
/// ```
#[derive(Clone)]
pub struct Proxy {
    scheme: ProxyScheme,
    host: String,
    port: u16,
    credentials: Option<Credentials>,
    exceptions: Exceptions,
    #[cfg(feature = "tls")]
    tls: Option<ClientTls>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProxyScheme {
    Http,
    #[cfg(feature = "tls")]
    Https,
    #[cfg(feature = "socks")]
    Socks5,
}

#[derive(Clone)]
struct Credentials {
    user: String,
    password: String,
}

impl Proxy {
    /// Reads the URI of a proxy.
    ///
    /// # Errors
    /// [`InvalidProxy`], which does not contain the text, since that may hold a password.
    pub fn new(uri: &str) -> Result<Self, InvalidProxy> {
        let (scheme, rest) = uri.split_once("://").unwrap_or(("http", uri));
        let (scheme, default_port) = ProxyScheme::parse(scheme)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (userinfo, host_port) = match rest[..end].rsplit_once('@') {
            Some((userinfo, host_port)) => (Some(userinfo), host_port),
            None => (None, &rest[..end]),
        };
        let parse = |scheme| {
            let uri = WsUri::parse(&format!("{scheme}://{host_port}/"));
            uri.ok().filter(|uri| uri.zone().is_none()).ok_or(InvalidProxy::new(Reason::Host))
        };
        // The port is written if it does not depend on the scheme.
        let (plain, secure) = (parse("ws")?, parse("wss")?);
        let port = if plain.port() == secure.port() { plain.port() } else { default_port };
        let proxy = Self {
            scheme,
            host: plain.host().to_owned(),
            port,
            credentials: None,
            exceptions: Exceptions::default(),
            #[cfg(feature = "tls")]
            tls: None,
        };
        match userinfo {
            None => Ok(proxy),
            Some(userinfo) => {
                let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
                proxy.credentials(decoded(user)?, decoded(password)?)
            }
        }
    }

    /// The user's name and password: Basic credentials of an HTTP proxy (RFC 7617), which are sent
    /// with the first request, or those of a SOCKS5 proxy (RFC 1929), which are sent if it asks for
    /// them.
    ///
    /// # Errors
    /// [`InvalidProxy`] for control characters, for a colon in the name (RFC 7617 section 2), and,
    /// with SOCKS5, for an empty name or password or more than 255 bytes (RFC 1929 section 2).
    pub fn credentials(
        mut self,
        user: impl Into<String>,
        password: impl Into<String>,
    ) -> Result<Self, InvalidProxy> {
        let (user, password) = (user.into(), password.into());
        let socks = !self.scheme.is_http();
        let controls = user.chars().chain(password.chars()).any(char::is_control);
        let lengths = [user.len(), password.len()].iter().all(|length| (1..256).contains(length));
        if controls || (!socks && user.contains(':')) || (socks && !lengths) {
            return Err(InvalidProxy::new(Reason::Credentials));
        }
        self.credentials = Some(Credentials { user, password });
        Ok(self)
    }

    /// Who is reached without the proxy: a list in the form of `NO_PROXY`, which
    /// [`Proxies::from_env`] describes. Default: nobody, and loopback addresses neither. Replaces
    /// an earlier list.
    #[must_use]
    pub fn except(mut self, list: &str) -> Self {
        self.exceptions = Exceptions::parse(list);
        self
    }

    /// TLS settings for an `https` proxy. Default: those of the
    /// [`Client`](crate::Client::tls), which are otherwise for servers.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.tls = Some(tls);
        self
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// Whether there is TLS between the client and the proxy.
    #[cfg(feature = "tls")]
    pub(super) fn is_secure(&self) -> bool {
        self.scheme == ProxyScheme::Https
    }

    #[cfg(feature = "tls")]
    pub(super) const fn own_tls(&self) -> Option<&ClientTls> {
        self.tls.as_ref()
    }

    /// The value of `Proxy-Authorization` (RFC 7617 section 2).
    fn authorization(&self) -> Option<HeaderValue> {
        let Credentials { user, password } = self.credentials.as_ref()?;
        let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        let mut value = HeaderValue::try_from(value).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// The scheme, the host and the port.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = (self.scheme.name(), &self.host, self.port);
        match host.contains(':') {
            true => write!(f, "{scheme}://[{host}]:{port}"),
            false => write!(f, "{scheme}://{host}:{port}"),
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

impl ProxyScheme {
    /// The scheme, and its port.
    fn parse(scheme: &str) -> Result<(Self, u16), InvalidProxy> {
        match &*scheme.to_ascii_lowercase() {
            "http" => Ok((Self::Http, 1080)),
            #[cfg(feature = "tls")]
            "https" => Ok((Self::Https, 443)),
            #[cfg(not(feature = "tls"))]
            "https" => Err(InvalidProxy::new(Reason::NoTls)),
            #[cfg(feature = "socks")]
            "socks5" | "socks5h" => Ok((Self::Socks5, 1080)),
            #[cfg(not(feature = "socks"))]
            "socks5" | "socks5h" => Err(InvalidProxy::new(Reason::NoSocks)),
            _ => Err(InvalidProxy::new(Reason::Scheme)),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            #[cfg(feature = "tls")]
            Self::Https => "https",
            #[cfg(feature = "socks")]
            Self::Socks5 => "socks5",
        }
    }

    const fn is_http(self) -> bool {
        match self {
            Self::Http => true,
            #[cfg(feature = "tls")]
            Self::Https => true,
            #[cfg(feature = "socks")]
            Self::Socks5 => false,
        }
    }
}

/// Percent-decoded (RFC 3986 section 2.1).
fn decoded(text: &str) -> Result<String, InvalidProxy> {
    let invalid = || InvalidProxy::new(Reason::Credentials);
    let decoded = crate::percent::decode(text).ok_or_else(invalid)?;
    String::from_utf8(decoded).map_err(|_| invalid())
}

/// Which proxy is for which server: what the environment says, one proxy for all, or none.
///
/// ```
/// use tautline::{Proxies, WsUri};
///
/// let proxies = Proxies::from_variables(|name| match name {
///     "https_proxy" => Some("http://proxy.example:3128".to_owned()),
///     "no_proxy" => Some("internal, 10.0.0.0/8".to_owned()),
///     _ => None,
/// });
/// let proxy = |uri: &str| -> Result<_, Box<dyn std::error::Error>> {
///     Ok(proxies.for_uri(&WsUri::parse(uri)?)?.map(ToString::to_string))
/// };
/// assert_eq!(proxy("wss://example.com/")?.as_deref(), Some("http://proxy.example:3128"));
/// assert_eq!(proxy("wss://feed.internal/")?, None);
/// assert_eq!(proxy("ws://example.com/")?, None); // asks `http_proxy`
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Proxies(Choice);

#[derive(Clone, Debug)]
enum Choice {
    None,
    One(Arc<Proxy>),
    Environment(Arc<Environment>),
}

impl Proxies {
    /// No proxy for anybody.
    #[must_use]
    pub const fn none() -> Self {
        Self(Choice::None)
    }

    /// What the environment of the process says now, by the rules of curl: a `ws` URI is treated as
    /// one of `http`, and `wss` as `https`.
    ///
    /// - For `ws` the first of `http_proxy`, `all_proxy` and `ALL_PROXY` that is set and not empty;
    ///   for `wss` the first of `https_proxy`, `HTTPS_PROXY`, `all_proxy` and `ALL_PROXY`.
    ///   `HTTP_PROXY` in upper case is not read, because clients of a CGI program can set it. Values
    ///   are as in [`Proxy::new`]; an invalid one is an error of each connection that it is for.
    /// - `no_proxy`, or else `NO_PROXY`, lists who is reached without a proxy, separated by commas
    ///   or blanks; a `*` alone is everybody. A name stands for itself and for the names below it,
    ///   with or without a dot in front (`example.com`, `.example.com`). An IP address stands for
    ///   itself, and a network (`10.0.0.0/8`, `fd00::/8`) for its addresses; names are not resolved
    ///   for that. Ports are not supported: an entry with one matches nothing.
    /// - Unlike with curl, `localhost`, names below it, and loopback addresses are always reached
    ///   without a proxy: a proxy could only reach its own.
    #[must_use]
    pub fn from_env() -> Self {
        // What is not UTF-8 is no valid URI either, and told as that.
        Self::from_variables(|name| {
            std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
        })
    }

    /// Like [`from_env`](Self::from_env), with the values of variables from this function.
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> Self {
        Self(Choice::Environment(Arc::new(Environment::read(get))))
    }

    /// The proxy for this URI. `None` if its server is reached without one.
    ///
    /// # Errors
    /// [`InvalidProxy`], if the variable that is for this URI has no valid value.
    pub fn for_uri(&self, uri: &WsUri) -> Result<Option<&Proxy>, InvalidProxy> {
        match &self.0 {
            Choice::None => Ok(None),
            Choice::One(proxy) => Ok((!proxy.exceptions.have(uri.host())).then_some(proxy)),
            Choice::Environment(environment) => environment.proxy(uri),
        }
    }
}

/// One proxy for all, except for [those](Proxy::except) that need none.
impl From<Proxy> for Proxies {
    fn from(proxy: Proxy) -> Self {
        Self(Choice::One(Arc::new(proxy)))
    }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;

    #[test]
    fn uris_of_proxies_as_curl_reads_them() {
        for (text, shown, credentials) in [
            ("proxy.test", "http://proxy.test:1080", None),
            ("proxy.test:3128", "http://proxy.test:3128", None),
            ("HTTP://Proxy.test:80/path?q#f", "http://proxy.test:80", None),
            ("http://127.0.0.1:443", "http://127.0.0.1:443", None),
            ("http://[::1]:3128/", "http://[::1]:3128", None),
            ("http://u%3ax:p%40:s@proxy.test", "", None), // a colon in the name
            ("http://u:p%40:s@proxy.test", "http://proxy.test:1080", Some("u:p@:s")),
            ("http://u@proxy.test", "http://proxy.test:1080", Some("u:")),
            #[cfg(feature = "tls")]
            ("https://proxy.test", "https://proxy.test:443", None),
            #[cfg(feature = "socks")]
            ("socks5h://u:p@proxy.test", "socks5://proxy.test:1080", Some("u:p")),
            #[cfg(feature = "socks")]
            ("socks5://proxy.test:1081", "socks5://proxy.test:1081", None),
        ] {
            let Ok(proxy) = Proxy::new(text) else {
                assert_eq!(shown, "", "{text}");
                continue;
            };
            assert_eq!(proxy.to_string(), shown, "{text}");
            assert_eq!(format!("{proxy:?}"), format!("Proxy({shown})"));
            let found = proxy.credentials.map(|known| format!("{}:{}", known.user, known.password));
            assert_eq!(found.as_deref(), credentials, "{text}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_and_not_repeated() {
        for text in [
            "",
            "http://",
            "http://secret@",
            "ftp://secret@proxy.test",
            "socks4://secret@proxy.test",
            "http://secret proxy",
            "http://secret:99999@proxy.test:99999",
            "http://u:secret%0D%0A@proxy.test",
            "http://u:secret%zz@proxy.test",
            "http://[fe80::1%25secret]/",
        ] {
            let error = Proxy::new(text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"), "{text}: {error}");
        }
        #[cfg(feature = "socks")]
        for text in ["socks5://u@proxy.test", "socks5://:p@proxy.test"] {
            assert!(Proxy::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn credentials_are_never_shown() {
        let proxy = Proxy::new("http://user:secret@proxy.test").unwrap();
        let value = proxy.authorization().unwrap();
        assert_eq!(value, "Basic dXNlcjpzZWNyZXQ=");
        assert!(value.is_sensitive());
        let proxies = Proxies::from(proxy.clone());
        let environment = Proxies::from_variables(|name| {
            let value = "http://user:secret@proxy.test";
            (name.ends_with("s_proxy")).then(|| value.to_owned())
        });
        let shown = format!("{proxy} {proxy:?} {proxies:?} {environment:?}");
        assert!(!shown.contains("secret") && !shown.contains("user"), "{shown}");
    }

    #[test]
    fn a_proxy_of_ones_own_is_for_all_but_its_exceptions() {
        let uri = |text| WsUri::parse(text).unwrap();
        let proxy = Proxy::new("proxy.test").unwrap();
        let all = Proxies::from(proxy.clone());
        let most = Proxies::from(proxy.except("a.test, 127.0.0.1"));
        for (text, used) in
            [("ws://a.test/", false), ("wss://b.a.test/", false), ("ws://127.0.0.1/", false)]
        {
            assert!(all.for_uri(&uri(text)).unwrap().is_some(), "{text}");
            assert_eq!(most.for_uri(&uri(text)).unwrap().is_some(), used, "{text}");
        }
        assert!(most.for_uri(&uri("wss://c.test/")).unwrap().is_some());
        assert!(Proxies::none().for_uri(&uri("wss://c.test/")).unwrap().is_none());
    }
}
