//! yawc on a bare stream. `send` is the loop of its documentation; `feed` flushes when no input is
//! left; `tuned` is that with the buffers of its own benchmark, which it says cost memory.

use futures_util::{SinkExt, StreamExt};
use kit::tokio_rustls::TlsConnector;
use kit::{Handler, Hub, Outcome, Task, Transport};
use yawc::{CompressionLevel, DeflatePool, Frame, OpCode, Options, Role, WebSocket};

#[derive(Clone)]
struct Echo {
    api: String,
    settings: Settings,
}

/// What all connections have in common.
#[derive(Clone)]
struct Settings {
    options: Options,
    deflate: Option<String>,
}

impl Settings {
    fn new(api: &str, name: Option<&String>) -> Outcome<Self> {
        let mut options = options(api);
        if let Some(name) = name {
            options = deflate(options, name)?;
        }
        Ok(Self { options, deflate: name.cloned() })
    }

    async fn accept<S: Transport>(self, mut stream: S) -> Outcome<WebSocket<S>> {
        let negotiate = |offer: &str| agree(self.deflate.as_deref()?, offer);
        let agreed = Box::pin(kit::answer_upgrade_with(&mut stream, negotiate)).await?;
        let (role, options) = (Role::Server, self.options);
        Ok(WebSocket::from_stream_with_extensions(stream, role, agreed.as_deref(), options)?)
    }
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
    async fn handle<S: Transport>(self, stream: S) -> Outcome {
        let ws = self.settings.accept(stream).await?;
        if self.api == "send" { send(ws).await } else { feed(ws).await }
    }
}

#[derive(Clone)]
struct Broadcast {
    settings: Settings,
    hub: Hub<Frame>,
}

impl Handler for Broadcast {
    async fn handle<S: Transport>(self, stream: S) -> Outcome {
        let queue = self.hub.subscribe();
        let ws = self.settings.accept(stream).await?;
        kit::broadcast(ws, self.hub, queue, |frame| Ok(is_data(&frame).then_some(frame))).await
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

/// Opens and closes connections with one connector.
async fn connect(server: kit::Server, options: Options) -> Outcome {
    let connector = server.tls.map(TlsConnector::from);
    loop {
        let opening = WebSocket::connect(server.uri.parse()?).with_options(options.clone());
        let mut ws = match &connector {
            Some(connector) => opening.with_connector(connector.clone()).await?,
            None => opening.await?,
        };
        ws.close().await?;
        // The closing handshake is over when there is nothing more to read.
        while ws.next().await.is_some() {}
    }
}

fn main() {
    kit::run(|options| async move {
        match options.task {
            Task::Echo => {
                let settings = Settings::new(&options.api, options.deflate.as_ref())?;
                kit::serve(&options, Echo { api: options.api.clone(), settings }).await
            }
            Task::Broadcast => {
                let settings = Settings::new("feed", options.deflate.as_ref())?;
                kit::serve(&options, Broadcast { settings, hub: Hub::default() }).await
            }
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
            Task::Connect { address } => {
                let server = kit::Server::at(address, &options)?;
                connect(server, self::options(&options.api).with_no_delay()).await
            }
            _ => Err("not here".into()),
        }
    });
}
