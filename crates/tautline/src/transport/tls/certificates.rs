//! The certificates of a server, which can be replaced while it runs.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::TlsError;
use super::certificate::{Again, ServerCertificate};
use super::names::Names;

/// The certificates of a server, and the handle to replace them while it runs. Clones share them.
///
/// Each client gets the certificate for the host name that it asks for (SNI, RFC 6066 section 3): one
/// that has the name, or else one with a wildcard for it, which stands for one label. Of several, it
/// is the first whose signature the client can verify, so that there may be one with ECDSA and one
/// with RSA. Clients that ask for no name, or for one that no certificate has, get the default.
///
/// Replacing them affects no open connection: handshakes that begin later use the new ones. Clients
/// that resume a session are not shown a certificate.
///
/// ```
/// use tautline::{Certificates, ServerCertificate, ServerTls, TlsError};
///
/// fn settings() -> Result<(ServerTls, Certificates), TlsError> {
///     let default = ServerCertificate::from_pem_files("example.com.pem", "example.com.key")?;
///     let other = ServerCertificate::from_pem_files("example.org.pem", "example.org.key")?;
///     let certificates = Certificates::new(default, [other]);
///     Ok((ServerTls::builder(certificates.clone()).build()?, certificates))
/// }
/// // Later: `certificates.replace(default, [other])`, or `certificates.reload()?`.
/// # assert!(settings().is_err());
/// ```
#[derive(Clone)]
pub struct Certificates(Arc<Shared>);

/// Read once for each handshake.
pub(super) struct Shared(RwLock<Arc<Set>>);

/// Certificates that are in use together.
pub(super) struct Set {
    /// The first is the default.
    all: Vec<ServerCertificate>,
    names: Names,
}

impl Certificates {
    /// The default, and others, which have precedence over each other in this order.
    pub fn new(
        default: ServerCertificate,
        others: impl IntoIterator<Item = ServerCertificate>,
    ) -> Self {
        let set = Set::new(std::iter::once(default).chain(others).collect());
        Self(Arc::new(Shared(RwLock::new(Arc::new(set)))))
    }

    /// Replaces all of them, for every handshake that begins after this.
    pub fn replace(
        &self,
        default: ServerCertificate,
        others: impl IntoIterator<Item = ServerCertificate>,
    ) {
        let set = Arc::new(Set::new(std::iter::once(default).chain(others).collect()));
        *self.0.0.write().unwrap_or_else(PoisonError::into_inner) = set;
    }

    /// Reads the files of all certificates that came from files, and uses what is in them from now
    /// on; the others stay. If one fails, nothing changes. An OCSP response that cannot be read is no
    /// failure if its certificate is a new one, which is then served without. If [`replace`](Self::replace) is called
    /// meanwhile, its certificates stay.
    ///
    /// This blocks until the files are read. [`watch`](Self::watch) does it by itself.
    ///
    /// # Errors
    /// As [`ServerCertificate::from_pem_files`] and [`ServerCertificate::with_ocsp_file`].
    pub fn reload(&self) -> Result<(), TlsError> {
        let before = self.0.current();
        let mut all = before.all.clone();
        for certificate in &mut all {
            let Some((files, print)) = certificate.source() else { continue };
            match files.again(*print, |_| true) {
                Again::Loaded(again, _) => *certificate = again,
                Again::Failed(error) => return Err(error),
                Again::Same => {}
            }
        }
        self.0.install(&before, all);
        Ok(())
    }

    pub(super) fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::new(Resolver(self.0.clone()))
    }

    /// Without keeping them alive.
    pub(super) fn downgrade(&self) -> Weak<Shared> {
        Arc::downgrade(&self.0)
    }
}

/// The default, and no others.
impl From<ServerCertificate> for Certificates {
    fn from(default: ServerCertificate) -> Self {
        Self::new(default, [])
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0.current().all).finish()
    }
}

impl Shared {
    pub(super) fn current(&self) -> Arc<Set> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Uses these instead of those that they were made from, unless they were replaced by others
    /// meanwhile. Returns what is in use then.
    pub(super) fn install(&self, before: &Arc<Set>, all: Vec<ServerCertificate>) -> Arc<Set> {
        let set = Arc::new(Set::new(all));
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&current, before) {
            *current = set;
        }
        current.clone()
    }
}

impl Set {
    fn new(all: Vec<ServerCertificate>) -> Self {
        let names = Names::new(all.iter().map(ServerCertificate::names));
        Self { all, names }
    }

    pub(super) fn all(&self) -> &[ServerCertificate] {
        &self.all
    }

    fn find(&self, hello: &ClientHello<'_>) -> Option<&Arc<CertifiedKey>> {
        let mut first = None;
        let mut named = hello.server_name().into_iter().flat_map(|name| self.names.find(name));
        let usable = named.find(|&index| {
            first.get_or_insert(index);
            let schemes = hello.signature_schemes();
            self.all.get(index).is_some_and(|one| one.key().key.choose_scheme(schemes).is_some())
        });
        // If the client can verify none of them, it is told so by rustls.
        self.all.get(usable.or(first).unwrap_or(0)).map(ServerCertificate::key)
    }
}

/// Kept apart, so that rustls's trait is no part of the public API.
struct Resolver(Arc<Shared>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.current().find(&hello).cloned()
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}
