//! Reverse proxies that turn WebSockets over HTTP/1.1 into WebSockets over HTTP/2 (RFC 8441), and back.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::project;
use crate::shell::{Cmd, Failure, Outcome, Running};
use crate::suites::{self, Certificate};

/// What a proxy has to start.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Clone, Copy)]
pub(crate) enum Proxy {
    Nghttpx,
    HaProxy,
}

/// One side of a proxy: the version of HTTP, and whether it is under TLS.
#[derive(Clone, Copy)]
pub(crate) struct Side {
    pub(crate) http2: bool,
    pub(crate) tls: bool,
}

/// A proxy that runs, and the URL that its clients use.
pub(crate) struct Started {
    pub(crate) url: String,
    _running: Running,
}

impl Proxy {
    pub(crate) const ALL: [Self; 2] = [Self::Nghttpx, Self::HaProxy];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nghttpx => "nghttpx",
            Self::HaProxy => "haproxy",
        }
    }

    /// Starts it between clients that come in by `front`, and the server at `backend`, which is
    /// asked by `back`, and by nothing else.
    pub(crate) fn start(self, front: Side, back: Side, backend: SocketAddr) -> Outcome<Started> {
        let certificate = suites::certificate()?;
        let address = free_address()?;
        let cmd = match self {
            Self::Nghttpx => nghttpx(address, front, back, backend, &certificate)?,
            Self::HaProxy => haproxy(address, front, back, backend, &certificate)?,
        };
        let running = listening(cmd, self.name(), address)?;
        let (scheme, host) = if front.tls { ("wss", "localhost") } else { ("ws", "127.0.0.1") };
        let url = format!("{scheme}://{host}:{}", address.port());
        Ok(Started { url, _running: running })
    }
}

/// Starts a program, and returns once it listens there.
pub(crate) fn listening(cmd: Cmd, name: &str, address: SocketAddr) -> Outcome<Running> {
    let running = cmd.background()?;
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        if Instant::now() > deadline {
            return Err(Failure::Failed(format!("{name} does not listen")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(running)
}

/// Its front knows both versions of HTTP, by ALPN and by the first bytes.
fn nghttpx(
    address: SocketAddr,
    front: Side,
    back: Side,
    backend: SocketAddr,
    certificate: &Certificate,
) -> Outcome<Cmd> {
    let program = suites::need("nghttpx", "nghttp2-proxy")?;
    let no_tls = if front.tls { "" } else { ";no-tls" };
    let version = if back.http2 { "h2" } else { "http/1.1" };
    let tls = if back.tls { ";tls" } else { "" };
    let cmd = Cmd::program(program)
        .args(["--conf=/dev/null", "--no-ocsp", "--workers=1", "--log-level=FATAL", "--insecure"])
        .arg(format!("--frontend={},{}{no_tls}", address.ip(), address.port()))
        .arg(format!("--backend={},{};;proto={version}{tls}", backend.ip(), backend.port()));
    // The Autobahn TestSuite wants its own port in the Host header.
    let cmd = cmd.arg("--host-rewrite");
    Ok(if front.tls { cmd.arg(&certificate.key).arg(&certificate.cert) } else { cmd })
}

fn haproxy(
    address: SocketAddr,
    front: Side,
    back: Side,
    backend: SocketAddr,
    certificate: &Certificate,
) -> Outcome<Cmd> {
    let program = suites::need("haproxy", "haproxy")?;
    let home = project::suites().join("haproxy");
    project::create_dir(&home)?;
    let both = certificate.with_key()?;
    let bind = match (front.tls, front.http2) {
        (true, true) => format!("ssl crt {} alpn h2", both.display()),
        (true, false) => format!("ssl crt {} alpn http/1.1", both.display()),
        (false, true) => "proto h2".to_owned(),
        (false, false) => "proto h1".to_owned(),
    };
    let (version, alpn) = if back.http2 { ("h2", "h2") } else { ("h1", "http/1.1") };
    let server = if back.tls {
        format!("ssl verify none alpn {alpn} ws {version}")
    } else {
        format!("proto {version}")
    };
    let text = format!(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  \
         timeout tunnel 60s\nfrontend front\n  bind {address} {bind}\n  default_backend back\n\
         backend back\n  server ours {backend} {server}\n"
    );
    let path: PathBuf = home.join(format!("{}.cfg", address.port()));
    project::write(&path, &text)?;
    Ok(Cmd::program(program).args(["-db", "-q", "-f"]).arg(path))
}

/// Where nobody listens yet.
pub(crate) fn free_address() -> Outcome<SocketAddr> {
    free_addresses().map(|[address]| address)
}

/// Several at once, which differ.
pub(crate) fn free_addresses<const N: usize>() -> Outcome<[SocketAddr; N]> {
    let no_port = |error| Failure::Failed(format!("no free port: {error}"));
    let listeners = (0..N).map(|_| TcpListener::bind("127.0.0.1:0"));
    let listeners: Vec<_> = listeners.collect::<Result<_, _>>().map_err(no_port)?;
    let mut addresses = [SocketAddr::from(([127, 0, 0, 1], 0)); N];
    for (address, listener) in addresses.iter_mut().zip(&listeners) {
        *address = listener.local_addr().map_err(no_port)?;
    }
    Ok(addresses)
}
