//! Members that come, go, and are told off.

use std::cell::Cell;
use std::task::{Context, Poll};

use tautline::{CloseCode, CloseFrame, Message};
use tautline_hub::{
    Action, Attach, Ended, Hub, MemberInfo, Outgoing, Outlet, PublishError, Subscribe,
    SubscribeError,
};

use crate::support::{filter, member, member_with, text, topic};

fn info(user: &str) -> Attach {
    Attach::new().info(MemberInfo::new(user))
}

#[tokio::test]
async fn the_application_decides_who_may_what_and_may_change_its_mind() {
    let allow = |info: &MemberInfo, action: Action<'_>| match action {
        Action::Subscribe(filter) => filter.as_str() != "secret" || &*info.user == "alice",
        Action::Publish(topic) => topic.as_str() != "news",
        _ => false,
    };
    let hub = Hub::builder().authorize(allow).build();
    let tell = |outgoing: &Outgoing<'_>| match outgoing {
        Outgoing::Unsubscribed(filter, code) => {
            Some(Message::text(format!("{} {code}", filter.as_str())))
        }
        _ => None,
    };
    let (alice, mut alices) = member_with(&hub, info("alice").tell(tell), 64 << 10);
    let (bob, mut bobs) = member_with(&hub, info("bob"), 64 << 10);
    alice.subscribe(&topic("secret"), Subscribe::new()).await.unwrap();
    alice.subscribe(&topic("news"), Subscribe::new()).await.unwrap();
    let refused = bob.subscribe(&topic("secret"), Subscribe::new()).await;
    assert!(matches!(refused, Err(SubscribeError::Refused)));
    bob.subscribe(&topic("news"), Subscribe::new()).await.unwrap();
    let refused = bob.publish(&topic("news"), "fake").await;
    assert!(matches!(refused, Err(PublishError::Refused)));

    hub.set_authorize(
        |_, action| matches!(action, Action::Subscribe(filter) if filter.as_str() == "news"),
    );
    hub.publish(&topic("secret"), "still").await.unwrap();
    assert_eq!(text(&mut alices).await, "still");
    assert_eq!(hub.review(103), 1);
    hub.publish(&topic("secret"), "no more").await.unwrap();
    hub.publish(&topic("news"), "news").await.unwrap();
    assert_eq!(text(&mut alices).await, "secret 103");
    assert_eq!(text(&mut alices).await, "news");
    assert_eq!(text(&mut bobs).await, "news");
}

#[tokio::test]
async fn a_member_can_be_closed_and_its_subscriptions_ended_from_outside() {
    let hub = Hub::new();
    let (alice, mut peer) = member(&hub);
    alice.subscribe(&topic("a"), Subscribe::new()).await.unwrap();
    assert!(hub.unsubscribe(alice.id(), &filter("a"), 1));
    assert!(!hub.unsubscribe(alice.id(), &filter("a"), 1));
    assert_eq!(hub.topics(), 0);
    assert_eq!(hub.members().len(), 1);
    assert!(hub.disconnect(alice.id(), CloseCode::POLICY_VIOLATION));
    assert!(peer.next().await.is_none());
    assert_eq!(peer.close_frame().unwrap().code(), CloseCode::POLICY_VIOLATION);
    let id = alice.id();
    drop(alice);
    assert!(!hub.disconnect(id, CloseCode::NORMAL));
    assert!(hub.members().is_empty());
}

#[tokio::test]
async fn who_has_gone_is_forgotten_with_what_it_subscribed() {
    let hub = Hub::new();
    let (alice, mut peer) = member(&hub);
    let (bob, mut bobs) = member(&hub);
    for member in [&alice, &bob] {
        member.subscribe(&topic("a"), Subscribe::new()).await.unwrap();
    }
    peer.close().await.unwrap();
    // The hub notices when it has something to send.
    hub.publish(&topic("a"), "1").await.unwrap();
    assert_eq!(text(&mut bobs).await, "1");
    hub.publish(&topic("a"), "2").await.unwrap();
    assert_eq!(text(&mut bobs).await, "2");
    assert!(alice.has_ended());
    assert_eq!(hub.subscribers(&filter("a")), 1);
    let subscribed = alice.subscribe(&topic("b"), Subscribe::new()).await;
    assert!(matches!(subscribed, Err(SubscribeError::Ended)));
}

// Numbers of members and subscriptions are used again: nothing of the former one may go to the next.
#[tokio::test]
async fn what_was_for_one_never_reaches_the_next() {
    let hub = Hub::new();
    for round in 0..200 {
        let (alice, mut alices) = member(&hub);
        let (bob, mut bobs) = member(&hub);
        for name in ["a", "b", "c"] {
            alice.subscribe(&topic(name), Subscribe::new()).await.unwrap();
        }
        bob.subscribe(&topic("b"), Subscribe::new()).await.unwrap();
        hub.publish(&topic("b"), format!("b {round}")).await.unwrap();
        alice.unsubscribe(topic("a"));
        alice.subscribe(&topic("d"), Subscribe::new()).await.unwrap();
        hub.publish(&topic("a"), "nobody").await.unwrap();
        hub.publish(&topic("d"), format!("d {round}")).await.unwrap();
        assert_eq!(text(&mut alices).await, format!("b {round}"));
        assert_eq!(text(&mut alices).await, format!("d {round}"));
        assert_eq!(text(&mut bobs).await, format!("b {round}"));
        if round % 2 == 0 {
            drop(alice);
            hub.publish(&topic("b"), "last").await.unwrap();
            assert_eq!(text(&mut bobs).await, "last");
        }
    }
    assert_eq!(hub.topics(), 0);
}

/// Panics in the method with this name, and once more when it is dropped.
struct Panicking(&'static str);

impl Panicking {
    fn at(&self, method: &str) {
        assert_ne!(self.0, method, "the test says so");
    }
}

impl Outlet for Panicking {
    fn poll_feed(&mut self, what: &Outgoing<'_>, _: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        if matches!(what, Outgoing::Delivery(_)) {
            self.at("feed");
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        self.at("flush");
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _: &CloseFrame, _: &mut Context<'_>) -> Poll<()> {
        self.at("close");
        Poll::Ready(())
    }

    fn takes_recovered(&self) -> bool {
        self.at("recovered");
        false
    }
}

impl Drop for Panicking {
    fn drop(&mut self) {
        if !std::thread::panicking() && self.0 != "nowhere" {
            panic!("the test says so");
        }
    }
}

// An outlet that panicked ended the task that writes to all members of its thread: they got nothing any more, and nobody
// was told.
#[tokio::test]
async fn an_outlet_that_panics_ends_its_member_and_no_other() {
    for method in ["nowhere", "recovered", "feed", "flush", "close", "drop"] {
        let hub = Hub::new();
        let (bob, mut bobs) = member(&hub);
        let carol = hub.attach_outlet(Panicking(method), Attach::new());
        for member in [&carol, &bob] {
            member.subscribe(&topic("a"), Subscribe::new()).await.unwrap();
        }
        hub.publish(&topic("a"), "1").await.unwrap();
        assert_eq!(text(&mut bobs).await, "1", "{method}");
        hub.disconnect(carol.id(), CloseCode::NORMAL);
        hub.publish(&topic("a"), "2").await.unwrap();
        assert_eq!(text(&mut bobs).await, "2", "{method}");
        while !carol.has_ended() {
            tokio::task::yield_now().await;
        }
    }
}

/// Has no room, and panics when it is asked for the second time.
#[derive(Default)]
struct Stuck(Cell<bool>);

impl Outlet for Stuck {
    fn poll_feed(&mut self, _: &Outgoing<'_>, _: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        Poll::Pending
    }

    fn poll_close(&mut self, _: &CloseFrame, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn takes_recovered(&self) -> bool {
        assert!(!self.0.replace(true), "the test says so");
        false
    }
}

// Nobody wakes it: it kept its subscriptions, and what came for them.
#[tokio::test]
async fn an_outlet_that_panics_while_it_has_no_room_ends_its_member() {
    let hub = Hub::new();
    let (bob, mut bobs) = member(&hub);
    let carol = hub.attach_outlet(Stuck::default(), Attach::new());
    bob.subscribe(&topic("a"), Subscribe::new()).await.unwrap();
    carol.subscribe(&topic("a"), Subscribe::new()).await.unwrap();
    // It has been written to, and is without room.
    hub.publish(&topic("a"), "1").await.unwrap();
    assert_eq!(text(&mut bobs).await, "1");
    carol.subscribe(&topic("b"), Subscribe::new()).await.unwrap();
    while !carol.has_ended() {
        tokio::task::yield_now().await;
    }
    assert_eq!(hub.topics(), 1);
}
