//! One attack: a server, healthy connections, the attacker, and what is measured.

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::Options;
use crate::process::{Process, resident};
use crate::support::Result;

/// How often the server's memory is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Until what an attacker left is gone, at most: whoever is gone is found out by pings, and by deadlines
/// of 30 s, and some more.
const SETTLE: Duration = Duration::from_secs(120);
/// Room for so many connections, where files are what runs out.
const FILES_LEFT: usize = 150;

/// An attack.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
}

const fn case(name: &'static str, what: &'static str) -> Case {
    Case { name, what }
}

impl Case {
    pub(crate) const fn all() -> &'static [Self] {
        const ALL: &[Case] = &[
            case("handshakes many", "10,000 sockets that never finish a handshake, 100 addresses"),
            case("readers many", "1,000 readers that never read while messages are pushed"),
            case("messages one", "messages of 16 B, 100 connections, one address"),
            case("messages many", "messages of 16 B, 100 connections, 100 addresses"),
            case("pings one", "pings, 100 connections, one address"),
            case("pings many", "pings, 100 connections, 100 addresses"),
            case("fragments one", "empty fragments, 100 connections, one address"),
            case("fragments many", "empty fragments, 100 connections, 100 addresses"),
            case("compressed one", "compressed messages of a byte, 100 connections, one address"),
            case(
                "compressed many",
                "compressed messages of a byte, 100 connections, 100 addresses",
            ),
            case("cycles one", "connect and disconnect, 64 at a time, one address"),
            case("cycles many", "connect and disconnect, 64 at a time, 100 addresses"),
            case("files many", "1,000 connections where files run out after 150"),
            case("tls many", "a storm of TLS handshakes, 200 at a time, 100 addresses"),
            case("dribbles many", "1,000 connections that send a byte every half second"),
            case("network many", "2,000 connections, each from an address of its own in one /64"),
        ];
        ALL
    }

    fn security(&self) -> &'static str {
        if self.name.starts_with("tls") { "tls" } else { "plain" }
    }
}

/// What healthy connections saw, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Window {
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    /// The p99 of echoes without the server.
    pub(crate) own: u64,
    /// A client that is new: median and longest.
    pub(crate) new: [u64; 2],
    /// How many of those did not get in.
    pub(crate) failed: u64,
    /// Healthy connections that have ended.
    pub(crate) lost: u64,
}

impl Window {
    fn parse(line: &str) -> Result<Self> {
        let [p50, p99, p999, own, new, longest, failed, lost] = numbers(line)?;
        Ok(Self { p50, p99, p999, own, new: [new, longest], failed, lost })
    }
}

/// Connections now, and how often limits have struck: those of an address, of a site, of the rate,
/// of handshakes in all and of an address.
pub(crate) type Counts = [u64; 6];

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) before: Window,
    pub(crate) during: Window,
    pub(crate) after: Window,
    /// The server's memory in KiB: before, the most, and when the attack was over.
    pub(crate) memory: [u64; 3],
    /// The most connections that it had.
    pub(crate) connections: u64,
    pub(crate) counts: Counts,
    /// What the attacker saw: opened, refused, ended, ended by 1008.
    pub(crate) attacker: [u64; 4],
    /// How long the attack lasted, how much of the server's core it took, and until when the
    /// attacker's connections were gone.
    pub(crate) lasted: Duration,
    pub(crate) busy: f64,
    pub(crate) settled: Duration,
}

/// The processes of a case.
struct Scene {
    server: Process,
    healthy: Process,
    most: u64,
    connections: u64,
}

impl Scene {
    fn counts(&mut self) -> Result<Counts> {
        self.server.input.write_all(b"counts\n")?;
        numbers(&self.server.line()?)
    }

    fn window(&mut self) -> Result<Window> {
        self.healthy.input.write_all(b"window\n")?;
        Window::parse(&self.healthy.line()?)
    }

    fn watch(&mut self, time: Duration) -> Result {
        let (start, mut looks) = (Instant::now(), 0);
        while start.elapsed() < time {
            std::thread::sleep(LOOK);
            self.most = self.most.max(resident(self.server.id())?);
            looks += 1;
            if looks % 10 == 0 {
                self.connections = self.connections.max(self.counts()?[0]);
            }
        }
        Ok(())
    }
}

pub(crate) fn measure(case: &Case, options: Options) -> Result<Row> {
    let mut server = Process::start("0", &["serve", case.security()], &[])?;
    let (uri, certificate) = (server.line()?, server.line()?);
    if options.first {
        go_first(server.id());
    }
    let mut healthy = Process::start("1", &["healthy", &uri, &certificate], &[])?;
    healthy.line()?;
    let mut scene = Scene { server, healthy, most: 0, connections: 0 };
    if case.name.starts_with("files") {
        writeln!(scene.server.input, "fill {FILES_LEFT}")?;
        scene.server.line()?;
    }
    std::thread::sleep(Duration::from_secs(1));
    scene.window()?;
    scene.watch(options.time)?;
    let (before, memory) = (scene.window()?, resident(scene.server.id())?);

    let (begun, used) = (Instant::now(), scene.server.cpu_time()?);
    let part = options.part.to_string();
    let mut attacker = Process::start("1", &["attack", case.name, &uri, &part], &[])?;
    scene.watch(options.time)?;
    let lasted = begun.elapsed();
    let busy = (scene.server.cpu_time()? - used).as_secs_f64() / lasted.as_secs_f64();
    let during = scene.window()?;
    attacker.input.write_all(b".")?;
    let saw = numbers(&attacker.line()?)?;
    drop(attacker);

    let ended = Instant::now();
    // The healthy ones, and a new client.
    while scene.counts()?[0] > 101 && ended.elapsed() < SETTLE {
        scene.watch(LOOK * 2)?;
    }
    let settled = ended.elapsed();
    scene.window()?;
    scene.watch(options.time)?;
    let after = scene.window()?;
    if after.lost > 0 || after.new[0] == 0 {
        return Err(format!("{}: not healthy afterwards: {after:?}", case.name).into());
    }
    Ok(Row {
        what: case.what,
        before,
        during,
        after,
        memory: [memory, scene.most, resident(scene.server.id())?],
        connections: scene.connections,
        counts: scene.counts()?,
        attacker: saw,
        lasted,
        busy,
        settled,
    })
}

/// Has this process go before all others of its core.
pub(crate) fn go_first(pid: u32) {
    let done = |program: &str, words: &[&str]| {
        let output = Command::new(program).args(words).arg(pid.to_string()).output();
        output.is_ok_and(|output| output.status.success())
    };
    if !done("chrt", &["-a", "-f", "-p", "1"]) && !done("renice", &["-n", "-15", "-p"]) {
        eprintln!("no priority: look at what is measured without the server");
    }
}

/// Has this process come last.
pub(crate) fn go_last() {
    let pid = std::process::id().to_string();
    let _ = Command::new("renice").args(["-n", "10", "-p", &pid]).output();
}

fn numbers<const N: usize>(line: &str) -> Result<[u64; N]> {
    let numbers: std::result::Result<Vec<u64>, _> = line.split(' ').map(str::parse).collect();
    numbers?.try_into().map_err(|_| format!("not {N} numbers: {line}").into())
}
