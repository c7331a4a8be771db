//! Why there is no TLS.

use std::fmt;
use std::io;

use rustls::pki_types::pem::Error as PemError;

use crate::error::BoxError;

/// Why TLS could not be set up or agreed on.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// The crate was built without a crypto provider (features `ring` and `aws-lc-rs`), and the process installed none.
    NoProvider,
    /// No certificate of an authority to trust was found.
    NoRoots,
    /// PEM data cannot be read, or holds no fitting item.
    #[non_exhaustive]
    Pem {
        /// What was to be read, and from which file.
        what: String,
        /// What is wrong with it.
        source: BoxError,
    },
    /// rustls does not take these settings, such as a key that does not belong to its certificate.
    Settings(BoxError),
    /// The host of the URI is neither a DNS name nor an IP address that a certificate can be for.
    ServerName,
    /// The TLS handshake failed: among others, the certificate is not trusted or is not for this host.
    Handshake(io::Error),
}

impl TlsError {
    pub(super) fn pem(what: &str, error: PemError) -> Self {
        Self::Pem { what: what.to_owned(), source: error.into() }
    }

    pub(super) fn settings(error: rustls::Error) -> Self {
        Self::Settings(error.into())
    }

    /// Whether the same attempt may succeed later: only when the stream failed in the middle of the handshake. What rustls
    /// itself decided, such as that a certificate is not to be trusted, it decides again.
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
            | Self::Pem { .. }
            | Self::Settings(_)
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
            Self::Pem { what, .. } => return write!(f, "cannot read the {what}"),
            Self::Settings(_) => "rustls rejected the TLS settings",
            Self::ServerName => "the host is not a name that a certificate can have",
            Self::Handshake(_) => "the TLS handshake failed",
        })
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Pem { source, .. } | Self::Settings(source) => Some(&**source),
            Self::Handshake(error) => Some(error),
            Self::NoProvider | Self::NoRoots | Self::ServerName => None,
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
            TlsError::pem("certificates in chain.pem", PemError::NoItemsFound),
            TlsError::settings(rustls::Error::FailedToGetRandomBytes),
            TlsError::ServerName,
            TlsError::Handshake(io::Error::other("cut")),
        ] {
            assert_one_level_each(&error);
        }
    }
}
