//! Which redirections are followed, and what is no longer sent then. Decisions only, without I/O.

use std::fmt;

use http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, LOCATION, PROXY_AUTHORIZATION};
use http::{HeaderValue, StatusCode};
use tautline_handshake::{UriError, WsUri};

/// Why a redirection was not followed: see [`Client::redirects`](crate::Client::redirects).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RedirectError {
    /// There was one more than allowed. Servers that redirect to each other end like this.
    #[non_exhaustive]
    TooMany {
        /// How many are followed.
        limit: u32,
    },
    /// From `wss` to `ws`: what was encrypted would be sent in plain text.
    Insecure,
    /// The `Location` is not the URI of a WebSocket server, or has a user name or a password (RFC
    /// 9110 section 4.2.4).
    Location(UriError),
}

/// This level only: [`source`](std::error::Error::source) has the next.
impl fmt::Display for RedirectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany { limit } => write!(f, "the limit is {limit}"),
            Self::Insecure => f.write_str("it leads from wss to ws"),
            Self::Location(_) => f.write_str("its location cannot be used"),
        }
    }
}

impl std::error::Error for RedirectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Location(error) => Some(error),
            Self::TooMany { .. } | Self::Insecure => None,
        }
    }
}

/// How many redirections are followed, and how many have been.
#[derive(Clone, Copy, Debug)]
pub(super) struct Redirects {
    limit: u32,
    followed: u32,
}

/// Where a redirection leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) uri: WsUri,
    /// It is another server, which must not get what was meant for the first.
    pub(super) leaves_origin: bool,
    /// It names a host, which is reached over the network, also if the first was a Unix socket.
    pub(super) names_host: bool,
}

impl Redirects {
    pub(super) const fn new(limit: u32) -> Self {
        Self { limit, followed: 0 }
    }

    /// Where to ask next, after an answer to a request for `from`. `None` if it is not a
    /// redirection, or none is to be followed: then it is the result.
    pub(super) fn follow(
        &mut self,
        from: &WsUri,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<Option<Step>, RedirectError> {
        let Some(location) = location(status, headers).filter(|_| self.limit > 0) else {
            return Ok(None);
        };
        if self.followed == self.limit {
            return Err(RedirectError::TooMany { limit: self.limit });
        }
        let text = std::str::from_utf8(location.as_bytes());
        let text = text.map_err(|_| RedirectError::Location(UriError::PercentEncoding))?;
        let uri = from.join(text).map_err(RedirectError::Location)?;
        if from.is_secure() && !uri.is_secure() {
            return Err(RedirectError::Insecure);
        }
        self.followed += 1;
        Ok(Some(Step { leaves_origin: !uri.same_origin(from), names_host: names_host(text), uri }))
    }
}

/// The `Location` of a redirection that a client can follow by itself (RFC 9110 section 15.4). A
/// request for a WebSocket is a GET, so all of them mean the same. With several locations there is
/// none to choose.
fn location(status: StatusCode, headers: &HeaderMap) -> Option<&HeaderValue> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let mut all = headers.get_all(LOCATION).iter();
    all.next().filter(|_| all.next().is_none())
}

/// Whether a reference that was resolved has a scheme, or a host without one (RFC 3986 section 4.2).
fn names_host(reference: &str) -> bool {
    let first = reference.find([':', '/', '?', '#']).map(|at| &reference[at..]);
    reference.starts_with("//") || first.is_some_and(|rest| rest.starts_with(':'))
}

/// Removes what was meant for the server that redirects: credentials, and whatever is marked as
/// sensitive; `Host`, which names that server.
pub(super) fn drop_credentials(headers: &mut HeaderMap) {
    const OF_ONE_SERVER: [HeaderName; 4] =
        [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, http::header::HOST];
    let is_secret = |name: &HeaderName, values: &HeaderMap| {
        OF_ONE_SERVER.contains(name) || values.get_all(name).iter().any(HeaderValue::is_sensitive)
    };
    let secret: Vec<_> = headers.keys().filter(|name| is_secret(name, headers)).cloned().collect();
    for name in secret {
        headers.remove(name);
    }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;
    use crate::error::tests::assert_one_level_each;

    fn uri(text: &str) -> WsUri {
        WsUri::parse(text).expect("a URI")
    }

    fn answer(locations: &[&str]) -> HeaderMap {
        let line = |location: &&str| {
            let value = HeaderValue::from_bytes(location.as_bytes()).expect("a value");
            (LOCATION, value)
        };
        locations.iter().map(line).collect()
    }

    fn follow(from: &str, status: u16, locations: &[&str]) -> Result<Option<Step>, RedirectError> {
        let status = StatusCode::from_u16(status).expect("a status");
        Redirects::new(1).follow(&uri(from), status, &answer(locations))
    }

    #[test]
    fn what_is_followed_and_where_it_leads() {
        for (from, location, to, leaves_origin) in [
            ("ws://a/x", "/y?z", "ws://a/y?z", false),
            ("ws://a/x/", "y", "ws://a/x/y", false),
            ("ws://a/x/", "?y=a:b", "ws://a/x/?y=a:b", false),
            ("ws://a/x/", "./a:b", "ws://a/x/a:b", false),
            ("ws://a/x", "http://a:80/y", "ws://a:80/y", false),
            ("wss://a/x", "https://A/y#z", "wss://a/y", false),
            ("ws://a/x", "ws://b/x", "ws://b/x", true),
            ("ws://a/x", "ws://a:81/x", "ws://a:81/x", true),
            ("ws://a/x", "wss://a/x", "wss://a/x", true),
            ("ws://a:443/x", "wss://a/x", "wss://a/x", true),
            ("ws://a/x", "//a.b/x", "ws://a.b/x", true),
            ("ws://a/x", "/caf\u{e9}", "ws://a/caf%C3%A9", false),
        ] {
            for status in [301, 302, 303, 307, 308] {
                let names_host = location.contains("//");
                let step = Step { uri: uri(to), leaves_origin, names_host };
                assert_eq!(follow(from, status, &[location]), Ok(Some(step)), "{from} {location}");
            }
        }
    }

    #[test]
    fn other_answers_are_results() {
        for status in [200, 204, 300, 304, 305, 306, 400, 401, 500] {
            assert_eq!(follow("ws://a/", status, &["/y"]), Ok(None), "{status}");
        }
        assert_eq!(follow("ws://a/", 302, &[]), Ok(None));
        assert_eq!(follow("ws://a/", 302, &["/y", "/z"]), Ok(None));
        let off = Redirects::new(0).follow(&uri("ws://a/"), StatusCode::FOUND, &answer(&["/y"]));
        assert_eq!(off, Ok(None));
    }

    #[test]
    fn what_must_not_be_followed_is_named() {
        for (from, location, error) in [
            ("wss://a/", "ws://a/", RedirectError::Insecure),
            ("wss://a/", "http://b/", RedirectError::Insecure),
            ("ws://a/", "ftp://a/", RedirectError::Location(UriError::Scheme)),
            ("ws://a/", "ws+unix:/run/s", RedirectError::Location(UriError::Scheme)),
            ("ws://a/", "http://u:p@a/", RedirectError::Location(UriError::Credentials)),
            ("ws://a/", "//:80/", RedirectError::Location(UriError::Host)),
        ] {
            assert_eq!(follow(from, 302, &[location]), Err(error), "{from} {location}");
            assert_one_level_each(&error);
        }
    }

    #[test]
    fn there_is_a_bound() {
        let mut redirects = Redirects::new(2);
        let mut next = || redirects.follow(&uri("ws://a/"), StatusCode::FOUND, &answer(&["/"]));
        assert!(next().is_ok() && next().is_ok());
        assert_eq!(next(), Err(RedirectError::TooMany { limit: 2 }));
    }

    // ws 8 and python's websockets 16.0 sent them to other hosts.
    #[test]
    fn what_is_secret_is_dropped() {
        let mut headers = HeaderMap::new();
        for name in ["authorization", "cookie", "proxy-authorization", "host", "origin", "x-tag"] {
            headers.insert(name, HeaderValue::from_static("value"));
        }
        let mut key = HeaderValue::from_static("key");
        headers.append("x-key", key.clone());
        key.set_sensitive(true);
        headers.append("x-key", key);
        drop_credentials(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["origin", "x-tag"]);
    }
}
