//! What it costs a server to be watched: an echo with a registry and metrics, beside one without:
//! `cargo run --release -p tautline-bench --bin watched -- [--rounds N] [--millis N]`
//!
//! The server is a process on one core, the clients are another: 64 connections, each with 16
//! messages of 16 bytes in flight, or with one. What counts is the CPU time of the server for each
//! message, as a ratio within a round; each round also has a second server without, whose ratio
//! tells how much is noise. Metrics go to the recorder of Prometheus.

mod process;
mod support;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use tautline::{Registry, Server, WebSocket};

use crate::process::{Process, resident};
use crate::support::{Result, option};

const CONNECTIONS: usize = 64;
const KINDS: [&str; 4] = ["plain", "again", "registry", "both"];

fn main() -> Result {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", kind] => runtime.block_on(serve(kind)),
        ["load", uri, flight, millis] => {
            let time = Duration::from_millis(millis.parse()?);
            runtime.block_on(load(uri, flight.parse()?, time))
        }
        _ => measure(&words),
    }
}

fn measure(words: &[String]) -> Result {
    let rounds = option(words, "--rounds", 15_usize)?;
    let millis = option(words, "--millis", 300_u64)?.to_string();
    println!("server CPU per message relative to plain, median of {rounds} rounds");
    for flight in ["1", "16"] {
        let mut ratios = [const { Vec::new() }; KINDS.len()];
        for _ in 0..rounds {
            let mut plain = f64::NAN;
            for (kind, ratios) in KINDS.iter().zip(&mut ratios) {
                let used = cell(kind, flight, &millis)?;
                if *kind == "plain" {
                    plain = used;
                }
                ratios.push(used / plain);
            }
        }
        for (kind, ratios) in KINDS.iter().zip(&mut ratios).skip(1) {
            ratios.sort_unstable_by(f64::total_cmp);
            let at = |part: usize| ratios[(ratios.len() - 1) * part / 4];
            println!(
                "{flight:>2} in flight, {kind:<8}: {:.3} ({:.3} to {:.3})",
                at(2),
                at(1),
                at(3)
            );
        }
    }
    Ok(())
}

/// The CPU time of one server for each message, in microseconds.
fn cell(kind: &str, flight: &str, millis: &str) -> Result<f64> {
    let mut server = Process::start("0", &["serve", kind], &[])?;
    let uri = server.line()?;
    let mut clients = Process::start("1", &["load", &uri, flight, millis], &[])?;
    clients.line()?;
    let before = server.cpu_time()?;
    clients.input.write_all(b"\n")?;
    let messages: u64 = clients.line()?.parse()?;
    let used = server.cpu_time()? - before;
    if resident(server.id())? == 0 {
        return Err("the server has ended".into());
    }
    Ok(used.as_secs_f64() * 1e6 / messages as f64)
}

async fn serve(kind: &str) -> Result {
    let mut server = Server::bind("127.0.0.1:0").await?;
    if matches!(kind, "registry" | "both") {
        server = server.registry(Registry::new());
    }
    if kind == "both" {
        PrometheusBuilder::new().install_recorder()?;
        server = server.metrics();
    }
    println!("ws://{}/", server.local_addr()?);
    server.serve(echo).await?;
    Ok(())
}

async fn echo(mut ws: WebSocket) -> Result {
    while let Some(message) = ws.next().await {
        ws.feed(message?).await?;
    }
    Ok(())
}

async fn load(uri: &str, flight: usize, time: Duration) -> Result {
    let (count, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        open.push(tautline::connect(uri).await?);
    }
    println!("open");
    std::io::stdin().read_line(&mut String::new())?;
    let tasks: Vec<_> = open
        .into_iter()
        .map(|ws| tokio::spawn(exchange(ws, flight, count.clone(), over.clone())))
        .collect();
    tokio::time::sleep(time).await;
    over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await??;
    }
    println!("{}", count.load(Ordering::Relaxed));
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

async fn exchange(
    mut ws: WebSocket,
    flight: usize,
    count: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
) -> Result {
    while !over.load(Ordering::Relaxed) {
        for _ in 0..flight {
            ws.feed("sixteen bytes...").await?;
        }
        ws.flush().await?;
        for _ in 0..flight {
            ws.next().await.ok_or("the connection ended")??;
        }
        count.fetch_add(flight as u64, Ordering::Relaxed);
    }
    Ok(())
}
