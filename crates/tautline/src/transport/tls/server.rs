//! TLS of a server: its certificate and key.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use super::TlsError;
#[cfg(feature = "http2")]
use super::settings::ALPN_HTTP2;
use super::settings::{ALPN, WRITE_LIMIT, in_file, provider};
use crate::transport::Transport;
use crate::transport::read_ahead::ReadAhead;

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

fn not_empty(
    chain: Vec<CertificateDer<'static>>,
) -> Result<Vec<CertificateDer<'static>>, PemError> {
    if chain.is_empty() { Err(PemError::NoItemsFound) } else { Ok(chain) }
}
