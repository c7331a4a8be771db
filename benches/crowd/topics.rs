//! Many topics, each with one subscriber, over connections that do nothing else.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use tautline::{Role, WebSocket};
use tautline_hub::{Hub, Member, Subscribe, Topic};
use tokio::io::DuplexStream;
use tokio::task::LocalSet;

use crate::LOOK;
use crate::broker::{Broker, Via};
use crate::memory::grown;
use crate::support::{Result, cpu_time, option};

/// Of the topics, those that are there for the first round of publishing.
const FEW: usize = 10_000;
/// Published in each round, to topics of all members in turn.
const PUBLISHED: usize = 200_000;
/// How many subscribe, and publish, at a time.
const AT_ONCE: usize = 256;
/// If nothing comes in this time, nothing more will.
const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) async fn measure(words: &[String]) -> Result {
    let topics = option(words, "--topics", 2_000_000_usize)?;
    let members = option(words, "--members", 2_000_usize)?;
    if members == 0 || members > topics {
        return Err("each member needs a topic, and there has to be one".into());
    }
    let via = Via::named(&option(words, "--broker", "memory".to_owned())?)?;
    let broker = Broker::start(via)?;
    LocalSet::new().run_until(run(via, &broker.url, topics, members)).await
}

async fn run(via: Via, url: &str, count: usize, members: usize) -> Result {
    let hub = via.hub_with(url, |hub| hub.max_topics(count).max_subscriptions(count)).await?;
    let received = Rc::new(Cell::new(0));
    let members: Vec<_> =
        (0..members).map(|number| join(&hub, (number, members), &received)).collect();
    let names: Vec<_> = (0..count).map(|number| Topic::new(format!("room.{number}"))).collect();
    let names = names.into_iter().collect::<std::result::Result<Vec<_>, _>>()?;
    let few = FEW.max(members.len()).min(count);

    let (before, begin) = (grown(0)?, Instant::now());
    subscribe(&members, &names, 0..few).await?;
    publish(&hub, &names[..few], members.len(), &received).await?;
    subscribe(&members, &names, few..count).await?;
    publish(&hub, &names, members.len(), &received).await?;
    let seconds = begin.elapsed().as_secs_f64();
    println!("{} topics over {}, after {seconds:.1} s", hub.topics(), via.name());
    println!("a topic with one subscription, its name apart: {} bytes", grown(before)? / count);
    for (number, name) in names.iter().enumerate().skip(few) {
        members[number % members.len()].unsubscribe(name);
    }
    // This comes when the worker has done all of that.
    deliver(&hub, &names, 0..members.len(), &received).await?;
    let left = hub.topics();
    subscribe(&members, &names, few..count).await?;
    deliver(&hub, &names, count - members.len()..count, &received).await?;
    let again = grown(before)? / count;
    println!("with all but {left} left and subscribed to once more: {again} bytes");
    Ok(())
}

/// The member with this number of so many. Its peer counts what it gets, which has to be of its own topics.
fn join(hub: &Hub, (number, of): (usize, usize), received: &Rc<Cell<usize>>) -> Member {
    let (near, far) = tokio::io::duplex(1 << 10);
    let (mut reader, writer) = WebSocket::builder(Role::Server).build(near).split();
    tokio::task::spawn_local(async move { while reader.next().await.is_some() {} });
    let peer = WebSocket::builder(Role::Client).build(far);
    tokio::task::spawn_local(count(peer, (number, of), received.clone()));
    hub.attach(&writer)
}

async fn count(
    mut peer: WebSocket<DuplexStream>,
    (number, of): (usize, usize),
    received: Rc<Cell<usize>>,
) -> Result {
    while let Some(message) = peer.next().await {
        let topic: usize = message?.as_text().ok_or("binary")?.parse()?;
        if topic % of == number {
            received.set(received.get() + 1);
        }
    }
    Ok(())
}

async fn subscribe(members: &[Member], topics: &[Topic], which: std::ops::Range<usize>) -> Result {
    let all = which
        .map(|number| members[number % members.len()].subscribe(&topics[number], Subscribe::new()));
    stream::iter(all).buffer_unordered(AT_ONCE).try_for_each(|_| async { Ok(()) }).await?;
    Ok(())
}

/// Publishes to topics far apart, and prints what each one costs until it is received, all included.
async fn publish(hub: &Hub, topics: &[Topic], members: usize, received: &Cell<usize>) -> Result {
    // What was handed to the worker before is done when each member has got something of its last topic.
    deliver(hub, topics, topics.len() - members..topics.len(), received).await?;
    let cpu = cpu_time(std::process::id())?;
    // With nothing in common with how many there are, of members too, so that it goes around all of both.
    let all = topics.len() * members;
    let step = (topics.len() / PUBLISHED..).find(|step| common(*step, all) == 1).unwrap_or(1);
    let which = (0..PUBLISHED).map(|number| number * step % topics.len());
    deliver(hub, topics, which, received).await?;
    let used = (cpu_time(std::process::id())? - cpu).as_secs_f64() * 1e6 / PUBLISHED as f64;
    println!("with {} topics: {used:.2} us each, published and received", topics.len());
    Ok(())
}

/// Publishes to each of these topics, and waits until all of it is received.
async fn deliver(
    hub: &Hub,
    topics: &[Topic],
    which: impl ExactSizeIterator<Item = usize>,
    received: &Cell<usize>,
) -> Result {
    received.set(0);
    let wanted = which.len();
    let all = which.map(|number| hub.publish(&topics[number], number.to_string()));
    stream::iter(all).buffer_unordered(AT_ONCE).try_for_each(|_| async { Ok(()) }).await?;
    let (mut before, mut since) = (0, Instant::now());
    while received.get() < wanted && since.elapsed() < PATIENCE {
        tokio::time::sleep(LOOK).await;
        if received.get() > before {
            (before, since) = (received.get(), Instant::now());
        }
    }
    match received.get() {
        got if got == wanted => Ok(()),
        got => Err(format!("{got} deliveries instead of {wanted}").into()),
    }
}

/// The greatest common divisor.
fn common(one: usize, other: usize) -> usize {
    if other == 0 { one } else { common(other, one % other) }
}
