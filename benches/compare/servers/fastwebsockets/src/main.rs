//! fastwebsockets on a bare stream: faster than behind hyper's upgrade, which boxes the stream, and
//! which is `hyper`. `http2` is on what hyper's upgrade gives over HTTP/2, of which it knows nothing.
//! The loop is that of its `echo_server` example; it has no way to batch writes.

use std::convert::Infallible;
use std::net::SocketAddr;

use fastwebsockets::handshake;
use fastwebsockets::upgrade::{self, UpgradeFut};
use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload, Role, WebSocket, WebSocketError};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kit::tokio_rustls::TlsConnector;
use kit::{Bytes, Failure, Handler, Hub, Outcome, Task, Transport};

#[derive(Clone)]
struct Echo;

impl Handler for Echo {
    async fn handle<S: Transport>(self, mut stream: S) -> Outcome {
        Box::pin(kit::answer_upgrade(&mut stream)).await?;
        echo(FragmentCollector::new(WebSocket::after_handshake(stream, Role::Server))).await
    }
}

/// Under hyper's server, as in its `echo_server` example.
#[derive(Clone)]
struct Hyper;

impl Handler for Hyper {
    async fn handle<S: Transport>(self, stream: S) -> Outcome {
        let service = service_fn(async |request| Ok::<_, Infallible>(answer(request)));
        let server = http1::Builder::new();
        Ok(server.serve_connection(TokioIo::new(stream), service).with_upgrades().await?)
    }
}

fn answer(mut request: Request<Incoming>) -> Response<Empty<Bytes>> {
    match upgrade::upgrade(&mut request) {
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
    echo(FragmentCollector::new(upgrading.await?)).await
}

/// Over HTTP/2, under hyper's server.
#[derive(Clone)]
struct Http2;

impl Handler for Http2 {
    async fn handle<S: Transport>(self, stream: S) -> Outcome {
        let service = service_fn(async |mut request| {
            let upgrading = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let stream = TokioIo::new(upgrading.await?);
                let ws = WebSocket::after_handshake(stream, Role::Server);
                echo(FragmentCollector::new(ws)).await
            });
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        });
        let server = http2::Builder::new(TokioExecutor::new())
            .enable_connect_protocol()
            .max_concurrent_streams(256)
            .initial_connection_window_size(1 << 30)
            .serve_connection(TokioIo::new(stream), service);
        Ok(server.await?)
    }
}

/// Its own `split`, as in its `echo_server_split` example: a task that reads and one that writes.
#[derive(Clone, Default)]
struct Broadcast(Hub<Bytes>);

impl Handler for Broadcast {
    async fn handle<S: Transport>(self, mut stream: S) -> Outcome {
        let mut queue = self.0.subscribe();
        Box::pin(kit::answer_upgrade(&mut stream)).await?;
        let ws = WebSocket::after_handshake(stream, Role::Server);
        let (mut reader, mut writer) = ws.split(tokio::io::split);
        tokio::spawn(async move {
            while let Some(payload) = queue.recv().await {
                let frame = Frame::binary(Payload::Borrowed(&payload));
                if writer.write_frame(frame).await.is_err() {
                    break;
                }
            }
        });
        loop {
            let mut ignore = |_| async { Ok::<_, WebSocketError>(()) };
            let frame = reader.read_frame(&mut ignore).await?;
            match frame.opcode {
                OpCode::Close => return Ok(()),
                OpCode::Text | OpCode::Binary => {
                    self.0.publish(Bytes::copy_from_slice(&frame.payload));
                }
                _ => {}
            }
        }
    }
}

async fn echo<S: Transport>(mut ws: FragmentCollector<S>) -> Outcome {
    loop {
        let frame = ws.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => ws.write_frame(frame).await?,
            _ => {}
        }
    }
}

/// Opens and closes connections with one connector. TCP and TLS are the user's, as in its
/// `tls_client` example.
async fn connect(address: SocketAddr, server: kit::Server) -> Outcome {
    let connector = server.tls.map(TlsConnector::from);
    loop {
        let stream = kit::dial(address).await?;
        match &connector {
            Some(tls) => {
                visit(&server.uri, tls.connect(address.ip().into(), stream).await?).await?;
            }
            None => visit(&server.uri, stream).await?,
        }
    }
}

async fn visit<S: Transport>(uri: &str, stream: S) -> Outcome {
    let authority = uri.split('/').nth(2).ok_or("no authority")?;
    let request = Request::get(uri)
        .header(HOST, authority)
        .header(UPGRADE, "websocket")
        .header(CONNECTION, "upgrade")
        .header(SEC_WEBSOCKET_KEY, handshake::generate_key())
        .header(SEC_WEBSOCKET_VERSION, "13")
        .body(Empty::<Bytes>::new())?;
    let (mut ws, _) = handshake::client(&TokioExecutor::new(), request, stream).await?;
    ws.write_frame(Frame::close(1000, b"")).await?;
    // The answer; it leaves ending TCP to its user.
    while ws.read_frame().await?.opcode != OpCode::Close {}
    Ok(())
}

fn main() {
    kit::run(|options| async move {
        match options.task {
            Task::Echo => match options.api.as_str() {
                "" => kit::serve(&options, Echo).await,
                "hyper" => kit::serve(&options, Hyper).await,
                "http2" => kit::serve(&options, Http2).await,
                _ => Err(Failure::from("no such interface")),
            },
            Task::Broadcast => kit::serve(&options, Broadcast::default()).await,
            Task::Mask => {
                kit::mask(|key, data| fastwebsockets::unmask(data, key));
                Ok(())
            }
            Task::Client { address, in_flight, payload } => {
                let mut stream = kit::dial(address).await?;
                kit::ask_upgrade(&mut stream).await?;
                let mut ws = WebSocket::after_handshake(stream, Role::Client);
                for _ in 0..in_flight {
                    ws.write_frame(Frame::binary(Payload::Owned(vec![0; payload]))).await?;
                }
                echo(FragmentCollector::new(ws)).await
            }
            Task::Connect { address } => {
                connect(address, kit::Server::at(address, &options)?).await
            }
            _ => Err("not here".into()),
        }
    });
}
