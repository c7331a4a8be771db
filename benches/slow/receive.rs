//! The client: connections that read, and some that do not.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tautline::{Client, WebSocket};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::Result;
use crate::{PARTS, now};

/// If none comes in this time, no more will.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at how many have come.
const LOOK: Duration = Duration::from_millis(20);

type Latencies = Arc<Mutex<Vec<u64>>>;

/// Opens all, and says so; reads how many should come, and says how long they took, and how many came.
pub(crate) async fn receive(address: &str, healthy: usize, slow: usize) -> Result {
    let latencies = Latencies::default();
    let mut held = Vec::new();
    for number in 0..healthy + slow {
        let ws = open(address, number < slow).await?;
        if number < slow {
            held.push(ws);
            continue;
        }
        tokio::spawn(reading(ws, latencies.clone()));
    }
    println!("open");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let wanted: usize = lines.next_line().await?.ok_or("no number")?.parse()?;
    let (mut before, mut since) = (0, Instant::now());
    while before < wanted && since.elapsed() < PATIENCE {
        tokio::time::sleep(LOOK).await;
        let count = latencies.lock().unwrap_or_else(PoisonError::into_inner).len();
        if count > before {
            (before, since) = (count, Instant::now());
        }
    }
    let mut all = std::mem::take(&mut *latencies.lock().unwrap_or_else(PoisonError::into_inner));
    all.sort_unstable();
    let at =
        |part: f64| all.get((all.len() as f64 * part) as usize).map_or(0, |nanos| nanos / 1000);
    let [p50, p99, p999] = PARTS.map(at);
    println!("{p50} {p99} {p999} {}", all.len());
    drop(held);
    Ok(())
}

async fn reading(mut ws: WebSocket<TcpStream>, latencies: Latencies) -> Result {
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
