//! Watching the files of certificates.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::TlsError;
use super::certificate::{Again, Print, ServerCertificate};
use super::certificates::{Certificates, Set, Shared};
use crate::error::Chain;

/// How long files must stay as they are before they are loaded: a chain and its key are written one
/// after the other.
const SETTLE: Duration = Duration::from_secs(1);

/// The shortest time between two looks.
const MIN_INTERVAL: Duration = Duration::from_millis(10);

impl Certificates {
    /// One minute: certificates are renewed days before they expire.
    pub const DEFAULT_WATCH_INTERVAL: Duration = Duration::from_secs(60);

    /// Reads the files of the certificates again at this interval (at least 10 ms), and uses what is
    /// in them once it has changed. Spawn this future; drop or abort it to stop watching.
    ///
    /// Contents are compared, not dates: it does not matter whether files are written in place,
    /// renamed, or reached by a symbolic link that is replaced, as in Kubernetes. A change is
    /// loaded when it has stayed the same for a second, or for one interval if that is shorter. Each
    /// certificate is on its own: one that cannot be loaded, for instance because the key does not
    /// belong to it, stays as it was, which is logged once at WARN, and is tried again when its files
    /// change again. What was loaded is logged at INFO.
    ///
    /// Certificates that do not come from files stay as they are. Those that were
    /// [replaced](Self::replace) are no longer watched; the new ones are.
    ///
    /// ```
    /// use tautline::{Certificates, Server, ServerTls};
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let tls = ServerTls::from_pem_files("chain.pem", "key.pem")?;
    /// if let Some(certificates) = tls.certificates() {
    ///     tokio::spawn(certificates.watch(Certificates::DEFAULT_WATCH_INTERVAL));
    /// }
    /// let server = Server::bind("0.0.0.0:443").await?.tls(tls);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Unsupported`, at once, on a runtime without its time driver (`enable_time`). Otherwise it
    /// returns, without an error, when nothing uses the certificates any more.
    pub fn watch(&self, interval: Duration) -> impl Future<Output = io::Result<()>> + Send + use<> {
        watch(self.downgrade(), interval.max(MIN_INTERVAL))
    }
}

async fn watch(certificates: Weak<Shared>, interval: Duration) -> io::Result<()> {
    crate::runtime::check()?;
    let mut watched = Watched::default();
    let mut pause = interval;
    loop {
        tokio::time::sleep(pause).await;
        let Some(shared) = certificates.upgrade() else { return Ok(()) };
        // Reading files must not block a thread that serves connections.
        let looking = tokio::task::spawn_blocking(move || {
            let look = watched.look(&shared);
            (watched, look)
        });
        let look;
        (watched, look) = looking.await.map_err(io::Error::other)?;
        look.events.iter().for_each(Event::log);
        pause = if look.settling { interval.min(SETTLE) } else { interval };
    }
}

/// The certificates as they were at the last look.
#[derive(Default)]
struct Watched {
    set: Option<Arc<Set>>,
    files: Vec<Changes>,
}

impl Watched {
    /// Loads what has changed.
    fn look(&mut self, shared: &Shared) -> Look {
        let set = shared.current();
        if !self.set.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &set)) {
            self.files = set.all().iter().map(|_| Changes::default()).collect();
        }
        let mut look = Look::default();
        let mut all = set.all().to_vec();
        let mut loaded = false;
        for (certificate, changes) in all.iter_mut().zip(&mut self.files) {
            if let Some(again) = look.at(certificate, changes) {
                *certificate = again;
                loaded = true;
            }
        }
        // If they were replaced meanwhile, those that replaced them are watched from the next look on.
        self.set = Some(if loaded { shared.install(&set, all) } else { set });
        look
    }
}

/// What came of a look at all files.
#[derive(Default)]
struct Look {
    /// Something has changed that may not be complete.
    settling: bool,
    events: Vec<Event>,
}

/// What is to be logged of the certificate in this file.
enum Event {
    Loaded(PathBuf),
    WithoutStaple(PathBuf, TlsError),
    Failed(PathBuf, TlsError),
}

impl Look {
    /// Reads the files of one certificate. Returns it as it is now, if it is to be used.
    fn at(
        &mut self,
        certificate: &ServerCertificate,
        changes: &mut Changes,
    ) -> Option<ServerCertificate> {
        let (files, loaded) = certificate.source()?;
        let again = files.again(*loaded, |found| {
            let verdict = changes.see(*loaded, found);
            self.settling |= verdict == Verdict::Settling;
            verdict == Verdict::Load
        });
        let file = files.name().to_owned();
        match again {
            Again::Same => None,
            Again::Loaded(again, no_staple) => {
                self.events.push(match no_staple {
                    Some(error) => Event::WithoutStaple(file, error),
                    None => Event::Loaded(file),
                });
                Some(again)
            }
            Again::Failed(error) => {
                self.events.push(Event::Failed(file, error));
                None
            }
        }
    }
}

impl Event {
    fn log(&self) {
        match self {
            Self::Loaded(file) => {
                tracing::info!(file = %file.display(), "a certificate was loaded again");
            }
            Self::WithoutStaple(file, error) => tracing::warn!(
                file = %file.display(),
                error = %Chain(error),
                "a certificate was loaded again, without an OCSP response"
            ),
            Self::Failed(file, error) => tracing::warn!(
                file = %file.display(),
                error = %Chain(error),
                "a certificate cannot be loaded again, and stays as it was"
            ),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// There is nothing new.
    Same,
    /// There is something new, which may not be complete yet.
    Settling,
    Load,
}

/// When the files of a certificate are loaded.
#[derive(Debug, Default)]
struct Changes {
    /// At the last look there was this, and it was new.
    seen: Option<Print>,
    /// This could not be loaded.
    tried: Option<Print>,
}

impl Changes {
    /// `loaded` is in use, `found` is what the files contain now.
    fn see(&mut self, loaded: Print, found: Print) -> Verdict {
        let before = self.seen.take();
        if found == loaded {
            // If what failed comes back later, it is worth another warning.
            self.tried = None;
            return Verdict::Same;
        }
        if self.tried == Some(found) {
            return Verdict::Same;
        }
        if before == Some(found) {
            self.tried = Some(found);
            return Verdict::Load;
        }
        self.seen = Some(found);
        Verdict::Settling
    }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;

    fn print(pair: u64) -> Print {
        Print { pair, staple: 0 }
    }

    #[test]
    fn a_change_is_loaded_once_and_only_when_it_has_settled() {
        let mut changes = Changes::default();
        let mut see = |loaded, found| changes.see(print(loaded), print(found));
        assert_eq!(see(1, 1), Verdict::Same);
        // The chain is written, and then the key.
        assert_eq!(see(1, 2), Verdict::Settling);
        assert_eq!(see(1, 3), Verdict::Settling);
        assert_eq!(see(1, 3), Verdict::Load);
        assert_eq!(see(3, 3), Verdict::Same);
        // A change that is taken back before it is loaded.
        assert_eq!(see(3, 4), Verdict::Settling);
        assert_eq!(see(3, 3), Verdict::Same);
        assert_eq!(see(3, 4), Verdict::Settling);
        assert_eq!(see(3, 4), Verdict::Load);
        // That failed: it is not tried, nor warned about, again and again.
        assert_eq!(see(3, 4), Verdict::Same);
        assert_eq!(see(3, 4), Verdict::Same);
        assert_eq!(see(3, 5), Verdict::Settling);
        assert_eq!(see(3, 5), Verdict::Load);
        assert_eq!(see(5, 5), Verdict::Same);
        assert_eq!(see(5, 4), Verdict::Settling);
        assert_eq!(see(5, 4), Verdict::Load);
    }

    #[test]
    fn a_new_staple_is_a_change() {
        let mut changes = Changes::default();
        let (old, new) = (Print { pair: 1, staple: 1 }, Print { pair: 1, staple: 2 });
        assert_eq!(changes.see(old, new), Verdict::Settling);
        assert_eq!(changes.see(old, new), Verdict::Load);
    }
}
