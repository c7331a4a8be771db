//! Tautline where somebody else serves HTTP/1.1: `hyper` is tautline-http under hyper's own server,
//! `axum` is tautline-axum under `axum::serve`. The loop and the configuration are those of the bare
//! server.

use std::convert::Infallible;

use axum::Router;
use axum::response::Response;
use axum::routing::any;
use axum::serve::ListenerExt;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kit::{Failure, Handler, Outcome, Task, Transport};
use tautline::{Acceptor, Connections, WebSocket};
use tautline_axum::WebSocketUpgrade;
use tautline_http::http;

/// All that a connection shares with the others.
#[derive(Clone, Default)]
struct Hyper {
    acceptor: Acceptor,
    connections: Connections,
}

impl Hyper {
    fn answer(&self, request: &mut http::Request<Incoming>) -> http::Response<Full<Bytes>> {
        match tautline_http::upgrade(&self.acceptor, request) {
            Ok((response, upgrading)) => {
                self.connections.spawn(async { upgrading.await.ok() }, feed);
                response.map(|()| Full::default())
            }
            Err(refused) => refused.to_response().map(Full::new),
        }
    }
}

impl Handler for Hyper {
    async fn handle<S: Transport>(self, stream: S) -> Outcome {
        let service = service_fn(move |mut request| {
            let response = self.answer(&mut request);
            async { Ok::<_, Infallible>(response) }
        });
        let server = http1::Builder::new();
        Ok(server.serve_connection(TokioIo::new(stream), service).with_upgrades().await?)
    }
}

async fn axum() -> Outcome {
    let listener = kit::listen()?;
    kit::announce(listener.local_addr()?);
    let listener = listener.tap_io(|stream| {
        // It fails on a connection that has failed already.
        let _ = stream.set_nodelay(true);
    });
    let connections = Connections::new();
    let open = async move |ws: WebSocketUpgrade| -> Response {
        ws.connections(connections.clone()).on_upgrade(feed)
    };
    Ok(axum::serve(listener, Router::new().route("/", any(open))).await?)
}

async fn feed(mut ws: WebSocket) -> Result<(), Failure> {
    while let Some(message) = ws.next().await {
        ws.feed(message?).await?;
    }
    Ok(())
}

fn main() {
    kit::run(|options| async move {
        match (options.task, options.api.as_str(), &options.tls) {
            (Task::Echo, "hyper", _) => kit::serve(&options, Hyper::default()).await,
            (Task::Echo, "axum", None) => axum().await,
            _ => Err(Failure::from("not here")),
        }
    });
}
