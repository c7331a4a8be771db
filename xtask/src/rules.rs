//! The maps of the RFCs' rules (docs/rfc6455.md, docs/rfc8441.md, docs/rfc9112.md): that the files,
//! items and tests that they name exist.
//!
//! In their tables, `frame/header.rs: decode` is an item that the source file defines,
//! `docs/rfc6455.md#section-3-uris` a heading of a page, and `tautline-frame:
//! protocol::close::name` a test: package, file (and module), function.

use std::path::{Path, PathBuf};

use crate::project;
use crate::shell::{Failure, Outcome};

const MAPS: &[&str] = &["docs/rfc6455.md", "docs/rfc8441.md", "docs/rfc9112.md"];
/// What the maps write for directories.
const SHORT: &[(&str, &str)] = &[
    ("frame/", "crates/tautline-frame/src/"),
    ("handshake/", "crates/tautline-handshake/src/"),
    ("tautline/", "crates/tautline/src/"),
];
/// Where other files are that the maps name.
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
    let mut faults = Vec::new();
    for map in MAPS {
        check_map(map, &mut faults)?;
    }
    if faults.is_empty() { Ok(()) } else { Err(Failure::Failed(faults.join("\n  "))) }
}

fn check_map(name: &str, faults: &mut Vec<String>) -> Outcome {
    let map = project::read(Path::new(name))?;
    let (mut rows, mut references) = (0, 0);
    let next = map.lines().skip(1).chain([""]);
    for ((line, next), number) in map.lines().zip(next).zip(1..) {
        let Some(row) = line.strip_prefix("| ").filter(|_| !next.starts_with("|--")) else {
            continue;
        };
        rows += 1;
        let mut fault = |what| faults.push(format!("{name}:{number}: {what}"));
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
    println!("{name}: {rows} rows with {references} references");
    Ok(())
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

/// Looks for the file, and for the definition of each of the items in it; in a page, for the
/// heading.
fn find_items(path: &Path, items: &str) -> Result<(), String> {
    let text = path.to_string_lossy();
    if let Some((page, anchor)) = text.split_once('#') {
        let headings = project::read(Path::new(page)).map_err(|_| format!("there is no {page}"))?;
        let found = headings.lines().filter_map(|line| line.strip_prefix('#'));
        let found = found.map(anchor_of).any(|found| found == anchor);
        return if found { Ok(()) } else { Err(format!("there is no heading {anchor} in {page}")) };
    }
    if !path.exists() {
        return Err(format!("there is no {text}"));
    }
    if text.starts_with("docs/") {
        return Err(format!("where in {text}? A heading is named as {text}#heading"));
    }
    if items.is_empty() {
        return Ok(());
    }
    let source = project::read(path).unwrap_or_default();
    match items.split(", ").find(|name| !defines(&source, name)) {
        None => Ok(()),
        Some(name) => Err(format!("{name} is not defined in {text}")),
    }
}

/// A heading as GitHub makes an anchor of it: lower case, spaces to hyphens, without punctuation.
fn anchor_of(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// What stands in front of a name that is defined.
const KEYWORDS: &[&str] = &[
    "fn",
    "struct",
    "enum",
    "union",
    "trait",
    "type",
    "const",
    "static",
    "mod",
    "macro_rules",
    "function",
    "class",
];

/// Whether the source has an item of this name, or a variant of an enum. To call or to mention it
/// is not enough.
fn defines(source: &str, name: &str) -> bool {
    // The indentation of the enum that a line is in.
    let mut within = None;
    for line in source.lines() {
        let code = line.split("//").next().unwrap_or_default();
        let indentation = code.len() - code.trim_start().len();
        let words: Vec<&str> =
            code.split(|c: char| !word(c)).filter(|word| !word.is_empty()).collect();
        if words.windows(2).any(|two| KEYWORDS.contains(&two[0]) && two[1] == name) {
            return true;
        }
        let variant = within.is_some_and(|of| indentation == of + 4);
        if variant && code.trim_start().starts_with(word) && words.first() == Some(&name) {
            return true;
        }
        if words.contains(&"enum") && code.trim_end().ends_with('{') {
            within = Some(indentation);
        } else if code.trim_start().starts_with('}') && within == Some(indentation) {
            within = None;
        }
    }
    false
}

fn word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether the source has a test of this name.
fn tests(source: &str, name: &str) -> bool {
    // Whether an attribute above this line makes a test of it.
    let mut marked = false;
    for line in source.lines() {
        let code = line.trim();
        if code.starts_with("#[") {
            marked |= code.contains("test]") || code.contains("test(");
        } else if code.starts_with("//") || code.starts_with(')') || code.is_empty() {
            // Between the attributes and the function.
        } else {
            let function = code.split_once("fn ").map(|(_, rest)| rest);
            if marked && function.is_some_and(|rest| rest.split('(').next() == Some(name)) {
                return true;
            }
            marked = false;
        }
    }
    false
}

/// Looks for `a::b::name` as a test `name` in a file `a/b.rs`, or in one `a.rs` when `b` is
/// `tests`.
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
            && project::read(file).is_ok_and(|text| tests(&text, name))
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

    /// A row named `heed_shutdown` in a file that only called it any more, and the check was
    /// content with the word.
    #[test]
    fn a_call_or_a_mention_is_no_definition() {
        let source = "use a::moved;\n// fn told() {}\nfn here() {\n    moved(told);\n}\n";
        assert!(defines(source, "here"));
        assert!(!defines(source, "moved"));
        assert!(!defines(source, "told"));
        assert!(!defines(source, "her"));
    }

    #[test]
    fn every_kind_of_item_is_found() {
        let source = "pub(crate) struct A<T>(T);\nenum B {}\npub const C: u8 = 1;\nstatic D: u8 = 2;\n\
            mod e;\npub trait F {}\ntype G = u8;\nmacro_rules! h {}\npub async fn i() {}\nfunction j() {}\n";
        for name in ["A", "B", "C", "D", "e", "F", "G", "h", "i", "j"] {
            assert!(defines(source, name), "{name}");
        }
    }

    #[test]
    fn a_variant_is_found_in_its_enum_and_not_where_it_is_matched() {
        let source = "enum Error {\n    /// Told.\n    #[non_exhaustive]\n    Refused {\n        Deeper: u8,\n    },\n    \
            Late(u8),\n}\nfn f() {\n    Other { x } => 1,\n}\n";
        assert!(defines(source, "Refused"));
        assert!(defines(source, "Late"));
        assert!(!defines(source, "Deeper"));
        assert!(!defines(source, "Other"));
        assert!(!defines(source, "non_exhaustive"));
    }

    #[test]
    fn a_test_has_its_attribute() {
        let source = "#[test]\n#[cfg(feature = \"x\")]\nfn plain() {}\n#[tokio::test(start_paused = true)]\n\
            async fn paused() {\n}\nfn helper() { paused() }\n#[cfg(test)]\nmod m {\nfn other() {}\n}\n";
        assert!(tests(source, "plain"));
        assert!(tests(source, "paused"));
        assert!(!tests(source, "helper"));
        assert!(!tests(source, "other"));
    }

    #[test]
    fn headings_are_anchors() {
        assert_eq!(anchor_of("## Signs of life: `ping`"), "signs-of-life-ping");
        let path = Path::new("../docs/rfc6455.md#section-3-uris");
        assert_eq!(find_items(path, ""), Ok(()));
        assert!(find_items(Path::new("../docs/rfc6455.md#no-such-section"), "").is_err());
        assert!(find_items(Path::new("../docs/none.md#none"), "").is_err());
    }
}
