//! Presence over real brokers: nodes know each other's members, and those of one that was killed leave.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tautline::{Role, WebSocket};
use tautline_hub::presence::{Change, Config};
use tautline_hub::{Attach, Hub, MemberInfo, Outgoing, Subscribe, TopicOptions};
use tokio::time::timeout;

use crate::node::topic;
use crate::process::{Peer, Process, Wire};
use crate::server::{DEADLINE, Kind, Server};

/// What an event may take before the test has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Short, but no shorter than what a busy machine needs so that a node does not seem to be gone.
fn node(server: &Server) -> Process {
    let config = Config::new().heartbeat(Duration::from_secs(1)).grace(Duration::from_secs(1));
    Process::begin(
        Hub::builder()
            .topics(|_| TopicOptions::new().presence(true))
            .presence(config)
            .shared_broker(server.broker_with(DEADLINE)),
    )
}

/// Somebody in the room until the connection ends, who is told who comes and goes.
fn join(node: &Process, user: &'static str) -> Peer {
    node.connect(move |hub, wire| in_room(hub, wire, user))
}

async fn in_room(hub: Hub, wire: Wire, user: &'static str) {
    let (mut reader, writer) = WebSocket::builder(Role::Server).build(wire).split();
    let tell = |told: &Outgoing<'_>| match told {
        Outgoing::Presence(event) => {
            let what = match event.change {
                Change::Joined => "joined",
                Change::Left => "left",
            };
            Some(format!("{} {what}", event.member.info.user).into())
        }
        _ => None,
    };
    let attach = Attach::new().info(MemberInfo::new(user)).tell(tell);
    let member = hub.attach_with(&writer, attach);
    // The brokers may not be connected yet.
    while let Err(error) = member.subscribe(topic("room"), Subscribe::new().watch(true)).await {
        assert!(error.is_retryable(), "{error:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    while reader.next().await.is_some() {}
}

/// The next so many that somebody is told, in any order.
async fn told(peer: &mut Peer, count: usize) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for _ in 0..count {
        let message = timeout(PATIENCE, peer.next()).await;
        let message = message.unwrap_or_else(|_| panic!("nothing came but {all:?}"));
        all.insert(message.unwrap().unwrap().as_text().unwrap().to_owned());
    }
    all
}

fn lines(lines: &[&str]) -> BTreeSet<String> {
    lines.iter().map(|&line| line.to_owned()).collect()
}

/// Waits until a node knows of so many.
async fn present(node: &Process, members: usize) {
    let counts = || node.hub().present(&topic("room")).unwrap();
    let until = Instant::now() + PATIENCE;
    while counts().members != members {
        assert!(Instant::now() < until, "{:?} and not {members}", counts());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn members_of_a_killed_node_leave(kind: Kind) {
    let Some(server) = kind.start() else { return };
    let (here, there) = (node(&server), node(&server));
    let mut annas = join(&here, "anna");
    assert_eq!(told(&mut annas, 1).await, lines(&["anna joined"]));
    let (mut bens, _carlas, _dans) =
        (join(&there, "ben"), join(&here, "carla"), join(&there, "dan"));
    let others = lines(&["ben joined", "carla joined", "dan joined"]);
    assert_eq!(told(&mut annas, 3).await, others);
    present(&here, 4).await;
    present(&there, 4).await;
    drop(there);
    // What its connections had already been sent, and the end of them without a Close.
    while let Some(Ok(_)) = timeout(PATIENCE, bens.next()).await.unwrap() {}
    assert_eq!(bens.close_frame(), None);
    // The next that is told is that they leave.
    assert_eq!(told(&mut annas, 2).await, lines(&["ben left", "dan left"]));
    let left = here.hub().presence(&topic("room"), 10).unwrap();
    let users: BTreeSet<_> = left.members.iter().map(|member| &*member.info.user).collect();
    assert_eq!(users, BTreeSet::from(["anna", "carla"]));
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_a_killed_node_leave_over_redis() {
    members_of_a_killed_node_leave(Kind::Redis).await;
}

#[cfg(feature = "nats")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_a_killed_node_leave_over_nats() {
    members_of_a_killed_node_leave(Kind::Nats).await;
}
