//! What a client asks for.

use std::time::Duration;

use tautline_hub::centrifuge::{ClientError, Config, Disconnect, Expiry, Payload, Refusal};

use crate::support::{Service, topic};

#[tokio::test]
async fn a_client_connects_and_leaves() {
    let mut service = Service::quiet();
    let mut client = service.client();
    let reply =
        client.ask(r#"{"connect":{"token":"alice","data":{"a":1},"name":"js"},"id":1}"#).await;
    let id = service.newest().id().to_owned();
    assert_eq!(reply, format!(r#"{{"id":1,"connect":{{"client":"{id}","data":{{"a":1}}}}}}"#));
    assert_eq!(service.event().await, "connected alice");
    let who = client.ask(r#"{"id":2,"rpc":{"method":"who"}}"#).await;
    assert_eq!(who, format!(r#"{{"id":2,"rpc":{{"data":"{id}"}}}}"#));
    client.ws.close().await.unwrap();
    assert_eq!(service.event().await, "disconnected alice");
    assert!(service.hub.members().is_empty());
    assert!(!service.newest().is_connected());
    assert!(!service.newest().send("1"));
}

#[tokio::test]
async fn a_client_is_refused() {
    let mut service = Service::quiet();
    let mut client = service.client();
    client.send(r#"{"id":1,"connect":{"token":"bad"}}"#).await;
    assert_eq!(client.closed().await.to_string(), "3500 invalid token");
    let mut client = service.client();
    assert_eq!(
        client.connect("expired").await,
        r#"{"id":1,"error":{"code":109,"message":"token expired"}}"#
    );
    client.send(r#"{"id":2,"rpc":{}}"#).await;
    assert_eq!(client.closed().await.to_string(), "3501 bad request");
    // What the server subscribes it to is not possible.
    let mut client = service.client();
    assert_eq!(
        client.connect("denied").await,
        r#"{"id":1,"error":{"code":102,"message":"unknown channel"}}"#
    );
    // What was possible is undone: it hears of nothing but the error.
    assert_eq!(service.hub.subscribers(&topic("log.first").into()), 0);
    service.publish("log.first", "1").await;
    client.send(r#"{"id":2,"rpc":{}}"#).await;
    assert!(client.ws.next().await.is_none());
    assert_eq!(client.ws.close_frame().unwrap().to_string(), "3501 bad request");
    service.connected("alice").await;
}

#[tokio::test]
async fn a_client_calls() {
    let mut service = Service::quiet();
    let mut client = service.connected("alice").await;
    assert_eq!(
        client.ask(r#"{"id":2,"rpc":{"method":"echo","data":{"x": 1}}}"#).await,
        r#"{"id":2,"rpc":{"data":{"x": 1}}}"#
    );
    assert_eq!(
        client.ask(r#"{"id":3,"rpc":{"method":"none"}}"#).await,
        r#"{"id":3,"error":{"code":104,"message":"method not found"}}"#
    );
    client.send(r#"{"send":{"data":"hi"}}"#).await;
    assert_eq!(service.event().await, "message \"hi\"");
    client.send(r#"{"id":4,"rpc":{"method":"bytes"}}"#).await;
    assert_eq!(client.closed().await.to_string(), "3506 inappropriate protocol");
}

// The order of its publications would not be kept otherwise; but it is heard, and sent to.
#[tokio::test]
async fn requests_are_carried_out_one_after_the_other() {
    let mut service = Service::new(Config::new().no_ping().max_pending(3));
    let mut client = service.connected("alice").await;
    client.send(r#"{"id":2,"rpc":{"method":"slow"}}"#).await;
    client.send(r#"{"id":3,"rpc":{"method":"echo"}}"#).await;
    client.send(r#"{"id":4,"rpc":{"method":"echo"}}"#).await;
    assert_eq!(
        client.ask(r#"{"id":5,"rpc":{"method":"echo"}}"#).await,
        r#"{"id":5,"error":{"code":111,"message":"too many requests","temporary":true}}"#
    );
    service.newest().send("1");
    assert_eq!(client.line().await, r#"{"push":{"message":{"data":1}}}"#);
}

// A client that unsubscribed at once was still there for what it asked next: its subscription was made, and not answered
// yet, and the end of it waited for the answer.
#[tokio::test]
async fn what_follows_the_end_of_a_subscription_comes_behind_it() {
    let mut service = Service::quiet();
    let mut client = service.connected("alice").await;
    let commands = [
        r#"{"id":2,"subscribe":{"channel":"room.1"}}"#,
        r#"{"id":3,"unsubscribe":{"channel":"room.1"}}"#,
        r#"{"id":4,"presence_stats":{"channel":"room.1"}}"#,
    ];
    client.send(&commands.join("\n")).await;
    assert_eq!(client.line().await, r#"{"id":2,"subscribe":{}}"#);
    assert_eq!(client.line().await, r#"{"id":3,"unsubscribe":{}}"#);
    assert_eq!(client.line().await, r#"{"id":4,"presence_stats":{"num_clients":0,"num_users":0}}"#);
}

#[tokio::test]
async fn a_client_publishes_to_all_and_itself() {
    let mut service = Service::quiet();
    let mut alice = service.connected("alice").await;
    let alice_id = service.newest().id().to_owned();
    let mut bob = service.connected("bob").await;
    alice.subscribe("chat").await;
    bob.subscribe("chat").await;
    alice.send(r#"{"id":3,"publish":{"channel":"chat","data":"hello"}}"#).await;
    let push = format!(
        concat!(
            r#"{{"push":{{"channel":"chat","pub":{{"data":"hello","info":{{"user":"alice","#,
            r#""client":"{}","conn_info":{{"of":"all"}},"chan_info":"here"}}}}}}}}"#
        ),
        alice_id
    );
    assert_eq!(bob.line().await, push);
    let mut got = [alice.line().await, alice.line().await];
    got.sort();
    assert_eq!(got, [r#"{"id":3,"publish":{}}"#.to_owned(), push]);

    bob.subscribe("anonymous").await;
    alice.send(r#"{"id":4,"publish":{"channel":"anonymous","data":1}}"#).await;
    assert_eq!(
        bob.line().await,
        r#"{"push":{"channel":"anonymous","pub":{"data":1,"tags":{"a":"b"}}}}"#
    );
    alice.line().await;
    for (channel, error) in [
        ("secret", r#"{"code":103,"message":"permission denied"}"#),
        ("not a topic", r#"{"code":102,"message":"unknown channel"}"#),
    ] {
        let publish = format!(r#"{{"id":5,"publish":{{"channel":"{channel}","data":1}}}}"#);
        let refused = format!(r#"{{"id":5,"error":{error}}}"#);
        assert_eq!(alice.ask(&publish).await, refused);
    }
}

#[tokio::test]
async fn the_hubs_hook_is_asked_as_well() {
    let mut service = Service::quiet();
    let mut client = service.connected("alice").await;
    service.hub.set_authorize(|member, _| &*member.user != "alice");
    for command in ["publish", "subscribe"] {
        let command = format!(r#"{{"id":2,"{command}":{{"channel":"a"}}}}"#);
        assert_eq!(
            client.ask(&command).await,
            r#"{"id":2,"error":{"code":103,"message":"permission denied"}}"#
        );
    }
}

// A client that asked for several histories at once was closed as slow, although it read as fast as anybody can: the
// answers were made faster than they could be sent.
#[tokio::test]
async fn a_client_that_asks_for_much_at_once_is_not_slow() {
    let mut service = Service::quiet();
    let mut client = service.connected("alice").await;
    let data = format!("\"{}\"", "x".repeat(100_000));
    for _ in 0..5 {
        service.publish("log.a", &data).await;
    }
    let commands =
        (2..22).map(|id| format!(r#"{{"id":{id},"history":{{"channel":"log.a","limit":-1}}}}"#));
    client.send(&commands.collect::<Vec<_>>().join("\n")).await;
    for id in 2..22 {
        let reply: serde_json::Value = serde_json::from_str(&client.line().await).unwrap();
        assert_eq!(reply["id"], id);
        assert_eq!(reply["history"]["publications"].as_array().unwrap().len(), 5);
    }
    // What it asks for meanwhile waits, and is not forgotten.
    let ask = r#"{"id":3,"rpc":{"method":"echo","data":1}}"#;
    assert_eq!(client.ask(ask).await, r#"{"id":3,"rpc":{"data":1}}"#);
}

// The handler waited for room in what is sent, which nobody made any more.
#[tokio::test]
async fn a_client_that_leaves_while_it_takes_nothing_is_gone() {
    let mut service = Service::quiet();
    let mut client = service.client_behind(16 << 10);
    client.connect("alice").await;
    assert_eq!(service.event().await, "connected alice");
    let data = format!("\"{}\"", "x".repeat(100_000));
    for _ in 0..5 {
        service.publish("log.a", &data).await;
    }
    let history = r#"{"history":{"channel":"log.a","limit":-1},"id":"#;
    let histories = (2..9).map(|id| format!("{history}{id}}}"));
    let messages = (0..300).map(|_| r#"{"send":{"data":1}}"#.to_owned());
    client.send(&histories.chain(messages).collect::<Vec<_>>().join("\n")).await;
    drop(client);
    let gone = async { while service.event().await != "disconnected alice" {} };
    tokio::time::timeout(Duration::from_secs(30), gone).await.unwrap();
}

#[tokio::test]
async fn a_client_reads_history() {
    let mut service = Service::quiet();
    let mut client = service.connected("alice").await;
    for data in ["1", "2", "3", "4", "5", "6"] {
        service.publish("log.a", data).await;
    }
    let mut history = async |request: &str| {
        let command = format!(r#"{{"id":2,"history":{{"channel":"log.a"{request}}}}}"#);
        let reply: serde_json::Value = serde_json::from_str(&client.ask(&command).await).unwrap();
        match reply.get("error") {
            Some(error) => (vec![], error["code"].as_u64().unwrap()),
            None => {
                let history = &reply["history"];
                let publications = history["publications"].as_array().unwrap();
                let offsets = publications.iter().map(|publication| {
                    assert_eq!(publication["data"], publication["offset"]);
                    publication["offset"].as_u64().unwrap()
                });
                (offsets.collect(), history["offset"].as_u64().unwrap())
            }
        }
    };
    assert_eq!(history("").await, (vec![], 6));
    assert_eq!(history(r#","limit":-1"#).await, (vec![2, 3, 4, 5, 6], 6));
    assert_eq!(history(r#","limit":2"#).await, (vec![2, 3], 6));
    assert_eq!(history(r#","limit":2,"reverse":true"#).await, (vec![6, 5], 6));
    assert_eq!(history(r#","limit":2,"since":{"offset":3}"#).await, (vec![4, 5], 6));
    assert_eq!(history(r#","limit":-1,"since":{"offset":6}"#).await, (vec![], 6));
    let before = r#","limit":2,"reverse":true,"since":{"offset":5}"#;
    assert_eq!(history(before).await, (vec![4, 3], 6));
    // Its first one is gone; another history.
    assert_eq!(history(r#","limit":-1,"since":{"offset":0}"#).await, (vec![], 112));
    assert_eq!(history(r#","limit":1,"since":{"offset":6,"epoch":"_"}"#).await, (vec![], 112));
    for (channel, code) in [("log.secret", 103), ("none", 108)] {
        let command = format!(r#"{{"id":2,"history":{{"channel":"{channel}"}}}}"#);
        assert!(client.ask(&command).await.contains(&format!("\"code\":{code},")));
    }
}

#[tokio::test]
async fn a_client_knows_who_is_there() {
    let mut service = Service::quiet();
    let mut alice = service.connected("alice").await;
    let alice_id = service.newest().id().to_owned();
    assert_eq!(service.newest().member().to_string(), alice_id);
    alice.send(r#"{"id":2,"subscribe":{"channel":"room.1","join_leave":true}}"#).await;
    let joined = |user: &str, id: &str, what: &str| {
        format!(
            concat!(
                r#"{{"push":{{"channel":"room.1","{}":{{"info":{{"user":"{}","client":"{}","#,
                r#""conn_info":{{"of":"all"}},"chan_info":"here"}}}}}}}}"#
            ),
            what, user, id
        )
    };
    let mut first = [alice.line().await, alice.line().await];
    first.sort();
    assert_eq!(first, [r#"{"id":2,"subscribe":{}}"#, &*joined("alice", &alice_id, "join")]);
    let mut bob = service.connected("bob").await;
    let bob_id = service.newest().id().to_owned();
    bob.subscribe("room.1").await;
    assert_eq!(alice.line().await, joined("bob", &bob_id, "join"));
    let reply: serde_json::Value =
        serde_json::from_str(&bob.ask(r#"{"id":3,"presence":{"channel":"room.1"}}"#).await)
            .unwrap();
    let presence = &reply["presence"]["presence"];
    assert_eq!(presence.as_object().unwrap().len(), 2);
    assert_eq!(presence[&alice_id]["user"], "alice");
    assert_eq!(presence[&alice_id]["chan_info"], "here");
    assert_eq!(
        bob.ask(r#"{"id":4,"presence_stats":{"channel":"room.1"}}"#).await,
        r#"{"id":4,"presence_stats":{"num_clients":2,"num_users":2}}"#
    );
    bob.ws.close().await.unwrap();
    assert_eq!(alice.line().await, joined("bob", &bob_id, "leave"));
    assert_eq!(
        alice.ask(r#"{"id":5,"presence_stats":{"channel":"room.secret"}}"#).await,
        r#"{"id":5,"error":{"code":103,"message":"permission denied"}}"#
    );
}

// The SDK for JavaScript was told of a client without a user that nobody was there: Centrifugo counts all of these as one
// user. And it was told that nobody was in a topic that has no presence, where that is not available.
#[tokio::test]
async fn clients_without_a_user_count_as_one() {
    let mut service = Service::quiet();
    let mut client = service.connected("").await;
    let stats = r#"{"id":9,"presence_stats":{"channel":"room.1"}}"#;
    let counted = |clients: u32, users: u32| {
        format!(r#"{{"id":9,"presence_stats":{{"num_clients":{clients},"num_users":{users}}}}}"#)
    };
    client.subscribe("room.1").await;
    assert_eq!(client.ask(stats).await, counted(1, 1));
    let mut second = service.connected("").await;
    second.subscribe("room.1").await;
    assert_eq!(client.ask(stats).await, counted(2, 1));
    let mut alice = service.connected("alice").await;
    alice.subscribe("room.1").await;
    assert_eq!(alice.ask(stats).await, counted(3, 2));
    for client in [&mut client, &mut second] {
        client.ask(r#"{"id":3,"unsubscribe":{"channel":"room.1"}}"#).await;
    }
    assert_eq!(alice.ask(stats).await, counted(1, 1));
    for what in ["presence", "presence_stats"] {
        assert_eq!(
            alice.ask(&format!(r#"{{"id":4,"{what}":{{"channel":"log.1"}}}}"#)).await,
            r#"{"id":4,"error":{"code":108,"message":"not available"}}"#
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_is_pinged() {
    let mut service = Service::new(Config::new());
    let mut client = service.connected("alice").await;
    assert_eq!(client.line().await, "{}");
    client.send("{}").await;
    assert_eq!(client.line().await, "{}");
    assert_eq!(client.closed().await.to_string(), "3012 no pong");
    assert_eq!(service.event().await, "disconnected alice");
}

#[tokio::test(start_paused = true)]
async fn a_connection_expires_unless_it_is_refreshed() {
    let service = Service::quiet();
    let mut client = service.client();
    assert!(client.connect("short").await.ends_with(r#","expires":true,"ttl":1}}"#));
    let reply = client.ask(r#"{"id":2,"refresh":{"token":"good"}}"#).await;
    assert!(reply.starts_with(r#"{"id":2,"refresh":{"client":"#), "{reply}");
    assert!(service.newest().refresh(Some(Expiry::by_client(Duration::from_secs(1)))));
    assert_eq!(client.line().await, r#"{"push":{"refresh":{"expires":true,"ttl":1}}}"#);
    assert_eq!(
        client.ask(r#"{"id":3,"refresh":{"token":"bad"}}"#).await,
        r#"{"id":3,"error":{"code":101,"message":"unauthorized"}}"#
    );
    assert_eq!(client.closed().await.to_string(), "3005 connection expired");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_closed() {
    let service = Service::quiet();
    let mut client = service.client();
    assert_eq!(client.closed().await.to_string(), "3502 stale");
}

#[tokio::test]
async fn the_application_closes_a_client() {
    let mut service = Service::quiet();
    let mut client = service.connected("alice").await;
    let handle = service.newest();
    assert!(handle.is_connected());
    handle.send(Payload::json("bye").unwrap());
    handle.disconnect(Disconnect::new(4100, "enough").unwrap());
    assert_eq!(client.line().await, r#"{"push":{"message":{"data":"bye"}}}"#);
    assert_eq!(client.closed().await.to_string(), "4100 enough");
    assert!(!handle.send("1"));
    assert_eq!(service.event().await, "disconnected alice");
    let refused = handle.subscribe("a", tautline_hub::centrifuge::SubscribeGrant::new()).await;
    assert_eq!(refused, Err(Refusal::Disconnect(Disconnect::CONNECTION_CLOSED)));
}

#[tokio::test]
async fn the_hub_shuts_down() {
    let mut service = Service::quiet();
    let mut client = service.connected("alice").await;
    service.hub.shut_down();
    assert_eq!(client.closed().await.to_string(), "3001 shutdown");
    let error = service.hub.publish(&topic("a"), "1").await.unwrap_err();
    assert_eq!(error.to_string(), "the member or the hub has ended");
    assert_eq!(ClientError::INTERNAL.code(), 100);
}

// A client had up to a thousand commands of 64 KiB each kept for it while the application looked at its token. It is
// not read beyond the first frame of them, and nothing of what it sent is lost.
#[tokio::test(start_paused = true)]
async fn a_client_that_waits_to_be_let_in_is_not_read_further() {
    let service = Service::quiet();
    let mut client = service.client();
    client.send(r#"{"id":1,"connect":{"token":"late"}}"#).await;
    let large = "x".repeat(60_000);
    {
        let flood = async {
            for id in 2..=20 {
                client.send(&format!(r#"{{"id":{id},"rpc":{{"data":"{large}"}}}}"#)).await;
            }
        };
        let mut flood = std::pin::pin!(flood);
        let early = tokio::time::timeout(Duration::from_secs(1), &mut flood).await;
        assert!(early.is_err(), "all of it was read");
        flood.await;
    }
    assert!(client.line().await.starts_with(r#"{"id":1,"connect":"#));
    for id in 2..=20 {
        let error = r#"{"code":104,"message":"method not found"}"#;
        assert_eq!(client.line().await, format!(r#"{{"id":{id},"error":{error}}}"#));
    }
}

// What it had sent with it was still carried out, its publications among them: also of a client that the application
// had closed because of the first one.
#[tokio::test]
async fn nothing_is_carried_out_for_a_client_that_is_closed() {
    let mut service = Service::quiet();
    let mut alice = service.connected("alice").await;
    let mut bob = service.connected("bob").await;
    bob.subscribe("a").await;
    alice
        .send(concat!(
            r#"{"id":2,"rpc":{"method":"bytes"}}"#,
            "\n",
            r#"{"id":3,"publish":{"channel":"a","data":"late"}}"#,
            "\n",
            r#"{"send":{"data":"hi"}}"#,
        ))
        .await;
    assert_eq!(alice.closed().await.to_string(), "3506 inappropriate protocol");
    // A message waits for no answer.
    assert_eq!(service.event().await, "message \"hi\"");
    assert_eq!(service.event().await, "disconnected alice");
    service.publish("a", "1").await;
    assert_eq!(bob.line().await, r#"{"push":{"channel":"a","pub":{"data":1}}}"#);
}
