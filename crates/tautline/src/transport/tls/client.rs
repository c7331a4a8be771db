//! TLS of a client: whom it trusts, and who it is.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io::Write;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;

use super::client_certificate::ClientCertificate;
use super::pins::PublicKeyPin;
use super::settings::{ALPN, ALPN_HTTP2, WRITE_LIMIT};
use super::trust::Trust;
use super::{TlsError, pinning, roots};
use crate::transport::read_ahead::ReadAhead;
use crate::transport::{Base, Transport};

/// TLS settings of a client: whom it trusts, and who it is. Clones share sessions, which makes later
/// connections faster.
///
/// The server's certificate is always verified against the host name or IP address of the URI,
/// except with [`pins_alone`](Self::pins_alone).
///
/// Cipher suites with AES-128-GCM are offered before those with AES-256-GCM, as browsers do: most
/// processors have instructions for SHA-256, few for SHA-384. Most servers choose the first suite that
/// they support. If the process installed a [`CryptoProvider`] whose suites do not begin as those of
/// rustls do, its order is kept. For the order of rustls, use [`from_config`](Self::from_config).
///
/// ```
/// use tautline::{Client, ClientCertificate, ClientTls, TlsError};
///
/// fn client() -> Result<Client, TlsError> {
///     let own = ClientCertificate::from_pem_files("client.pem", "client.key")?;
///     let tls = ClientTls::from_ca_file("ca.pem")?.client_certificate(own);
///     Ok(Client::new().tls(tls))
/// }
/// # assert!(client().is_err());
/// ```
#[derive(Clone)]
pub struct ClientTls {
    trust: Trust,
    certificate: Option<ClientCertificate>,
    /// With an empty list, no server is trusted.
    pins: Option<Arc<[PublicKeyPin]>>,
    /// Made when it is first needed.
    config: Arc<OnceCell<Arc<ClientConfig>>>,
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
        Self::new(Trust::System)
    }

    /// Has the system itself verify certificates, with the crate `rustls-platform-verifier`: on
    /// Windows, macOS, iOS and Android this includes what its administrator and its revocation
    /// services say. Elsewhere it is like [`system_roots`](Self::system_roots).
    ///
    /// On Android the application must initialize that crate first.
    #[cfg(feature = "platform-verifier")]
    #[must_use]
    pub fn platform_verifier() -> Self {
        Self::new(Trust::Platform)
    }

    /// Trusts the certificate authorities that Mozilla trusts, as compiled into the program with the
    /// crate `webpki-roots`: for containers without any of their own. They are only as current as
    /// that crate.
    #[cfg(feature = "webpki-roots")]
    #[must_use]
    pub fn webpki_roots() -> Self {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        Self::new(Trust::Roots(Arc::new(roots)))
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
        let tls = Self::new(Trust::Roots(Arc::new(roots)));
        let config = tls.trust.config(None)?;
        Ok(Self { config: Arc::new(OnceCell::new_with(Some(config))), ..tls })
    }

    /// Trusts whoever has one of these public keys, and nobody else. **Nothing else is verified**:
    /// neither the issuer of the certificate, nor its dates, nor its names. This is for a server with
    /// a certificate that it has signed itself, such as a device; for any other,
    /// [`pins`](Self::pins) adds to the verification.
    ///
    /// The server proves that it has the key, as always (RFC 8446 section 4.4.3).
    #[must_use]
    pub fn pins_alone(pins: impl IntoIterator<Item = PublicKeyPin>) -> Self {
        let pins: Arc<[_]> = pins.into_iter().collect();
        Self { pins: Some(pins.clone()), ..Self::new(Trust::PinsAlone(pins)) }
    }

    /// Takes complete rustls settings: roots, client certificates, versions, verification. If they
    /// name no protocol (ALPN), `http/1.1` is added. If they name others than that, these are offered
    /// as they are, also with HTTP/2 (feature `http2`), which is `h2`; but `h2` is left out where
    /// HTTP/1.1 is spoken.
    ///
    /// They are of the rustls version that this crate re-exports as
    /// [`tautline::rustls`](crate::rustls).
    #[must_use]
    pub fn from_config(config: impl Into<Arc<ClientConfig>>) -> Self {
        let mut config = config.into();
        if config.alpn_protocols.is_empty() {
            Arc::make_mut(&mut config).alpn_protocols = vec![ALPN.to_vec()];
        }
        Self::new(Trust::Config(config))
    }

    fn new(trust: Trust) -> Self {
        Self { trust, certificate: None, pins: None, config: Arc::default() }
    }

    /// Shows this certificate to servers that ask for one (mutual TLS, RFC 8446 section 4.4.2).
    ///
    /// Sessions of settings without it, or with another, are not resumed.
    #[must_use]
    pub fn client_certificate(self, certificate: ClientCertificate) -> Self {
        Self { certificate: Some(certificate), config: Arc::default(), ..self }
    }

    /// Trusts, of the servers that are trusted otherwise, only those whose own certificate has one of
    /// these public keys; with an empty list, none. Others are [refused](TlsError::Pin) before
    /// the request is sent. A [client certificate](Self::client_certificate) is part of the handshake,
    /// before that: a server that is trusted and not pinned can see it, but not its key.
    ///
    /// Authorities' keys are not looked for: to trust a single authority, use
    /// [`from_ca_file`](Self::from_ca_file). Have a second pin, of a key that is kept offline, for
    /// when the first is lost. The pins count for whatever server the [`Client`](crate::Client)
    /// connects to, and for an `https` proxy without settings of its own.
    ///
    /// ```
    /// use tautline::{ClientTls, InvalidPin};
    ///
    /// let pin = "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=".parse()?;
    /// let tls = ClientTls::system_roots().pins([pin]);
    /// # let _ = tls;
    /// # Ok::<(), InvalidPin>(())
    /// ```
    #[must_use]
    pub fn pins(self, pins: impl IntoIterator<Item = PublicKeyPin>) -> Self {
        Self { pins: Some(pins.into_iter().collect()), ..self }
    }

    /// The rustls settings that these come to, for other clients in the same process, such as that of
    /// a message broker. They name no protocol (ALPN), unless those of
    /// [`from_config`](Self::from_config) do.
    ///
    /// # Errors
    /// What the settings cannot be made of. [`TlsError::Settings`] with [`pins`](Self::pins), which
    /// are compared after the handshake, so not by rustls; [`pins_alone`](Self::pins_alone) are part of
    /// the settings.
    pub async fn to_config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        if self.pins.is_some() && !matches!(self.trust, Trust::PinsAlone(_)) {
            return Err(TlsError::Settings(
                "pins cannot be expressed in settings of rustls".into(),
            ));
        }
        let mut config = self.config().await?;
        if config.alpn_protocols == [ALPN] {
            Arc::make_mut(&mut config).alpn_protocols.clear();
        }
        Ok(config)
    }

    async fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let make = || async {
            if !self.trust.is_read_from_disk() {
                return self.trust.config(self.certificate.as_ref());
            }
            // This takes milliseconds: do not block a thread that serves connections.
            let (trust, certificate) = (self.trust.clone(), self.certificate.clone());
            let reading = tokio::task::spawn_blocking(move || trust.config(certificate.as_ref()));
            reading.await.map_err(|error| TlsError::SystemRoots(error.into()))?
        };
        self.config.get_or_try_init(make).await.cloned()
    }

    /// The server has proved to have the key of its certificate: whether that is a key to trust. Also
    /// after resumption, which keeps the certificate.
    fn check_pins(
        &self,
        provider: &CryptoProvider,
        certificates: Option<&[CertificateDer<'_>]>,
    ) -> Result<(), TlsError> {
        let Some(pins) = &self.pins else { return Ok(()) };
        let own = certificates.and_then(<[_]>::first).ok_or(TlsError::NoCertificate)?;
        let found = pinning::of(own, provider)?;
        if pins.contains(&found) { Ok(()) } else { Err(TlsError::Pin { found }) }
    }

    /// What is in `first` is taken out of it as far as it was sent.
    pub(crate) async fn connect<S>(
        &self,
        stream: S,
        host: &str,
        first: &mut BytesMut,
    ) -> Result<Transport<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut config = self.config().await?;
        if config.alpn_protocols.iter().any(|name| name == ALPN_HTTP2) {
            // What follows is HTTP/1.1, whatever the settings name.
            let offered = &mut Arc::make_mut(&mut config).alpn_protocols;
            offered.retain(|name| name != ALPN_HTTP2);
            if offered.is_empty() {
                offered.push(ALPN.to_vec());
            }
        }
        self.connect_with(config, stream, host, first).await
    }

    /// The same over the stream of a [`Client`](crate::Client), of whatever kind it is.
    pub(crate) async fn secure(
        &self,
        stream: Transport,
        host: &str,
        first: &mut BytesMut,
    ) -> Result<Transport, TlsError> {
        match stream.into_base() {
            Base::Tcp(stream) => self.connect(stream, host, first).await,
            Base::Boxed(stream) => Ok(self.connect(stream, host, first).await?.of_any_stream()),
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
        let nothing = &mut BytesMut::new();
        if config.alpn_protocols != [ALPN] {
            return self.connect_with(config, stream, host, nothing).await;
        }
        let protocols: &[&[u8]] = if only { &[ALPN_HTTP2] } else { &[ALPN_HTTP2, ALPN] };
        // Sessions are shared all the same.
        Arc::make_mut(&mut config).alpn_protocols =
            protocols.iter().map(|name| name.to_vec()).collect();
        self.connect_with(config, stream, host, nothing).await
    }

    async fn connect_with<S>(
        &self,
        config: Arc<ClientConfig>,
        stream: S,
        host: &str,
        first: &mut BytesMut,
    ) -> Result<Transport<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(host).map_err(|_| TlsError::ServerName)?.to_owned();
        let provider = config.crypto_provider().clone();
        let connector = TlsConnector::from(config);
        let stream = ReadAhead::new(stream);
        let mut connecting = pin!(connector.connect_with(name, stream, |session| {
            session.set_buffer_limit(Some(WRITE_LIMIT));
            // It leaves once the server is verified: with TLS 1.3 in one packet with the last bytes of the
            // handshake. Pins are checked later, and whoever fails that is sent nothing.
            if self.pins.is_none()
                && let Ok(count) = session.writer().write(first)
            {
                first.advance(count);
            }
        }));
        // Boxed where it comes into being: a session is 1 KiB, and each move of it is a copy.
        let opened = poll_fn(|cx| connecting.as_mut().poll(cx).map_ok(Box::new));
        let stream = opened.await.map_err(TlsError::handshake)?;
        self.check_pins(&provider, stream.get_ref().1.peer_certificates())?;
        Ok(Transport::tls_client(stream))
    }
}

/// Without keys.
impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("trust", &self.trust)
            .field("certificate", &self.certificate)
            .field("pins", &self.pins)
            .finish()
    }
}
