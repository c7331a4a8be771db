//! Messages that are begun and never finished.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::flood::Line;
use crate::neighbour::Neighbour;
use crate::peer::{self, Process};
use crate::support::Result;
use crate::{Options, frames};

const CONNECTIONS: usize = 40;
/// What each inflates to: just under the limit of a message.
const INFLATED: usize = (16 << 20) - 1024;

/// Connections that each send all but the last bytes of a compressed frame, and answer pings from
/// then on.
pub(crate) fn measure(options: &Options) -> Result {
    let process = Process::start(&["serve", "default", "echo"], "0")?;
    std::thread::sleep(Duration::from_millis(100));
    let (memory, cpu) = (process.resident()?, process.cpu_time()?);
    let neighbour = Neighbour::start(process.address)?;
    let payload = frames::deflated(&vec![0; INFLATED])?;
    let mut frame = frames::client(0xc2, &payload);
    let header = frames::header(0xc2, payload.len() + 1000);
    let at = frame.len() - payload.len();
    frame.splice(..at, header);
    let mut peers = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = peer::connect(process.address, true)?;
        stream.write_all(&frame)?;
        stream.set_nonblocking(true)?;
        peers.push(stream);
    }
    let start = Instant::now();
    let (mut largest, mut ended) = (memory, 0);
    while start.elapsed() < options.hold {
        std::thread::sleep(Duration::from_millis(50));
        largest = largest.max(process.resident()?);
        let before = peers.len();
        peers.retain_mut(answer_pings);
        ended += before - peers.len();
    }
    let held = process.resident()?.saturating_sub(memory);
    Line {
        name: "15 held: unfinished compressed frames",
        bytes: CONNECTIONS * frame.len(),
        messages: CONNECTIONS,
        cpu: process.cpu_time()? - cpu,
        memory: (largest - memory) / CONNECTIONS as u64,
        waits: neighbour.end()?,
        note: format!(
            "memory for each of {CONNECTIONS}; after {:.0} s {} kB are held, {ended} connections were ended",
            options.hold.as_secs_f64(),
            held / 1000
        ),
    }
    .print();
    Ok(())
}

/// Whether the connection still lives.
fn answer_pings(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 4096];
    match stream.read(&mut buffer) {
        Ok(0) => false,
        Ok(count) => {
            let mut bytes = &buffer[..count];
            while let Some((first, start, end)) = frames::parse(bytes) {
                let Some(payload) = bytes.get(start..end) else { break };
                if first == 0x88 {
                    return false;
                }
                if first == 0x89 && stream.write_all(&frames::client(0x8a, payload)).is_err() {
                    return false;
                }
                bytes = &bytes[end..];
            }
            true
        }
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}
