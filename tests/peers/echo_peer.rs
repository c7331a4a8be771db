//! The echo server that the Autobahn TestSuite, other implementations and browsers talk to: `cargo
//! run --example echo_peer -- [--listen ADDR] [--cert FILE --key FILE] [--deflate | --takeover]
//! [--send]`
//!
//! With a certificate it serves `wss`. With `--deflate` it compresses for clients that offer it,
//! without keeping context; with `--takeover` it accepts every offer, contexts included. With
//! `--send` each reply is written before the next message is read. Any page may connect, because an
//! echo reveals nothing.

#[path = "../../examples/support/mod.rs"]
mod support;

use support::{arguments, flag, stopped};
use tautline::{Compression, OriginPolicy, Server, ServerTls};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let flags = ["--deflate", "--takeover", "--send"];
    let [listen, cert, key] = arguments(["--listen", "--cert", "--key"], &flags)?;
    let listen = listen.unwrap_or_else(|| "127.0.0.1:9001".into());
    let mut server =
        Server::bind(listen).await?.origins(OriginPolicy::Any).with_graceful_shutdown(stopped());
    let mut scheme = "ws";
    if flag("--deflate") {
        server = server.compression(Compression::new());
    }
    if flag("--takeover") {
        server = server.compression(Compression::best_ratio().own_window_bits(15));
    }
    let send = flag("--send");
    if let (Some(cert), Some(key)) = (cert, key) {
        server = server.tls(ServerTls::from_pem_files(cert, key)?);
        scheme = "wss";
    }
    println!("listening on {scheme}://{}", server.local_addr()?);
    server
        .serve(move |mut ws| async move {
            while let Some(message) = ws.next().await {
                if send {
                    ws.send(message?).await?;
                } else {
                    ws.feed(message?).await?;
                }
            }
            Ok(())
        })
        .await?;
    Ok(())
}
