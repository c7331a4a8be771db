//! What a Redis broker is made of.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use redis::{ConnectionAddr, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo};
#[cfg(feature = "tls")]
use tautline::ClientTls;

use super::RedisBroker;
use super::keys::Keys;
use crate::broker::BrokerError;
use crate::broker::times::Times;

/// Settings of a [`RedisBroker`].
#[derive(Clone, Debug)]
pub struct RedisBuilder {
    servers: Vec<Result<Server, BrokerError>>,
    credentials: Option<Credentials>,
    prefix: String,
    pub(super) times: Times,
    pub(super) remember: Duration,
    #[cfg(feature = "tls")]
    tls: ClientTls,
}

#[derive(Clone)]
struct Credentials {
    username: Option<String>,
    password: String,
}

/// Without the password.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// A server, and who we are to it.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) address: Address,
    pub(super) login: RedisConnectionInfo,
}

#[derive(Clone, Debug)]
pub(super) enum Address {
    Tcp {
        host: String,
        port: u16,
        #[cfg(feature = "tls")]
        tls: Option<ClientTls>,
    },
    #[cfg_attr(not(unix), expect(dead_code, reason = "refused when it is dialled"))]
    Unix(PathBuf),
}

impl RedisBuilder {
    pub(super) fn new(url: &str) -> Self {
        let builder = Self {
            servers: Vec::new(),
            credentials: None,
            prefix: Self::DEFAULT_PREFIX.to_owned(),
            times: Times::default(),
            remember: Self::DEFAULT_REMEMBER,
            #[cfg(feature = "tls")]
            tls: ClientTls::system_roots(),
        };
        builder.or(url)
    }

    /// Ahead of the names of keys and channels.
    pub const DEFAULT_PREFIX: &str = "tautline";

    /// Five seconds: a server that takes longer is overloaded, stopped or out of reach.
    pub const DEFAULT_DEADLINE: Duration = Times::DEADLINE;

    /// Five seconds.
    pub const DEFAULT_HEARTBEAT: Duration = Times::HEARTBEAT;

    /// Five minutes.
    pub const DEFAULT_REMEMBER: Duration = Duration::from_secs(5 * 60);

    /// Another server to connect to when the ones before it cannot be reached, or are replicas: after a
    /// failover, the one that took over. They are tried in this order.
    #[must_use]
    pub fn or(mut self, url: &str) -> Self {
        self.servers.push(server(url));
        self
    }

    /// User and password, for servers whose URL has none. Without a user, `default` is meant.
    #[must_use]
    pub fn credentials<'a>(
        mut self,
        username: impl Into<Option<&'a str>>,
        password: impl Into<String>,
    ) -> Self {
        let username = username.into().map(str::to_owned);
        self.credentials = Some(Credentials { username, password: password.into() });
        self
    }

    /// Whom to trust with `rediss:`, and who we are. [`pins`](ClientTls::pins) are not possible here.
    /// Default: the authorities of the system.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.tls = tls;
        self
    }

    /// Ahead of the names of keys and channels, so that several applications can share a server: 1 to
    /// 64 letters, digits, `-`, `_`, `:` and `.`. Channels are the same in all of a server's databases.
    /// Default: [`DEFAULT_PREFIX`](Self::DEFAULT_PREFIX).
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How long an operation, or an attempt to connect, may take before it fails; at least a
    /// millisecond. Default: [`DEFAULT_DEADLINE`](Self::DEFAULT_DEADLINE).
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.times.set_deadline(deadline);
        self
    }

    /// How often to ask whether the server is still there. If it does not answer within the
    /// [`deadline`](Self::deadline), it is taken for lost. At least a millisecond. Default:
    /// [`DEFAULT_HEARTBEAT`](Self::DEFAULT_HEARTBEAT).
    #[must_use]
    pub fn heartbeat(mut self, every: Duration) -> Self {
        self.times.set_heartbeat(every);
        self
    }

    /// How long the id of a publication is remembered, so that it is not made twice. Default:
    /// [`DEFAULT_REMEMBER`](Self::DEFAULT_REMEMBER).
    #[must_use]
    pub fn remember_ids(mut self, time: Duration) -> Self {
        self.remember = time.max(Duration::from_millis(1));
        self
    }

    /// The broker. It connects when a hub [runs](crate::broker::Broker::run) it.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] if a URL or the prefix is not possible.
    pub fn build(self) -> Result<RedisBroker, BrokerError> {
        let keys = Keys::new(&self.prefix)
            .ok_or_else(|| BrokerError::refused("the prefix has other characters than it may"))?;
        let mut servers = Vec::with_capacity(self.servers.len());
        for server in self.servers.iter().cloned() {
            let mut server = server?;
            if let (None, Some(own)) = (server.login.password(), &self.credentials) {
                server.login = server.login.set_password(&own.password);
                if let Some(username) = &own.username {
                    server.login = server.login.set_username(username);
                }
            }
            #[cfg(feature = "tls")]
            if let Address::Tcp { tls: Some(tls), .. } = &mut server.address {
                *tls = self.tls.clone();
            }
            servers.push(server);
        }
        Ok(RedisBroker::new(servers, keys, &self))
    }
}

/// Reads a URL. TLS is ours, so the scheme for it is read here.
fn server(url: &str) -> Result<Server, BrokerError> {
    let tls = ["rediss://", "valkeys://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    if url.contains('#') {
        return Err(BrokerError::refused("a URL of Redis has no fragment"));
    }
    let plain = tls.map(|rest| format!("redis://{rest}"));
    let info =
        plain.as_deref().unwrap_or(url).into_connection_info().map_err(BrokerError::refused)?;
    let address = match info.addr() {
        ConnectionAddr::Tcp(host, port) => Address::Tcp {
            host: host.clone(),
            port: *port,
            #[cfg(feature = "tls")]
            tls: tls.map(|_| ClientTls::system_roots()),
        },
        ConnectionAddr::Unix(path) => Address::Unix(path.clone()),
        _ => return Err(BrokerError::refused("the URL has an address of another kind")),
    };
    #[cfg(not(feature = "tls"))]
    if tls.is_some() {
        return Err(BrokerError::refused("rediss needs the feature `tls`"));
    }
    let login = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let login = login.set_lib_name("tautline-hub", env!("CARGO_PKG_VERSION"));
    Ok(Server { address, login })
}
