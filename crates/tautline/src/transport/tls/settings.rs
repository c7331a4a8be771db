//! What both roles share: protocols, sizes, the crypto provider.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;

use super::TlsError;

/// The protocol inside TLS (RFC 7301): the WebSocket handshake is HTTP/1.1, unless HTTP/2 was asked
/// for.
pub(super) const ALPN: &[u8] = b"http/1.1";
pub(super) const ALPN_HTTP2: &[u8] = b"h2";

/// How much rustls encrypts for one write, in bytes, and therefore buffers at most while the peer
/// does not read: its own 64 KiB and another record. A message of 64 KiB is then sent in one write
/// together with its header, without a second write for a few bytes.
pub(super) const WRITE_LIMIT: usize = 80 << 10;

/// The crypto provider: the one that the process installed, or else the one that this crate was
/// built with. Never panics.
pub(super) fn provider() -> Result<Arc<CryptoProvider>, TlsError> {
    if let Some(provider) = CryptoProvider::get_default() {
        return Ok(provider.clone());
    }
    built_in().map(Arc::new).ok_or(TlsError::NoProvider)
}

#[cfg(feature = "ring")]
fn built_in() -> Option<CryptoProvider> {
    Some(rustls::crypto::ring::default_provider())
}

#[cfg(all(feature = "aws-lc-rs", not(feature = "ring")))]
fn built_in() -> Option<CryptoProvider> {
    Some(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
fn built_in() -> Option<CryptoProvider> {
    None
}

pub(super) fn in_file(what: &str, path: &Path) -> String {
    format!("{what} in {}", path.display())
}

/// A file of so many bytes at most.
pub(super) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let length = File::open(path)?.take(most + 1).read_to_end(&mut content)?;
    if length as u64 > most {
        let told = format!("longer than {} MiB", most >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, told));
    }
    Ok(content)
}
