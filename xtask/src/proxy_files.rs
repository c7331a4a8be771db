//! The configuration files of `docs/proxies`: each is started with what has to be different here, and
//! WebSockets go through it. What is replaced must be in the file, so that file and check stay together.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::project;
use crate::proxies::{free_addresses, listening};
use crate::rust;
use crate::scripts::Tally;
use crate::shell::{Cmd, Failure, Outcome, Running};
use crate::suites::{self, Certificate};

/// Bounds a program, which bounds each of its checks.
const LIMIT: u64 = 2 * 60;

/// What stands in a file, and what stands there in its copy.
type Change = (&'static str, String);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Product {
    Nginx,
    HaProxy,
    Caddy,
}

/// What else differs in a copy, besides addresses, files and timeouts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copied {
    AsItIs,
    /// Without TLS for its clients. Not for Caddy.
    Plain,
    /// `Host` is rewritten, and HAProxy writes version 1 of the PROXY protocol.
    Changed,
}

/// Where a proxy listens, and where it connects to.
pub(crate) struct Addresses {
    pub(crate) front: SocketAddr,
    pub(crate) back: SocketAddr,
    /// For TLS that goes through.
    through: SocketAddr,
    behind: SocketAddr,
}

/// A proxy that runs.
pub(crate) struct Started<'a> {
    product: Product,
    pub(crate) addresses: Addresses,
    certificate: &'a Certificate,
    _running: Running,
}

pub(crate) fn check() -> Outcome {
    let certificate = suites::certificate()?;
    rust::examples(&["check_client", "echo_peer", "proxy_checks"])?;
    let mut tally = Tally::default();
    for product in [Product::Nginx, Product::HaProxy, Product::Caddy] {
        let proxy = product.start(Copied::AsItIs, &certificate)?;
        proxy.conversations(&mut tally)?;
        proxy.checks("HTTP/1.1", &[], &mut tally);
        if product == Product::HaProxy {
            proxy.checks("HTTP/2", &["--http2"], &mut tally);
        }
        if product != Product::Caddy {
            let version = if product == Product::Nginx { "1" } else { "2" };
            proxy.through(&format!("PROXY version {version}"), &mut tally);
        }
        drop(proxy);
        let proxy = product.start(Copied::Changed, &certificate)?;
        proxy.checks("Host rewritten", &["--rewritten"], &mut tally);
        if product == Product::HaProxy {
            proxy.through("PROXY version 1", &mut tally);
        }
    }
    println!("proxies: {} passed, {} failed", tally.passed, tally.failed);
    if tally.failed == 0 && tally.passed > 0 {
        Ok(())
    } else {
        Err(Failure::Failed(format!("{} checks failed", tally.failed)))
    }
}

impl Product {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::HaProxy => "haproxy",
            Self::Caddy => "caddy",
        }
    }

    const fn file(self) -> &'static str {
        match self {
            Self::Nginx => "nginx.conf",
            Self::HaProxy => "haproxy.cfg",
            Self::Caddy => "Caddyfile",
        }
    }

    pub(crate) fn start(self, copied: Copied, certificate: &Certificate) -> Outcome<Started<'_>> {
        if self == Self::Nginx {
            suites::need_file(
                "/usr/lib/nginx/modules/ngx_stream_module.so",
                "libnginx-mod-stream",
            )?;
        }
        let program = suites::need(self.name(), self.name())?;
        let home = project::suites().join("proxies").join(self.name());
        project::create_dir(&home)?;
        let [front, back, through, behind] = free_addresses()?;
        let addresses = Addresses { front, back, through, behind };
        let tls = copied != Copied::Plain;
        let mut changes = match self {
            Self::Nginx => nginx(&addresses, certificate, &home, tls),
            Self::HaProxy => haproxy(&addresses, certificate, tls)?,
            Self::Caddy => caddy(&addresses, certificate),
        };
        if copied == Copied::Changed {
            changes.extend(self.rewriting());
        }
        let copy = home.join(self.file());
        project::write(&copy, &changed(self.file(), changes)?)?;
        let cmd = Cmd::program(program);
        let cmd = match self {
            Self::Nginx => {
                let settings = format!("daemon off; pid {};", home.join("pid").display());
                cmd.arg("-c").arg(copy).arg("-g").arg(settings)
            }
            Self::HaProxy => cmd.args(["-db", "-q", "-f"]).arg(copy),
            Self::Caddy => cmd
                .env("XDG_CONFIG_HOME", &home)
                .env("XDG_DATA_HOME", &home)
                .log(&home.join("log"))?
                .args(["run", "--adapter", "caddyfile", "--config"])
                .arg(copy),
        };
        let running = listening(cmd, self.name(), front)?;
        Ok(Started { product: self, addresses, certificate, _running: running })
    }

    /// `Host` is no longer that of the browser. `X-Forwarded-Host` is.
    fn rewriting(self) -> Vec<Change> {
        match self {
            Self::Nginx => {
                vec![("proxy_set_header Host $http_host;", "proxy_set_header Host app;".to_owned())]
            }
            Self::HaProxy => vec![
                (
                    "    default_backend app\n",
                    "    http-request set-header Host app\n    default_backend app\n".to_owned(),
                ),
                ("send-proxy-v2", "send-proxy".to_owned()),
            ],
            Self::Caddy => vec![(
                "\t\ttransport http {",
                "\t\theader_up Host {upstream_hostport}\n\t\ttransport http {".to_owned(),
            )],
        }
    }
}

fn nginx(addresses: &Addresses, certificate: &Certificate, home: &Path, tls: bool) -> Vec<Change> {
    let Addresses { front, back, through, behind } = addresses;
    let path = |path: &PathBuf| path.display().to_string();
    // Its own files, which otherwise are the system's.
    let files = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path {};", home.join(what).display()))
        .concat();
    vec![
        ("worker_rlimit_nofile 65536;", String::new()),
        ("worker_connections 30000;", "worker_connections 500;".to_owned()),
        ("http {\n", format!("http {{ access_log off; {files}\n")),
        ("server 127.0.0.1:9001;", format!("server {back};")),
        (
            "listen 443 ssl http2;",
            format!("listen {front}{};", if tls { " ssl http2" } else { "" }),
        ),
        ("/etc/ssl/app.example.pem", path(&certificate.cert)),
        ("/etc/ssl/app.example.key", path(&certificate.key)),
        ("proxy_read_timeout 75s;", "proxy_read_timeout 1s;".to_owned()),
        ("listen 8443;", format!("listen {through};")),
        ("proxy_pass 127.0.0.1:9002;", format!("proxy_pass {behind};")),
        ("proxy_timeout 75s;", "proxy_timeout 1s;".to_owned()),
    ]
}

fn haproxy(addresses: &Addresses, certificate: &Certificate, tls: bool) -> Outcome<Vec<Change>> {
    let Addresses { front, back, through, behind } = addresses;
    let both = certificate.with_key()?;
    let bind = match tls {
        true => format!("bind {front} ssl crt {} alpn h2,http/1.1", both.display()),
        false => format!("bind {front}"),
    };
    Ok(vec![
        ("maxconn 30000", "maxconn 500".to_owned()),
        ("timeout tunnel 75s", "timeout tunnel 1s".to_owned()),
        ("bind :443 ssl crt /etc/haproxy/app.example.pem alpn h2,http/1.1", bind),
        ("server app1 127.0.0.1:9001", format!("server app1 {back}")),
        ("bind :8443", format!("bind {through}")),
        ("server app1 127.0.0.1:9002", format!("server app1 {behind}")),
    ])
}

fn caddy(addresses: &Addresses, certificate: &Certificate) -> Vec<Change> {
    let Addresses { front, back, .. } = addresses;
    let (cert, key) = (certificate.cert.display(), certificate.key.display());
    // No certificates from elsewhere, no port 80, and no port for administration.
    let site = format!(
        "{{\n\tadmin off\n\tauto_https off\n}}\n\nhttps://localhost:{} {{\n\tbind 127.0.0.1\n\ttls {cert} {key}\n",
        front.port()
    );
    vec![
        ("app.example {\n", site),
        ("reverse_proxy 127.0.0.1:9001 {", format!("reverse_proxy {back} {{")),
        ("read_timeout 75s", "read_timeout 1s".to_owned()),
    ]
}

/// A file of `docs/proxies`, changed; what is changed must be there once.
fn changed(file: &str, changes: Vec<Change>) -> Outcome<String> {
    let path = Path::new("docs/proxies").join(file);
    let mut text = project::read(&path)?;
    for (from, to) in changes {
        let found = text.matches(from).count();
        if found != 1 {
            let path = path.display();
            return Err(Failure::Failed(format!("`{from}` is {found} times in {path}")));
        }
        text = text.replace(from, &to);
    }
    Ok(text)
}

impl Started<'_> {
    /// All that our client has to say, to a server that is stopped in the end.
    fn conversations(&self, tally: &mut Tally) -> Outcome {
        let back = self.addresses.back.to_string();
        let program = project::example("echo_peer");
        let (server, _) = Cmd::program(program).args(["--listen", &back]).serve("listening on ")?;
        let name = format!("{}, conversations", self.product.name());
        // Without HTTP/2 at a proxy, our client finds that out, and falls back.
        let http2 = if self.product == Product::HaProxy { "auto" } else { "fallback" };
        let cmd = self.program("check_client", &name, self.addresses.front);
        let stop = server.id().to_string();
        tally.add(&name, cmd.args(["--http2", http2, "--stop", &stop]));
        tally.one("echo_peer ends on SIGTERM", server.stop());
        Ok(())
    }

    fn checks(&self, what: &str, options: &[&str], tally: &mut Tally) {
        let name = format!("{}, {what}", self.product.name());
        let cmd = self.program("proxy_checks", &name, self.addresses.front);
        let cmd = cmd.arg("--backend").arg(self.addresses.back.to_string());
        tally.add(&name, cmd.args(options));
    }

    fn through(&self, what: &str, tally: &mut Tally) {
        let name = format!("{}, {what}", self.product.name());
        let Certificate { cert, key, .. } = self.certificate;
        let cmd = self.program("proxy_checks", &name, self.addresses.through);
        let cmd = cmd.arg("--backend").arg(self.addresses.behind.to_string());
        let cmd = cmd.args(["--through", "--http2", "--cert"]).arg(cert).arg("--key").arg(key);
        tally.add(&name, cmd);
    }

    fn program(&self, program: &str, name: &str, front: SocketAddr) -> Cmd {
        let url = format!("wss://localhost:{}", front.port());
        let cmd = Cmd::program(project::example(program)).limit(LIMIT);
        cmd.args(["--name", name, "--url", &url, "--ca"]).arg(&self.certificate.ca)
    }
}
