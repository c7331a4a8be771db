//! Servers of a test: started, stopped, killed and started again.

#[cfg(feature = "redis")]
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tautline_hub::broker::Broker;

/// What kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    #[cfg(feature = "redis")]
    Redis,
    #[cfg(feature = "nats")]
    Nats,
}

/// How long an operation of a broker may take. Servers that answer do so in far less, also on a machine
/// that is busy.
pub(crate) const DEADLINE: Duration = Duration::from_millis(1500);

/// What a server needs to be ready: more than any machine takes.
const START: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) port: u16,
    pub(crate) dir: Dir,
    options: Vec<String>,
    process: Option<Child>,
}

/// A directory that goes with the test.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("tautline-hub-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Kind {
    const fn program(self) -> &'static str {
        match self {
            #[cfg(feature = "redis")]
            Self::Redis => "redis-server",
            #[cfg(feature = "nats")]
            Self::Nats => "nats-server",
        }
    }

    /// Whether the server is installed. Where the brokers are what is checked (`cargo xtask hub`), it must be.
    fn is_there(self) -> bool {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let there = std::env::split_paths(&paths)
            .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")])
            .any(|dir| dir.join(self.program()).is_file());
        let needed = std::env::var_os("TAUTLINE_NEED_BROKERS").is_some();
        assert!(there || !needed, "{} is not installed", self.program());
        if !there {
            eprintln!("skipped: {} is not installed", self.program());
        }
        there
    }

    /// A server that keeps what it has acknowledged. `None` if it is not installed.
    pub(crate) fn start(self) -> Option<Server> {
        self.start_with(self.durable())
    }

    pub(crate) fn durable(self) -> Vec<String> {
        match self {
            #[cfg(feature = "redis")]
            Self::Redis => words("--save  --appendonly yes --appendfsync always"),
            #[cfg(feature = "nats")]
            Self::Nats => words("--jetstream"),
        }
    }

    pub(crate) fn start_with(self, options: Vec<String>) -> Option<Server> {
        self.start_in(Dir::new(), options)
    }

    pub(crate) fn start_in(self, dir: Dir, options: Vec<String>) -> Option<Server> {
        if !self.is_there() {
            return None;
        }
        let mut server = Server { kind: self, port: free_port(), dir, options, process: None };
        server.begin();
        Some(server)
    }
}

/// Words separated by one space each, so that an empty one is possible.
pub(crate) fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

/// A port that nobody listens on. Somebody may take it before the server does, which would then fail.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// A certificate for 127.0.0.1, and the PEM of the authority that vouches for it.
#[cfg(feature = "tls")]
pub(crate) fn certificate(dir: &Dir) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    dir.file("cert.pem", &certificate.pem());
    dir.file("key.pem", &key.serialize_pem());
    certificate.pem()
}

impl Server {
    /// Starts the process, again if it was killed, and waits until it takes connections.
    pub(crate) fn begin(&mut self) {
        let dir = self.dir.path();
        let mut command = Command::new(self.kind.program());
        command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let port = self.port.to_string();
        match self.kind {
            #[cfg(feature = "redis")]
            Kind::Redis => {
                let log = dir.join("log");
                command.args(["--bind", "127.0.0.1", "--port", &port, "--dir"]).arg(dir);
                command.arg("--logfile").arg(log);
            }
            #[cfg(feature = "nats")]
            Kind::Nats => {
                command.args(["--addr", "127.0.0.1", "--port", &port, "--store_dir"]).arg(dir);
                command.arg("--log").arg(dir.join("log"));
            }
        }
        let mut process = command.args(&self.options).spawn().unwrap();
        let end = Instant::now() + START;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            let ended = process.try_wait().unwrap();
            let log = || std::fs::read_to_string(dir.join("log")).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < end, "not started: {ended:?}\n{}", log());
            std::thread::sleep(Duration::from_millis(5));
        }
        self.process = Some(process);
    }

    /// Ends the process without a chance to save anything.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Stops the process: connections stay, and nobody answers.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Sends lines of Redis' own protocol, as anybody can, and returns the first line of the answer to
    /// the last one.
    #[cfg(feature = "redis")]
    pub(crate) fn say(&self, lines: &[&str]) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.set_read_timeout(Some(START)).unwrap();
        let mut answers = BufReader::new(stream.try_clone().unwrap());
        let mut answer = String::new();
        for line in lines {
            write!(stream, "{line}\r\n").unwrap();
            answer.clear();
            answers.read_line(&mut answer).unwrap();
        }
        answer.trim().to_owned()
    }

    pub(crate) fn url(&self) -> String {
        match self.kind {
            #[cfg(feature = "redis")]
            Kind::Redis => format!("redis://127.0.0.1:{}", self.port),
            #[cfg(feature = "nats")]
            Kind::Nats => format!("nats://127.0.0.1:{}", self.port),
        }
    }

    /// A broker of another node.
    pub(crate) fn broker(&self) -> Arc<dyn Broker> {
        self.broker_with(DEADLINE)
    }

    /// The same, with this deadline.
    pub(crate) fn broker_with(&self, deadline: Duration) -> Arc<dyn Broker> {
        let url = self.url();
        match self.kind {
            #[cfg(feature = "redis")]
            Kind::Redis => {
                Arc::new(crate::redis::settings(&url).deadline(deadline).build().unwrap())
            }
            #[cfg(feature = "nats")]
            Kind::Nats => Arc::new(crate::nats::settings(&url).deadline(deadline).build().unwrap()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
