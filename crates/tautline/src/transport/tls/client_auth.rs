//! Certificates of clients.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

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
/// [`session_cache(0)`](crate::ServerTlsBuilder::session_cache) has every client show it each time.
#[derive(Clone)]
pub struct ClientAuth {
    roots: Arc<RootCertStore>,
    optional: bool,
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
        Self { roots: Arc::new(roots), optional: false }
    }

    /// Accepts clients without a certificate too. One that is not valid is refused all the same.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    pub(super) fn verifier(
        self,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let builder = WebPkiClientVerifier::builder_with_provider(self.roots, provider);
        let builder = if self.optional { builder.allow_unauthenticated() } else { builder };
        builder.build().map_err(|error| TlsError::Settings(Box::new(error)))
    }
}

impl fmt::Debug for ClientAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAuth")
            .field("authorities", &self.roots.len())
            .field("optional", &self.optional)
            .finish()
    }
}
