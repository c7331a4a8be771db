//! How a server is started and ended.

mod participants;
mod shares;

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::sys;

pub(crate) use participants::{ALL, HUB, Kind, OWN_TLS, Participant, STACKS};
pub(crate) use shares::shares;

/// The core of the server; the generator has [`GENERATOR_CORE`].
pub(crate) const SERVER_CORE: usize = 0;
/// The core of the generator.
pub(crate) const GENERATOR_CORE: usize = 1;
/// Where a server is measured that uses more than one, and the generator runs beside it.
pub(crate) const BOTH_CORES: &[usize] = &[SERVER_CORE, GENERATOR_CORE];

/// Where the programs are.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The servers written in Rust.
    pub(crate) programs: PathBuf,
    /// Where npm installed Bun and `ws`.
    pub(crate) node: PathBuf,
    /// The scripts.
    pub(crate) scripts: PathBuf,
    /// `cert.pem` and `key.pem`.
    pub(crate) tls: PathBuf,
}

impl Places {
    /// Whether this participant was built.
    pub(crate) fn has(&self, participant: &Participant) -> bool {
        match participant.kind {
            Kind::JavaScript => self.engine(participant).is_some_and(|engine| engine.exists()),
            _ => self.programs.join(participant.program).exists(),
        }
    }

    /// What runs a script.
    fn engine(&self, participant: &Participant) -> Option<PathBuf> {
        let modules = self.node.join("node_modules");
        match participant.package {
            "bun" => Some(modules.join("bun/bin/bun.exe")),
            package if modules.join(package).exists() => which("node"),
            _ => None,
        }
    }

    fn command(&self, participant: &Participant) -> Command {
        match (participant.kind, self.engine(participant)) {
            (Kind::JavaScript, Some(engine)) => {
                let mut command = Command::new(engine);
                command.arg(self.scripts.join(participant.program));
                command.env("NODE_PATH", self.node.join("node_modules"));
                command
            }
            _ => Command::new(self.programs.join(participant.program)),
        }
    }
}

fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// A process that is measured. It ends when this is dropped, and by itself when this program ends.
pub(crate) struct Running {
    child: Child,
    _stdin: Option<ChildStdin>,
    _stdout: Option<BufReader<ChildStdout>>,
    address: Option<SocketAddr>,
}

/// What a server is asked to do besides.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Extra<'a> {
    pub(crate) tls: bool,
    pub(crate) deflate: Option<&'a str>,
    /// Microseconds of work for each message of a flood.
    pub(crate) busy: Option<&'a str>,
    /// Threads of the runtime, on the server's core unless it has [both](Self::both_cores).
    pub(crate) threads: Option<&'a str>,
    /// Threads with a listener and a runtime each, where the library has such a mode.
    pub(crate) per_core: Option<&'a str>,
    /// The port, which several processes share; 0 for the first of them.
    pub(crate) shared_port: Option<&'a str>,
    /// Whether a client keeps sessions of TLS: yes or no.
    pub(crate) resume: Option<&'a str>,
    /// It may use the generator's core too.
    pub(crate) both_cores: bool,
}

impl Running {
    /// Starts a server and waits until it listens.
    pub(crate) fn server(
        places: &Places,
        participant: &Participant,
        task: &[&str],
        extra: Extra<'_>,
    ) -> io::Result<Self> {
        let mut running = Self::start(places, participant, task, extra)?;
        let stdout = running.child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        while line.is_empty() || !line.starts_with("listening ") {
            line.clear();
            if stdout.read_line(&mut line)? == 0 {
                return Err(io::Error::other(format!("{} did not start", participant.name)));
            }
        }
        let address = line.trim_start_matches("listening ").trim();
        running.address = Some(address.parse().map_err(io::Error::other)?);
        running._stdout = Some(stdout);
        Ok(running)
    }

    /// Starts a client.
    pub(crate) fn start(
        places: &Places,
        participant: &Participant,
        task: &[&str],
        extra: Extra<'_>,
    ) -> io::Result<Self> {
        let mut command = places.command(participant);
        command.args(task);
        if !participant.api.is_empty() {
            command.args(["--api", participant.api]);
        }
        if extra.tls {
            command.arg("--tls").arg(&places.tls);
        }
        if let Some(settings) = extra.deflate {
            command.args(["--deflate", settings]);
        }
        if let Some(busy) = extra.busy {
            command.args(["--busy", busy]);
        }
        if let Some(threads) = extra.threads {
            command.args(["--threads", threads]);
        }
        if let Some(cores) = extra.per_core {
            command.args(["--per-core", cores]);
        }
        if let Some(port) = extra.shared_port {
            command.args(["--port", port]);
        }
        if let Some(resume) = extra.resume {
            command.args(["--resume", resume]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        sys::pin_child(&mut command, if extra.both_cores { BOTH_CORES } else { &[SERVER_CORE] });
        let mut child = command.spawn()?;
        let stdin = child.stdin.take();
        Ok(Self { child, _stdin: stdin, _stdout: None, address: None })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where the server listens.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.address.ok_or_else(|| io::Error::other("a client listens nowhere"))
    }

    /// What the program prints, where nothing was read of it yet.
    pub(crate) fn output(&mut self) -> io::Result<ChildStdout> {
        self.child.stdout.take().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    /// Anonymous resident memory, in bytes.
    pub(crate) fn resident(&self) -> io::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("no RssAnon"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The version of a package: of Cargo.lock, of npm, or of the workspace.
pub(crate) fn version(participant: &Participant, lock: &str, node: &Path) -> String {
    if participant.kind == Kind::JavaScript {
        let manifest = node.join("node_modules").join(participant.package).join("package.json");
        let text = std::fs::read_to_string(manifest).unwrap_or_default();
        let version = text.split("\"version\":").nth(1).and_then(|rest| rest.split('"').nth(1));
        return version.unwrap_or("?").to_owned();
    }
    locked(lock, participant.package, participant.program).unwrap_or_else(|| "?".to_owned())
}

/// The version of a package in a Cargo.lock. Of several it is the one that this program depends
/// on.
fn locked(lock: &str, package: &str, program: &str) -> Option<String> {
    let entry = |name: &str| {
        let found = lock.split(&format!("name = \"{name}\"\n")).nth(1)?;
        found.split("[[package]]").next()
    };
    let quoted = |text: &str, before: &str| {
        let version = text.split(before).nth(1)?.split('"').next()?;
        Some(version.to_owned())
    };
    let among_several = quoted(entry(program)?, &format!("\"{package} "));
    among_several.or_else(|| quoted(entry(package)?, "version = \""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_versions_that_of_the_program_counts() {
        let lock = "\
[[package]]\nname = \"axum\"\nversion = \"0.8.9\"\ndependencies = [\n \"ws 0.29.0\",\n]\n
[[package]]\nname = \"serve-a\"\nversion = \"0.0.0\"\ndependencies = [\n \"axum\",\n \"kit\",\n]\n
[[package]]\nname = \"serve-w\"\nversion = \"0.0.0\"\ndependencies = [\n \"kit\",\n \"ws 0.30.0\",\n]\n
[[package]]\nname = \"ws\"\nversion = \"0.29.0\"\n
[[package]]\nname = \"ws\"\nversion = \"0.30.0\"\n";
        assert_eq!(locked(lock, "ws", "serve-w").as_deref(), Some("0.30.0"));
        assert_eq!(locked(lock, "axum", "serve-a").as_deref(), Some("0.8.9"));
        assert_eq!(locked(lock, "wtx", "serve-a"), None);
    }
}
