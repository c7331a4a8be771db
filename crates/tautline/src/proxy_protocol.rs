//! The PROXY protocol of HAProxy, versions 1 and 2: the header by which a proxy tells who has
//! connected to it, ahead of everything else.
//!
//! It is read here and not by a library, since a parser for streams must know when more bytes cannot
//! help, and that ports are digits alone.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header: what a receiver must take, and room for what proxies add to addresses.
pub(crate) const MAX_HEADER: usize = 536;

/// The longest line of version 1, with its end.
const MAX_LINE: usize = 107;

/// What version 2 begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2: the signature, the command, the family, and the length of the rest.
const FIXED: usize = SIGNATURE.len() + 4;

/// What the bytes so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// All of them are a header's, and it is not complete.
    Partial,
    /// The header is the first `length` of them.
    Complete {
        length: usize,
        /// `None` if the connection is the proxy's own, or the address is not one of IP.
        client: Option<SocketAddr>,
    },
}

/// Reads a header from the start of a connection.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, ProxyHeaderError> {
    match bytes.first() {
        None => Ok(Parsed::Partial),
        Some(b'P') => parse_line(bytes),
        Some(_) => parse_binary(bytes),
    }
}

/// Version 1: `PROXY TCP4 source destination port port`.
fn parse_line(bytes: &[u8]) -> Result<Parsed, ProxyHeaderError> {
    const START: &[u8] = b"PROXY ";
    let known = bytes.len().min(START.len());
    if bytes[..known] != START[..known] {
        return Err(ProxyHeaderError::Missing);
    }
    let limit = bytes.len().min(MAX_LINE);
    let Some(end) = bytes[..limit].iter().position(|&byte| byte == b'\n') else {
        return if limit < MAX_LINE { Ok(Parsed::Partial) } else { Err(ProxyHeaderError::TooLong) };
    };
    let line = bytes[START.len()..end].strip_suffix(b"\r").ok_or(ProxyHeaderError::Malformed)?;
    let line = std::str::from_utf8(line).map_err(|_| ProxyHeaderError::Malformed)?;
    let client = parse_addresses(line).ok_or(ProxyHeaderError::Malformed)?;
    Ok(Parsed::Complete { length: end + 1, client })
}

/// What comes after `PROXY `: `None` if it is malformed, and within that if the client is unknown.
fn parse_addresses(line: &str) -> Option<Option<SocketAddr>> {
    let mut words = line.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(None); // whatever follows is to be ignored
    }
    let parts = [words.next()?, words.next()?, words.next()?, words.next()?];
    let [source, destination, port, other_port] = parts;
    let source: IpAddr = source.parse().ok()?;
    let destination: IpAddr = destination.parse().ok()?;
    let is_v4 = match family {
        "TCP4" => true,
        "TCP6" => false,
        _ => return None,
    };
    let fits = source.is_ipv4() == is_v4 && destination.is_ipv4() == is_v4;
    let port = parse_port(port)?;
    parse_port(other_port)?;
    (fits && words.next().is_none()).then_some(Some(SocketAddr::new(source, port)))
}

/// Digits without a leading zero: `u16::from_str` would accept a sign.
fn parse_port(digits: &str) -> Option<u16> {
    let leading_zero = digits.len() > 1 && digits.starts_with('0');
    if leading_zero || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// Version 2.
fn parse_binary(bytes: &[u8]) -> Result<Parsed, ProxyHeaderError> {
    let known = bytes.len().min(SIGNATURE.len());
    if bytes[..known] != SIGNATURE[..known] {
        return Err(ProxyHeaderError::Missing);
    }
    let Some((&[command, family, high, low], rest)) = bytes[known..].split_first_chunk::<4>()
    else {
        return Ok(Parsed::Partial);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if FIXED + length > MAX_HEADER {
        return Err(ProxyHeaderError::TooLong);
    }
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(ProxyHeaderError::Malformed),
    };
    let Some(addresses) = rest.get(..length) else { return Ok(Parsed::Partial) };
    // The length of each family's addresses; what comes after them is extensions.
    let client = match family {
        _ if is_local => None,
        0x11 => Some(v4(addresses).ok_or(ProxyHeaderError::Malformed)?),
        0x21 => Some(v6(addresses).ok_or(ProxyHeaderError::Malformed)?),
        // Unspecified, datagrams, Unix sockets: accepted, and the address ignored.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => None,
        _ => return Err(ProxyHeaderError::Malformed),
    };
    Ok(Parsed::Complete { length: FIXED + length, client })
}

/// Two addresses and two ports, of which the client's come first.
fn v4(bytes: &[u8]) -> Option<SocketAddr> {
    let (&ip, rest) = bytes.split_first_chunk::<4>()?;
    let (&[_, _, _, _, high, low, _, _], _) = rest.split_first_chunk::<8>()?;
    Some((Ipv4Addr::from(ip), u16::from_be_bytes([high, low])).into())
}

fn v6(bytes: &[u8]) -> Option<SocketAddr> {
    let (&ip, rest) = bytes.split_first_chunk::<16>()?;
    let (&ports, _) = rest.get(16..)?.split_first_chunk::<4>()?;
    Some((Ipv6Addr::from(ip), u16::from_be_bytes([ports[0], ports[1]])).into())
}

/// Why a connection from a network whose proxies must send the header of the PROXY protocol was
/// refused: see [`Server::proxy_protocol`](crate::Server::proxy_protocol).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProxyHeaderError {
    /// The connection does not begin with the header of either version.
    Missing,
    /// The header breaks its grammar.
    Malformed,
    /// The header is longer than 107 bytes (version 1) or 536 (version 2).
    TooLong,
}

impl fmt::Display for ProxyHeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "the connection does not begin with a PROXY header",
            Self::Malformed => "the PROXY header is malformed",
            Self::TooLong => "the PROXY header is too long",
        })
    }
}

impl std::error::Error for ProxyHeaderError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// What these bytes are, whatever comes after them and however they arrive.
    fn whole(header: &[u8]) -> Result<Option<SocketAddr>, ProxyHeaderError> {
        let followed = [header, b"\x16\x03\x01GET"].concat();
        let parsed = parse(&followed)?;
        for end in 0..header.len() {
            assert_eq!(parse(&header[..end]), Ok(Parsed::Partial), "{end} of {header:?}");
        }
        match parsed {
            Parsed::Complete { length, client } => {
                assert_eq!(length, header.len());
                Ok(client)
            }
            Parsed::Partial => panic!("{header:?} is complete"),
        }
    }

    fn binary(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, addresses].concat()
    }

    #[test]
    fn lines_of_version_1() {
        let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let unknown = format!("PROXY UNKNOWN {longest} {longest} 65535 65535\r\n");
        assert_eq!(unknown.len(), MAX_LINE);
        for (line, client) in [
            ("PROXY TCP4 192.0.2.7 10.0.0.1 50000 443\r\n", Some("192.0.2.7:50000")),
            ("PROXY TCP4 255.255.255.255 10.0.0.1 0 65535\r\n", Some("255.255.255.255:0")),
            ("PROXY TCP6 2001:db8::1 ::1 65535 443\r\n", Some("[2001:db8::1]:65535")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN what ever\r\n", None),
            (&unknown, None),
        ] {
            let client = client.map(|client| client.parse().unwrap());
            assert_eq!(whole(line.as_bytes()), Ok(client), "{line}");
        }
    }

    #[test]
    fn malformed_lines_are_refused_at_their_end_at_the_latest() {
        for line in [
            "PROXY \r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP4 x\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 1\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 +1 2\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 1 -2\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 01 2\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 65536 2\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 1 2 3\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 1 2 \r\n",
            "PROXY TCP4  192.0.2.7 10.0.0.1 1 2\r\n",
            "PROXY TCP4 192.0.2.256 10.0.0.1 1 2\r\n",
            "PROXY TCP4 192.0.2.07 10.0.0.1 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP4 192.0.2.7 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.7 10.0.0.1 1 2\r\n",
            "PROXY TCP6 [::1] ::1 1 2\r\n",
            "PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n",
            "PROXY tcp4 192.0.2.7 10.0.0.1 1 2\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 1 2\n",
            "PROXY UNKNOWN\n",
        ] {
            assert_eq!(parse(line.as_bytes()), Err(ProxyHeaderError::Malformed), "{line:?}");
        }
        assert_eq!(parse(b"PROXY TCP4 \xff\r\n"), Err(ProxyHeaderError::Malformed));
        let endless = format!("PROXY UNKNOWN {}", "x".repeat(200));
        assert_eq!(parse(&endless.as_bytes()[..MAX_LINE - 1]), Ok(Parsed::Partial));
        assert_eq!(parse(&endless.as_bytes()[..MAX_LINE]), Err(ProxyHeaderError::TooLong));
        assert_eq!(parse(format!("{endless}\r\n").as_bytes()), Err(ProxyHeaderError::TooLong));
    }

    #[test]
    fn headers_of_version_2() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0xC3, 0x50, 1, 0xBB];
        let client: SocketAddr = "192.0.2.7:50000".parse().unwrap();
        assert_eq!(whole(&binary(0x21, 0x11, &v4)), Ok(Some(client)));
        let with_tlv = [&v4[..], &[0x04, 0, 3, 0, 0, 0]].concat();
        assert_eq!(whole(&binary(0x21, 0x11, &with_tlv)), Ok(Some(client)));
        assert_eq!(whole(&binary(0x20, 0x11, &v4)), Ok(None), "LOCAL");
        assert_eq!(whole(&binary(0x20, 0x00, &[])), Ok(None), "LOCAL");
        let source: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let v6 = [&source.octets()[..], &[0; 16], &[0xC3, 0x50, 1, 0xBB]].concat();
        let client: SocketAddr = "[2001:db8::1]:50000".parse().unwrap();
        assert_eq!(whole(&binary(0x21, 0x21, &v6)), Ok(Some(client)));
        for family in [0x00, 0x12, 0x22, 0x31, 0x32] {
            assert_eq!(whole(&binary(0x21, family, &[0; 216])), Ok(None), "{family:#x}");
        }
        assert_eq!(whole(&binary(0x21, 0x00, &[0; MAX_HEADER - FIXED])), Ok(None));
    }

    #[test]
    fn malformed_headers_of_version_2_are_refused() {
        for header in [
            binary(0x11, 0x11, &[0; 12]),
            binary(0x22, 0x11, &[0; 12]),
            binary(0x21, 0x13, &[0; 12]),
            binary(0x21, 0x41, &[0; 12]),
            binary(0x21, 0x11, &[0; 11]),
            binary(0x21, 0x21, &[0; 35]),
        ] {
            assert_eq!(parse(&header), Err(ProxyHeaderError::Malformed), "{header:?}");
        }
        // By its declared length, before it arrives.
        let long = binary(0x21, 0x11, &[0; MAX_HEADER - FIXED + 1]);
        assert_eq!(parse(&long[..FIXED]), Err(ProxyHeaderError::TooLong));
    }

    #[test]
    fn what_is_no_header_is_refused_at_its_first_wrong_byte() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\x16\x03\x01",
            b"PRI * HTTP/2.0\r\n",
            b"PUT",
            b"PROXY\t",
            b"proxy ",
            b"\r\n\r\n\x01",
            b"\0",
        ] {
            assert_eq!(parse(bytes), Err(ProxyHeaderError::Missing), "{bytes:?}");
        }
    }
}
