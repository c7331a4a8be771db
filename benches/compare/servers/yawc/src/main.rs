//! yawc on a bare stream. `send` is the loop of its documentation; `feed` flushes when no input is
//! left; `tuned` is that with the buffers of its own benchmark, which it says cost memory.

use futures_util::{SinkExt, StreamExt};
use kit::{Handler, Hub, Outcome, Task, Transport};
use yawc::{CompressionLevel, DeflatePool, Frame, OpCode, Options, Role, WebSocket};

#[derive(Clone)]
struct Echo {
    api: String,
    options: Options,
    deflate: Option<String>,
}

/// The settings of this name, and what is answered to a client that offers all parameters.
fn deflate(options: Options, name: &str) -> Outcome<Options> {
    Ok(match name {
        "takeover" => options.with_balanced_compression(),
        "fast" => options.with_low_latency_compression(),
        "no-takeover" => options
            .with_balanced_compression()
            .server_no_context_takeover()
            .client_no_context_takeover(),
        "pool" => options
            .with_compression_level(CompressionLevel::fast())
            .server_no_context_takeover()
            .client_no_context_takeover()
            .with_deflate_pool(DeflatePool::new(64)),
        _ => return Err("no such settings".into()),
    })
}

fn agree(name: &str, offer: &str) -> Option<String> {
    let takeover = matches!(name, "takeover" | "fast");
    let answer = if takeover {
        "permessage-deflate"
    } else {
        "permessage-deflate; client_no_context_takeover; server_no_context_takeover"
    };
    offer.starts_with("permessage-deflate").then(|| answer.to_owned())
}

fn options(api: &str) -> Options {
    let options = Options::default().with_limits(64 << 20, 128 << 20);
    match api {
        "tuned" => {
            options.with_read_buffer_capacity(128 << 10).with_backpressure_boundary(64 << 10)
        }
        _ => options,
    }
}

impl Handler for Echo {
    async fn handle<S: Transport>(self, mut stream: S) -> Outcome {
        let negotiate = |offer: &str| agree(self.deflate.as_deref()?, offer);
        let agreed = Box::pin(kit::answer_upgrade_with(&mut stream, negotiate)).await?;
        let (role, options) = (Role::Server, self.options);
        let ws = WebSocket::from_stream_with_extensions(stream, role, agreed.as_deref(), options)?;
        if self.api == "send" { send(ws).await } else { feed(ws).await }
    }
}

#[derive(Clone, Default)]
struct Broadcast(Hub<Frame>);

impl Handler for Broadcast {
    async fn handle<S: Transport>(self, mut stream: S) -> Outcome {
        let queue = self.0.subscribe();
        Box::pin(kit::answer_upgrade(&mut stream)).await?;
        let ws = WebSocket::from_stream(stream, Role::Server, options("feed"))?;
        kit::broadcast(ws, self.0, queue, |frame| Ok(is_data(&frame).then_some(frame))).await
    }
}

fn is_data(frame: &Frame) -> bool {
    matches!(frame.opcode(), OpCode::Text | OpCode::Binary)
}

async fn send<S: Transport>(mut ws: WebSocket<S>) -> Outcome {
    while let Some(frame) = ws.next().await {
        if is_data(&frame) {
            ws.send(frame).await?;
        }
    }
    Ok(())
}

async fn feed<S: Transport>(mut ws: WebSocket<S>) -> Outcome {
    while let Some(frame) = kit::next_or_flush(&mut ws).await? {
        if is_data(&frame) {
            ws.feed(frame).await?;
        }
    }
    Ok(())
}

fn main() {
    kit::run(|options| async move {
        match options.task {
            Task::Echo => {
                let (api, name) = (options.api.clone(), options.deflate.clone());
                let mut settings = self::options(&api);
                if let Some(name) = &name {
                    settings = deflate(settings, name)?;
                }
                kit::serve(&options, Echo { api, options: settings, deflate: name }).await
            }
            Task::Broadcast => kit::serve(&options, Broadcast::default()).await,
            Task::Mask => {
                kit::mask(|key, data| yawc::mask::apply_mask(data, key));
                Ok(())
            }
            Task::Client { address, in_flight, payload } => {
                let mut stream = kit::dial(address).await?;
                kit::ask_upgrade(&mut stream).await?;
                let mut ws =
                    WebSocket::from_stream(stream, Role::Client, self::options(&options.api))?;
                for _ in 0..in_flight {
                    ws.feed(Frame::binary(vec![0; payload])).await?;
                }
                ws.flush().await?;
                feed(ws).await
            }
        }
    });
}
