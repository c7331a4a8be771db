//! Losses between nodes, of which clients hear.

use serde_json::Value;

use crate::network::Network;
use crate::support::{Service, builder, topic};

// The client is told that it has lost its place, gets nothing more of the channel, as if nothing were missing, and
// recovers by subscribing again, or learns that it cannot.
#[tokio::test]
async fn a_client_hears_of_a_gap() {
    let network = Network::default();
    let (here, _) = network.hub(builder());
    let (there, node) = network.hub(builder());
    let mut service = Service::of(there, tautline_hub::centrifuge::Config::new().no_ping());
    let mut client = service.connected("alice").await;
    client.subscribe("log.a").await;
    here.publish(&topic("log.a"), "1").await.unwrap();
    assert_eq!(client.line().await, r#"{"push":{"channel":"log.a","pub":{"data":1,"offset":1}}}"#);
    network.cut(node);
    for number in 2..=20 {
        here.publish(&topic("log.a"), number.to_string()).await.unwrap();
    }
    network.heal(node);
    assert_eq!(
        client.line().await,
        r#"{"push":{"channel":"log.a","unsubscribe":{"code":2500,"reason":"insufficient state"}}}"#
    );
    assert_eq!(service.event().await, "unsubscribed log.a");
    here.publish(&topic("log.a"), "21").await.unwrap();
    let reply =
        client.ask(r#"{"id":3,"subscribe":{"channel":"log.a","recover":true,"offset":1}}"#).await;
    let reply: Value = serde_json::from_str(&reply).unwrap();
    assert_eq!(reply["subscribe"]["offset"], 21, "{reply}");
    assert_eq!(reply["subscribe"].get("recovered"), None, "{reply}");
    here.publish(&topic("log.a"), "22").await.unwrap();
    assert_eq!(
        client.line().await,
        r#"{"push":{"channel":"log.a","pub":{"data":22,"offset":22}}}"#
    );
}

// It cannot subscribe again to what the server subscribed it to, so it comes back.
#[tokio::test]
async fn a_client_that_the_server_subscribed_comes_back_after_a_gap() {
    let network = Network::default();
    let (here, _) = network.hub(builder());
    let (there, node) = network.hub(builder());
    let mut service = Service::of(there, tautline_hub::centrifuge::Config::new().no_ping());
    let mut client = service.connected("server").await;
    here.publish(&topic("log.server"), "1").await.unwrap();
    assert!(client.line().await.contains(r#""offset":1"#));
    network.cut(node);
    for number in 2..=20 {
        here.publish(&topic("log.server"), number.to_string()).await.unwrap();
    }
    network.heal(node);
    assert_eq!(client.closed().await.to_string(), "3010 insufficient state");
}

// What one client publishes on one node, others get on another, with who it was.
#[tokio::test]
async fn clients_of_two_nodes_are_together() {
    let network = Network::default();
    let quiet = || tautline_hub::centrifuge::Config::new().no_ping();
    let mut one = Service::of(network.hub(builder()).0, quiet());
    let mut other = Service::of(network.hub(builder()).0, quiet());
    let mut alice = one.connected("alice").await;
    let mut bob = other.connected("bob").await;
    assert_ne!(one.newest().id(), other.newest().id());
    bob.subscribe("log.a").await;
    let reply = alice.ask(r#"{"id":2,"publish":{"channel":"log.a","data":{"x":1}}}"#).await;
    assert_eq!(reply, r#"{"id":2,"publish":{}}"#);
    let push: Value = serde_json::from_str(&bob.line().await).unwrap();
    let publication = &push["push"]["pub"];
    assert_eq!(publication["data"]["x"], 1);
    assert_eq!(publication["info"]["client"], one.newest().id());
    assert_eq!(publication["info"]["conn_info"]["of"], "all");
}
