//! Which web pages may connect (RFC 6455 section 10.2, RFC 6454).

use std::fmt;
use std::str::FromStr;

use http::HeaderMap;
use http::header::{HOST, ORIGIN};

use crate::authority::Authority;
use crate::error::HandshakeError;
use crate::token::{Lines, lines, trim_ows};

/// An origin: scheme, host and port (RFC 6454 section 4).
///
/// Two are equal when all three are: host and scheme whatever their case, a missing port as the default
/// of the scheme.
///
/// ```
/// use tautline_handshake::Origin;
///
/// let origin: Origin = "https://Example.com:443".parse()?;
/// assert_eq!(origin, "https://example.com".parse()?);
/// # Ok::<(), tautline_handshake::InvalidOrigin>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    /// Reads `scheme://host[:port]` and nothing more: no userinfo, no path, not `null`.
    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let (scheme, rest) = text.split_once("://").ok_or(InvalidOrigin)?;
        let mut bytes = scheme.bytes();
        let alphabetic = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic());
        let is_scheme_byte =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        if !alphabetic || !bytes.all(is_scheme_byte) {
            return Err(InvalidOrigin);
        }
        let scheme = scheme.to_ascii_lowercase();
        let Authority { host, port } = Authority::parse(rest).map_err(|_| InvalidOrigin)?;
        let port = port.or_else(|| default_port(&scheme));
        Ok(Self { scheme, host, port })
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// The text is not `scheme://host[:port]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InvalidOrigin;

impl fmt::Display for InvalidOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an origin must read scheme://host or scheme://host:port")
    }
}

impl std::error::Error for InvalidOrigin {}

/// Which pages may connect. Cookies and other credentials of a browser come with every connection,
/// whichever page opens it; so a server that trusts them must look at the `Origin` (RFC 6455
/// section 10.2).
///
/// A request without `Origin` does not come from a browser's page and is always allowed: whoever can
/// leave the header out could as well invent it.
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use tautline_handshake::{HandshakeError, OriginPolicy};
///
/// let mut headers = HeaderMap::new();
/// headers.insert("host", HeaderValue::from_static("example.com"));
/// headers.insert("origin", HeaderValue::from_static("https://evil-example.com"));
/// let refused = Err(HandshakeError::OriginNotAllowed);
/// assert_eq!(OriginPolicy::SameOrigin.allows(&headers), refused);
/// assert_eq!(OriginPolicy::list(["https://evil-example.com"])?.allows(&headers), Ok(()));
/// # Ok::<(), tautline_handshake::InvalidOrigin>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OriginPolicy {
    /// Pages of this very server: the `Origin` is `http` or `https`, and its host and port are those of
    /// `Host`. The scheme itself is not compared, as a server behind a proxy that ends TLS cannot know
    /// its own; a missing port is the default of the origin's scheme. The default.
    #[default]
    SameOrigin,
    /// Any page, sandboxed ones (`Origin: null`) included. For public services, which give every page
    /// the same, and for those that authenticate by other means than cookies.
    Any,
    /// These origins and no others; the server's own pages must be named too.
    List(Vec<Origin>),
}

impl OriginPolicy {
    /// A [`List`](Self::List) of origins written as `scheme://host[:port]`.
    ///
    /// # Errors
    ///
    /// [`InvalidOrigin`] when one is not.
    pub fn list<I>(origins: I) -> Result<Self, InvalidOrigin>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let origins = origins.into_iter().map(|origin| origin.as_ref().parse());
        Ok(Self::List(origins.collect::<Result<_, _>>()?))
    }

    /// Decides about a request with these headers.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::OriginNotAllowed`] for an origin that the policy does not allow, `null` and
    /// malformed ones included; [`HandshakeError::DuplicateOrigin`] for two of them. Both are 403. `Any`
    /// looks at nothing.
    pub fn allows(&self, headers: &HeaderMap) -> Result<(), HandshakeError> {
        if *self == Self::Any {
            return Ok(());
        }
        let value = match lines(headers, &ORIGIN) {
            Lines::None => return Ok(()),
            Lines::One(value) => trim_ows(value.as_bytes()),
            Lines::Several => return Err(HandshakeError::DuplicateOrigin),
        };
        let origin = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        let origin: Origin = origin.ok_or(HandshakeError::OriginNotAllowed)?;
        let allowed = match self {
            Self::Any => true,
            Self::SameOrigin => is_same(&origin, headers),
            Self::List(origins) => origins.contains(&origin),
        };
        if allowed { Ok(()) } else { Err(HandshakeError::OriginNotAllowed) }
    }
}

fn is_same(origin: &Origin, headers: &HeaderMap) -> bool {
    let Some(default) = default_port(&origin.scheme) else {
        return false; // browser extensions and the like are not pages of this server
    };
    let Lines::One(host) = lines(headers, &HOST) else {
        return false;
    };
    let host = std::str::from_utf8(trim_ows(host.as_bytes())).ok();
    let host = host.and_then(|host| Authority::parse(host).ok());
    host.is_some_and(|host| {
        host.host == origin.host && host.port.unwrap_or(default) == origin.port.unwrap_or(default)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(host: &str, origins: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.append(HOST, HeaderValue::from_str(host).unwrap());
        for origin in origins {
            headers.append(ORIGIN, HeaderValue::from_bytes(origin).unwrap());
        }
        headers
    }

    const REFUSED: Result<(), HandshakeError> = Err(HandshakeError::OriginNotAllowed);

    #[test]
    fn the_default_is_same_origin_rfc6455_10_2() {
        assert_eq!(OriginPolicy::default(), OriginPolicy::SameOrigin);
        for (host, origin, result) in [
            ("example.com", "https://example.com", Ok(())),
            ("example.com", "http://example.com", Ok(())),
            ("Example.COM", "HTTPS://example.com:443", Ok(())),
            ("example.com:443", "https://example.com", Ok(())),
            ("example.com:8080", "http://example.com:8080", Ok(())),
            ("[::1]:9001", "http://[0:0::1]:9001", Ok(())),
            ("example.com", "http://example.com:8080", REFUSED),
            ("example.com:8080", "http://example.com", REFUSED),
            ("example.com", "https://example.com:80", REFUSED),
            ("example.com", "null", REFUSED), // Next.js CVE-2026-27977
            ("example.com", "", REFUSED),
            ("example.com", "https://evil-example.com", REFUSED),
            ("example.com", "https://example.com.evil.test", REFUSED),
            ("example.com", "https://sub.example.com", REFUSED),
            ("example.com", "https://example.com@evil.test", REFUSED),
            ("example.com", "https://evil.test@example.com", REFUSED),
            ("example.com", "https://example.com/", REFUSED),
            ("example.com", "https://example.com https://evil.test", REFUSED),
            ("example.com", "example.com", REFUSED),
            ("example.com", "//example.com", REFUSED),
            ("example.com", "://example.com", REFUSED),
            ("example.com", "chrome-extension://example.com", REFUSED),
            ("example.com", "file://", REFUSED),
            ("null", "null", REFUSED),
            ("exa mple.com", "https://example.com", REFUSED), // CVE-2026-61666: malformed Host
        ] {
            let headers = headers(host, &[origin.as_bytes()]);
            assert_eq!(OriginPolicy::SameOrigin.allows(&headers), result, "{host} {origin}");
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
            assert_eq!(policy.allows(&headers), Ok(()));
        }
    }

    #[test]
    fn two_origins_are_refused() {
        let headers = headers("a.test", &[b"https://a.test", b"https://a.test"]);
        let refused = Err(HandshakeError::DuplicateOrigin);
        assert_eq!(OriginPolicy::SameOrigin.allows(&headers), refused);
        assert_eq!(OriginPolicy::list(["https://a.test"]).unwrap().allows(&headers), refused);
        assert_eq!(OriginPolicy::Any.allows(&headers), Ok(()));
    }

    #[test]
    fn a_list_compares_scheme_host_and_port() {
        let policy =
            OriginPolicy::list(["https://A.test", "http://b.test:8080", "app://c"]).unwrap();
        for (origin, result) in [
            ("https://a.test", Ok(())),
            ("https://a.TEST:443", Ok(())),
            ("http://b.test:8080", Ok(())),
            ("app://c", Ok(())),
            ("http://a.test", REFUSED),
            ("https://a.test:444", REFUSED),
            ("http://b.test", REFUSED),
            ("app://c:1", REFUSED),
            ("https://xa.test", REFUSED),
            ("https://server.test", REFUSED), // its own pages must be named too
            ("null", REFUSED),
        ] {
            let headers = headers("server.test", &[origin.as_bytes()]);
            assert_eq!(policy.allows(&headers), result, "{origin}");
        }
    }

    #[test]
    fn any_allows_null() {
        assert_eq!(OriginPolicy::Any.allows(&headers("h", &[b"null"])), Ok(()));
    }

    /// webpack-dev-server CVE-2026-14631: a malformed `Origin` ended the process.
    #[test]
    fn every_byte_in_an_origin_is_refused_or_allowed_but_never_a_panic() {
        for byte in (0x20..=0xff).filter(|&byte| byte != 0x7f) {
            for origin in [&[byte][..], &[b"https://", &[byte][..]].concat()] {
                let result = OriginPolicy::SameOrigin.allows(&headers("host", &[origin]));
                assert_eq!(result, REFUSED, "{origin:?}");
            }
        }
    }

    #[test]
    fn lists_refuse_what_is_not_an_origin() {
        for text in ["", "null", "*", "a.test", "https://a.test/", "https://*.a.test", "1http://a"]
        {
            assert_eq!(OriginPolicy::list([text]), Err(InvalidOrigin), "{text}");
        }
    }
}
