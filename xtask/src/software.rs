//! Our client and servers that others run: Python's `websockets` behind nginx and HAProxy, a NATS server
//! by its WebSocket listener, and flows of Node-RED.

use crate::project;
use crate::proxy_files::{Copied, Product, Started};
use crate::rust;
use crate::scripts::{Scripts, Tally};
use crate::shell::{Cmd, Failure, Outcome};
use crate::suites::{self, Certificate};

/// Bounds a program, which bounds each of its checks.
const LIMIT: u64 = 2 * 60;

pub(crate) fn check() -> Outcome {
    let python = suites::python()?;
    let node_red = suites::node_red()?;
    let nats = suites::need("nats-server", "nats-server")?;
    let certificate = suites::certificate()?;
    rust::examples(&["check_client", "fronted_client", "nats", "node_red_client"])?;
    let scripts = Scripts { python: &python, node: &node_red };
    let mut tally = Tally::default();
    for product in [Product::Nginx, Product::HaProxy] {
        for copied in [Copied::Plain, Copied::AsItIs] {
            let proxy = product.start(copied, &certificate)?;
            let front = Front { product, tls: copied == Copied::AsItIs, proxy: &proxy };
            front.checks(&scripts, &certificate, &mut tally)?;
        }
    }
    let Certificate { cert, key, ca } = &certificate;
    let cmd = scripts.run("nats_server.py").arg(project::example("nats")).arg(nats);
    tally.add("nats_server.py", cmd.args([cert, key, ca]));
    let cmd = Cmd::program(project::example("node_red_client")).env("SUITES_NODE", &node_red);
    tally.add("Node-RED", cmd.limit(LIMIT));
    println!("software: {} passed, {} failed", tally.passed, tally.failed);
    if tally.failed == 0 && tally.passed > 0 {
        Ok(())
    } else {
        Err(Failure::Failed(format!("{} checks failed", tally.failed)))
    }
}

/// A reverse proxy in front of Python's `websockets`.
struct Front<'a> {
    product: Product,
    tls: bool,
    proxy: &'a Started<'a>,
}

impl Front<'_> {
    fn checks(
        &self,
        scripts: &Scripts<'_>,
        certificate: &Certificate,
        tally: &mut Tally,
    ) -> Outcome {
        let back = self.proxy.addresses.back.to_string();
        let server = scripts.run("python_backend.py").arg(&back).serve("listening on ")?;
        // HAProxy has WebSockets over HTTP/2 for clients that come by TLS, and HTTP/1.1 behind it.
        let http2 = self.tls && self.product == Product::HaProxy;
        for deflate in [false, true] {
            let name = self.name() + if deflate { ", deflate" } else { "" };
            let cmd = self.program("check_client", &name, certificate).arg("--asks");
            let cmd = if http2 { cmd.args(["--http2", "auto"]) } else { cmd };
            tally.add(&name, if deflate { cmd.arg("--deflate") } else { cmd });
        }
        drop(server);
        let name = self.name();
        let cmd = self.program("fronted_client", &name, certificate);
        let cmd = cmd.args(["--backend", &back, "--python"]).arg(scripts.python);
        tally.add(&name, if http2 { cmd.arg("--http2") } else { cmd });
        Ok(())
    }

    fn name(&self) -> String {
        let scheme = if self.tls { "wss" } else { "ws" };
        format!("websockets behind {} ({scheme})", self.product.name())
    }

    fn program(&self, program: &str, name: &str, certificate: &Certificate) -> Cmd {
        let scheme = if self.tls { "wss" } else { "ws" };
        let url = format!("{scheme}://localhost:{}", self.proxy.addresses.front.port());
        let cmd = Cmd::program(project::example(program)).limit(LIMIT);
        let cmd = cmd.args(["--name", name, "--url", &url]);
        if self.tls { cmd.arg("--ca").arg(&certificate.ca) } else { cmd }
    }
}
