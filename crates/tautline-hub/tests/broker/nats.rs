//! What is special with NATS.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use tautline::ClientTls;
use tautline_hub::broker::nats::{NatsBroker, NatsBuilder, NatsHistory};
use tautline_hub::broker::{Broker, BrokerError, History, Range};

use crate::node::{Node, encoded, keep, text_of, topic};
use crate::server::{DEADLINE, Dir, Kind, Server, certificate, words};
use crate::suite;

suite::tests!(Kind::Nats);

/// Settings with short times, so that tests need not wait.
pub(crate) fn settings(url: &str) -> NatsBuilder {
    plain(url).history(NatsHistory::new())
}

fn plain(url: &str) -> NatsBuilder {
    NatsBroker::builder(url).deadline(DEADLINE).heartbeat(Duration::from_millis(200))
}

async fn connect(settings: NatsBuilder) -> Node {
    Node::connect(Arc::new(settings.build().unwrap())).await
}

async fn after(node: &Node, name: &str, offset: u64) -> History {
    node.broker.history(&topic(name), Range::After(offset), 1_000).await.unwrap()
}

/// Sends operations as anybody can, and waits until the server has done them.
fn operate(server: &Server, operations: &str) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).unwrap();
    let connect = r#"CONNECT {"verbose":false,"headers":true}"#;
    write!(stream, "{connect}\r\n{operations}PING\r\n").unwrap();
    let answers = BufReader::new(stream).lines();
    let lines: Vec<_> = answers.map(Result::unwrap).take_while(|line| line != "PONG").collect();
    assert!(lines.iter().all(|line| line.starts_with("INFO")), "{lines:?}");
}

/// Asks the stream's API for something, without waiting for the answer.
fn api(server: &Server, what: &str, payload: &str) {
    operate(server, &format!("PUB $JS.API.{what} {}\r\n{payload}\r\n", payload.len()));
}

#[tokio::test]
async fn a_history_is_trimmed_from_its_front_and_says_so() {
    let Some(server) = Kind::Nats.start() else { return };
    let node = connect(plain(&server.url()).history(NatsHistory::new().max_bytes(20_000))).await;
    let first = node.keep("a", "1").await;
    let second = node.keep("a", "2").await;
    for number in 0..100 {
        node.keep("b", &format!("{number} {}", "x".repeat(1_000))).await;
    }
    // All of `a` is gone. Whether something came after the second, nobody knows.
    let none = after(&node, "a", second.offset).await;
    assert_eq!((none.publications.len(), none.complete), (0, false));
    assert_eq!(node.broker.tops(vec![topic("a")]).await.unwrap(), [None]);
    // A subscriber that begins now misses nothing later.
    let third = node.keep("a", "3").await;
    let since = after(&node, "a", none.top.offset).await;
    assert_eq!((since.publications.len(), since.complete, since.top), (1, true, third));
    assert_eq!(third.epoch, first.epoch);
    let rest = after(&node, "b", 0).await;
    assert!(!rest.complete && rest.publications.len() < 20, "{}", rest.publications.len());
    let oldest = rest.publications[0].0;
    let whole = after(&node, "b", oldest - 1).await;
    assert!(whole.complete && whole.publications.len() == rest.publications.len());
    assert!(!after(&node, "b", oldest - 2).await.complete);
}

#[tokio::test]
async fn what_is_too_old_is_gone() {
    let Some(server) = Kind::Nats.start() else { return };
    let history = NatsHistory::new().max_age(Duration::from_millis(100));
    let node = connect(plain(&server.url()).history(history)).await;
    let top = node.keep("a", "1").await;
    let gone = async {
        while !after(&node, "a", 0).await.publications.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.unwrap();
    assert!(!after(&node, "a", 0).await.complete);
    assert!(after(&node, "a", top.offset).await.complete, "nothing came after it");
}

// The stream is read forwards only; the latest ones of a topic that is rare in it begin far back.
#[tokio::test]
async fn the_latest_of_a_rare_topic_are_found_between_thousands_of_others() {
    let Some(server) = Kind::Nats.start() else { return };
    let node = connect(settings(&server.url())).await;
    let publish_many = async || {
        let mut many = tokio::task::JoinSet::new();
        for _ in 0..1_500 {
            let broker = node.broker.clone();
            many.spawn(async move {
                broker.publish(&topic("often"), encoded("x"), Some(keep()), None).await.unwrap()
            });
        }
        many.join_all().await;
    };
    for number in 0..4 {
        node.keep("rare", &number.to_string()).await;
        publish_many().await;
    }
    for (limit, expected) in [(1, "3"), (2, "32"), (3, "321"), (4, "3210"), (9, "3210")] {
        let latest = node.broker.history(&topic("rare"), Range::Latest, limit).await.unwrap();
        let texts = latest.publications.iter().map(|(_, it)| it.message().as_text().unwrap());
        assert_eq!(texts.collect::<String>(), expected);
    }
    let often = node.broker.history(&topic("often"), Range::Latest, 700).await.unwrap();
    assert_eq!(often.publications.len(), 700);
    assert!(often.publications.is_sorted_by(|a, b| a.0 > b.0));
}

#[tokio::test]
async fn without_a_stream_there_is_no_history() {
    let Some(server) = Kind::Nats.start_with(Vec::new()) else { return };
    let node = connect(plain(&server.url())).await;
    let unsupported = |error: BrokerError| {
        assert!(matches!(error, BrokerError::Unsupported(_)), "{error:?}");
    };
    let (a, broker) = (topic("a"), &node.broker);
    unsupported(broker.publish(&a, encoded("x"), Some(keep()), None).await.unwrap_err());
    unsupported(broker.history(&a, Range::Latest, 1).await.unwrap_err());
    unsupported(broker.tops(vec![a.clone()]).await.unwrap_err());
    let id = Some(bytes::Bytes::from_static(b"id"));
    unsupported(broker.publish(&a, encoded("x"), None, id).await.unwrap_err());
    // A broker that is to have one waits for a server that has JetStream.
    let mut other = Node::run(Arc::new(settings(&server.url()).build().unwrap()));
    assert!(other.lost().await.is_retryable());
}

#[tokio::test]
async fn a_stream_that_is_lost_is_made_again_with_another_epoch() {
    let Some(mut server) = Kind::Nats.start() else { return };
    let mut node = connect(plain(&server.url()).history(NatsHistory::new().in_memory())).await;
    node.subscribe(&["a"]).await;
    let old = node.keep("a", "1").await;
    server.kill();
    node.lost().await;
    server.begin();
    node.connected().await;
    let new = node.keep("a", "2").await;
    assert_ne!(new.epoch, old.epoch);
    // Deleted while the connection stands.
    api(&server, "STREAM.DELETE.tautline", "");
    let deleted = async {
        while node.broker.tops(vec![topic("a")]).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), deleted).await.unwrap();
    let newest = node.keep("a", "3").await;
    assert_ne!(newest.epoch, new.epoch);
    assert_eq!(newest.offset, 1);
    assert_eq!(after(&node, "a", 0).await.top, newest);
    for _ in 0..2 {
        node.arrival().await;
    }
    assert_eq!(node.arrival().await.place, Some((newest, 0)));
}

#[tokio::test]
async fn a_stream_that_does_not_fit_is_refused() {
    let unfit = [
        r#""subjects":["other.>"]"#,
        r#""subjects":["tautline.in.>"]"#,
        r#""subjects":["tautline.in.>"],"max_msgs_per_subject":5,"republish":{"src":"tautline.in.>","dest":"tautline.live.>"}"#,
        r#""subjects":["tautline.in.>"],"discard":"new","republish":{"src":"tautline.in.>","dest":"tautline.live.>"}"#,
    ];
    for config in unfit {
        let Some(server) = Kind::Nats.start() else { return };
        api(&server, "STREAM.CREATE.tautline", &format!("{{\"name\":\"tautline\",{config}}}"));
        let mut node = Node::run(Arc::new(settings(&server.url()).build().unwrap()));
        let lost = node.lost().await;
        assert!(matches!(lost, BrokerError::Refused(_)), "{config}: {lost:?}");
    }
}

#[tokio::test]
async fn what_others_publish_on_a_subject_is_dropped_or_left_to_the_hub() {
    let Some(server) = Kind::Nats.start() else { return };
    let broker = Arc::new(settings(&server.url()).build().unwrap());
    let mut node = Node::connect(broker.clone()).await;
    node.subscribe(&["a"]).await;
    operate(&server, "PUB tautline.live.a 5\r\nhello\r\n");
    for headers in
        ["Nats-Sequence: x", "Nats-Sequence: 5", "Nats-Sequence: 4\r\nNats-Last-Sequence: 9"]
    {
        let headers = format!("NATS/1.0\r\n{headers}\r\n\r\n");
        let sizes = format!("{} {}", headers.len(), headers.len() + 1);
        operate(&server, &format!("HPUB tautline.live.a {sizes}\r\n{headers}x\r\n"));
    }
    node.say("a", "1").await;
    assert_eq!(&node.arrival().await.encoded[..], b"hello");
    assert_eq!(node.text().await.1, "1");
    assert_eq!(broker.strange_messages(), 3);
}

#[tokio::test]
async fn a_publication_that_is_too_long_is_refused() {
    let Some(server) = Kind::Nats.start() else { return };
    let node = connect(settings(&server.url())).await;
    let long = "x".repeat(1_100_000);
    for kept in [None, Some(keep())] {
        let published = node.broker.publish(&topic("a"), encoded(&long), kept, None).await;
        assert!(matches!(published, Err(BrokerError::Refused(_))), "{published:?}");
    }
    node.keep("a", &"x".repeat(1_000_000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_is_behind_loses_some_and_says_so() {
    let Some(server) = Kind::Nats.start() else { return };
    let broker = Arc::new(settings(&server.url()).backlog(2).build().unwrap());
    let (told, events) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let sink = tautline_hub::broker::BrokerSink::new(move |event| {
        if matches!(event, tautline_hub::broker::BrokerEvent::Arrived(_)) {
            // A hub that has no time.
            let _ = tokio::task::block_in_place(|| wait.lock().unwrap().recv());
        }
        let _ = told.send(event);
    });
    let running = tokio::spawn(broker.clone().run(sink));
    let there = connect(settings(&server.url())).await;
    broker.subscribe(crate::node::filters_of(&["a"])).await.unwrap();
    for number in 0..20 {
        there.keep("a", &number.to_string()).await;
    }
    let unsure = tokio::task::spawn_blocking(move || {
        let next = || events.recv_timeout(Duration::from_secs(30)).unwrap();
        while !matches!(next(), tautline_hub::broker::BrokerEvent::Unsure(all) if all.is_empty()) {}
    });
    unsure.await.unwrap();
    drop(go);
    running.abort();
    assert_eq!(after(&there, "a", 0).await.publications.len(), 20);
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_the_right_one_is_not() {
    let dir = Dir::new();
    let config =
        dir.file("nats.conf", r#"authorization { users = [ { user: chat, password: secret } ] }"#);
    let mut options = words("--jetstream --config");
    options.push(config.display().to_string());
    let Some(server) = Kind::Nats.start_in(dir, options) else { return };
    let url = server.url().replace("127", "chat:wrong@127");
    for wrong in [settings(&server.url()), settings(&server.url()).token("x"), settings(&url)] {
        let mut node = Node::run(Arc::new(wrong.build().unwrap()));
        let lost = node.lost().await;
        assert!(matches!(lost, BrokerError::Refused(_)), "{lost:?}");
        let published = node.broker.publish(&topic("a"), encoded("x"), None, None).await;
        assert!(matches!(published, Err(BrokerError::Refused(_))), "{published:?}");
    }
    let url = server.url().replace("127", "chat:secret@127");
    for right in [settings(&server.url()).user("chat", "secret"), settings(&url)] {
        let mut node = connect(right).await;
        node.subscribe(&["a"]).await;
        node.keep("a", "x").await;
        assert_eq!(text_of(node.arrival().await.encoded), "x");
    }
}

#[tokio::test]
async fn credentials_are_in_no_debug_output() {
    let builder = settings("nats://user:secret@127.0.0.1").or("nats://hidden@127.0.0.2");
    for builder in [builder.clone(), builder.clone().nkey("hidden"), builder.user("u", "hidden")] {
        let shown = format!("{builder:?} {:?}", builder.clone().build().unwrap());
        assert!(!shown.contains("secret") && !shown.contains("hidden"), "{shown}");
    }
    for url in ["http://x", "ws://x", "nats://", "nats://a b", ""] {
        assert!(matches!(settings(url).build(), Err(BrokerError::Refused(_))), "{url}");
    }
    let local = "nats://127.0.0.1";
    assert!(matches!(settings(local).prefix("$JS").build(), Err(BrokerError::Refused(_))));
    let stream = plain(local).history(NatsHistory::new().stream("a.b"));
    assert!(matches!(stream.build(), Err(BrokerError::Refused(_))));
}

#[tokio::test]
async fn over_tls_a_server_must_be_trusted() {
    let dir = Dir::new();
    let authority = certificate(&dir);
    let mut options = words("--jetstream --tls");
    for (option, name) in [("--tlscert", "cert.pem"), ("--tlskey", "key.pem")] {
        options.extend([option.to_owned(), dir.path().join(name).display().to_string()]);
    }
    let Some(server) = Kind::Nats.start_in(dir, options) else { return };
    let trusted = ClientTls::from_ca_pem(authority.as_bytes()).unwrap();
    for url in [server.url().replace("nats:", "tls:"), server.url()] {
        let mut node = connect(settings(&url).tls(trusted.clone())).await;
        node.subscribe(&["a"]).await;
        node.keep("a", "secret").await;
        assert_eq!(node.text().await.1, "secret");
    }
    let stranger = certificate(&Dir::new());
    let other = ClientTls::from_ca_pem(stranger.as_bytes()).unwrap();
    let mut untrusting = Node::run(Arc::new(settings(&server.url()).tls(other).build().unwrap()));
    let lost = format!("{:?}", untrusting.lost().await);
    assert!(lost.contains("UnknownIssuer") || lost.contains("BadSignature"), "{lost}");
    // `nats:` to a server that asks for TLS is TLS; `tls:` to one that has none is nothing.
    let Some(bare) = Kind::Nats.start() else { return };
    let mut refused = Node::run(Arc::new(
        settings(&bare.url().replace("nats:", "tls:")).tls(trusted).build().unwrap(),
    ));
    refused.lost().await;
}
