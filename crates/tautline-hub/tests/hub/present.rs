//! Who is there, on one node and on several.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tautline::Message;
use tautline_hub::presence::{Change, Config, Counts, JoinError};
use tautline_hub::{
    Attach, Hub, HubBuilder, Keep, MemberId, MemberInfo, Outgoing, Subscribe, SubscribeError,
    Topic, TopicOptions,
};
use tokio::time::Instant;

use crate::network::Network;
use crate::support::{Peer, filter, member_with, text, topic};

fn builder() -> HubBuilder {
    Hub::builder()
        .topics(|topic| TopicOptions::new().presence(topic.as_str() != "plain"))
        .presence(Config::new())
}

fn tell(outgoing: &Outgoing<'_>) -> Option<Message> {
    let Outgoing::Presence(event) = outgoing else { return None };
    let change = match event.change {
        Change::Joined => "joined",
        Change::Left => "left",
    };
    Some(Message::text(format!("{} {change} {}", event.member.info.user, event.topic)))
}

fn join(hub: &Hub, user: &str) -> (tautline_hub::Member, Peer) {
    member_with(hub, Attach::new().info(MemberInfo::new(user)).tell(tell), 64 << 10)
}

fn users(hub: &Hub) -> Vec<String> {
    let presence = hub.presence(&topic("room"), 100).unwrap();
    let mut users: Vec<_> =
        presence.members.iter().map(|member| member.info.user.to_string()).collect();
    users.sort_unstable();
    users
}

/// Until these are there, within the time that is documented for it.
async fn until(hub: &Hub, expected: &[&str]) {
    let latest = Instant::now() + Config::new().convergence(0);
    let is_complete = || hub.presence(&topic("room"), 100).unwrap().complete;
    while users(hub) != expected || !is_complete() {
        assert!(Instant::now() < latest, "{:?} instead of {expected:?}", users(hub));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_subscribes_is_present_and_others_are_told() {
    let hub = builder().build();
    let room = topic("room");
    let (watcher, mut told) = join(&hub, "watcher");
    watcher.subscribe(&room, Subscribe::new().hidden(true).watch(true)).await.unwrap();
    assert_eq!(hub.present(&room), Some(Counts { members: 0, users: 0 }));
    let (alice, _alices) = join(&hub, "alice");
    let how = Subscribe::new().presence_data("red");
    alice.subscribe(&room, how).await.unwrap();
    alice.subscribe(&topic("plain"), Subscribe::new()).await.unwrap();
    alice.subscribe(filter("*"), Subscribe::new()).await.unwrap();
    assert_eq!(text(&mut told).await, "alice joined room");
    let presence = hub.presence(&room, 10).unwrap();
    assert!(presence.complete);
    assert_eq!(presence.members.len(), 1);
    assert_eq!(
        (presence.members[0].id, &*presence.members[0].info.topic_data),
        (alice.id(), &b"red"[..])
    );
    assert_eq!(hub.present(&topic("plain")), Some(Counts::default()));
    // A second connection of the same user is nothing new, and neither is one that comes back soon.
    let (again, _agains) = join(&hub, "alice");
    again.subscribe(&room, Subscribe::new()).await.unwrap();
    assert_eq!(hub.present(&room), Some(Counts { members: 2, users: 1 }));
    drop((alice, again));
    assert_eq!(hub.present(&room), Some(Counts::default()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (back, _backs) = join(&hub, "alice");
    back.subscribe(&room, Subscribe::new()).await.unwrap();
    let (bob, _bobs) = join(&hub, "bob");
    bob.subscribe(&room, Subscribe::new()).await.unwrap();
    assert_eq!(text(&mut told).await, "bob joined room");
    assert!(back.unsubscribe(&room));
    assert_eq!(text(&mut told).await, "alice left room");
}

#[tokio::test]
async fn who_cannot_be_present_is_not_subscribed() {
    let hub = builder().build();
    let (long, _peer) = join(&hub, &"x".repeat(300));
    let refused = long.subscribe(&topic("room"), Subscribe::new()).await;
    assert!(matches!(refused, Err(SubscribeError::Presence(JoinError::UserTooLong(300)))));
    assert_eq!((long.subscriptions(), hub.topics()), (0, 0));
    assert!(Hub::new().presence(&topic("room"), 10).is_none());
}

// A subscription that was ended from outside as soon as it was made: the member was present afterwards, in a topic
// that it was not in. The application ends it here where it is asked about the topic.
#[tokio::test]
async fn whose_subscription_is_ended_at_once_is_not_present() {
    let to_end = Arc::new(OnceLock::<(Hub, MemberId)>::new());
    let ends = to_end.clone();
    let topics = move |_: &Topic| {
        if let Some((hub, member)) = ends.get() {
            hub.unsubscribe(*member, &filter("room"), 1);
        }
        TopicOptions::new().presence(true)
    };
    let hub = Hub::builder().topics(topics).presence(Config::new()).build();
    let (alice, _peer) = join(&hub, "alice");
    to_end.set((hub.clone(), alice.id())).unwrap();
    alice.subscribe(&topic("room"), Subscribe::new()).await.unwrap();
    let present = hub.present(&topic("room")).unwrap().members;
    assert_eq!(present, hub.subscribers(&filter("room")));
    assert_eq!(present, alice.subscriptions());
}

// Nodes know of each other's members within the documented time, also of those of a node that was cut off or
// that is gone.
#[tokio::test(start_paused = true)]
async fn nodes_know_the_same_members_within_the_documented_time() {
    let network = Network::default();
    let (here, _) = network.hub(builder());
    let (there, node) = network.hub(builder());
    let room = topic("room");
    let (alice, mut told) = join(&here, "alice");
    alice.subscribe(&room, Subscribe::new().watch(true)).await.unwrap();
    let (bob, _bobs) = join(&there, "bob");
    bob.subscribe(&room, Subscribe::new()).await.unwrap();
    until(&here, &["alice", "bob"]).await;
    until(&there, &["alice", "bob"]).await;
    assert_eq!(text(&mut told).await, "alice joined room");
    assert_eq!(text(&mut told).await, "bob joined room");
    // Cut off, for longer than a node may be silent.
    network.cut(node);
    let (carol, _carols) = join(&there, "carol");
    until(&here, &["alice"]).await;
    assert_eq!(users(&there), ["alice", "bob"], "what was known is kept while nobody can be heard");
    assert!(!there.presence(&room, 10).unwrap().complete);
    network.heal(node);
    carol.subscribe(&room, Subscribe::new()).await.unwrap();
    until(&here, &["alice", "bob", "carol"]).await;
    until(&there, &["alice", "bob", "carol"]).await;
    // Gone, without a word.
    drop((bob, carol, there));
    until(&here, &["alice"]).await;
}

// It was told of its subscription, and sent what it had missed, before presence was asked: the call failed, and
// the connection had it nevertheless. A client of Centrifuge's protocol could take itself for subscribed.
#[tokio::test]
async fn who_cannot_be_present_gets_nothing() {
    let room = topic("room");
    let hub = Hub::builder()
        .topics(|_| TopicOptions::new().presence(true).history(Keep::last(5)))
        .presence(Config::new().alone(true))
        .build();
    let first = hub.publish(&room, "1").await.unwrap().position.unwrap();
    hub.publish(&room, "2").await.unwrap();
    let (alice, mut peer) = join(&hub, &"a".repeat(256));
    for _ in 0..2 {
        let missed = alice.subscribe(&room, Subscribe::new().since(first)).await;
        let error = missed.unwrap_err();
        assert!(
            matches!(error, SubscribeError::Presence(JoinError::UserTooLong(256))),
            "{error:?}"
        );
        assert_eq!((alice.subscriptions(), hub.subscribers(&filter("room"))), (0, 0));
    }
    hub.publish(&room, "3").await.unwrap();
    alice.send("the end");
    assert_eq!(text(&mut peer).await, "the end");
    // Where it is not present, it is subscribed.
    alice.subscribe(&room, Subscribe::new().hidden(true)).await.unwrap();
    hub.publish(&room, "4").await.unwrap();
    assert_eq!(text(&mut peer).await, "4");
}
