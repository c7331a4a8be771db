//! Who a request comes from, and which host it is for, as trusted proxies tell it: `Forwarded` (RFC
//! 7239), or `X-Forwarded-For`, `-Proto` and `-Host`.

mod element;
mod node;

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};
use tautline_handshake::ForwardedHost;

use self::element::Element;
use self::node::Node;
use crate::networks::Networks;
use crate::transport::Peer;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The proxies whose headers are believed, and which headers they write: for
/// [`Server::trusted_proxies`](crate::Server::trusted_proxies).
///
/// Each proxy appends the address that has connected to it. The list is read from the right, from the
/// connection itself on, for as long as the addresses are of these networks: the first other one is
/// the client. What is to the left of it was sent by the client, which can write anything.
///
/// There are two kinds of headers, and only those that you select are read: a proxy that writes one
/// kind passes on the other as the client has sent it.
///
/// ```
/// use tautline::{Networks, Peer, TrustedProxies};
///
/// let proxies = TrustedProxies::x_forwarded(Networks::parse(["10.0.0.0/8"])?);
/// let proxy = Peer::from("10.0.0.1:50000".parse::<std::net::SocketAddr>()?);
/// let mut headers = http::HeaderMap::new();
/// headers.insert("x-forwarded-for", "6.6.6.6, 192.0.2.7, 10.0.0.2".parse()?);
/// headers.insert("x-forwarded-proto", "https".parse()?);
/// let found = proxies.resolve(&proxy, &headers).expect("it is one of them");
/// assert_eq!(found.peer().addr().unwrap().ip().to_string(), "192.0.2.7");
/// assert!(found.peer().is_secure());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct TrustedProxies {
    networks: Networks,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Forwarded,
    XForwarded,
}

/// Who a request comes from, and which host it is for, as a trusted proxy tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarded {
    peer: Peer,
    host: Option<ForwardedHost>,
}

impl Forwarded {
    /// The client. Its address is unknown if the proxy does not tell it (RFC 7239 sections 6.2 and
    /// 6.3), or if what it tells is malformed; the port is 0 if it is not told. It is secure if its
    /// connection to the outermost trusted proxy is, or, where that is not told, that to this server.
    #[must_use]
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The host that the client asked for. `None` if it is not told or malformed: then it is that of
    /// the request.
    #[must_use]
    pub const fn host(&self) -> Option<&ForwardedHost> {
        self.host.as_ref()
    }

    pub(crate) fn into_parts(self) -> (Peer, Option<ForwardedHost>) {
        (self.peer, self.host)
    }
}

impl TrustedProxies {
    /// Proxies in these networks that write `Forwarded` (RFC 7239).
    #[must_use]
    pub const fn forwarded(networks: Networks) -> Self {
        Self { networks, kind: Kind::Forwarded }
    }

    /// Proxies in these networks that write `X-Forwarded-For`, and perhaps `X-Forwarded-Proto` and
    /// `X-Forwarded-Host`. They must append to the first, and replace or remove the others.
    #[must_use]
    pub const fn x_forwarded(networks: Networks) -> Self {
        Self { networks, kind: Kind::XForwarded }
    }

    /// What the headers of a request tell that came over this connection. `None` if the connection is
    /// not from a trusted proxy: then the headers are the client's own, and mean nothing.
    #[must_use]
    pub fn resolve(&self, connection: &Peer, headers: &HeaderMap) -> Option<Forwarded> {
        if !self.have(connection) {
            return None;
        }
        let hop = match self.kind {
            Kind::Forwarded => self.walk_forwarded(headers),
            Kind::XForwarded => self.walk_x_forwarded(headers),
        };
        let secure = hop.is_secure().unwrap_or(connection.is_secure());
        let peer = match hop.node {
            None => connection.clone(),
            Some(Node::Addr(addr)) => addr.into(),
            Some(Node::Unknown) => Peer::unknown(),
        };
        let host = hop.host.and_then(ForwardedHost::new);
        Some(Forwarded { peer: peer.with_secure(secure), host })
    }

    fn trusts(&self, node: &Node) -> bool {
        matches!(node, Node::Addr(addr) if self.networks.contains(addr.ip()))
    }

    /// Whether the peer is one of them.
    pub(crate) fn have(&self, peer: &Peer) -> bool {
        self.networks.have(peer)
    }

    fn walk_forwarded(&self, headers: &HeaderMap) -> Hop {
        let mut last = Hop::default();
        for line in headers.get_all(FORWARDED).iter().rev() {
            // A line in which one element breaks the grammar tells nothing: what is to the right of an
            // open quote may be part of what a client has sent.
            let Some(elements) = element::parse(line.as_bytes()) else {
                return Hop { node: Some(Node::Unknown), ..Hop::default() };
            };
            for Element { node, proto, host } in elements.into_iter().rev() {
                let node = node.map_or(Node::Unknown, |node| Node::parse(&node));
                let goes_on = self.trusts(&node);
                last = Hop { node: Some(node), proto, host };
                if !goes_on {
                    return last;
                }
            }
        }
        last
    }

    fn walk_x_forwarded(&self, headers: &HeaderMap) -> Hop {
        let mut hops = 0;
        let mut last = None;
        for member in members(headers, &FOR) {
            let node = std::str::from_utf8(member).map_or(Node::Unknown, Node::parse);
            let goes_on = self.trusts(&node);
            last = Some(node);
            hops += 1;
            if !goes_on {
                break;
            }
        }
        let value = |name| of_hop(headers, name, hops.max(1));
        Hop { node: last, proto: value(&PROTO), host: value(&HOST) }
    }
}

/// What the outermost trusted proxy tells of its client.
#[derive(Default)]
struct Hop {
    /// `None` if no proxy told anything.
    node: Option<Node>,
    proto: Option<String>,
    host: Option<String>,
}

impl Hop {
    fn is_secure(&self) -> Option<bool> {
        let is = |name: &str| self.proto.as_ref().is_some_and(|is| is.eq_ignore_ascii_case(name));
        match () {
            () if is("https") || is("wss") => Some(true),
            () if is("http") || is("ws") => Some(false),
            () => None,
        }
    }
}

/// The members of a list, from the right.
fn members<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(name).iter().rev();
    let members = lines.flat_map(|line| line.as_bytes().rsplit(|&byte| byte == b','));
    members.map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// The value that the proxy wrote which is this many hops away: the only one, or, where each has
/// appended its own, that many from the right.
fn of_hop(headers: &HeaderMap, name: &HeaderName, hops: usize) -> Option<String> {
    let mut members = members(headers, name);
    let first = members.next()?;
    let value = match hops {
        1 => first,
        // One value replaces those of all other hops.
        _ => members.next().map_or(Some(first), |second| match hops {
            2 => Some(second),
            _ => members.nth(hops - 3),
        })?,
    };
    String::from_utf8(value.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn proxies(kind: Kind) -> TrustedProxies {
        let networks = Networks::parse(["10.0.0.0/8", "fd00::/8"]).unwrap();
        TrustedProxies { networks, kind }
    }

    fn at(addr: &str) -> Peer {
        Peer::from(addr.parse::<SocketAddr>().unwrap())
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    /// The address, whether it is secure, and the host, as found behind a proxy at 10.0.0.1.
    fn found(kind: Kind, lines: &[(&str, &str)]) -> (String, bool, Option<String>) {
        let found = proxies(kind).resolve(&at("10.0.0.1:40000"), &headers(lines)).unwrap();
        let host = found.host().map(|host| host.as_str().to_owned());
        (found.peer().to_string(), found.peer().is_secure(), host)
    }

    #[test]
    fn forwarded_is_read_from_the_right_up_to_the_first_address_that_is_no_proxys_rfc7239() {
        for (lines, client) in [
            (&["for=192.0.2.7"][..], "192.0.2.7:0"),
            (&["for=\"192.0.2.7:50000\""], "192.0.2.7:50000"),
            (&["FOR=192.0.2.7;Proto=HTTPS"], "192.0.2.7:0"),
            (&["for=\"[2001:db8::1]\""], "[2001:db8::1]:0"),
            (&["for=\"[2001:db8::1]:50000\""], "[2001:db8::1]:50000"),
            (&["for=\"[2001:db8::1]:_port\""], "[2001:db8::1]:0"),
            (&["for=\"[::ffff:192.0.2.7]:1\""], "[::ffff:192.0.2.7]:1"),
            // Proxies that do not quote what should be.
            (&["for=[2001:db8::1]:1"], "[2001:db8::1]:1"),
            // Through two proxies, and three, in one line and in several.
            (&["for=192.0.2.7, for=10.0.0.2"], "192.0.2.7:0"),
            (&["for=192.0.2.7, for=\"[fd00::2]:1\"", "for=10.0.0.2"], "192.0.2.7:0"),
            (&["for=192.0.2.7", "for=10.0.0.3, for=10.0.0.2"], "192.0.2.7:0"),
            // What the client itself sent is to the left of it.
            (&["for=6.6.6.6, for=192.0.2.7"], "192.0.2.7:0"),
            (&["for=10.0.0.9", "for=6.6.6.6", "for=192.0.2.7, for=10.0.0.2"], "192.0.2.7:0"),
            (&["for=\"unterminated", "for=192.0.2.7"], "192.0.2.7:0"),
            // Nobody but proxies.
            (&["for=10.0.0.3, for=10.0.0.2"], "10.0.0.3:0"),
            (&[], "10.0.0.1:40000"),
            (&[""], "10.0.0.1:40000"),
            (&[", ,"], "10.0.0.1:40000"),
            // Not told.
            (&["for=unknown"], "unknown"),
            (&["for=\"unknown:50000\""], "unknown"),
            (&["for=_hidden"], "unknown"),
            (&["for=192.0.2.7, for=_proxy"], "unknown"),
            (&["by=10.0.0.1;proto=http"], "unknown"),
        ] {
            let lines: Vec<_> = lines.iter().map(|&line| ("forwarded", line)).collect();
            assert_eq!(found(Kind::Forwarded, &lines).0, client, "{lines:?}");
        }
    }

    // A client sends `for="` so that the quote swallows what the proxy appends, or a host that closes
    // the proxy's quote.
    #[test]
    fn a_forwarded_that_breaks_the_grammar_tells_no_address() {
        for line in [
            "for=\", for=192.0.2.7",
            "for=6.6.6.6, for=\", for=\"192.0.2.7\"",
            "for=192.0.2.7;host=\"a, for=6.6.6.6;x=\"\"",
            "for=192.0.2.7;host=\"a\" , for=\"6.6.6.6",
            "for=6.6.6.6;for=192.0.2.7",
            "for",
            "for=",
            "=192.0.2.7",
            "for =192.0.2.7",
            "for= 192.0.2.7",
            "for=192.0.2.7 for=6.6.6.6",
            "for=192.0.2.7\\",
            "for=\"192.0.2.7\\",
            "192.0.2.7",
            "for=192.0.2.\u{e9}",
        ] {
            let found = found(Kind::Forwarded, &[("forwarded", line)]);
            assert_eq!(found, ("unknown".into(), false, None), "{line}");
        }
        for node in ["192.0.2.256", "192.0.2.7:", "192.0.2.7:70000", "192.0.2.7:-1", "[::1", "::1]"]
        {
            let line = format!("for=\"{node}\"");
            assert_eq!(found(Kind::Forwarded, &[("forwarded", &line)]).0, "unknown", "{line}");
        }
    }

    #[test]
    fn forwarded_tells_scheme_and_host_of_the_outermost_trusted_proxy() {
        for (line, secure, host) in [
            ("for=192.0.2.7;proto=https;host=app.example", true, Some("app.example")),
            ("for=192.0.2.7; host=\"app.example:8443\"", false, Some("app.example:8443")),
            ("for=192.0.2.7;host=\"app\\.example\"", false, Some("app.example")),
            ("for=192.0.2.7;host=app.example:8443", false, Some("app.example:8443")),
            // The client's own connection, not that between the proxies.
            (
                "for=6.6.6.6;proto=https;host=evil, for=192.0.2.7;proto=http;host=app, \
                 for=10.0.0.2;proto=https;host=inner",
                false,
                Some("app"),
            ),
            ("for=192.0.2.7, for=10.0.0.2;proto=https;host=inner", false, None),
            ("for=192.0.2.7;host=\"a/b\"", false, None),
            ("for=192.0.2.7;host=\"a@b\"", false, None),
            ("for=192.0.2.7;proto=gopher", false, None),
        ] {
            let (_, is_secure, forwarded) = found(Kind::Forwarded, &[("forwarded", line)]);
            assert_eq!((is_secure, forwarded.as_deref()), (secure, host), "{line}");
        }
        let secure = at("10.0.0.1:1").with_secure(true);
        for (line, kept) in [("for=192.0.2.7", true), ("for=192.0.2.7;proto=http", false)] {
            let headers = headers(&[("forwarded", line)]);
            let found = proxies(Kind::Forwarded).resolve(&secure, &headers).unwrap();
            assert_eq!(found.peer().is_secure(), kept, "{line}");
        }
    }

    #[test]
    fn x_forwarded_for_is_read_from_the_right_as_well() {
        for (lines, client) in [
            (&["192.0.2.7"][..], "192.0.2.7:0"),
            (&["192.0.2.7:50000"], "192.0.2.7:50000"),
            (&["2001:db8::1"], "[2001:db8::1]:0"),
            (&["[2001:db8::1]"], "[2001:db8::1]:0"),
            (&["[2001:db8::1]:50000"], "[2001:db8::1]:50000"),
            (&["6.6.6.6, 192.0.2.7"], "192.0.2.7:0"),
            (&["garbage\", 192.0.2.7 ,10.0.0.2"], "192.0.2.7:0"),
            (&["6.6.6.6", "192.0.2.7", "10.0.0.3,fd00::2"], "192.0.2.7:0"),
            (&["192.0.2.7,,", ""], "192.0.2.7:0"),
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3:0"),
            (&[], "10.0.0.1:40000"),
            (&["unknown"], "unknown"),
            (&["192.0.2.7, garbage"], "unknown"),
            (&["192.0.2.7, \"10.0.0.2\""], "unknown"),
            (&["192.0.2.7 10.0.0.2"], "unknown"),
            (&["\u{e9}"], "unknown"),
        ] {
            let lines: Vec<_> = lines.iter().map(|&line| ("x-forwarded-for", line)).collect();
            assert_eq!(found(Kind::XForwarded, &lines).0, client, "{lines:?}");
        }
    }

    #[test]
    fn x_forwarded_proto_and_host_are_of_the_outermost_trusted_proxy() {
        for (lines, secure, host) in [
            (
                &[("x-forwarded-proto", "https"), ("x-forwarded-host", "app:1")][..],
                true,
                Some("app:1"),
            ),
            (&[("x-forwarded-proto", "wss")], true, None),
            (&[("x-forwarded-proto", "ws")], false, None),
            // Two hops: one value for both, or one of each.
            (
                &[("x-forwarded-for", "192.0.2.7, 10.0.0.2"), ("x-forwarded-proto", "https")],
                true,
                None,
            ),
            (
                &[
                    ("x-forwarded-for", "6.6.6.6, 192.0.2.7, 10.0.0.2"),
                    ("x-forwarded-proto", "http, https, http"),
                    ("x-forwarded-host", "evil, app, inner"),
                ],
                true,
                Some("app"),
            ),
            (
                &[
                    ("x-forwarded-for", "192.0.2.7, 10.0.0.3, 10.0.0.2"),
                    ("x-forwarded-host", "evil, app, inner, innermost"),
                ],
                false,
                Some("app"),
            ),
            (
                &[
                    ("x-forwarded-for", "192.0.2.7, 10.0.0.3, 10.0.0.2"),
                    ("x-forwarded-host", "inner, innermost"),
                ],
                false,
                None,
            ),
            (
                &[("x-forwarded-for", "192.0.2.7"), ("x-forwarded-host", "evil, app")],
                false,
                Some("app"),
            ),
            (&[("x-forwarded-host", "a/b")], false, None),
        ] {
            let (_, is_secure, forwarded) = found(Kind::XForwarded, lines);
            assert_eq!((is_secure, forwarded.as_deref()), (secure, host), "{lines:?}");
        }
    }

    // What a proxy does not write, it passes on as the client sent it.
    #[test]
    fn only_headers_of_the_selected_kind_and_only_from_proxies_count() {
        let lines = &[("forwarded", "for=6.6.6.6;proto=https;host=evil")];
        let untouched = ("10.0.0.1:40000".to_owned(), false, None);
        assert_eq!(found(Kind::XForwarded, lines), untouched);
        let others = &[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-host", "evil")];
        assert_eq!(found(Kind::Forwarded, others), untouched);
        for peer in [at("192.0.2.7:1"), at("[2001:db8::1]:1"), Peer::unknown()] {
            assert_eq!(proxies(Kind::Forwarded).resolve(&peer, &headers(lines)), None);
            assert_eq!(proxies(Kind::XForwarded).resolve(&peer, &headers(others)), None);
        }
        let mapped = at("[::ffff:10.0.0.1]:1");
        assert!(proxies(Kind::Forwarded).resolve(&mapped, &headers(lines)).is_some());
    }

    // RFC 9110 section 5.3 lets a proxy join lines; a client fills a head with them.
    #[test]
    fn a_head_full_of_elements_is_read_once() {
        let line = vec!["for=10.0.0.2"; 10_000].join(",");
        assert_eq!(found(Kind::Forwarded, &[("forwarded", &line)]).0, "10.0.0.2:0");
        let line = vec!["10.0.0.2"; 10_000].join(",");
        assert_eq!(found(Kind::XForwarded, &[("x-forwarded-for", &line)]).0, "10.0.0.2:0");
    }
}
