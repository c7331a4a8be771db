//! The hashes of public keys.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The SHA-256 of a server's public key, as its certificate has it (the `SubjectPublicKeyInfo` of RFC
/// 5280 section 4.1, in DER): see [`ClientTls::pins`](crate::ClientTls::pins). It stays the same when the
/// certificate is renewed with the same key.
///
/// As text it is `sha256/` and the hash in Base64 (RFC 7469 section 2.4), as others write it too:
///
/// ```sh
/// openssl x509 -in cert.pem -pubkey -noout | openssl pkey -pubin -outform der |
///     openssl dgst -sha256 -binary | openssl base64
/// ```
///
/// ```
/// use tautline::PublicKeyPin;
///
/// let text = "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
/// let pin: PublicKeyPin = text.parse()?;
/// assert_eq!(pin.to_string(), text);
/// # Ok::<(), tautline::InvalidPin>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKeyPin([u8; 32]);

impl PublicKeyPin {
    /// This hash.
    #[must_use]
    pub const fn sha256(hash: [u8; 32]) -> Self {
        Self(hash)
    }
}

/// `sha256/` and Base64.
impl fmt::Display for PublicKeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256/{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKeyPin({self})")
    }
}

/// `sha256/` and Base64; a second slash, as curl has it, is accepted.
impl FromStr for PublicKeyPin {
    type Err = InvalidPin;

    fn from_str(text: &str) -> Result<Self, InvalidPin> {
        let encoded = text.strip_prefix("sha256/").ok_or(InvalidPin)?;
        // The hash itself may begin with a slash: its length tells them apart.
        let encoded = match encoded.len() {
            45 => encoded.strip_prefix('/').ok_or(InvalidPin)?,
            _ => encoded,
        };
        let hash = STANDARD.decode(encoded).map_err(|_| InvalidPin)?;
        hash.try_into().map(Self).map_err(|_| InvalidPin)
    }
}

/// A text is not `sha256/` and 32 bytes in Base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidPin;

impl fmt::Display for InvalidPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pin is `sha256/` and 32 bytes in Base64")
    }
}

impl std::error::Error for InvalidPin {}

/// A server's key is not one of those that are pinned.
#[derive(Debug)]
pub(super) struct UnknownKey(pub(super) PublicKeyPin);

impl fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server's public key is {}, which is not pinned", self.0)
    }
}

impl std::error::Error for UnknownKey {}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_read_as_it_and_others_are_written() {
        // 32 bytes, the first of which make a slash in Base64.
        let slash = PublicKeyPin::sha256([0xff; 32]);
        assert!(slash.to_string().starts_with("sha256//"), "{slash}");
        for pin in [slash, PublicKeyPin::sha256([7; 32])] {
            assert_eq!(pin.to_string().parse(), Ok(pin));
            assert_eq!(pin.to_string().replacen('/', "//", 1).parse(), Ok(pin));
        }
        for text in ["", "sha256/", "sha1/AAAA", "sha256/AAAA", "sha256/!", "sha256///////"] {
            assert_eq!(text.parse::<PublicKeyPin>(), Err(InvalidPin), "{text}");
        }
    }
}
