//! Certificates of clients.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientCertVerifierBuilder, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};

use super::revocation::{Lists, RevocationLists};
use super::{TlsError, roots};

/// Certificates of clients (mutual TLS, RFC 8446 section 4.4.2): whose are accepted, and whether a
/// client must have one. See [`ServerTlsBuilder::client_auth`](crate::ServerTlsBuilder::client_auth).
///
/// A certificate is accepted if one of these authorities has issued it, for clients (or for any
/// use), and it is valid now. Who may do what is up to you:
/// [`Peer::certificate`](crate::Peer::certificate) has it in
/// [`authorize`](crate::Server::authorize) and on the connection.
///
/// A client that resumes a session is not asked again: its certificate of that time counts for up to
/// 12 hours, even if it has expired meanwhile.
/// [`session_cache(0)`](crate::ServerTlsBuilder::session_cache) has every client show it each time,
/// which is the default with [`revocation_lists`](Self::revocation_lists).
#[derive(Clone)]
pub struct ClientAuth {
    roots: Arc<RootCertStore>,
    optional: bool,
    revoked: Option<RevocationLists>,
}

impl ClientAuth {
    /// Every client must have a certificate of an authority in this PEM file. The TLS handshake of
    /// others fails.
    ///
    /// # Errors
    /// [`TlsError::Pem`] if the file cannot be read, [`TlsError::NoRoots`] if it has no
    /// certificates, [`TlsError::Settings`] if one is not valid.
    pub fn from_ca_file(path: impl AsRef<Path>) -> Result<Self, TlsError> {
        roots::from_file(path.as_ref()).map(Self::new)
    }

    /// Like [`from_ca_file`](Self::from_ca_file), but takes the PEM text itself.
    ///
    /// # Errors
    /// As [`from_ca_file`](Self::from_ca_file).
    pub fn from_ca_pem(certificates: &[u8]) -> Result<Self, TlsError> {
        roots::from_pem(certificates).map(Self::new)
    }

    fn new(roots: RootCertStore) -> Self {
        Self { roots: Arc::new(roots), optional: false, revoked: None }
    }

    /// Accepts clients without a certificate too. One that is not valid is refused all the same.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Refuses certificates that these lists revoke, and those of which they do not tell: see
    /// [`RevocationLists`], which is also the handle to replace them. Sessions do not resume then,
    /// since a client that resumes is not asked for its certificate, unless
    /// [`session_cache`](crate::ServerTlsBuilder::session_cache) says so. Default: nothing is known
    /// to be revoked.
    #[must_use]
    pub fn revocation_lists(mut self, lists: RevocationLists) -> Self {
        self.revoked = Some(lists);
        self
    }

    /// Whether each client has to show its certificate each time, unless it is said otherwise.
    pub(super) const fn is_revocable(&self) -> bool {
        self.revoked.is_some()
    }

    pub(super) fn verifier(
        self,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let refused = |error| TlsError::Settings(Box::new(error));
        let builder = WebPkiClientVerifier::builder_with_provider(self.roots, provider);
        let builder = if self.optional { builder.allow_unauthenticated() } else { builder };
        match self.revoked {
            None => builder.build().map_err(refused),
            Some(lists) => {
                let first = Current::new(&builder, lists.current()).map_err(refused)?;
                let unlisted = builder.clone().build().map_err(refused)?;
                let current = RwLock::new(first);
                Ok(Arc::new(RevocationVerifier { lists, builder, unlisted, current }))
            }
        }
    }
}

/// Verifies with the revocation lists that are in use at that time.
struct RevocationVerifier {
    lists: RevocationLists,
    /// Of verifiers with other lists.
    builder: ClientCertVerifierBuilder,
    /// For all that does not depend on lists.
    unlisted: Arc<dyn ClientCertVerifier>,
    current: RwLock<Current>,
}

/// A verifier, and the lists that it was made of.
struct Current {
    lists: Arc<Lists>,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl Current {
    fn new(
        builder: &ClientCertVerifierBuilder,
        lists: Arc<Lists>,
    ) -> Result<Self, rustls::server::VerifierBuilderError> {
        let builder = builder.clone().with_crls(lists.iter().cloned());
        Ok(Self { verifier: builder.enforce_revocation_expiration().build()?, lists })
    }
}

impl RevocationVerifier {
    fn current(&self) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
        let lists = self.lists.current();
        {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            if Arc::ptr_eq(&current.lists, &lists) {
                return Ok(current.verifier.clone());
            }
        }
        let made = Current::new(&self.builder, lists)
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let verifier = made.verifier.clone();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = made;
        Ok(verifier)
    }
}

impl ClientCertVerifier for RevocationVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.unlisted.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.unlisted.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.current()?.verify_client_cert(own, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.unlisted.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.unlisted.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.unlisted.supported_verify_schemes()
    }
}

impl fmt::Debug for RevocationVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationVerifier").field("lists", &self.lists).finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAuth")
            .field("authorities", &self.roots.len())
            .field("optional", &self.optional)
            .field("revoked", &self.revoked)
            .finish()
    }
}
