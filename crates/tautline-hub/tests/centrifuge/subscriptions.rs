//! Subscriptions, what is recovered, and in which order.

use tautline_hub::centrifuge::{Config, Disconnect, SubscribeGrant, Unsubscribe};
use tautline_hub::{Filter, Publication};

use crate::support::{Service, topic};

/// Publishers here wait for nobody. On a busy machine the hub or the client has no turn for some 100 ms, and as much
/// comes meanwhile as a client may be behind by default: that would be slow, which these tests are not about.
fn patient() -> Service {
    Service::new(Config::new().no_ping().max_queue(256 << 20))
}

#[tokio::test]
async fn a_client_subscribes_and_unsubscribes() {
    let mut service = Service::quiet();
    let mut client = service.connected("alice").await;
    assert_eq!(
        client.ask(r#"{"id":2,"subscribe":{"channel":"a","data":[1]}}"#).await,
        r#"{"id":2,"subscribe":{"data":[1]}}"#
    );
    service.publish("a", "{\"x\":\n1}").await;
    assert_eq!(client.line().await, r#"{"push":{"channel":"a","pub":{"data":{"x": 1}}}}"#);
    assert_eq!(
        client.ask(r#"{"id":3,"unsubscribe":{"channel":"a"}}"#).await,
        r#"{"id":3,"unsubscribe":{}}"#
    );
    assert_eq!(service.event().await, "unsubscribed a");
    assert_eq!(service.hub.subscribers(&Filter::from(topic("a"))), 0);
    for (channel, error) in [
        ("secret", r#"{"code":103,"message":"permission denied"}"#),
        ("a.*", r#"{"code":102,"message":"unknown channel"}"#),
    ] {
        let reply = client.subscribe(channel).await;
        assert_eq!(reply, format!(r#"{{"id":2,"error":{error}}}"#));
    }
}

// Nothing of a channel comes after the client was told that it has left it: an SDK would take it for the
// newest that it has seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_channel_follows_its_end() {
    let mut service = patient();
    let mut client = service.connected("alice").await;
    let handle = service.newest();
    let hub = service.hub.clone();
    let publisher = tokio::spawn(async move {
        let a = topic("log.a");
        loop {
            hub.publish(&a, "1").await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    for round in 0..200 {
        let reply = client.subscribe("log.a").await;
        assert!(reply.starts_with(r#"{"id":2,"subscribe":"#), "{reply}");
        client.line().await;
        let end = if round % 2 == 0 {
            client.send(r#"{"id":3,"unsubscribe":{"channel":"log.a"}}"#).await;
            r#"{"id":3,"unsubscribe":{}}"#
        } else {
            handle.unsubscribe("log.a", Unsubscribe::INSUFFICIENT_STATE);
            r#"{"push":{"channel":"log.a","unsubscribe":{"code":2500,"reason":"insufficient state"}}}"#
        };
        while client.line().await != end {}
        // An answer to something else shows whether anything else came.
        assert_eq!(client.ask(r#"{"id":4,"rpc":{"method":"echo"}}"#).await, r#"{"id":4,"rpc":{}}"#);
    }
    publisher.abort();
}

#[tokio::test]
async fn a_client_recovers_what_it_missed() {
    let mut service = Service::quiet();
    let mut client = service.connected("alice").await;
    service.publish("log.a", "1").await;
    let reply: serde_json::Value = serde_json::from_str(&client.subscribe("log.a").await).unwrap();
    let subscribe = &reply["subscribe"];
    assert_eq!((subscribe["offset"].as_u64(), &subscribe["recoverable"]), (Some(1), &true.into()));
    let epoch = subscribe["epoch"].as_str().unwrap().to_owned();
    client.ws.close().await.unwrap();
    service.publish("log.a", "2").await;
    service.publish("log.a", "3").await;

    let mut client = service.client();
    client.connect("alice").await;
    let recover = |offset: u64, epoch: &str| {
        format!(
            r#"{{"id":2,"subscribe":{{"channel":"log.a","recover":true,"offset":{offset},"epoch":"{epoch}"}}}}"#
        )
    };
    assert_eq!(
        client.ask(&recover(1, &epoch)).await,
        format!(
            concat!(
                r#"{{"id":2,"subscribe":{{"recoverable":true,"epoch":"{}","#,
                r#""publications":[{{"data":2,"offset":2}},{{"data":3,"offset":3}}],"#,
                r#""recovered":true,"offset":1,"positioned":true,"was_recovering":true}}}}"#
            ),
            epoch
        )
    );
    service.publish("log.a", "4").await;
    assert_eq!(client.line().await, r#"{"push":{"channel":"log.a","pub":{"data":4,"offset":4}}}"#);
    let unrecovered = format!(
        concat!(
            r#"{{"id":2,"subscribe":{{"recoverable":true,"epoch":"{}","offset":{},"#,
            r#""positioned":true,"was_recovering":true}}}}"#
        ),
        epoch, 4
    );
    let again = r#"{"id":3,"unsubscribe":{"channel":"log.a"}}"#;
    client.ask(again).await;
    assert_eq!(client.ask(&recover(1, "_")).await, unrecovered, "another epoch");
    client.ask(again).await;
    let any = client.ask(&recover(3, "")).await;
    assert!(any.contains(r#""publications":[{"data":4,"offset":4}],"recovered":true"#), "{any}");
    client.ask(again).await;
    for data in 5..20 {
        service.publish("log.a", &data.to_string()).await;
    }
    assert!(
        !client.ask(&recover(4, &epoch)).await.contains("recovered"),
        "what was missed is gone"
    );
    client.ask(again).await;
    let rejects = recover(4, &epoch).replace("\"recover\"", "\"flag\":3,\"recover\"");
    assert_eq!(
        client.ask(&rejects).await,
        r#"{"id":2,"error":{"code":112,"message":"unrecoverable position"}}"#
    );
    assert_eq!(client.ask(r#"{"id":4,"rpc":{"method":"echo"}}"#).await, r#"{"id":4,"rpc":{}}"#);
    assert_eq!(service.hub.subscribers(&Filter::from(topic("log.a"))), 0);
}

// An SDK that was to begin at the start of a topic that nobody had used before was told that it had missed something: the
// epoch that its position was taken to have was that of no history, as there was none yet.
#[tokio::test]
async fn a_client_begins_at_the_start_of_a_history_that_begins_with_it() {
    let mut service = Service::quiet();
    let mut client = service.connected("alice").await;
    // Flag 2: an error if not.
    let subscribe = r#"{"id":2,"subscribe":{"channel":"log.new","recover":true,"flag":2}}"#;
    let reply = client.ask(subscribe).await;
    assert!(reply.contains(r#""recovered":true"#), "{reply}");
    service.publish("log.new", "1").await;
    assert!(client.line().await.contains(r#""pub":{"data":1,"offset":1}"#));
    // It is not there for an offset that is not.
    let ahead =
        r#"{"id":3,"subscribe":{"channel":"log.newer","recover":true,"flag":2,"offset":1}}"#;
    assert_eq!(
        client.ask(ahead).await,
        r#"{"id":3,"error":{"code":112,"message":"unrecoverable position"}}"#
    );
}

#[tokio::test]
async fn a_client_gets_the_last_value() {
    let mut service = Service::quiet();
    let mut client = service.connected("alice").await;
    assert!(!client.subscribe("last.a").await.contains("recovered\":true"), "there is none");
    client.ask(r#"{"id":3,"unsubscribe":{"channel":"last.a"}}"#).await;
    for data in ["1", "2"] {
        service.publish("last.a", data).await;
    }
    let reply = client.subscribe("last.a").await;
    assert!(
        reply.contains(r#""publications":[{"data":2,"offset":2}],"recovered":true,"offset":1,"#),
        "{reply}"
    );
    let reply: serde_json::Value = serde_json::from_str(&reply).unwrap();
    let epoch = reply["subscribe"]["epoch"].as_str().unwrap();
    client.ask(r#"{"id":3,"unsubscribe":{"channel":"last.a"}}"#).await;
    let recover = |offset: u64| {
        format!(
            r#"{{"id":2,"subscribe":{{"channel":"last.a","recover":true,"offset":{offset},"epoch":"{epoch}"}}}}"#
        )
    };
    let reply = client.ask(&recover(2)).await;
    assert!(!reply.contains("publications") && reply.contains(r#""recovered":true"#), "{reply}");
    client.ask(r#"{"id":3,"unsubscribe":{"channel":"last.a"}}"#).await;
    let reply = client.ask(&recover(0)).await;
    assert!(
        reply.contains(r#""publications":[{"data":2,"offset":2}],"recovered":true"#),
        "{reply}"
    );
}

// Publications arrive while the client is being connected: they come behind the answer that tells it of its
// subscriptions.
// One that arrived between the answer and the outlet's being told of it overtook it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_subscribes_a_client_that_connects() {
    let service = patient();
    let hub = service.hub.clone();
    let publisher = tokio::spawn(async move {
        let (server, other) = (topic("log.server"), topic("log.other"));
        loop {
            hub.publish(&server, "1").await.unwrap();
            hub.publish(&other, "2").await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    for _ in 0..50 {
        let mut client = service.client();
        let reply: serde_json::Value =
            serde_json::from_str(&client.connect("server").await).unwrap();
        let subs = &reply["connect"]["subs"];
        // 0 is left out: the first client may come before the first publication.
        let mut offsets =
            ["log.other", "log.server"].map(|name| subs[name]["offset"].as_u64().unwrap_or(0));
        let mut seen = 0;
        while seen < 20 {
            let push: serde_json::Value = serde_json::from_str(&client.line().await).unwrap();
            let channel = push["push"]["channel"].as_str().unwrap();
            let offset = &mut offsets[usize::from(channel == "log.server")];
            *offset += 1;
            assert_eq!(push["push"]["pub"]["offset"].as_u64(), Some(*offset), "{channel}");
            seen += 1;
        }
    }
    publisher.abort();
}

// Who joined a channel while its client was being connected, itself among them, was told or not, as it happened to come.
#[tokio::test]
async fn a_client_hears_who_joined_while_it_was_connected() {
    let mut service = Service::quiet();
    let mut client = service.client();
    let reply = client.connect("rooms").await;
    assert!(reply.ends_with(r#""subs":{"room.first":{},"room.second":{}}}}"#), "{reply}");
    service.event().await;
    let id = service.newest().id().to_owned();
    for channel in ["room.first", "room.second"] {
        let joined = format!(
            concat!(
                r#"{{"push":{{"channel":"{}","join":{{"info":"#,
                r#"{{"user":"rooms","client":"{}"}}}}}}}}"#
            ),
            channel, id
        );
        assert_eq!(client.line().await, joined);
    }
}

#[tokio::test]
async fn the_server_subscribes_and_unsubscribes_a_client() {
    let mut service = Service::quiet();
    let mut client = service.connected("alice").await;
    let handle = service.newest();
    handle.subscribe("a", SubscribeGrant::new().data("1")).await.unwrap();
    assert_eq!(client.line().await, r#"{"push":{"channel":"a","subscribe":{"data":1}}}"#);
    service.publish("a", "2").await;
    assert_eq!(client.line().await, r#"{"push":{"channel":"a","pub":{"data":2}}}"#);
    assert_eq!(handle.channels(), ["a"]);
    assert!(handle.subscribe("a", SubscribeGrant::new()).await.is_err());
    assert!(handle.unsubscribe("a", Unsubscribe::new(2100, "done")));
    assert_eq!(
        client.line().await,
        r#"{"push":{"channel":"a","unsubscribe":{"code":2100,"reason":"done"}}}"#
    );
    // Or through the hub, which knows of nothing but members.
    client.subscribe("b").await;
    assert!(service.hub.unsubscribe(handle.member(), &Filter::from(topic("b")), 2000));
    assert_eq!(
        client.line().await,
        r#"{"push":{"channel":"b","unsubscribe":{"code":2000,"reason":"server unsubscribe"}}}"#
    );
    assert_eq!(client.subscribe("b").await, r#"{"id":2,"subscribe":{}}"#);
    assert!(service.hub.send(handle.member(), "\"x\""));
    assert_eq!(client.line().await, r#"{"push":{"message":{"data":"x"}}}"#);
}

// The hub had not been told yet that the session had left the channel: 105, "already subscribed".
#[tokio::test]
async fn a_client_is_subscribed_again_at_once_to_what_the_server_has_ended() {
    let mut service = Service::quiet();
    let mut client = service.connected("alice").await;
    let handle = service.newest();
    handle.subscribe("a", SubscribeGrant::new()).await.unwrap();
    assert_eq!(client.line().await, r#"{"push":{"channel":"a","subscribe":{}}}"#);
    for code in 2100..2110 {
        assert!(handle.unsubscribe("a", Unsubscribe::new(code, "")));
        handle.subscribe("a", SubscribeGrant::new()).await.unwrap();
        let ended = client.line().await;
        assert_eq!(
            ended,
            format!(r#"{{"push":{{"channel":"a","unsubscribe":{{"code":{code}}}}}}}"#)
        );
        assert_eq!(client.line().await, r#"{"push":{"channel":"a","subscribe":{}}}"#);
        assert_eq!(service.event().await, "unsubscribed a");
        service.publish("a", "1").await;
        assert_eq!(client.line().await, r#"{"push":{"channel":"a","pub":{"data":1}}}"#);
    }
    // The same through the hub. The session, which heard of it later, had the hub end the new subscription: the client was told
    // that it was subscribed, and heard nothing.
    for _ in 0..10 {
        assert!(service.hub.unsubscribe(handle.member(), &Filter::from(topic("a")), 2000));
        handle.subscribe("a", SubscribeGrant::new()).await.unwrap();
        assert!(client.line().await.contains("unsubscribe"));
        assert_eq!(client.line().await, r#"{"push":{"channel":"a","subscribe":{}}}"#);
        assert_eq!(service.event().await, "unsubscribed a");
        service.publish("a", "1").await;
        assert_eq!(client.line().await, r#"{"push":{"channel":"a","pub":{"data":1}}}"#);
    }
    // The session had not heard of the subscription yet, and did not end it.
    handle.subscribe("b", SubscribeGrant::new()).await.unwrap();
    assert!(handle.unsubscribe("b", Unsubscribe::new(2100, "")));
    assert_eq!(client.line().await, r#"{"push":{"channel":"b","subscribe":{}}}"#);
    assert_eq!(client.line().await, r#"{"push":{"channel":"b","unsubscribe":{"code":2100}}}"#);
    assert_eq!(service.event().await, "unsubscribed b");
    // Of a client that is gone nothing is waited for.
    handle.disconnect(Disconnect::SHUTDOWN);
    client.closed().await;
    handle.unsubscribe("a", Unsubscribe::SERVER);
    handle.subscribe("a", SubscribeGrant::new()).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_subscription_expires() {
    let mut service = Service::quiet();
    let mut client = service.connected("alice").await;
    client.subscribe("short").await;
    assert_eq!(
        client.line().await,
        r#"{"push":{"channel":"short","unsubscribe":{"code":2501,"reason":"subscription expired"}}}"#
    );
    assert_eq!(service.event().await, "unsubscribed short");
}

// Data that are not JSON are for clients with Protobuf alone.
#[tokio::test]
async fn what_is_not_json_closes_a_client_that_has_json() {
    let mut service = Service::quiet();
    let mut client = service.connected("alice").await;
    client.subscribe("a").await;
    service.hub.publish(&topic("a"), Publication::new("hello")).await.unwrap();
    assert_eq!(client.closed().await.to_string(), "3506 inappropriate protocol");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed() {
    let config = Config::new().no_ping().max_queue(100_000);
    let mut service = Service::new(config);
    let mut client = service.client_behind(4096);
    client.connect("alice").await;
    client.subscribe("a").await;
    assert_eq!(service.event().await, "connected alice");
    let large = format!("\"{}\"", "x".repeat(10_000));
    for _ in 0..30 {
        service.publish("a", &large).await;
    }
    assert_eq!(client.closed().await.to_string(), "3008 slow");
    assert_eq!(service.event().await, "disconnected alice");
}
