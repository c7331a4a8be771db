//! `Sec-WebSocket-Key` and `Sec-WebSocket-Accept` (RFC 6455 sections 4.1, 4.2.2, 11.3.1, 11.3.3).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};
use tautline_frame::mask::{RandomUnavailable, random_key};

/// The GUID that the server appends to the key (RFC 6455 section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Bytes of randomness in a key (RFC 6455 section 4.1, requirement 7).
const NONCE_LEN: usize = 16;

/// Characters of a key: 16 bytes in base64.
pub(crate) const KEY_LEN: usize = 24;

/// Characters of the answer: the 20 bytes of SHA-1 in base64.
pub(crate) const ACCEPT_LEN: usize = 28;

/// Returns a fresh key: 16 unpredictable bytes, in base64. They come from the store that masking keys
/// come from, which a client has anyway, and which asks the system once for many.
pub(crate) fn generate_key() -> Result<[u8; KEY_LEN], RandomUnavailable> {
    let mut nonce = [0u8; NONCE_LEN];
    for part in nonce.as_chunks_mut().0 {
        *part = random_key()?;
    }
    Ok(base64(&nonce))
}

/// The text of these bytes, in an array that is as long as it: nothing is allocated for each handshake.
fn base64<const LEN: usize>(bytes: &[u8]) -> [u8; LEN] {
    let mut text = [0; LEN];
    let written = STANDARD.encode_slice(bytes, &mut text);
    debug_assert!(matches!(written, Ok(len) if len == LEN));
    text
}

/// Whether `key` is base64 of exactly 16 bytes (RFC 6455 section 4.2.1, requirement 5).
///
/// The four bits of the last character that carry no data may have any value: the RFC's own example
/// of a key in section 4.1, `AQIDBAUGBwgJCgsMDQ4PEC==`, sets one of them. Nothing depends on them,
/// as the text is hashed as it was received.
pub(crate) fn is_valid_key(key: &[u8]) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == KEY_LEN && key.ends_with(b"==") && key[..KEY_LEN - 2].iter().all(is_base64)
}

/// The value of `Sec-WebSocket-Accept` that answers `key`: base64 of the SHA-1 of the key's text
/// and the protocol's GUID (RFC 6455 section 4.2.2, step 5.4).
///
/// The key is hashed as it was received; it is not decoded, and nothing is trimmed from it.
///
/// ```
/// // The example of RFC 6455 section 1.3.
/// assert_eq!(
///     tautline_handshake::accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="),
///     "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
/// );
/// ```
#[must_use]
pub fn accept_key(key: &[u8]) -> String {
    accept(key).map(char::from).iter().collect()
}

/// The same as an array.
pub(crate) fn accept(key: &[u8]) -> [u8; ACCEPT_LEN] {
    base64(&Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_is_the_example_of_rfc6455_1_3() {
        assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn generated_keys_are_valid_and_differ() {
        let keys: std::collections::HashSet<[u8; KEY_LEN]> =
            (0..1000).map(|_| generate_key().unwrap()).collect();
        assert_eq!(keys.len(), 1000);
        assert!(keys.iter().all(|key| is_valid_key(key)));
    }

    #[test]
    fn a_key_is_base64_of_16_bytes_rfc6455_4_2_1() {
        for (key, valid) in [
            ("dGhlIHNhbXBsZSBub25jZQ==", true),
            ("AQIDBAUGBwgJCgsMDQ4PEC==", true), // RFC 6455 section 4.1: a trailing bit is set
            ("////++++////++++////++==", true),
            ("", false),
            ("dGhlIHNhbXBsZSBub25jZQ=", false),
            ("dGhlIHNhbXBsZSBub25jZQ", false),
            ("dGhlIHNhbXBsZSBub25jZQ===", false),
            ("dGhlIHNhbXBsZSBub25jZQA=", false), // 17 bytes
            ("dGhlIHNhbXBsZSBub25jZQAA", false), // 18 bytes
            ("dGhlIHNhbXBsZSBub25jZ===", false),
            ("dGhlIHNhbXBsZSBub25j Q==", false),
            ("dGhlIHNhbXBsZSBub25jZ-==", false), // the URL alphabet
            ("dGhl=HNhbXBsZSBub25jZQ==", false),
        ] {
            assert_eq!(is_valid_key(key.as_bytes()), valid, "{key:?}");
        }
        assert!(!is_valid_key(&[0xff; 24]));
    }
}
