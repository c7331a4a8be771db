//! TLS of a server: its certificates, whom it asks for theirs, and how sessions resume.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use super::TlsError;
use super::certificate::ServerCertificate;
use super::certificates::Certificates;
use super::client_auth::ClientAuth;
#[cfg(feature = "http2")]
use super::settings::ALPN_HTTP2;
use super::settings::{ALPN, WRITE_LIMIT, provider};
use crate::transport::Transport;
use crate::transport::read_ahead::ReadAhead;

/// TLS settings of a server: its certificates and keys. Clones share tickets, so that clients can
/// resume.
///
/// Sessions resume with tickets that the clients keep (RFC 8446 section 2.2, RFC 5077), so any
/// number of them costs the server nothing. The keys of the tickets belong to this process and are
/// replaced every six hours.
#[derive(Clone)]
pub struct ServerTls {
    acceptor: TlsAcceptor,
    /// `None` for settings of rustls.
    certificates: Option<Certificates>,
}

impl ServerTls {
    /// The certificate chain (the server's own first) and the private key, each in a PEM file, with
    /// the defaults of [`builder`](Self::builder).
    ///
    /// # Errors
    /// As [`ServerCertificate::from_pem_files`].
    pub fn from_pem_files(
        certificates: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsError> {
        Self::builder(ServerCertificate::from_pem_files(certificates, key)?).build()
    }

    /// Like [`from_pem_files`](Self::from_pem_files), but takes the PEM text itself.
    ///
    /// # Errors
    /// As [`from_pem_files`](Self::from_pem_files).
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        Self::builder(ServerCertificate::from_pem(certificates, key)?).build()
    }

    /// Settings with these certificates: one [`ServerCertificate`], or [`Certificates`], which can
    /// be several. See [`ServerTlsBuilder`] for what else can be set.
    ///
    /// ```
    /// use tautline::{ClientAuth, ServerCertificate, ServerTls, TlsError};
    ///
    /// fn settings() -> Result<ServerTls, TlsError> {
    ///     let certificate = ServerCertificate::from_pem_files("chain.pem", "key.pem")?;
    ///     let clients = ClientAuth::from_ca_file("clients.pem")?;
    ///     ServerTls::builder(certificate).client_auth(clients).build()
    /// }
    /// # assert!(settings().is_err());
    /// ```
    pub fn builder(certificates: impl Into<Certificates>) -> ServerTlsBuilder {
        ServerTlsBuilder { certificates: certificates.into(), clients: None, sessions: None }
    }

    /// The certificates, to replace or watch them. `None` for [`from_config`](Self::from_config),
    /// whose settings choose them.
    #[must_use]
    pub const fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    /// Takes complete rustls settings: versions, cipher suites, a resolver of
    /// certificates. If they
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
        Self { acceptor: TlsAcceptor::from(config), certificates: None }
    }

    /// Lets clients select HTTP/2, before HTTP/1.1, unless the settings name protocols of their own.
    #[cfg(feature = "http2")]
    pub(crate) fn with_http2(self) -> Self {
        let mut config = self.acceptor.config().clone();
        if config.alpn_protocols != [ALPN] {
            return self;
        }
        Arc::make_mut(&mut config).alpn_protocols = vec![ALPN_HTTP2.to_vec(), ALPN.to_vec()];
        Self { acceptor: TlsAcceptor::from(config), ..self }
    }

    pub(crate) async fn accept<S>(&self, stream: S) -> io::Result<Transport<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let accepting = self.acceptor.accept_with(ReadAhead::new(stream), |session| {
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

/// Settings of [`ServerTls`]: made by [`ServerTls::builder`].
#[derive(Debug)]
#[must_use = "these are no settings until `build` is called"]
pub struct ServerTlsBuilder {
    certificates: Certificates,
    clients: Option<ClientAuth>,
    /// Kept in memory; `None` for tickets.
    sessions: Option<usize>,
}

impl ServerTlsBuilder {
    /// Asks clients for certificates. Default: they are not asked.
    pub fn client_auth(mut self, clients: ClientAuth) -> Self {
        self.clients = Some(clients);
        self
    }

    /// Keeps this many sessions in the memory of the server, for clients to resume, instead of
    /// giving the clients tickets; with 0, none resume. Each client of TLS 1.3 needs two, of up to
    /// some 600 bytes each, and more by its certificate if it has one. Default: tickets; none resume with
    /// [`ClientAuth::revocation_lists`].
    ///
    /// This gives each resumed session forward secrecy towards the server's memory: who gets hold
    /// of the key of tickets can read the start of sessions that are resumed with them.
    pub const fn session_cache(mut self, sessions: usize) -> Self {
        self.sessions = Some(sessions);
        self
    }

    /// The settings.
    ///
    /// # Errors
    /// [`TlsError::NoProvider`]; [`TlsError::Settings`] if rustls rejects them.
    pub fn build(self) -> Result<ServerTls, TlsError> {
        let provider = provider()?;
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::settings)?;
        // A session would bring back a client whose certificate was revoked meanwhile.
        let revocable = self.clients.as_ref().is_some_and(ClientAuth::is_revocable);
        let sessions = self.sessions.or(revocable.then_some(0));
        let builder = match self.clients {
            Some(clients) => builder.with_client_cert_verifier(clients.verifier(provider)?),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(self.certificates.resolver());
        match sessions {
            Some(0) => {
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
            }
            Some(sessions) => config.session_storage = ServerSessionMemoryCache::new(sessions),
            None => remember_sessions(&mut config)?,
        }
        let certificates = Some(self.certificates);
        Ok(ServerTls { certificates, ..ServerTls::from_config(config) })
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
    config.session_storage = ServerSessionMemoryCache::new(CACHED_SESSIONS);
    Ok(())
}

/// Sessions kept in memory if there are no tickets, two for each client of TLS 1.3: up to about 20
/// MiB.
#[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
const CACHED_SESSIONS: usize = 16 << 10;
