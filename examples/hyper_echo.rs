//! An echo behind hyper, over HTTP/1.1 and HTTP/2: `cargo run --example hyper_echo -- [ADDRESS]`

use std::convert::Infallible;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tautline::{Acceptor, BoxError, Connections, WebSocket};
use tautline_http::http::{Request, Response};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("listening on ws://{}", listener.local_addr()?);
    let connections = Connections::new();
    loop {
        let (stream, peer) = listener.accept().await?;
        // HTTP/2 writes small pieces: the system must not hold them back.
        stream.set_nodelay(true)?;
        let connections = connections.clone();
        tokio::spawn(async move {
            let mut server = auto::Builder::new(TokioExecutor::new());
            server.http2().enable_connect_protocol(); // RFC 8441
            let service = service_fn(|request| serve(request, connections.clone()));
            let served = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
            if let Err(error) = served.await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

/// Answers a request. One that asks for no WebSocket is refused too, with 426.
async fn serve(
    mut request: Request<Incoming>,
    connections: Connections,
) -> Result<Response<Full<Bytes>>, Infallible> {
    match tautline_http::upgrade(&Acceptor::new(), &mut request) {
        Ok((response, upgrading)) => {
            connections.spawn(async { upgrading.await.ok() }, echo);
            Ok(response.map(|()| Full::default()))
        }
        Err(refused) => Ok(refused.to_response().map(Full::new)),
    }
}

async fn echo(mut ws: WebSocket) -> Result<(), BoxError> {
    while let Some(message) = ws.next().await {
        ws.feed(message?).await?;
    }
    Ok(())
}
