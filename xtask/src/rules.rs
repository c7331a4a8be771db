//! The map of the RFCs' rules (docs/rfc6455.md): that the files, items and tests that it names exist.
//!
//! In its tables, `frame/header.rs: decode` is an item of a source file, and
//! `tautline-frame: protocol::close::name` is a test: package, file (and module), function.

use std::path::{Path, PathBuf};

use crate::project;
use crate::shell::{Failure, Outcome};

const MAP: &str = "docs/rfc6455.md";
/// What the map writes for directories.
const SHORT: &[(&str, &str)] = &[
    ("frame/", "crates/tautline-frame/src/"),
    ("handshake/", "crates/tautline-handshake/src/"),
    ("tautline/", "crates/tautline/src/"),
];
/// Where other files are that the map names.
const OTHERS: &[&str] =
    &["crates/", "docs/", "examples/", "fuzz/", "tests/", "xtask/", "Cargo.toml", "deny.toml"];
/// The packages with tests, and where theirs are.
const PACKAGES: &[(&str, &str)] = &[
    ("tautline-frame", "crates/tautline-frame"),
    ("tautline-handshake", "crates/tautline-handshake"),
    ("tautline", "crates/tautline"),
    ("tautline-harness", "tests"),
];

pub(crate) fn check() -> Outcome {
    let map = project::read(Path::new(MAP))?;
    let (mut rows, mut references, mut faults) = (0, 0, Vec::new());
    let next = map.lines().skip(1).chain([""]);
    for ((line, next), number) in map.lines().zip(next).zip(1..) {
        let Some(row) = line.strip_prefix("| ").filter(|_| !next.starts_with("|--")) else {
            continue;
        };
        rows += 1;
        let mut fault = |what| faults.push(format!("{MAP}:{number}: {what}"));
        for code in codes(row) {
            match fault_of(code) {
                Some(Ok(())) => references += 1,
                Some(Err(what)) => fault(what),
                None if code.contains(".rs") => fault(format!("where is {code}?")),
                None => {}
            }
        }
        let last = row.trim_end_matches([' ', '|']).rsplit(" | ").next().unwrap_or_default();
        let says_why = last.starts_with("not ") || last.starts_with("open");
        if !says_why && !codes(last).any(|code| fault_of(code).is_some()) {
            fault("neither a test nor why there is none".to_owned());
        }
    }
    println!("{rows} rows with {references} references");
    if faults.is_empty() { Ok(()) } else { Err(Failure::Failed(faults.join("\n  "))) }
}

fn codes(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// What is wrong with this reference; `None` when it is no reference.
fn fault_of(code: &str) -> Option<Result<(), String>> {
    let (place, item) = code.split_once(": ").unwrap_or((code, ""));
    let package = PACKAGES.iter().find(|(package, _)| *package == place && !item.is_empty());
    if let Some((_, dir)) = package {
        return Some(find_test(Path::new(dir), item));
    }
    let path = match SHORT.iter().find(|(short, _)| place.starts_with(short)) {
        Some((short, dir)) => place.replacen(short, dir, 1),
        None if OTHERS.iter().any(|other| place.starts_with(other)) => place.to_owned(),
        None => return None,
    };
    Some(find_items(Path::new(&path), item))
}

/// Looks for the file, and for each of the items as a word in it.
fn find_items(path: &Path, items: &str) -> Result<(), String> {
    if !path.exists() {
        return Err(format!("there is no {}", path.display()));
    }
    if items.is_empty() {
        return Ok(());
    }
    let text = project::read(path).unwrap_or_default();
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let has = |name: &str| text.split(|c| !word(c)).any(|found| found == name);
    match items.split(", ").find(|name| !has(name)) {
        None => Ok(()),
        Some(name) => Err(format!("there is no {name} in {}", path.display())),
    }
}

/// Looks for `a::b::name` as `fn name(` in a file `a/b.rs`, or in one `a.rs` when `b` is `tests`.
fn find_test(dir: &Path, test: &str) -> Result<(), String> {
    let Some((module, name)) = test.rsplit_once("::") else {
        return Err(format!("{test} lacks its module"));
    };
    let stem = module.replace("::", "/");
    let outer = stem.strip_suffix("/tests").unwrap_or(&stem);
    let ends = [format!("/{stem}.rs"), format!("/{outer}.rs")];
    let files = project::files(dir, "rs").map_err(|_| format!("there is no {}", dir.display()))?;
    let holds = |file: &&PathBuf| {
        let path = file.to_string_lossy().replace('\\', "/");
        ends.iter().any(|end| path.ends_with(end))
            && project::read(file).is_ok_and(|text| text.contains(&format!("fn {name}(")))
    };
    let found = files.iter().find(holds).map(drop);
    found.ok_or_else(|| format!("there is no test {test} in {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_told_from_other_code() {
        assert_eq!(fault_of("Sec-WebSocket-Key: x"), None);
        assert_eq!(fault_of("tautline-frame: f"), Some(Err("f lacks its module".to_owned())));
        let missing = "there is no crates/tautline-frame/src/no.rs".to_owned();
        assert_eq!(fault_of("frame/no.rs: f"), Some(Err(missing)));
    }
}
