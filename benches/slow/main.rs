//! Senders that do not wait, with receivers that do not read:
//! `cargo run --release -p tautline-bench --bin slow -- [--seconds N] [--slow N] [--rounds N] [--hub memory|redis|nats]`
//!
//! 1,000 connections get 100 messages of 1 KiB a second each, through `Writer::dropping_sender` with
//! 64 KiB. Some of them read nothing. The run is made with them and without them, in turn. What
//! counts: the others get every message, as soon as without them, and the server's memory grows by
//! no more than the bounds of those that do not read.
//!
//! With `--hub`, they are members of a hub, subscribed to a topic; those that do not read are under each of
//! its policies in turn, with 64 KiB: the latest of each of ten keys waits, the oldest are dropped, or the
//! connection is closed. `memory` is one node; with `redis` and `nats`, and `redis-history` and `nats-history`
//! for a topic with a history, another node publishes, through the broker's server, which has to be installed.

#[path = "../broker.rs"]
mod broker;
mod hub;
#[path = "../process.rs"]
mod process;
mod receive;
#[path = "../support.rs"]
mod support;
mod writers;

use std::io::Write;
use std::time::{Duration, SystemTime};

use crate::broker::Via;
use crate::hub::{Nodes, Policy};
use crate::process::{Process, resident};
use crate::support::{Result, option};
use crate::writers::Writers;

const CONNECTIONS: usize = 1000;
const PAYLOAD: usize = 1024;
/// What waits in a sender at most: 42 messages, each with its overhead.
const LIMIT: usize = 64 << 10;
/// What waits for one connection at most: in the sender and in the queue of the connection, with
/// a message more.
const BOUND: usize = LIMIT + (64 << 10) + 2 * PAYLOAD;
/// By what a server may grow otherwise, in KiB.
const ROOM: u64 = 2048;
const INTERVAL: Duration = Duration::from_millis(10);
/// Which latencies are told: half of the messages came sooner than the first, and so on.
const PARTS: [f64; 3] = [0.5, 0.99, 0.999];

fn main() -> Result {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve"] => runtime.block_on(writers::serve()),
        ["node", via, url, policy] => runtime.block_on(hub::serve(via, url, policy)),
        ["receive", address, healthy, slow] => {
            runtime.block_on(receive::receive(address, healthy.parse()?, slow.parse()?))
        }
        _ => measure(&words),
    }
}

/// What sends to the connections, in processes of its own.
trait Sending {
    /// Where to connect to.
    fn address(&self) -> &str;

    /// The process that has the connections.
    fn server(&self) -> &Process;

    /// Begins to send, to so many connections.
    fn begin(&mut self, connections: usize) -> Result;

    /// Ends; returns how many messages were sent, and what the server says became of them.
    fn end(&mut self, healthy: usize) -> Result<(u64, String)>;
}

/// What sends, and how those that do not read are treated.
#[derive(Clone, Copy, Debug)]
enum Way {
    Writers,
    Hub(Via, Policy),
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Writers => "with",
            Self::Hub(_, policy) => policy.name(),
        }
    }

    fn start(self) -> Result<Box<dyn Sending>> {
        Ok(match self {
            Self::Writers => Box::new(Writers::start()?),
            Self::Hub(via, policy) => Box::new(Nodes::start(via, policy)?),
        })
    }
}

/// What a run has shown: the latency at each of [`PARTS`], in microseconds, and by how much the server grew,
/// in KiB.
#[derive(Clone, Copy, Debug)]
struct Seen {
    latency: [u64; 3],
    held: u64,
}

fn measure(words: &[String]) -> Result {
    let time = Duration::from_secs(option(words, "--seconds", 8)?);
    let slow = option(words, "--slow", 50_usize)?;
    let rounds = option(words, "--rounds", 2_usize)?;
    let hub = option(words, "--hub", String::new())?;
    let healthy = CONNECTIONS.checked_sub(slow).ok_or("there are 1,000 connections in all")?;
    let ways = match &*hub {
        "" => vec![Way::Writers],
        name => {
            let via = Via::named(name)?;
            Policy::ALL.map(|policy| Way::Hub(via, policy)).to_vec()
        }
    };
    println!(
        "latency of {healthy} connections that read, in microseconds, and the server's memory"
    );
    let (mut without, mut beside) = (Vec::new(), vec![Vec::new(); ways.len()]);
    for _ in 0..rounds {
        let base = run(ways[0], healthy, 0, time)?;
        without.push(base);
        for (way, seen) in ways.iter().zip(&mut beside) {
            let run = run(*way, healthy, slow, time)?;
            let bound = base.held + (slow * BOUND) as u64 / 1024 + ROOM;
            if run.held > bound {
                return Err(format!("{} KiB are held, more than {bound}", run.held).into());
            }
            seen.push(run);
        }
    }
    for (number, part) in PARTS.iter().enumerate() {
        let of = |runs: &[Seen]| median(runs.iter().map(|run| run.latency[number]).collect());
        let without = of(&without);
        print!("p{}: median {without} without them", part * 100.0);
        for (way, seen) in ways.iter().zip(&beside) {
            let beside = of(seen);
            print!(", {beside} {} ({:.2})", way.name(), beside as f64 / without as f64);
        }
        println!();
    }
    Ok(())
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn run(way: Way, healthy: usize, slow: usize, time: Duration) -> Result<Seen> {
    let mut sending = way.start()?;
    let words = ["receive", sending.address(), &healthy.to_string(), &slow.to_string()];
    let mut client = Process::start("1", &words, &[])?;
    client.line()?;
    sending.begin(healthy + slow)?;
    let server = sending.server();
    let (before, cpu) = (resident(server.id())?, server.cpu_time()?);
    std::thread::sleep(time);
    let held = resident(server.id())?.saturating_sub(before);
    let cpu = (server.cpu_time()? - cpu).as_secs_f64() / time.as_secs_f64();
    let (sent, counts) = sending.end(healthy)?;
    let wanted = sent * healthy as u64;
    writeln!(client.input, "{wanted}")?;
    let [latency @ .., of] = numbers(&client.line()?)?;
    let [p50, p99, p999] = latency;
    let cpu = format!("{:.0} % of a core", cpu * 100.0);
    let what = match way {
        Way::Hub(_, policy) if slow > 0 => format!(" ({})", policy.name()),
        _ => String::new(),
    };
    println!(
        "{slow:>3} that do not read{what}: p50 {p50}, p99 {p99}, p99.9 {p999}, of {of}; {counts}; {held} KiB; {cpu}"
    );
    if of == wanted {
        Ok(Seen { latency, held })
    } else {
        Err(format!("{wanted} were sent to those that read").into())
    }
}

fn numbers(line: &str) -> Result<[u64; 4]> {
    let numbers: Vec<u64> =
        line.split(' ').map(str::parse).collect::<std::result::Result<_, _>>()?;
    numbers.try_into().map_err(|_| format!("no four numbers: {line}").into())
}

/// A message, which begins with the time.
fn payload() -> Vec<u8> {
    let mut payload = vec![7; PAYLOAD];
    payload[..8].copy_from_slice(&now().to_be_bytes());
    payload
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_nanos() as u64
}
