//! A message of 16 MiB that arrives in small segments.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::flood::Line;
use crate::frames;
use crate::neighbour::Neighbour;
use crate::peer::{self, End, Process};
use crate::support::Result;

const BYTES: usize = 16 << 20;

pub(crate) fn measure() -> Result {
    upload("21 upload of 16 MiB at full speed", 256 << 10, Duration::ZERO)?;
    upload("21 upload of 16 MiB, 4,096 segments in a second", 4096, Duration::from_micros(250))?;
    trickle()
}

/// Writes segments of this size with this much time for each, and waits until the server has the
/// message.
fn upload(name: &str, segment: usize, pace: Duration) -> Result {
    let process = Process::start(&["serve", "none", "sink"], "0")?;
    let mut stream = peer::connect(process.address, false)?;
    std::thread::sleep(Duration::from_millis(100));
    let (memory, cpu) = (process.resident()?, process.cpu_time()?);
    let neighbour = Neighbour::start(process.address)?;
    let frame = frames::client(0x82, &vec![7; BYTES]);
    let start = Instant::now();
    for (piece, number) in frame.chunks(segment).zip(1..) {
        stream.write_all(piece)?;
        until(start + pace * number);
    }
    stream.write_all(&frames::client(0x81, frames::MARKER))?;
    let end = peer::drain(stream);
    Line {
        name,
        bytes: frame.len(),
        messages: 1,
        cpu: process.cpu_time()? - cpu,
        memory: process.resident()?.saturating_sub(memory),
        waits: neighbour.end()?,
        note: if end == End::Marker { String::new() } else { format!("ended by {end:?}") },
    }
    .print();
    Ok(())
}

/// 7.5 MiB of a message of 16 MiB at once, then byte by byte.
fn trickle() -> Result {
    const SINGLE: usize = 1000;
    let process = Process::start(&["serve", "none", "sink"], "0")?;
    let mut stream = peer::connect(process.address, false)?;
    let frame = frames::client(0x82, &vec![7; BYTES]);
    let at = 15 << 19;
    stream.write_all(&frame[..at])?;
    let neighbour = Neighbour::start(process.address)?;
    std::thread::sleep(Duration::from_millis(300));
    let (memory, cpu, start) = (process.resident()?, process.cpu_time()?, Instant::now());
    for (byte, number) in frame[at..at + SINGLE].chunks(1).zip(1..) {
        stream.write_all(byte)?;
        until(start + Duration::from_millis(1) * number);
    }
    // Until all was read, whatever each read costs.
    std::thread::sleep(Duration::from_secs(1));
    Line {
        name: "21 single bytes with 7.5 MiB there",
        bytes: SINGLE,
        messages: SINGLE,
        cpu: process.cpu_time()? - cpu,
        memory: process.resident()?.saturating_sub(memory),
        waits: neighbour.end()?,
        note: "the neighbour's echoes included".to_owned(),
    }
    .print();
    Ok(())
}

fn until(time: Instant) {
    if let Some(left) = time.checked_duration_since(Instant::now()) {
        std::thread::sleep(left);
    }
}
