//! TLS of a client: whom it trusts.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;

#[cfg(feature = "http2")]
use super::settings::ALPN_HTTP2;
use super::settings::{ALPN, WRITE_LIMIT, provider};
use super::{TlsError, roots};
use crate::transport::read_ahead::ReadAhead;
use crate::transport::{Base, Transport};

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
        Self::from_roots(roots::from_file(path.as_ref())?)
    }

    /// Like [`from_ca_file`](Self::from_ca_file), but takes the PEM text itself.
    ///
    /// # Errors
    /// As [`from_ca_file`](Self::from_ca_file).
    pub fn from_ca_pem(certificates: &[u8]) -> Result<Self, TlsError> {
        Self::from_roots(roots::from_pem(certificates)?)
    }

    fn from_roots(roots: RootCertStore) -> Result<Self, TlsError> {
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

    /// The same over the stream of a [`Client`](crate::Client), of whatever kind it is.
    pub(crate) async fn secure(
        &self,
        stream: Transport,
        host: &str,
    ) -> Result<Transport, TlsError> {
        match stream.into_base() {
            Base::Tcp(stream) => self.connect(stream, host).await,
            Base::Boxed(stream) => Ok(self.connect(stream, host).await?.of_any_stream()),
        }
    }

    /// The same with HTTP/2.
    #[cfg(feature = "http2")]
    pub(crate) async fn secure_http2(
        &self,
        stream: Transport,
        host: &str,
        only: bool,
    ) -> Result<Transport, TlsError> {
        match stream.into_base() {
            Base::Tcp(stream) => self.connect_http2(stream, host, only).await,
            Base::Boxed(stream) => {
                Ok(self.connect_http2(stream, host, only).await?.of_any_stream())
            }
        }
    }

    /// Offers HTTP/2, and, unless it is to be the only one, HTTP/1.1.
    #[cfg(feature = "http2")]
    async fn connect_http2<S>(
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
