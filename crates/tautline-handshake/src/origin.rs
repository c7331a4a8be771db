//! Which web pages may connect (RFC 6455 section 10.2, RFC 6454).

mod name;

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use http::header::ORIGIN;

pub use self::name::{InvalidOrigin, Origin, OriginList};

use self::name::default_port;
use crate::authority::Authority;
use crate::token::{Lines, lines, trim_ows};

/// How many characters of an `Origin` a refusal shows.
const MAX_SHOWN: usize = 128;

/// Which pages may connect. A browser sends its cookies and other credentials with every
/// connection, whichever page opens it, so a server that trusts them must check the `Origin` (RFC
/// 6455 section 10.2).
///
/// A request without `Origin` does not come from a page in a browser and is always allowed: a
/// client that can omit the header could forge it as well.
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use tautline_handshake::OriginPolicy;
///
/// let mut headers = HeaderMap::new();
/// headers.insert("origin", HeaderValue::from_static("https://app.other.example"));
/// let refused = OriginPolicy::SameOrigin.allows(&headers, "example.com").expect_err("another host");
/// assert_eq!(
///     refused.to_string(),
///     "the Origin https://app.other.example is not that of the Host example.com"
/// );
/// OriginPolicy::list(["https://*.other.example", "capacitor://localhost"])?
///     .allows(&headers, "example.com")?;
/// OriginPolicy::predicate(|origin, _| origin.ends_with(".example"))
///     .allows(&headers, "example.com")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum OriginPolicy {
    /// Pages of this server: the `Origin` is `http` or `https`, and its host and port are those
    /// that the request is for. The scheme is not compared, since a server behind a proxy that ends
    /// TLS does not know its own; a missing port is the default of the origin's scheme. This is the
    /// default.
    #[default]
    SameOrigin,
    /// Any page, including sandboxed ones (`Origin: null`). For public services, for those that
    /// authenticate by other means than cookies, and for servers that check the `Origin` elsewhere.
    Any,
    /// These origins and no others; the server's own pages must be listed too. See
    /// [`list`](Self::list).
    List(OriginList),
    /// Those for which this function returns `true`. See [`predicate`](Self::predicate).
    Predicate(OriginPredicate),
}

impl OriginPolicy {
    /// A [`List`](Self::List). Each entry is one of these:
    ///
    /// - `scheme://host[:port]`, any scheme: `https://app.example`, `capacitor://localhost`,
    ///   `chrome-extension://id`; or `file://`;
    /// - `scheme://*.domain[:port]`: all subdomains at any depth, without the domain itself;
    /// - `null`: sandboxed frames and local files, which can belong to anybody;
    /// - an origin with a path, for devices that send one; it is compared exactly.
    ///
    /// # Errors
    ///
    /// [`InvalidOrigin`], which names the first entry that is not valid.
    pub fn list<I>(origins: I) -> Result<Self, InvalidOrigin>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        Ok(Self::List(OriginList::parse(origins)?))
    }

    /// A [`Predicate`](Self::Predicate): called with the `Origin` as it was sent and all headers of
    /// the request; `true` allows it. It runs during the handshake and should not block. It is not
    /// called for requests without `Origin`, with two, or with one that is not visible ASCII.
    #[must_use]
    pub fn predicate(allows: impl Fn(&str, &HeaderMap) -> bool + Send + Sync + 'static) -> Self {
        Self::Predicate(OriginPredicate(Arc::new(allows)))
    }

    /// Decides about a request with these headers. `authority` is the host that the request is for,
    /// with its port if there is one: `Host` in HTTP/1.1, `:authority` in HTTP/2; see
    /// [`ServerRequest::authority`](crate::ServerRequest::authority).
    ///
    /// # Errors
    ///
    /// [`OriginError`], which becomes a [`HandshakeError`](crate::HandshakeError) with status 403.
    /// `Any` checks nothing.
    pub fn allows(&self, headers: &HeaderMap, authority: &str) -> Result<(), OriginError> {
        if matches!(self, Self::Any) {
            return Ok(());
        }
        let value = match lines(headers, &ORIGIN) {
            Lines::None => return Ok(()),
            Lines::One(value) => trim_ows(value.as_bytes()),
            Lines::Several => return Err(OriginError::Duplicate),
        };
        let text = std::str::from_utf8(value).ok();
        let text = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
        let origin = || Origin::parse(text?);
        let allowed = match self {
            Self::Any => true,
            Self::SameOrigin => origin().is_some_and(|origin| is_same(&origin, authority)),
            Self::List(list) => origin().is_some_and(|origin| list.contains(&origin)),
            Self::Predicate(OriginPredicate(allows)) => {
                text.is_some_and(|text| allows(text, headers))
            }
        };
        if allowed {
            return Ok(());
        }
        let against = match self {
            Self::SameOrigin => Against::Host(shown(authority)),
            Self::List(_) => Against::List,
            Self::Any | Self::Predicate(_) => Against::Predicate,
        };
        Err(OriginError::NotAllowed(OriginMismatch { origin: shown(value), against }))
    }
}

/// What the `Origin` is compared with, for logs: `the Host`, the list, `a predicate`.
impl fmt::Display for OriginPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SameOrigin => f.write_str("the Host"),
            Self::Any => f.write_str("any"),
            Self::List(list) => list.fmt(f),
            Self::Predicate(_) => f.write_str("a predicate"),
        }
    }
}

/// The function of [`OriginPolicy::predicate`].
#[derive(Clone)]
pub struct OriginPredicate(Arc<Predicate>);

type Predicate = dyn Fn(&str, &HeaderMap) -> bool + Send + Sync;

impl fmt::Debug for OriginPredicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OriginPredicate")
    }
}

/// Why an [`OriginPolicy`] does not allow a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OriginError {
    /// There are two `Origin` headers.
    Duplicate,
    /// The policy does not allow the `Origin`, which may be malformed. This says what it was
    /// compared with.
    NotAllowed(OriginMismatch),
}

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate => f.write_str("duplicate Origin header"),
            Self::NotAllowed(mismatch) => mismatch.fmt(f),
        }
    }
}

impl std::error::Error for OriginError {}

/// The `Origin` that was refused, and what it was compared with.
///
/// `Display` is the text that the client gets: the origin without userinfo and query, at most 128
/// characters of it, and the `Host` that it sent. The list of allowed origins is not in it; for
/// logs, [`OriginPolicy`] displays it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OriginMismatch {
    origin: String,
    against: Against,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Against {
    Host(String),
    List,
    Predicate,
}

impl OriginMismatch {
    /// The `Origin` that was sent, without userinfo and query, shortened.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The `Host` that it was compared with, if the policy is [`OriginPolicy::SameOrigin`].
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        match &self.against {
            Against::Host(host) => Some(host),
            Against::List | Against::Predicate => None,
        }
    }
}

impl fmt::Display for OriginMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, against } = self;
        match against {
            Against::Host(host) => {
                write!(f, "the Origin {origin} is not that of the Host {host}")
            }
            Against::List => write!(f, "the Origin {origin} is not among those allowed here"),
            Against::Predicate => write!(f, "the Origin {origin} is not allowed here"),
        }
    }
}

/// What may be shown of a value that a peer sent: no userinfo, no query, and a limited length.
fn shown(value: impl AsRef<[u8]>) -> String {
    let value = value.as_ref();
    let value = value.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default();
    let (scheme, rest) = match value.windows(3).position(|three| three == b"://") {
        Some(at) => value.split_at(at + 3),
        // No scheme: what is before the last `@` may be a secret.
        None => (&[][..], value.rsplit(|&byte| byte == b'@').next().unwrap_or_default()),
    };
    let path = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
    let userinfo = rest[..path].iter().rposition(|&byte| byte == b'@').map_or(0, |at| at + 1);
    let shown = [scheme, &rest[userinfo..]].concat();
    let shown = shown.escape_ascii().to_string();
    let cut = &shown[..shown.len().min(MAX_SHOWN)];
    let end = if cut.len() < shown.len() { "..." } else { "" };
    format!("{cut}{end}")
}

fn is_same(origin: &Origin, authority: &str) -> bool {
    let Some(origin) = origin.named().filter(|origin| origin.path.is_empty()) else {
        return false;
    };
    let Some(default) = default_port(&origin.scheme) else {
        return false; // browser extensions and the like are not pages of this server
    };
    Authority::parse(authority).is_ok_and(|host| {
        host.host == origin.host && host.port.unwrap_or(default) == origin.port.unwrap_or(default)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http::header::HOST;

    fn headers(host: &str, origins: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.append(HOST, HeaderValue::from_str(host).unwrap());
        for origin in origins {
            headers.append(ORIGIN, HeaderValue::from_bytes(origin).unwrap());
        }
        headers
    }

    fn ask(policy: &OriginPolicy, headers: &HeaderMap) -> Result<(), OriginError> {
        policy.allows(headers, headers[HOST].to_str().unwrap())
    }

    /// Whether it is allowed; if not, checks that it is refused with the right error.
    fn allows(policy: &OriginPolicy, headers: &HeaderMap) -> bool {
        match ask(policy, headers) {
            Ok(()) => true,
            Err(OriginError::NotAllowed(_)) => false,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn the_default_is_same_origin_rfc6455_10_2() {
        assert!(matches!(OriginPolicy::default(), OriginPolicy::SameOrigin));
        for (host, origin, result) in [
            ("example.com", "https://example.com", true),
            ("example.com", "http://example.com", true),
            ("Example.COM", "HTTPS://example.com:443", true),
            ("example.com:443", "https://example.com", true),
            ("example.com:8080", "http://example.com:8080", true),
            ("[::1]:9001", "http://[0:0::1]:9001", true),
            ("example.com", "http://example.com:8080", false),
            ("example.com:8080", "http://example.com", false),
            ("example.com", "https://example.com:80", false),
            ("example.com", "null", false), // Next.js CVE-2026-27977
            ("example.com", "", false),
            ("example.com", "https://evil-example.com", false),
            ("example.com", "https://example.com.evil.test", false),
            ("example.com", "https://sub.example.com", false),
            ("example.com", "https://example.com@evil.test", false),
            ("example.com", "https://evil.test@example.com", false),
            ("example.com", "https://example.com/", false),
            ("example.com", "https://example.com https://evil.test", false),
            ("example.com", "example.com", false),
            ("example.com", "//example.com", false),
            ("example.com", "://example.com", false),
            ("example.com", "chrome-extension://example.com", false),
            ("example.com", "file://", false),
            ("null", "null", false),
            ("exa mple.com", "https://example.com", false), // CVE-2026-61666: malformed Host
        ] {
            let headers = headers(host, &[origin.as_bytes()]);
            assert_eq!(allows(&OriginPolicy::SameOrigin, &headers), result, "{host} {origin}");
        }
    }

    #[test]
    fn without_an_origin_it_is_no_browser_rfc6455_10_2() {
        let headers = headers("example.com", &[]);
        for policy in [
            OriginPolicy::SameOrigin,
            OriginPolicy::Any,
            OriginPolicy::list(["https://a.test"]).unwrap(),
        ] {
            assert_eq!(ask(&policy, &headers), Ok(()));
        }
    }

    #[test]
    fn two_origins_are_refused() {
        let headers = headers("a.test", &[b"https://a.test", b"https://a.test"]);
        let refused = Err(OriginError::Duplicate);
        assert_eq!(ask(&OriginPolicy::SameOrigin, &headers), refused);
        assert_eq!(ask(&OriginPolicy::list(["https://a.test"]).unwrap(), &headers), refused);
        assert_eq!(ask(&OriginPolicy::Any, &headers), Ok(()));
    }

    #[test]
    fn a_list_compares_scheme_host_and_port() {
        let policy =
            OriginPolicy::list(["https://A.test", "http://b.test:8080", "app://c"]).unwrap();
        for (origin, result) in [
            ("https://a.test", true),
            ("https://a.TEST:443", true),
            ("http://b.test:8080", true),
            ("app://c", true),
            ("http://a.test", false),
            ("https://a.test:444", false),
            ("http://b.test", false),
            ("app://c:1", false),
            ("https://xa.test", false),
            ("https://server.test", false), // its own pages must be named too
            ("null", false),
        ] {
            let headers = headers("server.test", &[origin.as_bytes()]);
            assert_eq!(allows(&policy, &headers), result, "{origin}");
        }
    }

    #[test]
    fn any_allows_null() {
        assert_eq!(ask(&OriginPolicy::Any, &headers("h", &[b"null"])), Ok(()));
    }

    /// webpack-dev-server CVE-2026-14631: a malformed `Origin` ended the process.
    #[test]
    fn every_byte_in_an_origin_is_refused_or_allowed_but_never_a_panic() {
        for byte in (0x20..=0xff).filter(|&byte| byte != 0x7f) {
            for origin in [&[byte][..], &[b"https://", &[byte][..]].concat()] {
                let headers = headers("host", &[origin]);
                assert!(!allows(&OriginPolicy::SameOrigin, &headers), "{origin:?}");
                let (_, shown) = ask(&OriginPolicy::SameOrigin, &headers)
                    .unwrap_err()
                    .to_string()
                    .split_once("Origin ")
                    .map(|(a, b)| (a.to_owned(), b.to_owned()))
                    .unwrap();
                assert!(shown.is_ascii(), "{shown}");
            }
        }
    }

    /// "the Origin is not allowed" made operators search for hours: a proxy had rewritten `Host`,
    /// and nothing showed it.
    #[test]
    fn a_refusal_names_both_sides_without_secrets() {
        let list = OriginPolicy::list(["https://a.test"]).unwrap();
        let never = OriginPolicy::predicate(|_, _| false);
        for (policy, origin, reason) in [
            (
                &OriginPolicy::SameOrigin,
                "https://a.test",
                "the Origin https://a.test is not that of the Host backend:8080",
            ),
            (&list, "https://b.test", "the Origin https://b.test is not among those allowed here"),
            (&never, "null", "the Origin null is not allowed here"),
            (
                &never,
                "http://user:secret@device/x?secret#secret",
                "the Origin http://device/x is not allowed here",
            ),
            (&list, "a#secret", "the Origin a is not among those allowed here"),
            (&list, "user:secret@a", "the Origin a is not among those allowed here"),
            (&list, "http:/user:secret@a/", "the Origin a/ is not among those allowed here"),
        ] {
            let headers = headers("backend:8080", &[origin.as_bytes()]);
            assert_eq!(ask(policy, &headers).unwrap_err().to_string(), reason);
        }
        for long in [[b'a'; 10_000], [0xFF; 10_000]] {
            let reason = ask(&list, &headers("h", &[&long])).unwrap_err().to_string();
            assert!(reason.len() < 200, "{reason}");
        }
        assert_eq!(list.to_string(), "https://a.test");
        assert_eq!(OriginPolicy::SameOrigin.to_string(), "the Host");
    }

    /// A tenant for each subdomain of a table, origins by header: what no list can say.
    #[test]
    fn a_predicate_sees_the_origin_as_sent_and_the_headers() {
        let policy = OriginPolicy::predicate(|origin, headers| {
            origin == "https://A.test/x" && headers[HOST] == "h"
        });
        assert!(allows(&policy, &headers("h", &[b"https://A.test/x"])));
        assert!(allows(&policy, &headers("h", &[])), "it is not asked without an Origin");
        assert!(!allows(&policy, &headers("g", &[b"https://A.test/x"])));
        let never_asked = OriginPolicy::predicate(|_, _| panic!("asked"));
        assert!(!allows(&never_asked, &headers("h", &[b"\xff"])));
        assert!(!allows(&never_asked, &headers("h", &[b"a b"])));
        assert_eq!(ask(&never_asked, &headers("h", &[b"a", b"b"])), Err(OriginError::Duplicate));
        assert_eq!(format!("{never_asked:?}"), "Predicate(OriginPredicate)");
    }
}
