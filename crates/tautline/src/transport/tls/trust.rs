//! Whom a client trusts.

use std::fmt;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use super::TlsError;
use super::client_certificate::ClientCertificate;
use super::pinning::PinsAlone;
use super::pins::PublicKeyPin;
use super::settings::{ALPN, client_provider};

/// How a client verifies the certificates of servers.
#[derive(Clone)]
pub(super) enum Trust {
    /// By the authorities of the system.
    System,
    /// By the system.
    #[cfg(feature = "platform-verifier")]
    Platform,
    Roots(Arc<RootCertStore>),
    PinsAlone(Arc<[PublicKeyPin]>),
    /// As the user's own settings say.
    Config(Arc<ClientConfig>),
}

impl Trust {
    /// Whether making settings takes time.
    pub(super) const fn is_read_from_disk(&self) -> bool {
        match self {
            Self::System => true,
            #[cfg(feature = "platform-verifier")]
            Self::Platform => true,
            Self::Roots(_) | Self::PinsAlone(_) | Self::Config(_) => false,
        }
    }

    /// Settings of a client that trusts like this, and has this certificate.
    pub(super) fn config(
        &self,
        certificate: Option<&ClientCertificate>,
    ) -> Result<Arc<ClientConfig>, TlsError> {
        if let Self::Config(config) = self {
            let mut config = config.clone();
            if let Some(certificate) = certificate {
                Arc::make_mut(&mut config).client_auth_cert_resolver = certificate.resolver();
            }
            return Ok(config);
        }
        let provider = client_provider()?;
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::settings)?;
        let builder = match self {
            #[cfg(feature = "platform-verifier")]
            Self::Platform => {
                let verifier = rustls_platform_verifier::Verifier::new(provider);
                let verifier = Arc::new(verifier.map_err(TlsError::settings)?);
                builder.dangerous().with_custom_certificate_verifier(verifier)
            }
            Self::PinsAlone(pins) => {
                let verifier = Arc::new(PinsAlone { pins: pins.clone(), provider });
                builder.dangerous().with_custom_certificate_verifier(verifier)
            }
            Self::Roots(roots) => builder.with_root_certificates(roots.clone()),
            Self::System | Self::Config(_) => builder.with_root_certificates(system_roots()?),
        };
        let mut config = match certificate {
            Some(certificate) => builder.with_client_cert_resolver(certificate.resolver()),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Arc::new(config))
    }
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a trusted certificate of the system cannot be read");
    }
    let mut roots = RootCertStore::empty();
    // Systems have a few certificates that rustls does not accept; the others are what matters.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() { Err(TlsError::NoRoots) } else { Ok(roots) }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "system roots",
            #[cfg(feature = "platform-verifier")]
            Self::Platform => "the system's verifier",
            Self::Roots(_) => "own roots",
            Self::PinsAlone(_) => "pins alone",
            Self::Config(_) => "own settings",
        })
    }
}
