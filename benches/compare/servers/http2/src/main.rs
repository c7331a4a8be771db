//! WebSockets over HTTP/2: `server` is Tautline's own server, `hyper` is tautline-http under
//! hyper's. On the bare `h2` crate, `raw` sends the DATA of a stream back as it is, and `floor`
//! turns it into the frames of a server, without limits or checks.

use std::convert::Infallible;
use std::future::poll_fn;

use h2::{RecvStream, SendStream};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kit::{Failure, Handler, Outcome, Task, Transport};
use tautline::{Acceptor, Connections, Http2Config, Server, WebSocket};
use tautline_http::http;
use wire::Turn;

const MAX_STREAMS: u32 = Http2Config::DEFAULT_MAX_STREAMS;
/// So that no stream waits for the window of all.
const CONNECTION_WINDOW: u32 = 1 << 30;

/// What comes back of the DATA of a stream.
#[derive(Clone, Copy)]
enum Bare {
    Raw,
    Floor,
}

impl Handler for Bare {
    async fn handle<S: Transport>(self, stream: S) -> Outcome {
        let mut connection = h2::server::Builder::new()
            .enable_connect_protocol()
            .max_concurrent_streams(MAX_STREAMS)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake::<_, Bytes>(stream)
            .await?;
        while let Some(request) = connection.accept().await {
            let (request, mut respond) = request?;
            let outgoing = respond.send_response(http::Response::new(()), false)?;
            tokio::spawn(self.echo(outgoing, request.into_body()));
        }
        Ok(())
    }
}

impl Bare {
    async fn echo(self, mut outgoing: SendStream<Bytes>, mut incoming: RecvStream) -> Outcome {
        let mut turn = Turn::default();
        while let Some(data) = incoming.data().await {
            let data = data?;
            incoming.flow_control().release_capacity(data.len())?;
            let reply = match self {
                Self::Raw => data,
                Self::Floor => turned(&mut turn, &data),
            };
            send(&mut outgoing, reply).await?;
        }
        Ok(outgoing.send_data(Bytes::new(), true)?)
    }
}

/// The frames of a client as those of a server. DATA is shared with that of other streams, so it is
/// copied: once.
fn turned(turn: &mut Turn, data: &[u8]) -> Bytes {
    let mut buffer = Vec::with_capacity(wire::MAX_HEADER + data.len());
    buffer.resize(wire::MAX_HEADER, 0);
    let carried = turn.resume(&mut buffer);
    buffer.truncate(carried);
    buffer.extend_from_slice(data);
    let filled = buffer.len();
    let (replies, _) = turn.turn(&mut buffer, filled);
    Bytes::from(buffer).slice(replies)
}

async fn send(outgoing: &mut SendStream<Bytes>, mut data: Bytes) -> Outcome {
    while !data.is_empty() {
        while outgoing.capacity() == 0 {
            outgoing.reserve_capacity(data.len());
            poll_fn(|cx| outgoing.poll_capacity(cx)).await.ok_or("the stream ended")??;
        }
        let room = outgoing.capacity().min(data.len());
        outgoing.send_data(data.split_to(room), false)?;
    }
    Ok(())
}

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
        let server = http2::Builder::new(TokioExecutor::new())
            .enable_connect_protocol()
            .max_concurrent_streams(MAX_STREAMS)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .serve_connection(TokioIo::new(stream), service);
        Ok(server.await?)
    }
}

async fn server() -> Outcome {
    let server = Server::bind("127.0.0.1:0").await?;
    kit::announce(server.local_addr()?);
    Ok(server.http2(Http2Config::new()).serve(feed).await?)
}

async fn feed(mut ws: WebSocket) -> Result<(), Failure> {
    while let Some(message) = ws.next().await {
        ws.feed(message?).await?;
    }
    Ok(())
}

fn main() {
    kit::run(|options| async move {
        match (options.task, options.api.as_str()) {
            (Task::Echo, "raw") => kit::serve(&options, Bare::Raw).await,
            (Task::Echo, "floor") => kit::serve(&options, Bare::Floor).await,
            (Task::Echo, "server") => server().await,
            (Task::Echo, "hyper") => kit::serve(&options, Hyper::default()).await,
            _ => Err(Failure::from("not here")),
        }
    });
}
