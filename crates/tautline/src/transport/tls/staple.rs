//! What is looked at of an OCSP response before it is served: whether there is one.

/// Whether this is a DER-encoded `OCSPResponse` with the status `successful` (RFC 6960 section
/// 4.2.1), and nothing else. Its signature and dates are for clients to check.
pub(super) fn is_successful(response: &[u8]) -> bool {
    // A SEQUENCE that begins with the status, an ENUMERATED; what follows is the answer itself.
    const SEQUENCE: u8 = 0x30;
    const SUCCESSFUL: [u8; 3] = [0x0a, 1, 0];
    let Some((&SEQUENCE, rest)) = response.split_first() else { return false };
    let Some((length, content)) = length(rest) else { return false };
    length == content.len()
        && content.strip_prefix(&SUCCESSFUL).is_some_and(|answer| !answer.is_empty())
}

/// A length in DER (X.690 section 8.1.3), of at most four bytes, and what comes after it.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        return Some((usize::from(first), rest));
    }
    let count = usize::from(first & 0x7f);
    if !(1..=4).contains(&count) {
        return None;
    }
    let (digits, rest) = rest.split_at_checked(count)?;
    let length = digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit));
    Some((length, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    // A cron job that asked a responder in trouble left `tryLater`, a page in HTML or nothing.
    #[test]
    fn only_a_whole_response_of_success_is_one() {
        assert!(is_successful(&[0x30, 5, 0x0a, 1, 0, 0xa0, 0]));
        let mut long = vec![0x30, 0x82, 1, 3, 0x0a, 1, 0];
        long.resize(4 + 0x103, 7);
        assert!(is_successful(&long));
        for wrong in [
            &[][..],
            &[0x30],
            &[0x30, 3, 0x0a, 1, 3],
            &[0x30, 3, 0x0a, 1, 0],
            &[0x30, 6, 0x0a, 1, 0, 0xa0, 0],
            &[0x30, 5, 0x0a, 1, 0, 0xa0, 0, 0],
            &[0x30, 0x80, 0x0a, 1, 0, 0xa0, 0],
            &[0x30, 0x85, 0, 0, 0, 0, 5, 0x0a, 1, 0, 0xa0, 0],
            &[0x30, 0x84, 0xff],
            b"<html></html>",
            b"-----BEGIN OCSP RESPONSE-----",
            &long[..long.len() - 1],
        ] {
            assert!(!is_successful(wrong), "{wrong:?}");
        }
    }
}
