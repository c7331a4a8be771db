//! A sender that does not wait, with receivers that do not read:
//! `cargo run --release -p tautline-bench --bin slow -- [--seconds N] [--slow N]`
//!
//! 1,000 connections get 100 messages of 1 KiB a second each, through `Writer::dropping_sender` with
//! 64 KiB. Some of them read nothing. The run is made with them and without them, in turn. What
//! counts: the others get every message, as soon as without them, and the server's memory grows by
//! no more than the bounds of those that do not read.

mod process;
mod support;

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tautline::{Client, DroppingSender, Prepared, Server, WebSocket};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::process::{Process, resident};
use crate::support::{Result, option};

const CONNECTIONS: usize = 1000;
const PAYLOAD: usize = 1024;
/// What waits in a sender at most: 42 messages, each with its overhead.
const LIMIT: usize = 64 << 10;
/// What waits for one connection at most: in the sender and in the queue of the connection, with
/// a message more.
const BOUND: usize = LIMIT + (64 << 10) + 2 * PAYLOAD;
const INTERVAL: Duration = Duration::from_millis(10);
/// Which latencies are told: half of the messages came sooner than the first, and so on.
const PARTS: [f64; 3] = [0.5, 0.99, 0.999];

fn main() -> Result {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match words[..] {
        ["serve"] => runtime.block_on(serve()),
        ["receive", address, healthy, slow] => {
            runtime.block_on(receive(address, healthy.parse()?, slow.parse()?))
        }
        _ => measure(),
    }
}

fn measure() -> Result {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let time = Duration::from_secs(option(&words, "--seconds", 8)?);
    let slow = option(&words, "--slow", 50_usize)?;
    let rounds = option(&words, "--rounds", 2_usize)?;
    let healthy = CONNECTIONS - slow;
    println!(
        "latency of {healthy} connections that read, in microseconds, and the server's memory"
    );
    let (mut without, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        without.push(run(healthy, 0, time)?);
        beside.push(run(healthy, slow, time)?);
    }
    for (number, part) in PARTS.iter().enumerate() {
        let of = |runs: &[[u64; 3]]| median(runs.iter().map(|run| run[number]).collect());
        let (without, beside) = (of(&without), of(&beside));
        let ratio = beside as f64 / without as f64;
        println!("p{}: median {without} without them, {beside} with: {ratio:.2}", part * 100.0);
    }
    Ok(())
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// One run; returns the latency at each of [`PARTS`].
fn run(healthy: usize, slow: usize, time: Duration) -> Result<[u64; 3]> {
    let mut server = Process::start("0", &["serve"], &[])?;
    let address = server.line()?;
    let words = ["receive", &address, &healthy.to_string(), &slow.to_string()];
    let mut client = Process::start("1", &words, &[])?;
    client.line()?;
    let (before, cpu) = (resident(server.id())?, server.cpu_time()?);
    server.input.write_all(b"\n")?;
    std::thread::sleep(time);
    let held = resident(server.id())?.saturating_sub(before);
    let cpu = (server.cpu_time()? - cpu).as_secs_f64() / time.as_secs_f64();
    server.input.write_all(b"\n")?;
    let counts = server.line()?;
    client.input.write_all(b"\n")?;
    let latency = client.line()?;
    let cpu = format!("{:.0} % of a core", cpu * 100.0);
    let [latency @ .., of] = numbers(&latency)?;
    let [p50, p99, p999] = latency;
    println!(
        "{slow:>3} that do not read: p50 {p50}, p99 {p99}, p99.9 {p999}, of {of}; {counts}; {held} KiB; {cpu}"
    );
    let bound = (slow * BOUND) as u64 / 1024 + 2048;
    if held > bound {
        return Err(format!("{held} KiB are held, more than {bound}").into());
    }
    Ok(latency)
}

fn numbers(line: &str) -> Result<[u64; 4]> {
    let numbers: Vec<u64> =
        line.split(' ').map(str::parse).collect::<std::result::Result<_, _>>()?;
    numbers.try_into().map_err(|_| format!("no four numbers: {line}").into())
}

type All = Arc<Mutex<Vec<DroppingSender>>>;

async fn serve() -> Result {
    let server = Server::bind("127.0.0.1:0").await?;
    println!("{}", server.local_addr()?);
    let all = All::default();
    let joined = all.clone();
    tokio::spawn(server.serve(move |ws| join(ws, joined.clone())));
    let mut input = tokio::io::stdin();
    input.read_u8().await?;
    let all = std::mem::take(&mut *all.lock().unwrap_or_else(PoisonError::into_inner));
    let mut ticks = tokio::time::interval(INTERVAL);
    let mut published = 0_u64;
    let publishing = async {
        loop {
            ticks.tick().await;
            let mut payload = vec![7; PAYLOAD];
            payload[..8].copy_from_slice(&now().to_be_bytes());
            let message = Prepared::new(payload);
            published += 1;
            for sender in &all {
                let _ = sender.send(message.clone());
            }
        }
    };
    tokio::select! {
        () = publishing => {}
        _ = input.read_u8() => {}
    }
    // Those that read get the last ones too.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let dropping = all.iter().filter(|sender| sender.counts().dropped > 0).count();
    let whole = all.iter().filter(|sender| sender.counts().sent == published).count();
    println!("{published} published, {whole} got all, {dropping} missed some");
    Ok(())
}

async fn join(ws: WebSocket, all: All) -> Result {
    let (mut reader, writer) = ws.split();
    let (sender, feeding) = writer.dropping_sender(LIMIT);
    tokio::spawn(feeding);
    all.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
    while let Some(message) = reader.next().await {
        message?;
    }
    Ok(())
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_nanos() as u64
}

async fn receive(address: &str, healthy: usize, slow: usize) -> Result {
    let latencies = Arc::new(Mutex::new(Vec::new()));
    let mut held = Vec::new();
    for number in 0..healthy + slow {
        let ws = open(address, number < slow).await?;
        if number < slow {
            held.push(ws);
            continue;
        }
        let latencies = latencies.clone();
        tokio::spawn(reading(ws, latencies));
    }
    println!("open");
    tokio::io::stdin().read_u8().await?;
    let mut all = std::mem::take(&mut *latencies.lock().unwrap_or_else(PoisonError::into_inner));
    all.sort_unstable();
    let at =
        |part: f64| all.get((all.len() as f64 * part) as usize).map_or(0, |nanos| nanos / 1000);
    let [p50, p99, p999] = PARTS.map(at);
    println!("{p50} {p99} {p999} {}", all.len());
    drop(held);
    Ok(())
}

async fn reading(mut ws: WebSocket<TcpStream>, latencies: Arc<Mutex<Vec<u64>>>) -> Result {
    while let Some(message) = ws.next().await {
        let message = message?;
        let sent = message.as_bytes().first_chunk().copied().map_or(0, u64::from_be_bytes);
        let latency = now().saturating_sub(sent);
        latencies.lock().unwrap_or_else(PoisonError::into_inner).push(latency);
    }
    Ok(())
}

/// A connection, with next to no room for what it does not read.
async fn open(address: &str, slow: bool) -> Result<WebSocket<TcpStream>> {
    let socket = TcpSocket::new_v4()?;
    if slow {
        socket.set_recv_buffer_size(4096)?;
    }
    let stream = socket.connect(address.parse()?).await?;
    stream.set_nodelay(true)?;
    Ok(Client::new().handshake_over(format!("ws://{address}"), stream).await?)
}
