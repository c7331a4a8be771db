use super::*;
use crate::centrifuge::data::SinceEpoch;
use crate::centrifuge::request::Stream;
use crate::position::{Epoch, Position};

#[test]
fn the_application_decides_who_connects() {
    each(&Config::new().version("v1"), |mut client| {
        client.send(
            r#"{"id":1,"connect":{"token":"t","data":{"a":1},"name":"js","version":"5.8","headers":{"h":"w"}}}"#,
        );
        assert!(!client.session.is_connected());
        let (id, request) = client.request();
        let Request::Connect(connect) = request else { panic!("{request:?}") };
        assert_eq!((&*connect.token, &*connect.name, &*connect.version), ("t", "js", "5.8"));
        assert_eq!(connect.data, r#"{"a":1}"#.into());
        assert_eq!(connect.headers["h"], "w");

        let mut connected = Connected::new("alice");
        connected.info = r#"{"name":"Alice"}"#.into();
        connected.data = "[1]".into();
        assert!(client.session.answer(id, Ok(Answer::Connect(connected.clone())), client.now));
        assert_eq!(
            client.received(),
            r#"{"id":1,"connect":{"client":"c1","version":"v1","data":[1],"ping":25,"pong":true}}"#
        );
        assert!(client.session.is_connected());
        let info = client.session.client_info("any");
        assert_eq!((&*info.user, &*info.client), ("alice", "c1"));
        assert_eq!(info.connection, connected.info);
        // A second answer is nobody's.
        assert!(!client.session.answer(id, Ok(Answer::Connect(connected)), client.now));
        assert_eq!(client.received(), "");
    });
}

#[test]
fn the_first_command_connects() {
    for command in ["{}", r#"{"id":1,"rpc":{}}"#, r#"{"send":{}}"#] {
        each(&Config::new(), |mut client| {
            client.send(command);
            assert_eq!(client.closed(), Some(Disconnect::BAD_REQUEST));
            assert_eq!(client.session.fault(), Some("the first command does not connect"));
            assert!(client.event().is_none());
        });
    }
    each(&Config::new(), |mut client| {
        client.send(r#"{"connect":{}}"#);
        assert_eq!(client.closed(), Some(Disconnect::BAD_REQUEST));
        assert_eq!(client.session.fault(), Some("a command without an id"));
    });
}

#[test]
fn a_client_connects_once() {
    each_connected(&Config::new(), |mut client| {
        client.send(r#"{"id":2,"connect":{}}"#);
        assert_eq!(client.closed(), Some(Disconnect::BAD_REQUEST));
    });
}

// SDKs send their subscriptions in the frame of the first command, without waiting for its answer.
#[test]
fn what_comes_with_the_first_command_waits_for_its_answer() {
    let frame = concat!(
        r#"{"id":1,"connect":{}}"#,
        "\n",
        r#"{"id":2,"subscribe":{"channel":"a"}}"#,
        "\n",
        r#"{"id":3,"rpc":{"method":"m"}}"#
    );
    each(&Config::new(), |mut client| {
        client.send(frame);
        client.send(r#"{"send":{"data":1}}"#);
        let (connect, _) = client.request();
        assert!(client.event().is_none());
        client.session.answer(connect, Ok(Answer::Connect(Connected::new(""))), client.now);
        assert!(matches!(client.request().1, Request::Subscribe(_)));
        assert!(matches!(client.request().1, Request::Rpc(_)));
        assert!(matches!(client.event(), Some(Event::Message(data)) if data == "1".into()));
    });
    each(&Config::new(), |mut client| {
        client.send(frame);
        client.refuse(ClientError::TOKEN_EXPIRED);
        assert_eq!(client.received(), r#"{"id":1,"error":{"code":109,"message":"token expired"}}"#);
        assert!(client.event().is_none());
        assert_eq!(client.closed(), None, "the client goes by itself");
    });
}

#[test]
fn a_client_that_is_refused_has_nothing_more_to_say() {
    each(&Config::new(), |mut client| {
        client.send(r#"{"id":1,"connect":{}}"#);
        client.refuse(ClientError::new(1000, "no").temporary());
        assert_eq!(
            client.received(),
            r#"{"id":1,"error":{"code":1000,"message":"no","temporary":true}}"#
        );
        client.send(r#"{"id":2,"connect":{}}"#);
        assert_eq!(client.closed(), Some(Disconnect::BAD_REQUEST));
    });
    each(&Config::new(), |mut client| {
        client.send(r#"{"id":1,"connect":{}}"#);
        client.refuse(ClientError::UNAUTHORIZED);
        assert_eq!(client.wait(), secs(15));
        assert_eq!(client.closed(), Some(Disconnect::STALE), "it did not go");
    });
    each(&Config::new(), |mut client| {
        client.send(r#"{"id":1,"connect":{}}"#);
        client.refuse(Disconnect::INVALID_TOKEN);
        assert_eq!(client.received(), "");
        assert_eq!(client.closed(), Some(Disconnect::INVALID_TOKEN));
    });
}

#[test]
fn a_client_that_does_not_connect_in_time_is_closed() {
    each(&Config::new(), |mut client| {
        assert_eq!(client.wait(), secs(15));
        assert_eq!(client.closed(), Some(Disconnect::STALE));
        assert_eq!(client.session.poll_timeout(), None);
    });
    // Nor if it is the application that takes so long.
    each(&Config::new().stale_after(secs(1)), |mut client| {
        client.send(r#"{"id":1,"connect":{}}"#);
        let (id, _) = client.request();
        assert_eq!(client.wait(), secs(1));
        assert_eq!(client.closed(), Some(Disconnect::STALE));
        assert!(!client.session.answer(id, Ok(Answer::Connect(Connected::new(""))), client.now));
    });
}

#[test]
fn the_server_subscribes_a_client_that_connects() {
    each(&Config::new(), |mut client| {
        client.send(
            r#"{"id":1,"connect":{"subs":{"a":{"recover":true,"offset":3,"epoch":"e"},"b":{},"c":{"recover":true}}}}"#,
        );
        let epoch = Epoch::from_u64(0xe);
        let (id, request) = client.request();
        let Request::Connect(connect) = request else { panic!("{request:?}") };
        let positions: Vec<_> = connect.positions.into_iter().collect();
        let since = |offset, epoch| Since { offset, epoch };
        assert_eq!(
            positions,
            [
                ("a".to_owned(), since(3, SinceEpoch::Of(epoch))),
                ("c".to_owned(), since(0, SinceEpoch::Any)),
            ]
        );
        let mut connected = Connected::new("alice");
        let mut recovered = Stream::new(Position { epoch, offset: 4 });
        recovered.recoverable = true;
        let mut publication = crate::centrifuge::data::Publication::new("1");
        publication.offset = 4;
        recovered.recovered = Some(vec![publication]);
        let with = |stream| Subscribed { stream, ..Subscribed::default() };
        connected.subscriptions.insert("a".to_owned(), with(Some(recovered)));
        connected.subscriptions.insert("d".to_owned(), with(None));
        assert!(client.session.answer(id, Ok(Answer::Connect(connected)), client.now));
        assert_eq!(
            client.received(),
            concat!(
                r#"{"id":1,"connect":{"client":"c1","subs":{"a":{"recoverable":true,"epoch":"e","#,
                r#""publications":[{"data":1,"offset":4}],"recovered":true,"offset":3,"#,
                r#""positioned":true,"was_recovering":true},"d":{}},"ping":25,"pong":true}}"#
            )
        );
        let mut channels: Vec<_> = client.session.channels().collect();
        channels.sort_unstable();
        assert_eq!(channels, ["a", "d"]);
    });
}

// A client without a time to refresh by has nothing to refresh.
#[test]
fn what_has_expired_already_is_refused() {
    each(&Config::new(), |mut client| {
        client.send(r#"{"id":1,"connect":{}}"#);
        let mut connected = Connected::new("");
        connected.expiry = Some(crate::centrifuge::Expiry::by_client(Duration::ZERO));
        client.answer(Answer::Connect(connected));
        assert_eq!(client.received(), r#"{"id":1,"error":{"code":110,"message":"expired"}}"#);
        assert!(!client.session.is_connected());
    });
}
