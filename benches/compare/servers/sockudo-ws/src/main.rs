//! sockudo-ws. `send` is the loop of its `simple_echo` example; `feed` flushes when no input is left; `raw` is its frame
//! processor without messages, as in its `wtx_bench_echo` example, with all replies to one read in one write.

mod raw;

use futures_util::{SinkExt, StreamExt};
use kit::{Handler, Outcome, Task, Transport};
use sockudo_ws::client::WebSocketClient;
use sockudo_ws::server::WebSocketServer;
use sockudo_ws::{Config, Http1, Message, WebSocketStream};

#[derive(Clone)]
struct Echo {
    api: String,
}

impl Handler for Echo {
    async fn handle<S: Transport>(self, stream: S) -> Outcome {
        if self.api == "raw" {
            return raw::echo(stream).await;
        }
        let server = WebSocketServer::<Http1>::new(Config::default());
        let (ws, _) = Box::pin(server.accept_raw(stream)).await?;
        if self.api == "send" { send(ws).await } else { feed(ws).await }
    }
}

fn is_data(message: &Message) -> bool {
    matches!(message, Message::Text(_) | Message::Binary(_))
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

async fn feed<S: Transport>(mut ws: WebSocketStream<S>) -> Outcome {
    while let Some(message) = kit::next_or_flush(&mut ws).await? {
        let message = message?;
        if is_data(&message) {
            ws.feed(message).await?;
        }
    }
    Ok(())
}

fn main() {
    kit::run(|options| async move {
        match options.task {
            Task::Echo => kit::serve(&options, Echo { api: options.api.clone() }).await,
            Task::Broadcast => Err("not yet".into()),
            Task::Client { address, in_flight, payload } => {
                let stream = kit::dial(address).await?;
                let client = WebSocketClient::<Http1>::new(Config::default());
                let (mut ws, _) = client.connect_raw(stream, "localhost", "/", None).await?;
                for _ in 0..in_flight {
                    ws.feed(Message::Binary(vec![0; payload].into())).await?;
                }
                ws.flush().await?;
                feed(ws).await
            }
        }
    });
}
