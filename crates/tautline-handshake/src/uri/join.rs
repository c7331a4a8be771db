//! References that are relative to a URI (RFC 3986 section 5).

use super::{UriError, WsUri, parse_resource};

impl WsUri {
    /// Resolves a reference, such as the `Location` of a redirection (RFC 9110 section 10.2.2),
    /// against this URI (RFC 3986 section 5.2).
    ///
    /// `http` and `https` stand for `ws` and `wss`. The reference's fragment is dropped, since a
    /// request has none. The credentials of this URI stay with its [origin](Self::same_origin): the
    /// result has them if it is of the same one.
    ///
    /// ```
    /// use tautline_handshake::WsUri;
    ///
    /// let uri = WsUri::parse("wss://user:password@example.com/a/b?c")?;
    /// assert_eq!(uri.join("../d?e")?.to_string(), "wss://example.com/d?e");
    /// assert!(uri.join("/d")?.authorization().is_some());
    /// let other = uri.join("https://example.org/feed")?;
    /// assert_eq!(other.to_string(), "wss://example.org/feed");
    /// assert!(other.authorization().is_none());
    /// # Ok::<(), tautline_handshake::UriError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse); [`UriError::Credentials`] if the reference itself has a user name
    /// or a password.
    pub fn join(&self, reference: &str) -> Result<Self, UriError> {
        if reference.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(UriError::ControlOrSpace);
        }
        let reference = reference.split('#').next().unwrap_or_default();
        if reference.contains('\\') {
            return Err(UriError::Backslash);
        }
        let own = if self.secure { "wss" } else { "ws" };
        let (scheme, rest) = match scheme(reference) {
            Some((scheme, rest)) => (websocket_scheme(scheme)?, rest),
            None if reference.starts_with("//") => (own, reference),
            None => return self.with_resource(reference),
        };
        let rest = rest.strip_prefix("//").ok_or(UriError::Scheme)?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, resource) = rest.split_at(end);
        if authority.contains('@') {
            return Err(UriError::Credentials);
        }
        let (path, query) = split_query(resource);
        let text = format!("{scheme}://{authority}{}{query}", without_dots(path));
        let mut joined = Self::parse(&text)?;
        if self.same_origin(&joined) {
            joined.authorization.clone_from(&self.authorization);
        }
        Ok(joined)
    }

    /// Whether both have the same scheme, host and port (RFC 6454 section 5). The zone of an IPv6
    /// address is a part of its host.
    ///
    /// ```
    /// use tautline_handshake::WsUri;
    ///
    /// let uri = WsUri::parse("wss://example.com/feed")?;
    /// assert!(uri.same_origin(&WsUri::parse("wss://EXAMPLE.com:443/")?));
    /// assert!(!uri.same_origin(&WsUri::parse("ws://example.com:443/feed")?));
    /// # Ok::<(), tautline_handshake::UriError>(())
    /// ```
    #[must_use]
    pub fn same_origin(&self, other: &Self) -> bool {
        let origin = |uri: &Self| (uri.secure, uri.port());
        let host = (&self.authority.host, self.zone());
        origin(self) == origin(other) && host == (&other.authority.host, other.zone())
    }

    /// The same server, asked for this path and query, which are relative to those of this URI.
    fn with_resource(&self, reference: &str) -> Result<Self, UriError> {
        let (own_path, own_query) = split_query(self.path_and_query());
        let resource = match split_query(reference) {
            ("", "") => format!("{own_path}{own_query}"),
            ("", query) => format!("{own_path}{query}"),
            (path, query) if path.starts_with('/') => format!("{}{query}", without_dots(path)),
            (path, query) => {
                let parent = own_path.rfind('/').map_or("/", |slash| &own_path[..=slash]);
                format!("{}{query}", without_dots(&format!("{parent}{path}")))
            }
        };
        Ok(Self { path_and_query: parse_resource(&resource)?, ..self.clone() })
    }
}

/// The scheme of a reference that has one, and what follows its colon (RFC 3986 section 3.1).
fn scheme(reference: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = reference.split_once(':')?;
    let valid = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    valid.then_some((scheme, rest))
}

fn websocket_scheme(scheme: &str) -> Result<&'static str, UriError> {
    let is = |names: [&str; 2]| names.iter().any(|name| scheme.eq_ignore_ascii_case(name));
    if is(["ws", "http"]) {
        Ok("ws")
    } else if is(["wss", "https"]) {
        Ok("wss")
    } else {
        Err(UriError::Scheme)
    }
}

/// The query with its question mark.
fn split_query(resource: &str) -> (&str, &str) {
    resource.split_at(resource.find('?').unwrap_or(resource.len()))
}

/// RFC 3986 section 5.2.4, for a path that is empty or absolute.
fn without_dots(path: &str) -> String {
    let mut segments = Vec::new();
    let mut rest = path.split('/').skip(1).peekable();
    while let Some(segment) = rest.next() {
        let dots = match segment {
            "." => true,
            ".." => {
                segments.pop();
                true
            }
            _ => {
                segments.push(segment);
                false
            }
        };
        // What ends in dots is a directory.
        if dots && rest.peek().is_none() {
            segments.push("");
        }
    }
    segments.iter().flat_map(|segment| ["/", segment]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(base: &str, reference: &str) -> Result<String, UriError> {
        Ok(WsUri::parse(base).unwrap().join(reference)?.to_string())
    }

    // The examples of the RFC that have a meaning for a URI with an authority.
    #[test]
    fn references_are_resolved_as_rfc3986_5_4_says() {
        for (reference, expected) in [
            ("ws:/x", Err(UriError::Scheme)),
            ("g", Ok("ws://a/b/c/g")),
            ("./g", Ok("ws://a/b/c/g")),
            ("g/", Ok("ws://a/b/c/g/")),
            ("/g", Ok("ws://a/g")),
            ("//g", Ok("ws://g/")),
            ("?y", Ok("ws://a/b/c/d;p?y")),
            ("g?y", Ok("ws://a/b/c/g?y")),
            ("#s", Ok("ws://a/b/c/d;p?q")),
            ("g#s", Ok("ws://a/b/c/g")),
            ("g?y#s", Ok("ws://a/b/c/g?y")),
            (";x", Ok("ws://a/b/c/;x")),
            ("", Ok("ws://a/b/c/d;p?q")),
            (".", Ok("ws://a/b/c/")),
            ("./", Ok("ws://a/b/c/")),
            ("..", Ok("ws://a/b/")),
            ("../g", Ok("ws://a/b/g")),
            ("../..", Ok("ws://a/")),
            ("../../../g", Ok("ws://a/g")),
            ("/./g", Ok("ws://a/g")),
            ("/../g", Ok("ws://a/g")),
            ("g.", Ok("ws://a/b/c/g.")),
            ("..g", Ok("ws://a/b/c/..g")),
            ("./g/.", Ok("ws://a/b/c/g/")),
            ("g/../h", Ok("ws://a/b/c/h")),
            ("g;x=1/../y", Ok("ws://a/b/c/y")),
            ("g?y/../x", Ok("ws://a/b/c/g?y/../x")),
            ("a:b/c", Err(UriError::Scheme)),
            ("./a:b", Ok("ws://a/b/c/a:b")),
        ] {
            let joined = joined("ws://a/b/c/d;p?q", reference);
            assert_eq!(joined.as_deref().map_err(|error| *error), expected, "{reference:?}");
        }
    }

    #[test]
    fn a_reference_names_a_websocket_or_is_refused() {
        for (reference, expected) in [
            ("http://h/x", Ok("ws://h/x")),
            ("HTTPS://H:443", Ok("wss://h/")),
            ("ws://h:80?q", Ok("ws://h/?q")),
            ("wss://h/a/../b#f", Ok("wss://h/b")),
            ("//h:81/", Ok("wss://h:81/")),
            ("/caf\u{e9}", Ok("wss://a/caf%C3%A9")),
            ("ftp://h/", Err(UriError::Scheme)),
            ("ws+unix:///run/x.sock", Err(UriError::Scheme)),
            ("javascript:alert(1)", Err(UriError::Scheme)),
            ("//", Err(UriError::Host)),
            ("///x", Err(UriError::Host)),
            ("http://user:password@h/", Err(UriError::Credentials)),
            ("//user@h/", Err(UriError::Credentials)),
            ("//a@/", Err(UriError::Credentials)),
            ("/%4", Err(UriError::PercentEncoding)),
            ("\\\\h\\x", Err(UriError::Backslash)),
            ("//h\\@evil/", Err(UriError::Backslash)),
            ("/a b", Err(UriError::ControlOrSpace)),
            ("/\r\nx: y", Err(UriError::ControlOrSpace)),
        ] {
            let joined = joined("wss://a/", reference);
            assert_eq!(joined.as_deref().map_err(|error| *error), expected, "{reference:?}");
        }
    }

    // ws 8 and python's websockets 16.0 sent them wherever a redirection led.
    #[test]
    fn credentials_stay_with_their_origin() {
        let uri = WsUri::parse("ws://user:password@a:81/x").unwrap();
        for (reference, kept) in [
            ("y", true),
            ("?y", true),
            ("//a:81/y", true),
            ("http://A:81/y", true),
            ("//a/y", false),
            ("https://a:81/", false),
            ("//b:81/", false),
            ("//a.b:81/", false),
        ] {
            let joined = uri.join(reference).unwrap();
            assert_eq!(joined.authorization().is_some(), kept, "{reference}");
            assert_eq!(joined.same_origin(&uri), kept, "{reference}");
        }
    }

    #[test]
    fn addresses_of_different_networks_are_different_servers() {
        let uri = |text: &str| WsUri::parse(text).unwrap();
        let one = uri("ws://[fe80::1%25eth0]/");
        assert!(one.same_origin(&uri("ws://[fe80::1%25eth0]:80/x")));
        assert!(!one.same_origin(&uri("ws://[fe80::1%25eth1]/")));
        assert!(!one.same_origin(&uri("ws://[fe80::1]/")));
    }
}
