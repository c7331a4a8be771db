//! One connection that sends messages as fast as it can, and reads what comes back.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::neighbour::Neighbour;
use crate::peer::{self, End, Process};
use crate::support::Result;
use crate::{Options, frames};

/// No more than this is sent.
const MOST: usize = 256 << 20;

pub(crate) struct Flood {
    pub(crate) name: &'static str,
    /// The server's settings.
    pub(crate) compression: &'static str,
    /// Sent once before.
    pub(crate) prelude: Vec<u8>,
    /// Frames, sent round and round.
    pub(crate) messages: Vec<Vec<u8>>,
}

/// One line of the table.
pub(crate) struct Line<'a> {
    pub(crate) name: &'a str,
    pub(crate) bytes: usize,
    pub(crate) messages: usize,
    pub(crate) cpu: Duration,
    pub(crate) memory: u64,
    pub(crate) waits: [f64; 3],
    pub(crate) note: String,
}

impl Line<'_> {
    pub(crate) fn print(&self) {
        let nanoseconds = self.cpu.as_secs_f64() * 1e9;
        let [p50, p99, longest] = self.waits;
        println!(
            "{:<44} {:>9} {:>9.2} {:>10.2} {:>10}   {p50:.0} / {p99:.0} / {longest:.0}   {}",
            self.name,
            self.bytes / 1000,
            nanoseconds / self.bytes.max(1) as f64,
            nanoseconds / 1e3 / self.messages.max(1) as f64,
            self.memory / 1000,
            self.note
        );
    }
}

pub(crate) fn flood(options: &Options, input: &Flood) -> Result {
    let process = Process::start(&["serve", input.compression, "echo"], "0")?;
    let stream = peer::connect(process.address, true)?;
    std::thread::sleep(Duration::from_millis(100));
    let (memory, cpu) = (process.resident()?, process.cpu_time()?);
    let neighbour = Neighbour::start(process.address)?;
    let reading = stream.try_clone()?;
    let reader = std::thread::spawn(move || peer::drain(reading));
    let (time, round) = (options.time, input.messages.concat());
    let prelude = input.prelude.clone();
    let writer = std::thread::spawn(move || write(stream, &prelude, &round, time));
    let mut largest = memory;
    while !reader.is_finished() {
        largest = largest.max(process.resident()?);
        std::thread::sleep(Duration::from_millis(10));
    }
    let cpu = process.cpu_time()? - cpu;
    let end = reader.join().map_err(|_| "the reader panicked")?;
    let (bytes, rounds) = writer.join().map_err(|_| "the writer panicked")?;
    Line {
        name: input.name,
        bytes,
        messages: rounds * input.messages.len(),
        cpu,
        memory: largest - memory,
        waits: neighbour.end()?,
        note: if end == End::Marker { String::new() } else { format!("ended by {end:?}") },
    }
    .print();
    Ok(())
}

/// Gives the bytes that were written, and how many rounds were begun. A server may have ended the
/// connection: then it ends early.
fn write(mut stream: TcpStream, prelude: &[u8], round: &[u8], time: Duration) -> (usize, usize) {
    let (mut bytes, mut rounds, start) = (0, 0, Instant::now());
    if stream.write_all(prelude).is_err() {
        return (bytes, rounds);
    }
    while start.elapsed() < time && bytes < MOST {
        rounds += 1;
        for piece in round.chunks(64 << 10) {
            if stream.write_all(piece).is_err() {
                return (bytes, rounds);
            }
            bytes += piece.len();
        }
    }
    let _ = stream.write_all(&frames::client(0x81, frames::MARKER));
    (bytes, rounds)
}
