//! What the outlet and the handler do with it.

use super::*;
use crate::centrifuge::config::Config;
use crate::centrifuge::request::{Connected, Request};
use crate::centrifuge::session::Event;

/// A client that has asked to be connected.
fn asking() -> (Shared, RequestId) {
    let mut session = Session::new(Config::new().no_ping(), Format::Json, "", now());
    session.handle_frame(br#"{"id":1,"connect":{}}"#).unwrap();
    let Some(Event::Request(id, Request::Connect(_))) = session.poll_event() else { panic!() };
    (Shared::new(session, Format::Json, 1000), id)
}

/// It is, with these channels.
fn connect(shared: &Shared, id: RequestId) -> bool {
    let mut connected = Connected::new("alice");
    for channel in ["a", "b"] {
        connected.subscriptions.insert(channel.to_owned(), Subscribed::default());
    }
    shared.connect(id, Ok(Answer::Connect(connected)))
}

// What came behind the gap was sent before the connection ended: the client came back from there, and never heard that
// something was missing.
#[test]
fn nothing_comes_behind_a_gap_that_ends_the_connection() {
    let (shared, id) = asking();
    assert!(connect(&shared, id));
    shared.open();
    assert!(!shared.is_leaving("a") && !shared.is_leaving("b"));
    shared.lost("a");
    assert_eq!(shared.lock().session.poll_close(), Some(Disconnect::INSUFFICIENT_STATE));
    assert!(shared.is_leaving("a") && !shared.is_settled());
}

// It was forgotten: the client was told that it was subscribed, and heard nothing of it.
#[test]
fn what_ends_while_the_client_is_being_connected_is_told_behind_that() {
    let (shared, id) = asking();
    shared.ended("a", Unsubscribe::SERVER.code());
    assert!(connect(&shared, id));
    let left = shared.next_left().unwrap();
    assert!(left.channel == "a" && left.by_hub);
    shared.mark();
    assert!(
        shared.next_frame().is_none(),
        "the application does not know yet that it is connected"
    );
    shared.open();
    let frame = shared.next_frame().unwrap();
    let lines: Vec<_> = frame.as_text().unwrap().lines().collect();
    assert!(lines[0].starts_with(r#"{"id":1,"connect""#), "{lines:?}");
    assert_eq!(
        lines[1],
        r#"{"push":{"channel":"a","unsubscribe":{"code":2000,"reason":"server unsubscribe"}}}"#
    );
    let (shared, id) = asking();
    shared.lost("b");
    assert!(!connect(&shared, id));
    assert_eq!(shared.lock().session.poll_close(), Some(Disconnect::INSUFFICIENT_STATE));
}

// The handler waited for ever for a subscription that the hub would never tell of.
#[tokio::test]
async fn whoever_waits_for_a_start_hears_of_the_end() {
    let (shared, id) = asking();
    assert!(connect(&shared, id));
    for _ in 0..2 {
        let (started, start_of) = oneshot::channel();
        let grant = SubscribeGrant::new();
        shared.starting(Starting::Connecting { grant, started });
        // Before the second, it has ended.
        shared.end();
        start_of.await.unwrap_err();
    }
    assert!(shared.lock().starting.is_empty());
}

// The session left a subscription which the hub had ended already, though the session had not heard of it; that ended the
// next one, and the client waited for what is published for ever.
#[test]
fn a_subscription_that_was_ended_instead_of_the_one_before_is_told() {
    let (shared, id) = asking();
    assert!(connect(&shared, id));
    shared.open();
    assert!(shared.next_frame().is_some());
    shared.ended("a", LEFT);
    shared.mark();
    let frame = shared.next_frame().unwrap();
    let ended =
        r#"{"push":{"channel":"a","unsubscribe":{"code":2000,"reason":"server unsubscribe"}}}"#;
    assert_eq!(frame.as_text(), Some(ended));
    let left = shared.next_left().unwrap();
    assert!(left.channel == "a" && left.by_hub);
    // It is not ended twice.
    shared.told();
    shared.ended("a", LEFT);
    assert!(shared.next_left().is_none());
}
