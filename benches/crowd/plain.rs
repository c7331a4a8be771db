//! The client over TCP: connections each of which notes when messages arrive.

use std::time::Instant;

use tautline::{Client, Config, WebSocket};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::client::{Seen, note, report};
use crate::support::Result;

/// Opens all, says when they are there, and then [reports](report).
pub(crate) async fn listen(address: &str, connections: u64) -> Result {
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let client = Client::new().config(Config::new().ping_interval(None)); // the server's are enough
    let uri = format!("ws://{address}");
    LocalSet::new()
        .run_until(async {
            let (seen, begin) = (Seen::default(), Instant::now());
            for _ in 0..connections {
                let stream = TcpStream::connect(address).await?;
                let ws = client.handshake_over(&*uri, stream).await?;
                tokio::task::spawn_local(receive(ws, seen.clone()));
            }
            println!("{:.1}", begin.elapsed().as_secs_f64());
            report(&seen).await
        })
        .await
}

async fn receive(mut ws: WebSocket<TcpStream>, seen: Seen) -> Result {
    while let Some(message) = ws.next().await {
        note(&seen, message?.as_bytes());
    }
    Ok(())
}
