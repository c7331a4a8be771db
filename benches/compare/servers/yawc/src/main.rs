//! yawc on a bare stream. `send` is the loop of its documentation; `feed` flushes when no input is left; `tuned` is that with
//! the buffers of its own benchmark, which it says cost memory.

use futures_util::{SinkExt, StreamExt};
use kit::{Handler, Outcome, Task, Transport};
use yawc::{Frame, OpCode, Options, Role, WebSocket};

#[derive(Clone)]
struct Echo {
    api: String,
    deflate: Option<String>,
}

fn options(api: &str) -> Options {
    let options = Options::default().with_limits(64 << 20, 128 << 20);
    match api {
        "tuned" => options.with_read_buffer_capacity(128 << 10).with_backpressure_boundary(64 << 10),
        _ => options,
    }
}

impl Handler for Echo {
    async fn handle<S: Transport>(self, mut stream: S) -> Outcome {
        Box::pin(kit::answer_upgrade(&mut stream)).await?;
        let ws = WebSocket::from_stream(stream, Role::Server, options(&self.api))?;
        if self.api == "send" { send(ws).await } else { feed(ws).await }
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
                let (api, deflate) = (options.api.clone(), options.deflate.clone());
                kit::serve(&options, Echo { api, deflate }).await
            }
            Task::Broadcast => Err("not yet".into()),
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
