//! The certificate of a client.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::TlsError;
use super::certificate::{certified_in, certified_pem};
use super::settings::provider;

/// The certificate of a client, with its chain and private key, for servers that ask for one (mutual
/// TLS): see [`ClientTls::client_certificate`](crate::ClientTls::client_certificate). Cheap to
/// clone.
#[derive(Clone)]
pub struct ClientCertificate(Arc<SingleCertAndKey>);

impl ClientCertificate {
    /// The certificate chain (the client's own first) and the private key, each in a PEM file of up
    /// to 1 MiB; both may be the same file.
    ///
    /// # Errors
    /// [`TlsError::Pem`]; [`TlsError::Settings`] if the key does not belong to the certificate, or
    /// the certificate cannot be parsed; [`TlsError::NoProvider`].
    pub fn from_pem_files(
        chain: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsError> {
        certified_in(chain.as_ref(), key.as_ref()).map(Self::new)
    }

    /// Like [`from_pem_files`](Self::from_pem_files), but takes the PEM text itself.
    ///
    /// # Errors
    /// As [`from_pem_files`](Self::from_pem_files).
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        certified_pem(chain, key).map(Self::new)
    }

    /// The same in DER: the certificates of the chain, the client's own first, and the private key as
    /// PKCS #8, PKCS #1 or SEC 1.
    ///
    /// # Errors
    /// [`TlsError::Settings`] as for [`from_pem_files`](Self::from_pem_files), or if there is no
    /// certificate; [`TlsError::NoProvider`].
    pub fn from_der(
        chain: impl IntoIterator<Item = Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Result<Self, TlsError> {
        let chain: Vec<_> = chain.into_iter().map(CertificateDer::from).collect();
        if chain.is_empty() {
            return Err(TlsError::Settings("there is no certificate".into()));
        }
        let key = PrivateKeyDer::try_from(key.into());
        let key = key.map_err(|error| TlsError::Settings(error.into()))?;
        let key = CertifiedKey::from_der(chain, key, &*provider()?).map_err(TlsError::settings)?;
        Ok(Self::new(key))
    }

    fn new(key: CertifiedKey) -> Self {
        Self(Arc::new(key.into()))
    }

    pub(super) fn resolver(&self) -> Arc<dyn ResolvesClientCert> {
        self.0.clone()
    }
}

/// Without the key.
impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").finish_non_exhaustive()
    }
}
