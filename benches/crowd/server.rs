//! A server whose connections are members of a hub, in its default configuration but without limits on connections.

use std::time::Duration;

use tautline::{Http2Config, Limits, Server, WebSocket};
use tautline_hub::{Hub, Subscribe, Topic};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::support::Result;
use crate::{LENGTH, LOOK, micros};

/// Publishes as often as it is told: `MILLISECONDS COUNT`, and answers when all were published. For `wait COUNT`,
/// it answers when so many are subscribed.
pub(crate) async fn serve(hub: Hub, http2: bool) -> Result {
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let server = Server::bind("127.0.0.1:0").await?.limits(Limits::none()).max_connections(1 << 20);
    let server = if http2 { server.http2(Http2Config::new()) } else { server };
    println!("{}", server.local_addr()?);
    let topic = Topic::new("all")?;
    let (members, all) = (hub.clone(), topic.clone());
    tokio::spawn(server.serve(move |ws| member(ws, members.clone(), all.clone())));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match line.split_once(' ').ok_or("no count")? {
            ("wait", count) => {
                let (filter, count) = (topic.clone().into(), count.parse()?);
                while hub.subscribers(&filter) < count {
                    tokio::time::sleep(LOOK).await;
                }
            }
            (millis, count) => {
                let every = Duration::from_millis(millis.parse()?);
                publish(&hub, &topic, every, count.parse()?).await?;
            }
        }
        println!("done");
    }
    Ok(())
}

async fn publish(hub: &Hub, topic: &Topic, every: Duration, count: u64) -> Result {
    let mut ticks = tokio::time::interval(every);
    for _ in 0..count {
        ticks.tick().await;
        let mut payload = vec![7; LENGTH];
        payload[..8].copy_from_slice(&micros().to_le_bytes());
        hub.publish(topic, payload).await?;
    }
    // The last one is on its way for as long as another one would be.
    ticks.tick().await;
    Ok(())
}

async fn member(ws: WebSocket, hub: Hub, topic: Topic) -> Result {
    let (mut reader, writer) = ws.split();
    let member = hub.attach(&writer);
    drop(writer);
    member.subscribe(&topic, Subscribe::new()).await?;
    while let Some(message) = reader.next().await {
        message?;
    }
    Ok(())
}
