//! The public API of each crate as a committed listing, `docs/api/*.txt`, so that a change of it is
//! seen in review.
//!
//! rustdoc says in JSON what is public, and `signature.rs` writes it as Rust. That output of
//! rustdoc is not stable, so `RUSTC_BOOTSTRAP=1` asks for it, and the listings are compared only
//! with the compiler that made them.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::project;
use crate::shell::{Cmd, Failure, Outcome};
use crate::signature::{Docs, kind_of, text};

const LISTINGS: &str = "docs/api";
/// The crates, and the features that are listed: all but aws-lc-rs, which adds nothing public and
/// takes minutes to compile.
const CRATES: &[(&str, &str)] = &[
    ("tautline-frame", "deflate,tokio-codec"),
    ("tautline-handshake", "http1,idna"),
    (
        "tautline",
        "ring,deflate,idna,jwt,http2,service,router,metrics,socks,json-rpc,cookies,url,\
         platform-verifier,webpki-roots",
    ),
    ("tautline-http", "deflate"),
    ("tautline-axum", "deflate"),
    ("tautline-hub", "redis,nats,centrifuge-protobuf"),
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
    let docs = serde_json::from_str(&project::read(&path)?)
        .map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
    let docs = Docs(docs);
    let mut lister = Lister { docs: &docs, lines: BTreeSet::new() };
    let root = docs
        .item(&docs.0["root"])
        .ok_or_else(|| Failure::Failed(format!("{} has another format", path.display())))?;
    lister.children(&name, &root["inner"]["module"]["items"]);
    lister.impls();
    Ok(lister.lines.into_iter().collect())
}

struct Lister<'a> {
    docs: &'a Docs,
    lines: BTreeSet<String>,
}

impl<'a> Lister<'a> {
    fn children(&mut self, path: &str, ids: &'a Value) {
        for id in ids.as_array().into_iter().flatten() {
            if let Some(item) = self.docs.item(id) {
                self.add(path, item);
            }
        }
    }

    /// Lists an item below this path, and what is below it.
    fn add(&mut self, parent: &str, item: &'a Value) {
        let (kind, inner) = kind_of(&item["inner"]);
        let name = text(&item["name"]);
        let path = format!("{parent}::{name}");
        match kind {
            "use" => return self.re_export(parent, inner),
            "impl" => return self.inherent(parent, item, inner),
            "module" if name == "guide" => return, // pages
            _ => {}
        }
        let attributes = item["attrs"].to_string();
        let open = if attributes.contains("non_exhaustive") { " #[non_exhaustive]" } else { "" };
        self.lines.insert(format!("{path}{open}: {}", self.docs.signature(item)));
        match kind {
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
        match self.docs.item(&inner["id"]).filter(|item| item["crate_id"] == 0) {
            Some(item) => self.add(parent, item),
            None => {
                let (name, source) = (text(&inner["name"]), text(&inner["source"]));
                self.lines.insert(format!("{parent}::{name}: pub use {source}"));
            }
        }
    }

    /// The methods and constants of a type; its traits are listed by themselves.
    fn inherent(&mut self, parent: &str, item: &'a Value, inner: &'a Value) {
        if !inner["trait"].is_null() || !inner["blanket_impl"].is_null() {
            return;
        }
        // Bounds of the impl are bounds of its methods.
        let header = self.docs.signature(item);
        let of = if header.contains('<') { format!(" in {header}") } else { String::new() };
        for id in inner["items"].as_array().into_iter().flatten() {
            if let Some(item) = self.docs.item(id).filter(|item| item["visibility"] == "public") {
                let (name, signature) = (text(&item["name"]), self.docs.signature(item));
                self.lines.insert(format!("{parent}::{name}: {signature}{of}"));
            }
        }
    }

    /// The traits that this crate implements; those that the compiler finds by itself are left out.
    fn impls(&mut self) {
        for item in self.docs.0["index"].as_object().into_iter().flat_map(|index| index.values()) {
            let inner = &item["inner"]["impl"];
            let own = item["crate_id"] == 0 && inner["is_synthetic"] == false;
            let listed = own && !inner["trait"].is_null() && inner["blanket_impl"].is_null();
            if listed && !text(&inner["trait"]["path"]).ends_with(NOT_LISTED) {
                self.lines.insert(self.docs.signature(item));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
