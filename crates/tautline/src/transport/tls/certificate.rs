//! One certificate of a server, with its key, and the files that it came from.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;

use super::TlsError;
use super::settings::{in_file, provider, read};
use super::staple::is_successful;

/// The longest file that is read, in bytes. Chains and keys have a few thousand.
const MAX_FILE: u64 = 1 << 20;

/// A certificate of a server: its chain, its private key, and, if there is one, the OCSP response
/// that clients get with it. Cheap to clone.
///
/// [`Certificates`](crate::Certificates) holds one or several.
#[derive(Clone)]
pub struct ServerCertificate(Arc<Loaded>);

struct Loaded {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
    source: Option<(Files, Print)>,
}

/// Where a certificate comes from.
#[derive(Clone)]
pub(super) struct Files {
    chain: PathBuf,
    key: PathBuf,
    ocsp: Option<PathBuf>,
}

/// What the files of a certificate contained, in short: it is compared with what they contain later,
/// without a copy of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Print {
    pub(super) pair: u64,
    pub(super) staple: u64,
}

/// What was read from the files of a certificate.
struct Contents {
    chain: io::Result<Vec<u8>>,
    key: io::Result<Vec<u8>>,
    staple: Option<io::Result<Vec<u8>>>,
}

impl ServerCertificate {
    /// The certificate chain (the server's own first) and the private key, each in a PEM file; both
    /// may be the same file. A file may have up to 1 MiB.
    ///
    /// The files are remembered: [`Certificates::reload`](crate::Certificates::reload) and
    /// [`Certificates::watch`](crate::Certificates::watch) read them again.
    ///
    /// # Errors
    /// [`TlsError::Pem`]; [`TlsError::Settings`] if the key does not belong to the certificate, or
    /// the certificate cannot be parsed; [`TlsError::NoProvider`].
    pub fn from_pem_files(
        chain: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsError> {
        let [chain, key] = [chain.as_ref(), key.as_ref()].map(Path::to_owned);
        Files { chain, key, ocsp: None }.load()
    }

    /// Like [`from_pem_files`](Self::from_pem_files), but takes the PEM text itself.
    ///
    /// # Errors
    /// As [`from_pem_files`](Self::from_pem_files).
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        Self::new(certified_pem(chain, key)?, None)
    }

    /// Adds the OCSP response in this file (RFC 6066 section 8), in DER, as `openssl ocsp -respout`
    /// writes it. It is sent to clients that ask for it, and read again with the certificate if
    /// that came from files. If it cannot be read again, the certificate keeps the previous one; a
    /// new certificate is served without.
    ///
    /// Fetching it from time to time is another program's task. Clients check its signature and its
    /// dates; this crate does not.
    ///
    /// # Errors
    /// [`TlsError::Staple`] if the file cannot be read, or is not a successful OCSP response; as
    /// [`from_pem_files`](Self::from_pem_files) if the certificate came from files, since all of them
    /// are read together.
    pub fn with_ocsp_file(self, path: impl AsRef<Path>) -> Result<Self, TlsError> {
        let path = path.as_ref();
        match &self.0.source {
            Some((files, _)) => Files { ocsp: Some(path.to_owned()), ..files.clone() }.load(),
            None => self.with_staple(read(path, MAX_FILE), &in_file("OCSP response", path)),
        }
    }

    /// Like [`with_ocsp_file`](Self::with_ocsp_file), but takes the response itself. Reading the
    /// files of the certificate again drops it.
    ///
    /// # Errors
    /// [`TlsError::Staple`] if it is not a successful OCSP response.
    pub fn with_ocsp(self, response: impl Into<Vec<u8>>) -> Result<Self, TlsError> {
        self.with_staple(Ok(response.into()), "OCSP response")
    }

    fn with_staple(self, response: io::Result<Vec<u8>>, what: &str) -> Result<Self, TlsError> {
        let response = staple(response, what)?;
        let Loaded { key, names, source } = &*self.0;
        let key = Arc::new(CertifiedKey { ocsp: Some(response), ..(**key).clone() });
        Ok(Self(Arc::new(Loaded { key, names: names.clone(), source: source.clone() })))
    }

    /// The DNS names that the certificate is for, as it has them: `example.com`, `*.example.com`.
    /// Clients that ask for one of them (SNI) get this certificate.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.names.iter().map(String::as_str)
    }

    fn new(key: CertifiedKey, source: Option<(Files, Print)>) -> Result<Self, TlsError> {
        let own = key.end_entity_cert().map_err(TlsError::settings)?;
        let parsed =
            EndEntityCert::try_from(own).map_err(|error| TlsError::Settings(Box::new(error)))?;
        let names = parsed.valid_dns_names().map(str::to_owned).collect();
        Ok(Self(Arc::new(Loaded { key: Arc::new(key), names, source })))
    }

    pub(super) fn key(&self) -> &Arc<CertifiedKey> {
        &self.0.key
    }

    /// Where it came from, and what was in there.
    pub(super) fn source(&self) -> Option<&(Files, Print)> {
        self.0.source.as_ref()
    }
}

/// The names and the files, without the key.
impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCertificate")
            .field("names", &self.0.names)
            .field("file", &self.0.source.as_ref().map(|(files, _)| files.name()))
            .field("ocsp", &self.0.key.ocsp.is_some())
            .finish_non_exhaustive()
    }
}

/// A certificate that was read again, if it is to be loaded.
pub(super) enum Again {
    Same,
    /// With why it has no OCSP response, if it should have one.
    Loaded(ServerCertificate, Option<TlsError>),
    Failed(TlsError),
}

impl Files {
    /// What the certificate is called in logs.
    pub(super) fn name(&self) -> &Path {
        &self.chain
    }

    fn load(self) -> Result<ServerCertificate, TlsError> {
        let contents = self.read();
        match self.parse(contents, None)? {
            (certificate, None) => Ok(certificate),
            (_, Some(error)) => Err(error),
        }
    }

    /// Reads the files, and loads the certificate anew if `decide` says so of what they contain.
    pub(super) fn again(&self, loaded: Print, decide: impl FnOnce(Print) -> bool) -> Again {
        let contents = self.read();
        if !decide(contents.print()) {
            return Again::Same;
        }
        match self.clone().parse(contents, Some(loaded)) {
            Ok((certificate, no_staple)) => Again::Loaded(certificate, no_staple),
            Err(error) => Again::Failed(error),
        }
    }

    fn read(&self) -> Contents {
        Contents {
            chain: read(&self.chain, MAX_FILE),
            key: read(&self.key, MAX_FILE),
            staple: self.ocsp.as_deref().map(|path| read(path, MAX_FILE)),
        }
    }

    /// `before` is what the files contained when the certificate was loaded that is in use. The new
    /// one may have to do without an OCSP response.
    fn parse(
        self,
        contents: Contents,
        before: Option<Print>,
    ) -> Result<(ServerCertificate, Option<TlsError>), TlsError> {
        let print = contents.print();
        let what = [in_file("certificates", &self.chain), in_file("private key", &self.key)];
        let chain = contents.chain.map_err(|error| TlsError::pem(&what[0], PemError::Io(error)))?;
        let private = contents.key.map_err(|error| TlsError::pem(&what[1], PemError::Io(error)))?;
        let mut key = certified(&chain, &what[0], &private, &what[1])?;
        let mut no_staple = None;
        if let (Some(path), Some(response)) = (&self.ocsp, contents.staple) {
            match staple(response, &in_file("OCSP response", path)) {
                Ok(response) => key.ocsp = Some(response),
                // The old response is not for the new certificate, which must not wait for one.
                Err(error) if before.is_some_and(|before| before.pair != print.pair) => {
                    no_staple = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok((ServerCertificate::new(key, Some((self, print)))?, no_staple))
    }
}

impl Contents {
    fn print(&self) -> Print {
        Print { pair: hash([&self.chain, &self.key]), staple: hash(&self.staple) }
    }
}

/// A file that cannot be read has a content too, which differs from that of one that can.
fn hash<'a>(contents: impl IntoIterator<Item = &'a io::Result<Vec<u8>>>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for content in contents {
        content.as_ref().map_err(io::Error::kind).hash(&mut hasher);
    }
    hasher.finish()
}

/// A chain and its key from two files in PEM.
pub(super) fn certified_in(chain: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let what = [in_file("certificates", chain), in_file("private key", key)];
    let read = |path, what: &str| {
        read(path, MAX_FILE).map_err(|error| TlsError::pem(what, PemError::Io(error)))
    };
    certified(&read(chain, &what[0])?, &what[0], &read(key, &what[1])?, &what[1])
}

/// The same from text.
pub(super) fn certified_pem(chain: &[u8], key: &[u8]) -> Result<CertifiedKey, TlsError> {
    certified(chain, "certificates", key, "private key")
}

fn certified(
    chain: &[u8],
    what_chain: &str,
    key: &[u8],
    what_key: &str,
) -> Result<CertifiedKey, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let chain = chain.and_then(not_empty).map_err(|error| TlsError::pem(what_chain, error))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| TlsError::pem(what_key, error))?;
    CertifiedKey::from_der(chain, key, &*provider()?).map_err(TlsError::settings)
}

fn not_empty(
    chain: Vec<CertificateDer<'static>>,
) -> Result<Vec<CertificateDer<'static>>, PemError> {
    if chain.is_empty() { Err(PemError::NoItemsFound) } else { Ok(chain) }
}

fn staple(response: io::Result<Vec<u8>>, what: &str) -> Result<Vec<u8>, TlsError> {
    let response = response.map_err(|error| TlsError::staple(what, error))?;
    if is_successful(&response) {
        return Ok(response);
    }
    Err(TlsError::staple(what, "it is not a successful OCSP response in DER"))
}
