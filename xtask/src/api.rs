//! The public API of each crate as a committed listing, `docs/api/*.txt`, so that a change of it is seen in review.
//!
//! rustdoc says in JSON what is public, and where each item stands; the signature is then read from the source. That output of
//! rustdoc is not stable, so `RUSTC_BOOTSTRAP=1` asks for it, and the listings are compared only with the compiler that made them.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::project;
use crate::shell::{Cmd, Failure, Outcome};

const LISTINGS: &str = "docs/api";
/// The crates, and the features that are listed: all but aws-lc-rs, which adds nothing public and takes minutes to compile.
const CRATES: &[(&str, &str)] = &[
    ("tautline-frame", "deflate,tokio-codec"),
    ("tautline-handshake", "http1,idna"),
    ("tautline", "ring,deflate,idna"),
];
/// What the compiler derives beside the trait that was asked for.
const NOT_LISTED: &str = "StructuralPartialEq";

/// `cargo xtask api [--bless]`.
pub(crate) fn check(args: &[String]) -> Outcome {
    let bless = match args {
        [] => false,
        [option] if option == "--bless" => true,
        _ => return Err(Failure::Failed("the one option is --bless".to_owned())),
    };
    let compiler = format!("# {}", Cmd::new("rustc --version").output()?.trim());
    let mut faults = Vec::new();
    for (package, features) in CRATES {
        let listing = list(package, features)?;
        let path = Path::new(LISTINGS).join(format!("{package}.txt"));
        if bless {
            project::create_dir(Path::new(LISTINGS))?;
            project::write(&path, &format!("{compiler}\n{}\n", listing.join("\n")))?;
            continue;
        }
        let committed = project::read(&path)?;
        if committed.lines().next() == Some(&compiler) {
            faults.extend(differences(&committed, &listing));
        } else {
            println!("{} was made by another compiler, and is not compared", path.display());
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "the public API is another one:\n  {}\n  (if it is meant so: cargo xtask api --bless)",
        faults.join("\n  ")
    )))
}

/// The lines that were added and removed.
fn differences(committed: &str, listing: &[String]) -> Vec<String> {
    let before: BTreeSet<&str> = committed.lines().skip(1).collect();
    let now: BTreeSet<&str> = listing.iter().map(String::as_str).collect();
    let removed = before.difference(&now).map(|line| format!("- {line}"));
    removed.chain(now.difference(&before).map(|line| format!("+ {line}"))).collect()
}

/// The public items of a crate, one a line, sorted.
fn list(package: &str, features: &str) -> Outcome<Vec<String>> {
    let target = project::target().join("api");
    Cmd::new(&format!(
        "cargo rustdoc -p {package} --lib --no-default-features --features {features}"
    ))
    .arg("--target-dir")
    .arg(&target)
    .args("-- -Z unstable-options --output-format json --cap-lints allow".split(' '))
    .env("RUSTC_BOOTSTRAP", "1")
    .limit(15 * 60)
    .run()?;
    let name = package.replace('-', "_");
    let path = target.join("doc").join(format!("{name}.json"));
    let docs: Value = serde_json::from_str(&project::read(&path)?)
        .map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
    let mut lister = Lister { docs: &docs, lines: BTreeSet::new() };
    let root = lister
        .item(&docs["root"])
        .ok_or_else(|| Failure::Failed(format!("{} has another format", path.display())))?;
    lister.children(&name, &root["inner"]["module"]["items"]);
    lister.impls();
    Ok(lister.lines.into_iter().collect())
}

struct Lister<'a> {
    docs: &'a Value,
    lines: BTreeSet<String>,
}

impl<'a> Lister<'a> {
    fn item(&self, id: &Value) -> Option<&'a Value> {
        self.docs["index"].get(id.to_string())
    }

    fn children(&mut self, path: &str, ids: &Value) {
        for id in ids.as_array().into_iter().flatten() {
            if let Some(item) = self.item(id) {
                self.add(path, item);
            }
        }
    }

    /// Lists an item below this path, and what is below it.
    fn add(&mut self, parent: &str, item: &'a Value) {
        let Some((kind, inner)) = item["inner"].as_object().and_then(|inner| inner.iter().next())
        else {
            return;
        };
        let name = item["name"].as_str().unwrap_or_default();
        let path = format!("{parent}::{name}");
        match kind.as_str() {
            "use" => return self.re_export(parent, inner),
            "impl" => return self.inherent(parent, item, inner),
            "module" if name == "guide" => return, // pages
            _ => {}
        }
        let attributes = item["attrs"].to_string();
        let open = if attributes.contains("non_exhaustive") { " #[non_exhaustive]" } else { "" };
        let signature = signature(item).unwrap_or_else(|| kind.clone());
        self.lines.insert(format!("{path}{open}: {signature}"));
        match kind.as_str() {
            "module" | "trait" => self.children(&path, &inner["items"]),
            "struct" => {
                self.children(&path, &inner["kind"]["plain"]["fields"]);
                self.children(&path, &inner["kind"]["tuple"]);
                self.children(&path, &inner["impls"]);
            }
            "enum" => {
                self.children(&path, &inner["variants"]);
                self.children(&path, &inner["impls"]);
            }
            _ => {}
        }
    }

    fn re_export(&mut self, parent: &str, inner: &'a Value) {
        let source = inner["source"].as_str().unwrap_or_default();
        let name = inner["name"].as_str().unwrap_or_default();
        match self.item(&inner["id"]).filter(|item| item["crate_id"] == 0) {
            Some(item) => self.add(parent, item),
            None => {
                self.lines.insert(format!("{parent}::{name}: pub use {source}"));
            }
        }
    }

    /// The methods and constants of a type; its traits are listed by themselves.
    fn inherent(&mut self, parent: &str, item: &'a Value, inner: &'a Value) {
        if !inner["trait"].is_null() || !inner["blanket_impl"].is_null() {
            return;
        }
        let header = signature(item).unwrap_or_default();
        for id in inner["items"].as_array().into_iter().flatten() {
            let Some(method) = self.item(id).filter(|method| method["visibility"] == "public")
            else {
                continue;
            };
            let name = method["name"].as_str().unwrap_or_default();
            let signature = signature(method).unwrap_or_default();
            // Bounds of the impl are bounds of its methods.
            let of = if header.contains('<') { format!(" in {header}") } else { String::new() };
            self.lines.insert(format!("{parent}::{name}: {signature}{of}"));
        }
    }

    /// The traits that this crate implements; those that the compiler finds by itself are left out.
    fn impls(&mut self) {
        for item in self.docs["index"].as_object().into_iter().flat_map(|index| index.values()) {
            let inner = &item["inner"]["impl"];
            let own = item["crate_id"] == 0 && inner["is_synthetic"] == false;
            if !own || inner["trait"].is_null() || !inner["blanket_impl"].is_null() {
                continue;
            }
            let of = inner["trait"]["path"].as_str().unwrap_or_default();
            if of.ends_with(NOT_LISTED) {
                continue;
            }
            let line = match signature(item).filter(|text| text.contains("impl")) {
                Some(header) => header,
                None => {
                    let path = inner["for"]["resolved_path"]["path"].as_str().unwrap_or_default();
                    let name = path.rsplit("::").next().unwrap_or_default();
                    format!(
                        "impl {} for {name}, derived",
                        of.rsplit("::").next().unwrap_or_default()
                    )
                }
            };
            self.lines.insert(line);
        }
    }
}

/// The signature of an item as it stands in the source, in one line.
fn signature(item: &Value) -> Option<String> {
    let span = &item["span"];
    let source = project::read(Path::new(span["filename"].as_str()?)).ok()?;
    let place = |end: &str, at: usize| span[end][at].as_u64().and_then(|n| usize::try_from(n).ok());
    let (first, last) = (place("begin", 0)?, place("end", 0)?);
    let (column, end) = (place("begin", 1)?, place("end", 1)?);
    let mut text = String::new();
    for (number, line) in (1..).zip(source.lines()).take(last).skip(first - 1) {
        let line = if number == last { line.get(..end - 1).unwrap_or(line) } else { line };
        let line = if number == first { line.get(column - 1..).unwrap_or(line) } else { line };
        text.push_str(line.split("//").next().unwrap_or_default());
        text.push(' ');
    }
    let kind = item["inner"].as_object()?.keys().next()?.as_str();
    let of_macro = || {
        let name = text.trim_start().split_once('!').filter(|(name, _)| is_name(name))?.0;
        in_macro(Path::new(span["filename"].as_str()?), name, item["name"].as_str()?)
    };
    if kind == "function"
        && let Some(text) = of_macro()
    {
        return Some(shortened(kind, &text));
    }
    Some(shortened(kind, &text))
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// The text of a method that a macro of the same crate makes: where it is called, there is only the call.
fn in_macro(file: &Path, name: &str, method: &str) -> Option<String> {
    let root = file.ancestors().find(|directory| directory.ends_with("src"))?;
    let definition = format!("macro_rules! {name} {{");
    let sources = project::files(root, "rs").ok()?;
    let sources = sources.iter().filter_map(|source| project::read(source).ok());
    let body =
        sources.filter_map(|text| Some(text.split_once(&definition)?.1.to_owned())).next()?;
    ["<", "("].iter().find_map(|open| {
        let start = format!("pub fn {method}{open}");
        Some(body[body.find(&start)?..].replace('\n', " "))
    })
}

/// The text of an item without its body, and without its value if that may change.
fn shortened(kind: &str, text: &str) -> String {
    let text = match kind {
        "function" | "impl" | "module" | "trait" | "struct" | "enum" | "union" => {
            text.split(" {").next().unwrap_or_default()
        }
        _ => text,
    };
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.replace("( ", "(").replace(", )", ")").trim_end_matches([';', ',', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_one_line_without_a_body() {
        let text =
            "pub fn f<T>(\n    self,\n    value: T,\n) -> T\nwhere\n    T: Copy,\n{\n    value\n}";
        assert_eq!(
            shortened("function", &text.replace('\n', " ")),
            "pub fn f<T>(self, value: T) -> T where T: Copy"
        );
        assert_eq!(shortened("struct", "pub struct Unit;"), "pub struct Unit");
        assert_eq!(shortened("variant", "Text(Text)"), "Text(Text)");
        assert_eq!(
            shortened("constant", "pub const MAX: usize = 1024;"),
            "pub const MAX: usize = 1024"
        );
    }

    #[test]
    fn differences_name_what_came_and_went() {
        let now = ["a: fn a()".to_owned(), "c: fn c()".to_owned()];
        assert_eq!(
            differences("# rustc\na: fn a()\nb: fn b()\n", &now),
            ["- b: fn b()", "+ c: fn c()"]
        );
        assert_eq!(differences("# rustc\na: fn a()\nc: fn c()\n", &now), [""; 0]);
    }
}
