//! Sends every message back: `cargo run --example echo_server`

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = tautline::Server::bind("127.0.0.1:9001").await?;
    println!("listening on ws://{}", server.local_addr()?);
    server
        .serve(|mut ws| async move {
            while let Some(message) = ws.next().await {
                ws.feed(message?).await?; // flushed once there is nothing left to read
            }
            Ok(())
        })
        .await?;
    Ok(())
}
