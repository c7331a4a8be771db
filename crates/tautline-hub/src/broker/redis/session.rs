//! The two connections to a Redis server: one for commands, one for what arrives.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, FromRedisValue, PushInfo, RedisError, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::error::{broker_error, odd};
use super::gate::Gate;
use super::keys::Keys;
use super::settings::{Address, Server};
use crate::broker::link::Connection;
use crate::broker::times::Times;
use crate::broker::{BrokerError, BrokerSink};
use crate::topic::Filter;

/// How many channels one command subscribes to.
const CHANNELS_PER_COMMAND: usize = 1_000;

/// The hashes of the scripts, by which they are called.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) publish: String,
    pub(super) publish_once: String,
    pub(super) history: String,
    pub(super) tops: String,
}

/// What commands are sent with.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) commands: MultiplexedConnection,
    pub(super) scripts: Arc<Scripts>,
    /// Which process it is, and in which life as a primary: another one may have another history.
    pub(super) server: Arc<str>,
    /// Told when the server is not the one to use any more.
    pub(super) leave: Arc<Notify>,
}

/// The connections, while they stand.
pub(super) struct Connections {
    session: Session,
    pushes: MultiplexedConnection,
    keys: Keys,
    deadline: Duration,
    /// What ends when a connection is lost, with the reason.
    tasks: JoinSet<BrokerError>,
    /// Held so that the commands that are under way when this is dropped have their deadline.
    _alive: oneshot::Sender<()>,
}

/// What becomes of what the server pushes.
pub(super) type Take = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// Connects to the first of these that can be reached and is no replica.
pub(super) async fn connect(
    servers: &[Server],
    keys: &Keys,
    times: Times,
    take: &Take,
    sink: &BrokerSink,
) -> Result<Connections, BrokerError> {
    let mut last = BrokerError::refused("there is no server to connect to");
    for server in servers {
        let opening = open(server, keys, times, take.clone(), sink);
        match timeout(times.deadline, opening).await {
            Ok(Ok(connections)) => return Ok(connections),
            Ok(Err(error)) => last = error,
            Err(_) => last = BrokerError::unavailable("no connection within the deadline"),
        }
    }
    Err(last)
}

async fn open(
    server: &Server,
    keys: &Keys,
    Times { deadline, heartbeat }: Times,
    take: Take,
    sink: &BrokerSink,
) -> Result<Connections, BrokerError> {
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(deadline));
    let pushed = config.clone().set_push_sender(move |info| {
        take(info);
        Ok::<_, redis::aio::SendError>(())
    });
    let mut tasks = JoinSet::new();
    let (alive, gone) = oneshot::channel::<()>();
    let (mut commands, driver) = dial(server, config, None).await?;
    // Commands under way are not cut off if it is the other connection that is lost.
    let (ended, ending) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let _ended = ended;
        tokio::select! {
            () = driver => {}
            () = async { let _ = gone.await; tokio::time::sleep(deadline).await } => {}
        }
    });
    tasks.spawn(async move {
        let _ = ending.await;
        BrokerError::unavailable("the connection for commands was closed")
    });
    let (mut pushes, driver) = dial(server, pushed, Some(sink)).await?;
    tasks.spawn(async move {
        driver.await;
        BrokerError::unavailable("the connection for subscriptions was closed")
    });
    let server = primary(&mut commands).await?;
    let scripts = Arc::new(load(&mut commands).await?);
    pushes.subscribe(keys.signal()).await.map_err(broker_error)?;
    let leave = Arc::new(Notify::new());
    let session = Session { commands: commands.clone(), scripts, server, leave: leave.clone() };
    tasks.spawn(watch(commands, pushes.clone(), heartbeat, leave));
    Ok(Connections { session, pushes, keys: keys.clone(), deadline, tasks, _alive: alive })
}

/// Asks both connections now and then whether they stand.
async fn watch(
    mut commands: MultiplexedConnection,
    mut pushes: MultiplexedConnection,
    every: Duration,
    leave: Arc<Notify>,
) -> BrokerError {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = leave.notified() => return BrokerError::unavailable("the server became a replica"),
        }
        for connection in [&mut commands, &mut pushes] {
            if let Err(error) = redis::cmd("PING").exec_async(connection).await {
                return broker_error(error);
            }
        }
    }
}

type Driver = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

async fn dial(
    server: &Server,
    config: AsyncConnectionConfig,
    sink: Option<&BrokerSink>,
) -> Result<(MultiplexedConnection, Driver), BrokerError> {
    match &server.address {
        #[cfg(feature = "tls")]
        Address::Tcp { host, port, tls: Some(tls) } => {
            let settings = tls.to_config().await.map_err(BrokerError::refused)?;
            let name = tokio_rustls::rustls::pki_types::ServerName::try_from(host.clone());
            let name = name.map_err(BrokerError::refused)?;
            let connecting = tokio_rustls::TlsConnector::from(settings);
            let connected = connecting.connect(name, tcp(host, *port).await?).await;
            log_in(server, connected.map_err(BrokerError::unavailable)?, config, sink).await
        }
        Address::Tcp { host, port, .. } => {
            log_in(server, tcp(host, *port).await?, config, sink).await
        }
        #[cfg(unix)]
        Address::Unix(path) => {
            let connected = tokio::net::UnixStream::connect(path).await;
            log_in(server, connected.map_err(BrokerError::unavailable)?, config, sink).await
        }
        #[cfg(not(unix))]
        Address::Unix(_) => Err(BrokerError::Unsupported("Unix sockets on this system")),
    }
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, BrokerError> {
    let stream = TcpStream::connect((host, port)).await.map_err(BrokerError::unavailable)?;
    stream.set_nodelay(true).map_err(BrokerError::unavailable)?;
    Ok(stream)
}

async fn log_in(
    server: &Server,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    config: AsyncConnectionConfig,
    sink: Option<&BrokerSink>,
) -> Result<(MultiplexedConnection, Driver), BrokerError> {
    let stream = Gate::new(stream, sink.cloned());
    let made = MultiplexedConnection::new_with_config(&server.login, stream, config).await;
    let (connection, driver) = made.map_err(broker_error)?;
    Ok((connection, Box::pin(driver)))
}

/// Checks that the server is a primary, and returns what tells its lives apart: offsets of one may be
/// missing in the next.
async fn primary(connection: &mut MultiplexedConnection) -> Result<Arc<str>, BrokerError> {
    let info = redis::pipe().cmd("INFO").arg("server").cmd("INFO").arg("replication").clone();
    let info: Vec<String> = info.query_async(connection).await.map_err(broker_error)?;
    let field = |name: &str| {
        let lines = info.iter().flat_map(|part| part.lines());
        lines.filter_map(|line| line.split_once(':')).find(|(key, _)| *key == name)
    };
    match (field("role"), field("run_id"), field("master_replid")) {
        (Some((_, "master")), Some((_, run)), Some((_, life))) => {
            Ok(format!("{run}-{life}").into())
        }
        (Some((_, "slave")), ..) => Err(BrokerError::unavailable("the server is a replica")),
        _ => Err(odd("INFO")),
    }
}

async fn load(connection: &mut MultiplexedConnection) -> Result<Scripts, BrokerError> {
    const COMMON: &str = include_str!("common.lua");
    let publish = format!("{COMMON}{}", include_str!("publish.lua"));
    let history = format!("{COMMON}{}", include_str!("history.lua"));
    let mut load = redis::pipe();
    for text in [&publish, include_str!("publish_once.lua"), &history, include_str!("tops.lua")] {
        load.cmd("SCRIPT").arg("LOAD").arg(text);
    }
    let hashes: [String; 4] = load.query_async(connection).await.map_err(broker_error)?;
    let [publish, publish_once, history, tops] = hashes;
    Ok(Scripts { publish, publish_once, history, tops })
}

impl Session {
    /// Runs a script of ours; loads the scripts again if the server has forgotten them.
    pub(super) async fn run(&self, command: &redis::Cmd) -> Result<Value, BrokerError> {
        let mut commands = self.commands.clone();
        let mut result = commands.send_packed_command(command).await.and_then(Value::extract_error);
        if result.as_ref().is_err_and(super::error::is_forgotten) {
            load(&mut commands).await?;
            result = commands.send_packed_command(command).await.and_then(Value::extract_error);
        }
        result.map_err(|error| self.note(error))
    }

    /// Leaves the server if the error says that it is the wrong one.
    pub(super) fn note(&self, error: RedisError) -> BrokerError {
        if super::error::is_replica(&error) {
            self.leave.notify_one();
        }
        broker_error(error)
    }

    /// Runs a plain command.
    pub(super) async fn query<T: FromRedisValue>(
        &self,
        command: &redis::Cmd,
    ) -> Result<T, BrokerError> {
        command.query_async(&mut self.commands.clone()).await.map_err(|error| self.note(error))
    }
}

impl Connection for Connections {
    type Session = Session;

    fn session(&self) -> Session {
        self.session.clone()
    }

    async fn change(&mut self, filters: &[Filter], subscribe: bool) -> Result<(), BrokerError> {
        for part in filters.chunks(CHANNELS_PER_COMMAND) {
            let (mut channels, mut globs) = (Vec::new(), Vec::new());
            for filter in part {
                match filter {
                    Filter::Topic(topic) => channels.push(self.keys.channel(topic)),
                    Filter::Pattern(pattern) => globs.push(self.keys.glob(pattern)),
                }
            }
            let both = async {
                match (channels.is_empty(), subscribe) {
                    (true, _) => {}
                    (false, true) => self.pushes.subscribe(channels).await?,
                    (false, false) => self.pushes.unsubscribe(channels).await?,
                }
                match (globs.is_empty(), subscribe) {
                    (true, _) => Ok(()),
                    (false, true) => self.pushes.psubscribe(globs).await,
                    (false, false) => self.pushes.punsubscribe(globs).await,
                }
            };
            // Each command has the deadline; the time for both is bounded too.
            let done = timeout(self.deadline.saturating_mul(2), both).await;
            done.map_err(BrokerError::unavailable)?.map_err(broker_error)?;
        }
        Ok(())
    }

    async fn lost(&mut self) -> BrokerError {
        match self.tasks.join_next().await {
            Some(Ok(error)) => error,
            Some(Err(error)) => BrokerError::unavailable(error),
            None => BrokerError::unavailable("the connections are closed"),
        }
    }
}
