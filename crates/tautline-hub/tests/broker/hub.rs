//! Hubs on real brokers: what is missed is made up for, in order, and what is only old is no gap.

use std::time::Duration;

use tautline::{Role, WebSocket};
use tautline_hub::{
    Attach, BrokerState, Hub, HubBuilder, Keep, Member, Outgoing, Start, Subscribe, TopicOptions,
};
use tokio::io::DuplexStream;
use tokio::time::timeout;

use crate::node::topic;
use crate::server::{Kind, Server};

/// What a message may take before the test has failed.
const PATIENCE: Duration = Duration::from_secs(30);

type Peer = WebSocket<DuplexStream>;

/// All topics have a history.
fn builder() -> HubBuilder {
    let keep = Keep::last(10_000).bytes(16 << 20).age(Duration::from_secs(600));
    Hub::builder().topics(move |_| TopicOptions::new().history(keep))
}

fn hub(server: &Server) -> Hub {
    match server.kind {
        #[cfg(feature = "redis")]
        Kind::Redis => builder().broker(crate::redis::settings(&server.url()).build().unwrap()),
        #[cfg(feature = "nats")]
        Kind::Nats => builder().broker(crate::nats::settings(&server.url()).build().unwrap()),
    }
    .build()
}

fn member(hub: &Hub) -> (Member, Peer) {
    let (near, far) = tokio::io::duplex(64 << 10);
    let (mut reader, writer) = WebSocket::builder(Role::Server).build(near).split();
    let tell = |told: &Outgoing<'_>| match told {
        Outgoing::Gap { .. } => Some(format!("{told:?}").into()),
        _ => None,
    };
    let member = hub.attach_with(&writer, Attach::new().tell(tell));
    tokio::spawn(async move { while reader.next().await.is_some() {} });
    (member, WebSocket::builder(Role::Client).build(far))
}

async fn state(hub: &Hub, is: fn(&BrokerState) -> bool) {
    let mut state = hub.broker_state().unwrap();
    timeout(PATIENCE, state.wait_for(is)).await.unwrap().unwrap();
}

fn is_connected(state: &BrokerState) -> bool {
    *state == BrokerState::Connected
}

fn is_lost(state: &BrokerState) -> bool {
    matches!(state, BrokerState::Lost(_))
}

async fn publish(hub: &Hub, name: &str, numbers: std::ops::Range<u32>) {
    for number in numbers {
        hub.publish(&topic(name), number.to_string()).await.unwrap();
    }
}

async fn expect(peer: &mut Peer, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let message = timeout(PATIENCE, peer.next()).await.unwrap();
        let message = message.unwrap_or_else(|| panic!("closed: {:?}", peer.close_frame()));
        assert_eq!(message.unwrap().as_text(), Some(number.to_string().as_str()));
    }
}

// A node that asks for a thousand publications at once, however long they are, waits for a part longer than it may.
async fn long_publications_are_recovered(kind: Kind) {
    let Some(server) = kind.start() else { return };
    let (here, there) = (hub(&server), hub(&server));
    state(&here, is_connected).await;
    state(&there, is_connected).await;
    let (mut first, zeros) = (None, "0".repeat(300_000));
    for number in 0..40 {
        let published = here.publish(&topic("log"), format!("{zeros}{number:05}")).await.unwrap();
        first = first.or(published.position);
    }
    let (bob, mut bobs) = member(&there);
    let since = Subscribe::new().since(first.unwrap());
    let start = bob.subscribe(&topic("log"), since).await.unwrap();
    assert!(matches!(start, Start::Recovered { count: 39, .. }), "{start:?}");
    for number in 1..40_u32 {
        let message = timeout(PATIENCE, bobs.next()).await.unwrap().unwrap().unwrap();
        let text = message.as_text().unwrap();
        assert_eq!((text.len(), text.parse()), (300_005, Ok(number)));
    }
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_publications_are_recovered_from_redis() {
    long_publications_are_recovered(Kind::Redis).await;
}

#[cfg(feature = "nats")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_publications_are_recovered_from_nats() {
    long_publications_are_recovered(Kind::Nats).await;
}

async fn a_restart_is_no_gap(kind: Kind) {
    let Some(mut server) = kind.start() else { return };
    let (here, there) = (hub(&server), hub(&server));
    state(&here, is_connected).await;
    state(&there, is_connected).await;
    let (bob, mut bobs) = member(&there);
    let start = bob.subscribe(&topic("log"), Subscribe::new()).await.unwrap();
    let Start::Live { position: Some(beginning) } = start else { panic!("{start:?}") };
    publish(&here, "log", 0..50).await;
    expect(&mut bobs, 0..50).await;
    server.kill();
    state(&here, is_lost).await;
    state(&there, is_lost).await;
    server.begin();
    state(&here, is_connected).await;
    // The other node may not be back yet, and misses some.
    publish(&here, "log", 50..100).await;
    state(&there, is_connected).await;
    expect(&mut bobs, 50..100).await;
    let (carol, mut carols) = member(&there);
    carol.subscribe(&topic("log"), Subscribe::new().since(beginning)).await.unwrap();
    expect(&mut carols, 0..100).await;
    publish(&there, "log", 100..101).await;
    expect(&mut bobs, 100..101).await;
    expect(&mut carols, 100..101).await;
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_redis_is_no_gap() {
    a_restart_is_no_gap(Kind::Redis).await;
}

#[cfg(feature = "nats")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_nats_is_no_gap() {
    a_restart_is_no_gap(Kind::Nats).await;
}

// What a failover, or a restart, has lost is gone for those who come later: who had it is told.
#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_of_redis_that_goes_back_is_a_gap() {
    use crate::server::words;
    let Some(mut server) = Kind::Redis.start_with(words("--appendonly no")) else { return };
    let (here, there) = (hub(&server), hub(&server));
    state(&there, is_connected).await;
    let (bob, mut bobs) = member(&there);
    bob.subscribe(&topic("log"), Subscribe::new()).await.unwrap();
    publish(&here, "log", 0..2).await;
    assert_eq!(server.say(&["SAVE"]), "+OK");
    publish(&here, "log", 2..4).await;
    expect(&mut bobs, 0..4).await;
    server.kill();
    state(&here, is_lost).await;
    state(&there, is_lost).await;
    server.begin();
    state(&here, is_connected).await;
    publish(&here, "log", 4..5).await;
    let told = timeout(PATIENCE, bobs.next()).await.unwrap().unwrap().unwrap();
    assert!(told.as_text().unwrap().starts_with("Gap"), "{told:?}");
    // What was published since may lie in the gap.
    publish(&here, "log", 5..6).await;
    while timeout(PATIENCE, bobs.next()).await.unwrap().unwrap().unwrap().as_text() != Some("5") {}
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_redis_cuts_off_in_a_burst_is_fetched_from_the_history() {
    let Some(server) = Kind::Redis.start() else { return };
    let (here, there) = (hub(&server), hub(&server));
    state(&there, is_connected).await;
    let (bob, mut bobs) = member(&there);
    bob.subscribe(&topic("log"), Subscribe::new()).await.unwrap();
    let reading = tokio::spawn(async move { expect(&mut bobs, 0..2_000).await });
    for part in 0..4 {
        // Only connections for subscriptions: those for commands are not cut off.
        server.say(&["CLIENT KILL TYPE pubsub"]);
        for number in part * 500..(part + 1) * 500 {
            while here.publish(&topic("log"), number.to_string()).await.is_err() {
                state(&here, is_connected).await;
            }
        }
    }
    reading.await.unwrap();
}

// What was ahead of the next message of a rare topic had been dropped from the stream, which was told as a gap
// to whoever followed the topic: its connection was closed.
#[cfg(feature = "nats")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rare_topic_in_a_busy_stream_of_nats_has_no_gaps() {
    use tautline_hub::broker::nats::{NatsBroker, NatsHistory};
    let Some(server) = Kind::Nats.start() else { return };
    let broker = || {
        let history = NatsHistory::new().max_bytes(20_000);
        NatsBroker::builder(&server.url()).history(history).build().unwrap()
    };
    let (here, there) = (builder().broker(broker()).build(), builder().broker(broker()).build());
    state(&here, is_connected).await;
    state(&there, is_connected).await;
    publish(&here, "busy", 0..100).await;
    let (bob, mut bobs) = member(&there);
    bob.subscribe(&topic("rare"), Subscribe::new()).await.unwrap();
    for number in 0..5 {
        publish(&here, "rare", number..number + 1).await;
        expect(&mut bobs, number..number + 1).await;
        publish(&here, "busy", 0..300).await;
    }
}
