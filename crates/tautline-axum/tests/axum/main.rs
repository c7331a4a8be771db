//! End-to-end tests of tautline-axum: `axum::serve` on real sockets, over HTTP/1.1 and HTTP/2.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

/// Clients by hand.
#[path = "../../../tautline-http/tests/http/support/peer.rs"]
#[allow(dead_code, reason = "shared with the tests of tautline-http")]
mod peer;

mod ends;
mod extract;
mod reject;

use std::net::SocketAddr;

use axum::Router;
use tautline::{BoxError, WebSocket};
use tokio::net::TcpListener;

/// Serves an application.
async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await });
    address
}

/// Sends every message back.
async fn echo(mut ws: WebSocket) -> Result<(), BoxError> {
    while let Some(message) = ws.next().await {
        ws.feed(message?).await?;
    }
    Ok(())
}
