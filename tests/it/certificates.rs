//! The certificates of a server: several, replaced while it runs, read again from their files, and
//! with OCSP responses (RFC 6066 sections 3 and 8).

use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tautline::rustls::SignatureScheme;
use tautline::{Certificates, ServerCertificate, ServerTls, TlsError};
use tokio::time::{sleep, timeout};

use crate::support::authority::{Shown, shown, shown_to};
use crate::support::handshake::{Identity, echo_server, expect_echo};
use crate::support::log::Log;

/// The shape of a response: `successful`, and something that only clients look into.
const STAPLE: &[u8] = &[0x30, 7, 0x0a, 1, 0, 0xa0, 2, 5, 0];
const OTHER_STAPLE: &[u8] = &[0x30, 7, 0x0a, 1, 0, 0xa0, 2, 5, 1];
/// The responder has no answer now: `tryLater`.
const TRY_LATER: &[u8] = &[0x30, 3, 0x0a, 1, 3];

/// So short that a test need not wait for it.
const SOON: Duration = Duration::from_millis(10);

async fn in_time<T>(test: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), test).await.expect("the test takes too long")
}

async fn server_of(certificates: &Certificates) -> SocketAddr {
    let tls = ServerTls::builder(certificates.clone()).build().unwrap();
    echo_server(|server| server.tls(tls)).await
}

/// What a client sees of this identity.
fn seen(identity: &Identity, staple: &[u8]) -> Shown {
    Shown { certificate: identity.certificate.to_vec(), staple: staple.to_vec() }
}

/// Files of their own for a test, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        let name = format!("tautline-{test}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    fn write_pair(&self, identity: &Identity) {
        self.write("chain.pem", &identity.certificate_pem);
        self.write("key.pem", &identity.key_pem);
    }

    fn certificate(&self) -> Result<ServerCertificate, TlsError> {
        ServerCertificate::from_pem_files(self.path("chain.pem"), self.path("key.pem"))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Waits until clients are shown this.
async fn until_shown(server: SocketAddr, expected: &Shown) {
    while shown(server, None).await != *expected {
        sleep(SOON).await;
    }
}

async fn until_logged(log: &Log, count: usize, text: &str) {
    while log.text().matches(text).count() < count {
        sleep(SOON).await;
    }
}

#[tokio::test]
async fn replacing_certificates_drops_no_connection_and_later_ones_see_the_new_one() {
    in_time(async {
        let (old, new) = (Identity::for_names(&["localhost"]), Identity::for_names(&["localhost"]));
        let certificates = Certificates::from(old.server_certificate());
        let server = server_of(&certificates).await;
        let uri = format!("wss://localhost:{}/", server.port());
        let mut open = Vec::new();
        for _ in 0..20 {
            let mut ws = old.client().connect(&uri).await.unwrap();
            expect_echo(&mut ws, "before").await;
            open.push(ws);
        }
        certificates.replace(new.server_certificate(), []);
        for ws in &mut open {
            expect_echo(ws, "after").await;
        }
        assert_eq!(shown(server, Some("localhost")).await, seen(&new, b""));
        expect_echo(&mut new.client().connect(&uri).await.unwrap(), "hello").await;
        old.client().connect(&uri).await.unwrap_err();
        for mut ws in open {
            expect_echo(&mut ws, "still").await;
            ws.close().await.unwrap();
        }
    })
    .await;
}

// RFC 6066 section 3, RFC 9525 section 6.3.
#[tokio::test]
async fn a_client_gets_the_certificate_for_its_name_or_else_the_default() {
    in_time(async {
        let default = Identity::for_names(&["default.test"]);
        let wildcard = Identity::for_names(&["*.example.com", "example.com"]);
        let exact = Identity::for_names(&["chat.example.com", "192.0.2.1"]);
        let [first, second, third] =
            [&default, &wildcard, &exact].map(Identity::server_certificate);
        let names: Vec<_> = second.names().collect();
        assert_eq!(names, ["*.example.com", "example.com"]);
        let certificates = Certificates::new(first, [second.clone(), third]);
        let server = server_of(&certificates).await;
        for (name, identity) in [
            (None, &default),
            (Some("default.test"), &default),
            (Some("unknown.test"), &default),
            (Some("a.b.example.com"), &default),
            (Some("example.com"), &wildcard),
            (Some("other.example.com"), &wildcard),
            (Some("CHAT2.Example.com"), &wildcard),
            (Some("chat.example.com"), &exact),
        ] {
            assert_eq!(shown(server, name).await, seen(identity, b""), "{name:?}");
        }
        // The names change with the certificates.
        certificates.replace(second, []);
        assert_eq!(shown(server, Some("chat.example.com")).await, seen(&wildcard, b""));
        assert_eq!(shown(server, None).await, seen(&wildcard, b""));
    })
    .await;
}

#[tokio::test]
async fn of_two_certificates_for_a_name_a_client_gets_one_that_it_can_verify() {
    in_time(async {
        let names = ["localhost"];
        let edwards = Identity::with_key(&names, &rcgen::PKCS_ED25519);
        let nist = Identity::with_key(&names, &rcgen::PKCS_ECDSA_P256_SHA256);
        let certificates =
            Certificates::new(edwards.server_certificate(), [nist.server_certificate()]);
        let server = server_of(&certificates).await;
        for (scheme, identity) in
            [(SignatureScheme::ED25519, &edwards), (SignatureScheme::ECDSA_NISTP256_SHA256, &nist)]
        {
            let shown = shown_to(server, Some("localhost"), vec![scheme]).await;
            assert_eq!(shown, seen(identity, b""), "{scheme:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn files_are_read_again_on_demand_and_all_of_them_or_none() {
    in_time(async {
        let names = ["localhost"];
        let (old, new) = (Identity::for_names(&names), Identity::for_names(&names));
        let other = Identity::for_names(&["other.test"]);
        let directory = Directory::new("reload");
        directory.write_pair(&old);
        let tls = ServerTls::from_pem_files(directory.path("chain.pem"), directory.path("key.pem"));
        let tls = tls.unwrap();
        let certificates = tls.certificates().unwrap().clone();
        let server = echo_server(|server| server.tls(tls)).await;
        certificates.replace(directory.certificate().unwrap(), [other.server_certificate()]);

        directory.write("chain.pem", &new.certificate_pem);
        assert!(matches!(certificates.reload(), Err(TlsError::Settings(_))));
        assert_eq!(shown(server, None).await, seen(&old, b""));
        directory.write("key.pem", &new.key_pem);
        certificates.reload().unwrap();
        assert_eq!(shown(server, None).await, seen(&new, b""));
        // One that does not come from files stays.
        assert_eq!(shown(server, Some("other.test")).await, seen(&other, b""));
        let huge = vec![b'\n'; (1 << 20) + 1];
        directory.write("key.pem", &huge);
        assert!(matches!(certificates.reload(), Err(TlsError::Pem { .. })));
        assert_eq!(shown(server, None).await, seen(&new, b""));
    })
    .await;
}

// RFC 6066 section 8, RFC 6960.
#[tokio::test]
async fn clients_that_ask_get_the_ocsp_response_of_the_certificate() {
    in_time(async {
        let identity = Identity::for_names(&["localhost"]);
        let directory = Directory::new("ocsp");
        directory.write_pair(&identity);
        directory.write("ocsp.der", STAPLE);
        let certificate = directory.certificate().unwrap();
        let stapled = certificate.clone().with_ocsp_file(directory.path("ocsp.der")).unwrap();
        let certificates = Certificates::from(stapled);
        let server = server_of(&certificates).await;
        assert_eq!(shown(server, None).await, seen(&identity, STAPLE));
        // rustls's own verifier accepts it too.
        let uri = format!("wss://localhost:{}/", server.port());
        expect_echo(&mut identity.client().connect(uri).await.unwrap(), "hello").await;

        directory.write("ocsp.der", OTHER_STAPLE);
        certificates.reload().unwrap();
        assert_eq!(shown(server, None).await, seen(&identity, OTHER_STAPLE));
        // The certificate is the same: it keeps the response that it has.
        directory.write("ocsp.der", TRY_LATER);
        assert!(matches!(certificates.reload(), Err(TlsError::Staple { .. })));
        assert_eq!(shown(server, None).await, seen(&identity, OTHER_STAPLE));
        // A new one does not wait for a response.
        let new = Identity::for_names(&["localhost"]);
        directory.write_pair(&new);
        certificates.reload().unwrap();
        assert_eq!(shown(server, None).await, seen(&new, b""));

        certificates.replace(new.server_certificate().with_ocsp(STAPLE).unwrap(), []);
        assert_eq!(shown(server, None).await, seen(&new, STAPLE));
        let with = |path: &Path| certificate.clone().with_ocsp_file(path).unwrap_err();
        for error in [
            with(&directory.path("ocsp.der")),
            with(&directory.path("none.der")),
            new.server_certificate().with_ocsp_file(directory.path("none.der")).unwrap_err(),
            new.server_certificate().with_ocsp(TRY_LATER).unwrap_err(),
        ] {
            assert!(matches!(error, TlsError::Staple { .. }), "{error:?}");
        }
    })
    .await;
}

// A volume of Kubernetes: the files are links into a directory that is itself a link, and that is
// replaced by renaming another over it. Watching the files for writes sees nothing of this.
#[cfg(unix)]
#[tokio::test]
async fn a_watcher_sees_a_directory_that_is_replaced_by_a_link() {
    use std::os::unix::fs::symlink;
    in_time(async {
        let names = ["localhost"];
        let directory = Directory::new("volume");
        let publish = |version: &str, identity: &Identity| {
            fs::create_dir(directory.path(version)).unwrap();
            directory.write(&format!("{version}/chain.pem"), &identity.certificate_pem);
            directory.write(&format!("{version}/key.pem"), &identity.key_pem);
            symlink(version, directory.path("..tmp")).unwrap();
            fs::rename(directory.path("..tmp"), directory.path("..data")).unwrap();
        };
        let first = Identity::for_names(&names);
        publish("..1", &first);
        for name in ["chain.pem", "key.pem"] {
            symlink(Path::new("..data").join(name), directory.path(name)).unwrap();
        }
        let certificates = Certificates::from(directory.certificate().unwrap());
        let server = server_of(&certificates).await;
        let watching = tokio::spawn(certificates.watch(SOON));
        assert_eq!(shown(server, None).await, seen(&first, b""));
        for version in ["..2", "..3"] {
            let next = Identity::for_names(&names);
            publish(version, &next);
            until_shown(server, &seen(&next, b"")).await;
        }
        watching.abort();
    })
    .await;
}

#[tokio::test]
async fn a_watcher_keeps_what_works_and_warns_once_of_what_does_not() {
    in_time(async {
        let names = ["localhost"];
        let (old, new) = (Identity::for_names(&names), Identity::for_names(&names));
        let other = Identity::for_names(&["other.test"]);
        let directories = [Directory::new("broken"), Directory::new("sound")];
        directories[0].write_pair(&old);
        directories[1].write_pair(&other);
        let certificates = Certificates::new(
            directories[0].certificate().unwrap(),
            [directories[1].certificate().unwrap()],
        );
        let server = server_of(&certificates).await;
        let log = Log::default();
        let _collecting = log.start();
        tokio::spawn(certificates.watch(SOON));
        let stays = "WARN tautline::transport::tls::watch: a certificate cannot be loaded again";

        directories[0].write("chain.pem", "half a certif");
        until_logged(&log, 1, stays).await;
        fs::remove_file(directories[0].path("chain.pem")).unwrap();
        until_logged(&log, 2, stays).await;
        directories[0].write("chain.pem", &new.certificate_pem);
        until_logged(&log, 3, stays).await;
        assert!(log.text().contains("keys may not be consistent"), "{}", log.text());
        assert_eq!(shown(server, None).await, seen(&old, b""));

        // Another certificate does not wait for that one.
        let next = Identity::for_names(&["other.test"]);
        directories[1].write_pair(&next);
        while shown(server, Some("other.test")).await != seen(&next, b"") {
            sleep(SOON).await;
        }
        assert_eq!(shown(server, None).await, seen(&old, b""));
        directories[0].write("key.pem", &new.key_pem);
        until_shown(server, &seen(&new, b"")).await;
        // Each once, over many looks; and nothing of a key is logged.
        let log = log.text();
        assert_eq!(log.matches(stays).count(), 3, "{log}");
        assert_eq!(log.matches("a certificate was loaded again").count(), 2, "{log}");
        assert!(!log.contains("PRIVATE"));
    })
    .await;
}

#[tokio::test]
async fn a_watcher_follows_replaced_certificates_and_ends_with_them() {
    in_time(async {
        let names = ["localhost"];
        let [first, second, third] = [(); 3].map(|()| Identity::for_names(&names));
        let directories = [Directory::new("first"), Directory::new("second")];
        directories[0].write_pair(&first);
        directories[1].write_pair(&second);
        let certificates = Certificates::from(directories[0].certificate().unwrap());
        let server = server_of(&certificates).await;
        let watching = tokio::spawn(certificates.watch(SOON));
        certificates.replace(directories[1].certificate().unwrap(), []);
        assert_eq!(shown(server, None).await, seen(&second, b""));
        directories[1].write_pair(&third);
        until_shown(server, &seen(&third, b"")).await;
        drop(certificates);
        assert!(!watching.is_finished(), "the server uses them");

        let unused = Certificates::from(directories[0].certificate().unwrap());
        let watching = unused.watch(SOON);
        drop(unused);
        watching.await.unwrap();
    })
    .await;
}
