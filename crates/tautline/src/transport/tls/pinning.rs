//! Servers that are trusted for their public keys.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::hash::HashAlgorithm;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, DigitallySignedStruct, OtherError, SignatureScheme, SupportedCipherSuite,
};
use webpki::EndEntityCert;

use super::TlsError;
use super::pins::{PublicKeyPin, UnknownKey};
use super::settings::provider;

impl PublicKeyPin {
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
    hash.map(PublicKeyPin::sha256).ok_or(TlsError::NoProvider)
}

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
