//! Where things are.

use std::path::{Path, PathBuf};

use crate::shell::{Failure, Outcome};

/// Makes the root of the project the working directory: all paths are relative to it.
pub(crate) fn enter() -> Outcome {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    std::env::set_current_dir(root)
        .map_err(|error| Failure::Failed(format!("cannot enter {}: {error}", root.display())))
}

/// Whether a check that cannot run must fail: `CI=true`.
pub(crate) fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// Cargo's target directory, absolute; everything that is built or installed goes below it.
pub(crate) fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    std::path::absolute(&target).unwrap_or_else(|_| PathBuf::from(target))
}

/// Where the external suites and peers are installed.
pub(crate) fn suites() -> PathBuf {
    target().join("suites")
}

/// The programs of `examples/`, as `rust::examples` builds them.
pub(crate) fn example(name: &str) -> PathBuf {
    target().join("release/examples").join(name)
}

/// Creates a directory and the ones above it.
pub(crate) fn create_dir(path: &Path) -> Outcome {
    std::fs::create_dir_all(path)
        .map_err(|error| Failure::Failed(format!("cannot create {}: {error}", path.display())))
}

/// Writes a file.
pub(crate) fn write(path: &Path, text: &str) -> Outcome {
    std::fs::write(path, text)
        .map_err(|error| Failure::Failed(format!("cannot write {}: {error}", path.display())))
}

/// Reads a text file; what is not UTF-8 in it is replaced.
pub(crate) fn read(path: &Path) -> Outcome<String> {
    std::fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .map_err(|error| Failure::Failed(format!("cannot read {}: {error}", path.display())))
}

/// All files below a directory whose name ends in this extension, sorted.
pub(crate) fn files(dir: &Path, extension: &str) -> Outcome<Vec<PathBuf>> {
    let unreadable = |error| Failure::Failed(format!("cannot list {}: {error}", dir.display()));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_dir() {
            found.extend(files(&path, extension)?);
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
