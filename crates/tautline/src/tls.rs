//! TLS with rustls, for both roles: settings that are made once and shared, so that sessions resume.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{ReadAhead, Transport};

/// What is spoken inside TLS (RFC 7301): WebSocket's handshake is HTTP/1.1, and a server must not choose HTTP/2.
const ALPN: &[u8] = b"http/1.1";

/// How much rustls encrypts for one write, in bytes, and so holds at most when the peer does not read: its own 64 KiB and another
/// record. A message of 64 KiB then goes out in one write with its header, instead of leaving a few bytes to a second one.
const WRITE_LIMIT: usize = 80 << 10;

/// TLS settings of a client. Clones share sessions, so that later connections are quicker.
///
/// The server's certificate is always verified, for the host name or the IP address of the URI.
#[derive(Clone)]
pub struct ClientTls(Roots);

#[derive(Clone)]
enum Roots {
    /// The system's, read when they are first needed.
    System(Arc<OnceCell<Arc<ClientConfig>>>),
    Ready(Arc<ClientConfig>),
}

impl Default for ClientTls {
    fn default() -> Self {
        Self::system_roots()
    }
}

impl ClientTls {
    /// Trusts the authorities that the system trusts.
    #[must_use]
    pub fn system_roots() -> Self {
        Self(Roots::System(Arc::default()))
    }

    /// Trusts the authorities in this PEM file, and no others.
    ///
    /// # Errors
    /// [`TlsError::Pem`], or [`TlsError::NoRoots`] for a file without certificates; [`TlsError::NoProvider`].
    pub fn ca_file(path: impl AsRef<Path>) -> Result<Self, TlsError> {
        Self::from_roots(CertificateDer::pem_file_iter(path).map_err(pem)?)
    }

    /// As [`ca_file`](Self::ca_file), with what would stand in the file.
    ///
    /// # Errors
    /// As [`ca_file`](Self::ca_file).
    pub fn ca_pem(certificates: &[u8]) -> Result<Self, TlsError> {
        Self::from_roots(CertificateDer::pem_slice_iter(certificates))
    }

    fn from_roots(
        certificates: impl Iterator<Item = Result<CertificateDer<'static>, PemError>>,
    ) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots.add(certificate.map_err(pem)?).map_err(TlsError::Rustls)?;
        }
        Ok(Self(Roots::Ready(client_config(roots)?)))
    }

    /// The whole of rustls's settings: roots, client certificates, versions, verification. Where they name no protocol
    /// (ALPN), `http/1.1` is added.
    #[must_use]
    pub fn from_config(config: impl Into<Arc<ClientConfig>>) -> Self {
        let mut config = config.into();
        if config.alpn_protocols.is_empty() {
            Arc::make_mut(&mut config).alpn_protocols = vec![ALPN.to_vec()];
        }
        Self(Roots::Ready(config))
    }

    async fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        match &self.0 {
            Roots::Ready(config) => Ok(config.clone()),
            Roots::System(cell) => {
                // Reading them takes milliseconds of disk: not on a thread that serves connections.
                let read = || async {
                    let reading = tokio::task::spawn_blocking(system_config);
                    reading.await.unwrap_or(Err(TlsError::NoRoots))
                };
                cell.get_or_try_init(read).await.cloned()
            }
        }
    }

    pub(crate) async fn connect(
        &self,
        stream: TcpStream,
        host: &str,
    ) -> Result<Transport, TlsError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| TlsError::ServerName)?;
        let connector = TlsConnector::from(self.config().await?);
        let stream = ReadAhead::new(stream);
        let connecting = connector.connect_with(name, stream, |session| {
            session.set_buffer_limit(Some(WRITE_LIMIT));
        });
        let stream = connecting.await.map_err(TlsError::Handshake)?;
        Ok(Transport::TlsClient(Box::new(stream)))
    }
}

impl From<Arc<ClientConfig>> for ClientTls {
    fn from(config: Arc<ClientConfig>) -> Self {
        Self::from_config(config)
    }
}

impl From<ClientConfig> for ClientTls {
    fn from(config: ClientConfig) -> Self {
        Self::from_config(config)
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Roots::System(_) => "ClientTls(system roots)",
            Roots::Ready(_) => "ClientTls(own settings)",
        })
    }
}

fn system_config() -> Result<Arc<ClientConfig>, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a trusted certificate of the system cannot be read");
    }
    let mut roots = RootCertStore::empty();
    // Systems carry a few certificates that rustls does not take; the rest is what counts.
    roots.add_parsable_certificates(found.certs);
    client_config(roots)
}

fn client_config(roots: RootCertStore) -> Result<Arc<ClientConfig>, TlsError> {
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    let mut config = ClientConfig::builder_with_provider(provider()?)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Rustls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// TLS settings of a server: its certificate and key. Clones share tickets, so that clients can resume.
#[derive(Clone)]
pub struct ServerTls(TlsAcceptor);

impl ServerTls {
    /// The certificate chain (the server's own first) and the private key, each in a PEM file.
    ///
    /// # Errors
    /// [`TlsError::Pem`]; [`TlsError::Rustls`] when key and certificate do not fit; [`TlsError::NoProvider`].
    pub fn from_pem_files(
        certificates: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsError> {
        let certificates = CertificateDer::pem_file_iter(certificates).map_err(pem)?;
        let certificates = certificates.collect::<Result<Vec<_>, _>>().map_err(pem)?;
        Self::from_parts(certificates, PrivateKeyDer::from_pem_file(key).map_err(pem)?)
    }

    /// As [`from_pem_files`](Self::from_pem_files), with what would stand in the files.
    ///
    /// # Errors
    /// As [`from_pem_files`](Self::from_pem_files).
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let certificates = CertificateDer::pem_slice_iter(certificates);
        let certificates = certificates.collect::<Result<Vec<_>, _>>().map_err(pem)?;
        Self::from_parts(certificates, PrivateKeyDer::from_pem_slice(key).map_err(pem)?)
    }

    fn from_parts(
        certificates: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, TlsError> {
        if certificates.is_empty() {
            return Err(pem(PemError::NoItemsFound));
        }
        let config = ServerConfig::builder_with_provider(provider()?)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Rustls)?
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .map_err(TlsError::Rustls)?;
        Ok(Self::from_config(config))
    }

    /// The whole of rustls's settings: several certificates, certificates of clients, versions. Where they name no protocol
    /// (ALPN), `http/1.1` is added.
    #[must_use]
    pub fn from_config(config: impl Into<Arc<ServerConfig>>) -> Self {
        let mut config = config.into();
        if config.alpn_protocols.is_empty() {
            Arc::make_mut(&mut config).alpn_protocols = vec![ALPN.to_vec()];
        }
        Self(TlsAcceptor::from(config))
    }

    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<Transport> {
        let accepting = self.0.accept_with(ReadAhead::new(stream), |session| {
            session.set_buffer_limit(Some(WRITE_LIMIT));
        });
        Ok(Transport::TlsServer(Box::new(accepting.await?)))
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

/// The cryptography: what the process chose, or else what this crate was built with. Never a panic.
fn provider() -> Result<Arc<CryptoProvider>, TlsError> {
    if let Some(provider) = CryptoProvider::get_default() {
        return Ok(provider.clone());
    }
    built_in().map(Arc::new).ok_or(TlsError::NoProvider)
}

#[cfg(feature = "ring")]
fn built_in() -> Option<CryptoProvider> {
    Some(rustls::crypto::ring::default_provider())
}

#[cfg(all(feature = "aws-lc-rs", not(feature = "ring")))]
fn built_in() -> Option<CryptoProvider> {
    Some(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
fn built_in() -> Option<CryptoProvider> {
    None
}

fn pem(error: PemError) -> TlsError {
    TlsError::Pem(error)
}

/// Why TLS could not be set up or agreed on.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// The crate was built without a crypto provider (features `ring` and `aws-lc-rs`), and the process installed none.
    NoProvider,
    /// No certificate of an authority to trust was found.
    NoRoots,
    /// A PEM file cannot be read, or holds no fitting item.
    Pem(PemError),
    /// rustls does not take these settings.
    Rustls(rustls::Error),
    /// The host of the URI is neither a DNS name nor an IP address that a certificate can be for.
    ServerName,
    /// The TLS handshake failed: among others, the certificate is not trusted or is not for this host.
    Handshake(io::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProvider => f.write_str(
                "no crypto provider: enable the feature `ring` or `aws-lc-rs`, or install one",
            ),
            Self::NoRoots => f.write_str("no trusted certificates were found"),
            Self::Pem(error) => write!(f, "cannot read PEM: {error}"),
            Self::Rustls(error) => write!(f, "TLS settings: {error}"),
            Self::ServerName => f.write_str("the host is not a name that a certificate can have"),
            Self::Handshake(error) => write!(f, "TLS handshake: {error}"),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Pem(error) => Some(error),
            Self::Rustls(error) => Some(error),
            Self::Handshake(error) => Some(error),
            Self::NoProvider | Self::NoRoots | Self::ServerName => None,
        }
    }
}
