//! What every broker does, whatever its server is. `tests!` makes a test of each for one kind.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tautline_hub::broker::{BrokerError, BrokerEvent, Range};
use tokio::task::JoinSet;

use crate::node::{Node, encoded, keep, text_of, topic};
use crate::server::Kind;

macro_rules! tests {
    ($kind:expr) => {
        macro_rules! case {
            ($name:ident) => {
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    crate::suite::$name($kind).await;
                }
            };
        }
        case!(what_is_kept_arrives_elsewhere_in_order_without_holes);
        case!(what_is_not_kept_has_no_place);
        case!(patterns_match_tokens_and_what_matches_twice_arrives_twice);
        case!(after_unsubscribing_nothing_arrives);
        case!(a_history_is_read_in_parts_and_from_its_end);
        case!(a_part_of_a_history_is_no_longer_than_it_may_be);
        case!(what_cannot_be_decoded_is_left_out_and_counts_as_read);
        case!(a_topic_without_publications_has_an_empty_history);
        case!(tops_are_those_of_their_topics);
        case!(a_publication_with_an_id_is_made_once);
        case!(all_nodes_hear_signals);
        case!(after_a_restart_subscriptions_and_histories_are_back);
        case!(while_the_server_is_away_everything_fails_and_is_made_up_for);
        case!(a_server_that_does_not_answer_is_lost);
        case!(ten_thousand_publications_at_once_keep_their_order);
        case!(thousands_of_subscriptions_are_made_and_come_back);
        case!(a_broker_that_was_shut_down_can_run_again);
    };
}
pub(crate) use tests;

/// Publishes what proves that all before it has arrived or never will.
async fn fence(node: &mut Node) {
    node.subscribe(&["fence"]).await;
    node.say("fence", "fence").await;
    let arrived = node.find(|event| match event {
        BrokerEvent::Arrived(arrival) => (arrival.topic.as_str() == "fence").then_some(()),
        _ => None,
    });
    arrived.await;
    node.unsubscribe(&["fence"]).await;
}

pub(crate) async fn what_is_kept_arrives_elsewhere_in_order_without_holes(kind: Kind) {
    let Some(server) = kind.start() else { return };
    let mut here = Node::connect(server.broker()).await;
    let there = Node::connect(server.broker()).await;
    here.subscribe(&["a.b"]).await;
    let mut places = Vec::new();
    for number in 0..100 {
        places.push(there.keep("a.b", &number.to_string()).await);
        there.keep("a.c", "not for here").await;
    }
    let mut previous = 0;
    for (number, kept) in places.into_iter().enumerate() {
        let arrival = here.arrival().await;
        assert_eq!(arrival.place, Some((kept, previous)), "{number}");
        assert_eq!((arrival.topic.as_str(), arrival.pattern.is_none()), ("a.b", true));
        assert_eq!(text_of(arrival.encoded), number.to_string());
        previous = kept.offset;
    }
}

pub(crate) async fn what_is_not_kept_has_no_place(kind: Kind) {
    let Some(server) = kind.start() else { return };
    let mut here = Node::connect(server.broker()).await;
    let there = Node::connect(server.broker()).await;
    here.subscribe(&["größe", "$JS.API.INFO", "a{b}?[c]"]).await;
    for name in ["größe", "$JS.API.INFO", "a{b}?[c]"] {
        there.say(name, name).await;
        let arrival = here.arrival().await;
        assert_eq!((arrival.topic.as_str(), arrival.place), (name, None));
        assert_eq!(text_of(arrival.encoded), name);
    }
}

pub(crate) async fn patterns_match_tokens_and_what_matches_twice_arrives_twice(kind: Kind) {
    let Some(server) = kind.start() else { return };
    let mut here = Node::connect(server.broker()).await;
    let there = Node::connect(server.broker()).await;
    here.subscribe(&["game.*.chat", "game.7.>", "game.7.chat", "x?y.*"]).await;
    // None of these matches, though a glob without tokens would.
    for name in ["game.7", "game.1.2.chat", "xay.1", "game"] {
        there.say(name, "no").await;
    }
    there.keep("game.7.chat", "thrice").await;
    there.say("game.8.chat", "once").await;
    there.say("x?y.1", "literally").await;
    fence(&mut here).await;
    let mut arrived = Vec::new();
    for _ in 0..5 {
        let arrival = here.arrival().await;
        let pattern = arrival.pattern.map(|pattern| pattern.to_string()).unwrap_or_default();
        arrived.push((text_of(arrival.encoded), pattern, arrival.place.is_some()));
    }
    arrived.sort();
    let arrived: Vec<_> = arrived.iter().map(|(a, b, c)| (a.as_str(), b.as_str(), *c)).collect();
    assert_eq!(
        arrived,
        [
            ("literally", "x?y.*", false),
            ("once", "game.*.chat", false),
            ("thrice", "", true),
            ("thrice", "game.*.chat", true),
            ("thrice", "game.7.>", true),
        ]
    );
    here.unsubscribe(&["game.*.chat"]).await;
    there.say("game.9.chat", "no").await;
    there.say("game.7.red", "still").await;
    assert_eq!(here.text().await, ("game.7.red".to_owned(), "still".to_owned()));
}

pub(crate) async fn after_unsubscribing_nothing_arrives(kind: Kind) {
    let Some(server) = kind.start() else { return };
    let mut here = Node::connect(server.broker()).await;
    let there = Node::connect(server.broker()).await;
    here.subscribe(&["a", "b", "c.>"]).await;
    there.say("a", "1").await;
    assert_eq!(here.text().await.1, "1");
    here.unsubscribe(&["a", "c.>"]).await;
    there.say("a", "2").await;
    there.keep("a", "3").await;
    there.say("c.d", "4").await;
    there.say("b", "5").await;
    fence(&mut here).await;
    assert_eq!(here.text().await, ("b".to_owned(), "5".to_owned()));
    here.subscribe(&["a"]).await;
    there.say("a", "6").await;
    assert_eq!(here.text().await, ("a".to_owned(), "6".to_owned()));
}

pub(crate) async fn a_history_is_read_in_parts_and_from_its_end(kind: Kind) {
    let Some(server) = kind.start() else { return };
    let node = Node::connect(server.broker()).await;
    let mut places = Vec::new();
    for number in 0..20 {
        places.push(node.keep("a", &number.to_string()).await);
        node.keep("b", "between").await;
    }
    let last = *places.last().unwrap();
    let read = |range, limit| {
        let broker = node.broker.clone();
        let places = &places;
        async move {
            let history = broker.history(&topic("a"), range, limit).await.unwrap();
            assert_eq!(history.top, last);
            let numbers = history.publications.iter().map(|(offset, publication)| {
                let number = publication.message().as_text().unwrap().parse::<usize>().unwrap();
                assert_eq!(*offset, places[number].offset);
                number
            });
            (numbers.collect::<Vec<_>>(), history.complete)
        }
    };
    let all: Vec<_> = (0..20).collect();
    assert_eq!(read(Range::After(0), 100).await, (all.clone(), true));
    assert_eq!(read(Range::After(places[4].offset), 3).await, (vec![5, 6, 7], true));
    assert_eq!(read(Range::After(places[18].offset), 3).await, (vec![19], true));
    assert_eq!(read(Range::After(last.offset), 3).await, (vec![], true));
    assert_eq!(read(Range::After(places[4].offset), 0).await, (vec![], true));
    assert!(!read(Range::After(last.offset + 100), 3).await.1, "beyond the end");
    assert_eq!(read(Range::Latest, 3).await.0, [19, 18, 17]);
    assert_eq!(read(Range::Latest, 1).await.0, [19]);
    assert_eq!(read(Range::Latest, 0).await.0, [0; 0]);
    assert_eq!(read(Range::Latest, 100).await.0, all.into_iter().rev().collect::<Vec<_>>());
}

// Parts were bounded by their number alone: a topic of long publications, of which a thousand were read at once, never
// came to its end in the time that there was.
pub(crate) async fn a_part_of_a_history_is_no_longer_than_it_may_be(kind: Kind) {
    const MAX: usize = 4 << 20;
    let Some(server) = kind.start() else { return };
    let node = Node::connect(server.broker()).await;
    let long = "x".repeat(300_000);
    let mut places = Vec::new();
    for _ in 0..100 {
        places.push(node.keep("a", &long).await.offset);
    }
    let (mut read, mut since, mut parts) = (Vec::new(), 0, 0);
    while read.len() < places.len() {
        let history = node.broker.history(&topic("a"), Range::After(since), 1_000).await.unwrap();
        assert!(history.complete);
        let bytes: usize = history.publications.iter().map(|(_, one)| one.message().len()).sum();
        assert!((1..MAX + long.len()).contains(&bytes), "{bytes}");
        read.extend(history.publications.iter().map(|(offset, _)| *offset));
        since = history.read_to;
        parts += 1;
    }
    assert_eq!(read, places);
    assert!(parts < 10, "{parts} parts, which are much shorter than they may be");
    let few = node.broker.history(&topic("a"), Range::After(since - 70), 65).await.unwrap();
    assert_eq!(few.publications.len(), MAX.div_ceil(long.len() + 7), "as many as fit, and one");
}

pub(crate) async fn what_cannot_be_decoded_is_left_out_and_counts_as_read(kind: Kind) {
    let Some(server) = kind.start() else { return };
    let node = Node::connect(server.broker()).await;
    let first = node.keep("a", "1").await;
    let mut last = first;
    for _ in 0..3 {
        let scribble = Bytes::from_static(b"\xffnot ours");
        let made = node.broker.publish(&topic("a"), scribble, Some(keep()), None).await;
        last = made.unwrap().unwrap();
    }
    let second = node.keep("a", "2").await;
    let read = async |after, limit| {
        let history = node.broker.history(&topic("a"), Range::After(after), limit).await.unwrap();
        assert_eq!((history.top, history.complete), (second, true));
        let offsets: Vec<_> = history.publications.iter().map(|(offset, _)| *offset).collect();
        (offsets, history.read_to)
    };
    assert_eq!(read(first.offset, 3).await, (vec![], last.offset));
    assert_eq!(read(first.offset - 1, 2).await, (vec![first.offset], first.offset + 1));
    assert_eq!(read(last.offset, 3).await, (vec![second.offset], second.offset));
    assert_eq!(read(second.offset, 3).await, (vec![], second.offset));
}

pub(crate) async fn a_topic_without_publications_has_an_empty_history(kind: Kind) {
    let Some(server) = kind.start() else { return };
    let mut node = Node::connect(server.broker()).await;
    node.keep("another", "x").await;
    node.subscribe(&["a"]).await;
    let empty = node.broker.history(&topic("a"), Range::Latest, 10).await.unwrap();
    assert!(empty.publications.is_empty());
    // What is published then goes on from there.
    let first = node.keep("a", "1").await;
    assert_eq!(first.epoch, empty.top.epoch);
    assert!(first.offset > empty.top.offset);
    let (place, previous) = node.arrival().await.place.unwrap();
    assert_eq!(place, first);
    assert!(previous <= empty.top.offset, "no hole");
    let since = node.broker.history(&topic("a"), Range::After(empty.top.offset), 10).await.unwrap();
    assert_eq!((since.publications.len(), since.complete), (1, true));
}

pub(crate) async fn tops_are_those_of_their_topics(kind: Kind) {
    let Some(server) = kind.start() else { return };
    let node = Node::connect(server.broker()).await;
    let a = node.keep("a", "1").await;
    node.keep("b", "2").await;
    let b = node.keep("b", "3").await;
    node.say("plain", "4").await;
    let mut topics = vec![topic("b"), topic("plain"), topic("a"), topic("never")];
    topics.extend((0..600).map(|number| topic(&format!("none.{number}"))));
    topics.push(topic("b"));
    let tops = node.broker.tops(topics).await.unwrap();
    assert_eq!(tops.len(), 605);
    assert_eq!(
        (tops[0], tops[1], tops[2], tops[3], tops[604]),
        (Some(b), None, Some(a), None, Some(b))
    );
    assert!(tops[4..604].iter().all(Option::is_none));
    assert_eq!(node.broker.tops(Vec::new()).await.unwrap(), []);
}

pub(crate) async fn a_publication_with_an_id_is_made_once(kind: Kind) {
    let Some(server) = kind.start() else { return };
    let mut here = Node::connect(server.broker()).await;
    let there = Node::connect(server.broker()).await;
    here.subscribe(&["a", "b"]).await;
    let id = || Some(Bytes::from_static(b"\x00 one\r\n\xff"));
    let publish = |node: &Node, name: &str, text: &str| {
        let (broker, topic, encoded) = (node.broker.clone(), topic(name), encoded(text));
        async move { broker.publish(&topic, encoded, Some(keep()), id()).await.unwrap() }
    };
    let first = publish(&here, "a", "1").await;
    assert!(first.is_some());
    assert_eq!(publish(&there, "a", "again").await, first);
    assert_ne!(publish(&there, "b", "2").await, first, "an id is of one topic");
    fence(&mut here).await;
    let mut arrived = [here.text().await.1, here.text().await.1];
    arrived.sort();
    assert_eq!(arrived, ["1", "2"]);
    here.keep("a", "4").await;
    assert_eq!(here.text().await.1, "4", "without an id");
}

pub(crate) async fn all_nodes_hear_signals(kind: Kind) {
    let Some(server) = kind.start() else { return };
    let mut nodes = [
        Node::connect(server.broker()).await,
        Node::connect(server.broker()).await,
        Node::connect(server.broker()).await,
    ];
    nodes[0].broker.signal(Bytes::from_static(b"\x00\xffx")).await.unwrap();
    for node in &mut nodes {
        let heard = node.find(|event| match event {
            BrokerEvent::Signal(bytes) => Some(bytes.clone()),
            _ => None,
        });
        assert_eq!(&heard.await[..], b"\x00\xffx");
    }
}

pub(crate) async fn after_a_restart_subscriptions_and_histories_are_back(kind: Kind) {
    let Some(mut server) = kind.start() else { return };
    let mut node = Node::connect(server.broker()).await;
    node.subscribe(&["a", "b.*"]).await;
    let before = node.keep("a", "1").await;
    assert_eq!(node.text().await.1, "1");
    server.kill();
    assert!(node.lost().await.is_retryable());
    server.begin();
    node.connected().await;
    node.say("b.c", "2").await;
    assert_eq!(node.text().await, ("b.c".to_owned(), "2".to_owned()));
    let after = node.keep("a", "3").await;
    assert_eq!(node.text().await.1, "3");
    assert_eq!(before.epoch, after.epoch, "the server keeps what it acknowledged");
    let since = node.broker.history(&topic("a"), Range::After(before.offset), 10).await.unwrap();
    assert_eq!((since.publications.len(), since.complete, since.top), (1, true, after));
}

pub(crate) async fn while_the_server_is_away_everything_fails_and_is_made_up_for(kind: Kind) {
    let Some(mut server) = kind.start() else { return };
    let mut node = Node::connect(server.broker()).await;
    node.subscribe(&["gone"]).await;
    server.kill();
    node.lost().await;
    let broker = &node.broker;
    let unavailable = |error: BrokerError| assert!(error.is_retryable(), "{error:?}");
    for kept in [None, Some(keep())] {
        unavailable(broker.publish(&topic("a"), encoded("x"), kept, None).await.unwrap_err());
    }
    unavailable(broker.history(&topic("a"), Range::Latest, 1).await.unwrap_err());
    unavailable(broker.tops(vec![topic("a")]).await.unwrap_err());
    unavailable(broker.signal(Bytes::new()).await.unwrap_err());
    unavailable(broker.subscribe(crate::node::filters_of(&["a", "b.>"])).await.unwrap_err());
    node.unsubscribe(&["gone"]).await;
    server.begin();
    node.connected().await;
    node.say("gone", "no").await;
    node.say("a", "1").await;
    assert_eq!(node.text().await, ("a".to_owned(), "1".to_owned()));
    node.say("b.c", "2").await;
    assert_eq!(node.text().await, ("b.c".to_owned(), "2".to_owned()));
}

pub(crate) async fn a_server_that_does_not_answer_is_lost(kind: Kind) {
    let Some(server) = kind.start() else { return };
    let mut node = Node::connect(server.broker()).await;
    node.subscribe(&["a"]).await;
    server.freeze();
    for kept in [None, Some(keep())] {
        let published = node.broker.publish(&topic("a"), encoded("x"), kept, None).await;
        assert!(published.unwrap_err().is_retryable());
    }
    assert!(node.lost().await.is_retryable());
    // The node does not wait for a server that is known to be away.
    let published = node.broker.publish(&topic("a"), encoded("x"), None, None).await;
    assert!(published.unwrap_err().is_retryable());
    server.thaw();
    node.connected().await;
    node.say("a", "back").await;
    // What was sent while it did not answer may have been made after all.
    let back = node.find(|event| match event {
        BrokerEvent::Arrived(arrival) => (text_of(arrival.encoded.clone()) == "back").then_some(()),
        _ => None,
    });
    back.await;
}

pub(crate) async fn ten_thousand_publications_at_once_keep_their_order(kind: Kind) {
    const ALL: usize = 10_000;
    let Some(server) = kind.start() else { return };
    // All at once take their time.
    let broker = || server.broker_with(Duration::from_secs(30));
    let mut here = Node::connect(broker()).await;
    let there = Arc::new(Node::connect(broker()).await);
    here.subscribe(&["a"]).await;
    let start = std::time::Instant::now();
    let mut publishing = JoinSet::new();
    for number in 0..ALL {
        let there = there.clone();
        publishing.spawn(async move { (number, there.keep("a", &number.to_string()).await) });
    }
    let mut made = publishing.join_all().await;
    eprintln!("{kind:?}: {ALL} publications in {:?}", start.elapsed());
    made.sort_by_key(|(_, place)| place.offset);
    let mut previous = 0;
    for (number, place) in &made {
        let arrival = here.arrival().await;
        assert_eq!(arrival.place, Some((*place, previous)));
        assert_eq!(text_of(arrival.encoded), number.to_string());
        previous = place.offset;
    }
    let (mut since, mut read) = (0, 0);
    while read < ALL {
        let history = here.broker.history(&topic("a"), Range::After(since), 1_000).await.unwrap();
        assert!(history.complete && history.publications.len() == 1_000);
        since = history.publications.last().unwrap().0;
        read += history.publications.len();
    }
    assert_eq!(since, previous);
}

pub(crate) async fn thousands_of_subscriptions_are_made_and_come_back(kind: Kind) {
    let Some(mut server) = kind.start() else { return };
    let mut node = Node::connect(server.broker()).await;
    let names: Vec<_> = (0..2_500).map(|number| format!("t.{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let (first, second) = names.split_at(1_250);
    tokio::join!(node.subscribe(first), node.subscribe(second));
    for round in 0..2 {
        for name in [names[0], names[1_250], names[2_499]] {
            node.say(name, "x").await;
            assert_eq!(node.text().await.0, name, "round {round}");
        }
        server.kill();
        node.lost().await;
        server.begin();
        node.connected().await;
    }
}

pub(crate) async fn a_broker_that_was_shut_down_can_run_again(kind: Kind) {
    let Some(server) = kind.start() else { return };
    let broker = server.broker();
    let node = Node::connect(broker.clone()).await;
    node.subscribe(&["a"]).await;
    // Another hub has no use for it meanwhile.
    let second = tokio::spawn(broker.clone().run(tautline_hub::broker::BrokerSink::new(|_| ())));
    tokio::time::timeout(Duration::from_secs(30), second).await.unwrap().unwrap();
    drop(node);
    let stopped = async {
        while broker.publish(&topic("a"), encoded("x"), None, None).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), stopped).await.unwrap();
    let mut node = Node::connect(broker).await;
    node.say("a", "again").await;
    assert_eq!(node.text().await.1, "again");
}
