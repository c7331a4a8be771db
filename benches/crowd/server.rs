//! The server: members of a hub over HTTP/2, in its default configuration but without limits on connections.

use std::time::Duration;

use tautline::{Http2Config, Limits, Server, WebSocket};
use tautline_hub::{Hub, Subscribe, Topic};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::support::Result;
use crate::{LENGTH, micros};

/// Publishes as often as it is told: `MILLISECONDS COUNT`, and answers when all were published.
pub(crate) async fn serve() -> Result {
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let server = Server::bind("127.0.0.1:0").await?.http2(Http2Config::new());
    let server = server.limits(Limits::none()).max_connections(1 << 20);
    println!("{}", server.local_addr()?);
    let (hub, topic) = (Hub::new(), Topic::new("all")?);
    let (members, all) = (hub.clone(), topic.clone());
    tokio::spawn(server.serve(move |ws| member(ws, members.clone(), all.clone())));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let (millis, count) = line.split_once(' ').ok_or("no count")?;
        let mut ticks = tokio::time::interval(Duration::from_millis(millis.parse()?));
        for _ in 0..count.parse::<u64>()? {
            ticks.tick().await;
            let mut payload = vec![7; LENGTH];
            payload[..8].copy_from_slice(&micros().to_le_bytes());
            hub.publish(&topic, payload).await?;
        }
        // The last one is on its way for as long as another one would be.
        ticks.tick().await;
        println!("published");
    }
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
