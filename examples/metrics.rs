//! A server that can be watched: metrics for Prometheus, a health check, and its connections, beside
//! the WebSockets. `cargo run --example metrics -- 127.0.0.1:9001`, then `curl` its `/metrics`,
//! `/ready` and `/connections`. In production, do not show the last one to everybody.

use std::error::Error;

use metrics_exporter_prometheus::PrometheusBuilder;
use tautline::http::StatusCode;
use tautline::{Registry, Server, text_response};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".to_owned());
    // Before the server, which looks for it.
    let prometheus = PrometheusBuilder::new().install_recorder()?;
    let registry = Registry::new();
    let server = Server::bind(address).await?.registry(registry.clone()).metrics();
    println!("listening on ws://{}", server.local_addr()?);
    let handle = server.handle();
    let stop = handle.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.shutdown();
        }
    });
    let pages = move |request: tautline::http::Request<()>, _| {
        let page = match request.uri().path() {
            "/metrics" => text_response(StatusCode::OK, prometheus.render()),
            "/connections" => text_response(StatusCode::OK, registry.to_string()),
            "/ready" if handle.is_ready() => text_response(StatusCode::OK, "ready\n"),
            "/ready" => text_response(StatusCode::SERVICE_UNAVAILABLE, "leaving\n"),
            _ => text_response(StatusCode::NOT_FOUND, "nothing here\n"),
        };
        async move { page }
    };
    let serving = server.fallback(pages).serve(|mut ws| async move {
        while let Some(message) = ws.next().await {
            ws.feed(message?).await?;
        }
        Ok(())
    });
    Ok(serving.await?)
}
