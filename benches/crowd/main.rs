//! One topic with a crowd of subscribers, and what members and subscriptions take:
//! `cargo run --release -p tautline-bench --bin crowd -- [--connections N] [--streams N] [--messages N] [--rates R,..]`
//!
//! `http2`: a server whose WebSockets are streams of HTTP/2 connections, 1,000 of 100 streams each unless
//! told otherwise, since a process here may have 20,000 open files. All are members of a hub, subscribed to
//! one topic; the server publishes 128 bytes at several rates (in thousandths of a message a second), and a
//! client in another process, on the other core, notes how long each took to arrive. It answers the server's
//! pings. With `--rates 0` nothing is published.
//!
//! `processes [--broker redis|nats] [--connections N] [--processes N] [--messages N] [--rates R,..]`: the same
//! with connections over TCP to several nodes, each a process, with a broker between them; 12,000 connections to
//! 3 nodes unless told otherwise. One more node publishes. 100,000 need 1 GiB or two, and 6 nodes where a process
//! may have 20,000 open files; there are as many processes of clients. The broker's server has to be installed.
//!
//! `memory`: the resident memory of a process with members over pipes, before and after they are attached,
//! and with each subscribed to many topics.
//!
//! `topics [--broker redis|nats] [--topics N] [--members N]`: two million topics unless told otherwise, each with one
//! subscriber of 2,000 members over pipes: what a topic takes, what publishing to one after the other costs with 10,000
//! of them and with all, and what a topic takes when most were left and subscribed to once more.

#[path = "../broker.rs"]
mod broker;
mod client;
mod histogram;
mod memory;
mod plain;
#[path = "../process.rs"]
mod process;
mod processes;
mod server;
#[path = "../support.rs"]
mod support;
mod topics;

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tautline_hub::Hub;

use crate::broker::Via;
use crate::histogram::Histogram;
use crate::process::{Process, resident};
use crate::support::{Result, option};

/// Bytes of a message, of which the first eight are the time when it was published.
const LENGTH: usize = 128;

fn main() -> Result {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve"] => runtime.block_on(server::serve(Hub::new(), true)),
        ["listen", address, connections, streams] => {
            runtime.block_on(client::listen(address, connections.parse()?, streams.parse()?))
        }
        ["node", via, url] => {
            runtime.block_on(async { server::serve(Via::named(via)?.hub(url).await?, false).await })
        }
        ["listen", address, connections] => {
            runtime.block_on(plain::listen(address, connections.parse()?))
        }
        ["memory"] => runtime.block_on(memory::measure()),
        ["topics", ..] => runtime.block_on(topics::measure(&words)),
        ["processes", ..] => processes::measure(&words),
        _ => http2(&words),
    }
}

/// Since 1970, in microseconds: both processes read the same clock.
fn micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(0)
}

fn http2(words: &[String]) -> Result {
    let connections = option(words, "--connections", 1_000_u64)?;
    let streams = option(words, "--streams", 100_u64)?;
    let (messages, rates) = publishing(words)?;
    let all = connections * streams;

    let mut server = Process::start("0", &["serve"], &[])?;
    let address = server.line()?;
    let before = resident(server.id())?;
    let (connections, streams) = (connections.to_string(), streams.to_string());
    let mut client = Process::start("1", &["listen", &address, &connections, &streams], &[])?;
    println!("{} connections of {streams} streams: {}", connections, client.line()?);
    let each = |now: u64| now.saturating_sub(before) * 1024 / all;
    println!("memory, before anything is published: {} bytes each", each(resident(server.id())?));
    for millis in rates {
        let cpu = server.cpu_time()?;
        writeln!(server.input, "{millis} {messages}")?;
        server.line()?;
        let used = (server.cpu_time()? - cpu).as_secs_f64() * 1e6 / (messages * all) as f64;
        writeln!(client.input, "{}", messages * all)?;
        println!(
            "a message each {millis} ms, {messages} of them: server CPU {used:.2} us each delivery"
        );
        println!("  {}", deliveries([&mut client], messages * all)?);
        println!("  memory: {} bytes each", each(resident(server.id())?));
    }
    Ok(())
}

/// How many messages are published, and the milliseconds between them at each rate.
fn publishing(words: &[String]) -> Result<(u64, Vec<u64>)> {
    let messages = option(words, "--messages", 20)?;
    let mut intervals = Vec::new();
    for rate in option(words, "--rates", "250,500,1000".to_owned())?.split(',') {
        intervals.extend(1_000_000_u64.checked_div(rate.parse()?));
    }
    Ok((messages, intervals))
}

/// What these clients say of so many deliveries, together.
fn deliveries<'a>(
    clients: impl IntoIterator<Item = &'a mut Process>,
    wanted: u64,
) -> Result<Histogram> {
    let mut all = Histogram::default();
    for client in clients {
        all.merge(&client.line()?)?;
    }
    match all.count() {
        count if count == wanted => Ok(all),
        count => Err(format!("{count} deliveries instead of {wanted}").into()),
    }
}

/// Between two looks at something that another task changes.
const LOOK: Duration = Duration::from_millis(20);
