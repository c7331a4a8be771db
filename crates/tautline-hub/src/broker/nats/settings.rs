//! What a NATS broker is made of.

use std::fmt;
use std::time::Duration;

use async_nats::ServerAddr;
use async_nats::jetstream::stream::{Config, DiscardPolicy, Republish, StorageType};
use tautline::ClientTls;

use super::NatsBroker;
use super::subjects::Subjects;
use crate::broker::BrokerError;
use crate::broker::times::Times;

/// Settings of a [`NatsBroker`].
#[derive(Clone, Debug)]
pub struct NatsBuilder {
    servers: Vec<Result<ServerAddr, BrokerError>>,
    pub(super) login: Login,
    pub(super) tls: ClientTls,
    prefix: String,
    pub(super) times: Times,
    pub(super) backlog: usize,
    history: Option<NatsHistory>,
}

/// Who we are to the server.
#[derive(Clone)]
pub(super) enum Login {
    Nobody,
    Password { user: String, password: String },
    Token(String),
    Nkey(String),
    Credentials(String),
}

/// Without what is secret.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("Nobody"),
            Self::Password { user, .. } => {
                f.debug_struct("Password").field("user", user).finish_non_exhaustive()
            }
            Self::Token(_) => f.write_str("Token"),
            Self::Nkey(_) => f.write_str("Nkey"),
            Self::Credentials(_) => f.write_str("Credentials"),
        }
    }
}

impl NatsBuilder {
    /// The first token of all subjects.
    pub const DEFAULT_PREFIX: &str = "tautline";

    /// Five seconds: a server that takes longer is overloaded, stopped or out of reach.
    pub const DEFAULT_DEADLINE: Duration = Times::DEADLINE;

    /// Five seconds.
    pub const DEFAULT_HEARTBEAT: Duration = Times::HEARTBEAT;

    /// 65,536 publications.
    pub const DEFAULT_BACKLOG: usize = 65_536;

    pub(super) fn new(url: &str) -> Self {
        let builder = Self {
            servers: Vec::new(),
            login: Login::Nobody,
            tls: ClientTls::system_roots(),
            prefix: Self::DEFAULT_PREFIX.to_owned(),
            times: Times::default(),
            backlog: Self::DEFAULT_BACKLOG,
            history: None,
        };
        builder.or(url)
    }

    /// Another server of the same cluster. One is chosen at random; others that the cluster names are
    /// used too.
    #[must_use]
    pub fn or(mut self, url: &str) -> Self {
        match server(url) {
            Ok((server, login)) => {
                self.servers.push(Ok(server));
                if let (Login::Nobody, Some(login)) = (&self.login, login) {
                    self.login = login;
                }
            }
            Err(error) => self.servers.push(Err(error)),
        }
        self
    }

    /// User and password. Default: those of the first URL that has some.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.login = Login::Password { user: user.into(), password: password.into() };
        self
    }

    /// A token.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.login = Login::Token(token.into());
        self
    }

    /// The seed of an nkey, which begins with `SU`.
    #[must_use]
    pub fn nkey(mut self, seed: impl Into<String>) -> Self {
        self.login = Login::Nkey(seed.into());
        self
    }

    /// The text of a credentials file: a JWT and the seed of its nkey.
    #[must_use]
    pub fn credentials(mut self, text: impl Into<String>) -> Self {
        self.login = Login::Credentials(text.into());
        self
    }

    /// Whom to trust with `tls:`, or if the server asks for TLS, and who we are.
    /// [`pins`](ClientTls::pins) are not possible here. Default: the authorities of the system.
    #[must_use]
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.tls = tls;
        self
    }

    /// Ahead of all subjects, so that several applications can share an account: at most 64 letters,
    /// digits, `-` and `_`, and dots between them. Default:
    /// [`DEFAULT_PREFIX`](Self::DEFAULT_PREFIX).
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

    /// How many publications of one subscription may wait in this process, where a node has more to do
    /// than it can. What is beyond it is dropped, and the hub told
    /// ([`Unsure`](crate::broker::BrokerEvent::Unsure)). At least one. Default:
    /// [`DEFAULT_BACKLOG`](Self::DEFAULT_BACKLOG).
    #[must_use]
    pub fn backlog(mut self, publications: usize) -> Self {
        // What a channel of tokio can have.
        self.backlog = publications.clamp(1, usize::MAX >> 3);
        self
    }

    /// Keeps histories in a JetStream stream. Without it, topics with history cannot be published to.
    #[must_use]
    pub fn history(mut self, history: NatsHistory) -> Self {
        self.history = Some(history);
        self
    }

    /// The broker. It connects when a hub [runs](crate::broker::Broker::run) it.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] if a URL, the prefix, or the name of the stream is not possible.
    pub fn build(self) -> Result<NatsBroker, BrokerError> {
        let subjects = Subjects::new(&self.prefix)
            .ok_or_else(|| BrokerError::refused("the prefix has other characters than it may"))?;
        let servers = self.servers.iter().cloned().collect::<Result<Vec<_>, _>>()?;
        let stream = self.history.as_ref().map(|history| history.config(&subjects)).transpose()?;
        Ok(NatsBroker::new(servers, subjects, stream, &self))
    }
}

/// Reads a URL, and takes user and password, or the token, out of it.
fn server(url: &str) -> Result<(ServerAddr, Option<Login>), BrokerError> {
    // The scheme of a WebSocket would be one of another client.
    let known = ["nats://", "tls://"].iter().any(|scheme| url.starts_with(scheme));
    if url.contains("://") && !known {
        return Err(BrokerError::refused("a URL of NATS begins with nats or tls"));
    }
    let server: ServerAddr = url.parse().map_err(BrokerError::refused)?;
    if server.host().is_empty() {
        return Err(BrokerError::refused("the URL has no host"));
    }
    let login = match (server.username(), server.password()) {
        (None, _) => None,
        (Some(token), None) => Some(Login::Token(token.to_owned())),
        (Some(user), Some(password)) => {
            Some(Login::Password { user: user.to_owned(), password: password.to_owned() })
        }
    };
    let mut url = server.into_inner();
    // They are not to be seen where the address is. A URL with a host takes both.
    let (_, _) = (url.set_username(""), url.set_password(None));
    Ok((ServerAddr::from_url(url).map_err(BrokerError::refused)?, login))
}

/// The stream that has the histories of all topics, if there is none yet: its limits are for all of them
/// together, and those of [`Keep`](crate::Keep) do not count.
///
/// A stream that is there is used as it is, whatever its limits are; change them with the tools of NATS.
///
/// ```
/// use std::time::Duration;
/// use tautline_hub::broker::nats::NatsHistory;
///
/// let history = NatsHistory::new().max_bytes(4 << 30).max_age(Duration::from_secs(600)).replicas(3);
/// # let _ = history;
/// ```
#[derive(Clone, Debug)]
pub struct NatsHistory {
    stream: Option<String>,
    max_bytes: u64,
    max_age: Duration,
    duplicates: Duration,
    replicas: usize,
    storage: StorageType,
}

impl Default for NatsHistory {
    fn default() -> Self {
        Self {
            stream: None,
            max_bytes: Self::DEFAULT_MAX_BYTES,
            max_age: Self::DEFAULT_MAX_AGE,
            duplicates: Self::DEFAULT_DUPLICATES,
            replicas: 1,
            storage: StorageType::File,
        }
    }
}

impl NatsHistory {
    /// 256 MiB.
    pub const DEFAULT_MAX_BYTES: u64 = 256 << 20;

    /// Ten minutes.
    pub const DEFAULT_MAX_AGE: Duration = Duration::from_secs(600);

    /// Two minutes.
    pub const DEFAULT_DUPLICATES: Duration = Duration::from_secs(120);

    /// The defaults: 256 MiB in files of one server, for ten minutes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The name of the stream: no white space, dots, slashes and wildcards. Default: the
    /// [prefix](NatsBuilder::prefix), with `_` for dots.
    #[must_use]
    pub fn stream(mut self, name: impl Into<String>) -> Self {
        self.stream = Some(name.into());
        self
    }

    /// How many bytes all histories take together. The oldest publications of all topics go first.
    /// Default: [`DEFAULT_MAX_BYTES`](Self::DEFAULT_MAX_BYTES).
    #[must_use]
    pub const fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// How long publications are kept; at least 100 milliseconds. Default:
    /// [`DEFAULT_MAX_AGE`](Self::DEFAULT_MAX_AGE).
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age.max(Duration::from_millis(100));
        self
    }

    /// How long the id of a publication is remembered, so that it is not made twice; the server allows no
    /// more than [`max_age`](Self::max_age). Default:
    /// [`DEFAULT_DUPLICATES`](Self::DEFAULT_DUPLICATES).
    #[must_use]
    pub fn remember_ids(mut self, time: Duration) -> Self {
        self.duplicates = time.max(Duration::from_millis(100));
        self
    }

    /// How many servers of a cluster have the stream: 1 to 5. Default: 1.
    #[must_use]
    pub fn replicas(mut self, servers: usize) -> Self {
        self.replicas = servers.clamp(1, 5);
        self
    }

    /// Keeps it in memory: nothing survives a restart of the servers that have it.
    #[must_use]
    pub fn in_memory(mut self) -> Self {
        self.storage = StorageType::Memory;
        self
    }

    fn config(&self, subjects: &Subjects) -> Result<Config, BrokerError> {
        let name = self.stream.clone().unwrap_or_else(|| subjects.stream());
        let strange = |c: char| c.is_whitespace() || c.is_control() || "./\\*>".contains(c);
        if name.is_empty() || name.len() > 255 || name.contains(strange) {
            return Err(BrokerError::refused("the name of the stream is not possible"));
        }
        let (source, destination) = subjects.all();
        Ok(Config {
            name,
            subjects: vec![source.clone()],
            republish: Some(Republish { source, destination, headers_only: false }),
            max_bytes: i64::try_from(self.max_bytes).unwrap_or(i64::MAX),
            max_age: self.max_age,
            duplicate_window: self.duplicates.min(self.max_age),
            discard: DiscardPolicy::Old,
            num_replicas: self.replicas,
            storage: self.storage,
            ..Config::default()
        })
    }
}

/// What keeps a stream that is there from being used for these subjects.
pub(super) fn unfit(there: &Config, wanted: &Config) -> Option<&'static str> {
    let covers = wanted.subjects.iter().all(|subject| there.subjects.contains(subject));
    if !covers {
        return Some("the stream does not take the subjects of this prefix");
    }
    if there.republish != wanted.republish {
        return Some("the stream does not republish what it takes to the subjects of this prefix");
    }
    if there.max_messages_per_subject > 0 {
        // Then what is missing of a topic could not be told from the stream's first sequence.
        return Some("the stream has a limit for each subject");
    }
    (there.discard != DiscardPolicy::Old).then_some("the stream does not discard what is old")
}
