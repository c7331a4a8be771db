//! The server that the Autobahn TestSuite tests: `cargo run --release --example autobahn_server -- [--listen ADDR]`
//!
//! An echo without `feed`, so that each reply is sent before the next message is read. `--cert FILE --key FILE`
//! make it `wss`; `--deflate` makes it accept every offer of compression, contexts and all.

#[path = "../../examples/support/mod.rs"]
mod support;

use support::{arguments, flag, stopped};
use tautline::{Compression, OriginPolicy, Server, ServerTls};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [listen, cert, key] = arguments(["--listen", "--cert", "--key"])?;
    let listen = listen.unwrap_or_else(|| "127.0.0.1:9002".into());
    let mut server = Server::bind(listen).await?.origins(OriginPolicy::Any).shutdown_on(stopped());
    let mut scheme = "ws";
    if flag("--deflate") {
        server = server.compression(Compression::best_ratio().own_window_bits(15));
    }
    if let (Some(cert), Some(key)) = (cert, key) {
        server = server.tls(ServerTls::from_pem_files(cert, key)?);
        scheme = "wss";
    }
    println!("listening on {scheme}://{}", server.local_addr()?);
    server
        .serve(|mut ws| async move {
            while let Some(message) = ws.next().await {
                ws.send(message?).await?;
            }
            Ok(())
        })
        .await?;
    Ok(())
}
