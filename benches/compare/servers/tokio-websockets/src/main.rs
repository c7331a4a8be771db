//! tokio-websockets, with the loop of its `echo_server` example. Batching with `feed` gains
//! nothing: it flushes before it parses what it has.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use kit::tokio_rustls::TlsConnector;
use kit::{Handler, Hub, Outcome, Task, Transport};
use tokio_websockets::{
    ClientBuilder, Config, Connector, Limits, Message, ServerBuilder, WebSocketStream,
};

#[derive(Clone)]
struct Echo;

fn config() -> Config {
    Config::default().frame_size(usize::MAX)
}

impl Handler for Echo {
    async fn handle<S: Transport>(self, stream: S) -> Outcome {
        let builder = ServerBuilder::new().config(config()).limits(Limits::unlimited());
        let (_request, ws) = Box::pin(builder.accept(stream)).await?;
        echo(ws).await
    }
}

#[derive(Clone, Default)]
struct Broadcast(Hub<Message>);

impl Handler for Broadcast {
    async fn handle<S: Transport>(self, stream: S) -> Outcome {
        let queue = self.0.subscribe();
        let builder = ServerBuilder::new().config(config()).limits(Limits::unlimited());
        let (_request, ws) = Box::pin(builder.accept(stream)).await?;
        kit::broadcast(ws, self.0, queue, |item| {
            let message = item?;
            Ok((message.is_text() || message.is_binary()).then_some(message))
        })
        .await
    }
}

async fn echo<S: Transport>(mut ws: WebSocketStream<S>) -> Outcome {
    while let Some(message) = ws.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            ws.send(message).await?;
        }
    }
    Ok(())
}

/// Opens and closes connections with one connector, on sockets without Nagle's algorithm, which it does
/// not turn off itself.
async fn connect(address: SocketAddr, server: kit::Server) -> Outcome {
    let host = address.ip().to_string();
    let connector =
        server.tls.map_or(Connector::Plain, |tls| Connector::Rustls(TlsConnector::from(tls)));
    loop {
        let stream = connector.wrap(&host, kit::dial(address).await?).await?;
        let builder = ClientBuilder::new().uri(&server.uri)?;
        let builder = builder.config(config()).limits(Limits::unlimited());
        let (mut ws, _) = builder.connect_on(stream).await?;
        ws.close().await?;
    }
}

fn main() {
    kit::run(|options| async move {
        match options.task {
            Task::Echo => kit::serve(&options, Echo).await,
            Task::Broadcast => kit::serve(&options, Broadcast::default()).await,
            Task::Mask => Err("its masking is private".into()),
            Task::Client { address, in_flight, payload } => {
                let stream = kit::dial(address).await?;
                let uri = format!("ws://{address}/");
                let builder = ClientBuilder::new().uri(&uri)?;
                let builder = builder.config(config()).limits(Limits::unlimited());
                let (mut ws, _) = builder.connect_on(stream).await?;
                for _ in 0..in_flight {
                    ws.feed(Message::binary(vec![0; payload])).await?;
                }
                ws.flush().await?;
                echo(ws).await
            }
            Task::Connect { address } => {
                connect(address, kit::Server::at(address, &options)?).await
            }
            _ => Err("not here".into()),
        }
    });
}
