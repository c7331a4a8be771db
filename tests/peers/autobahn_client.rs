//! The client that the Autobahn TestSuite tests: `cargo run --release --example autobahn_client --
//! ws://127.0.0.1:9001 [--deflate] [--http2]`
//!
//! Asks the suite how many cases there are, runs each as an echo, and has the report written. The
//! agent is `tautline`. With `--deflate` it offers compression in every case, with `--http2` it uses
//! HTTP/2, with prior knowledge.

use std::error::Error;

use tautline::{Client, Compression, Http2};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let base = std::env::args().nth(1).ok_or("usage: autobahn_client URL")?;
    let base = base.trim_end_matches('/');
    let mut client = Client::new();
    if std::env::args().any(|word| word == "--deflate") {
        client = client.compression(Compression::best_ratio().own_window_bits(15));
    }
    if std::env::args().any(|word| word == "--http2") {
        client = client.http2(Http2::Prior);
    }
    let mut count = client.connect(format!("{base}/getCaseCount")).await?;
    let cases = count.next().await.ok_or("the suite closed without a number")??;
    let cases: u32 = cases.as_text().unwrap_or_default().trim().parse()?;
    while count.next().await.is_some() {}
    for case in 1..=cases {
        let mut ws = client.connect(format!("{base}/runCase?case={case}&agent=tautline")).await?;
        // The suite judges how a case ends: most cases are about errors.
        while let Some(Ok(message)) = ws.next().await {
            // If it cannot be sent, `next` reports why, after what the peer sent before.
            let _ = ws.send(message).await;
        }
    }
    let mut report = client.connect(format!("{base}/updateReports?agent=tautline")).await?;
    while report.next().await.is_some() {}
    println!("{cases} cases run");
    Ok(())
}
