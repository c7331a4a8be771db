use super::*;
use crate::centrifuge::Expiry;

/// A client that is not pinged, so that only what expires is due.
fn quiet() -> Config {
    Config::new().no_ping()
}

#[test]
fn a_client_is_pinged_and_answers() {
    each_connected(&Config::new(), |mut client| {
        let first = client.wait();
        assert!((secs(12)..=secs(25)).contains(&first), "{first:?}");
        assert_eq!(client.received(), "{}");
        client.now += secs(3);
        client.send("{}");
        // The interval is from ping to ping.
        assert_eq!(client.wait(), secs(22));
        assert_eq!(client.received(), "{}");
        assert_eq!(client.closed(), None);
    });
}

#[test]
fn a_client_that_does_not_answer_is_closed() {
    each_connected(&Config::new(), |mut client| {
        client.wait();
        client.received();
        client.send(r#"{"send":{"data":1}}"#);
        assert_eq!(client.wait(), secs(10), "a message is no answer");
        assert_eq!(client.closed(), Some(Disconnect::NO_PONG));
    });
    // Its time is not longer than the interval.
    let config = Config::new().ping(secs(2), secs(60));
    each(&config, |mut client| {
        assert!(client.connect(Connected::new("")).contains(r#""ping":2,"pong":true"#));
        client.wait();
        assert_eq!(client.wait(), secs(2));
        assert_eq!(client.closed(), Some(Disconnect::NO_PONG));
    });
}

#[test]
fn a_client_answers_only_pings() {
    each_connected(&Config::new(), |mut client| {
        client.send("{}");
        assert_eq!(client.closed(), Some(Disconnect::BAD_REQUEST));
        assert_eq!(client.session.fault(), Some("an answer to a ping that was not sent"));
    });
    each_connected(&Config::new(), |mut client| {
        client.wait();
        client.send("{}\n{}");
        assert_eq!(client.closed(), Some(Disconnect::BAD_REQUEST), "twice");
    });
    each(&quiet(), |mut client| {
        assert_eq!(
            client.connect(Connected::new("")),
            r#"{"id":1,"connect":{"client":"c1"}}"#,
            "no pings are announced"
        );
        assert_eq!(client.session.poll_timeout(), None);
        client.send("{}");
        assert_eq!(client.closed(), Some(Disconnect::BAD_REQUEST));
    });
}

fn expiring(expiry: Expiry) -> Connected {
    Connected { expiry: Some(expiry), ..Connected::new("alice") }
}

#[test]
fn a_client_refreshes_its_connection() {
    each(&quiet(), |mut client| {
        let received = client.connect(expiring(Expiry::by_client(secs(60))));
        assert_eq!(received, r#"{"id":1,"connect":{"client":"c1","expires":true,"ttl":60}}"#);
        client.now += secs(60);
        client.session.handle_timeout(client.now);
        client.send(r#"{"id":2,"refresh":{"token":"new"}}"#);
        let request = client.answer(Answer::Refresh(Some(Expiry::by_client(secs(30)))));
        let Request::Refresh(refresh) = request else { panic!("{request:?}") };
        assert_eq!(refresh.token.as_deref(), Some("new"));
        assert_eq!(
            client.received(),
            r#"{"id":2,"refresh":{"client":"c1","expires":true,"ttl":30}}"#
        );
        // It has 25 s more than it was told.
        assert_eq!(client.wait(), secs(55));
        assert_eq!(client.closed(), Some(Disconnect::EXPIRED));
    });
}

#[test]
fn a_connection_may_stop_to_expire() {
    each(&quiet(), |mut client| {
        client.connect(expiring(Expiry::by_client(secs(60))));
        client.send(r#"{"id":2,"refresh":{"token":"new"}}"#);
        client.answer(Answer::Refresh(None));
        assert_eq!(client.received(), r#"{"id":2,"refresh":{"client":"c1"}}"#);
        assert_eq!(client.session.poll_timeout(), None);
    });
}

#[test]
fn a_refresh_can_be_refused() {
    each(&quiet(), |mut client| {
        client.connect(expiring(Expiry::by_client(secs(60))));
        client.send(r#"{"id":2,"refresh":{"token":"bad"}}"#);
        client.refuse(ClientError::UNAUTHORIZED);
        assert_eq!(client.received(), r#"{"id":2,"error":{"code":101,"message":"unauthorized"}}"#);
        client.send(r#"{"id":3,"refresh":{"token":"late"}}"#);
        client.answer(Answer::Refresh(Some(Expiry::by_client(Duration::ZERO))));
        assert_eq!(client.received(), r#"{"id":3,"error":{"code":110,"message":"expired"}}"#);
        assert_eq!(client.wait(), secs(85), "the old time counts");
        assert_eq!(client.closed(), Some(Disconnect::EXPIRED));
    });
    each(&quiet(), |mut client| {
        client.connect(expiring(Expiry::by_client(secs(60))));
        client.send(r#"{"id":2,"refresh":{}}"#);
        assert_eq!(client.closed(), Some(Disconnect::BAD_REQUEST));
    });
}

// The client hears nothing of it.
#[test]
fn the_application_refreshes_a_connection() {
    each(&quiet(), |mut client| {
        let received = client.connect(expiring(Expiry::by_server(secs(60))));
        assert_eq!(received, r#"{"id":1,"connect":{"client":"c1"}}"#);
        assert_eq!(client.wait(), secs(60));
        let request = client.answer(Answer::Refresh(Some(Expiry::by_server(secs(30)))));
        assert!(matches!(request, Request::Refresh(RefreshRequest { token: None })));
        assert_eq!(client.wait(), secs(30));
        client.refuse(ClientError::EXPIRED);
        assert_eq!(client.received(), "");
        assert_eq!(client.closed(), Some(Disconnect::EXPIRED));
    });
    // It has some time to answer.
    each(&quiet(), |mut client| {
        client.connect(expiring(Expiry::by_server(secs(60))));
        client.wait();
        assert_eq!(client.wait(), secs(25));
        assert_eq!(client.closed(), Some(Disconnect::EXPIRED));
    });
    each(&quiet(), |mut client| {
        client.connect(expiring(Expiry::by_server(secs(60))));
        client.send(r#"{"id":2,"refresh":{"token":"t"}}"#);
        assert_eq!(client.closed(), Some(Disconnect::BAD_REQUEST), "it was not asked to");
    });
}

#[test]
fn the_application_refreshes_a_connection_unasked() {
    each(&quiet(), |mut client| {
        assert!(!client.session.refresh(None, client.now), "it is not connected");
        client.connect(expiring(Expiry::by_client(secs(60))));
        assert!(client.session.refresh(Some(Expiry::by_client(secs(100))), client.now));
        assert_eq!(client.received(), r#"{"push":{"refresh":{"expires":true,"ttl":100}}}"#);
        assert_eq!(client.session.poll_timeout(), Some(client.now + secs(125)));
        assert!(client.session.refresh(None, client.now));
        assert_eq!(client.received(), r#"{"push":{"refresh":{}}}"#);
        assert_eq!(client.session.poll_timeout(), None);
        assert!(!client.session.refresh(Some(Expiry::by_client(Duration::ZERO)), client.now));
        assert_eq!(client.closed(), Some(Disconnect::EXPIRED));
    });
}

fn subscribed(expiry: Expiry) -> Subscribed {
    Subscribed { expiry: Some(expiry), ..Subscribed::default() }
}

#[test]
fn a_client_refreshes_a_subscription() {
    each(&quiet(), |mut client| {
        client.connect(Connected::new(""));
        assert_eq!(
            client.subscribe("a", subscribed(Expiry::by_client(secs(60)))),
            r#"{"id":2,"subscribe":{"expires":true,"ttl":60}}"#
        );
        client.send(r#"{"id":3,"sub_refresh":{"channel":"a","token":"new"}}"#);
        let request = client.answer(Answer::SubRefresh(Some(Expiry::by_client(secs(30)))));
        let Request::SubRefresh(refresh) = request else { panic!("{request:?}") };
        assert_eq!((&*refresh.channel, refresh.token.as_deref()), ("a", Some("new")));
        assert_eq!(client.received(), r#"{"id":3,"sub_refresh":{"expires":true,"ttl":30}}"#);
        client.send(r#"{"id":4,"sub_refresh":{"channel":"a","token":"late"}}"#);
        client.answer(Answer::SubRefresh(Some(Expiry::by_client(Duration::ZERO))));
        assert_eq!(client.received(), r#"{"id":4,"error":{"code":110,"message":"expired"}}"#);
        client.send(r#"{"id":5,"sub_refresh":{"channel":"a","token":"bad"}}"#);
        client.refuse(ClientError::PERMISSION_DENIED);
        client.received();
        // SDKs subscribe again at this code.
        assert_eq!(client.wait(), secs(55));
        assert_eq!(
            client.received(),
            r#"{"push":{"channel":"a","unsubscribe":{"code":2501,"reason":"subscription expired"}}}"#
        );
        assert_eq!(client.left(), "a");
        assert_eq!(client.closed(), None);
        assert_eq!(client.session.poll_timeout().unwrap_or(client.now), client.now);
    });
}

#[test]
fn only_what_expires_is_refreshed() {
    each_connected(&quiet(), |mut client| {
        client.send(r#"{"id":2,"sub_refresh":{"channel":"a","token":"t"}}"#);
        assert_eq!(
            client.received(),
            r#"{"id":2,"error":{"code":103,"message":"permission denied"}}"#
        );
        client.subscribe("b", subscribed(Expiry::by_client(secs(60))));
        client.send(r#"{"id":3,"sub_refresh":{"channel":"b"}}"#);
        assert_eq!(client.received(), r#"{"id":3,"error":{"code":107,"message":"bad request"}}"#);
        client.subscribe("a", Subscribed::default());
        client.send(r#"{"id":4,"sub_refresh":{"channel":"a","token":"t"}}"#);
        assert_eq!(client.closed(), Some(Disconnect::BAD_REQUEST));
    });
}

#[test]
fn the_application_refreshes_a_subscription() {
    each_connected(&quiet(), |mut client| {
        assert_eq!(
            client.subscribe("a", subscribed(Expiry::by_server(secs(60)))),
            r#"{"id":2,"subscribe":{}}"#
        );
        assert_eq!(client.wait(), secs(60));
        let request = client.answer(Answer::SubRefresh(Some(Expiry::by_server(secs(10)))));
        let Request::SubRefresh(refresh) = request else { panic!("{request:?}") };
        assert_eq!((&*refresh.channel, refresh.token), ("a", None));
        while client.event().is_none() {
            client.wait();
        }
        assert_eq!(client.received(), "");
        client.wait();
        assert!(client.received().contains("2501"), "it did not answer");
        assert_eq!(client.left(), "a");
    });
    each_connected(&quiet(), |mut client| {
        client.subscribe("a", subscribed(Expiry::by_server(secs(60))));
        client.wait();
        client.refuse(ClientError::EXPIRED);
        assert!(client.received().contains("2501"));
        assert_eq!(client.left(), "a");
    });
}

// The client subscribed anew while the application thought about the old one. That its time was over, which is
// another answer than a refusal, once ended the new one.
#[test]
fn a_late_answer_is_not_for_the_next_subscription() {
    let over = Some(Expiry::by_server(Duration::ZERO));
    for answer in [Err(ClientError::EXPIRED.into()), Ok(Answer::SubRefresh(over))] {
        each_connected(&quiet(), |mut client| {
            client.subscribe("a", subscribed(Expiry::by_server(secs(60))));
            client.wait();
            let (late, _) = client.request();
            client.send(r#"{"id":3,"unsubscribe":{"channel":"a"}}"#);
            assert_eq!(client.left(), "a");
            client.received();
            client.subscribe("a", Subscribed::default());
            assert!(client.session.answer(late, answer.clone(), client.now));
            assert_eq!(client.received(), "");
            assert_eq!(client.session.channels().count(), 1);
        });
    }
}

// A client cannot subscribe again to what the server subscribed it to. It comes back instead.
#[test]
fn a_subscription_of_the_server_that_expires_closes_the_connection() {
    each_connected(&quiet(), |mut client| {
        let subscribed = subscribed(Expiry::by_server(secs(60)));
        client.session.subscribe("a", &subscribed, client.now);
        client.wait();
        client.refuse(ClientError::EXPIRED);
        assert_eq!(client.closed(), Some(Disconnect::SUBSCRIPTION_EXPIRED));
    });
}

// "Never", as somebody may write it, was now: clients were closed with "no pong" as soon as they came, and what
// the application was asked to refresh had expired before it could answer.
#[test]
fn times_beyond_the_clock_are_never() {
    each_connected(&Config::new().ping(Duration::MAX, Duration::MAX), |client| {
        assert_eq!(client.session.poll_timeout(), None);
    });
    each(&quiet().grace(Duration::MAX), |mut client| {
        client.connect(expiring(Expiry::by_server(secs(60))));
        client.subscribe("a", subscribed(Expiry::by_server(secs(60))));
        client.wait();
        client.now += secs(1000);
        client.session.handle_timeout(client.now);
        assert_eq!((client.session.poll_timeout(), client.closed()), (None, None));
        client.answer(Answer::Refresh(Some(Expiry::by_server(secs(30)))));
        client.answer(Answer::SubRefresh(Some(Expiry::by_server(secs(20)))));
        assert_eq!(client.wait(), secs(20));
    });
}

// One subscription of the server ended the connection, and the application was asked about the others.
#[test]
fn nothing_is_asked_once_a_subscription_has_ended_the_connection() {
    each(&quiet(), |mut client| {
        let mut connected = Connected::new("alice");
        let over = Expiry::by_client(secs(5));
        connected.subscriptions.insert("over".to_owned(), subscribed(over));
        for number in 0..50 {
            let asked = subscribed(Expiry::by_server(secs(30)));
            connected.subscriptions.insert(number.to_string(), asked);
        }
        client.connect(connected);
        assert_eq!(client.wait(), secs(30));
        assert_eq!(client.closed(), Some(Disconnect::SUBSCRIPTION_EXPIRED));
        assert!(client.event().is_none());
    });
}
