//! The licenses of what we depend on, against the list in `deny.toml`.

use std::path::{Path, PathBuf};

use crate::project;
use crate::shell::{Cmd, Failure, Outcome, which};
use crate::spdx;

/// With cargo-deny where it is installed; else its question about licenses is asked here.
pub(crate) fn check() -> Outcome {
    if which("cargo-deny").is_some() {
        let mut what = "licenses bans sources".to_owned();
        if advisories().is_some() {
            what.push_str(" advisories");
        } else {
            println!("no database of advisories on this machine: they are not checked");
        }
        return Cmd::new("cargo deny --offline --all-features check").args(what.split(' ')).run();
    }
    println!("cargo-deny is not installed: licenses and sources are checked without it");
    let allowed = allowed(&project::read(Path::new("deny.toml"))?);
    if allowed.is_empty() {
        return Err(Failure::Failed("deny.toml allows no license at all".to_owned()));
    }
    let tree = Cmd::new(
        "cargo tree --workspace --all-features --target all -e normal,build --prefix none",
    )
    .arg("--format")
    .arg("{p}|{l}")
    .output()?;
    let mut packages: Vec<&str> = tree.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    packages.sort_unstable();
    packages.dedup();
    let faults: Vec<String> = packages.iter().filter_map(|line| fault(line, &allowed)).collect();
    println!("{} packages, {} with a fault", packages.len(), faults.len());
    if faults.is_empty() { Ok(()) } else { Err(Failure::Failed(faults.join("\n  "))) }
}

/// What is wrong with a package, of which `cargo tree` prints `NAME VERSION (ORIGIN)|LICENSE`.
fn fault(line: &str, allowed: &[String]) -> Option<String> {
    let (package, license) = line.split_once('|')?;
    if package.contains("://") {
        Some(format!("{package} is no registry's package"))
    } else if !spdx::satisfied(license, allowed) {
        Some(format!("{package}: `{license}` is not allowed by deny.toml"))
    } else {
        None
    }
}

/// The strings of `allow = [...]` in the section `[licenses]`.
fn allowed(toml: &str) -> Vec<String> {
    let section = toml.split("\n[licenses]").nth(1).unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    let list = section.split("\nallow = [").nth(1).unwrap_or_default();
    let list = list.split("\n]").next().unwrap_or_default();
    let uncommented = list.lines().map(|line| line.split('#').next().unwrap_or_default());
    let strings = uncommented.flat_map(|line| line.split('"').skip(1).step_by(2));
    strings.map(str::to_owned).collect()
}

/// Where cargo-deny keeps the database of advisories, if it was ever fetched.
fn advisories() -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))?;
    ["advisory-dbs", "advisory-db"].map(|name| home.join(name)).into_iter().find(|dir| dir.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allowed_licenses_are_read_from_their_section() {
        let toml = "[bans]\nallow = [\n  \"x\",\n]\n[licenses]\nversion = 2\nallow = [\n  \"MIT\",\n  \
                    \"Apache-2.0\", # \"no\"\n]\n[sources]\nallow = [\n  \"y\"\n]\n";
        assert_eq!(allowed(toml), ["MIT", "Apache-2.0"]);
        assert_eq!(allowed("[licenses]\n"), [""; 0]);
    }

    #[test]
    fn the_projects_own_list_allows_its_own_licenses() {
        let toml = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../deny.toml"));
        let allowed = allowed(&toml.unwrap());
        assert!(spdx::satisfied("MIT", &allowed) && spdx::satisfied("Apache-2.0", &allowed));
        assert!(!spdx::satisfied("GPL-3.0-or-later", &allowed));
    }

    #[test]
    fn a_package_without_a_license_or_from_elsewhere_is_a_fault() {
        let allowed = ["MIT".to_owned()];
        assert_eq!(fault("a v1.0.0|MIT", &allowed), None);
        assert_eq!(
            fault("a v1.0.0|", &allowed).unwrap(),
            "a v1.0.0: `` is not allowed by deny.toml"
        );
        assert_eq!(
            fault("a v1.0.0 (https://example.com/a#1)|MIT", &allowed).unwrap(),
            "a v1.0.0 (https://example.com/a#1) is no registry's package"
        );
    }
}
