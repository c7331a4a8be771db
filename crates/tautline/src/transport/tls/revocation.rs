//! Lists of certificates that their authorities have revoked.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use webpki::BorrowedCertRevocationList;

use super::TlsError;
use super::settings::{in_file, read};

/// The longest file that is read, in bytes. The largest lists of public authorities have some tens
/// of MiB.
const MAX_FILE: u64 = 64 << 20;

/// What a list in DER starts with: the tag of a SEQUENCE. PEM is text.
const DER_SEQUENCE: u8 = 0x30;

/// The certificates of clients that their authorities have revoked (CRLs, RFC 5280 section 5), and
/// the handle to replace the lists while a server runs. Clones share them.
///
/// [`ClientAuth::revocation_lists`](crate::ClientAuth::revocation_lists) has a server refuse these
/// certificates. Each authority between a client and one that is trusted, and the trusted one too,
/// needs a list here: without one, or if the time of its `nextUpdate` has passed, nobody knows what
/// it has revoked, and clients below it are refused.
///
/// Fetching lists is another program's task; replace them by [`reload`](Self::reload) or
/// [`replace`](Self::replace) in time. That applies to handshakes that begin later. Open connections
/// stay: [`Registry`](crate::Registry) closes them.
///
/// ```
/// use std::time::Duration;
/// use tautline::{ClientAuth, RevocationLists, ServerTls, TlsError};
///
/// async fn settings() -> Result<ServerTls, TlsError> {
///     let lists = RevocationLists::from_file("clients.crl")?;
///     let clients = ClientAuth::from_ca_file("clients.pem")?.revocation_lists(lists.clone());
///     tokio::spawn(async move {
///         loop {
///             tokio::time::sleep(Duration::from_secs(3600)).await;
///             let lists = lists.clone();
///             let reload = tokio::task::spawn_blocking(move || lists.reload());
///             if let Ok(Err(error)) = reload.await {
///                 eprintln!("the previous lists stay: {error}");
///             }
///         }
///     });
///     let certificate = tautline::ServerCertificate::from_pem_files("chain.pem", "key.pem")?;
///     ServerTls::builder(certificate).client_auth(clients).build()
/// }
/// ```
#[derive(Clone)]
pub struct RevocationLists(Arc<Shared>);

struct Shared {
    current: RwLock<Arc<Lists>>,
    path: Option<PathBuf>,
}

/// Lists that are in use together: at least one, and each can be parsed.
pub(super) type Lists = Vec<CertificateRevocationListDer<'static>>;

impl RevocationLists {
    /// The lists in this file: any number in PEM, or one in DER. It may have up to 64 MiB, and is
    /// remembered: [`reload`](Self::reload) reads it again.
    ///
    /// # Errors
    /// [`TlsError::Pem`] if the file cannot be read, or has no list; [`TlsError::Settings`] if one
    /// cannot be parsed, or is of a kind that is not supported: of changes only (delta), or of
    /// another authority (indirect).
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, TlsError> {
        let path = path.as_ref();
        Ok(Self::new(load(path)?, Some(path.to_owned())))
    }

    /// Like [`from_file`](Self::from_file), but takes what is in the file.
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file).
    pub fn from_bytes(lists: &[u8]) -> Result<Self, TlsError> {
        Ok(Self::new(parse(lists, "revocation lists")?, None))
    }

    fn new(lists: Lists, path: Option<PathBuf>) -> Self {
        Self(Arc::new(Shared { current: RwLock::new(Arc::new(lists)), path }))
    }

    /// Replaces all of them by others, in PEM or DER as in [`from_bytes`](Self::from_bytes), for
    /// every handshake that begins after this. If one cannot be parsed, nothing changes.
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file).
    pub fn replace(&self, lists: &[u8]) -> Result<(), TlsError> {
        self.install(parse(lists, "revocation lists")?);
        Ok(())
    }

    /// Reads the file again, and uses what is in it from now on. If that fails, nothing changes. Does
    /// nothing if the lists did not come from a file. This blocks until the file is read.
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file).
    pub fn reload(&self) -> Result<(), TlsError> {
        if let Some(path) = &self.0.path {
            self.install(load(path)?);
        }
        Ok(())
    }

    fn install(&self, lists: Lists) {
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(lists);
    }

    pub(super) fn current(&self) -> Arc<Lists> {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The number of lists, and where they are from.
impl fmt::Debug for RevocationLists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationLists")
            .field("lists", &self.current().len())
            .field("file", &self.0.path)
            .finish()
    }
}

fn load(path: &Path) -> Result<Lists, TlsError> {
    let what = in_file("revocation lists", path);
    let content =
        read(path, MAX_FILE).map_err(|error| TlsError::pem(&what, PemError::Io(error)))?;
    parse(&content, &what)
}

fn parse(content: &[u8], what: &str) -> Result<Lists, TlsError> {
    let lists = if content.first() == Some(&DER_SEQUENCE) {
        vec![CertificateRevocationListDer::from(content.to_vec())]
    } else {
        let lists: Result<Lists, _> =
            CertificateRevocationListDer::pem_slice_iter(content).collect();
        lists.map_err(|error| TlsError::pem(what, error))?
    };
    if lists.is_empty() {
        return Err(TlsError::pem(what, PemError::NoItemsFound));
    }
    for list in &lists {
        BorrowedCertRevocationList::from_der(list)
            .map_err(|error| TlsError::Settings(Box::new(error)))?;
    }
    Ok(lists)
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_list_is_refused_and_its_file_named() {
        let error = RevocationLists::from_file("/none/clients.crl").unwrap_err();
        assert_eq!(error.to_string(), "cannot read the revocation lists in /none/clients.crl");
        // Nothing, text, and a SEQUENCE of something else.
        for nothing in [&b""[..], b"none"] {
            let error = RevocationLists::from_bytes(nothing).unwrap_err();
            assert!(matches!(error, TlsError::Pem { .. }), "{error:?}");
        }
        let error = RevocationLists::from_bytes(&[0x30, 3, 2, 1, 1]).unwrap_err();
        assert!(matches!(error, TlsError::Settings(_)), "{error:?}");
    }
}
