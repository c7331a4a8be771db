use std::cell::Cell;

use super::*;
use crate::centrifuge::Expiry;

const TOO_MANY: &str = r#""error":{"code":111,"message":"too many requests","temporary":true}"#;

#[test]
fn channels_are_limited() {
    each_connected(&Config::new().max_channels(2), |mut client| {
        client.subscribe("a", Subscribed::default());
        client.send(r#"{"id":2,"subscribe":{"channel":"b"}}"#);
        client.send(r#"{"id":3,"subscribe":{"channel":"c"}}"#);
        assert_eq!(
            client.received(),
            r#"{"id":3,"error":{"code":106,"message":"limit exceeded"}}"#,
            "one that is about to be counts"
        );
        client.refuse(ClientError::PERMISSION_DENIED);
        client.received();
        client.subscribe("c", Subscribed::default());
        client.send(r#"{"id":4,"unsubscribe":{"channel":"a"}}"#);
        client.left();
        client.received();
        assert_eq!(client.subscribe("d", Subscribed::default()), r#"{"id":2,"subscribe":{}}"#);
        assert!(!client.session.subscribe("e", &Subscribed::default(), client.now));
        assert_eq!(client.closed(), Some(Disconnect::CHANNEL_LIMIT));
    });
    each(&Config::new().max_channels(2), |mut client| {
        client.send(r#"{"id":1,"connect":{}}"#);
        let mut connected = Connected::new("");
        for channel in ["a", "b", "c"] {
            connected.subscriptions.insert(channel.to_owned(), Subscribed::default());
        }
        client.answer(Answer::Connect(connected));
        assert_eq!(client.closed(), Some(Disconnect::CHANNEL_LIMIT));
    });
}

#[test]
fn names_are_bounded() {
    let (longest, longer) = ("x".repeat(255), "x".repeat(256));
    for command in ["subscribe", "publish", "presence", "presence_stats", "history"] {
        each_connected(&Config::new(), |mut client| {
            client.send(&format!(r#"{{"id":2,"{command}":{{"channel":"{longer}"}}}}"#));
            assert_eq!(
                client.received(),
                r#"{"id":2,"error":{"code":107,"message":"bad request"}}"#
            );
            assert!(client.event().is_none());
            client.send(&format!(r#"{{"id":2,"{command}":{{"channel":"{longest}"}}}}"#));
            client.request();
        });
    }
    each_connected(&Config::new(), |mut client| {
        client.send(&format!(r#"{{"id":2,"rpc":{{"method":"{longer}"}}}}"#));
        assert_eq!(client.received(), r#"{"id":2,"error":{"code":107,"message":"bad request"}}"#);
        client.send(&format!(r#"{{"id":2,"rpc":{{"method":"{longest}"}}}}"#));
        client.request();
    });
}

#[test]
fn requests_that_wait_are_limited() {
    each_connected(&Config::new().max_pending(2), |mut client| {
        client.send(r#"{"id":2,"rpc":{}}"#);
        client.send(r#"{"id":3,"subscribe":{"channel":"a"}}"#);
        for command in [
            r#""rpc":{}"#,
            r#""subscribe":{"channel":"b"}"#,
            r#""unsubscribe":{"channel":"a"}"#,
            r#""history":{"channel":"a"}"#,
        ] {
            client.send(&format!(r#"{{"id":4,{command}}}"#));
            assert_eq!(client.received(), format!(r#"{{"id":4,{TOO_MANY}}}"#), "{command}");
        }
        client.answer(Answer::Rpc("".into()));
        client.send(r#"{"id":5,"unsubscribe":{"channel":"a"}}"#);
        client.send(r#"{"id":6,"subscribe":{"channel":"a"}}"#);
        let received = client.received();
        assert_eq!(
            received.lines().collect::<Vec<_>>(),
            [r#"{"id":2,"rpc":{}}"#, &*format!(r#"{{"id":6,{TOO_MANY}}}"#)],
            "what waits for a channel counts"
        );
        client.answer(Answer::Subscribe(Subscribed::default()));
        client.send(r#"{"id":7,"rpc":{}}"#);
        client.send(r#"{"id":8,"rpc":{}}"#);
        assert!(!client.received().contains("error"), "and does no more when it is done");
    });
}

// The application has not let it in yet, and it goes on and on.
#[test]
fn what_waits_for_the_first_answer_is_limited() {
    each(&Config::new().max_commands(2), |mut client| {
        client.send(r#"{"id":1,"connect":{}}"#);
        client.send(r#"{"id":2,"rpc":{}}"#);
        client.send(r#"{"id":3,"rpc":{}}"#);
        assert_eq!(client.closed(), None);
        client.send(r#"{"id":4,"rpc":{}}"#);
        assert_eq!(client.closed(), Some(Disconnect::TOO_MANY_REQUESTS));
    });
    // Only their number was bounded: somebody who was not let in yet could have 64 MiB held.
    each(&Config::new(), |mut client| {
        client.send(r#"{"id":1,"connect":{}}"#);
        let long = format!(r#"{{"id":2,"rpc":{{"data":"{}"}}}}"#, "x".repeat(40_000));
        client.send(&long);
        assert_eq!(client.closed(), None);
        client.send(&long);
        assert_eq!(client.closed(), Some(Disconnect::TOO_MANY_REQUESTS));
    });
    // With what the first frame has beside the first command; and once the client is in, there is no such bound.
    each(&Config::new(), |mut client| {
        let long = format!(r#"{{"id":2,"rpc":{{"data":"{}"}}}}"#, "x".repeat(40_000));
        client.send(&format!("{{\"id\":1,\"connect\":{{}}}}\n{long}"));
        client.send(&long);
        client.answer(Answer::Connect(Connected::new("")));
        client.send(&long);
        assert_eq!(client.closed(), None);
        assert_eq!((0..3).map(|_| client.request()).count(), 3);
    });
}

// It was so in commands alone, each of which may be as long as a frame: 64 MiB of a client that nobody knew.
#[test]
fn what_waits_for_the_first_answer_is_limited_in_bytes() {
    let command = format!(r#"{{"id":2,"rpc":{{"data":"{}"}}}}"#, "x".repeat(400));
    each(&Config::new().max_frame(1000), |mut client| {
        client.send(r#"{"id":1,"connect":{}}"#);
        client.send(&command);
        client.send(&command);
        assert_eq!(client.closed(), None);
        client.send(&command);
        assert_eq!(client.closed(), Some(Disconnect::TOO_MANY_REQUESTS));
    });
    // What comes later is another matter.
    each_connected(&Config::new().max_frame(1000), |mut client| {
        for _ in 0..10 {
            client.send(&command);
        }
        assert_eq!(client.closed(), None);
    });
}

#[test]
fn what_waits_to_be_sent_is_limited() {
    let data = Payload::json(&"x".repeat(1000)).unwrap();
    each_connected(&Config::new().max_queue(100_000), |mut client| {
        let mut sent = 0;
        while client.session.message(&data) {
            sent += 1;
            assert!(sent < 100, "{sent}");
        }
        assert!(sent > 90, "{sent}");
        assert_eq!(client.received(), "", "it would not have taken that either");
        assert_eq!(client.closed(), Some(Disconnect::SLOW));
    });
    // What is taken does not count, nor how long one message is.
    each_connected(&Config::new().max_queue(500), |mut client| {
        for _ in 0..100 {
            assert!(client.session.message(&data));
            assert_eq!(client.received().lines().count(), 1);
        }
    });
}

// A client that had asked for something long was closed as slow by the next short message, although it had had no time
// to take anything.
#[test]
fn what_waits_behind_a_long_message_is_limited_by_itself() {
    let (long, short) = ("x".repeat(300_000), "x".repeat(1_000));
    let [long, short] = [&long, &short].map(|data| Payload::json(data).unwrap());
    each_connected(&Config::new().max_queue(100_000), |mut client| {
        assert!(client.session.message(&long));
        for _ in 0..90 {
            assert!(client.session.message(&short));
        }
        assert_eq!(client.received().lines().count(), 91);
        // Another long one is not behind it.
        assert!(client.session.message(&short));
        assert!(client.session.message(&long) && client.session.message(&short));
        client.session.message(&long);
        assert_eq!(client.closed(), Some(Disconnect::SLOW));
    });
}

// A frame is not put off until everything is in it.
#[test]
fn what_waits_is_sent_in_frames_of_some_size() {
    let data = Payload::json(&"x".repeat(1000)).unwrap();
    each_connected(&Config::new(), |mut client| {
        for _ in 0..100 {
            client.session.message(&data);
        }
        let frames: Vec<_> = std::iter::from_fn(|| client.session.poll_transmit()).collect();
        let messages = frames.iter().map(|frame| replies(client.format, frame).len());
        assert_eq!(messages.sum::<usize>(), 100);
        assert!(frames.len() > 1);
        assert!(frames.iter().all(|frame| frame.len() < 20_000));
    });
}

// The client turned out to be too slow in the middle of a call: for an answer to its subscription, or for a ping.
// What the call had still to do was done: the application was asked, was told that a channel was left, and frames
// were to be sent.
#[test]
fn nothing_follows_the_end_in_the_same_call() {
    let over = Some(Expiry::by_client(Duration::ZERO));
    let answers = [Subscribed::default(), Subscribed { expiry: over, ..Subscribed::default() }];
    let commands = [
        r#"{"id":2,"subscribe":{"channel":"a","recover":true,"flag":2}}"#,
        r#"{"id":2,"subscribe":{"channel":"a"}}"#,
    ];
    let ends = Cell::new([0; 5]);
    let end = |client: &mut Client, case: usize| {
        let Some(disconnect) = client.closed() else { return };
        assert_eq!(disconnect, Disconnect::SLOW);
        assert!(client.event().is_none());
        assert_eq!(client.received(), "");
        let mut counts = ends.get();
        counts[case] += 1;
        ends.set(counts);
    };
    let config = Config::new().max_queue(200).ping(secs(20), secs(5));
    for len in 0..200 {
        let data = Payload::json(&"x".repeat(len)).unwrap();
        for case in 0..4 {
            each_connected(&config, |mut client| {
                client.send(commands[case / 2]);
                client.send(r#"{"id":3,"unsubscribe":{"channel":"a"}}"#);
                client.send(r#"{"id":4,"subscribe":{"channel":"a"}}"#);
                client.session.message(&data);
                client.answer(Answer::Subscribe(answers[case % 2].clone()));
                end(&mut client, case);
            });
        }
        each(&config, |mut client| {
            let expiry = Some(Expiry::by_server(secs(10)));
            client.connect(Connected { expiry, ..Connected::new("alice") });
            client.session.message(&data);
            client.now += secs(20);
            client.session.handle_timeout(client.now);
            end(&mut client, 4);
        });
    }
    assert!(ends.get().iter().all(|count| *count > 0), "{:?}", ends.get());
}
