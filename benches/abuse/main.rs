//! What hostile peers cost: `cargo run --release -p tautline-bench --bin abuse -- [--seconds N]
//! [--hold N] [--only PART]`
//!
//! For each input: the bytes sent, the CPU time of the server for each of them, the memory that the
//! server's process grew by, and what another connection of the same thread waits for its echo
//! meanwhile, one message of 16 bytes every 2 ms; for each message that waited longer, those count
//! too that would have been sent meanwhile. Next to each stands an ordinary input of the same size.
//! The server is a process of its own with one thread on core 0, the peers run on core 1 (by
//! `taskset`, where there is one). Figures compare within one run only.

#[path = "../compressed.rs"]
mod compressed;
#[path = "../support.rs"]
mod support;

mod flood;
mod frames;
mod held;
mod hub;
mod neighbour;
mod peer;
mod server;
mod upload;

use std::process::Command;
use std::time::Duration;

use flood::{Flood, flood};
use support::{Result, option};

/// How long each part runs.
#[derive(Clone, Debug)]
struct Options {
    time: Duration,
    hold: Duration,
    only: String,
}

fn main() -> Result {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("serve") => return server::serve(&words[1..]),
        Some("serve-hub") => return hub::serve(),
        _ => {}
    }
    // The peers' core; the server moves to its own.
    let pid = std::process::id().to_string();
    let pinned = Command::new("taskset").args(["-a", "-p", "-c", "1", &pid]).output();
    if !pinned.is_ok_and(|output| output.status.success()) {
        println!("not pinned to cores: taskset failed");
    }
    let options = Options {
        time: Duration::from_secs_f64(option(&words, "--seconds", 2.0)?),
        hold: Duration::from_secs_f64(option(&words, "--hold", 2.0)?),
        only: option(&words, "--only", String::new())?,
    };
    let wants = |name: &str| name.contains(&options.only);
    println!(
        "{:<44} {:>9} {:>9} {:>10} {:>10}   neighbour waits, us: p50 / p99 / longest",
        "", "sent, kB", "ns/byte", "us/message", "memory, kB"
    );
    for input in inputs()?.iter().filter(|input| wants(input.name)) {
        flood(&options, input)?;
    }
    if wants("held: unfinished compressed frames") {
        held::measure(&options)?;
    }
    if wants("upload") {
        upload::measure()?;
    }
    if wants("hub") {
        hub::measure(&options)?;
    }
    Ok(())
}

/// Floods of one connection each, in pairs: what is ordinary, and what is hostile.
fn inputs() -> Result<Vec<Flood>> {
    let flood = |name, compression, prelude: Vec<u8>, messages: Vec<Vec<u8>>| Flood {
        name,
        compression,
        prelude,
        messages,
    };
    let mut random = frames::Random::new();
    let window = frames::compressed(&frames::text(&mut random, 32 << 10))?;
    let blocks = frames::client(0xc2, &[3, 0].repeat(30_000));
    let mut many = |count: usize, message: &mut dyn FnMut(&mut frames::Random) -> Vec<u8>| {
        (0..count).map(|_| frames::client(0x82, &message(&mut random))).collect::<Vec<_>>()
    };
    let texts = |bytes| move |random: &mut frames::Random| frames::text(random, bytes);
    let noise = |bytes| move |random: &mut frames::Random| frames::noise(random, bytes, 256);
    // Of 112 values: more alike than random bytes, and still nothing to gain by Huffman codes in so
    // few.
    let alike = |bytes| move |random: &mut frames::Random| frames::noise(random, bytes, 112);
    let (text_300, noise_300, alike_300) =
        (many(256, &mut texts(300)), many(256, &mut noise(300)), many(256, &mut alike(300)));
    let (text_70, noise_70) = (many(256, &mut texts(70)), many(256, &mut noise(70)));
    // What the server sends back of these is what it remembers.
    let sent = many(64, &mut texts(1024)).concat();
    let long = frames::text(&mut frames::Random::new(), 150 << 10);
    Ok(vec![
        flood(
            "13a compressed text, 150 KB inflated",
            "default",
            window.clone(),
            vec![frames::compressed(&long)?],
        ),
        flood("13a empty last blocks, 60 KB", "default", window.clone(), vec![blocks]),
        flood("13a 1 byte, plain", "default", Vec::new(), vec![frames::client(0x82, b"x"); 4096]),
        flood(
            "13a 1 byte, compressed, full window",
            "default",
            window,
            vec![frames::compressed(b"x")?; 4096],
        ),
        flood("13b echo of 300 B of text", "default", Vec::new(), text_300.clone()),
        flood("13b echo of 300 random bytes", "default", Vec::new(), noise_300.clone()),
        flood("13b echo of 300 B that look like text", "default", Vec::new(), alike_300.clone()),
        flood("13b echo of 300 B of text, takeover", "takeover", sent.clone(), text_300),
        flood("13b echo of 300 random bytes, takeover", "takeover", sent.clone(), noise_300),
        flood("13b echo of 300 B that look so, takeover", "takeover", sent.clone(), alike_300),
        flood("13b echo of 70 B of text, best_ratio", "best-ratio", sent.clone(), text_70),
        flood("13b echo of 70 random bytes, best_ratio", "best-ratio", sent.clone(), noise_70),
    ])
}
