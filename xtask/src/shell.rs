//! Running programs: the command line is printed first, there is a time limit, and what was
//! started is ended, with all that it has started itself.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Why a check did not pass.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It ran, and what it checks is not as it must be.
    Failed(String),
    /// It cannot run here: a tool is missing that cannot be installed.
    Missing(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(what) | Self::Missing(what) => f.write_str(what),
        }
    }
}

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// How often a program that is waited for is looked at.
const POLL: Duration = Duration::from_millis(20);
/// What a program has to end by itself once it was asked to.
const GRACE: Duration = Duration::from_secs(15);

/// A command line with its time limit.
pub(crate) struct Cmd {
    command: Command,
    line: String,
    limit: Duration,
}

impl Cmd {
    /// A program with its arguments as one would type them; arguments with spaces go to `arg`.
    pub(crate) fn new(line: &str) -> Self {
        let mut words = line.split_whitespace();
        Self::program(words.next().unwrap_or_default()).args(words)
    }

    /// A program by its path.
    pub(crate) fn program(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref();
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        Self { command, line: quoted(program), limit: Duration::from_secs(10 * 60) }
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.line.push(' ');
        self.line.push_str(&quoted(arg.as_ref()));
        self.command.arg(arg);
        self
    }

    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        for arg in args {
            self = self.arg(arg);
        }
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.line = format!("{name}={} {}", quoted(value.as_ref()), self.line);
        self.command.env(name, value);
        self
    }

    /// The time after which the program is ended, and has failed; 10 minutes unless told.
    pub(crate) fn limit(mut self, seconds: u64) -> Self {
        self.limit = Duration::from_secs(seconds);
        self
    }

    /// Sends all that it prints to a file.
    pub(crate) fn log(mut self, path: &Path) -> Outcome<Self> {
        let mut open = || {
            let file = File::create(path)?;
            self.command.stdout(file.try_clone()?).stderr(file);
            Ok::<_, std::io::Error>(())
        };
        open().map_err(|error| {
            Failure::Failed(format!("cannot write {}: {error}", path.display()))
        })?;
        Ok(self)
    }

    /// Runs it with its output on the terminal, or in its log.
    pub(crate) fn run(mut self) -> Outcome {
        println!("$ {}", self.line);
        let mut running = Running(self.start()?);
        let status = running.wait(Instant::now() + self.limit);
        self.judge(status)
    }

    /// Runs it and hands each line of its standard output to `each` as it comes.
    pub(crate) fn lines(mut self, mut each: impl FnMut(&str)) -> Outcome {
        println!("$ {}", self.line);
        self.command.stdout(Stdio::piped());
        let mut running = Running(self.start()?);
        let lines = running.lines();
        let deadline = Instant::now() + self.limit;
        loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => each(&line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => return self.judge(None),
            }
        }
        let status = running.wait(deadline);
        self.judge(status)
    }

    /// Runs it and returns its standard output.
    pub(crate) fn output(self) -> Outcome<String> {
        let mut output = String::new();
        self.lines(|line| {
            output.push_str(line);
            output.push('\n');
        })?;
        Ok(output)
    }

    /// Starts a server, and returns once it prints a line that starts with `ready`: with the rest
    /// of that line. Other lines of its standard output are dropped.
    pub(crate) fn serve(mut self, ready: &str) -> Outcome<(Running, String)> {
        println!("$ {} &", self.line);
        self.command.stdout(Stdio::piped());
        let mut running = Running(self.start()?);
        let lines = running.lines();
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(rest) = line.strip_prefix(ready) {
                        return Ok((running, rest.trim().to_owned()));
                    }
                }
                Err(_) => {
                    let line = &self.line;
                    return Err(Failure::Failed(format!("`{line}` never printed `{ready}`")));
                }
            }
        }
    }

    /// Starts a server that tells nobody when it is ready.
    pub(crate) fn background(mut self) -> Outcome<Running> {
        println!("$ {} &", self.line);
        self.start().map(Running)
    }

    fn start(&mut self) -> Outcome<Child> {
        self.command.spawn().map_err(|error| {
            let program = self.command.get_program().to_string_lossy();
            if error.kind() == std::io::ErrorKind::NotFound {
                Failure::Missing(format!("there is no {program}"))
            } else {
                Failure::Failed(format!("cannot start {program}: {error}"))
            }
        })
    }

    fn judge(&self, status: Option<ExitStatus>) -> Outcome {
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(Failure::Failed(format!("`{}`: {status}", self.line))),
            None => Err(Failure::Failed(format!(
                "`{}`: ended after its limit of {} s",
                self.line,
                self.limit.as_secs()
            ))),
        }
    }
}

/// A program that runs; it ends, with all that it has started, when this is dropped.
pub(crate) struct Running(Child);

impl Running {
    /// Asks the program to end (SIGTERM); it must do so soon, and with success.
    pub(crate) fn stop(mut self) -> Outcome {
        self.terminate();
        match self.wait(Instant::now() + GRACE) {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(Failure::Failed(format!("on SIGTERM: {status}"))),
            None => Err(Failure::Failed(format!("no end within {} s of SIGTERM", GRACE.as_secs()))),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    fn terminate(&self) {
        let pid = self.0.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).stderr(Stdio::null()).status();
    }

    fn wait(&mut self, deadline: Instant) -> Option<ExitStatus> {
        loop {
            if let Ok(Some(status)) = self.0.try_wait() {
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(POLL);
        }
    }

    /// The lines of the program's standard output, read to the end whether anyone listens or not.
    fn lines(&mut self) -> Receiver<String> {
        let (sender, receiver) = mpsc::channel();
        if let Some(output) = self.0.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                    let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
                }
            });
        }
        receiver
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        let below = descendants(self.0.id());
        self.terminate();
        if self.wait(Instant::now() + Duration::from_secs(3)).is_none() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
        for pid in below {
            let pid = pid.to_string();
            let _ = Command::new("kill").args(["-KILL", &pid]).stderr(Stdio::null()).status();
        }
    }
}

/// The processes that a process has started, and those that they have.
fn descendants(pid: u32) -> Vec<u32> {
    let Ok(output) = Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output() else {
        return Vec::new();
    };
    let pairs: Vec<(u32, u32)> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            let (pid, parent) = line.trim().split_once(char::is_whitespace)?;
            Some((pid.parse().ok()?, parent.trim().parse().ok()?))
        })
        .collect();
    let mut found = vec![pid];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(pairs.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

/// Where a program is on the path.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// A word as one would type it.
fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_printed_as_it_would_be_typed() {
        let cmd = Cmd::new("cargo test --lib").arg("a b").arg("it's").env("X", "-D warnings");
        assert_eq!(cmd.line, r"X='-D warnings' cargo test --lib 'a b' 'it'\''s'");
    }

    #[test]
    fn output_is_returned_and_failure_is_told() {
        assert_eq!(Cmd::new("echo one two").output().unwrap(), "one two\n");
        let failure = Cmd::new("false").run().unwrap_err();
        assert_eq!(failure.to_string(), "`false`: exit status: 1");
        let failure = Cmd::new("no-such-program-anywhere").run().unwrap_err();
        assert!(matches!(failure, Failure::Missing(_)), "{failure}");
    }

    #[test]
    fn a_program_ends_at_its_limit_with_all_that_it_has_started() {
        let mut inner = String::new();
        let failure = Cmd::program("sh")
            .arg("-c")
            .arg("sleep 300 & echo $!; wait")
            .limit(1)
            .lines(|line| line.clone_into(&mut inner))
            .unwrap_err();
        assert_eq!(
            failure.to_string(),
            "`sh -c 'sleep 300 & echo $!; wait'`: ended after its limit of 1 s"
        );
        let deadline = Instant::now() + GRACE;
        while alive(&inner) {
            assert!(Instant::now() < deadline, "process {inner} is still there");
            std::thread::sleep(POLL);
        }
    }

    /// Whether a process runs; one that has ended may still be listed, as a zombie.
    fn alive(pid: &str) -> bool {
        let ps = Command::new("ps").args(["-o", "stat=", "-p", pid]).output().unwrap();
        let state = String::from_utf8_lossy(&ps.stdout).trim().to_owned();
        !state.is_empty() && !state.starts_with('Z')
    }

    #[test]
    fn a_server_is_ready_when_it_says_so_and_is_stopped() {
        let script = "trap 'exit 0' TERM; echo starting; echo ready on 5; sleep 300 & wait";
        let (server, rest) = Cmd::program("sh").arg("-c").arg(script).serve("ready on ").unwrap();
        assert_eq!(rest, "5");
        let below = descendants(server.0.id());
        server.stop().unwrap();
        assert_eq!(below.len(), 1);
        let _ = Command::new("kill").arg(below[0].to_string()).status();
    }
}
