//! What TLS negotiated.

use std::fmt;

/// What TLS negotiated for a connection: see [`Transport::tls`](crate::Transport::tls).
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

    /// The cipher suite, such as `"TLS13_AES_256_GCM_SHA384"`.
    #[must_use]
    pub fn cipher_suite(&self) -> Option<&'static str> {
        self.common.negotiated_cipher_suite()?.suite().as_str()
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
            .field("cipher_suite", &self.cipher_suite())
            .field("resumed", &self.is_resumed())
            .field("alpn", &self.alpn().map(String::from_utf8_lossy))
            .field("server_name", &self.server_name)
            .finish()
    }
}
