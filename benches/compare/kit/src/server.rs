//! The server that clients connect to when connecting is what is measured.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto, version};

use crate::{Options, Outcome};

/// Where a server is, and how it is trusted.
#[derive(Clone, Debug)]
pub struct Server {
    /// `wss` if there are settings for TLS.
    pub uri: String,
    /// One for all connections: a client that is configured once. The sessions are in it.
    pub tls: Option<Arc<ClientConfig>>,
}

impl Server {
    /// That at this address.
    ///
    /// # Errors
    /// A certificate that cannot be read.
    pub fn at(address: SocketAddr, options: &Options) -> Outcome<Self> {
        let tls = options.tls.as_deref().map(|dir| trusting(dir, options.resume)).transpose()?;
        let scheme = if tls.is_some() { "wss" } else { "ws" };
        Ok(Self { uri: format!("{scheme}://{address}/"), tls })
    }
}

fn trusting(dir: &Path, resume: bool) -> Outcome<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join("cert.pem"))?)?;
    let provider = Arc::new(crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        // By name: some of the libraries build rustls with version 1.2 too, whose offer costs them more.
        .with_protocol_versions(&[&version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // As every client of HTTP/1.1 should say (RFC 7301); some add it by themselves.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if !resume {
        config.resumption = Resumption::disabled();
    }
    Ok(Arc::new(config))
}
