//! A node: a hub with a server, which publishes when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tautline::{BoxError, Limits, Server, WebSocket};
use tautline_hub::{Attach, Hub, Slow, Subscribe, Topic};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::task::JoinSet;

use crate::broker::Via;
use crate::support::Result;
use crate::{LENGTH, SUBSCRIBE, nanos};

/// What may wait for the subscriber: all that is published. Nothing but the node's own speed is to count.
const ROOM: usize = 1 << 30;

/// Publishes as it is told: `COUNT AT_ONCE`, and answers when all were published.
pub(crate) async fn serve(via: &str, url: &str) -> Result {
    let hub = Via::named(via)?.hub(url).await?;
    let server = Server::bind("127.0.0.1:0").await?.limits(Limits::none());
    println!("{}", server.local_addr()?);
    let topic = Topic::new("all")?;
    let (members, all) = (hub.clone(), topic.clone());
    tokio::spawn(server.serve(move |ws| connection(ws, members.clone(), all.clone())));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let (count, at_once) = line.split_once(' ').ok_or("no number at once")?;
        publish(&hub, &topic, count.parse()?, at_once.parse()?).await?;
        println!("published");
    }
    Ok(())
}

/// So many, by so many tasks.
async fn publish(hub: &Hub, topic: &Topic, count: u64, at_once: u64) -> Result {
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..at_once {
        let (hub, topic, next) = (hub.clone(), topic.clone(), next.clone());
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok::<_, BoxError>(());
                }
                hub.publish(&topic, payload(number)).await?;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

fn payload(number: u64) -> Vec<u8> {
    let mut payload = vec![7; LENGTH];
    payload[..8].copy_from_slice(&nanos().to_le_bytes());
    payload[8..16].copy_from_slice(&number.to_le_bytes());
    payload
}

/// Publishes one for each message that comes; but one that says so subscribes.
async fn connection(ws: WebSocket, hub: Hub, topic: Topic) -> Result {
    let (mut reader, writer) = ws.split();
    let slow = Slow::disconnect(ROOM, tautline::CloseCode::TRY_AGAIN_LATER);
    let member = hub.attach_with(&writer, Attach::new().slow(slow).limit(ROOM));
    drop(writer);
    while let Some(message) = reader.next().await {
        if message?.as_text() == Some(SUBSCRIBE) {
            member.subscribe(&topic, Subscribe::new()).await?;
            member.send(SUBSCRIBE);
        } else {
            hub.publish(&topic, payload(0)).await?;
        }
    }
    Ok(())
}
