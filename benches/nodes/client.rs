//! The clients: one that has the first node publish, and one that is subscribed at the last.

use std::time::Duration;

use tautline::{Client, Message, WebSocket};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;

use crate::support::Result;
use crate::{SUBSCRIBE, nanos};

/// What is not here after this time will not come.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many are published before those that count.
const WARM_UP: usize = 500;

/// Answers `latency COUNT` with those at the median and at 99 %, in nanoseconds; and `count COUNT` with a
/// word, and when so many are there, with the time that they took.
pub(crate) async fn run(publishing: &str, subscribed: &str) -> Result {
    let mut publisher = connect(publishing).await?;
    let mut subscriber = connect(subscribed).await?;
    subscriber.send(SUBSCRIBE).await?;
    next(&mut subscriber).await?.ok_or("the subscription was not answered")?;
    println!("subscribed");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let (what, count) = line.split_once(' ').ok_or("no count")?;
        let count = count.parse()?;
        if what == "latency" {
            let [half, most] = latency(&mut publisher, &mut subscriber, count).await?;
            println!("{half} {most}");
        } else {
            println!("counting");
            println!("{}", count_all(&mut subscriber, count).await?);
        }
    }
    Ok(())
}

async fn connect(address: &str) -> Result<WebSocket<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(Client::new().handshake_over(format!("ws://{address}"), stream).await?)
}

/// The next one, unless it takes too long.
async fn next(subscriber: &mut WebSocket<TcpStream>) -> Result<Option<Message>> {
    match tokio::time::timeout(PATIENCE, subscriber.next()).await {
        Ok(Some(message)) => Ok(Some(message?)),
        Ok(None) => Err("a connection was closed".into()),
        Err(_) => Ok(None),
    }
}

/// Has one published after the other, each when the one before has come.
async fn latency(
    publisher: &mut WebSocket<TcpStream>,
    subscriber: &mut WebSocket<TcpStream>,
    count: usize,
) -> Result<[u64; 2]> {
    let mut took = Vec::with_capacity(count);
    for number in 0..WARM_UP + count {
        publisher.send("publish").await?;
        let message = next(subscriber).await?.ok_or_else(|| format!("{number} has not come"))?;
        let now = nanos();
        if number >= WARM_UP {
            took.push(now.saturating_sub(number_at(&message, 0)));
        }
    }
    took.sort_unstable();
    let at = |part: f64| took.get((took.len() as f64 * part) as usize).copied();
    Ok([at(0.5), at(0.99)].map(Option::unwrap_or_default))
}

/// Reads until each has come once; returns the time from the first publication to the last arrival.
async fn count_all(subscriber: &mut WebSocket<TcpStream>, count: usize) -> Result<u64> {
    let mut seen = vec![false; count];
    let (mut first, mut last) = (u64::MAX, 0);
    for arrived in 0..count {
        let message = next(subscriber).await?;
        let message = message.ok_or_else(|| format!("{} of {count} are lost", count - arrived))?;
        last = nanos();
        first = first.min(number_at(&message, 0));
        let seen = seen.get_mut(usize::try_from(number_at(&message, 8))?);
        if std::mem::replace(seen.ok_or("one that was not published")?, true) {
            return Err("one has come twice".into());
        }
    }
    Ok(last.saturating_sub(first))
}

fn number_at(message: &Message, place: usize) -> u64 {
    let bytes = message.as_bytes().get(place..).and_then(<[u8]>::first_chunk);
    bytes.copied().map_or(0, u64::from_le_bytes)
}
