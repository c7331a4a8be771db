//! A quiet connection: it sends a message now and then, and waits for its echo.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::Result;
use crate::{frames, peer};

const PAUSE: Duration = Duration::from_millis(2);

#[derive(Debug)]
pub(crate) struct Neighbour {
    stop: Arc<AtomicBool>,
    waits: JoinHandle<std::io::Result<Vec<Duration>>>,
}

impl Neighbour {
    pub(crate) fn start(address: SocketAddr) -> Result<Self> {
        let stream = peer::connect(address, false)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let waits = std::thread::spawn(move || echo(stream, &stopped));
        Ok(Self { stop, waits })
    }

    /// Waits in microseconds: p50, p99, longest.
    pub(crate) fn end(self) -> Result<[f64; 3]> {
        self.stop.store(true, Ordering::Relaxed);
        let waits = self.waits.join().map_err(|_| "the neighbour panicked")??;
        Ok(quantiles(waits))
    }
}

fn echo(mut stream: TcpStream, stop: &AtomicBool) -> std::io::Result<Vec<Duration>> {
    let (message, mut reply) = (frames::client(0x82, &[7; 16]), [0; 18]);
    let mut waits = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        stream.write_all(&message)?;
        stream.read_exact(&mut reply)?;
        // Who sends by the clock would have sent all along, and each of those messages would have
        // waited too.
        let mut wait = start.elapsed();
        while wait > PAUSE {
            waits.push(wait);
            wait -= PAUSE;
        }
        waits.push(wait);
        std::thread::sleep(PAUSE);
    }
    Ok(waits)
}

/// p50, p99 and the longest, in microseconds.
pub(crate) fn quantiles(mut waits: Vec<Duration>) -> [f64; 3] {
    waits.sort_unstable();
    [0.5, 0.99, 1.0].map(|part| {
        let rank = (part * waits.len() as f64).ceil() as usize;
        waits.get(rank.max(1) - 1).map_or(0.0, |wait| wait.as_secs_f64() * 1e6)
    })
}
