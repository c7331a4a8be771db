//! WebSocket over HTTP/2 (RFC 8441) with other implementations: Node's `http2`, Python's `h2` and
//! `hypercorn`, `yawc`, and the proxies that turn it into HTTP/1.1 and back.

use std::net::SocketAddr;

use crate::project;
use crate::proxies::{Proxy, Side};
use crate::scripts::{Scripts, Tally};
use crate::shell::{Cmd, Failure, Outcome, Running};
use crate::suites::Certificate;

pub(crate) const PROGRAMS: [&str; 2] = ["echo_peer", "check_client"];

pub(crate) fn check(
    scripts: &Scripts<'_>,
    certificate: &Certificate,
    tally: &mut Tally,
) -> Outcome {
    clients(scripts, certificate, tally)?;
    servers(scripts, certificate, tally);
    yawc(certificate, tally)?;
    proxies(scripts, certificate, tally)
}

/// Their clients, and ours, against our server.
fn clients(scripts: &Scripts<'_>, certificate: &Certificate, tally: &mut Tally) -> Outcome {
    for secure in [false, true] {
        let server = Server::start(secure.then_some(certificate), "--http2")?;
        for script in ["python_http2_client.py", "node_http2_client.mjs"] {
            let mut cmd = scripts.run(script).arg(&server.url);
            if secure {
                cmd = if script.ends_with(".py") { cmd.arg("--ca") } else { cmd };
                cmd = cmd.arg(&certificate.ca);
            }
            tally.add(script, cmd);
        }
        let side = Side { http2: true, tls: secure };
        let name = format!("check_client ({})", if secure { "wss" } else { "ws" });
        tally.add(&name, our_client(&name, &server.url, side, certificate).args(server.stop()));
        tally.one("echo_peer --http2 ends on SIGTERM", server.running.stop());
    }
    Ok(())
}

/// Our client against their servers.
fn servers(scripts: &Scripts<'_>, certificate: &Certificate, tally: &mut Tally) {
    let Certificate { cert, key, ca } = certificate;
    for script in ["node_http2_server.mjs", "hypercorn_server.py"] {
        let program = project::example("check_client");
        tally.add(script, scripts.run(script).arg(program).args([cert, key, ca]));
    }
}

/// `yawc` (tests/interop/yawc), in both roles and over both versions, without TLS.
fn yawc(certificate: &Certificate, tally: &mut Tally) -> Outcome {
    let target = project::target().join("yawc");
    let build = "cargo build --locked --manifest-path tests/interop/yawc/Cargo.toml --target-dir";
    Cmd::new(build).arg(&target).limit(10 * 60).run()?;
    let program = target.join("debug/yawc-peer");
    let (server, url) = Cmd::program(&program).arg("--serve").serve("listening on ")?;
    for http2 in [false, true] {
        let name = format!("yawc server ({})", said(Side { http2, tls: false }));
        let client = our_client(&name, &url, Side { http2, tls: false }, certificate);
        tally.add(&name, client.arg("--asks"));
    }
    drop(server);
    let ours = Server::start(None, "--http2")?;
    for http2 in [false, true] {
        let client = Cmd::program(&program).arg(&ours.url).limit(5 * 60);
        tally.add("yawc client", if http2 { client.arg("--http2") } else { client });
    }
    tally.one("echo_peer --http2 ends on SIGTERM", ours.running.stop());
    Ok(())
}

/// Clients over HTTP/1.1 of our HTTP/2 server, and our HTTP/2 client of a server over HTTP/1.1.
fn proxies(scripts: &Scripts<'_>, certificate: &Certificate, tally: &mut Tally) -> Outcome {
    for proxy in Proxy::ALL {
        for (from, to, tls) in
            [(false, true, false), (false, true, true), (true, false, false), (true, false, true)]
        {
            // TLS is where HTTP/2 is.
            let front = Side { http2: from, tls: tls && from };
            let back = Side { http2: to, tls: tls && to };
            let option = if back.http2 { "--http2-only" } else { "--send" };
            let server = Server::start(back.tls.then_some(certificate), option)?;
            let started = proxy.start(front, back, server.address)?;
            let name = format!("{} from {} to {}", proxy.name(), said(front), said(back));
            if !from {
                for script in ["python_client.py", "ws_client.mjs"] {
                    tally.add(script, scripts.run(script).arg(&started.url));
                }
            }
            let client = our_client(&name, &started.url, front, certificate);
            tally.add(&name, client.args(server.stop()));
            tally.one("echo_peer ends on SIGTERM", server.running.stop());
        }
    }
    Ok(())
}

fn said(side: Side) -> String {
    let version = if side.http2 { "HTTP/2" } else { "HTTP/1.1" };
    if side.tls { format!("{version} under TLS") } else { version.to_owned() }
}

fn our_client(name: &str, url: &str, side: Side, certificate: &Certificate) -> Cmd {
    let mut cmd = Cmd::program(project::example("check_client"));
    cmd = cmd.args(["--name", name, "--url", url]).limit(5 * 60);
    if side.tls {
        cmd = cmd.arg("--ca").arg(&certificate.ca);
    }
    match side {
        Side { http2: true, tls: true } => cmd.args(["--http2", "auto"]),
        Side { http2: true, tls: false } => cmd.args(["--http2", "prior"]),
        Side { http2: false, .. } => cmd,
    }
}

/// Our server that echoes.
struct Server {
    running: Running,
    /// With a name instead of an address under TLS, as certificates have.
    url: String,
    address: SocketAddr,
}

impl Server {
    fn start(certificate: Option<&Certificate>, option: &str) -> Outcome<Self> {
        let program = project::example("echo_peer");
        let mut cmd = Cmd::program(program).args(["--listen", "127.0.0.1:0", option]);
        if let Some(Certificate { cert, key, .. }) = certificate {
            cmd = cmd.arg("--cert").arg(cert).arg("--key").arg(key);
        }
        let (running, url) = cmd.serve("listening on ")?;
        let address = url.rsplit('/').next().and_then(|address| address.parse().ok());
        let address =
            address.ok_or_else(|| Failure::Failed(format!("no address is in `{url}`")))?;
        let url = url.replace("wss://127.0.0.1", "wss://localhost");
        Ok(Self { running, url, address })
    }

    /// What has `check_client` end it.
    fn stop(&self) -> [String; 2] {
        ["--stop".to_owned(), self.running.id().to_string()]
    }
}
