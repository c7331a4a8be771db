//! The lines that the architecture draws: what may depend on what, and where unsafe code and the
//! outside world may stand (docs/architecture.md).
//! `arrows.rs` has the direction of imports within a crate.

use std::path::Path;

use crate::arrows;
use crate::project;
use crate::shell::{Cmd, Failure, Outcome};

/// Crates that know nothing of sockets, clocks and tasks, and do no other input or output.
const PURE: &[&str] = &["tautline-frame", "tautline-handshake"];
/// What would give them any of it.
const WORLD: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    ".elapsed()",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "UnixDatagram",
    "UnixListener",
    "UnixStream",
    "ToSocketAddrs",
    "thread::park",
    "thread::sleep",
    "thread::spawn",
    "std::fs",
    "std::process",
    "async ",
    "Waker",
    "tokio::",
];
/// What an attribute starts with that compiles an item for tests alone. In `any` or `not` it says
/// something else; after another condition, or on a line of its own, `test` is not recognized.
const FOR_TESTS: &[&str] = &["#[cfg(test)]", "#[cfg(all(test,"];
/// Where unsafe code may be: masking.
const UNSAFE: &str = "crates/tautline-frame/src/mask";
/// And here one block of it: the view of checked bytes as a `str`.
const UNSAFE_ONCE: &str = "crates/tautline-frame/src/text.rs";
/// The glue to tokio-util's codec traits, behind a feature.
const CODEC: &str = "crates/tautline-frame/src/tokio_codec";
/// The longest a source file may be, in lines: a file is one idea.
const LONGEST: usize = 500;

pub(crate) fn check() -> Outcome {
    let mut faults = Vec::new();
    for package in PURE {
        let tree =
            Cmd::new(&format!("cargo tree -p {package} -e normal --prefix none")).output()?;
        if let Some(line) = tree.lines().find(|line| line.starts_with("tokio")) {
            faults.push(format!("{package} depends on {line}"));
        }
    }
    let files = project::files(Path::new("crates"), "rs")?;
    println!("reading {} files of crates/*/src", files.len());
    for file in &files {
        let name = file.to_string_lossy().replace('\\', "/");
        if !name.contains("/src/") {
            continue;
        }
        let text = project::read(file)?;
        faults.extend(faults_of(&name, &text));
    }
    faults.extend(arrows::faults()?);
    if faults.is_empty() { Ok(()) } else { Err(Failure::Failed(faults.join("\n  "))) }
}

/// What is wrong with one source file.
fn faults_of(name: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let pure = PURE.iter().any(|package| name.starts_with(&format!("crates/{package}/")));
    let crate_root = name.ends_with("/src/lib.rs") && name.matches('/').count() == 3;
    if crate_root
        && !name.starts_with("crates/tautline-frame/")
        && !text.contains("#![forbid(unsafe_code)]")
    {
        faults.push(format!("{name} does not forbid unsafe code"));
    }
    let lines = text.lines().count();
    if lines > LONGEST {
        faults.push(format!("{name} has {lines} lines, more than {LONGEST}"));
    }
    let all_tests = name.ends_with("/tests.rs") || name.contains("/tests/");
    let mut tests = Tests::Outside;
    let mut unsafes = 0;
    for (number, line) in (1..).zip(text.lines()) {
        let code = line.split("//").next().unwrap_or_default();
        let in_tests = tests.line(code) || all_tests;
        for _ in words(code).filter(|word| *word == "unsafe" && !name.starts_with(UNSAFE)) {
            unsafes += 1;
            if name != UNSAFE_ONCE {
                faults.push(format!("{name}:{number}: unsafe code outside {UNSAFE}"));
            } else if unsafes > 1 {
                faults.push(format!("{name}:{number}: more than one unsafe block"));
            }
        }
        let world = || WORLD.iter().find(|world| code.contains(**world));
        if pure
            && !in_tests
            && !name.starts_with(CODEC)
            && let Some(world) = world()
        {
            faults.push(format!("{name}:{number}: {world} in a crate that is pure"));
        }
    }
    faults
}

/// Where a line stands to items that are compiled for tests alone. What follows such an item is not
/// in it: formatted code ends an item on a line that is indented as its first one.
#[derive(Clone, Copy)]
pub(crate) enum Tests {
    Outside,
    /// After one of [`FOR_TESTS`] with this indentation, the item still to come.
    Announced(usize),
    /// In an item with this indentation.
    Inside(usize),
}

impl Tests {
    /// Takes the next line: whether it is one of tests.
    pub(crate) fn line(&mut self, code: &str) -> bool {
        let text = code.trim();
        let indentation = code.len() - code.trim_start().len();
        let before = *self;
        *self = match before {
            Self::Outside if FOR_TESTS.iter().any(|start| text.starts_with(start)) => {
                Self::Announced(indentation)
            }
            Self::Announced(at) if text.is_empty() || text.starts_with("#[") => Self::Announced(at),
            Self::Announced(at) if text.ends_with([';', ',', '}']) && indentation == at => {
                Self::Outside
            }
            Self::Announced(at) => Self::Inside(at),
            Self::Inside(at) if indentation == at && text.starts_with('}') => Self::Outside,
            Self::Outside | Self::Inside(_) => before,
        };
        !matches!((before, *self), (Self::Outside, Self::Outside))
    }
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_code_is_found_outside_of_its_place_alone() {
        let code = "fn f() {\n    unsafe { g() }\n}";
        assert_eq!(
            faults_of("crates/tautline/src/pool.rs", code),
            ["crates/tautline/src/pool.rs:2: unsafe code outside crates/tautline-frame/src/mask"]
        );
        assert_eq!(faults_of("crates/tautline-frame/src/mask/x86.rs", code), [""; 0]);
        let text = "crates/tautline-frame/src/text.rs";
        assert_eq!(faults_of(text, code), [""; 0]);
        let twice = format!("{code}\n{code}");
        assert_eq!(
            faults_of(text, &twice),
            ["crates/tautline-frame/src/text.rs:5: more than one unsafe block"]
        );
        let harmless = "#![forbid(unsafe_code)] // unsafe is told of here\n";
        assert_eq!(faults_of("crates/tautline/src/lib.rs", harmless), [""; 0]);
    }

    #[test]
    fn a_long_file_is_found() {
        let file = "crates/tautline/src/pool.rs";
        assert_eq!(faults_of(file, &"\n".repeat(LONGEST)), [""; 0]);
        let told = [format!("{file} has 501 lines, more than 500")];
        assert_eq!(faults_of(file, &"\n".repeat(LONGEST + 1)), told);
    }

    #[test]
    fn a_crate_must_forbid_unsafe_code() {
        assert_eq!(
            faults_of("crates/tautline/src/lib.rs", ""),
            ["crates/tautline/src/lib.rs does not forbid unsafe code"]
        );
    }

    #[test]
    fn a_clock_is_found_in_a_pure_crate_but_not_in_its_tests() {
        let clock = "let now = Instant::now();";
        assert_eq!(
            faults_of("crates/tautline-frame/src/timers.rs", clock),
            ["crates/tautline-frame/src/timers.rs:1: Instant::now in a crate that is pure"]
        );
        let under = |condition: &str| {
            let text = format!("#[cfg({condition})]\nmod tests {{\n{clock}\n}}");
            faults_of("crates/tautline-frame/src/timers.rs", &text).len()
        };
        for condition in ["test", "all(test, unix)", "all(test, not(tautline_loom))"] {
            assert_eq!(under(condition), 0, "{condition}");
        }
        for condition in ["unix", "not(test)", "any(test, unix)", "all(testing, unix)"] {
            assert_eq!(under(condition), 1, "{condition}");
        }
        assert_eq!(faults_of("crates/tautline/src/timer.rs", clock), [""; 0]);
    }

    #[test]
    fn a_socket_a_sleep_and_a_task_are_found_in_a_pure_crate() {
        for code in [
            "use std::net::TcpListener;",
            "use std::os::unix::net::{UnixListener, UnixStream};",
            "let socket = UdpSocket::bind(address)?;",
            "let (a, b) = UnixDatagram::pair()?;",
            "fn dial(to: impl ToSocketAddrs) {}",
            "std::thread::sleep(delay);",
            "thread::spawn(draw);",
            "thread::park_timeout(delay);",
            "let text = std::fs::read(path)?;",
            "std::process::exit(1);",
            "pub async fn read() {}",
            "wakers: Vec<Waker>,",
        ] {
            assert_eq!(faults_of("crates/tautline-handshake/src/key.rs", code).len(), 1, "{code}");
            assert_eq!(faults_of("crates/tautline/src/dial.rs", code), [""; 0], "{code}");
        }
        for code in ["use std::net::Ipv6Addr;", "self.await_rest(now);", "fn f(now: Instant) {}"] {
            assert_eq!(faults_of("crates/tautline-handshake/src/key.rs", code), [""; 0], "{code}");
        }
    }

    /// `#[cfg(test)] mod tests;` near the top of a file switched the check off for all that
    /// followed.
    #[test]
    fn a_clock_is_found_after_what_is_for_tests_alone() {
        let file = "crates/tautline-frame/src/timers.rs";
        let clock = "    let waited = start.elapsed();";
        let after = |what: &str| format!("#[cfg(test)]\n{what}\n\nfn f() {{\n{clock}\n}}\n");
        for what in
            ["mod tests;", "use a::{B, C};", "#[path = \"x.rs\"]\nmod x;", "mod m {\n    f();\n}"]
        {
            let text = after(what);
            let line = text.lines().position(|line| line == clock).unwrap_or_default() + 1;
            let fault = format!("{file}:{line}: .elapsed() in a crate that is pure");
            assert_eq!(faults_of(file, &text), [fault], "after {what}");
        }
        let method =
            format!("impl A {{\n    #[cfg(test)]\n    fn f() {{\n    {clock}\n    }}\n}}\n");
        assert_eq!(faults_of(file, &method), [""; 0]);
    }
}
