//! Two nodes and a broker between them:
//! `cargo run --release -p tautline-bench --bin nodes -- [--only NAME] [--rounds N] [--messages N] [--publications N]`
//!
//! A hub publishes on one node, and a WebSocket client of another node has it: through Redis and NATS, each
//! for topics without and with a history, and beside that within one node, in memory. Each node, the broker
//! and the client are processes of their own; nodes and client have one thread each. Messages have 128 bytes.
//!
//! Latency is from the call of `publish` to the client, one message at a time. Then many are published, by
//! 16 and by 256 tasks each of which awaits its own: how many a second have come to the client when the last
//! is there, and what CPU time nodes and broker took for each. Each has to come once.
//!
//! Redis appends what topics with a history keep to a file (`appendonly yes`, `appendfsync everysec`); NATS
//! keeps it in files of JetStream, with the server's defaults. Both servers have to be installed.

#[path = "../broker.rs"]
mod broker;
mod client;
mod node;
#[path = "../process.rs"]
mod process;
#[path = "../support.rs"]
mod support;

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::broker::{Broker, Via};
use crate::process::Process;
use crate::support::{Result, option};

/// Bytes of a message: first the time when it was published, then its number.
const LENGTH: usize = 128;
/// What a client says and hears.
const SUBSCRIBE: &str = "subscribe";
/// How many publish at a time.
const AT_ONCE: [u64; 2] = [16, 256];
/// All processes share the cores.
const CORES: &str = "0,1";

fn main() -> Result {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", via, url] => runtime.block_on(node::serve(via, url)),
        ["client", publishing, subscribed] => runtime.block_on(client::run(publishing, subscribed)),
        _ => measure(&words),
    }
}

/// Since 1970, in nanoseconds: all processes read the same clock.
fn nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(0)
}

/// Latencies at the median and at 99 %, in microseconds; messages a second for each of [`AT_ONCE`]; and the
/// CPU time of the first node, the broker and the last node for each message of the last of them, in
/// microseconds.
type Figures = [f64; 7];

fn measure(words: &[String]) -> Result {
    let only = option(words, "--only", String::new())?;
    let rounds = option(words, "--rounds", 3_usize)?;
    let messages = option(words, "--messages", 5_000_u64)?;
    let publications = option(words, "--publications", 100_000_u64)?;
    let ways: Vec<_> = Via::ALL.into_iter().filter(|via| via.name().contains(&only)).collect();
    let mut seen = vec![Vec::new(); ways.len()];
    for round in 1..=rounds {
        for (via, seen) in ways.iter().zip(&mut seen) {
            let figures = run(*via, messages, publications)?;
            println!("round {round}: {}", row(*via, figures));
            seen.push(figures);
        }
    }
    println!("medians of {rounds} rounds; each message came once:");
    println!(
        "| | p50, us | p99, us | messages a second, 16 at a time | 256 at a time | CPU then: first node, us | broker | last node |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (via, seen) in ways.iter().zip(&seen) {
        println!("{}", row(*via, std::array::from_fn(|place| median(seen, place))));
    }
    Ok(())
}

fn row(via: Via, [half, most, few, many, first, broker, last]: Figures) -> String {
    let other = |cpu: f64| match via {
        Via::Memory => "-".to_owned(),
        _ => format!("{cpu:.1}"),
    };
    let (broker, last) = (other(broker), other(last));
    let name = via.name();
    format!(
        "| {name} | {half:.0} | {most:.0} | {few:.0} | {many:.0} | {first:.1} | {broker} | {last} |"
    )
}

fn median(seen: &[Figures], place: usize) -> f64 {
    let mut values: Vec<f64> = seen.iter().map(|figures| figures[place]).collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn run(via: Via, messages: u64, publications: u64) -> Result<Figures> {
    let broker = Broker::start(via)?;
    let serve = ["serve", via.name(), &broker.url];
    let mut first = Process::start(CORES, &serve, &[])?;
    let publishing = first.line()?;
    let mut last = None;
    let subscribed = match via {
        Via::Memory => publishing.clone(),
        _ => last.insert(Process::start(CORES, &serve, &[])?).line()?,
    };
    let mut client = Process::start(CORES, &["client", &publishing, &subscribed], &[])?;
    client.line()?;

    writeln!(client.input, "latency {messages}")?;
    let line = client.line()?;
    let (half, most) = line.split_once(' ').ok_or("no two latencies")?;
    let mut figures = [half.parse::<f64>()? / 1e3, most.parse::<f64>()? / 1e3, 0., 0., 0., 0., 0.];
    let processes = [Some(first.id()), broker.id(), last.as_ref().map(Process::id)];
    for (place, at_once) in AT_ONCE.into_iter().enumerate() {
        let before = cpu(processes)?;
        writeln!(client.input, "count {publications}")?;
        client.line()?;
        writeln!(first.input, "{publications} {at_once}")?;
        first.line()?;
        let took: f64 = client.line()?.parse()?;
        figures[2 + place] = publications as f64 / took * 1e9;
        for (part, used) in cpu(processes)?.into_iter().enumerate() {
            figures[4 + part] = (used - before[part]).as_secs_f64() * 1e6 / publications as f64;
        }
    }
    Ok(figures)
}

/// What these have used until now.
fn cpu(processes: [Option<u32>; 3]) -> Result<[Duration; 3]> {
    let mut all = [Duration::ZERO; 3];
    for (used, process) in all.iter_mut().zip(processes) {
        if let Some(process) = process {
            *used = support::cpu_time(process)?;
        }
    }
    Ok(all)
}
