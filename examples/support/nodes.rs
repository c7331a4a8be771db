//! Servers of an example that share a hub: one by itself, or two nodes with a broker between them.

use std::net::SocketAddr;
use std::time::Duration;

use tautline::{BoxError, Server};
use tautline_hub::broker::nats::{NatsBroker, NatsHistory};
use tautline_hub::broker::redis::RedisBroker;
use tautline_hub::{BrokerState, Hub, HubBuilder};
use tokio::time::timeout;

const CONNECTING: Duration = Duration::from_secs(10);

/// A server, not yet listened to, and its hub.
pub(crate) struct Node {
    pub(crate) server: Server,
    pub(crate) hub: Hub,
}

/// One node on this address. With a broker, which is `redis://…`, `nats://…` or the like, two: the other one on
/// the next port. In a program that is run on several machines each has one; two here show that it works.
///
/// `name` is that of the example, on the terminal and at the broker.
pub(crate) async fn open(
    name: &str,
    listen: &str,
    broker: Option<&str>,
    hub: fn() -> HubBuilder,
) -> Result<Vec<Node>, BoxError> {
    let server = Server::bind(listen).await?;
    let first = server.local_addr()?;
    let mut servers = vec![server];
    let mut hubs = Vec::new();
    if let Some(url) = broker {
        let port = if listen.ends_with(":0") { Some(0) } else { first.port().checked_add(1) };
        let port = port.ok_or("there is no port after the last one")?;
        servers.push(Server::bind(SocketAddr::new(first.ip(), port)).await?);
        for _ in &servers {
            hubs.push(connect(name, url, hub()).await?);
        }
    } else {
        hubs.push(hub().build());
    }
    for server in &servers {
        println!("{name} on http://{}", server.local_addr()?);
    }
    Ok(servers.into_iter().zip(hubs).map(|(server, hub)| Node { server, hub }).collect())
}

/// A hub on a broker, once it is connected.
async fn connect(name: &str, url: &str, hub: HubBuilder) -> Result<Hub, BoxError> {
    let hub = match url.split_once(':') {
        Some(("redis" | "rediss" | "unix", _)) => {
            hub.broker(RedisBroker::builder(url).prefix(name).build()?).build()
        }
        Some(("nats" | "tls", _)) => {
            let history = NatsHistory::new().in_memory();
            hub.broker(NatsBroker::builder(url).prefix(name).history(history).build()?).build()
        }
        _ => return Err("a broker is redis://HOST or nats://HOST".into()),
    };
    let mut state = hub.broker_state().ok_or("the hub has no broker")?;
    let connected = state.wait_for(|state| *state == BrokerState::Connected);
    let waited = timeout(CONNECTING, connected).await.map(|state| state.map(drop));
    match waited {
        Ok(state) => state?,
        Err(_) => {
            let state = hub.broker_state().map(|state| state.borrow().clone());
            return Err(match state {
                Some(BrokerState::Lost(why)) => format!("the broker cannot be reached: {why}"),
                _ => format!("the broker is not connected after {CONNECTING:?}"),
            }
            .into());
        }
    }
    Ok(hub)
}
