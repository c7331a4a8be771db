//! A server with an application for all tests, and a client that sends what is written in a test.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tautline::{CloseFrame, Role, WebSocket};
use tautline_hub::centrifuge::{
    Application, Centrifuge, Client, ClientError, Config, ConnectGrant, ConnectRequest, Disconnect,
    Expiry, HistoryRequest, Payload, PublishGrant, PublishRequest, Refusal, RpcRequest,
    SubscribeGrant, SubscribeRequest,
};
use tautline_hub::{Hub, HubBuilder, Keep, Topic, TopicOptions, presence};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

/// Hubs whose topics that begin with `log.` keep five publications, and `last.` the last one.
pub(crate) fn builder() -> HubBuilder {
    Hub::builder().topics(|topic| match topic.as_str() {
        name if name.starts_with("log.") => TopicOptions::new().history(Keep::last(5)),
        name if name.starts_with("last.") => TopicOptions::new().history(Keep::last(1)),
        name if name.starts_with("room.") => TopicOptions::new().presence(true),
        _ => TopicOptions::new(),
    })
}

/// What a message may take before the test has failed.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn topic(name: &str) -> Topic {
    Topic::new(name).unwrap()
}

/// Grants what is asked for, but for what is named like a refusal.
pub(crate) struct Everything {
    events: mpsc::UnboundedSender<String>,
    pub(crate) clients: Arc<Mutex<Vec<Client>>>,
}

impl Everything {
    fn tell(&self, event: impl Into<String>) {
        self.events.send(event.into()).ok();
    }
}

impl Application for Everything {
    async fn connect(&self, request: ConnectRequest) -> Result<ConnectGrant, Refusal> {
        let user = request.token;
        let grant = ConnectGrant::new(&*user);
        match &*user {
            "bad" => Err(Disconnect::INVALID_TOKEN.into()),
            "expired" => Err(ClientError::TOKEN_EXPIRED.into()),
            "short" => Ok(grant.expiry(Expiry::by_client(Duration::from_secs(1)))),
            "late" => {
                tokio::time::sleep(Duration::from_secs(5)).await;
                Ok(grant)
            }
            "server" => Ok(grant
                .channel("log.server", SubscribeGrant::new())
                .channel("log.other", SubscribeGrant::new())),
            "rooms" => Ok(grant
                .channel("room.first", SubscribeGrant::new().join_leave())
                .channel("room.second", SubscribeGrant::new().join_leave())),
            "denied" => Ok(grant
                .channel("log.first", SubscribeGrant::new())
                .channel("not a topic", SubscribeGrant::new())),
            _ => Ok(grant.info("{\"of\":\"all\"}").data(request.data)),
        }
    }

    fn connected(&self, client: &Client) {
        self.tell(format!("connected {}", client.user()));
        self.clients.lock().unwrap().push(client.clone());
    }

    async fn refresh(
        &self,
        _client: &Client,
        token: Option<String>,
    ) -> Result<Option<Expiry>, Refusal> {
        match token.as_deref() {
            Some("good") => Ok(None),
            _ => Err(ClientError::UNAUTHORIZED.into()),
        }
    }

    async fn subscribe(
        &self,
        _client: &Client,
        request: SubscribeRequest,
    ) -> Result<SubscribeGrant, Refusal> {
        match request.channel.split('.').next() {
            Some("secret") => Err(ClientError::PERMISSION_DENIED.into()),
            Some("last") => Ok(SubscribeGrant::new().last_value()),
            Some("short") => {
                let expiry = Expiry::by_server(Duration::from_secs(1));
                Ok(SubscribeGrant::new().expiry(expiry))
            }
            _ if request.join_leave => Ok(SubscribeGrant::new().info("\"here\"").join_leave()),
            _ => Ok(SubscribeGrant::new().info("\"here\"").data(request.data)),
        }
    }

    async fn publish(
        &self,
        _client: &Client,
        request: PublishRequest,
    ) -> Result<PublishGrant, Refusal> {
        match request.channel.split('.').next() {
            Some("secret") => Err(ClientError::PERMISSION_DENIED.into()),
            Some("anonymous") => Ok(PublishGrant::new(request.data).anonymous().tag("a", "b")),
            _ => Ok(PublishGrant::new(request.data)),
        }
    }

    async fn history(&self, _client: &Client, request: &HistoryRequest) -> Result<(), Refusal> {
        match request.channel.as_str() {
            "log.secret" => Err(ClientError::PERMISSION_DENIED.into()),
            _ => Ok(()),
        }
    }

    async fn presence(&self, _client: &Client, channel: &str) -> Result<(), Refusal> {
        match channel {
            "room.secret" => Err(ClientError::PERMISSION_DENIED.into()),
            _ => Ok(()),
        }
    }

    async fn rpc(&self, client: &Client, request: RpcRequest) -> Result<Payload, Refusal> {
        match &*request.method {
            "echo" => Ok(request.data),
            "who" => Ok(Payload::json(client.id()).unwrap()),
            "slow" => std::future::pending().await,
            "bytes" => Ok(vec![0xFF].into()),
            _ => Err(ClientError::METHOD_NOT_FOUND.into()),
        }
    }

    async fn message(&self, _client: &Client, data: Payload) -> Result<(), Disconnect> {
        self.tell(format!("message {}", String::from_utf8_lossy(data.as_bytes())));
        Ok(())
    }

    fn unsubscribed(&self, _client: &Client, channel: &str) {
        self.tell(format!("unsubscribed {channel}"));
    }

    fn disconnected(&self, client: &Client) {
        self.tell(format!("disconnected {}", client.user()));
    }
}

/// A server, and what its application has noticed.
pub(crate) struct Service {
    pub(crate) hub: Hub,
    pub(crate) centrifuge: Centrifuge<Everything>,
    pub(crate) events: mpsc::UnboundedReceiver<String>,
    pub(crate) clients: Arc<Mutex<Vec<Client>>>,
}

impl Service {
    pub(crate) fn new(config: Config) -> Self {
        // There are no other nodes.
        let presence = presence::Config::new().alone(true).grace(Duration::from_millis(50));
        Self::of(builder().presence(presence).build(), config)
    }

    pub(crate) fn of(hub: Hub, config: Config) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let clients = Arc::<Mutex<Vec<Client>>>::default();
        let application = Everything { events: sender, clients: clients.clone() };
        let centrifuge = Centrifuge::new(&hub, application).config(config);
        Self { hub, centrifuge, events, clients }
    }

    /// Pings come at random times: only those tests that are about them have any.
    pub(crate) fn quiet() -> Self {
        Self::new(Config::new().no_ping())
    }

    /// A client behind a pipe of this size.
    pub(crate) fn client_behind(&self, pipe: usize) -> TestClient {
        let (near, far) = tokio::io::duplex(pipe);
        let centrifuge = self.centrifuge.clone();
        let near = WebSocket::builder(Role::Server).build(near);
        tokio::spawn(async move { centrifuge.serve(near).await });
        TestClient { ws: WebSocket::builder(Role::Client).build(far), lines: Vec::new() }
    }

    pub(crate) fn client(&self) -> TestClient {
        self.client_behind(64 << 10)
    }

    /// One that has connected.
    pub(crate) async fn connected(&mut self, user: &str) -> TestClient {
        let mut client = self.client();
        client.connect(user).await;
        assert_eq!(self.event().await, format!("connected {user}"));
        client
    }

    pub(crate) async fn event(&mut self) -> String {
        self.events.recv().await.unwrap()
    }

    /// The newest client, as the application has it.
    pub(crate) fn newest(&self) -> Client {
        self.clients.lock().unwrap().last().unwrap().clone()
    }

    pub(crate) async fn publish(&self, name: &str, data: &str) {
        self.hub.publish(&topic(name), data).await.unwrap();
    }
}

pub(crate) struct TestClient {
    pub(crate) ws: WebSocket<DuplexStream>,
    lines: Vec<String>,
}

impl TestClient {
    pub(crate) async fn send(&mut self, command: &str) {
        self.ws.send(command).await.unwrap();
    }

    /// The next message of the server.
    pub(crate) async fn line(&mut self) -> String {
        while self.lines.is_empty() {
            let frame = tokio::time::timeout(PATIENCE, self.ws.next()).await;
            let frame = frame.expect("nothing came");
            let frame = frame.unwrap_or_else(|| panic!("closed: {:?}", self.ws.close_frame()));
            let frame = frame.unwrap();
            self.lines = frame.as_text().unwrap().lines().rev().map(str::to_owned).collect();
        }
        self.lines.pop().unwrap()
    }

    /// Sends a command, and returns the next message.
    pub(crate) async fn ask(&mut self, command: &str) -> String {
        self.send(command).await;
        self.line().await
    }

    pub(crate) async fn connect(&mut self, user: &str) -> String {
        self.ask(&format!(r#"{{"id":1,"connect":{{"token":"{user}"}}}}"#)).await
    }

    pub(crate) async fn subscribe(&mut self, channel: &str) -> String {
        self.ask(&format!(r#"{{"id":2,"subscribe":{{"channel":"{channel}"}}}}"#)).await
    }

    /// The end: whatever comes before it is not looked at.
    pub(crate) async fn closed(&mut self) -> CloseFrame {
        while let Some(message) = self.ws.next().await {
            message.unwrap();
        }
        self.ws.close_frame().unwrap().clone()
    }
}
