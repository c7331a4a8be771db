//! The yardsticks. `raw`: what Tokio and the system cost for bytes that come back as they are.
//! `floor`: an echo of WebSocket messages with nothing but what the wire demands: one read,
//! unmasking in place, one write for each wake-up.

mod broadcast;
mod connect;
mod floor;

use kit::{Failure, Handler, Outcome, Task, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What the socket is read into at a time.
const BUFFER: usize = 64 * 1024;

#[derive(Clone)]
struct Raw;

impl Handler for Raw {
    async fn handle<S: Transport>(self, mut stream: S) -> Outcome {
        kit::answer_upgrade(&mut stream).await?;
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = stream.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            stream.write_all(&buffer[..count]).await?;
            stream.flush().await?;
        }
    }
}

fn main() {
    kit::run(|options| async move {
        match (options.task, options.api.as_str()) {
            (Task::Echo, "raw") => kit::serve(&options, Raw).await,
            (Task::Echo, "floor") => kit::serve(&options, floor::Floor).await,
            (Task::Broadcast, "floor") => {
                kit::serve(&options, broadcast::Broadcast::default()).await
            }
            (Task::Hub { topics }, "floor") => {
                kit::serve(&options, broadcast::ByTopic(kit::Topics::new(topics))).await
            }
            // `raw`: as fast as bytes can be touched; `floor`: a plain loop.
            (Task::Mask, "raw") => {
                let mut copy = vec![0; 1 << 20];
                kit::mask(|_, data| {
                    copy[..data.len()].copy_from_slice(data);
                    std::hint::black_box(&mut copy);
                });
                Ok(())
            }
            (Task::Mask, "floor") => {
                kit::mask(|key, data| wire::unmask(data, key));
                Ok(())
            }
            (Task::Client { address, in_flight, payload }, "floor") => {
                floor::client(address, in_flight, payload).await
            }
            (Task::Connect { address }, "floor") => {
                connect::client(address, kit::Server::at(address, &options)?).await
            }
            _ => Err(Failure::from("not here")),
        }
    });
}
