//! tokio-tungstenite. `send` is the loop of its examples with the defaults; `tuned` feeds, flushes
//! when no input is left, and has buffers of the size that its documentation suggests for
//! throughput.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use kit::{Handler, Hub, Outcome, Task, Transport};
use tokio_tungstenite::tungstenite::{Message, protocol::WebSocketConfig};
use tokio_tungstenite::{
    Connector, WebSocketStream, accept_async_with_config, client_async_with_config,
    connect_async_tls_with_config,
};

#[derive(Clone)]
struct Echo {
    tuned: bool,
    busy: Option<Duration>,
}

fn config(tuned: bool) -> WebSocketConfig {
    let config = WebSocketConfig::default();
    if tuned { config.read_buffer_size(16 << 10).write_buffer_size(64 << 10) } else { config }
}

impl Handler for Echo {
    async fn handle<S: Transport>(self, stream: S) -> Outcome {
        let accepting = accept_async_with_config(stream, Some(config(self.tuned)));
        let ws = Box::pin(accepting).await?;
        match self.busy {
            Some(busy) => work(ws, busy).await,
            None if self.tuned => feed(ws).await,
            None => send(ws).await,
        }
    }
}

#[derive(Clone)]
struct Broadcast {
    tuned: bool,
    hub: Hub<Message>,
}

impl Handler for Broadcast {
    async fn handle<S: Transport>(self, stream: S) -> Outcome {
        let queue = self.hub.subscribe();
        let accepting = accept_async_with_config(stream, Some(config(self.tuned)));
        let ws = Box::pin(accepting).await?;
        kit::broadcast(ws, self.hub, queue, |item| {
            let message = item?;
            Ok(is_data(&message).then_some(message))
        })
        .await
    }
}

fn is_data(message: &Message) -> bool {
    message.is_text() || message.is_binary()
}

async fn send<S: Transport>(mut ws: WebSocketStream<S>) -> Outcome {
    while let Some(message) = ws.next().await {
        let message = message?;
        if is_data(&message) {
            ws.send(message).await?;
        }
    }
    Ok(())
}

/// As [`send`], by a handler that has something to do.
async fn work<S: Transport>(mut ws: WebSocketStream<S>, busy: Duration) -> Outcome {
    while let Some(message) = ws.next().await {
        let message = message?;
        if let Message::Binary(payload) = &message {
            kit::work(busy, payload);
        }
        if is_data(&message) {
            ws.send(message).await?;
        }
    }
    Ok(())
}

async fn feed<S: Transport>(mut ws: WebSocketStream<S>) -> Outcome {
    while let Some(message) = kit::next_or_flush(&mut ws).await? {
        let message = message?;
        if is_data(&message) {
            ws.feed(message).await?;
        }
    }
    Ok(())
}

/// Opens and closes connections with one connector, without Nagle's algorithm: the request would wait
/// for the system's delayed acknowledgment of the end of the TLS handshake.
async fn connect(server: kit::Server, tuned: bool) -> Outcome {
    let connector = server.tls.map_or(Connector::Plain, Connector::Rustls);
    loop {
        let (uri, connector) = (&server.uri, Some(connector.clone()));
        let opening = connect_async_tls_with_config(uri, Some(config(tuned)), true, connector);
        let (mut ws, _) = opening.await?;
        ws.close(None).await?;
        // The closing handshake is over when there is nothing more to read.
        while let Some(message) = ws.next().await {
            message?;
        }
    }
}

fn main() {
    kit::run(|options| async move {
        let tuned = options.api == "tuned";
        match options.task {
            Task::Echo => kit::serve(&options, Echo { tuned, busy: options.busy }).await,
            Task::Broadcast => kit::serve(&options, Broadcast { tuned, hub: Hub::default() }).await,
            Task::Mask => Err("its masking is private".into()),
            Task::Client { address, in_flight, payload } => {
                let stream = kit::dial(address).await?;
                let uri = format!("ws://{address}/");
                let (mut ws, _) =
                    client_async_with_config(uri, stream, Some(config(tuned))).await?;
                for _ in 0..in_flight {
                    ws.feed(Message::Binary(vec![0; payload].into())).await?;
                }
                ws.flush().await?;
                if tuned { feed(ws).await } else { send(ws).await }
            }
            Task::Connect { address } => connect(kit::Server::at(address, &options)?, tuned).await,
            _ => Err("not here".into()),
        }
    });
}
