//! Our client through real proxies: Squid and tinyproxy by CONNECT, Dante and microsocks by SOCKS5,
//! with and without credentials; and the rules of the environment, against curl.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::project;
use crate::proxies::{free_address, free_addresses, listening};
use crate::rust;
use crate::scripts::Tally;
use crate::shell::{Cmd, Failure, Outcome, Running};
use crate::suites::{self, Certificate};

/// Bounds a program, which bounds each of its checks.
const LIMIT: u64 = 3 * 60;
/// What the proxies want.
const USER: &str = "user";
const PASSWORD: &str = "secret";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Product {
    Squid,
    Tinyproxy,
    Dante,
    Microsocks,
}

/// A proxy that runs.
struct Started {
    address: SocketAddr,
    _running: Running,
}

/// Echo servers: plain, under TLS, and one whose certificate is not for its host.
struct Servers {
    ws: String,
    wss: String,
    other: String,
    _running: [Running; 3],
}

pub(crate) fn check() -> Outcome {
    let certificate = suites::certificate()?;
    rust::examples(&["echo_peer", "forward_client", "proxy_choice"])?;
    let servers = Servers::start(&certificate)?;
    let mut tally = Tally::default();
    for product in [Product::Squid, Product::Tinyproxy, Product::Dante, Product::Microsocks] {
        for credentials in [false, true] {
            let proxy = product.start(credentials)?;
            let what = if credentials { " with credentials" } else { "" };
            let name = format!("{}{what}", product.name());
            let uri = uri_of(product.scheme(), proxy.address, credentials);
            servers.through(&name, &uri, credentials, &certificate, &mut tally);
            if product == Product::Squid {
                let front = tls_front(proxy.address, &certificate)?;
                let uri = uri_of("https", front.address, credentials);
                let name = format!("{name}, over TLS");
                servers.through(&name, &uri, credentials, &certificate, &mut tally);
            }
        }
    }
    let curl = suites::need("curl", "curl")?;
    Cmd::program(curl).arg("--version").run()?;
    let python = suites::need("python3", "python3")?;
    let script = Cmd::program(python).arg("tests/forward-proxies/curl.py");
    tally.add("curl.py", script.arg(project::example("proxy_choice")).limit(LIMIT));
    println!("forward proxies: {} passed, {} failed", tally.passed, tally.failed);
    if tally.failed == 0 && tally.passed > 0 {
        Ok(())
    } else {
        Err(Failure::Failed(format!("{} checks failed", tally.failed)))
    }
}

fn uri_of(scheme: &str, address: SocketAddr, credentials: bool) -> String {
    match credentials {
        true => format!("{scheme}://{USER}:{PASSWORD}@{address}"),
        false => format!("{scheme}://{address}"),
    }
}

impl Servers {
    fn start(certificate: &Certificate) -> Outcome<Self> {
        let [plain, secure] = free_addresses()?;
        // Its certificate has 127.0.0.1.
        let other = SocketAddr::from(([127, 0, 0, 2], free_address()?.port()));
        let peer = |address: SocketAddr, tls: bool| {
            let cmd = Cmd::program(project::example("echo_peer")).arg("--http2");
            let cmd = cmd.arg("--listen").arg(address.to_string());
            let cmd = match tls {
                true => cmd.arg("--cert").arg(&certificate.cert).arg("--key").arg(&certificate.key),
                false => cmd,
            };
            Ok(cmd.serve("listening on ")?.0)
        };
        Ok(Self {
            ws: format!("ws://localhost:{}", plain.port()),
            wss: format!("wss://localhost:{}", secure.port()),
            other: format!("wss://{other}"),
            _running: [peer(plain, false)?, peer(secure, true)?, peer(other, true)?],
        })
    }

    fn through(
        &self,
        name: &str,
        proxy: &str,
        credentials: bool,
        certificate: &Certificate,
        tally: &mut Tally,
    ) {
        let mut cmd = Cmd::program(project::example("forward_client"))
            .args(["--name", name, "--proxy", proxy, "--ws", &self.ws, "--wss", &self.wss])
            .args(["--other", &self.other])
            .arg("--ca")
            .arg(&certificate.ca);
        if credentials {
            cmd = cmd.arg("--wants-credentials");
        }
        tally.add(name, cmd.limit(LIMIT));
    }
}

impl Product {
    const fn name(self) -> &'static str {
        match self {
            Self::Squid => "squid",
            Self::Tinyproxy => "tinyproxy",
            Self::Dante => "dante",
            Self::Microsocks => "microsocks",
        }
    }

    const fn scheme(self) -> &'static str {
        match self {
            Self::Squid | Self::Tinyproxy => "http",
            Self::Dante | Self::Microsocks => "socks5",
        }
    }

    fn start(self, credentials: bool) -> Outcome<Started> {
        let address = free_address()?;
        let home = project::suites().join("forward-proxies").join(format!(
            "{}-{}",
            self.name(),
            address.port()
        ));
        project::create_dir(&home)?;
        let cmd = match self {
            Self::Squid => squid(&home, address, credentials)?,
            Self::Tinyproxy => tinyproxy(&home, address, credentials)?,
            Self::Dante => dante(&home, address, credentials)?,
            Self::Microsocks => microsocks(address, credentials)?,
        };
        let running = listening(cmd.log(&home.join("output"))?, self.name(), address)?;
        Ok(Started { address, _running: running })
    }
}

/// A copy of a file of tests/forward-proxies, with what is between two @ replaced.
fn copy(file: &str, home: &Path, words: &[(&str, &str)]) -> Outcome<PathBuf> {
    let mut text = project::read(&Path::new("tests/forward-proxies").join(file))?;
    for (word, by) in words {
        text = text.replace(&format!("@{word}@"), by);
    }
    let copy = home.join(file);
    project::write(&copy, &text)?;
    Ok(copy)
}

fn squid(home: &Path, address: SocketAddr, credentials: bool) -> Outcome<Cmd> {
    let program = suites::need("squid", "squid")?;
    suites::need_file("/usr/lib/squid/basic_ncsa_auth", "squid")?;
    let (port, path) = (address.port().to_string(), home.display().to_string());
    // Started as root, it becomes the user `proxy`, and writes here.
    Cmd::new("chmod 777").arg(home).run()?;
    project::write(&home.join("passwords"), &format!("{USER}:{}\n", hashed("-apr1")?))?;
    let who = if credentials { "known" } else { "all" };
    let file = copy("squid.conf", home, &[("PORT", &port), ("HOME", &path), ("WHO", who)])?;
    // By this name several can run at once.
    Ok(Cmd::program(program).args(["-N", "-n", &format!("check{port}"), "-f"]).arg(file))
}

fn tinyproxy(home: &Path, address: SocketAddr, credentials: bool) -> Outcome<Cmd> {
    let program = suites::need("tinyproxy", "tinyproxy")?;
    let (port, path) = (address.port().to_string(), home.display().to_string());
    let auth = match credentials {
        true => format!("BasicAuth {USER} {PASSWORD}"),
        false => String::new(),
    };
    let words = [("PORT", &*port), ("HOME", &*path), ("AUTH", &*auth)];
    Ok(Cmd::program(program).args(["-d", "-c"]).arg(copy("tinyproxy.conf", home, &words)?))
}

/// Its users are those of the system: here of one that nss_wrapper makes up.
fn dante(home: &Path, address: SocketAddr, credentials: bool) -> Outcome<Cmd> {
    let program = suites::need("danted", "dante-server")?;
    let (port, path) = (address.port().to_string(), home.display().to_string());
    let method = if credentials { "username" } else { "none" };
    let words = [("PORT", &*port), ("HOME", &*path), ("METHOD", method)];
    let file = copy("danted.conf", home, &words)?;
    let cmd = Cmd::program(program).arg("-f").arg(file).arg("-p").arg(home.join("pid"));
    if !credentials {
        return Ok(cmd);
    }
    suites::need_file("/usr/share/doc/libnss-wrapper", "libnss-wrapper")?;
    let of_system = |file: &str, names: &[&str]| -> Outcome<String> {
        let text = project::read(Path::new(file))?;
        let wanted = |line: &&str| names.iter().any(|name| line.starts_with(&format!("{name}:")));
        Ok(text.lines().filter(wanted).map(|line| format!("{line}\n")).collect())
    };
    let users = of_system("/etc/passwd", &["root", "nobody"])?;
    let users = users + &format!("{USER}:x:65000:65534::/nonexistent:/usr/sbin/nologin\n");
    project::write(&home.join("passwd"), &users)?;
    project::write(&home.join("group"), &of_system("/etc/group", &["root", "nogroup"])?)?;
    let shadow = format!("{USER}:{}:19000:0:99999:7:::\n", hashed("-6")?);
    project::write(&home.join("shadow"), &shadow)?;
    Ok(cmd
        .env("NSS_WRAPPER_PASSWD", home.join("passwd"))
        .env("NSS_WRAPPER_GROUP", home.join("group"))
        .env("NSS_WRAPPER_SHADOW", home.join("shadow"))
        .env("LD_PRELOAD", "libnss_wrapper.so"))
}

fn microsocks(address: SocketAddr, credentials: bool) -> Outcome<Cmd> {
    let program = suites::need("microsocks", "microsocks")?;
    let cmd = Cmd::program(program).args(["-i", "127.0.0.1", "-p", &address.port().to_string()]);
    Ok(if credentials { cmd.args(["-u", USER, "-P", PASSWORD]) } else { cmd })
}

/// TLS in front of a proxy: an `https` proxy.
fn tls_front(proxy: SocketAddr, certificate: &Certificate) -> Outcome<Started> {
    let program = suites::need("haproxy", "haproxy")?;
    let address = free_address()?;
    let home = project::suites().join("forward-proxies");
    project::create_dir(&home)?;
    let both = certificate.with_key()?;
    let text = format!(
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         frontend front\n  bind {address} ssl crt {}\n  default_backend back\n\
         backend back\n  server proxy {proxy}\n",
        both.display()
    );
    let file = home.join(format!("haproxy-{}.cfg", address.port()));
    project::write(&file, &text)?;
    let cmd = Cmd::program(program).args(["-db", "-q", "-f"]).arg(file);
    Ok(Started { address, _running: listening(cmd, "haproxy", address)? })
}

/// The password as files of passwords have it.
fn hashed(kind: &str) -> Outcome<String> {
    suites::need("openssl", "openssl")?;
    let output = Cmd::new("openssl passwd").arg(kind).arg(PASSWORD).output()?;
    Ok(output.trim().to_owned())
}
