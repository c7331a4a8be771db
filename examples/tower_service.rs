//! WebSockets as middleware around a service of tower, which answers everything else: `cargo run
//! --example tower_service -- [ADDRESS]`

#[path = "support/mod.rs"]
mod support;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tautline::{Acceptor, BoxError, Connections, WebSocket};
use tautline_http::UpgradeLayer;
use tautline_http::http::request::Parts;
use tautline_http::http::{Request, Response};
use tokio::net::TcpListener;
use tower_layer::Layer;
use tower_service::Service;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let listener = TcpListener::bind(address).await?;
    let mut stopped = std::pin::pin!(support::stopped());
    println!("listening on ws://{}", listener.local_addr()?);

    let connections = Connections::new();
    let layer = UpgradeLayer::new(echo)
        .acceptor(Acceptor::new().subprotocols(["echo"]))
        .connections(connections.clone());
    let service = TowerToHyperService::new(layer.layer(Pages));
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => accepted?,
            () = &mut stopped => break,
        };
        let service = service.clone();
        tokio::spawn(async move {
            let mut server = auto::Builder::new(TokioExecutor::new());
            server.http2().enable_connect_protocol(); // RFC 8441
            let served = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
            if let Err(error) = served.await {
                eprintln!("{peer}: {error}");
            }
        });
    }
    connections.close(); // with 1001
    connections.drain(Duration::from_secs(10)).await;
    Ok(())
}

/// Says where the client has connected to, then sends every message back.
async fn echo(mut ws: WebSocket, request: Parts) -> Result<(), BoxError> {
    ws.send(format!("welcome to {}", request.uri.path())).await?;
    while let Some(message) = ws.next().await {
        ws.feed(message?).await?;
    }
    Ok(())
}

/// What answers requests that ask for no WebSocket.
#[derive(Clone)]
struct Pages;

impl Service<Request<Incoming>> for Pages {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        ready(Ok(Response::new(Full::from(format!("the page {}\n", request.uri().path())))))
    }
}
