//! Why TLS could not be set up.

use std::fmt;
use std::io;

use rustls::CertificateError;
use rustls::pki_types::pem::Error as PemError;

use super::pins::{PublicKeyPin, UnknownKey};
use crate::error::BoxError;

/// Why TLS could not be set up or negotiated.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// The crate was built without a crypto provider (features `ring` and `aws-lc-rs`), and the
    /// process installed none.
    NoProvider,
    /// No certificate of a trusted authority was found.
    NoRoots,
    /// Reading the certificate authorities that the system trusts was cut off, by a panic or by the
    /// end of the runtime.
    SystemRoots(BoxError),
    /// PEM data cannot be read, or does not contain what is expected.
    #[non_exhaustive]
    Pem {
        /// What was expected, and in which file.
        what: String,
        /// What is wrong with it.
        source: BoxError,
    },
    /// An OCSP response cannot be read, or is not a successful one.
    #[non_exhaustive]
    Staple {
        /// What was expected, and in which file.
        what: String,
        /// What is wrong with it.
        source: BoxError,
    },
    /// rustls rejected the settings, for instance because the key does not belong to the
    /// certificate.
    Settings(BoxError),
    /// The host of the URI is not a DNS name or IP address that a certificate can be issued for.
    ServerName,
    /// The public key of the server is not one of those that are
    /// [pinned](crate::ClientTls::pins). No request was sent.
    #[non_exhaustive]
    Pin {
        /// The key that it has.
        found: PublicKeyPin,
    },
    /// The server has no certificate whose key could be compared with those that are
    /// [pinned](crate::ClientTls::pins), as settings of rustls may allow.
    NoCertificate,
    /// The TLS handshake failed, for instance because the certificate is not trusted, or not for
    /// this host.
    Handshake(io::Error),
}

impl TlsError {
    pub(super) fn pem(what: &str, error: PemError) -> Self {
        Self::Pem { what: what.to_owned(), source: error.into() }
    }

    pub(super) fn staple(what: &str, error: impl Into<BoxError>) -> Self {
        Self::Staple { what: what.to_owned(), source: error.into() }
    }

    /// Why a handshake of a client failed, by name where that is of ours.
    pub(super) fn handshake(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(rustls::Error::InvalidCertificate(CertificateError::Other(other))) => {
                match other.0.downcast_ref::<UnknownKey>() {
                    Some(UnknownKey(found)) => Self::Pin { found: *found },
                    None => Self::Handshake(error),
                }
            }
            _ => Self::Handshake(error),
        }
    }

    pub(super) fn settings(error: rustls::Error) -> Self {
        Self::Settings(error.into())
    }

    /// Whether the same attempt may succeed later: only if the stream failed in the middle of the
    /// handshake. A decision of rustls itself, such as not to trust a certificate, stays the same.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Handshake(error) => {
                let decided = |inner: &(dyn std::error::Error + Send + Sync + 'static)| {
                    inner.downcast_ref::<rustls::Error>().is_some()
                };
                !error.get_ref().is_some_and(decided)
            }
            Self::NoProvider
            | Self::NoRoots
            | Self::SystemRoots(_)
            | Self::Pem { .. }
            | Self::Staple { .. }
            | Self::Settings(_)
            | Self::Pin { .. }
            | Self::NoCertificate
            | Self::ServerName => false,
        }
    }
}

/// This level only: [`source`](std::error::Error::source) has the next.
impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoProvider => {
                "no crypto provider: enable the feature `ring` or `aws-lc-rs`, or install one"
            }
            Self::NoRoots => "no trusted certificates were found",
            Self::SystemRoots(_) => "the trusted certificates of the system were not read",
            Self::Pem { what, .. } | Self::Staple { what, .. } => {
                return write!(f, "cannot read the {what}");
            }
            Self::Settings(_) => "rustls rejected the TLS settings",
            Self::ServerName => "the host is not a name that a certificate can have",
            Self::Pin { found } => {
                return write!(f, "the server's public key is {found}, which is not pinned");
            }
            Self::NoCertificate => "the server has no certificate whose key could be pinned",
            Self::Handshake(_) => "the TLS handshake failed",
        })
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::SystemRoots(source)
            | Self::Pem { source, .. }
            | Self::Staple { source, .. }
            | Self::Settings(source) => Some(&**source),
            Self::Handshake(error) => Some(error),
            Self::NoProvider
            | Self::NoRoots
            | Self::Pin { .. }
            | Self::NoCertificate
            | Self::ServerName => None,
        }
    }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;
    use crate::error::tests::assert_one_level_each;

    #[test]
    fn each_error_tells_its_own_level() {
        for error in [
            TlsError::NoProvider,
            TlsError::NoRoots,
            TlsError::SystemRoots("task 7 panicked".into()),
            TlsError::pem("certificates in chain.pem", PemError::NoItemsFound),
            TlsError::staple("OCSP response in ocsp.der", "it is a page in HTML"),
            TlsError::settings(rustls::Error::FailedToGetRandomBytes),
            TlsError::ServerName,
            TlsError::Pin { found: PublicKeyPin::sha256([7; 32]) },
            TlsError::NoCertificate,
            TlsError::Handshake(io::Error::other("cut")),
        ] {
            assert_one_level_each(&error);
        }
    }
}
