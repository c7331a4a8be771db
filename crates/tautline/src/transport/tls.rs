//! TLS with rustls, for both roles. Settings are made once and shared, so that sessions resume.

mod certificate;
mod certificates;
mod client;
mod client_auth;
mod client_certificate;
mod error;
mod info;
mod names;
mod pinning;
mod pins;
mod revocation;
mod roots;
mod server;
mod settings;
mod staple;
mod trust;
mod watch;

pub use self::certificate::ServerCertificate;
pub use self::certificates::Certificates;
pub use self::client::ClientTls;
pub use self::client_auth::ClientAuth;
pub use self::client_certificate::ClientCertificate;
pub use self::error::TlsError;
pub(crate) use self::info::TlsFacts;
pub use self::info::TlsInfo;
pub use self::pins::{InvalidPin, PublicKeyPin};
pub use self::revocation::RevocationLists;
pub use self::server::{ServerTls, ServerTlsBuilder};

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;

    // With two files, the error for one that is missing, or for both in the wrong order, named
    // neither the file nor what was wrong.
    #[test]
    fn an_error_names_the_file_and_what_was_to_be_in_it() {
        let error = ServerTls::from_pem_files("/none/chain.pem", "/none/key.pem").unwrap_err();
        assert_eq!(error.to_string(), "cannot read the certificates in /none/chain.pem");
        let error = ClientTls::from_ca_file("/none/ca.pem").unwrap_err();
        assert_eq!(error.to_string(), "cannot read the certificates in /none/ca.pem");
        let error = ServerTls::from_pem(b"", b"").unwrap_err();
        assert_eq!(error.to_string(), "cannot read the certificates");
    }
}
