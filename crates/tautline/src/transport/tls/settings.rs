//! What both roles share: protocols, sizes, the crypto provider.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{CipherSuite, SupportedCipherSuite};

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

/// The same for a client, which offers AES-128-GCM first, as browsers do. With AES-256-GCM goes SHA-384,
/// for which few processors have instructions: without it, a resumed connection costs a sixth less
/// (docs/performance.md).
pub(super) fn client_provider() -> Result<Arc<CryptoProvider>, TlsError> {
    provider().map(ordered)
}

/// A provider whose suites begin otherwise than those of rustls has an order of its own, and keeps it.
fn ordered(mut provider: Arc<CryptoProvider>) -> Arc<CryptoProvider> {
    if suites(&provider).take(USUAL.len()).eq(USUAL) {
        // Otherwise in the order that it has. Those of other versions in between do not count: which
        // version it is, both sides agree on by other means.
        let all = &mut Arc::make_mut(&mut provider).cipher_suites;
        all.sort_by_key(|suite| !AES_128_GCM.contains(&suite.suite()));
    }
    provider
}

/// How the suites of rustls' own providers begin.
const USUAL: [CipherSuite; 2] =
    [CipherSuite::TLS13_AES_256_GCM_SHA384, CipherSuite::TLS13_AES_128_GCM_SHA256];

const AES_128_GCM: [CipherSuite; 3] = [
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];

fn suites(provider: &CryptoProvider) -> impl Iterator<Item = CipherSuite> {
    provider.cipher_suites.iter().map(SupportedCipherSuite::suite)
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

#[cfg(all(test, feature = "ring"))]
mod tests {
    use super::*;

    #[test]
    fn of_a_providers_usual_suites_a_client_offers_all_and_those_with_sha_256_first() {
        let usual = rustls::crypto::ring::default_provider();
        let ordered = ordered(Arc::new(usual.clone()));
        let first: Vec<_> = suites(&ordered).take(3).collect();
        assert_eq!(first, AES_128_GCM);
        let sorted = |provider| {
            let mut all: Vec<_> = suites(provider).map(u16::from).collect();
            all.sort_unstable();
            all
        };
        assert_eq!(sorted(&ordered), sorted(&usual));
    }

    #[test]
    fn an_order_that_was_chosen_is_kept() {
        let mut own = rustls::crypto::ring::default_provider();
        own.cipher_suites.rotate_left(2);
        let chosen: Vec<_> = suites(&own).collect();
        assert_eq!(suites(&ordered(Arc::new(own))).collect::<Vec<_>>(), chosen);
    }
}
