//! How a proxy names a client (RFC 7239 section 6).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A client, as a proxy names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// With port 0 if none is told.
    Addr(SocketAddr),
    /// `unknown`, a name of the proxy's own, or nothing that can be read.
    Unknown,
}

impl Node {
    /// Reads `v4`, `v4:port`, `[v6]`, `[v6]:port`, and `v6` as `X-Forwarded-For` has it. The port may
    /// be a name of the proxy's own.
    pub(super) fn parse(text: &str) -> Self {
        Self::addr(text).map_or(Self::Unknown, Self::Addr)
    }

    fn addr(text: &str) -> Option<SocketAddr> {
        if let Ok(ip) = text.parse::<Ipv6Addr>() {
            return Some((ip, 0).into());
        }
        let (ip, rest): (IpAddr, &str) = match text.strip_prefix('[') {
            Some(inner) => {
                let (ip, rest) = inner.split_once(']')?;
                (ip.parse::<Ipv6Addr>().ok()?.into(), rest)
            }
            None => {
                let (ip, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
                (ip.parse::<Ipv4Addr>().ok()?.into(), rest)
            }
        };
        let port = match rest.strip_prefix(':') {
            None if rest.is_empty() => 0,
            None => return None,
            Some(port) if port.starts_with('_') => 0,
            // `u16::from_str` would accept a sign.
            Some(port) if !port.bytes().all(|byte| byte.is_ascii_digit()) => return None,
            Some(port) => port.parse().ok()?,
        };
        Some(SocketAddr::new(ip, port))
    }
}
