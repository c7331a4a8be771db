//! What TLS negotiated.

use std::fmt;
use std::sync::Arc;

/// What TLS negotiated for a connection: see [`WebSocket::tls`](crate::WebSocket::tls) and
/// [`Transport::tls`](crate::Transport::tls).
#[derive(Clone, Copy)]
pub struct TlsInfo<'a>(Source<'a>);

#[derive(Clone, Copy)]
enum Source<'a> {
    Live { common: &'a rustls::CommonState, server_name: Option<&'a str> },
    Kept(&'a TlsFacts),
}

/// The same, kept for the streams of an HTTP/2 connection, which have no TLS of their own.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct TlsFacts {
    version: Option<&'static str>,
    cipher_suite: Option<&'static str>,
    is_resumed: bool,
    alpn: Option<Box<[u8]>>,
    server_name: Option<Box<str>>,
    certificates: Vec<Arc<[u8]>>,
}

impl<'a> TlsInfo<'a> {
    pub(crate) fn client(connection: &'a rustls::ClientConnection) -> Self {
        Self(Source::Live { common: connection, server_name: None })
    }

    pub(crate) fn server(connection: &'a rustls::ServerConnection) -> Self {
        Self(Source::Live { common: connection, server_name: connection.server_name() })
    }

    pub(crate) const fn kept(facts: &'a TlsFacts) -> Self {
        Self(Source::Kept(facts))
    }

    /// For when the connection is out of sight.
    #[cfg(feature = "http2")]
    pub(crate) fn to_facts(self) -> TlsFacts {
        TlsFacts {
            version: self.version(),
            cipher_suite: self.cipher_suite(),
            is_resumed: self.is_resumed(),
            alpn: self.alpn().map(Into::into),
            server_name: self.server_name().map(Into::into),
            certificates: self.peer_certificates().map(Into::into).collect(),
        }
    }

    /// The version of TLS, such as `"TLSv1.3"`.
    #[must_use]
    pub fn version(&self) -> Option<&'static str> {
        let version = match self.0 {
            Source::Live { common, .. } => common.protocol_version()?,
            Source::Kept(facts) => return facts.version,
        };
        match version {
            rustls::ProtocolVersion::TLSv1_2 => Some("TLSv1.2"),
            rustls::ProtocolVersion::TLSv1_3 => Some("TLSv1.3"),
            _ => None,
        }
    }

    /// The cipher suite, such as `"TLS13_AES_128_GCM_SHA256"`.
    #[must_use]
    pub fn cipher_suite(&self) -> Option<&'static str> {
        match self.0 {
            Source::Live { common, .. } => common.negotiated_cipher_suite()?.suite().as_str(),
            Source::Kept(facts) => facts.cipher_suite,
        }
    }

    /// Whether an earlier session was resumed, which saves a round trip and most of the
    /// computation.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        match self.0 {
            Source::Live { common, .. } => {
                common.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
            }
            Source::Kept(facts) => facts.is_resumed,
        }
    }

    /// The protocol negotiated by ALPN (RFC 7301), such as `http/1.1`.
    #[must_use]
    pub fn alpn(&self) -> Option<&'a [u8]> {
        match self.0 {
            Source::Live { common, .. } => common.alpn_protocol(),
            Source::Kept(facts) => facts.alpn.as_deref(),
        }
    }

    /// On a server: the host name that the client requested (SNI, RFC 6066 section 3).
    #[must_use]
    pub fn server_name(&self) -> Option<&'a str> {
        match self.0 {
            Source::Live { server_name, .. } => server_name,
            Source::Kept(facts) => facts.server_name.as_deref(),
        }
    }

    /// The peer's certificate chain in DER, its own certificate first. A server has one only if its
    /// settings request client certificates.
    pub fn peer_certificates(&self) -> impl Iterator<Item = &'a [u8]> {
        let (live, kept) = match self.0 {
            Source::Live { common, .. } => {
                (common.peer_certificates().unwrap_or_default(), &[][..])
            }
            Source::Kept(facts) => (&[][..], &facts.certificates[..]),
        };
        live.iter().map(AsRef::as_ref).chain(kept.iter().map(AsRef::as_ref))
    }
}

impl fmt::Debug for TlsInfo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsInfo")
            .field("version", &self.version())
            .field("cipher_suite", &self.cipher_suite())
            .field("resumed", &self.is_resumed())
            .field("alpn", &self.alpn().map(String::from_utf8_lossy))
            .field("server_name", &self.server_name())
            .finish()
    }
}
