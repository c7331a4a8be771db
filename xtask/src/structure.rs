//! The lines that the architecture draws: what may depend on what, and where unsafe code and the
//! outside world may stand (docs/architecture.md).

use std::path::Path;

use crate::project;
use crate::shell::{Cmd, Failure, Outcome};

/// Crates that know nothing of sockets, clocks and tasks.
const PURE: &[&str] = &["tautline-frame", "tautline-handshake"];
/// What would give them a clock or a socket.
const WORLD: &[&str] = &["Instant::now", "SystemTime::now", "TcpStream", "UdpSocket", "tokio::"];
/// The one place of unsafe code.
const UNSAFE: &str = "crates/tautline-frame/src/mask";
/// The glue to tokio-util's codec traits, behind a feature.
const CODEC: &str = "crates/tautline-frame/src/tokio_codec";

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
    let mut in_tests = name.ends_with("/tests.rs") || name.contains("/tests/");
    for (number, line) in (1..).zip(text.lines()) {
        let code = line.split("//").next().unwrap_or_default();
        in_tests |= code.trim_start().starts_with("#[cfg(test)]");
        if !name.starts_with(UNSAFE) && words(code).any(|word| word == "unsafe") {
            faults.push(format!("{name}:{number}: unsafe code outside {UNSAFE}"));
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
        let harmless = "#![forbid(unsafe_code)] // unsafe is told of here\n";
        assert_eq!(faults_of("crates/tautline/src/lib.rs", harmless), [""; 0]);
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
        let tested = format!("#[cfg(test)]\nmod tests {{\n{clock}\n}}");
        assert_eq!(faults_of("crates/tautline-frame/src/timers.rs", &tested), [""; 0]);
        assert_eq!(faults_of("crates/tautline/src/timer.rs", clock), [""; 0]);
    }
}
