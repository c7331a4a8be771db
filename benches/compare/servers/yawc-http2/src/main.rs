//! yawc's `upgrade` over HTTP/2, under hyper's server. Messages are fed, and flushed when no input
//! is left.

use std::convert::Infallible;

use futures_util::SinkExt;
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kit::{Failure, Handler, Outcome, Task, Transport};
use yawc::{HttpWebSocket, OpCode, Options, UpgradeFut, WebSocket};

#[derive(Clone)]
struct Echo;

impl Handler for Echo {
    async fn handle<S: Transport>(self, stream: S) -> Outcome {
        let service = service_fn(async |request| Ok::<_, Infallible>(answer(request)));
        let server = http2::Builder::new(TokioExecutor::new())
            .enable_connect_protocol()
            .max_concurrent_streams(256)
            .initial_connection_window_size(1 << 30)
            .serve_connection(TokioIo::new(stream), service);
        Ok(server.await?)
    }
}

fn answer(mut request: Request<Incoming>) -> Response<Empty<Bytes>> {
    let options = Options::default().with_limits(64 << 20, 128 << 20);
    match WebSocket::upgrade_with_options(&mut request, options) {
        Ok((response, upgrading)) => {
            tokio::spawn(open(upgrading));
            response
        }
        Err(_) => {
            let mut refusal = Response::new(Empty::new());
            *refusal.status_mut() = StatusCode::BAD_REQUEST;
            refusal
        }
    }
}

async fn open(upgrading: UpgradeFut) -> Outcome {
    let mut ws: HttpWebSocket = upgrading.await?;
    while let Some(frame) = kit::next_or_flush(&mut ws).await? {
        if matches!(frame.opcode(), OpCode::Text | OpCode::Binary) {
            ws.feed(frame).await?;
        }
    }
    Ok(())
}

fn main() {
    kit::run(|options| async move {
        match options.task {
            Task::Echo => kit::serve(&options, Echo).await,
            _ => Err(Failure::from("not here")),
        }
    });
}
