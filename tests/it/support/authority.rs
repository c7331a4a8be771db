//! A certificate authority, and a TLS client that tells what it was shown.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tautline::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tautline::rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use tautline::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tautline::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tautline::{ClientAuth, ClientTls};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::handshake::Identity;

/// The serial number of the next certificate.
static ISSUED: AtomicU64 = AtomicU64::new(1);

/// Issues certificates to clients.
pub(crate) struct Authority {
    issuer: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = rcgen::CertificateParams::default();
        // A list is found by the name of its authority.
        let name = format!("authority {}", ISSUED.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        Self { issuer: rcgen::CertifiedIssuer::self_signed(params, key).unwrap() }
    }

    /// A certificate for a client.
    pub(crate) fn issue(&self, name: &str) -> ClientCertificate {
        self.issue_for(name, rcgen::ExtendedKeyUsagePurpose::ClientAuth)
    }

    pub(crate) fn issue_for(
        &self,
        name: &str,
        purpose: rcgen::ExtendedKeyUsagePurpose,
    ) -> ClientCertificate {
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        let key = rcgen::KeyPair::generate().unwrap();
        let serial = rcgen::SerialNumber::from(ISSUED.fetch_add(1, Ordering::Relaxed));
        params.serial_number = Some(serial.clone());
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        ClientCertificate {
            der: certificate.der().clone(),
            serial,
            key: key.serialize_der(),
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }

    /// The certificates that it has revoked, in a list that is up to date until this year.
    pub(crate) fn revoke(
        &self,
        revoked: &[&ClientCertificate],
        until: i32,
    ) -> rcgen::CertificateRevocationList {
        let revoked = revoked.iter().map(|certificate| rcgen::RevokedCertParams {
            serial_number: certificate.serial.clone(),
            revocation_time: rcgen::date_time_ymd(2020, 1, 1),
            reason_code: Some(rcgen::RevocationReason::KeyCompromise),
            invalidity_date: None,
        });
        let params = rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2020, 1, 1),
            next_update: rcgen::date_time_ymd(until, 1, 1),
            crl_number: rcgen::SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap()
    }

    /// Settings of a client that trusts whom it vouches for, and nobody else.
    pub(crate) fn client_tls(&self) -> ClientTls {
        ClientTls::from_ca_pem(self.issuer.pem().as_bytes()).unwrap()
    }

    /// A certificate for a server of these names.
    pub(crate) fn identity(&self, names: &[&str]) -> Identity {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let params = rcgen::CertificateParams::new(names).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            certificate: certificate.der().clone(),
            key_der: key.serialize_der(),
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }

    pub(crate) fn auth(&self) -> ClientAuth {
        ClientAuth::from_ca_pem(self.issuer.pem().as_bytes()).unwrap()
    }
}

/// A certificate of a client and its key.
pub(crate) struct ClientCertificate {
    pub(crate) der: CertificateDer<'static>,
    serial: rcgen::SerialNumber,
    pub(crate) key: Vec<u8>,
    pub(crate) pem: String,
    pub(crate) key_pem: String,
}

impl ClientCertificate {
    /// Settings of a client that has it, and trusts this server.
    pub(crate) fn tls(&self, server: &Identity) -> ClientTls {
        let mut config = server.client_config();
        let key = PrivateKeyDer::try_from(self.key.clone()).unwrap();
        let key = ring::sign::any_supported_type(&key).unwrap();
        let own = tautline::rustls::sign::CertifiedKey::new(vec![self.der.clone()], key);
        config.client_auth_cert_resolver =
            Arc::new(tautline::rustls::sign::SingleCertAndKey::from(own));
        ClientTls::from_config(config)
    }
}

/// What a server showed of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) certificate: Vec<u8>,
    pub(crate) staple: Vec<u8>,
}

/// Asks this server for a name, or for none, with a client that has no session to resume.
pub(crate) async fn shown(server: SocketAddr, name: Option<&str>) -> Shown {
    shown_to(
        server,
        name,
        ring::default_provider().signature_verification_algorithms.supported_schemes(),
    )
    .await
}

/// The same with a client that can verify these signatures only.
pub(crate) async fn shown_to(
    server: SocketAddr,
    name: Option<&str>,
    schemes: Vec<SignatureScheme>,
) -> Shown {
    let looker = Arc::new(Looker { schemes, seen: Mutex::default() });
    let config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(looker.clone())
        .with_no_client_auth();
    // For an address there is no SNI.
    let name = ServerName::try_from(name.unwrap_or("127.0.0.1").to_owned()).unwrap();
    let stream = TcpStream::connect(server).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let seen = looker.seen.lock().unwrap();
    seen.clone()
}

/// Trusts everybody, and keeps what it is shown.
#[derive(Debug)]
struct Looker {
    schemes: Vec<SignatureScheme>,
    seen: Mutex<Shown>,
}

impl ServerCertVerifier for Looker {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        staple: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.seen.lock().unwrap() =
            Shown { certificate: certificate.to_vec(), staple: staple.to_vec() };
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

fn algorithms() -> tautline::rustls::crypto::WebPkiSupportedAlgorithms {
    let provider: CryptoProvider = ring::default_provider();
    provider.signature_verification_algorithms
}
