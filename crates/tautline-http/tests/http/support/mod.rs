//! Servers of hyper, and peers by hand.

pub(crate) mod peer;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tautline::{BoxError, WebSocket};
use tokio::net::{TcpListener, TcpStream};

pub(crate) type Answer = Result<Response<Full<Bytes>>, Infallible>;

/// Whose server it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum By {
    /// hyper's own, of HTTP/1.1 alone.
    Hyper,
    /// hyper-util's, of HTTP/1.1 and HTTP/2, which is that of `axum::serve`.
    Auto,
}

/// Serves every connection by this service.
pub(crate) async fn serve<S, B>(by: By, service: S) -> SocketAddr
where
    S: Service<Request<Incoming>, Response = Response<B>, Future: Send> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve_one(by, TokioIo::new(stream), service.clone()));
        }
    });
    address
}

/// Serves one connection, with upgrades, to its end.
pub(crate) async fn serve_one<T, S, B>(by: By, stream: T, service: S)
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Future: Send> + Send + 'static,
    S::Error: Into<BoxError>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    // How it ends is seen by the client.
    match by {
        By::Hyper => {
            let connection = http1::Builder::new().serve_connection(stream, service);
            let _ = connection.with_upgrades().await;
        }
        By::Auto => {
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder.http2().enable_connect_protocol();
            let _ = builder.serve_connection_with_upgrades(stream, service).await;
        }
    }
}

/// Serves every connection by a function.
pub(crate) async fn serve_fn<F, Fut>(by: By, function: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Answer> + Send + 'static,
{
    serve(by, service_fn(function)).await
}

/// Sends every message back.
pub(crate) async fn echo(mut ws: WebSocket) -> Result<(), BoxError> {
    while let Some(message) = ws.next().await {
        ws.feed(message?).await?;
    }
    Ok(())
}

pub(crate) fn socket(ws: &WebSocket) -> Option<&TcpStream> {
    ws.get_ref().and_then(|transport| transport.tcp())
}
