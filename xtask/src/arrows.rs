//! The direction of imports within each crate. The modules below one parent, each taken with all
//! that is below it, may import from each other in one direction only; a parent and its children
//! are one room. Nothing takes a path through the root of its crate to what the root only
//! re-exports.
//!
//! This reads `use` declarations and paths that start with `crate` or `super`, as rustfmt writes
//! them; tests are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::project;
use crate::shell::Outcome;
use crate::structure::Tests;

/// What is wrong with the sources of all crates.
pub(crate) fn faults() -> Outcome<Vec<String>> {
    let mut faults = Vec::new();
    for package in [
        "tautline-frame",
        "tautline-handshake",
        "tautline",
        "tautline-http",
        "tautline-axum",
        "tautline-hub",
    ] {
        let dir = Path::new("crates").join(package).join("src");
        let mut sources = BTreeMap::new();
        for file in project::files(&dir, "rs")? {
            let name =
                file.strip_prefix(&dir).unwrap_or(&file).to_string_lossy().replace('\\', "/");
            if let Some(module) = module_of(&name) {
                sources.insert(module, project::read(&file)?);
            }
        }
        let krate = Crate::read(&sources);
        let found = krate.cycles().into_iter().chain(krate.climbs());
        faults.extend(found.map(|fault| format!("{package}: {fault}")));
    }
    Ok(faults)
}

/// The module of a file, as `a::b`; the root is empty. Files of tests have none.
fn module_of(file: &str) -> Option<String> {
    let stem = file.strip_suffix(".rs")?;
    if stem.ends_with("tests") || stem.contains("tests/") {
        return None;
    }
    let stem = stem.strip_suffix("/mod").unwrap_or(stem);
    Some(if stem == "lib" { String::new() } else { stem.replace('/', "::") })
}

/// An import: the module that has it, and the module that it comes from.
type Arrow = (String, String);

#[derive(Default)]
struct Crate {
    modules: BTreeSet<String>,
    /// What each module imports by name: the full path behind each name.
    names: BTreeMap<String, BTreeMap<String, String>>,
    arrows: BTreeSet<Arrow>,
    /// Modules with a name that they take from the root, which only re-exports it.
    through_the_root: BTreeSet<(String, String)>,
}

impl Crate {
    fn read(sources: &BTreeMap<String, String>) -> Self {
        let mut krate = Self { modules: sources.keys().cloned().collect(), ..Self::default() };
        let mut paths = Vec::new();
        for (module, text) in sources {
            let code = code_of(text);
            let names = krate.names.entry(module.clone()).or_default();
            for (name, path) in imports(&code) {
                if let Some(path) = absolute(&krate.modules, module, &path) {
                    names.insert(name, path.clone());
                    paths.push((module.clone(), path));
                }
            }
            for path in inline_paths(&code) {
                paths.extend(
                    absolute(&krate.modules, module, &path).map(|path| (module.clone(), path)),
                );
            }
        }
        for (module, path) in paths {
            krate.point(&module, &path, 0);
        }
        krate
    }

    /// Follows a path from the root of the crate to the module where it ends.
    fn point(&mut self, from: &str, path: &str, depth: usize) {
        let mut module = String::new();
        let mut rest = path.split("::").filter(|segment| !segment.is_empty());
        for segment in rest.by_ref() {
            let below = join(&module, segment);
            if self.modules.contains(&below) {
                module = below;
                continue;
            }
            let passed_on = self.names.get(&module).and_then(|names| names.get(segment)).cloned();
            if let Some(target) = passed_on.filter(|target| depth < 8 && target != path) {
                if module.is_empty() && !from.is_empty() {
                    self.through_the_root.insert((from.to_owned(), segment.to_owned()));
                }
                return self.point(from, &target, depth + 1);
            }
            break;
        }
        if from != module {
            self.arrows.insert((from.to_owned(), module));
        }
    }

    /// The arrows between modules below one parent, each with an import that makes it.
    fn siblings(&self) -> BTreeMap<Arrow, &Arrow> {
        let mut found = BTreeMap::new();
        for arrow @ (from, to) in &self.arrows {
            let (mut left, mut right) = (from.split("::"), to.split("::"));
            let mut parent = String::new();
            while let (Some(a), Some(b)) = (left.next(), right.next()) {
                if a.is_empty() || b.is_empty() {
                    break;
                }
                if a != b {
                    found.insert((join(&parent, a), join(&parent, b)), arrow);
                    break;
                }
                parent = join(&parent, a);
            }
        }
        found
    }

    /// Cycles among siblings. Each is reported once: the import that closes it is left out of the
    /// search for the next.
    fn cycles(&self) -> Vec<String> {
        let arrows = self.siblings();
        let mut edges: BTreeSet<(&str, &str)> =
            arrows.keys().map(|(from, to)| (from.as_str(), to.as_str())).collect();
        let mut faults = Vec::new();
        let named = |module: &str| if module.is_empty() { "lib" } else { module }.to_owned();
        while let Some((edge, back)) =
            edges.iter().find_map(|edge| Some((*edge, way(&edges, edge.1, edge.0)?)))
        {
            let (from, to) = arrows[&(edge.0.to_owned(), edge.1.to_owned())];
            faults.push(format!(
                "{} imports from {}, which comes back to it: {}",
                named(from),
                named(to),
                back.join(" -> ")
            ));
            edges.remove(&edge);
        }
        faults
    }

    /// Names that modules take through the root.
    fn climbs(&self) -> Vec<String> {
        let names = self.through_the_root.iter();
        let fault = |(module, name): &(String, String)| {
            format!("{module} takes {name} through lib.rs: import it from its module")
        };
        names.map(fault).collect()
    }
}

/// The shortest way along these arrows.
fn way<'a>(edges: &BTreeSet<(&'a str, &'a str)>, from: &str, to: &str) -> Option<Vec<&'a str>> {
    let start = edges.iter().map(|edge| edge.0).find(|node| *node == from)?;
    let mut ways = vec![vec![start]];
    let mut seen = BTreeSet::from([start]);
    let mut next = 0;
    while let Some(way) = ways.get(next).cloned() {
        next += 1;
        let last = way.last().copied().unwrap_or_default();
        if last == to {
            return Some(way);
        }
        for (_, target) in edges.iter().filter(|edge| edge.0 == last) {
            if seen.insert(*target) {
                ways.push([&way[..], &[*target]].concat());
            }
        }
    }
    None
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}::{name}") }
}

/// A file without comments and tests.
fn code_of(text: &str) -> String {
    let mut tests = Tests::Outside;
    let mut code = String::new();
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default();
        if !tests.line(line) {
            code.push_str(line);
            code.push('\n');
        }
    }
    code
}

/// The `use` declarations of a file: each name, and the path behind it.
fn imports(code: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("use ") {
        let starts = rest[..at].rsplit('\n').next().unwrap_or_default();
        let declared = starts.trim().is_empty() || starts.trim().starts_with("pub");
        rest = &rest[at + 4..];
        if declared && let Some((tree, after)) = rest.split_once(';') {
            let tree: String = tree.split_whitespace().collect::<Vec<_>>().join(" ");
            leaves("", &tree, &mut found);
            rest = after;
        }
    }
    found
}

/// The leaves of a tree of imports.
fn leaves(prefix: &str, tree: &str, found: &mut Vec<(String, String)>) {
    let tree = tree.trim();
    if let Some((before, inner)) = tree.split_once('{') {
        let prefix = format!("{prefix}{before}");
        let inner = inner.trim_end().strip_suffix('}').unwrap_or(inner);
        let (mut depth, mut start) = (0_usize, 0);
        for (at, c) in inner.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                ',' if depth == 0 => {
                    leaves(&prefix, &inner[start..at], found);
                    start = at + 1;
                }
                _ => {}
            }
        }
        leaves(&prefix, &inner[start..], found);
    } else if !tree.is_empty() {
        let (path, alias) = tree.split_once(" as ").unwrap_or((tree, ""));
        let path = format!("{prefix}{path}").trim_end_matches("::self").to_owned();
        let last = path.rsplit("::").next().unwrap_or_default();
        let name = if alias.is_empty() { last } else { alias }.to_owned();
        found.push((name, path));
    }
}

/// Paths in code that start with `crate::` or `super::`.
fn inline_paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            let visibility = code[..at].ends_with("(in ");
            if visibility || before.is_some_and(|c| c.is_alphanumeric() || "_:$".contains(c)) {
                continue;
            }
            let path =
                code[at..].split(|c: char| !(c.is_alphanumeric() || "_:".contains(c))).next();
            found.push(path.unwrap_or_default().trim_end_matches(':').to_owned());
        }
    }
    found
}

/// A path as one from the root of the crate; `None` when it leads into another crate.
fn absolute(modules: &BTreeSet<String>, module: &str, path: &str) -> Option<String> {
    let mut at = module.to_owned();
    let mut rest = path;
    let mut own = false;
    loop {
        let (first, behind) = rest.split_once("::").unwrap_or((rest, ""));
        match first {
            "crate" => at.clear(),
            "self" => {}
            "super" => {
                at = at.rsplit_once("::").map(|(parent, _)| parent.to_owned()).unwrap_or_default();
            }
            _ => break,
        }
        own = true;
        rest = behind;
    }
    let first = rest.split("::").next().unwrap_or_default();
    (own || modules.contains(&join(&at, first))).then(|| join(&at, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Crate {
        let sources =
            files.iter().map(|(name, text)| (module_of(name).unwrap(), (*text).to_owned()));
        Crate::read(&sources.collect())
    }

    #[test]
    fn a_cycle_of_siblings_is_told_with_its_way() {
        let krate = read(&[
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "use crate::b::B;"),
            ("b.rs", "fn f() {\n    crate::c::g();\n}"),
            ("c.rs", "use std::fmt;\n\nuse crate::{\n    a::{A, C},\n};"),
        ]);
        let faults = krate.cycles();
        assert_eq!(faults, ["a imports from b, which comes back to it: b -> c -> a"]);
    }

    #[test]
    fn a_parent_and_its_children_are_one_room_and_siblings_are_not() {
        let files = [
            ("lib.rs", "mod a;"),
            ("a/mod.rs", "mod x;\nmod y;\nuse x::X;\nuse y::Y;\nstruct Own;"),
            ("a/x.rs", "use super::Own;\nuse super::Y;"),
            ("a/y.rs", "use super::Own;"),
        ];
        assert_eq!(read(&files).cycles(), [""; 0]);
        let mut files = files;
        files[3].1 = "use super::x::X;";
        assert_eq!(
            read(&files).cycles(),
            ["a::x imports from a::y, which comes back to it: a::y -> a::x"]
        );
    }

    #[test]
    fn an_import_that_nothing_comes_back_from_is_no_cycle() {
        let krate = read(&[("lib.rs", ""), ("a.rs", "use crate::b::B;"), ("b.rs", "")]);
        assert_eq!(krate.cycles(), [""; 0]);
    }

    #[test]
    fn what_the_root_re_exports_is_taken_from_its_module() {
        let krate = read(&[
            ("lib.rs", "mod a;\nmod b;\npub use a::A;\npub const OWN: u8 = 1;"),
            ("a.rs", ""),
            ("b.rs", "use crate::{A, OWN};"),
        ]);
        assert_eq!(krate.climbs(), ["b takes A through lib.rs: import it from its module"]);
    }

    #[test]
    fn tests_and_comments_import_what_they_like() {
        let tests = "#[cfg(test)]\nmod tests {\n    use crate::b::B;\n}\n// use crate::b::B;\n";
        let krate = read(&[("lib.rs", ""), ("a.rs", tests), ("b.rs", "use crate::a::A;")]);
        assert_eq!(krate.cycles(), [""; 0]);
        let tests = tests.replace("cfg(test)", "cfg(all(test, unix))");
        let krate = read(&[("lib.rs", ""), ("a.rs", &tests), ("b.rs", "use crate::a::A;")]);
        assert_eq!(krate.cycles(), [""; 0]);
        assert_eq!(module_of("loom_tests.rs"), None);
        assert_eq!(module_of("protocol/tests/x.rs"), None);
    }
}
