//! What members and subscriptions take, over connections that do nothing else.

use tautline::{Role, WebSocket};
use tautline_hub::{Hub, Member, Subscribe, Topic};

use crate::process::resident;
use crate::support::Result;

const MEMBERS: usize = 20_000;
const SUBSCRIPTIONS: usize = 100;
const TOPICS: usize = 1_000;

/// Prints what the process grows by.
pub(crate) async fn measure() -> Result {
    let hub = Hub::new();
    let topics: Vec<_> = (0..TOPICS).map(|number| Topic::new(number.to_string())).collect();
    let topics = topics.into_iter().collect::<std::result::Result<Vec<_>, _>>()?;
    let pipes: Vec<_> = (0..MEMBERS + 1).map(|_| tokio::io::duplex(16)).collect();
    let mut halves = Vec::with_capacity(MEMBERS + 1);
    let mut held = Vec::with_capacity(MEMBERS + 1);
    for (near, far) in pipes {
        halves.push(WebSocket::builder(Role::Server).build(near).split());
        held.push(far);
    }
    let mut members = Vec::with_capacity(MEMBERS + 1);
    // The first one brings what is there once, as do topics.
    let first = hub.attach(&halves[0].1);
    for topic in &topics {
        first.subscribe(topic, Subscribe::new()).await?;
    }
    settle().await;
    let before = grown(0)?;
    members.extend(halves.iter().skip(1).map(|(_, writer)| hub.attach(writer)));
    settle().await;
    println!("a member, beside its connection: {} bytes", grown(before)? / MEMBERS);
    subscribe(&members, &topics, 0..1).await?;
    println!("with one subscription: {} bytes", grown(before)? / MEMBERS);
    let one = grown(0)?;
    subscribe(&members, &topics, 1..SUBSCRIPTIONS).await?;
    let more = MEMBERS * (SUBSCRIPTIONS - 1);
    println!("each of {SUBSCRIPTIONS} subscriptions: {} bytes", grown(one)? / more);
    hub.publish(&topics[0], "all").await?;
    settle().await;
    drop(held);
    Ok(())
}

async fn subscribe(members: &[Member], topics: &[Topic], which: std::ops::Range<usize>) -> Result {
    for (number, member) in members.iter().enumerate() {
        for topic in which.clone() {
            member.subscribe(&topics[(number + topic * 7) % TOPICS], Subscribe::new()).await?;
        }
        if number % 64 == 0 {
            settle().await;
        }
    }
    settle().await;
    Ok(())
}

/// Until the worker has taken what it was handed.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

/// The resident memory beyond this, in bytes.
pub(crate) fn grown(before: usize) -> Result<usize> {
    let now = usize::try_from(resident(std::process::id())?)? * 1024;
    Ok(now.saturating_sub(before))
}
