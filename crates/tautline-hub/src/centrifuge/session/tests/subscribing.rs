use super::*;
use crate::centrifuge::data::{Membership, Publication};
use crate::centrifuge::request::Stream;
use crate::position::{Epoch, Position};

#[test]
fn the_application_decides_who_subscribes() {
    each_connected(&Config::new(), |mut client| {
        client.send(
            r#"{"id":2,"subscribe":{"channel":"a","token":"t","data":[1],"positioned":true,"recoverable":true,"join_leave":true}}"#,
        );
        let (id, request) = client.request();
        let Request::Subscribe(subscribe) = request else { panic!("{request:?}") };
        assert_eq!((&*subscribe.channel, &*subscribe.token), ("a", "t"));
        assert_eq!(subscribe.data, "[1]".into());
        assert!(subscribe.positioned && subscribe.recoverable && subscribe.join_leave);
        assert_eq!(subscribe.since, None);
        assert_eq!(client.session.channels().count(), 0);

        let mut subscribed = Subscribed { data: "{}".into(), ..Subscribed::default() };
        subscribed.info = "\"i\"".into();
        assert!(client.session.answer(id, Ok(Answer::Subscribe(subscribed)), client.now));
        assert_eq!(client.received(), r#"{"id":2,"subscribe":{"data":{}}}"#);
        assert_eq!(client.session.channels().collect::<Vec<_>>(), ["a"]);
        assert_eq!(client.session.client_info("a").subscription, "\"i\"".into());
        assert!(client.session.client_info("b").subscription.is_empty());
    });
}

#[test]
fn a_refused_subscription_is_none() {
    each_connected(&Config::new(), |mut client| {
        client.send(r#"{"id":2,"subscribe":{"channel":"a"}}"#);
        client.refuse(ClientError::PERMISSION_DENIED);
        assert_eq!(
            client.received(),
            r#"{"id":2,"error":{"code":103,"message":"permission denied"}}"#
        );
        assert!(!client.session.publication("a", &Publication::new("1")));
        assert_eq!(client.received(), "");
        assert_eq!(client.subscribe("a", Subscribed::default()), r#"{"id":2,"subscribe":{}}"#);
    });
    each_connected(&Config::new(), |mut client| {
        client.send(r#"{"id":2,"subscribe":{"channel":"a"}}"#);
        client.refuse(Disconnect::PERMISSION_DENIED);
        assert_eq!(client.closed(), Some(Disconnect::PERMISSION_DENIED));
    });
}

#[test]
fn subscribers_get_what_is_pushed() {
    each_connected(&Config::new(), |mut client| {
        client.subscribe("a", Subscribed::default());
        let bob = ClientInfo::new("c2", "bob");
        let mut publication = Publication::new("{\"x\":\n1}");
        publication.offset = 5;
        publication.info = Some(bob.clone());
        assert!(client.session.publication("a", &publication));
        assert!(client.session.membership("a", Membership::Join, &bob));
        assert!(client.session.membership("a", Membership::Leave, &bob));
        assert!(client.session.message(&"\"hi\"".into()));
        assert!(!client.session.publication("b", &publication));
        assert!(!client.session.membership("b", Membership::Join, &bob));
        let received = client.received();
        let expected = [
            r#"{"push":{"channel":"a","pub":{"data":{"x": 1},"info":{"user":"bob","client":"c2"},"offset":5}}}"#,
            r#"{"push":{"channel":"a","join":{"info":{"user":"bob","client":"c2"}}}}"#,
            r#"{"push":{"channel":"a","leave":{"info":{"user":"bob","client":"c2"}}}}"#,
            r#"{"push":{"message":{"data":"hi"}}}"#,
        ];
        assert_eq!(received.lines().collect::<Vec<_>>(), expected);
    });
}

#[test]
fn a_client_unsubscribes() {
    each_connected(&Config::new(), |mut client| {
        client.subscribe("a", Subscribed::default());
        client.send(r#"{"id":3,"unsubscribe":{"channel":"a"}}"#);
        assert_eq!(client.received(), r#"{"id":3,"unsubscribe":{}}"#);
        assert_eq!(client.left(), "a");
        assert!(!client.session.publication("a", &Publication::new("1")));
        // From what it is not subscribed to, too.
        client.send(r#"{"id":4,"unsubscribe":{"channel":"a"}}"#);
        assert_eq!(client.received(), r#"{"id":4,"unsubscribe":{}}"#);
        assert!(client.event().is_none());
    });
}

#[test]
fn the_server_unsubscribes_a_client() {
    each_connected(&Config::new(), |mut client| {
        client.subscribe("a", Subscribed::default());
        assert!(client.session.unsubscribe("a", Unsubscribe::INSUFFICIENT_STATE));
        assert_eq!(
            client.received(),
            r#"{"push":{"channel":"a","unsubscribe":{"code":2500,"reason":"insufficient state"}}}"#
        );
        assert_eq!(client.left(), "a");
        assert!(!client.session.unsubscribe("a", Unsubscribe::SERVER));
        assert_eq!(client.received(), "");
    });
}

#[test]
fn a_client_subscribes_once_to_a_channel() {
    let already = r#"{"id":3,"error":{"code":105,"message":"already subscribed"}}"#;
    each_connected(&Config::new(), |mut client| {
        client.send(r#"{"id":2,"subscribe":{"channel":"a"}}"#);
        client.send(r#"{"id":3,"subscribe":{"channel":"a"}}"#);
        assert_eq!(client.received(), already);
        client.answer(Answer::Subscribe(Subscribed::default()));
        assert!(client.event().is_none());
        client.received();
        client.send(r#"{"id":3,"subscribe":{"channel":"a"}}"#);
        assert_eq!(client.received(), already);
    });
}

// The application is slow, and the user in a hurry: what is asked of a channel is done in its order.
#[test]
fn what_is_asked_of_a_channel_is_done_in_its_order() {
    let subscribe = r#"{"id":2,"subscribe":{"channel":"a"}}"#;
    let unsubscribe = r#"{"id":3,"unsubscribe":{"channel":"a"}}"#;
    let again = r#"{"id":4,"subscribe":{"channel":"a"}}"#;
    each_connected(&Config::new(), |mut client| {
        for command in [subscribe, unsubscribe, again] {
            client.send(command);
        }
        let (first, _) = client.request();
        assert!(client.event().is_none(), "the second one waits for the first");
        assert_eq!(client.received(), "");
        client.session.answer(first, Ok(Answer::Subscribe(Subscribed::default())), client.now);
        assert_eq!(
            client.received().lines().collect::<Vec<_>>(),
            [r#"{"id":2,"subscribe":{}}"#, r#"{"id":3,"unsubscribe":{}}"#]
        );
        assert_eq!(client.left(), "a");
        client.answer(Answer::Subscribe(Subscribed::default()));
        assert_eq!(client.received(), r#"{"id":4,"subscribe":{}}"#);
        assert_eq!(client.session.channels().collect::<Vec<_>>(), ["a"]);
    });
    // The same if the first one is refused: there is nothing to leave then.
    each_connected(&Config::new(), |mut client| {
        for command in [subscribe, unsubscribe, again, unsubscribe] {
            client.send(command);
        }
        client.refuse(ClientError::PERMISSION_DENIED);
        assert_eq!(
            client.received().lines().collect::<Vec<_>>(),
            [
                r#"{"id":2,"error":{"code":103,"message":"permission denied"}}"#,
                r#"{"id":3,"unsubscribe":{}}"#
            ]
        );
        client.answer(Answer::Subscribe(Subscribed::default()));
        assert_eq!(
            client.received().lines().collect::<Vec<_>>(),
            [r#"{"id":4,"subscribe":{}}"#, r#"{"id":3,"unsubscribe":{}}"#]
        );
        assert_eq!(client.left(), "a");
        assert!(client.event().is_none());
    });
    each_connected(&Config::new(), |mut client| {
        client.send(subscribe);
        assert!(
            client.session.unsubscribe("a", Unsubscribe::SERVER),
            "when it has been subscribed"
        );
        client.answer(Answer::Subscribe(Subscribed::default()));
        assert_eq!(
            client.received().lines().collect::<Vec<_>>(),
            [
                r#"{"id":2,"subscribe":{}}"#,
                r#"{"push":{"channel":"a","unsubscribe":{"code":2000,"reason":"server unsubscribe"}}}"#
            ]
        );
        assert_eq!(client.left(), "a");
    });
}

#[test]
fn the_server_subscribes_a_client() {
    each_connected(&Config::new(), |mut client| {
        let position = Position { epoch: Epoch::from_u64(0xff), offset: 9 };
        let mut stream = Stream::new(position);
        stream.recoverable = true;
        let subscribed =
            Subscribed { stream: Some(stream), data: "1".into(), ..Subscribed::default() };
        assert!(client.session.subscribe("a", &subscribed, client.now));
        assert_eq!(
            client.received(),
            concat!(
                r#"{"push":{"channel":"a","subscribe":{"recoverable":true,"epoch":"ff","offset":9,"#,
                r#""positioned":true,"data":1}}}"#
            )
        );
        assert!(client.session.publication("a", &Publication::new("1")));
        assert!(!client.session.subscribe("a", &subscribed, client.now), "it is already");
        client.send(r#"{"id":2,"subscribe":{"channel":"b"}}"#);
        assert!(!client.session.subscribe("b", &subscribed, client.now), "it will be");
    });
    each(&Config::new(), |mut client| {
        assert!(!client.session.subscribe("a", &Subscribed::default(), client.now));
        assert!(!client.session.message(&"1".into()));
        assert_eq!(client.received(), "");
    });
}

// Maps and shared polls are of newer servers.
#[test]
fn what_is_not_supported_is_refused() {
    let not_available = r#"{"id":2,"error":{"code":108,"message":"not available"}}"#;
    for r#type in 1..5 {
        each_connected(&Config::new(), |mut client| {
            client.send(&format!(r#"{{"id":2,"subscribe":{{"channel":"a","type":{type}}}}}"#));
            assert_eq!(client.received(), not_available);
            client.send(&format!(r#"{{"id":2,"publish":{{"channel":"a","type":{type}}}}}"#));
            assert_eq!(client.received(), not_available);
            client.subscribe("a", Subscribed::default());
            client.send(&format!(r#"{{"id":2,"sub_refresh":{{"channel":"a","type":{type}}}}}"#));
            assert_eq!(client.received(), not_available);
            assert!(client.event().is_none());
        });
    }
    let mut client = Client::new(Format::Json, Config::new());
    client.connect(Connected::new(""));
    client.send(r#"{"id":2,"subscribe":{"channel":"a","tf":{"key":"k"}}}"#);
    assert_eq!(client.received(), r#"{"id":2,"error":{"code":107,"message":"bad request"}}"#);
    // Deltas and numbers for channels are offers that a server need not take.
    client.send(r#"{"id":3,"subscribe":{"channel":"a","delta":"fossil","flag":1}}"#);
    client.answer(Answer::Subscribe(Subscribed::default()));
    assert_eq!(client.received(), r#"{"id":3,"subscribe":{}}"#);
}

// It subscribes again, and recovers; or, where only the server can subscribe it, it comes back.
#[test]
fn a_client_that_has_lost_something_recovers() {
    each_connected(&Config::new(), |mut client| {
        client.subscribe("a", Subscribed::default());
        client.session.lost("a");
        assert_eq!(
            client.received(),
            r#"{"push":{"channel":"a","unsubscribe":{"code":2500,"reason":"insufficient state"}}}"#
        );
        assert_eq!(client.left(), "a");
        client.session.lost("a");
        assert_eq!(client.received(), "");
        assert_eq!(client.closed(), None);
        client.session.subscribe("b", &Subscribed::default(), client.now);
        client.session.lost("b");
        assert_eq!(client.closed(), Some(Disconnect::INSUFFICIENT_STATE));
    });
}
