//! Hubs over brokers, and the brokers' servers, which start and end with a measurement.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tautline_hub::broker::nats::{NatsBroker, NatsHistory};
use tautline_hub::broker::redis::RedisBroker;
use tautline_hub::{BrokerState, Hub, HubBuilder, Keep, TopicOptions};

use crate::support::Result;

/// What a server needs to be ready at most.
const START: Duration = Duration::from_secs(20);
/// What topics with a history keep.
const HISTORY: Keep = Keep::last(10_000).bytes(16 << 20);

/// What is between nodes, and whether topics have a history there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// One node.
    Memory,
    Redis,
    RedisHistory,
    Nats,
    NatsHistory,
}

impl Via {
    pub(crate) const ALL: [Self; 5] =
        [Self::Memory, Self::Redis, Self::RedisHistory, Self::Nats, Self::NatsHistory];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::RedisHistory => "redis-history",
            Self::Nats => "nats",
            Self::NatsHistory => "nats-history",
        }
    }

    pub(crate) fn named(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|via| via.name() == name);
        found.ok_or_else(|| {
            format!("{name} is none of {}", Self::ALL.map(Self::name).join(", ")).into()
        })
    }

    /// A hub over the server with this URL, once it is connected to it.
    pub(crate) async fn hub(self, url: &str) -> Result<Hub> {
        self.hub_with(url, |hub| hub).await
    }

    /// The same, with something else of the hub set.
    pub(crate) async fn hub_with(
        self,
        url: &str,
        set: impl FnOnce(HubBuilder) -> HubBuilder,
    ) -> Result<Hub> {
        let options = match self {
            Self::RedisHistory | Self::NatsHistory => TopicOptions::new().history(HISTORY),
            Self::Memory | Self::Redis | Self::Nats => TopicOptions::new(),
        };
        let hub = set(Hub::builder().topics(move |_| options));
        let hub = match self {
            Self::Memory => hub,
            Self::Redis | Self::RedisHistory => hub.broker(RedisBroker::builder(url).build()?),
            Self::Nats => hub.broker(NatsBroker::builder(url).build()?),
            Self::NatsHistory => {
                hub.broker(NatsBroker::builder(url).history(NatsHistory::new()).build()?)
            }
        };
        let hub = hub.build();
        if let Some(mut state) = hub.broker_state() {
            let connected = state.wait_for(|state| *state == BrokerState::Connected);
            tokio::time::timeout(START, connected).await.map_err(|_| "no broker")??;
        }
        Ok(hub)
    }
}

/// A server of a broker, on a port of its own, with what it stores. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) url: String,
    process: Option<Child>,
    directory: PathBuf,
}

impl Broker {
    /// Starts it, and waits until it takes connections. Memory has none.
    ///
    /// Redis appends to a file and has it written to the disk once a second; it stores nothing of topics
    /// without history. NATS has JetStream with its own defaults.
    pub(crate) fn start(via: Via) -> Result<Self> {
        let directory =
            std::env::temp_dir().join(format!("tautline-{}-{}", via.name(), std::process::id()));
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let number = port.to_string();
        let (mut command, scheme) = match via {
            Via::Memory => {
                return Ok(Self { url: "none".to_owned(), process: None, directory });
            }
            Via::Redis | Via::RedisHistory => {
                let mut command = Command::new("redis-server");
                command.args(["--bind", "127.0.0.1", "--port", &number, "--save", ""]);
                command.args(["--appendonly", "yes", "--appendfsync", "everysec", "--dir"]);
                (command, "redis")
            }
            Via::Nats | Via::NatsHistory => {
                let mut command = Command::new("nats-server");
                command.args(["--addr", "127.0.0.1", "--port", &number]);
                command.args(["--jetstream", "--store_dir"]);
                (command, "nats")
            }
        };
        std::fs::create_dir_all(&directory)?;
        command.arg(&directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // From here on, the directory and the process go with this.
        let url = format!("{scheme}://127.0.0.1:{port}");
        let mut broker = Self { url, process: None, directory };
        let process = command.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => format!("{scheme}-server is not installed"),
            _ => format!("{scheme}-server: {error}"),
        })?;
        let process = broker.process.insert(process);
        let end = Instant::now() + START;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(status) = process.try_wait()? {
                return Err(format!("{scheme}-server has ended: {status}").into());
            }
            if Instant::now() > end {
                return Err(format!("{scheme}-server takes no connections").into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(broker)
    }

    /// The process.
    #[allow(dead_code, reason = "not every measurement looks at it")]
    pub(crate) fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
