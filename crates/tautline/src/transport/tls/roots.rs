//! Certificate authorities from PEM.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{Error as PemError, PemObject};

use super::TlsError;
use super::settings::in_file;

pub(super) fn from_file(path: &Path) -> Result<RootCertStore, TlsError> {
    let what = in_file("certificates", path);
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| TlsError::pem(&what, error))?;
    collect(certificates, &what)
}

pub(super) fn from_pem(certificates: &[u8]) -> Result<RootCertStore, TlsError> {
    collect(CertificateDer::pem_slice_iter(certificates), "certificates")
}

fn collect(
    certificates: impl Iterator<Item = Result<CertificateDer<'static>, PemError>>,
    what: &str,
) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots
            .add(certificate.map_err(|error| TlsError::pem(what, error))?)
            .map_err(TlsError::settings)?;
    }
    if roots.is_empty() { Err(TlsError::NoRoots) } else { Ok(roots) }
}
