//! `host [ ":" port ]`, as in URIs, in `Host` and in `Origin` (RFC 3986 section 3.2).

use std::borrow::Cow;
use std::net::Ipv6Addr;

/// A host in lower case, without the brackets of an IPv6 address, and the port if there is one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Authority {
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
}

/// What is wrong with an authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuthorityError {
    Host,
    Port,
}

impl Authority {
    /// Reads `host`, `host:port`, `host:`, `[v6]`, `[v6]:port`; no userinfo, no percent-encoding.
    pub(crate) fn parse(text: &str) -> Result<Self, AuthorityError> {
        let (host, port) = split(text)?;
        let host = match host {
            Host::Name(name) => name.to_ascii_lowercase(),
            Host::Address(address) => address.to_string(),
        };
        Ok(Self { host, port })
    }

    /// Whether it can be parsed.
    pub(crate) fn is_valid(text: &str) -> bool {
        split(text).is_ok()
    }

    /// The host as written in a header: an IPv6 address in brackets.
    pub(crate) fn bracketed(&self) -> Cow<'_, str> {
        if self.host.contains(':') {
            Cow::Owned(format!("[{}]", self.host))
        } else {
            Cow::Borrowed(&self.host)
        }
    }
}

enum Host<'a> {
    Name(&'a str),
    Address(Ipv6Addr),
}

/// The host as written, and the port.
fn split(text: &str) -> Result<(Host<'_>, Option<u16>), AuthorityError> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(inner) => {
            let (address, rest) = inner.split_once(']').ok_or(AuthorityError::Host)?;
            (Host::Address(address.parse().map_err(|_| AuthorityError::Host)?), rest)
        }
        None => {
            let end = text.bytes().position(|byte| byte == b':').unwrap_or(text.len());
            let (name, rest) = text.split_at(end);
            if name.is_empty() || !name.bytes().all(is_host_byte) {
                return Err(AuthorityError::Host);
            }
            (Host::Name(name), rest)
        }
    };
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => None,
        None => return Err(AuthorityError::Host),
        Some("") => None, // RFC 3986 section 3.2.3: an empty port is the default one
        Some(digits) => Some(parse_port(digits).ok_or(AuthorityError::Port)?),
    };
    Ok((host, port))
}

/// The unreserved characters of RFC 3986 section 2.3: more than DNS allows, and nothing that could
/// end an authority or a header.
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Digits only: `u16::from_str` would accept a sign. Port 0 cannot be connected to.
fn parse_port(digits: &str) -> Option<u16> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|&port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_of_rfc3986_3_2() {
        for (text, host, port) in [
            ("example.com", "example.com", None),
            ("EXAMPLE.com:8080", "example.com", Some(8080)),
            ("example.com:", "example.com", None),
            ("my_host", "my_host", None),
            ("127.0.0.1:1", "127.0.0.1", Some(1)),
            ("[::1]", "::1", None),
            ("[0:0::0:1]:65535", "::1", Some(65535)),
        ] {
            let expected = Authority { host: host.into(), port };
            assert_eq!(Authority::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn malformed_authorities_are_refused() {
        for (text, error) in [
            ("", AuthorityError::Host),
            (":80", AuthorityError::Host),
            ("a b", AuthorityError::Host),
            ("a,b", AuthorityError::Host),
            ("a@b", AuthorityError::Host),
            ("a/b", AuthorityError::Host),
            ("a%41", AuthorityError::Host),
            ("a\r\nb", AuthorityError::Host),
            ("bücher", AuthorityError::Host),
            ("[::1", AuthorityError::Host),
            ("[::1]x", AuthorityError::Host),
            ("[::1%25eth0]", AuthorityError::Host),
            ("[v1.x]", AuthorityError::Host),
            ("::1", AuthorityError::Host),
            ("a:0", AuthorityError::Port),
            ("a:65536", AuthorityError::Port),
            ("a:+80", AuthorityError::Port),
            ("a:80:80", AuthorityError::Port),
            ("a:８０", AuthorityError::Port),
        ] {
            assert_eq!(Authority::parse(text), Err(error), "{text:?}");
        }
    }
}
