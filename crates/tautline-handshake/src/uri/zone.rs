//! Zones of IPv6 addresses in URIs (RFC 6874).

use std::borrow::Cow;

use super::UriError;

/// Takes the zone out of `[address%25zone]:port`: what is left is what everybody else may see.
pub(super) fn split(authority: &str) -> Result<(Cow<'_, str>, Option<&str>), UriError> {
    let bracketed = authority.strip_prefix('[').and_then(|inner| inner.split_once(']'));
    let Some((address, zone, rest)) = bracketed
        .and_then(|(inside, rest)| inside.split_once("%25").map(|(ip, zone)| (ip, zone, rest)))
    else {
        return Ok((authority.into(), None));
    };
    if zone.is_empty() || !zone.bytes().all(is_zone_byte) {
        return Err(UriError::Host);
    }
    Ok((format!("[{address}]{rest}").into(), Some(zone)))
}

/// The unreserved characters of RFC 3986 section 2.3. Interfaces have no others in their names,
/// though RFC 6874 allows them percent-encoded.
fn is_zone_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use crate::{UriError, WsUri};

    #[test]
    fn a_zone_belongs_to_this_machine_and_is_not_sent() {
        for (text, host, zone, header) in [
            ("ws://[fe80::1%25eth0]/", "fe80::1", Some("eth0"), "[fe80::1]"),
            ("ws://[FE80::1%253]:81/", "fe80::1", Some("3"), "[fe80::1]:81"),
            ("ws://[fe80::1%25en-0.1_~]", "fe80::1", Some("en-0.1_~"), "[fe80::1]"),
            ("ws://[::1]/%25a]", "::1", None, "[::1]"),
        ] {
            let uri = WsUri::parse(text).unwrap();
            assert_eq!((uri.host(), uri.zone()), (host, zone), "{text}");
            assert_eq!(uri.authority_for_host_header(), header, "{text}");
            assert!(!format!("{uri} {uri:?}").contains("eth0"), "{text}");
        }
        let [one, other] = ["1", "2"].map(|zone| WsUri::parse(&format!("ws://[fe80::1%25{zone}]")));
        assert_ne!(one, other);
    }

    #[test]
    fn what_is_no_zone_of_an_address_is_refused() {
        for text in ["[fe80::1%25]", "[fe80::1%eth0]", "[fe80::1%25a b]", "[a%25b]", "a%25b"] {
            let error = WsUri::parse(&format!("ws://{}/", text.replace(' ', "%20")));
            assert_eq!(error, Err(UriError::Host), "{text}");
        }
    }
}
