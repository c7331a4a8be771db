//! Who takes part, and how a server is started and ended.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::sys;

/// The core of the server; the generator has [`GENERATOR_CORE`].
pub(crate) const SERVER_CORE: usize = 0;
/// The core of the generator.
pub(crate) const GENERATOR_CORE: usize = 1;

/// What kind of participant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Not a library: what the figures are measured against.
    Yardstick,
    Ours,
    Rust,
    JavaScript,
}

/// A server of the comparison: a library, and the way it is used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Participant {
    /// In tables and on the command line.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// The package of this workspace, or the script.
    pub(crate) program: &'static str,
    /// Whose version is printed: a package of Cargo.lock or of npm.
    pub(crate) package: &'static str,
    /// The interface of the library: `--api`.
    pub(crate) api: &'static str,
    /// What it is, for the report.
    pub(crate) about: &'static str,
}

/// Those that come behind an HTTP server which somebody else runs, by their names.
pub(crate) const STACKS: &[&str] =
    &["tautline-hyper", "tautline-axum", "fastwebsockets-hyper", "axum-ws", "axum-ws-b"];

impl Participant {
    /// Whether it is Tautline in another loop or with another setting, or a library behind an HTTP
    /// server, which the echo scenarios alone are about.
    pub(crate) fn is_variant(&self) -> bool {
        (self.kind == Kind::Ours && self.name != "tautline") || self.is_stack()
    }

    /// Whether an HTTP server comes before it.
    pub(crate) fn is_stack(&self) -> bool {
        STACKS.contains(&self.name)
    }
}

const fn participant(
    name: &'static str,
    kind: Kind,
    program: &'static str,
    package: &'static str,
    api: &'static str,
    about: &'static str,
) -> Participant {
    Participant { name, kind, program, package, api, about }
}

/// All of them, in the order of the tables.
pub(crate) const ALL: &[Participant] = &[
    participant(
        "raw",
        Kind::Yardstick,
        "serve-basics",
        "tokio",
        "raw",
        "Tokio: read 64 KiB, write_all; no WebSocket",
    ),
    participant(
        "floor",
        Kind::Yardstick,
        "serve-basics",
        "tokio",
        "floor",
        "a hand-written echo without limits or checks",
    ),
    participant(
        "tautline",
        Kind::Ours,
        "serve-tautline",
        "tautline",
        "feed",
        "`next` and `feed`, default configuration",
    ),
    participant(
        "tautline-send",
        Kind::Ours,
        "serve-tautline",
        "tautline",
        "send",
        "`next` and `send`: a flush for each message",
    ),
    participant(
        "tautline-quiet",
        Kind::Ours,
        "serve-tautline",
        "tautline",
        "quiet",
        "as tautline, with `ping_interval(None)`: no timer",
    ),
    participant(
        "tautline-hyper",
        Kind::Ours,
        "serve-tautline-stacks",
        "tautline-http",
        "hyper",
        "as tautline, under hyper's own HTTP/1.1 server",
    ),
    participant(
        "tautline-axum",
        Kind::Ours,
        "serve-tautline-stacks",
        "tautline-axum",
        "axum",
        "as tautline, under `axum::serve`",
    ),
    participant(
        "fastwebsockets",
        Kind::Rust,
        "serve-fastwebsockets",
        "fastwebsockets",
        "",
        "a bare stream; one write for each message",
    ),
    participant(
        "fastwebsockets-hyper",
        Kind::Rust,
        "serve-fastwebsockets",
        "fastwebsockets",
        "hyper",
        "its `upgrade`, under hyper's own HTTP/1.1 server",
    ),
    participant(
        "tokio-websockets",
        Kind::Rust,
        "serve-tokio-websockets",
        "tokio-websockets",
        "",
        "`next` and `send`",
    ),
    participant(
        "yawc",
        Kind::Rust,
        "serve-yawc",
        "yawc",
        "send",
        "a bare stream, `next` and `send`",
    ),
    participant(
        "yawc-b",
        Kind::Rust,
        "serve-yawc",
        "yawc",
        "feed",
        "`feed`, flushed when no input is left",
    ),
    participant(
        "yawc-tuned",
        Kind::Rust,
        "serve-yawc",
        "yawc",
        "tuned",
        "as yawc-b, with the buffers of its own benchmark",
    ),
    participant(
        "sockudo-ws",
        Kind::Rust,
        "serve-sockudo-ws",
        "sockudo-ws",
        "send",
        "`next` and `send`",
    ),
    participant(
        "sockudo-ws-b",
        Kind::Rust,
        "serve-sockudo-ws",
        "sockudo-ws",
        "feed",
        "`feed`, flushed when no input is left",
    ),
    participant(
        "sockudo-ws-raw",
        Kind::Rust,
        "serve-sockudo-ws",
        "sockudo-ws",
        "raw",
        "frames without messages, one write for all of a read",
    ),
    participant("wtx", Kind::Rust, "serve-wtx", "wtx", "", "one write for each message"),
    participant(
        "tungstenite",
        Kind::Rust,
        "serve-tokio-tungstenite",
        "tokio-tungstenite",
        "send",
        "`next` and `send`, defaults",
    ),
    participant(
        "tungstenite-tuned",
        Kind::Rust,
        "serve-tokio-tungstenite",
        "tokio-tungstenite",
        "tuned",
        "`feed`, flushed when no input is left; a read buffer of 16 KiB",
    ),
    participant(
        "axum-ws",
        Kind::Rust,
        "serve-axum-ws",
        "axum",
        "send",
        "axum's own `ws`, `recv` and `send`, under `axum::serve`",
    ),
    participant(
        "axum-ws-b",
        Kind::Rust,
        "serve-axum-ws",
        "axum",
        "feed",
        "`feed`, flushed when no input is left",
    ),
    participant("bun", Kind::JavaScript, "bun.js", "bun", "", "uWebSockets inside"),
    participant("node-ws", Kind::JavaScript, "node-ws.js", "ws", "", "on Node"),
];

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
    /// Threads of the runtime, all on the server's core.
    pub(crate) threads: Option<&'a str>,
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
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        sys::pin_child(&mut command, SERVER_CORE);
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

    #[test]
    fn what_comes_behind_an_http_server_takes_part() {
        let found = |name: &&str| ALL.iter().any(|participant| participant.name == *name);
        assert!(STACKS.iter().all(found));
    }
}
