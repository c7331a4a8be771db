//! `ws:` and `wss:` URIs (RFC 6455 section 3).

mod error;
mod join;
mod zone;

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
#[cfg(feature = "http1")]
use bytes::{BufMut as _, BytesMut};
use http::header::HeaderValue;
use http::uri::PathAndQuery;

pub use self::error::UriError;
use crate::authority::{Authority, AuthorityError};

/// The longest URI that is accepted, in bytes: the longest that the `http` crate's `Uri` holds.
pub const MAX_URI_LEN: usize = 65_534;

/// The target of a connection: a `ws:` or `wss:` URI, checked and taken apart (RFC 6455 section 3).
///
/// ```
/// use tautline_handshake::WsUri;
///
/// let uri = WsUri::parse("wss://example.com/feed?since=7")?;
/// assert!(uri.is_secure());
/// assert_eq!((uri.host(), uri.port()), ("example.com", 443));
/// assert_eq!(uri.path_and_query(), "/feed?since=7");
/// # Ok::<(), tautline_handshake::UriError>(())
/// ```
///
/// How a URI is read:
///
/// - The scheme is `ws` or `wss` in any case; nothing else is accepted, not even `http` and
///   `https`.
/// - A fragment is refused (section 3: a `#` of the resource name must be written `%23`).
/// - The host is lowercased. A name that is not ASCII needs the feature `idna`.
/// - The zone of an IPv6 address, such as `ws://[fe80::1%25eth0]/`, is kept apart
///   ([`zone`](Self::zone)).
/// - An empty path is `/`. Dot segments are left as they are.
/// - Characters of the path and the query that are not ASCII, and `"` `<` `>` `^` `` ` `` `{` `|`
///   `}`, are percent-encoded as browsers do. Control characters, spaces and `\` are refused, as is
///   a `%` without two hexadecimal digits after it.
/// - `user:password@` becomes Basic credentials ([`authorization`](Self::authorization)).
///
/// `Display` and `Debug` never show the credentials, and `Debug` hides the query too: tokens are
/// sent in it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct WsUri {
    secure: bool,
    authority: Authority,
    zone: Option<Box<str>>,
    path_and_query: PathAndQuery,
    authorization: Option<HeaderValue>,
}

impl WsUri {
    /// Reads a URI.
    ///
    /// # Errors
    ///
    /// A [`UriError`] for the first rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        if text.len() > MAX_URI_LEN {
            return Err(UriError::TooLong);
        }
        // Any of them would be the first mistake: one walk finds it.
        match text.bytes().find(|&byte| byte <= b' ' || byte == 0x7f || byte == b'#') {
            None => {}
            Some(b'#') => return Err(UriError::Fragment),
            Some(_) => return Err(UriError::ControlOrSpace),
        }
        let (secure, rest) = split_scheme(text).ok_or(UriError::Scheme)?;
        let ends = |byte| matches!(byte, b'/' | b'?' | b'\\');
        let end = rest.bytes().position(ends).unwrap_or(rest.len());
        let (authority, resource) = rest.split_at(end);
        let (userinfo, host_port) = match authority.bytes().rposition(|byte| byte == b'@') {
            Some(at) => (&authority[..at], &authority[at + 1..]),
            None => ("", authority),
        };
        let (host_port, zone) = zone::split(host_port)?;
        Ok(Self {
            secure,
            authority: parse_authority(&host_port)?,
            zone: zone.map(Into::into),
            path_and_query: parse_resource(resource)?,
            authorization: parse_userinfo(userinfo)?,
        })
    }

    /// Whether the scheme is `wss`: the connection must use TLS.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host in lower case; an IPv6 address has no brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.authority.host
    }

    /// The zone of the host, if that is an IPv6 address with one: the network interface of this
    /// machine at which the address is, as a name or a number. It is written as in RFC 6874
    /// section 2, `[fe80::1%25eth0]`, and it is not sent to anybody (section 4 there), since it
    /// says nothing on another machine.
    ///
    /// ```
    /// use tautline_handshake::WsUri;
    ///
    /// let uri = WsUri::parse("ws://[fe80::1%25eth0]:9001/")?;
    /// assert_eq!((uri.host(), uri.zone()), ("fe80::1", Some("eth0")));
    /// assert_eq!(uri.authority_for_host_header(), "[fe80::1]:9001");
    /// # Ok::<(), tautline_handshake::UriError>(())
    /// ```
    #[must_use]
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// The port, or the scheme's default: 80 for `ws`, 443 for `wss`.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.authority.port.unwrap_or(self.default_port())
    }

    /// The resource name (RFC 6455 section 3): the path, which always starts with `/`, and the
    /// query.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        self.path_and_query.as_str()
    }

    /// The value of `Host`, with the port only if it is not the scheme's default, an IPv6 address
    /// in brackets (RFC 6455 section 4.1, requirement 4).
    #[must_use]
    pub fn authority_for_host_header(&self) -> String {
        let host = self.authority.bracketed();
        match self.port() {
            port if port == self.default_port() => host.into_owned(),
            // Nothing is formatted: each connection asks for this.
            port => [&host, ":", &port.to_string()].concat(),
        }
    }

    /// Appends [`authority_for_host_header`](Self::authority_for_host_header) to `dst`.
    #[cfg(feature = "http1")]
    pub(crate) fn put_authority(&self, dst: &mut BytesMut) {
        dst.put_slice(self.authority.bracketed().as_bytes());
        if self.port() != self.default_port() {
            dst.put_u8(b':');
            dst.put_slice(self.port().to_string().as_bytes());
        }
    }

    /// The value of `Authorization` that the URI's `user:password@` asks for: Basic,
    /// percent-decoded (RFC 7617 section 2), marked as sensitive. `None` when the URI has no
    /// userinfo.
    #[must_use]
    pub const fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// The same URI without its user name and password, for when they were sent otherwise, or must
    /// not be sent.
    #[must_use]
    pub fn without_credentials(mut self) -> Self {
        self.authorization = None;
        self
    }

    const fn default_port(&self) -> u16 {
        if self.secure { 443 } else { 80 }
    }

    pub(crate) fn request_target(&self) -> http::Uri {
        http::Uri::from(self.path_and_query.clone())
    }
}

impl FromStr for WsUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        Self::parse(text)
    }
}

impl TryFrom<&str> for WsUri {
    type Error = UriError;

    fn try_from(text: &str) -> Result<Self, UriError> {
        Self::parse(text)
    }
}

/// The URI must be absolute, with the scheme `ws` or `wss`.
impl TryFrom<&http::Uri> for WsUri {
    type Error = UriError;

    fn try_from(uri: &http::Uri) -> Result<Self, UriError> {
        Self::parse(&uri.to_string())
    }
}

/// The URI must be absolute, with the scheme `ws` or `wss`.
impl TryFrom<http::Uri> for WsUri {
    type Error = UriError;

    fn try_from(uri: http::Uri) -> Result<Self, UriError> {
        Self::try_from(&uri)
    }
}

impl fmt::Display for WsUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "wss" } else { "ws" };
        write!(f, "{scheme}://{}{}", self.authority_for_host_header(), self.path_and_query)
    }
}

impl fmt::Debug for WsUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "wss" } else { "ws" };
        let (host, path) = (self.authority_for_host_header(), self.path_and_query.path());
        let query = self.path_and_query.query().map_or("", |_| "?...");
        write!(f, "WsUri({scheme}://{host}{path}{query})")
    }
}

/// Whether the scheme is `wss`, and what follows it: `ws` and `wss` in letters of either case.
fn split_scheme(text: &str) -> Option<(bool, &str)> {
    let after = |scheme: &str| {
        let (start, rest) = text.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    after("ws://").map(|rest| (false, rest)).or_else(|| after("wss://").map(|rest| (true, rest)))
}

fn parse_authority(text: &str) -> Result<Authority, UriError> {
    let parsed = if text.is_ascii() {
        Authority::parse(text)
    } else {
        Authority::parse(&international(text)?)
    };
    parsed.map_err(|error| match error {
        AuthorityError::Host => UriError::Host,
        AuthorityError::Port => UriError::Port,
    })
}

/// `host:port` with the host in its ASCII form (RFC 5890).
#[cfg(feature = "idna")]
fn international(text: &str) -> Result<String, UriError> {
    let (host, port) = text.find(':').map_or((text, ""), |colon| text.split_at(colon));
    let host = idna::domain_to_ascii_cow(host.as_bytes(), idna::AsciiDenyList::URL)
        .map_err(|_| UriError::Host)?;
    Ok(format!("{host}{port}"))
}

#[cfg(not(feature = "idna"))]
fn international(_text: &str) -> Result<String, UriError> {
    Err(UriError::InternationalHost)
}

fn parse_resource(text: &str) -> Result<PathAndQuery, UriError> {
    // Most servers have one endpoint: nothing is allocated for this, nor for its copies.
    if text.is_empty() || text == "/" {
        return Ok(PathAndQuery::from_static("/"));
    }
    let mut encoded = String::with_capacity(text.len() + 1);
    if !text.starts_with('/') {
        encoded.push('/');
    }
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => return Err(UriError::Backslash),
            b'%' => {
                let mut ahead = bytes.clone();
                if !matches!((ahead.next(), ahead.next()), (Some(a), Some(b)) if is_hex(a) && is_hex(b))
                {
                    return Err(UriError::PercentEncoding);
                }
                encoded.push('%');
            }
            b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80.. => {
                encoded.push('%');
                encoded.push(char::from(HEX[usize::from(byte >> 4)]));
                encoded.push(char::from(HEX[usize::from(byte & 15)]));
            }
            _ => encoded.push(char::from(byte)),
        }
    }
    // What is left is visible ASCII; only the length can be wrong.
    PathAndQuery::try_from(encoded).map_err(|_| UriError::TooLong)
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

const fn is_hex(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
}

fn parse_userinfo(text: &str) -> Result<Option<HeaderValue>, UriError> {
    if text.is_empty() {
        return Ok(None);
    }
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let user = percent_decode(user)?;
    let password = percent_decode(password)?;
    // RFC 7617 section 2: no control characters in either, no colon in the user's name.
    if user.contains(&b':') || user.iter().chain(&password).any(u8::is_ascii_control) {
        return Err(UriError::Userinfo);
    }
    let credentials = [&user[..], b":", &password[..]].concat();
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(credentials)))
        .map_err(|_| UriError::Userinfo)?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn percent_decode(text: &str) -> Result<Vec<u8>, UriError> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(UriError::PercentEncoding);
        };
        decoded.push((high * 16 + low) as u8);
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_of_http_is_read_as_its_text_is() {
        for text in ["ws://h", "wss://u:p@H:444/p?q", "ws://[::1]:80/"] {
            let uri: http::Uri = text.parse().unwrap();
            let expected = WsUri::parse(text);
            assert_eq!(WsUri::try_from(&uri), expected);
            assert_eq!(WsUri::try_from(uri), expected);
            assert_eq!(WsUri::try_from(text), expected);
        }
        for (text, error) in [
            ("/chat", UriError::Scheme),
            ("h:80", UriError::Scheme),
            ("https://h/", UriError::Scheme),
            ("ws://h:0/", UriError::Port),
            ("ws://h/%", UriError::PercentEncoding),
        ] {
            assert_eq!(WsUri::try_from(text.parse::<http::Uri>().unwrap()), Err(error), "{text}");
        }
    }

    #[test]
    fn parts_of_rfc6455_3() {
        for (text, secure, host, port, path, header) in [
            ("ws://example.com", false, "example.com", 80, "/", "example.com"),
            ("WSS://Example.COM/", true, "example.com", 443, "/", "example.com"),
            ("ws://example.com:80/a", false, "example.com", 80, "/a", "example.com"),
            ("ws://example.com:443/a", false, "example.com", 443, "/a", "example.com:443"),
            ("wss://example.com:80?q", true, "example.com", 80, "/?q", "example.com:80"),
            ("ws://example.com:?q=/?", false, "example.com", 80, "/?q=/?", "example.com"),
            ("ws://[::1]:9001/a/../b", false, "::1", 9001, "/a/../b", "[::1]:9001"),
            ("wss://[2001:DB8::1]", true, "2001:db8::1", 443, "/", "[2001:db8::1]"),
            ("ws://127.0.0.1:9001//x", false, "127.0.0.1", 9001, "//x", "127.0.0.1:9001"),
            ("ws://h/@:x", false, "h", 80, "/@:x", "h"),
        ] {
            let uri = WsUri::parse(text).unwrap();
            assert_eq!(uri.is_secure(), secure, "{text}");
            assert_eq!(uri.host(), host, "{text}");
            assert_eq!(uri.port(), port, "{text}");
            assert_eq!(uri.path_and_query(), path, "{text}");
            assert_eq!(uri.authority_for_host_header(), header, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_a_websocket_uri_is_refused_by_name() {
        for (text, error) in [
            ("", UriError::Scheme),
            ("example.com", UriError::Scheme),
            ("http://example.com", UriError::Scheme),
            ("https://example.com", UriError::Scheme),
            ("ws:example.com", UriError::Scheme),
            ("ws:/example.com", UriError::Scheme),
            ("ws+unix:///tmp/s", UriError::Scheme),
            ("ws://", UriError::Host),
            ("ws:///path", UriError::Host),
            ("ws://:80", UriError::Host),
            ("ws://user@", UriError::Host),
            ("ws://a,b/", UriError::Host),
            ("ws://[::1/", UriError::Host),
            ("ws://[fe80::1%eth0]/", UriError::Host),
            ("ws://h:0", UriError::Port),
            ("ws://h:65536", UriError::Port),
            ("ws://h:-1", UriError::Port),
            ("ws://h/#x", UriError::Fragment),
            ("ws://h#", UriError::Fragment),
            ("ws://h/a b", UriError::ControlOrSpace),
            (" ws://h/", UriError::ControlOrSpace),
            ("ws://h/\r\nX: y", UriError::ControlOrSpace),
            ("ws://h\r\n/", UriError::ControlOrSpace),
            ("ws://h/\0", UriError::ControlOrSpace),
            ("ws://h/\x7f", UriError::ControlOrSpace),
            ("ws://h/%", UriError::PercentEncoding),
            ("ws://h/%4", UriError::PercentEncoding),
            ("ws://h/?%zz", UriError::PercentEncoding),
            ("ws://h\\@evil/", UriError::Backslash),
            ("ws://u%3Ax:p@h/", UriError::Userinfo),
            ("ws://u:p%0D%0A@h/", UriError::Userinfo),
            ("ws://u%:p@h/", UriError::PercentEncoding),
            ("ws://u%\u{e9}0@h/", UriError::PercentEncoding),
        ] {
            assert_eq!(WsUri::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn length_is_bounded() {
        let text = format!("ws://h/{}", "a".repeat(MAX_URI_LEN));
        assert_eq!(WsUri::parse(&text), Err(UriError::TooLong));
        let text = format!("ws://h/{}", "é".repeat(MAX_URI_LEN / 3)); // over the limit once encoded
        assert_eq!(WsUri::parse(&text), Err(UriError::TooLong));
    }

    #[test]
    fn other_characters_of_the_resource_are_percent_encoded() {
        let uri = WsUri::parse("ws://h/é?q=\"<>^`{|}'%41").unwrap();
        assert_eq!(uri.path_and_query(), "/%C3%A9?q=%22%3C%3E%5E%60%7B%7C%7D'%41");
    }

    #[test]
    fn userinfo_becomes_basic_credentials_rfc7617_2() {
        for (text, credentials) in [
            ("ws://h/", None),
            ("ws://@h/", None),
            ("ws://Aladdin:open%20sesame@h/", Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")),
            ("ws://user@h/", Some("Basic dXNlcjo=")),
            ("ws://a:b:c@d@h/", Some("Basic YTpiOmNAZA==")),
        ] {
            let uri = WsUri::parse(text).unwrap();
            let value = uri.authorization().map(|value| value.to_str().unwrap());
            assert_eq!((uri.host(), value), ("h", credentials), "{text}");
        }
    }

    #[test]
    fn credentials_are_never_shown() {
        let uri = WsUri::parse("wss://user:secret@h:444/p?q").unwrap();
        assert_eq!(uri.to_string(), "wss://h:444/p?q");
        assert_eq!(format!("{uri:?}"), "WsUri(wss://h:444/p?...)");
        assert_eq!(format!("{:?}", uri.authorization().unwrap()), "Sensitive");
        assert_eq!(uri.without_credentials(), WsUri::parse("wss://h:444/p?q").unwrap());
    }

    #[cfg(not(feature = "idna"))]
    #[test]
    fn international_hosts_name_the_feature() {
        let error = WsUri::parse("ws://bücher.example/").unwrap_err();
        assert_eq!(error, UriError::InternationalHost);
        assert!(error.to_string().contains("`idna`"));
    }

    #[cfg(feature = "idna")]
    #[test]
    fn international_hosts_are_sent_in_ascii() {
        let uri = WsUri::parse("ws://BÜCHER.example:81/").unwrap();
        assert_eq!(uri.authority_for_host_header(), "xn--bcher-kva.example:81");
        assert_eq!(WsUri::parse("ws://a\u{2100}b/"), Err(UriError::Host)); // maps to `a/c`
        assert_eq!(WsUri::parse("ws://\u{ad}/"), Err(UriError::Host)); // maps to nothing
    }
}
