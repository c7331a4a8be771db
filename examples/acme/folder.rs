//! What is kept on disk: the account, and the certificate with its key.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A folder for what one authority knows or has issued. Another authority has another, so that a
/// certificate of a test directory is not taken for one of the real one.
#[derive(Clone, Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// The folder below `base` for this directory URL.
    pub(crate) fn new(base: &Path, directory: &str) -> io::Result<Self> {
        let plain =
            |c: char| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '_' };
        let name: String = directory.trim_start_matches("https://").chars().map(plain).collect();
        let folder = base.join(name);
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    pub(crate) fn account(&self) -> PathBuf {
        self.0.join("account.json")
    }

    /// One file for both chain and key, so that they are replaced together.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.0.join("certificate.pem")
    }
}

/// Replaces a file: whoever reads it sees the old one or the new one. Only its owner may read it.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    if new.exists() {
        fs::remove_file(&new)?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(new, path)
}

/// What a file contains; `None` if there is none.
pub(crate) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
