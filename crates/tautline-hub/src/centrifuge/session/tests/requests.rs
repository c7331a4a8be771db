use std::iter;

use super::*;
use crate::centrifuge::data::{Publication, SinceEpoch};
use crate::centrifuge::request::HistoryPage;
use crate::position::{Epoch, Position};

#[test]
fn a_client_publishes() {
    each_connected(&Config::new(), |mut client| {
        client.send(r#"{"id":2,"publish":{"channel":"a","data":{"x": 1}}}"#);
        let request = client.answer(Answer::Publish);
        let Request::Publish(publish) = request else { panic!("{request:?}") };
        assert_eq!((&*publish.channel, publish.data), ("a", "{\"x\": 1}".into()));
        assert_eq!(client.received(), r#"{"id":2,"publish":{}}"#);
    });
}

#[test]
fn a_client_asks_who_is_there() {
    each_connected(&Config::new(), |mut client| {
        client.send(r#"{"id":2,"presence":{"channel":"a"}}"#);
        let mut bob = ClientInfo::new("c2", "bob");
        bob.connection = "1".into();
        let request = client.answer(Answer::Presence(vec![bob, ClientInfo::new("c3", "")]));
        assert!(matches!(request, Request::Presence(channel) if channel == "a"));
        assert_eq!(
            client.received(),
            concat!(
                r#"{"id":2,"presence":{"presence":{"c2":{"user":"bob","client":"c2","conn_info":1},"#,
                r#""c3":{"user":"","client":"c3"}}}}"#
            )
        );
        client.send(r#"{"id":3,"presence_stats":{"channel":"a"}}"#);
        let request = client.answer(Answer::PresenceStats { clients: 2, users: 1 });
        assert!(matches!(request, Request::PresenceStats(channel) if channel == "a"));
        assert_eq!(
            client.received(),
            r#"{"id":3,"presence_stats":{"num_clients":2,"num_users":1}}"#
        );
    });
}

#[test]
fn a_client_reads_history() {
    let page = |offsets: &[u64]| {
        let publication = |offset: &u64| {
            let mut publication = Publication::new("{}");
            publication.offset = *offset;
            publication
        };
        let position = Position { epoch: Epoch::from_u64(0xe), offset: 9 };
        HistoryPage::new(offsets.iter().map(publication).collect(), position)
    };
    each_connected(&Config::new().max_history(50), |mut client| {
        let cases = [
            ("", 0, false, None),
            (r#","limit":10"#, 10, false, None),
            (r#","limit":51"#, 50, false, None),
            (r#","limit":-1"#, 50, false, None),
            (r#","limit":2147483647,"reverse":true"#, 50, true, None),
            (r#","since":{"offset":3,"epoch":"e"}"#, 0, false, Some((3, "e"))),
            (r#","since":{}"#, 0, false, Some((0, ""))),
        ];
        for (members, limit, reverse, since) in cases {
            client.send(&format!(r#"{{"id":2,"history":{{"channel":"a"{members}}}}}"#));
            let request = client.answer(Answer::History(page(&[])));
            let Request::History(history) = request else { panic!("{request:?}") };
            let expected = since.map(|(offset, epoch)| Since::read(offset, epoch));
            assert_eq!((history.limit, history.reverse, history.since), (limit, reverse, expected));
            assert_eq!(
                client.received(),
                r#"{"id":2,"history":{"publications":[],"epoch":"e","offset":9}}"#
            );
        }
        assert_eq!(Since::read(0, "").epoch, SinceEpoch::Any);
        client.send(r#"{"id":3,"history":{"channel":"a","limit":2}}"#);
        client.answer(Answer::History(page(&[8, 9])));
        assert_eq!(
            client.received(),
            concat!(
                r#"{"id":3,"history":{"publications":[{"data":{},"offset":8},{"data":{},"offset":9}],"#,
                r#""epoch":"e","offset":9}}"#
            )
        );
        client.send(r#"{"id":4,"history":{"channel":"a","since":{"offset":1}}}"#);
        client.refuse(ClientError::UNRECOVERABLE_POSITION);
        assert_eq!(
            client.received(),
            r#"{"id":4,"error":{"code":112,"message":"unrecoverable position"}}"#
        );
    });
}

// Answers go with their requests, in whatever order they come.
#[test]
fn a_client_calls() {
    each_connected(&Config::new(), |mut client| {
        client.send(concat!(
            r#"{"id":2,"rpc":{"method":"one","data":[1]}}"#,
            "\n",
            r#"{"id":3,"rpc":{"method":"two"}}"#,
            "\n",
            r#"{"id":4,"rpc":{}}"#
        ));
        let all: Vec<_> = iter::from_fn(|| client.event()).collect();
        let ids: Vec<_> = all
            .iter()
            .map(|event| match event {
                Event::Request(id, Request::Rpc(_)) => *id,
                other => panic!("{other:?}"),
            })
            .collect();
        let Event::Request(_, Request::Rpc(rpc)) = &all[0] else { unreachable!() };
        assert_eq!((&*rpc.method, &rpc.data), ("one", &"[1]".into()));
        let answer = |answer: &str| Ok(Answer::Rpc(answer.into()));
        client.session.answer(ids[2], answer(""), client.now);
        client.session.answer(ids[1], answer("{\"two\":2}"), client.now);
        client.session.answer(ids[0], Err(ClientError::METHOD_NOT_FOUND.into()), client.now);
        let received = client.received();
        assert_eq!(
            received.lines().collect::<Vec<_>>(),
            [
                r#"{"id":4,"rpc":{}}"#,
                r#"{"id":3,"rpc":{"data":{"two":2}}}"#,
                r#"{"id":2,"error":{"code":104,"message":"method not found"}}"#
            ]
        );
    });
}

#[test]
fn a_client_sends_messages() {
    each_connected(&Config::new(), |mut client| {
        client.send("{\"send\":{\"data\":1}}\n{\"id\":7,\"send\":{\"data\":2}}");
        for data in ["1", "2"] {
            assert!(matches!(client.event(), Some(Event::Message(sent)) if sent == data.into()));
        }
        assert_eq!(client.received(), "", "nobody waits for an answer");
    });
}

#[test]
fn old_pings_are_answered() {
    each_connected(&Config::new(), |mut client| {
        client.send(r#"{"id":2,"ping":{}}"#);
        assert_eq!(client.received(), r#"{"id":2,"ping":{}}"#);
    });
}

#[test]
fn commands_that_make_no_sense_close_the_connection() {
    for (command, fault) in [
        (r#"{"id":2}"#, "a command that is not known"),
        (r#"{"id":2,"unknown":{}}"#, "a command that is not known"),
        (r#"{"rpc":{}}"#, "a command without an id"),
        (r#"{"id":2,"subscribe":{}}"#, "a command for a channel without a name"),
        (r#"{"id":2,"unsubscribe":{}}"#, "a command for a channel without a name"),
        (r#"{"id":2,"publish":{}}"#, "a command for a channel without a name"),
        (r#"{"id":2,"presence":{}}"#, "a command for a channel without a name"),
        (r#"{"id":2,"presence_stats":{}}"#, "a command for a channel without a name"),
        (r#"{"id":2,"history":{}}"#, "a command for a channel without a name"),
        (r#"{"id":2,"sub_refresh":{}}"#, "a command for a channel without a name"),
        (
            r#"{"id":2,"refresh":{"token":"t"}}"#,
            "it is not for the client to refresh the connection",
        ),
    ] {
        each_connected(&Config::new(), |mut client| {
            client.send(&format!("{command}\n{{\"id\":3,\"rpc\":{{}}}}"));
            assert_eq!(client.closed(), Some(Disconnect::BAD_REQUEST), "{command}");
            assert_eq!(client.session.fault(), Some(fault), "{command}");
            assert!(client.event().is_none(), "what follows is not carried out");
        });
    }
    each_connected(&Config::new(), |mut client| {
        assert!(client.session.handle_frame(b"\xFF").is_err());
        assert_eq!(client.closed(), Some(Disconnect::BAD_REQUEST));
        assert!(client.session.handle_frame(b"\xFF").is_ok(), "nobody reads that any more");
        assert_eq!(client.closed(), None);
    });
}

// An answer to something else is a mistake of the application's, which the client cannot help.
#[test]
fn an_answer_to_another_question_is_an_internal_error() {
    each_connected(&Config::new(), |mut client| {
        client.send(r#"{"id":2,"rpc":{}}"#);
        client.answer(Answer::Publish);
        assert_eq!(
            client.received(),
            r#"{"id":2,"error":{"code":100,"message":"internal server error","temporary":true}}"#
        );
    });
}

// A client with JSON cannot be told anything else.
#[test]
fn data_that_are_not_json_close_a_client_that_has_json() {
    let verbs: [fn(&mut Client); 4] = [
        |client| {
            client.session.publication("a", &Publication::new(vec![0xFF]));
        },
        |client| {
            client.session.message(&"hello".into());
        },
        |client| {
            client.send(r#"{"id":3,"rpc":{}}"#);
            client.answer(Answer::Rpc("hello".into()));
        },
        |client| {
            client.send(r#"{"id":3,"presence":{"channel":"a"}}"#);
            let mut info = ClientInfo::new("", "");
            info.subscription = "{".into();
            client.answer(Answer::Presence(vec![info]));
        },
    ];
    for verb in verbs {
        let mut client = Client::new(Format::Json, Config::new());
        client.connect(Connected::new(""));
        client.subscribe("a", Subscribed::default());
        verb(&mut client);
        assert_eq!(client.received(), "");
        assert_eq!(client.closed(), Some(Disconnect::INAPPROPRIATE_PROTOCOL));
        #[cfg(feature = "centrifuge-protobuf")]
        {
            let mut client = Client::new(Format::Protobuf, Config::new());
            client.connect(Connected::new(""));
            client.subscribe("a", Subscribed::default());
            verb(&mut client);
            assert!(client.session.poll_transmit().is_some());
            assert_eq!(client.closed(), None);
        }
    }
}

#[test]
fn what_is_sent_before_a_close_arrives() {
    each_connected(&Config::new(), |mut client| {
        client.send(r#"{"id":2,"rpc":{}}"#);
        client.session.message(&"1".into());
        client.session.disconnect(Disconnect::SHUTDOWN);
        client.session.disconnect(Disconnect::FORCE_RECONNECT);
        assert_eq!(client.received(), r#"{"push":{"message":{"data":1}}}"#);
        assert_eq!(client.closed(), Some(Disconnect::SHUTDOWN), "the first one counts");
        assert!(client.event().is_none());
        assert!(!client.session.is_connected());
        assert!(!client.session.message(&"1".into()));
        client.send(r#"{"id":3,"rpc":{}}"#);
        assert!(client.event().is_none());
    });
}
