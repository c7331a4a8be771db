//! Nodes whose connections are members of a hub, subscribed to one topic under one policy.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tautline::{CloseCode, Server, WebSocket};
use tautline_hub::{Attach, Hub, Member, Publication, Slow, Subscribe, Topic};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::broker::{Broker, Via};
use crate::process::Process;
use crate::support::Result;
use crate::{INTERVAL, LIMIT, PAYLOAD, Sending, payload};

/// How many keys the messages have.
const KEYS: u64 = 10;
/// If nothing is delivered in this time, nothing more will be; and one that is closed is gone by then.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at something that another task changes.
const LOOK: Duration = Duration::from_millis(20);

/// What becomes of those that do not read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Policy {
    Latest,
    Oldest,
    Disconnect,
}

impl Policy {
    pub(crate) const ALL: [Self; 3] = [Self::Latest, Self::Oldest, Self::Disconnect];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Latest => "latest",
            Self::Oldest => "oldest",
            Self::Disconnect => "disconnect",
        }
    }

    fn named(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|policy| policy.name() == name);
        found.ok_or_else(|| format!("{name} is no policy").into())
    }

    fn slow(self) -> Slow {
        match self {
            Self::Latest => Slow::latest(LIMIT),
            Self::Oldest => Slow::drop_oldest(LIMIT),
            Self::Disconnect => Slow::disconnect(LIMIT, CloseCode::TRY_AGAIN_LATER),
        }
    }
}

/// The node with the connections; with a broker, another one, which publishes.
pub(crate) struct Nodes {
    server: Process,
    address: String,
    publisher: Option<Process>,
    // Ends after the nodes.
    _broker: Broker,
}

impl Nodes {
    pub(crate) fn start(via: Via, policy: Policy) -> Result<Self> {
        let broker = Broker::start(via)?;
        let words = ["node", via.name(), &broker.url, policy.name()];
        let mut server = Process::start("0", &words, &[])?;
        let address = server.line()?;
        let mut publisher = None;
        if via != Via::Memory {
            publisher.insert(Process::start("1", &words, &[])?).line()?;
        }
        Ok(Self { server, address, publisher, _broker: broker })
    }

    fn publisher(&mut self) -> &mut Process {
        self.publisher.as_mut().unwrap_or(&mut self.server)
    }
}

impl Sending for Nodes {
    fn address(&self) -> &str {
        &self.address
    }

    fn server(&self) -> &Process {
        &self.server
    }

    fn begin(&mut self, connections: usize) -> Result {
        writeln!(self.server.input, "wait {connections}")?;
        self.server.line()?;
        Ok(writeln!(self.publisher().input, "publish")?)
    }

    fn end(&mut self, healthy: usize) -> Result<(u64, String)> {
        writeln!(self.publisher().input, "stop")?;
        let published = self.publisher().line()?.parse()?;
        writeln!(self.server.input, "counts {published} {healthy}")?;
        let counts = self.server.line()?;
        match counts.strip_prefix("wrong: ") {
            Some(wrong) => Err(wrong.into()),
            None => Ok((published, counts)),
        }
    }
}

type Members = Arc<Mutex<Vec<Member>>>;

/// Does as it is told: `wait SUBSCRIBERS`, `publish`, `stop`, `counts PUBLISHED HEALTHY`.
pub(crate) async fn serve(via: &str, url: &str, policy: &str) -> Result {
    let hub = Via::named(via)?.hub(url).await?;
    let policy = Policy::named(policy)?;
    let slow = Arc::new(policy.slow());
    let server = Server::bind("127.0.0.1:0").await?;
    println!("{}", server.local_addr()?);
    let (topic, members) = (Topic::new("all")?, Members::default());
    let (joined, to, all) = (hub.clone(), topic.clone(), members.clone());
    tokio::spawn(server.serve(move |ws| {
        let attach = Attach::new().slow(slow.clone());
        join(ws, joined.clone(), to.clone(), attach, all.clone())
    }));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut ticks = tokio::time::interval(INTERVAL);
    let (mut publishing, mut published) = (false, 0_u64);
    loop {
        let line = tokio::select! {
            _ = ticks.tick(), if publishing => {
                let key = (published % KEYS).to_string();
                published += 1;
                hub.publish(&topic, Publication::new(payload()).key(key)).await?;
                continue;
            }
            line = lines.next_line() => line?,
        };
        let Some(line) = line else { return Ok(()) };
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["wait", count] => {
                wait(&hub, &topic, count.parse()?).await;
                println!("subscribed");
            }
            ["publish"] => {
                publishing = true;
                ticks.reset();
            }
            ["stop"] => {
                publishing = false;
                println!("{published}");
            }
            ["counts", published, healthy] => {
                match counts(&members, policy, published.parse()?, healthy.parse()?).await {
                    Ok(counts) => println!("{counts}"),
                    Err(wrong) => println!("wrong: {wrong}"),
                }
            }
            _ => return Err(format!("unknown: {line}").into()),
        }
    }
}

async fn join(ws: WebSocket, hub: Hub, topic: Topic, attach: Attach, members: Members) -> Result {
    let (mut reader, writer) = ws.split();
    let member = hub.attach_with(&writer, attach);
    drop(writer);
    member.subscribe(&topic, Subscribe::new()).await?;
    members.lock().unwrap_or_else(PoisonError::into_inner).push(member);
    while let Some(message) = reader.next().await {
        message?;
    }
    Ok(())
}

async fn wait(hub: &Hub, topic: &Topic, count: usize) {
    let filter = topic.clone().into();
    while hub.subscribers(&filter) < count {
        tokio::time::sleep(LOOK).await;
    }
}

/// What became of all that was published, when those that read have it all and, if that is the policy, the
/// others are closed. Of each member, every publication was delivered, dropped or replaced, or still waits,
/// within the limit.
async fn counts(
    members: &Members,
    policy: Policy,
    published: u64,
    healthy: usize,
) -> Result<String> {
    let (mut before, mut since) = (0, Instant::now());
    let (whole, closed) = loop {
        let (delivered, closed) = standing(members);
        let whole = delivered.iter().filter(|count| **count == published).count();
        let wanted = match policy {
            Policy::Disconnect => delivered.len() - healthy,
            Policy::Latest | Policy::Oldest => 0,
        };
        if (whole, closed) == (healthy, wanted) {
            break (whole, closed);
        }
        let sum = delivered.iter().sum();
        if sum != before {
            (before, since) = (sum, Instant::now());
        }
        if since.elapsed() > PATIENCE {
            let (least, most) = (delivered.iter().min(), delivered.iter().max());
            return Err(format!(
                "{whole} got all {published}, not {healthy}: {least:?} to {most:?}; {closed} were closed, not {wanted}"
            )
            .into());
        }
        tokio::time::sleep(LOOK).await;
    };
    let (mut missing, mut dropped, mut replaced) = (0, 0, 0);
    for member in &*members.lock().unwrap_or_else(PoisonError::into_inner) {
        let counts = member.counts();
        (dropped, replaced) = (dropped + counts.dropped, replaced + counts.replaced);
        missing += usize::from(counts.dropped + counts.replaced > 0);
        let known = counts.delivered + counts.dropped + counts.replaced;
        let wait = published.checked_sub(known).ok_or("one was counted twice")?;
        // One that was closed has no subscription any more, of which the rest could be.
        let fits = member.has_ended() || wait * PAYLOAD as u64 <= counts.waiting as u64;
        if !fits || counts.waiting > LIMIT {
            return Err(format!("of {published}, {wait} should wait: {counts:?}").into());
        }
    }
    Ok(format!(
        "{published} published, {whole} got all, {missing} missed some \
         ({dropped} dropped, {replaced} replaced), {closed} were closed"
    ))
}

/// How many were delivered to each, and how many members were closed.
fn standing(members: &Members) -> (Vec<u64>, usize) {
    let members = members.lock().unwrap_or_else(PoisonError::into_inner);
    let delivered = members.iter().map(|member| member.counts().delivered).collect();
    (delivered, members.iter().filter(|member| member.has_ended()).count())
}
