//! The echo server that the suites of other implementations and browsers talk to: `cargo run --example echo_peer -- [--listen ADDR] [--cert FILE --key FILE] [--deflate]`
//!
//! With a certificate it serves `wss`; with `--deflate` it compresses for clients that offer it. Any page may connect,
//! because an echo reveals nothing.

#[path = "../../examples/support/mod.rs"]
mod support;

use support::{arguments, flag, stopped};
use tautline::{Compression, OriginPolicy, Server, ServerTls};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [listen, cert, key] = arguments(["--listen", "--cert", "--key"])?;
    let listen = listen.unwrap_or_else(|| "127.0.0.1:9001".into());
    let mut server = Server::bind(listen).await?.origins(OriginPolicy::Any).shutdown_on(stopped());
    let mut scheme = "ws";
    if flag("--deflate") {
        server = server.compression(Compression::new());
    }
    if let (Some(cert), Some(key)) = (cert, key) {
        server = server.tls(ServerTls::from_pem_files(cert, key)?);
        scheme = "wss";
    }
    println!("listening on {scheme}://{}", server.local_addr()?);
    server
        .serve(|mut ws| async move {
            while let Some(message) = ws.next().await {
                ws.feed(message?).await?;
            }
            Ok(())
        })
        .await?;
    Ok(())
}
