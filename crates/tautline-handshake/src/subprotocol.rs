//! `Sec-WebSocket-Protocol` (RFC 6455 sections 1.9, 4.1, 4.2.2, 11.3.4).

use std::collections::HashSet;
use std::fmt;

use http::HeaderMap;
use http::header::SEC_WEBSOCKET_PROTOCOL;

use crate::token::{members, token};

/// How a list of subprotocols breaks the rules of RFC 6455 section 4.1, requirement 10.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SubprotocolError {
    /// An element is empty. When receiving, this means that the whole list is empty, or has more
    /// empty elements than are ignored.
    Empty,
    /// An element is not a token.
    NotAToken,
    /// An element appears twice; names are compared case-sensitively.
    Duplicate,
}

impl fmt::Display for SubprotocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "Sec-WebSocket-Protocol has an empty element",
            Self::NotAToken => "Sec-WebSocket-Protocol has an element that is not a token",
            Self::Duplicate => "Sec-WebSocket-Protocol lists an element twice",
        })
    }
}

impl std::error::Error for SubprotocolError {}

/// The offers of a request, in order: several lines form one list (RFC 6455 section 11.3.4), whose
/// empty elements are ignored (RFC 9110 section 5.6.1.2).
pub(crate) fn parse_offers(headers: &HeaderMap) -> Result<Vec<&str>, SubprotocolError> {
    let offers = check_all(members(headers, &SEC_WEBSOCKET_PROTOCOL))?;
    if offers.is_empty() && headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        return Err(SubprotocolError::Empty); // `1#token`: at least one
    }
    Ok(offers)
}

/// Checks that `names` are tokens without duplicates, in time linear in their length.
pub(crate) fn check_all<'a>(
    names: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<&'a str>, SubprotocolError> {
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for name in names {
        if name.is_empty() {
            return Err(SubprotocolError::Empty);
        }
        let name = token(name).ok_or(SubprotocolError::NotAToken)?;
        if !seen.insert(name) {
            return Err(SubprotocolError::Duplicate);
        }
        all.push(name);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn parse(lines: &[&[u8]]) -> Result<Vec<String>, SubprotocolError> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_bytes(line).unwrap());
        }
        Ok(parse_offers(&headers)?.into_iter().map(str::to_owned).collect())
    }

    #[test]
    fn several_lines_are_one_list_in_order_rfc6455_11_3_4() {
        assert_eq!(parse(&[]).unwrap(), [""; 0]);
        assert_eq!(parse(&[b"chat, superchat"]).unwrap(), ["chat", "superchat"]);
        assert_eq!(parse(&[b"b\t,\ta", b" c "]).unwrap(), ["b", "a", "c"]);
        assert_eq!(parse(&[b"Chat,chat"]).unwrap(), ["Chat", "chat"]);
        assert_eq!(
            parse(&[b"constructor, __proto__, toString"]).unwrap(),
            ["constructor", "__proto__", "toString"]
        );
    }

    /// A client that joins its names with one comma too many was refused with 400.
    #[test]
    fn empty_elements_are_ignored_rfc9110_5_6_1_2() {
        assert_eq!(parse(&[b"chat, "]).unwrap(), ["chat"]);
        assert_eq!(parse(&[b",a"]).unwrap(), ["a"]);
        assert_eq!(parse(&[b"a, ,,b"]).unwrap(), ["a", "b"]);
        assert_eq!(parse(&[b"a", b"", b"b"]).unwrap(), ["a", "b"]);
        let commas = [&b"a"[..], &b",".repeat(16 << 10)].concat();
        assert_eq!(parse(&[&commas]), Err(SubprotocolError::Empty));
    }

    #[test]
    fn empty_lists_repeated_and_malformed_elements_are_refused_rfc6455_4_1() {
        for (line, error) in [
            (&b""[..], SubprotocolError::Empty),
            (b" , ", SubprotocolError::Empty),
            (b"a,b,a", SubprotocolError::Duplicate),
            (b"a b", SubprotocolError::NotAToken),
            (b"a/b", SubprotocolError::NotAToken),
            (b"\"a\"", SubprotocolError::NotAToken),
            // Granian: bytes beyond ASCII ended the process.
            (b"\xff", SubprotocolError::NotAToken),
            (b"caf\xc3\xa9", SubprotocolError::NotAToken),
        ] {
            assert_eq!(parse(&[line]), Err(error), "{line:?}");
        }
        assert_eq!(parse(&[b"a", b"a"]), Err(SubprotocolError::Duplicate));
    }

    /// ws CVE-2021-32640: a regular expression that trims took quadratic time over `b`, 64 KiB of
    /// spaces, `x`.
    #[test]
    fn long_whitespace_is_read_once() {
        let spaces = b" ".repeat(64 * 1024);
        let inside = [&b"b"[..], &spaces, b"x"].concat();
        assert_eq!(parse(&[&inside]), Err(SubprotocolError::NotAToken));
        let around = [&spaces[..], b"b", &spaces, b",c"].concat();
        assert_eq!(parse(&[&around]).unwrap(), ["b", "c"]);
    }
}
