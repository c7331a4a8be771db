//! sockudo-ws. `send` is the loop of its `simple_echo` example; `feed` flushes when no input is
//! left; `raw` is its frame processor without messages, as in its `wtx_bench_echo` example, with
//! all replies to one read in one write.

mod raw;

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use kit::{Handler, Hub, Outcome, Task, Transport};
use sockudo_ws::client::WebSocketClient;
use sockudo_ws::deflate::negotiate_server_deflate;
use sockudo_ws::server::WebSocketServer;
use sockudo_ws::stream::CompressedWebSocketStream;
use sockudo_ws::{Compression, Config, DeflateConfig, Error, Http1, Message, WebSocketStream};

#[derive(Clone)]
struct Echo {
    api: String,
    deflate: Option<DeflateConfig>,
}

/// The settings of this name.
fn deflate(name: &str) -> Option<DeflateConfig> {
    match name {
        "takeover" => Compression::Dedicated.to_deflate_config(),
        "no-takeover" => Compression::Shared.to_deflate_config(),
        "window8k" => Compression::Window8KB.to_deflate_config(),
        "fast" => Some(DeflateConfig { compression_level: 1, ..DeflateConfig::default() }),
        _ => None,
    }
}

impl Handler for Echo {
    async fn handle<S: Transport>(self, stream: S) -> Outcome {
        if let Some(policy) = self.deflate {
            return feed(accept_compressed(stream, policy).await?).await;
        }
        if self.api == "raw" {
            return raw::echo(stream).await;
        }
        let server = WebSocketServer::<Http1>::new(Config::default());
        let (ws, _) = Box::pin(server.accept_raw(stream)).await?;
        if self.api == "send" { send(ws).await } else { feed(ws).await }
    }
}

#[derive(Clone)]
struct Broadcast {
    deflate: Option<DeflateConfig>,
    hub: Hub<Message>,
}

impl Handler for Broadcast {
    async fn handle<S: Transport>(self, stream: S) -> Outcome {
        let queue = self.hub.subscribe();
        let message = |item: Result<Message, Error>| {
            let message = item?;
            Ok(is_data(&message).then_some(message))
        };
        if let Some(policy) = self.deflate {
            let ws = accept_compressed(stream, policy).await?;
            return kit::broadcast(ws, self.hub, queue, message).await;
        }
        let server = WebSocketServer::<Http1>::new(Config::default());
        let (ws, _) = Box::pin(server.accept_raw(stream)).await?;
        kit::broadcast(ws, self.hub, queue, message).await
    }
}

async fn accept_compressed<S: Transport>(
    mut stream: S,
    policy: DeflateConfig,
) -> Outcome<CompressedWebSocketStream<S>> {
    let mut chosen = None;
    let negotiate = |offer: &str| {
        let negotiated = negotiate_server_deflate(offer, &policy)?;
        let answer = negotiated.to_response_header();
        chosen = Some(negotiated.config);
        Some(answer)
    };
    Box::pin(kit::answer_upgrade_with(&mut stream, negotiate)).await?;
    let config = Config::builder().deflate_config(policy).build();
    let chosen = chosen.ok_or("nothing was agreed on")?;
    Ok(CompressedWebSocketStream::server(stream, config, chosen))
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

async fn feed<W>(mut ws: W) -> Outcome
where
    W: Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error> + Unpin,
{
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
            Task::Echo => {
                let (api, deflate) =
                    (options.api.clone(), options.deflate.as_deref().and_then(deflate));
                kit::serve(&options, Echo { api, deflate }).await
            }
            Task::Broadcast => {
                let deflate = options.deflate.as_deref().and_then(deflate);
                kit::serve(&options, Broadcast { deflate, hub: Hub::default() }).await
            }
            Task::Mask => {
                kit::mask(|key, data| sockudo_ws::mask::apply_mask(data, key));
                Ok(())
            }
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
            _ => Err("not here".into()),
        }
    });
}
