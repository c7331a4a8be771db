//! What is published: each package has its licences, its page and the guide, and the
//! documentation's tests of those that run on Tokio pass with all of them unpacked side by side.

use std::path::{Path, PathBuf};

use crate::project;
use crate::shell::{Cmd, Failure, Outcome};

const PACKAGES: &[&str] = &[
    "tautline-frame",
    "tautline-handshake",
    "tautline",
    "tautline-http",
    "tautline-axum",
    "tautline-hub",
];
/// What each has, and the file that it is a copy of.
const FILES: &[(&str, &str)] =
    &[("LICENSE-APACHE", "LICENSE-APACHE"), ("LICENSE-MIT", "LICENSE-MIT")];
const GUIDE: &str = "crates/tautline/docs/guide";

pub(crate) fn check() -> Outcome {
    let names = PACKAGES.iter().flat_map(|name| ["-p", name]);
    Cmd::new("cargo package --no-verify --allow-dirty").args(names).limit(5 * 60).run()?;
    let home = project::target().join("package/unpacked");
    if home.exists() {
        std::fs::remove_dir_all(&home).map_err(|error| {
            Failure::Failed(format!("cannot clear {}: {error}", home.display()))
        })?;
    }
    project::create_dir(&home)?;
    let mut faults = Vec::new();
    let mut unpacked = Vec::new();
    for name in PACKAGES {
        let dir = unpack(name, &home)?;
        faults.extend(faults_of(name, &dir)?);
        unpacked.push(dir);
    }
    if !faults.is_empty() {
        return Err(Failure::Failed(faults.join("\n  ")));
    }
    project::write(&home.join("Cargo.toml"), &workspace(&unpacked))?;
    // The versions that the project is tested with: nothing is asked of a registry.
    project::write(&home.join("Cargo.lock"), &project::read(Path::new("Cargo.lock"))?)?;
    let command = "cargo test --quiet --doc --offline -p tautline -p tautline-http -p tautline-axum \
                   -p tautline-hub";
    Cmd::new(command)
        .arg("--manifest-path")
        .arg(home.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(project::target())
        .limit(15 * 60)
        .run()
}

/// Unpacks the archive of a package, and returns its directory.
fn unpack(name: &str, home: &Path) -> Outcome<PathBuf> {
    let archives = project::target().join("package");
    let version = version()?;
    let stem = format!("{name}-{version}");
    Cmd::new("tar --extract --gzip --file")
        .arg(archives.join(format!("{stem}.crate")))
        .arg("--directory")
        .arg(home)
        .run()?;
    Ok(home.join(stem))
}

/// The version of all packages, which the workspace has.
fn version() -> Outcome<String> {
    let manifest = project::read(Path::new("Cargo.toml"))?;
    let line = manifest.lines().find_map(|line| line.strip_prefix("version = \""));
    let version = line.and_then(|rest| rest.split('"').next());
    version
        .map(str::to_owned)
        .ok_or_else(|| Failure::Failed("Cargo.toml has no version".to_owned()))
}

/// What is missing from a package, or other than it should be.
fn faults_of(name: &str, dir: &Path) -> Outcome<Vec<String>> {
    let mut files: Vec<(PathBuf, PathBuf)> =
        FILES.iter().map(|(packed, of)| (dir.join(packed), PathBuf::from(of))).collect();
    files.push((dir.join("README.md"), Path::new("crates").join(name).join("README.md")));
    if name == "tautline" {
        for page in project::files(Path::new(GUIDE), "md")? {
            let packed = dir.join("docs/guide").join(page.file_name().unwrap_or_default());
            files.push((packed, page));
        }
    }
    let mut faults = Vec::new();
    for (packed, of) in &files {
        match project::read(packed) {
            Err(_) => faults.push(format!("{} is not in the package", packed.display())),
            Ok(text) if text != project::read(of)? => {
                faults.push(format!("{} is not {}", packed.display(), of.display()));
            }
            Ok(_) => {}
        }
    }
    let page = project::read(&dir.join("README.md")).unwrap_or_default();
    let broken = relative_links(&page).into_iter();
    faults.extend(broken.map(|link| {
        format!("{name}: README.md links to {link}, which the published page has not")
    }));
    println!("{name}: {} files as they should be", files.len() - faults.len().min(files.len()));
    Ok(faults)
}

/// Links that work in the repository alone.
fn relative_links(page: &str) -> Vec<&str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let references = page.lines().filter(|line| line.starts_with('['));
    let references = references.filter_map(|line| line.split_once("]: ").map(|(_, target)| target));
    let all = targets.chain(references);
    all.filter(|target| !target.starts_with("http") && !target.starts_with('#')).collect()
}

/// A workspace of the unpacked packages, each taken from beside the others.
fn workspace(unpacked: &[PathBuf]) -> String {
    let paths: Vec<String> = unpacked
        .iter()
        .filter_map(|dir| dir.file_name().map(|name| name.to_string_lossy().into_owned()))
        .collect();
    let members: Vec<String> = paths.iter().map(|path| format!("{path:?}")).collect();
    let patches = PACKAGES.iter().zip(&paths);
    let patches: String =
        patches.map(|(name, path)| format!("{name} = {{ path = {path:?} }}\n")).collect();
    format!(
        "[workspace]\nmembers = [{}]\nresolver = \"3\"\n\n[patch.crates-io]\n{patches}\n\
         [profile.dev.package.zlib-rs]\nopt-level = 3\n",
        members.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_into_the_repository_are_found() {
        let page =
            "[a](https://x.example) [b](docs/b.md) [c](#c)\n[d]: e.md\n[f]: https://f.example\n";
        assert_eq!(relative_links(page), ["docs/b.md", "e.md"]);
    }

    #[test]
    fn the_unpacked_packages_use_each_other() {
        let unpacked = ["x/a-1", "x/b-1", "x/c-1"].map(PathBuf::from);
        let text = workspace(&unpacked);
        assert!(text.contains("members = [\"a-1\", \"b-1\", \"c-1\"]"), "{text}");
        assert!(text.contains("tautline-handshake = { path = \"b-1\" }"), "{text}");
    }
}
