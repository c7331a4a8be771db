//! Tokens, optional whitespace and comma-separated lists (RFC 9110 sections 5.6.1 to 5.6.3).
//!
//! Everything here walks its input once: no regular expressions, no backtracking.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

/// Whether `byte` may appear in a token (RFC 9110 section 5.6.2).
pub(crate) const fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// `bytes` as a token, or `None` if it is empty or has a byte that is not allowed in a token.
pub(crate) fn token(bytes: &[u8]) -> Option<&str> {
    if bytes.is_empty() || !bytes.iter().all(|&byte| is_tchar(byte)) {
        return None;
    }
    std::str::from_utf8(bytes).ok() // every tchar is ASCII
}

const fn is_ows(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// `bytes` without the optional whitespace at both ends.
pub(crate) fn trim_ows(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes {
        if !is_ows(*first) {
            break;
        }
        bytes = rest;
    }
    while let [rest @ .., last] = bytes {
        if !is_ows(*last) {
            break;
        }
        bytes = rest;
    }
    bytes
}

/// How many empty members of a list are ignored: more than merging lines produces, and far fewer
/// than fit in a head.
pub(crate) const MAX_EMPTY: usize = 32;

/// The members of the list that all lines of `name` form together (RFC 9110 section 5.3), each
/// trimmed. "A reasonable number" of empty ones is ignored (RFC 9110 section 5.6.1.2); those beyond
/// are returned, as invalid members.
pub(crate) fn members<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a [u8]> {
    let mut empty = 0;
    headers
        .get_all(name)
        .into_iter()
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b','))
        .map(trim_ows)
        .filter(move |member| {
            empty += usize::from(member.is_empty());
            !member.is_empty() || empty > MAX_EMPTY
        })
}

/// Whether `wanted` is a member of the list, ignoring case: a whole member, never a part of one
/// (`not-upgrade` is not `upgrade`).
pub(crate) fn has_member(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    members(headers, name).any(|member| member.eq_ignore_ascii_case(wanted.as_bytes()))
}

/// The lines of one field, for fields that may appear only once.
pub(crate) enum Lines<'a> {
    None,
    One(&'a HeaderValue),
    Several,
}

pub(crate) fn lines<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Lines<'a> {
    let mut values = headers.get_all(name).into_iter();
    match (values.next(), values.next()) {
        (None, _) => Lines::None,
        (Some(value), None) => Lines::One(value),
        (Some(_), Some(_)) => Lines::Several,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{CONNECTION, UPGRADE};

    #[test]
    fn tokens_are_the_tchars_of_rfc9110_5_6_2() {
        let allowed =
            "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        for byte in 0..=255u8 {
            assert_eq!(is_tchar(byte), allowed.as_bytes().contains(&byte), "{byte:#x}");
        }
        assert_eq!(token(b""), None);
        assert_eq!(token(b"a b"), None);
        assert_eq!(token(b"__proto__"), Some("__proto__"));
    }

    #[test]
    fn lists_join_lines_and_compare_whole_members_whatever_their_case() {
        for (lines, wanted) in [
            (&["keep-alive, Upgrade"][..], true),
            (&["keep-alive", " uPGRADE\t"], true),
            (&[",,upgrade,"], true),
            (&["not-upgrade"], false),
            (&["upgrade-not"], false),
            (&["up grade"], false),
            (&["\"upgrade\""], false),
            (&[""], false),
            (&[], false),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(CONNECTION, HeaderValue::from_static(line));
            }
            assert_eq!(has_member(&headers, &CONNECTION, "upgrade"), wanted, "{lines:?}");
        }
    }

    #[test]
    fn a_reasonable_number_of_empty_members_is_ignored_rfc9110_5_6_1_2() {
        let mut headers = HeaderMap::new();
        headers.append(UPGRADE, HeaderValue::from_static("a, ,b"));
        headers.append(UPGRADE, HeaderValue::from_static("c,"));
        headers.append(UPGRADE, HeaderValue::from_static(""));
        let all: Vec<&[u8]> = members(&headers, &UPGRADE).collect();
        assert_eq!(all, [&b"a"[..], b"b", b"c"]);
        let commas = ",".repeat(16 << 10);
        headers.append(UPGRADE, HeaderValue::from_str(&commas).unwrap());
        assert_eq!(members(&headers, &UPGRADE).nth(3), Some(&b""[..]));
    }
}
