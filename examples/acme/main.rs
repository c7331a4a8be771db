//! `wss` with a certificate that the server obtains by itself, and renews while it runs (ACME, RFC
//! 8555), from Let's Encrypt or any other authority:
//!
//! ```sh
//! cargo run --example acme -- --domain chat.example.com --contact mailto:me@example.com
//! ```
//!
//! The authority asks for a file on port 80 of that name, which has to lead here. `--http ADDRESS`
//! and `--listen ADDRESS` are for other ports behind a firewall that translates them, `--directory
//! URL` for another authority, `--directory-ca FILE` for one whose own certificate is of no authority
//! of the system. `--domain` takes several names with commas. The account and the certificate with
//! its key are kept in `--folder DIRECTORY`. Using this means that you agree to the authority's terms.
//!
//! Open connections do not notice a renewal. `renewal.rs` decides when it is time for one.

mod authority;
mod folder;
mod renewal;
#[path = "../support/mod.rs"]
mod support;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use instant_acme::LetsEncrypt;
use tautline::http::StatusCode;
use tautline::rustls::pki_types::CertificateDer;
use tautline::rustls::pki_types::pem::PemObject;
use tautline::{
    BoxError, Certificates, Server, ServerCertificate, ServerTls, Upgrade, text_response,
};

use authority::{Authority, Challenges};
use folder::Folder;
use renewal::{Next, Schedule};

/// An order has a deadline for each of its waits, but not for connecting.
const DEADLINE: Duration = Duration::from_secs(5 * 60);

#[tokio::main]
async fn main() -> ExitCode {
    support::exit_code(run().await)
}

struct Options {
    directory: String,
    root: Option<PathBuf>,
    names: Vec<String>,
    contact: Option<String>,
    folder: Folder,
    listen: String,
    http: String,
}

impl Options {
    fn read() -> Result<Self, BoxError> {
        let names = [
            "--directory",
            "--directory-ca",
            "--domain",
            "--contact",
            "--folder",
            "--listen",
            "--http",
        ];
        let [directory, root, domain, contact, folder, listen, http] =
            support::arguments(names, &[])?;
        let domain = domain.ok_or("--domain has to name the host that clients connect to")?;
        let directory = directory.unwrap_or_else(|| LetsEncrypt::Production.url().to_owned());
        Ok(Self {
            root: root.map(PathBuf::from),
            names: domain.split(',').map(str::to_owned).collect(),
            contact,
            folder: Folder::new(Path::new(folder.as_deref().unwrap_or("acme")), &directory)?,
            directory,
            listen: listen.unwrap_or_else(|| "0.0.0.0:443".to_owned()),
            http: http.unwrap_or_else(|| "0.0.0.0:80".to_owned()),
        })
    }
}

async fn run() -> Result<(), BoxError> {
    let options = Options::read()?;
    let stopped = support::stopped();
    let challenges = Challenges::default();
    tokio::spawn(challenge_server(&options.http, challenges.clone()).await?);

    let (directory, root) = (&options.directory, options.root.as_deref());
    let contact = options.contact.as_deref();
    let opening = Authority::open(directory, root, contact, &options.folder, challenges);
    let authority = tokio::time::timeout(DEADLINE, opening).await??;
    let current = match Issued::load(&options)? {
        Some(kept) => kept,
        None => Issued::obtain(&authority, &options).await?,
    };
    let certificates = Certificates::from(current.certificate.clone());
    let tls = ServerTls::builder(certificates.clone()).build()?;
    let server = Server::bind(&options.listen).await?.tls(tls);
    println!("listening on wss://{}", server.local_addr()?);
    tokio::spawn(renew(authority, options, certificates, current));

    let serving = server.with_graceful_shutdown(stopped).serve(|mut ws| async move {
        while let Some(message) = ws.next().await {
            ws.feed(message?).await?;
        }
        Ok(())
    });
    Ok(serving.await?)
}

/// What the authority asks for is in plain text, as are the answers. There are no WebSockets.
async fn challenge_server(
    address: &str,
    challenges: Challenges,
) -> std::io::Result<impl Future<Output = std::io::Result<()>> + use<>> {
    let server = Server::bind(address).await?.fallback(move |request, _| {
        let response = match challenges.answer(request.uri().path()) {
            Some(answer) => text_response(StatusCode::OK, answer),
            None => text_response(StatusCode::NOT_FOUND, "nothing here\n"),
        };
        async move { response }
    });
    let refused = || text_response(StatusCode::FORBIDDEN, "connect by wss\n");
    let server = server.authorize(move |_| async move { Err::<Upgrade<()>, _>(refused()) });
    Ok(server.serve_with(|_, ()| async { Ok(()) }))
}

/// A certificate as it is served, and what its renewal depends on.
struct Issued {
    certificate: ServerCertificate,
    der: CertificateDer<'static>,
    valid: Range<SystemTime>,
}

impl Issued {
    /// The one in the folder, if it is for all of these names. It may have expired.
    fn load(options: &Options) -> Result<Option<Self>, BoxError> {
        let Some(pem) = folder::read(&options.folder.certificate())? else { return Ok(None) };
        let issued = Self::parse(&pem)?;
        let has = |name: &String| issued.certificate.names().any(|own| own == name);
        Ok(options.names.iter().all(has).then_some(issued))
    }

    async fn obtain(authority: &Authority, options: &Options) -> Result<Self, BoxError> {
        let pem = tokio::time::timeout(DEADLINE, authority.order(&options.names)).await??;
        let issued = Self::parse(pem.as_bytes())?;
        folder::write(&options.folder.certificate(), pem.as_bytes())?;
        println!("obtained a certificate for {}", options.names.join(", "));
        Ok(issued)
    }

    /// Chain and key in one text.
    fn parse(pem: &[u8]) -> Result<Self, BoxError> {
        let certificate = ServerCertificate::from_pem(pem, pem)?;
        let der = CertificateDer::from_pem_slice(pem)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der)?;
        let time = |seconds: i64| -> Result<_, BoxError> {
            Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.try_into()?))
        };
        let validity = parsed.validity();
        let valid = time(validity.not_before.timestamp())?..time(validity.not_after.timestamp())?;
        Ok(Self { certificate, der, valid })
    }

    fn schedule(&self) -> Schedule {
        // A hasher is seeded at random.
        let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), ());
        Schedule::new(self.valid.clone(), random as f64 / u64::MAX as f64)
    }
}

/// Renews the certificate, again and again. A failure leaves the current one in use.
async fn renew(
    authority: Authority,
    options: Options,
    certificates: Certificates,
    mut current: Issued,
) {
    let mut schedule = current.schedule();
    loop {
        let asking = tokio::time::timeout(DEADLINE, authority.suggested(&current.der));
        let window = asking.await.unwrap_or_default();
        match schedule.next(window.as_ref(), SystemTime::now()) {
            Next::Wait(time) => tokio::time::sleep(time).await,
            Next::Renew => match Issued::obtain(&authority, &options).await {
                Ok(renewed) => {
                    certificates.replace(renewed.certificate.clone(), []);
                    schedule = renewed.schedule();
                    current = renewed;
                }
                Err(error) => {
                    eprintln!("no new certificate: {error}");
                    schedule.failed(SystemTime::now());
                }
            },
        }
    }
}
