//! A hub that sends to all members every 10 ms, through the writing halves, while the reading half
//! of one works flat out.

use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tautline::{Compression, OriginPolicy, Server, Writer};
use tokio::time::{MissedTickBehavior, interval};

use crate::neighbour::quantiles;
use crate::peer::{self, Process};
use crate::support::Result;
use crate::{Options, frames};

const MEMBERS: usize = 10;
const TICK: Duration = Duration::from_millis(10);

/// What the hub saw: how long each `send` took, and the time between two ticks.
#[derive(Default)]
struct Seen {
    /// To the member whose reader works: the last that joined.
    own: Vec<Duration>,
    others: Vec<Duration>,
    gaps: Vec<Duration>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The server: two threads. A line on standard input begins, and another ends and prints.
pub(crate) fn serve() -> Result {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (seen, joined) = (Arc::new(Mutex::new(Seen::default())), Arc::new(Mutex::new(Vec::new())));
    let hub = runtime.spawn(run(joined.clone(), seen.clone()));
    let address = runtime.block_on(async {
        let server = Server::bind("127.0.0.1:0").await?.origins(OriginPolicy::Any);
        let server = server.compression(Compression::new());
        let address = server.local_addr()?;
        tokio::spawn(server.serve(move |ws| {
            let joined = joined.clone();
            async move {
                let (mut reader, writer) = ws.split();
                locked(&joined).push(writer);
                while let Some(message) = reader.next().await {
                    drop(message?);
                }
                Ok(())
            }
        }));
        Ok::<_, std::io::Error>(address)
    })?;
    println!("{address}");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    *locked(&seen) = Seen::default();
    std::io::stdin().read_line(&mut line)?;
    let Seen { own, others, gaps } = std::mem::take(&mut *locked(&seen));
    for times in [own, others, gaps] {
        let [p50, p99, longest] = quantiles(times);
        println!("{p50:.0} / {p99:.0} / {longest:.0}");
    }
    hub.abort();
    runtime.shutdown_background();
    Ok(())
}

async fn run(joined: Arc<Mutex<Vec<Writer>>>, seen: Arc<Mutex<Seen>>) {
    let (mut members, mut ticks) = (Vec::new(), interval(TICK));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    loop {
        ticks.tick().await;
        members.append(&mut locked(&joined));
        let gap = std::mem::replace(&mut last, Instant::now()).elapsed();
        locked(&seen).gaps.push(gap);
        for (number, member) in members.iter_mut().enumerate() {
            let start = Instant::now();
            let _ = member.send("a tick of the hub, for all who are there").await;
            let took = start.elapsed();
            let mut seen = locked(&seen);
            let times = if number == MEMBERS { &mut seen.own } else { &mut seen.others };
            times.push(took);
        }
    }
}

pub(crate) fn measure(options: &Options) -> Result {
    println!("\n14 hub, multi-thread runtime: p50 / p99 / longest in us");
    println!(
        "{:<44} {:<24} {:<24} time between ticks",
        "what one member sends", "send to that member", "send to others"
    );
    let small = frames::client(0x82, &[7; 16]).repeat(4096);
    let large = frames::client(0x82, &vec![7; 1 << 20]);
    let blocks = frames::client(0xc2, &[3, 0].repeat(30_000));
    let tiny = frames::compressed(b"x")?.repeat(4096);
    let window = frames::compressed(&frames::text(&mut frames::Random::new(), 32 << 10))?;
    hub(options, "nothing", &[], &[])?;
    hub(options, "16 B, plain", &[], &small)?;
    hub(options, "1 MiB, plain", &[], &large)?;
    hub(options, "1 byte, compressed, full window", &window, &tiny)?;
    hub(options, "empty last blocks, 60 KB", &window, &blocks)
}

fn hub(options: &Options, name: &str, prelude: &[u8], round: &[u8]) -> Result {
    let mut process = Process::start(&["serve-hub"], "0,1")?;
    for _ in 0..MEMBERS {
        let stream = peer::connect(process.address, false)?;
        std::thread::spawn(move || peer::drain(stream));
    }
    std::thread::sleep(Duration::from_millis(100));
    let mut stream = peer::connect(process.address, true)?;
    let reading = stream.try_clone()?;
    let reader = std::thread::spawn(move || peer::drain(reading));
    std::thread::sleep(Duration::from_millis(100));
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, prelude, round) = (stop.clone(), prelude.to_vec(), round.to_vec());
    std::thread::spawn(move || {
        let _ = stream.write_all(&prelude);
        while !round.is_empty() && !stopped.load(Ordering::Relaxed) {
            if stream.write_all(&round).is_err() {
                break;
            }
        }
        // Open until the server is gone.
        while !stopped.load(Ordering::Relaxed) {
            std::thread::sleep(TICK);
        }
    });
    writeln!(process.input, "begin")?;
    std::thread::sleep(options.time);
    let early = reader.is_finished();
    writeln!(process.input, "end")?;
    let mut texts = [String::new(), String::new(), String::new()];
    for text in &mut texts {
        process.output.read_line(text)?;
    }
    stop.store(true, Ordering::Relaxed);
    let [own, others, gaps] = texts.each_ref().map(|text| text.trim());
    let note = if early { "   (the server ended the connection)" } else { "" };
    println!("{name:<44} {own:<24} {others:<24} {gaps}{note}");
    Ok(())
}
