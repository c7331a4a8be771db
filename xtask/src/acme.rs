//! The example `acme` against Pebble, the ACME authority that Let's Encrypt tests clients with: a
//! certificate, which is validated over HTTP, and its renewal while a connection is open.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::project;
use crate::proxies::{free_addresses, listening};
use crate::rust;
use crate::scripts::{Scripts, Tally};
use crate::shell::{Cmd, Failure, Outcome, Running};
use crate::suites::{self, Certificate};

/// The name that the certificates are for; only the authority resolves it.
const NAME: &str = "chat.test";

/// How long they are valid, in seconds: half of it passes before the renewal.
const VALIDITY: u32 = 30;

/// An authority that runs.
struct Authority {
    directory: String,
    management: SocketAddr,
    /// Where it asks for what it validates.
    http: SocketAddr,
    _running: [Running; 2],
}

pub(crate) fn check() -> Outcome {
    let python = suites::python()?;
    let certificate = suites::certificate()?;
    let home = project::suites().join("acme");
    let authority = Authority::start(&home, &certificate)?;
    rust::examples(&["acme"])?;
    let folder = home.join("kept");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(|error| {
            Failure::Failed(format!("cannot clear {}: {error}", folder.display()))
        })?;
    }
    let scripts = Scripts { python: &python, node: Path::new("") };
    let mut tally = Tally::default();
    let server = |tally: &mut Tally| {
        let cmd = authority.example(&folder, &certificate);
        let (server, address) = cmd.serve("listening on wss://")?;
        let roots = format!("https://localhost:{}/roots/0", authority.management.port());
        let cmd = scripts.run("acme_client.py").args([NAME, &address, &roots, "--ca"]);
        tally.add("acme", cmd.arg(&certificate.ca));
        tally.one("acme ends on SIGTERM", server.stop());
        account(&folder)
    };
    let first = server(&mut tally)?;
    let second = server(&mut tally)?;
    let same = if first == second { Ok(()) } else { Err("it has another account".to_owned()) };
    tally.one("acme keeps its account over a restart", same.map_err(Failure::Failed));
    println!("acme: {} passed, {} failed", tally.passed, tally.failed);
    if tally.failed == 0 && tally.passed > 0 {
        Ok(())
    } else {
        Err(Failure::Failed(format!("{} checks failed", tally.failed)))
    }
}

impl Authority {
    fn start(home: &Path, certificate: &Certificate) -> Outcome<Self> {
        let pebble = suites::need("pebble", "pebble")?;
        let dns_server = suites::need("pebble-challtestsrv", "pebble")?;
        project::create_dir(home)?;
        let [listen, management, http, tls, dns, dns_management] = free_addresses()?;
        let cmd = Cmd::program(dns_server)
            .log(&home.join("dns.log"))?
            .args(["-dns01", &dns.to_string(), "-management", &dns_management.to_string()])
            .args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""]);
        let resolving = listening(cmd, "pebble-challtestsrv", dns)?;
        // Later versions of Pebble have the validity in profiles.
        let config = format!(
            "{{ \"pebble\": {{\n  \"listenAddress\": \"{listen}\",\n  \
             \"managementListenAddress\": \"{management}\",\n  \"certificate\": \"{}\",\n  \
             \"privateKey\": \"{}\",\n  \"httpPort\": {},\n  \"tlsPort\": {},\n  \
             \"ocspResponderURL\": \"\",\n  \"externalAccountBindingRequired\": false,\n  \
             \"certificateValidityPeriod\": {VALIDITY},\n  \"profiles\": {{ \"default\": {{ \
             \"description\": \"short\", \"validityPeriod\": {VALIDITY} }} }}\n}} }}\n",
            certificate.cert.display(),
            certificate.key.display(),
            http.port(),
            tls.port(),
        );
        let path = home.join("pebble.json");
        project::write(&path, &config)?;
        // Each certificate is validated anew, without a pause.
        let cmd = Cmd::program(pebble)
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_AUTHZREUSE", "0")
            .log(&home.join("pebble.log"))?
            .args(["-dnsserver", &dns.to_string(), "-config"])
            .arg(path);
        let issuing = listening(cmd, "pebble", listen)?;
        let directory = format!("https://localhost:{}/dir", listen.port());
        Ok(Self { directory, management, http, _running: [issuing, resolving] })
    }

    /// A server that has this authority issue its certificates.
    fn example(&self, folder: &Path, certificate: &Certificate) -> Cmd {
        Cmd::program(project::example("acme"))
            .args(["--domain", NAME, "--contact", "mailto:test@example.com"])
            .args(["--listen", "127.0.0.1:0", "--http", &self.http.to_string()])
            .args(["--directory", &self.directory, "--directory-ca"])
            .arg(&certificate.ca)
            .arg("--folder")
            .arg(folder)
    }
}

/// The account in a folder of the example.
fn account(folder: &Path) -> Outcome<String> {
    let files: Vec<PathBuf> = project::files(folder, "json")?;
    match files.as_slice() {
        [account] => project::read(account),
        _ => Err(Failure::Failed(format!("{} accounts in {}", files.len(), folder.display()))),
    }
}
