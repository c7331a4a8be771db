//! Origins as browsers and devices send them, and the lists that allow them (RFC 6454 sections 4 to
//! 7).

use std::fmt;
use std::str::FromStr;

use super::shown;
use crate::authority::Authority;

/// An origin: `null`, or scheme, host and port (RFC 6454 section 4). Some devices send a whole URL;
/// its path is then compared too.
///
/// Two origins are equal if all parts are: host and scheme regardless of case, a missing port as
/// the default of the scheme, the path exactly.
///
/// ```
/// use tautline_handshake::Origin;
///
/// let origin: Origin = "https://Example.com:443".parse()?;
/// assert_eq!(origin, "https://example.com".parse()?);
/// assert_eq!("chrome-extension://ABCD".parse::<Origin>()?.to_string(), "chrome-extension://abcd");
/// # Ok::<(), tautline_handshake::InvalidOrigin>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(Parts);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Parts {
    /// A sandboxed frame, a `data:` URL, or a local file in some browsers: no particular origin
    /// (RFC 6454 section 7.1).
    Null,
    Named(Named),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) scheme: String,
    /// Empty only for schemes other than the web's: `file://`.
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// Empty, as browsers send it, or starting with the slash.
    pub(super) path: String,
}

impl Origin {
    /// Like `from_str`, for values of peers, for which no error is needed.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "null" {
            return Some(Self(Parts::Null));
        }
        let (scheme, rest) = text.split_once("://")?;
        if !is_scheme(scheme) {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if !path.bytes().all(is_path_byte) {
            return None;
        }
        let (host, port) = match authority {
            "" if default_port(&scheme).is_none() => (String::new(), None),
            _ => {
                let authority = Authority::parse(authority).ok()?;
                (authority.host, authority.port.or_else(|| default_port(&scheme)))
            }
        };
        Some(Self(Parts::Named(Named { scheme, host, port, path: path.to_owned() })))
    }

    /// Its parts; `None` for `null`.
    pub(super) const fn named(&self) -> Option<&Named> {
        match &self.0 {
            Parts::Null => None,
            Parts::Named(named) => Some(named),
        }
    }
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    /// Reads `null` or `scheme://[host[:port]][/path]`; no userinfo, no fragment, and a host for
    /// `http` and `https`.
    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        Self::parse(text).ok_or_else(|| InvalidOrigin::new(text))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Parts::Null => f.write_str("null"),
            Parts::Named(Named { scheme, host, port, path }) => {
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                write!(f, "{scheme}://{host}")?;
                if let Some(port) = port.filter(|&port| default_port(scheme) != Some(port)) {
                    write!(f, ":{port}")?;
                }
                f.write_str(path)
            }
        }
    }
}

fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

/// What is allowed in paths and queries (RFC 3986 section 3.4), except what separates values in a
/// header.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'#' | b',' | b'\\' | b'"' | b'<' | b'>')
}

pub(super) fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// A text that is not an origin, nor a pattern with `*.` for subdomains. `Display` names it,
/// without userinfo and query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InvalidOrigin {
    shown: String,
}

impl InvalidOrigin {
    fn new(text: &str) -> Self {
        Self { shown: shown(text) }
    }
}

impl fmt::Display for InvalidOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "\"{}\" is not an origin: null, scheme://host, scheme://host:port or scheme://*.domain",
            self.shown
        )
    }
}

impl std::error::Error for InvalidOrigin {}

/// The origins that [`OriginPolicy::List`](super::OriginPolicy::List) allows, made by
/// [`OriginPolicy::list`](super::OriginPolicy::list).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginList(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Exact(Origin),
    /// `scheme://*.domain[:port]`: this is the origin of the domain, and its subdomains match.
    Subdomains(Named),
}

impl OriginList {
    pub(super) fn parse<I>(entries: I) -> Result<Self, InvalidOrigin>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let entries = entries.into_iter().map(|entry| {
            let text = entry.as_ref();
            Entry::parse(text).ok_or_else(|| InvalidOrigin::new(text))
        });
        Ok(Self(entries.collect::<Result<_, _>>()?))
    }

    /// Whether one of the entries allows this origin.
    #[must_use]
    pub fn contains(&self, origin: &Origin) -> bool {
        self.0.iter().any(|entry| entry.allows(origin))
    }
}

impl fmt::Display for OriginList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, entry) in self.0.iter().enumerate() {
            f.write_str(if number == 0 { "" } else { ", " })?;
            match entry {
                Entry::Exact(origin) => origin.fmt(f)?,
                Entry::Subdomains(domain) => {
                    let domain = Named { host: format!("*.{}", domain.host), ..domain.clone() };
                    Origin(Parts::Named(domain)).fmt(f)?;
                }
            }
        }
        Ok(())
    }
}

impl Entry {
    fn parse(text: &str) -> Option<Self> {
        let Some((scheme, domain)) = text.split_once("://*.") else {
            return Origin::parse(text).map(Self::Exact);
        };
        let origin = Origin::parse(&format!("{scheme}://{domain}"))?;
        let Parts::Named(domain) = origin.0 else { return None };
        let last = domain.host.rsplit('.').next().unwrap_or_default();
        // Addresses have no subdomains, and a pattern matches hosts, not pages.
        let is_name = last.bytes().any(|byte| byte.is_ascii_alphabetic())
            && !domain.host.starts_with('.')
            && !domain.host.contains(':');
        (is_name && domain.path.is_empty()).then_some(Self::Subdomains(domain))
    }

    fn allows(&self, origin: &Origin) -> bool {
        match (self, origin.named()) {
            (Self::Exact(allowed), named) => {
                allowed == origin
                    // A lone slash adds nothing: it means the origin too.
                    || matches!((allowed.named(), named), (Some(allowed), Some(named))
                        if allowed.path == "/" && named.path.is_empty()
                            && allowed.same_place(named))
            }
            (Self::Subdomains(_), None) => false,
            (Self::Subdomains(domain), Some(named)) => {
                let label = named.host.strip_suffix(&domain.host);
                let label = label.and_then(|rest| rest.strip_suffix('.'));
                label.is_some_and(|label| !label.is_empty())
                    && named.path.is_empty()
                    && (&named.scheme, named.port) == (&domain.scheme, domain.port)
            }
        }
    }
}

impl Named {
    fn same_place(&self, other: &Self) -> bool {
        (&self.scheme, &self.host, self.port) == (&other.scheme, &other.host, other.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(entry: &str, origin: &str) -> bool {
        let list = OriginList::parse([entry]).unwrap();
        origin.parse().is_ok_and(|origin| list.contains(&origin))
    }

    /// Applications in a shell of their own (Capacitor, Electron, VS Code, browser extensions),
    /// sandboxed frames, pages from a file and devices with a fixed URL could be let in only
    /// together with everybody else.
    #[test]
    fn origins_that_are_not_the_webs_are_allowed_by_name() {
        for name in [
            "null",
            "file://",
            "capacitor://localhost",
            "ionic://localhost",
            "app://-",
            "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
            "moz-extension://0c7e6b4e-64e9-4b6f-9f4c-0a7c5b7c5f0e",
            "vscode-webview://0pq3s9r1k",
            "http://device.local/index.html",
            "http://192.168.1.10/cgi?model=3",
        ] {
            assert!(allows(name, name), "{name}");
            assert_eq!(name.parse::<Origin>().unwrap().to_string(), name);
            for other in ["https://example.com", "chrome-extension://other", "file:///etc/passwd"] {
                assert!(!allows(name, other), "{name} allows {other}");
            }
        }
        assert!(allows("chrome-extension://ABC", "Chrome-Extension://abc"));
        assert!(!allows("http://device.local/index.html", "http://device.local"));
        assert!(!allows("http://device.local/index.html", "http://device.local/INDEX.html"));
        assert!(!allows("http://device.local", "http://device.local/"));
        assert!(!allows("capacitor://localhost", "http://localhost"));
    }

    /// A slash that was copied along with a URL would make an entry that allows nothing.
    #[test]
    fn an_entry_with_a_lone_slash_means_the_origin_too() {
        assert!(allows("https://a.test/", "https://a.test"));
        assert!(allows("https://a.test/", "https://a.test/"));
        assert!(!allows("https://a.test/", "https://a.test/x"));
    }

    /// `*.example.com` as a suffix let in `evil-example.com` elsewhere (webpack-dev-server).
    #[test]
    fn a_wildcard_stands_for_subdomains_and_for_nothing_else() {
        for (entry, origin, allowed) in [
            ("https://*.example.com", "https://a.example.com", true),
            ("https://*.example.com", "https://A.Example.COM:443", true),
            ("HTTPS://*.Example.com", "https://b.a.example.com", true),
            ("https://*.example.com:8443", "https://a.example.com:8443", true),
            ("https://*.example.com", "https://example.com", false),
            ("https://*.example.com", "https://evil-example.com", false),
            ("https://*.example.com", "https://.example.com", false),
            ("https://*.example.com", "https://a.example.com.evil.test", false),
            ("https://*.example.com", "https://a.example.com:444", false),
            ("https://*.example.com", "http://a.example.com", false),
            ("https://*.example.com", "https://a.example.com/x", false),
            ("https://*.example.com", "https://example.com@evil.test", false),
            ("https://*.example.com", "null", false),
        ] {
            assert_eq!(allows(entry, origin), allowed, "{entry} {origin}");
        }
    }

    #[test]
    fn lists_refuse_what_is_not_an_origin() {
        for text in [
            "",
            "*",
            "NULL",
            "a.test",
            "https://",
            "https:///x",
            "1http://a",
            "https://u@a.test",
            "https://a.test, https://b.test",
            "https://a.test#x",
            "https://a.test?x",
            "https://a.test/a b",
            "https://*",
            "https://*.",
            "https://*..a.test",
            "https://*.*.a.test",
            "https://a.*.test",
            "https://*.0.0.1",
            "https://*.[::1]",
            "https://*.a.test/",
            "data:text/html,x",
        ] {
            assert_eq!(OriginList::parse([text]), Err(InvalidOrigin::new(text)), "{text}");
        }
    }

    // With a list of twenty origins, the error did not say which one was wrong.
    #[test]
    fn an_error_names_the_entry_that_is_not_valid() {
        for (list, named) in [
            (["https://a.test", "b.test", "c.test"], "\"b.test\" is not an origin"),
            (["https://*.a.test", "https://*", "null"], "\"https://*\" is not an origin"),
            (["null", "http://user:secret@a", "x"], "\"http://a\" is not an origin"),
        ] {
            let error = OriginList::parse(list).unwrap_err().to_string();
            assert!(error.starts_with(named), "{error}");
        }
        let error = "b.test".parse::<Origin>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"b.test\" is not an origin: null, scheme://host, scheme://host:port or scheme://*.domain"
        );
    }

    #[test]
    fn a_list_is_shown_as_it_may_be_written() {
        let written = "null, https://*.a.test, http://b.test:8080, http://[::1]:1, file://";
        let list = OriginList::parse(written.split(", ")).unwrap();
        assert_eq!(list.to_string(), written);
    }
}
