//! The server that SDKs of Centrifuge's protocol talk to: `cargo run --example centrifuge_peer -- [--listen
//! ADDR] [--ping SECONDS]`
//!
//! What the application grants shows in the names of tokens, channels and methods below. Topics that begin with
//! `log` or `full` keep ten publications, those that begin with `cache` the last one; of those that begin with `log` or
//! `cache`, nobody is told who is there.

#[path = "../../examples/support/mod.rs"]
mod support;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use support::{arguments, stopped};
use tautline::{OriginPolicy, Server, Upgrade};
use tautline_hub::centrifuge::{
    Application, Centrifuge, Client, ClientError, Config, ConnectGrant, ConnectRequest, Disconnect,
    Expiry, Format, HistoryRequest, Payload, PublishGrant, PublishRequest, Refusal, RpcRequest,
    SubscribeGrant, SubscribeRequest, Unsubscribe,
};
use tautline_hub::{Hub, Keep, Topic, TopicOptions, presence};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Peer {
    hub: Hub,
    /// What clients have sent without waiting for an answer.
    messages: Mutex<Vec<Payload>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Peer {
    async fn call(&self, client: &Client, request: &RpcRequest) -> Result<Value, Refusal> {
        let data: Value = request.data.parse().unwrap_or_default();
        let text = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
        let number = |name: &str| data[name].as_u64().unwrap_or_default();
        match &*request.method {
            "echo" => return Ok(data),
            "error" => return Err(ClientError::new(1234, "as asked for").into()),
            "temporary" => return Err(ClientError::new(1235, "not now").temporary().into()),
            "messages" => {
                let messages = lock(&self.messages);
                let values: Result<Vec<Value>, _> = messages.iter().map(Payload::parse).collect();
                return Ok(values.unwrap_or_default().into());
            }
            "send" => drop(client.send(request.data.clone())),
            "disconnect" => {
                let code = u16::try_from(number("code")).unwrap_or_default();
                let disconnect = Disconnect::new(code, text("reason"));
                client.disconnect(disconnect.map_err(|_| ClientError::BAD_REQUEST)?);
            }
            "unsubscribe" => {
                let code = u32::try_from(number("code")).unwrap_or_default();
                client.unsubscribe(&text("channel"), Unsubscribe::new(code, text("reason")));
            }
            "subscribe" => client.subscribe(&text("channel"), SubscribeGrant::new()).await?,
            "refresh" => {
                let seconds = Duration::from_secs(number("seconds"));
                client.refresh(Some(Expiry::by_client(seconds)));
            }
            "publish" => {
                let topic = Topic::new(text("channel")).map_err(|_| ClientError::BAD_REQUEST)?;
                for count in 1..=number("count").max(1) {
                    let data =
                        if data["data"].is_null() { json!(count) } else { data["data"].clone() };
                    let published = self.hub.publish(&topic, data.to_string()).await;
                    published.map_err(|_| ClientError::INTERNAL)?;
                }
            }
            _ => return Err(ClientError::METHOD_NOT_FOUND.into()),
        }
        Ok(json!({}))
    }
}

impl Application for Peer {
    async fn connect(&self, request: ConnectRequest) -> Result<ConnectGrant, Refusal> {
        let (kind, user) = request.token.split_once(':').unwrap_or((&request.token, ""));
        let grant = ConnectGrant::new(user)
            .info(Payload::json(&json!({ "name": user })).unwrap_or_default())
            .data(if request.data.is_empty() { "null".into() } else { request.data });
        match kind {
            "" | "user" => Ok(grant),
            "short" => Ok(grant.expiry(Expiry::by_client(SECOND))),
            "server" => Ok(grant.channel("log.server", SubscribeGrant::new())),
            "room" => {
                let room = format!("room.{}", user.split('/').next().unwrap_or_default());
                Ok(grant.channel(room, SubscribeGrant::new().join_leave()))
            }
            "expired" => Err(ClientError::TOKEN_EXPIRED.into()),
            "refused" => Err(ClientError::new(1000, "no").into()),
            "later" => Err(ClientError::new(1001, "later").temporary().into()),
            _ => Err(Disconnect::INVALID_TOKEN.into()),
        }
    }

    async fn refresh(
        &self,
        _client: &Client,
        token: Option<String>,
    ) -> Result<Option<Expiry>, Refusal> {
        match token.as_deref().and_then(|token| token.split(':').next()) {
            Some("user") => Ok(Some(Expiry::by_client(60 * SECOND))),
            _ => Err(ClientError::UNAUTHORIZED.into()),
        }
    }

    async fn subscribe(
        &self,
        _client: &Client,
        request: SubscribeRequest,
    ) -> Result<SubscribeGrant, Refusal> {
        let grant = SubscribeGrant::new().data(request.data);
        let grant = if request.join_leave { grant.join_leave() } else { grant };
        match request.channel.split('.').next().unwrap_or_default() {
            "secret" => Err(ClientError::PERMISSION_DENIED.into()),
            "token" | "logtoken" => match &*request.token {
                "good" => Ok(grant),
                "old" => Err(ClientError::TOKEN_EXPIRED.into()),
                _ => Err(ClientError::PERMISSION_DENIED.into()),
            },
            "short" => Ok(grant.expiry(Expiry::by_client(SECOND))),
            "ending" => Ok(grant.expiry(Expiry::by_server(SECOND))),
            "cache" => Ok(grant.last_value()),
            "logpositioned" => Ok(grant.without_recovery()),
            _ => Ok(grant),
        }
    }

    async fn sub_refresh(
        &self,
        _client: &Client,
        _channel: &str,
        token: Option<String>,
    ) -> Result<Option<Expiry>, Refusal> {
        match token.as_deref() {
            Some("good") => Ok(Some(Expiry::by_client(60 * SECOND))),
            _ => Err(ClientError::PERMISSION_DENIED.into()),
        }
    }

    async fn publish(
        &self,
        _client: &Client,
        request: PublishRequest,
    ) -> Result<PublishGrant, Refusal> {
        match request.channel.split('.').next().unwrap_or_default() {
            "secret" => Err(ClientError::PERMISSION_DENIED.into()),
            "tagged" => Ok(PublishGrant::new(request.data).tag("lang", "de")),
            _ => Ok(PublishGrant::new(request.data)),
        }
    }

    async fn history(&self, _client: &Client, request: &HistoryRequest) -> Result<(), Refusal> {
        match request.channel.split('.').next().unwrap_or_default() {
            "secret" => Err(ClientError::PERMISSION_DENIED.into()),
            _ => Ok(()),
        }
    }

    async fn presence(&self, _client: &Client, channel: &str) -> Result<(), Refusal> {
        match channel.split('.').next().unwrap_or_default() {
            "secret" => Err(ClientError::PERMISSION_DENIED.into()),
            _ => Ok(()),
        }
    }

    async fn rpc(&self, client: &Client, request: RpcRequest) -> Result<Payload, Refusal> {
        let value = self.call(client, &request).await?;
        Payload::json(&value).map_err(|_| ClientError::INTERNAL.into())
    }

    async fn message(&self, _client: &Client, data: Payload) -> Result<(), Disconnect> {
        lock(&self.messages).push(data);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [listen, ping] = arguments(["--listen", "--ping"], &[])?;
    let ping = Duration::from_secs(ping.map_or(Ok(25), |ping| ping.parse())?);
    let hub = Hub::builder()
        .topics(|topic| match topic.as_str() {
            name if name.starts_with("log") => TopicOptions::new().history(Keep::last(10)),
            name if name.starts_with("cache") => TopicOptions::new().history(Keep::last(1)),
            name if name.starts_with("full") => {
                TopicOptions::new().history(Keep::last(10)).presence(true)
            }
            _ => TopicOptions::new().presence(true),
        })
        .presence(presence::Config::new().alone(true).grace(SECOND / 10))
        .build();
    let peer = Peer { hub: hub.clone(), messages: Mutex::default() };
    let config = Config::new()
        .version("peer")
        .ping(ping, SECOND)
        .grace(SECOND)
        .max_channels(20)
        .max_queue(200_000);
    let centrifuge = Centrifuge::new(&hub, peer).config(config);
    let server = Server::bind(listen.unwrap_or_else(|| "127.0.0.1:8000".into()))
        .await?
        .origins(OriginPolicy::Any)
        .subprotocols(Format::subprotocols())
        .authorize(|request| async move {
            let query = request.uri().query().map(str::to_owned);
            Ok(Upgrade::new(query))
        })
        .with_graceful_shutdown(stopped());
    println!("listening on ws://{}", server.local_addr()?);
    let serve = move |ws: tautline::WebSocket, query: Option<String>| {
        let centrifuge = centrifuge.clone();
        async move {
            let format = Format::of_request(ws.subprotocol(), query.as_deref());
            centrifuge.serve_as(ws, format).await;
        }
    };
    server.serve_with(serve).await?;
    hub.shut_down();
    Ok(())
}
