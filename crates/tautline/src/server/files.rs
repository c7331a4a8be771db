//! How many files the process may have open, which is how many connections over TCP there can be.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

/// Files that are left to the rest of the process: what handlers open, the next connection while it
/// is refused, lookups of names. An eighth of the limit, if that is less.
const SPARE: u64 = 64;

/// What all running servers of the process have been promised.
static PROMISED: Mutex<u64> = Mutex::new(0);

/// What the system says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Files {
    /// The limit that applies.
    soft: u64,
    /// As far as the process may raise it.
    hard: u64,
    /// How many are open.
    open: u64,
}

/// What a server asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) connections: usize,
    /// Among how many servers the files are shared out, this one included: those of all cores.
    pub(super) servers: NonZeroUsize,
    /// Whether connections can be streams of HTTP/2, which take no file.
    pub(super) streams: bool,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fit {
    /// The soft limit is to be raised to this.
    raise_to: Option<u64>,
    /// How many connections there are files for, if those are fewer than wanted.
    room: Option<usize>,
}

impl Wanted {
    /// `promised` are the connections of other servers of the process. They can be raised for, but
    /// take nothing away where that is not enough: else the first server would leave nothing to a
    /// second, though neither may ever be full.
    fn fit(self, promised: u64, files: Files) -> Fit {
        let connections = u64::try_from(self.connections).unwrap_or(u64::MAX);
        let taken = files.open.saturating_add(SPARE.min(files.hard / 8));
        let needed = taken.saturating_add(promised).saturating_add(connections).min(files.hard);
        let room = (files.hard.saturating_sub(taken) / self.servers.get() as u64).max(1);
        Fit {
            raise_to: (needed > files.soft).then_some(needed),
            room: (room < connections).then(|| usize::try_from(room).unwrap_or(usize::MAX)),
        }
    }
}

/// Files that a server was promised, until this is dropped.
#[derive(Debug)]
pub(super) struct Promise {
    connections: usize,
}

impl Promise {
    /// Raises the system's limit to what is wanted, as far as it may be; returns what there is
    /// room for.
    pub(super) fn of(wanted: Wanted) -> Self {
        // One at a time: the limit is read and then set.
        let mut promised = PROMISED.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = fit(wanted, *promised);
        *promised = promised.saturating_add(connections as u64);
        Self { connections }
    }

    /// How many connections the server may have.
    pub(super) const fn connections(&self) -> usize {
        self.connections
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let mut promised = PROMISED.lock().unwrap_or_else(PoisonError::into_inner);
        *promised = promised.saturating_sub(self.connections as u64);
    }
}

#[cfg(not(unix))]
const fn fit(wanted: Wanted, _promised: u64) -> usize {
    wanted.connections
}

#[cfg(unix)]
fn fit(wanted: Wanted, promised: u64) -> usize {
    // A system that does not say has no limit that could be kept.
    let Some(mut files) = ask() else { return wanted.connections };
    let mut fit = wanted.fit(promised, files);
    if let Some(raised) = fit.raise_to {
        match rlimit::setrlimit(rlimit::Resource::NOFILE, raised, files.hard) {
            Ok(()) => {
                tracing::info!(from = files.soft, to = raised, "raised the limit of open files");
            }
            Err(error) => {
                tracing::warn!(%error, from = files.soft, to = raised, "could not raise the limit of open files");
                // What there is has to do.
                files.hard = files.soft;
                fit = wanted.fit(promised, files);
            }
        }
    }
    let Some(room) = fit.room else { return wanted.connections };
    let (max_connections, open_files) = (wanted.connections, files.hard);
    if wanted.streams {
        tracing::warn!(
            max_connections,
            room,
            open_files,
            "the limit of open files has room for fewer connections: others can only be streams of HTTP/2"
        );
        return wanted.connections;
    }
    tracing::warn!(
        max_connections,
        lowered_to = room,
        open_files,
        "max_connections is lowered to what the limit of open files has room for"
    );
    room
}

#[cfg(unix)]
fn ask() -> Option<Files> {
    let (soft, hard) = rlimit::getrlimit(rlimit::Resource::NOFILE).ok()?;
    // Linux has the first, other systems the second.
    let listed = std::fs::read_dir("/proc/self/fd").or_else(|_| std::fs::read_dir("/dev/fd"));
    let open = listed.map_or(0, |entries| entries.count() as u64);
    Some(Files { soft, hard, open })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(connections: usize, servers: usize) -> Wanted {
        let servers = NonZeroUsize::new(servers).expect("not 0");
        Wanted { connections, servers, streams: false }
    }

    const fn files(soft: u64, hard: u64) -> Files {
        Files { soft, hard, open: 10 }
    }

    const fn fits(raise_to: Option<u64>, room: Option<usize>) -> Fit {
        Fit { raise_to, room }
    }

    #[test]
    fn what_fits_is_left_alone() {
        assert_eq!(wanted(900, 1).fit(0, files(1024, 1024)), fits(None, None));
        assert_eq!(wanted(950, 1).fit(0, files(1024, 4096)), fits(None, None), "to the last file");
        let unlimited = files(u64::MAX, u64::MAX);
        assert_eq!(wanted(1 << 30, 4).fit(u64::MAX, unlimited), fits(None, None));
    }

    #[test]
    fn the_limit_is_raised_to_what_is_needed_and_no_further() {
        assert_eq!(wanted(951, 1).fit(0, files(1024, 4096)), fits(Some(1025), None));
        assert_eq!(wanted(100_000, 1).fit(0, files(1024, 1 << 20)), fits(Some(100_074), None));
        // Also for what others were promised.
        assert_eq!(wanted(500, 1).fit(600, files(1024, 4096)), fits(Some(1174), None));
    }

    #[test]
    fn beyond_the_hard_limit_there_are_fewer_connections() {
        assert_eq!(wanted(100_000, 1).fit(0, files(1024, 4096)), fits(Some(4096), Some(4022)));
        assert_eq!(wanted(100_000, 1).fit(0, files(4096, 4096)), fits(None, Some(4022)));
        // Others do not take it away, though more cannot be raised for.
        assert_eq!(wanted(2_000, 1).fit(4_000, files(1024, 4096)), fits(Some(4096), None));
    }

    // Each thread got all, and together they ran out.
    #[test]
    fn the_servers_of_all_cores_share_what_there_is() {
        assert_eq!(wanted(3_000, 4).fit(0, files(4096, 4096)), fits(None, Some(1005)));
        assert_eq!(wanted(1_000, 4).fit(0, files(4096, 4096)), fits(None, None));
    }

    #[test]
    fn a_small_limit_leaves_some_and_always_one() {
        assert_eq!(wanted(100, 1).fit(0, files(32, 32)), fits(None, Some(18)));
        let full = Files { soft: 16, hard: 16, open: 40 };
        assert_eq!(wanted(100, 1).fit(0, full), fits(None, Some(1)));
    }
}
