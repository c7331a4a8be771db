//! What is special with Redis.

use std::time::Duration;

#[cfg(feature = "tls")]
use tautline::ClientTls;
use tautline_hub::Position;
use tautline_hub::broker::redis::{RedisBroker, RedisBuilder};
use tautline_hub::broker::{BrokerError, History, Keep, Range};

use crate::node::{Node, encoded, keep, topic};
use crate::server::{DEADLINE, Dir, Kind};
#[cfg(feature = "tls")]
use crate::server::{certificate, words};
use crate::suite;

suite::tests!(Kind::Redis);

/// Settings with short times, so that tests need not wait.
pub(crate) fn settings(url: &str) -> RedisBuilder {
    RedisBroker::builder(url).deadline(DEADLINE).heartbeat(Duration::from_millis(200))
}

async fn publish(node: &Node, name: &str, text: &str, keep: Keep) -> Position {
    node.broker.publish(&topic(name), encoded(text), Some(keep), None).await.unwrap().unwrap()
}

async fn after(node: &Node, name: &str, offset: u64) -> History {
    node.broker.history(&topic(name), Range::After(offset), 1_000).await.unwrap()
}

fn offsets(history: &History) -> Vec<u64> {
    history.publications.iter().map(|(offset, _)| *offset).collect()
}

#[tokio::test]
async fn a_history_is_trimmed_to_so_many_messages() {
    let Some(server) = Kind::Redis.start() else { return };
    let node = Node::connect(server.broker()).await;
    for _ in 0..10 {
        publish(&node, "a", "x", keep().bytes(1 << 20)).await;
    }
    for _ in 0..10 {
        publish(&node, "a", "x", Keep::last(3)).await;
    }
    let all = after(&node, "a", 0).await;
    assert_eq!((offsets(&all), all.complete, all.top.offset), (vec![18, 19, 20], false, 20));
    assert!(!after(&node, "a", 16).await.complete);
    assert_eq!(offsets(&after(&node, "a", 17).await), [18, 19, 20]);
    assert!(after(&node, "a", 17).await.complete && after(&node, "a", 20).await.complete);
    publish(&node, "a", "x", Keep::last(0)).await;
    let none = after(&node, "a", 20).await;
    assert_eq!((offsets(&none), none.complete, none.top.offset), (vec![], false, 21));
    assert!(after(&node, "a", 21).await.complete);
}

#[tokio::test]
async fn a_history_is_trimmed_to_so_many_bytes() {
    let Some(server) = Kind::Redis.start() else { return };
    let node = Node::connect(server.broker()).await;
    // What one publication takes: the text, two bytes of encoding, and 64 bytes.
    let takes = |len: usize| len + 2 + 64;
    let text = |len: usize| "x".repeat(len);
    let keep = |bytes: usize| Keep::last(100_000).bytes(bytes);
    for _ in 0..1_000 {
        publish(&node, "a", &text(10), keep(500 * takes(10))).await;
    }
    assert_eq!(offsets(&after(&node, "a", 0).await), (501..=1_000).collect::<Vec<_>>());
    // A large one takes the place of many.
    publish(&node, "a", &text(100 * takes(10) - 66), keep(500 * takes(10))).await;
    assert_eq!(offsets(&after(&node, "a", 0).await), (601..=1_001).collect::<Vec<_>>());
    // One byte less is one message less.
    publish(&node, "a", &text(10), keep(500 * takes(10) - 1)).await;
    assert_eq!(offsets(&after(&node, "a", 0).await)[..2], [603, 604]);
    // One that is too large by itself leaves nothing.
    publish(&node, "a", &text(1_000), keep(1_000)).await;
    let none = after(&node, "a", 1_002).await;
    assert_eq!((offsets(&none), none.complete, none.top.offset), (vec![], false, 1_003));
    publish(&node, "a", "x", keep(1_000)).await;
    assert!(after(&node, "a", 1_003).await.complete);
}

#[tokio::test]
async fn what_is_too_old_is_gone_also_when_nothing_is_published() {
    let Some(server) = Kind::Redis.start() else { return };
    let node = Node::connect(server.broker()).await;
    let keep = Keep::last(100).age(Duration::from_millis(1));
    let top = publish(&node, "a", "x", keep).await;
    let gone = async {
        while !after(&node, "a", 0).await.publications.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.unwrap();
    let read = after(&node, "a", 0).await;
    assert_eq!((read.complete, read.top), (false, top));
    // The epoch stays: the topic is not forgotten with its last publication.
    assert_eq!(node.broker.tops(vec![topic("a")]).await.unwrap(), [Some(top)]);
    let next = publish(&node, "a", "y", keep).await;
    assert_eq!((next.epoch, next.offset), (top.epoch, 2));
    assert!(
        server.say(&["PTTL tautline:meta:{a}"]).trim_start_matches(':').parse::<u64>().unwrap()
            > 3_500_000
    );
}

#[tokio::test]
async fn a_topic_that_the_server_evicted_begins_a_new_epoch() {
    let Some(server) = Kind::Redis.start() else { return };
    let node = Node::connect(server.broker()).await;
    let old = node.keep("a", "1").await;
    node.keep("a", "2").await;
    assert_eq!(server.say(&["DEL tautline:meta:{a}"]), ":1");
    let new = node.keep("a", "3").await;
    assert_ne!(new.epoch, old.epoch);
    assert_eq!(new.offset, 1);
    let read = after(&node, "a", 0).await;
    assert_eq!((offsets(&read), read.complete, read.top), (vec![1], true, new));
    // Without its log, the epoch stays and what was in it is missed.
    node.keep("a", "4").await;
    assert_eq!(server.say(&["DEL tautline:log:{a}"]), ":1");
    let last = node.keep("a", "5").await;
    assert_eq!((last.epoch, last.offset), (new.epoch, 3));
    assert!(!after(&node, "a", 1).await.complete && after(&node, "a", 2).await.complete);
}

#[tokio::test]
async fn a_publication_without_history_may_have_an_id_too() {
    let Some(server) = Kind::Redis.start() else { return };
    let mut node = Node::connect(server.broker()).await;
    node.subscribe(&["a", "b"]).await;
    let id = Some(bytes::Bytes::from_static(b"id"));
    for (name, text) in [("a", "1"), ("a", "again"), ("b", "2")] {
        let published = node.broker.publish(&topic(name), encoded(text), None, id.clone()).await;
        assert_eq!(published.unwrap(), None);
    }
    assert_eq!((node.text().await.1, node.text().await.1), ("1".to_owned(), "2".to_owned()));
}

#[tokio::test]
async fn what_others_publish_on_a_channel_is_dropped_and_counted() {
    let Some(server) = Kind::Redis.start() else { return };
    let broker = std::sync::Arc::new(settings(&server.url()).build().unwrap());
    let mut node = Node::connect(broker.clone()).await;
    node.subscribe(&["a", "b.*"]).await;
    for message in ["hello", "h1:2:x", "p", "\"h1:99999999999999999999999:0:x\""] {
        server.say(&[&format!("PUBLISH tautline:live:a {message}")]);
    }
    server.say(&["PUBLISH \"tautline:live:b.x y\" pdata", "PUBLISH tautline:live:b. pdata"]);
    node.say("a", "1").await;
    // `p` is an empty publication to the broker; whether it is one is for the hub to say.
    assert_eq!(node.arrival().await.encoded.len(), 0);
    assert_eq!(node.text().await.1, "1");
    assert_eq!(broker.strange_messages(), 5);
}

#[tokio::test]
async fn what_a_later_version_kept_is_left_out() {
    let Some(server) = Kind::Redis.start() else { return };
    let node = Node::connect(server.broker()).await;
    let strange = bytes::Bytes::from_static(b"\x63new");
    node.broker.publish(&topic("a"), strange, Some(keep()), None).await.unwrap();
    node.keep("a", "2").await;
    let read = after(&node, "a", 0).await;
    assert_eq!((offsets(&read), read.complete), (vec![2], true));
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_loaded_again() {
    let Some(server) = Kind::Redis.start() else { return };
    let node = Node::connect(server.broker()).await;
    let flush = || assert_eq!(server.say(&["SCRIPT FLUSH"]), "+OK");
    flush();
    assert_eq!(node.keep("a", "1").await.offset, 1);
    flush();
    assert!(after(&node, "a", 0).await.complete);
    flush();
    assert!(node.broker.tops(vec![topic("a")]).await.unwrap()[0].is_some());
}

#[tokio::test]
async fn a_connection_that_the_server_ends_is_told_and_made_again() {
    let Some(server) = Kind::Redis.start() else { return };
    let mut node = Node::connect(server.broker()).await;
    node.subscribe(&["a"]).await;
    for kind in ["pubsub", "normal"] {
        server.say(&[&format!("CLIENT KILL TYPE {kind} SKIPME yes")]);
        assert!(node.lost().await.is_retryable());
        node.connected().await;
        node.say("a", kind).await;
        assert_eq!(node.text().await.1, kind);
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_the_right_one_is_not() {
    let users = "--user default on >secret ~* &* +@all --user hub on >hub ~app:* &app:* +@scripting \
                 +@stream +@hash +@string +@keyspace +@pubsub +info +ping +hello +time";
    let dir = Dir::new();
    let users = users.replace("--user ", "user ").replace(" user hub", "\nuser hub");
    let config = dir.file("redis.conf", &users);
    let options = vec!["--include".to_owned(), config.display().to_string()];
    let Some(server) = Kind::Redis.start_in(dir, options) else { return };
    let wrong = [
        settings(&server.url()),
        settings(&server.url()).credentials(None, "wrong"),
        settings(&server.url()).credentials("nobody", "secret"),
        // A prefix that this user has no right to.
        settings(&server.url()).credentials("hub", "hub"),
    ];
    for wrong in wrong {
        let mut node = Node::run(std::sync::Arc::new(wrong.build().unwrap()));
        let lost = node.lost().await;
        assert!(matches!(lost, BrokerError::Refused(_)), "{lost:?}");
        let published = node.broker.publish(&topic("a"), encoded("x"), None, None).await;
        assert!(matches!(published, Err(BrokerError::Refused(_))), "{published:?}");
    }
    let url = server.url().replace("127", ":secret@127");
    for right in [settings(&url), settings(&server.url()).credentials("hub", "hub").prefix("app")] {
        let mut node = Node::connect(std::sync::Arc::new(right.build().unwrap())).await;
        node.subscribe(&["a"]).await;
        let id = Some(bytes::Bytes::from_static(b"id"));
        node.broker.publish(&topic("a"), encoded("x"), Some(keep()), id).await.unwrap();
        assert_eq!(node.text().await.1, "x");
        assert!(after(&node, "a", 0).await.complete);
        assert!(node.broker.tops(vec![topic("a")]).await.unwrap()[0].is_some());
    }
}

#[tokio::test]
async fn a_subscription_that_is_refused_costs_the_others_nothing() {
    let dir = Dir::new();
    let user = "user default on >secret ~* &tautline:live:a &tautline:signal +@all";
    let config = dir.file("redis.conf", user);
    let options = vec!["--include".to_owned(), config.display().to_string()];
    let Some(mut server) = Kind::Redis.start_in(dir, options) else { return };
    let broker = settings(&server.url()).credentials(None, "secret").build().unwrap();
    let mut node = Node::connect(std::sync::Arc::new(broker)).await;
    let subscribe = |name: &str| node.broker.subscribe(crate::node::filters_of(&[name]));
    let (topic, pattern, allowed) = tokio::join!(subscribe("b"), subscribe("c.*"), subscribe("a"));
    assert!(matches!(topic, Err(BrokerError::Refused(_))), "{topic:?}");
    assert!(matches!(pattern, Err(BrokerError::Refused(_))), "{pattern:?}");
    allowed.unwrap();
    for round in ["1", "2"] {
        node.say("a", round).await;
        assert_eq!(node.text().await.1, round);
        server.kill();
        node.lost().await;
        server.begin();
        node.connected().await;
    }
}

#[tokio::test]
async fn credentials_are_in_no_debug_output() {
    let builder = settings("redis://user:secret@127.0.0.1").credentials("other", "hidden");
    let shown = format!("{builder:?} {:?}", builder.clone().build().unwrap());
    assert!(!shown.contains("secret") && !shown.contains("hidden"), "{shown}");
    let error = settings("redis://user:secret@[bad").build().unwrap_err();
    assert!(!format!("{error:?} {error}").contains("secret"), "{error:?}");
    for url in ["http://x", "redis://", "rediss://h/#insecure", "redis://h/x", ""] {
        assert!(matches!(settings(url).build(), Err(BrokerError::Refused(_))), "{url}");
    }
    assert!(matches!(settings("redis://h").prefix("a b").build(), Err(BrokerError::Refused(_))));
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn over_tls_a_server_must_be_trusted() {
    let dir = Dir::new();
    let authority = certificate(&dir);
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let mut options = words("--tls-auth-clients no --tls-port");
    let tls_port = crate::server::free_port().to_string();
    options.extend([tls_port.clone(), "--tls-cert-file".into(), cert.clone()]);
    options.extend(["--tls-key-file".into(), key, "--tls-ca-cert-file".into(), cert]);
    let Some(_server) = Kind::Redis.start_in(dir, options) else { return };
    let url = format!("rediss://127.0.0.1:{tls_port}");
    let trusted = ClientTls::from_ca_pem(authority.as_bytes()).unwrap();
    let broker = settings(&url).tls(trusted).build().unwrap();
    let mut node = Node::connect(std::sync::Arc::new(broker)).await;
    node.subscribe(&["a"]).await;
    node.keep("a", "secret").await;
    assert_eq!(node.text().await.1, "secret");
    let stranger = certificate(&Dir::new());
    let other = ClientTls::from_ca_pem(stranger.as_bytes()).unwrap();
    let mut untrusting = Node::run(std::sync::Arc::new(settings(&url).tls(other).build().unwrap()));
    let lost = format!("{:?}", untrusting.lost().await);
    assert!(lost.contains("UnknownIssuer") || lost.contains("BadSignature"), "{lost}");
}

#[tokio::test]
async fn over_a_unix_socket() {
    let dir = Dir::new();
    let socket = dir.path().join("socket").display().to_string();
    let options = vec!["--unixsocket".to_owned(), socket.clone()];
    let Some(_server) = Kind::Redis.start_in(dir, options) else { return };
    let broker = settings(&format!("unix://{socket}")).build().unwrap();
    let mut node = Node::connect(std::sync::Arc::new(broker)).await;
    node.subscribe(&["a"]).await;
    node.say("a", "x").await;
    assert_eq!(node.text().await.1, "x");
}
