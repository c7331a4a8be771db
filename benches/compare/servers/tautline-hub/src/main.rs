//! Tautline's hub through its public API, in its default configuration: members subscribe when they
//! connect, and what they send is published to its topic.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kit::{Failure, Options, Outcome, Task};
use tautline::{Server, WebSocket};
use tautline_hub::{Hub, Subscribe, Topic};

fn main() {
    kit::run(|options: Options| async move {
        match options.task {
            Task::Hub { topics } => serve(topics).await,
            _ => Err(Failure::from("not here")),
        }
    });
}

/// What all connections share.
struct Shared {
    hub: Hub,
    topics: Vec<Topic>,
    joined: AtomicUsize,
}

async fn serve(topics: usize) -> Outcome {
    let server = Server::bind("127.0.0.1:0").await?;
    kit::announce(server.local_addr()?);
    let topics = (0..topics).map(|number| Topic::new(number.to_string()));
    let topics = topics.collect::<Result<_, _>>()?;
    let shared = Arc::new(Shared { hub: Hub::new(), topics, joined: AtomicUsize::new(0) });
    Ok(server.serve(move |ws| member(ws, shared.clone())).await?)
}

async fn member(ws: WebSocket, shared: Arc<Shared>) -> Outcome {
    let (mut reader, writer) = ws.split();
    let member = shared.hub.attach(&writer);
    let connection = shared.joined.fetch_add(1, Ordering::Relaxed);
    for topic in kit::topics_of(connection, shared.topics.len()) {
        member.subscribe(&shared.topics[topic], Subscribe::new()).await?;
    }
    while let Some(message) = reader.next().await {
        let message = message?;
        if let Some(topic) = shared.topics.get(kit::topic_of(message.as_bytes())) {
            shared.hub.publish(topic, message).await?;
        }
    }
    Ok(())
}
