//! TLS with rustls, for both roles. Settings are made once and shared, so that sessions resume.

mod error;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OnceCell;
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub use self::error::TlsError;

use super::Transport;
use super::read_ahead::ReadAhead;

/// The protocol inside TLS (RFC 7301): the WebSocket handshake is HTTP/1.1, unless HTTP/2 was asked
/// for.
const ALPN: &[u8] = b"http/1.1";
#[cfg(feature = "http2")]
const ALPN_HTTP2: &[u8] = b"h2";

/// How much rustls encrypts for one write, in bytes, and therefore buffers at most while the peer
/// does not read: its own 64 KiB and another record. A message of 64 KiB is then sent in one write
/// together with its header, without a second write for a few bytes.
const WRITE_LIMIT: usize = 80 << 10;

/// TLS settings of a client. Clones share sessions, which makes later connections faster.
///
/// The server's certificate is always verified against the host name or IP address of the URI.
#[derive(Clone)]
pub struct ClientTls(Roots);

#[derive(Clone)]
enum Roots {
    /// Those of the system, read when they are first needed.
    System(Arc<OnceCell<Arc<ClientConfig>>>),
    Ready(Arc<ClientConfig>),
}

impl Default for ClientTls {
    fn default() -> Self {
        Self::system_roots()
    }
}

impl ClientTls {
    /// Trusts the certificate authorities that the system trusts.
    #[must_use]
    pub fn system_roots() -> Self {
        Self(Roots::System(Arc::default()))
    }

    /// Trusts the certificate authorities in this PEM file, and no others.
    ///
    /// # Errors
    /// [`TlsError::Pem`] if the file cannot be read, [`TlsError::NoRoots`] if it has no
    /// certificates, [`TlsError::Settings`] if one is not valid; [`TlsError::NoProvider`].
    pub fn from_ca_file(path: impl AsRef<Path>) -> Result<Self, TlsError> {
        let what = in_file("certificates", path.as_ref());
        let certificates =
            CertificateDer::pem_file_iter(path).map_err(|error| TlsError::pem(&what, error))?;
        Self::from_roots(certificates, &what)
    }

    /// Like [`from_ca_file`](Self::from_ca_file), but takes the PEM text itself.
    ///
    /// # Errors
    /// As [`from_ca_file`](Self::from_ca_file).
    pub fn from_ca_pem(certificates: &[u8]) -> Result<Self, TlsError> {
        Self::from_roots(CertificateDer::pem_slice_iter(certificates), "certificates")
    }

    fn from_roots(
        certificates: impl Iterator<Item = Result<CertificateDer<'static>, PemError>>,
        what: &str,
    ) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots
                .add(certificate.map_err(|error| TlsError::pem(what, error))?)
                .map_err(TlsError::settings)?;
        }
        Ok(Self(Roots::Ready(client_config(roots)?)))
    }

    /// Takes complete rustls settings: roots, client certificates, versions, verification. If they
    /// name no protocol (ALPN), `http/1.1` is added. If they name others than that, these are offered
    /// as they are, also with HTTP/2 (feature `http2`), which is `h2`.
    ///
    /// They are of the rustls version that this crate re-exports as
    /// [`tautline::rustls`](crate::rustls).
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
                // Reading them from disk takes milliseconds: do not block a thread that serves
                // connections.
                let read = || async {
                    let reading = tokio::task::spawn_blocking(system_config);
                    reading.await.map_err(|error| TlsError::SystemRoots(error.into()))?
                };
                cell.get_or_try_init(read).await.cloned()
            }
        }
    }

    pub(crate) async fn connect<S>(&self, stream: S, host: &str) -> Result<Transport<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        connect(self.config().await?, stream, host).await
    }

    /// Offers HTTP/2, and, unless it is to be the only one, HTTP/1.1.
    #[cfg(feature = "http2")]
    pub(crate) async fn connect_http2<S>(
        &self,
        stream: S,
        host: &str,
        only: bool,
    ) -> Result<Transport<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut config = self.config().await?;
        if config.alpn_protocols != [ALPN] {
            return connect(config, stream, host).await;
        }
        let protocols: &[&[u8]] = if only { &[ALPN_HTTP2] } else { &[ALPN_HTTP2, ALPN] };
        // Sessions are shared all the same.
        Arc::make_mut(&mut config).alpn_protocols =
            protocols.iter().map(|name| name.to_vec()).collect();
        connect(config, stream, host).await
    }
}

async fn connect<S>(
    config: Arc<ClientConfig>,
    stream: S,
    host: &str,
) -> Result<Transport<S>, TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from(host.to_owned()).map_err(|_| TlsError::ServerName)?;
    let connector = TlsConnector::from(config);
    let stream = ReadAhead::new(stream);
    let connecting = connector.connect_with(name, stream, |session| {
        session.set_buffer_limit(Some(WRITE_LIMIT));
    });
    let stream = connecting.await.map_err(TlsError::Handshake)?;
    Ok(Transport::tls_client(stream))
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
    // Systems have a few certificates that rustls does not accept; the others are what matters.
    roots.add_parsable_certificates(found.certs);
    client_config(roots)
}

fn client_config(roots: RootCertStore) -> Result<Arc<ClientConfig>, TlsError> {
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    let mut config = ClientConfig::builder_with_provider(provider()?)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::settings)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// TLS settings of a server: its certificate and key. Clones share tickets, so that clients can
/// resume.
///
/// Sessions resume with tickets that the clients keep (RFC 8446 section 2.2, RFC 5077), so any
/// number of them costs the server nothing. The keys of the tickets belong to this process and are
/// replaced every six hours.
#[derive(Clone)]
pub struct ServerTls(TlsAcceptor);

impl ServerTls {
    /// The certificate chain (the server's own first) and the private key, each in a PEM file.
    ///
    /// # Errors
    /// [`TlsError::Pem`]; [`TlsError::Settings`] if the key does not belong to the certificate;
    /// [`TlsError::NoProvider`].
    pub fn from_pem_files(
        certificates: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsError> {
        let what = in_file("certificates", certificates.as_ref());
        let chain = CertificateDer::pem_file_iter(certificates);
        let chain = chain.and_then(Iterator::collect).and_then(not_empty);
        let chain = chain.map_err(|error| TlsError::pem(&what, error))?;
        let what = in_file("private key", key.as_ref());
        let key = PrivateKeyDer::from_pem_file(key).map_err(|error| TlsError::pem(&what, error))?;
        Self::from_parts(chain, key)
    }

    /// Like [`from_pem_files`](Self::from_pem_files), but takes the PEM text itself.
    ///
    /// # Errors
    /// As [`from_pem_files`](Self::from_pem_files).
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain: Result<_, _> = CertificateDer::pem_slice_iter(certificates).collect();
        let chain =
            chain.and_then(not_empty).map_err(|error| TlsError::pem("certificates", error))?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| TlsError::pem("private key", error))?;
        Self::from_parts(chain, key)
    }

    fn from_parts(
        certificates: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, TlsError> {
        let mut config = ServerConfig::builder_with_provider(provider()?)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::settings)?
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .map_err(TlsError::settings)?;
        remember_sessions(&mut config)?;
        Ok(Self::from_config(config))
    }

    /// Takes complete rustls settings: several certificates, client certificates, versions. If they
    /// name no protocol (ALPN), `http/1.1` is added; if they name others than that, clients may
    /// select only these, also with HTTP/2 (feature `http2`), which is `h2`. They also decide how sessions resume: rustls
    /// keeps 256 in memory by default, which is enough for 128 clients of TLS 1.3; a `ticketer` has
    /// no such bound.
    ///
    /// They are of the rustls version that this crate re-exports as
    /// [`tautline::rustls`](crate::rustls).
    #[must_use]
    pub fn from_config(config: impl Into<Arc<ServerConfig>>) -> Self {
        let mut config = config.into();
        if config.alpn_protocols.is_empty() {
            Arc::make_mut(&mut config).alpn_protocols = vec![ALPN.to_vec()];
        }
        Self(TlsAcceptor::from(config))
    }

    /// Lets clients select HTTP/2, before HTTP/1.1, unless the settings name protocols of their own.
    #[cfg(feature = "http2")]
    pub(crate) fn with_http2(self) -> Self {
        let mut config = self.0.config().clone();
        if config.alpn_protocols != [ALPN] {
            return self;
        }
        Arc::make_mut(&mut config).alpn_protocols = vec![ALPN_HTTP2.to_vec(), ALPN.to_vec()];
        Self(TlsAcceptor::from(config))
    }

    pub(crate) async fn accept<S>(&self, stream: S) -> io::Result<Transport<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let accepting = self.0.accept_with(ReadAhead::new(stream), |session| {
            session.set_buffer_limit(Some(WRITE_LIMIT));
        });
        Ok(Transport::tls_server(accepting.await?))
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

/// Tickets, which the client keeps: a cache in memory holds so few sessions that none would resume
/// under load.
#[cfg(feature = "ring")]
fn remember_sessions(config: &mut ServerConfig) -> Result<(), TlsError> {
    config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(TlsError::settings)?;
    Ok(())
}

/// As with `ring`.
#[cfg(all(feature = "aws-lc-rs", not(feature = "ring")))]
fn remember_sessions(config: &mut ServerConfig) -> Result<(), TlsError> {
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(TlsError::settings)?;
    Ok(())
}

/// A provider that the process installed has no common interface for tickets: use a cache, larger
/// than rustls's own.
#[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
fn remember_sessions(config: &mut ServerConfig) -> Result<(), TlsError> {
    config.session_storage = rustls::server::ServerSessionMemoryCache::new(CACHED_SESSIONS);
    Ok(())
}

/// Sessions kept in memory if there are no tickets, two for each client of TLS 1.3: up to about 20
/// MiB.
#[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
const CACHED_SESSIONS: usize = 16 << 10;

/// What TLS negotiated for a connection: see [`Transport::tls`].
#[derive(Clone, Copy)]
pub struct TlsInfo<'a> {
    common: &'a rustls::CommonState,
    server_name: Option<&'a str>,
}

impl<'a> TlsInfo<'a> {
    pub(crate) fn client(connection: &'a rustls::ClientConnection) -> Self {
        Self { common: connection, server_name: None }
    }

    pub(crate) fn server(connection: &'a rustls::ServerConnection) -> Self {
        Self { common: connection, server_name: connection.server_name() }
    }

    /// The version of TLS, such as `"TLSv1.3"`.
    #[must_use]
    pub fn version(&self) -> Option<&'static str> {
        match self.common.protocol_version()? {
            rustls::ProtocolVersion::TLSv1_2 => Some("TLSv1.2"),
            rustls::ProtocolVersion::TLSv1_3 => Some("TLSv1.3"),
            _ => None,
        }
    }

    /// Whether an earlier session was resumed, which saves a round trip and most of the
    /// computation.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.common.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }

    /// The protocol negotiated by ALPN (RFC 7301), such as `http/1.1`.
    #[must_use]
    pub fn alpn(&self) -> Option<&'a [u8]> {
        self.common.alpn_protocol()
    }

    /// On a server: the host name that the client requested (SNI, RFC 6066 section 3).
    #[must_use]
    pub const fn server_name(&self) -> Option<&'a str> {
        self.server_name
    }

    /// The peer's certificate chain in DER, its own certificate first. A server has one only if its
    /// settings request client certificates.
    pub fn peer_certificates(&self) -> impl Iterator<Item = &'a [u8]> {
        self.common.peer_certificates().unwrap_or_default().iter().map(AsRef::as_ref)
    }
}

impl fmt::Debug for TlsInfo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsInfo")
            .field("version", &self.version())
            .field("resumed", &self.is_resumed())
            .field("alpn", &self.alpn().map(String::from_utf8_lossy))
            .field("server_name", &self.server_name)
            .finish()
    }
}

/// The crypto provider: the one that the process installed, or else the one that this crate was
/// built with. Never panics.
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

fn in_file(what: &str, path: &Path) -> String {
    format!("{what} in {}", path.display())
}

fn not_empty(
    chain: Vec<CertificateDer<'static>>,
) -> Result<Vec<CertificateDer<'static>>, PemError> {
    if chain.is_empty() { Err(PemError::NoItemsFound) } else { Ok(chain) }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;

    // With two files, the error for one that is missing, or for both in the wrong order, named
    // neither the file nor what was wrong.
    #[test]
    fn an_error_names_the_file_and_what_was_to_be_in_it() {
        let error = ServerTls::from_pem_files("/none/chain.pem", "/none/key.pem").unwrap_err();
        assert_eq!(error.to_string(), "cannot read the certificates in /none/chain.pem");
        let error = ClientTls::from_ca_file("/none/ca.pem").unwrap_err();
        assert_eq!(error.to_string(), "cannot read the certificates in /none/ca.pem");
        let error = ServerTls::from_pem(b"", b"").unwrap_err();
        assert_eq!(error.to_string(), "cannot read the certificates");
    }
}
