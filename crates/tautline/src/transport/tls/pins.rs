//! Pinned public keys.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::hash::HashAlgorithm;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, DigitallySignedStruct, OtherError, SignatureScheme, SupportedCipherSuite,
};
use webpki::EndEntityCert;

use super::TlsError;
use super::settings::provider;

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

    /// That of a certificate in DER.
    ///
    /// # Errors
    /// [`TlsError::Settings`] if it is not one; [`TlsError::NoProvider`].
    pub fn of_certificate(certificate: &[u8]) -> Result<Self, TlsError> {
        of(&certificate.into(), &*provider()?)
    }
}

/// The pin of this certificate, hashed by one of the suites of TLS, which all providers have.
pub(super) fn of(
    certificate: &CertificateDer<'_>,
    provider: &CryptoProvider,
) -> Result<PublicKeyPin, TlsError> {
    let parsed = EndEntityCert::try_from(certificate);
    let parsed = parsed.map_err(|error| TlsError::Settings(Box::new(error)))?;
    let hash = provider
        .cipher_suites
        .iter()
        .map(|suite| match suite {
            SupportedCipherSuite::Tls12(suite) => suite.common.hash_provider,
            SupportedCipherSuite::Tls13(suite) => suite.common.hash_provider,
        })
        .find(|hash| hash.algorithm() == HashAlgorithm::SHA256)
        .map(|hash| hash.hash(&parsed.subject_public_key_info()));
    let hash = hash.and_then(|hash| hash.as_ref().try_into().ok());
    hash.map(PublicKeyPin).ok_or(TlsError::NoProvider)
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

/// Trusts whoever proves to have one of these keys, whatever else the certificate says.
#[derive(Debug)]
pub(super) struct PinsAlone {
    pub(super) pins: Arc<[PublicKeyPin]>,
    pub(super) provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinsAlone {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _staple: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let pin = of(certificate, &self.provider).map_err(|_| CertificateError::BadEncoding)?;
        if self.pins.contains(&pin) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::Other(OtherError(Arc::new(UnknownKey(pin)))).into())
    }

    // That it has the key is in the signature.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

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
