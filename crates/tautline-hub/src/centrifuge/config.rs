//! The numbers of a session, each with its reason.

use std::time::Duration;

/// Limits and times of a session. The defaults are those of Centrifuge where it has any.
///
/// ```
/// use std::time::Duration;
/// use tautline_hub::centrifuge::Config;
///
/// let config = Config::new().ping(Duration::from_secs(10), Duration::from_secs(3)).max_channels(1000);
/// # let _ = config;
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    pub(super) ping: Option<Ping>,
    pub(super) stale_after: Duration,
    pub(super) grace: Duration,
    pub(super) max_channels: usize,
    pub(super) max_pending: usize,
    pub(super) max_commands: usize,
    pub(super) max_frame: usize,
    pub(super) max_history: usize,
    pub(super) max_presence: usize,
    pub(super) max_queue: usize,
    pub(super) version: String,
}

/// How often a client is asked whether it is there, and how long it may take to answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ping {
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            // Proxies in front end what is idle for a minute.
            ping: Some(Ping {
                interval: Duration::from_secs(25),
                timeout: Duration::from_secs(10),
            }),
            stale_after: Duration::from_secs(15),
            grace: Duration::from_secs(25),
            max_channels: 128,
            // A client that comes back subscribes to all its channels at once.
            max_pending: 256,
            max_commands: 1024,
            max_frame: 64 << 10,
            max_history: 1000,
            max_presence: 1000,
            max_queue: 1 << 20,
            version: String::new(),
        }
    }
}

impl Config {
    /// With the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How often a client is pinged, and how long it may take to answer before it is closed with
    /// [`NO_PONG`](crate::centrifuge::Disconnect::NO_PONG): 25 s and 10 s. The first ping comes at a random
    /// time in the second half of the interval. Clients are told the interval in whole seconds, at least
    /// 1; they close the connection if nothing comes for so long and 10 s more. A timeout that is longer
    /// than the interval is as long as it.
    #[must_use]
    pub fn ping(mut self, interval: Duration, timeout: Duration) -> Self {
        let interval = interval.max(Duration::from_secs(1));
        self.ping = Some(Ping { interval, timeout: timeout.min(interval) });
        self
    }

    /// Without pings of the protocol: for connections whose WebSocket pings are enough.
    #[must_use]
    pub const fn no_ping(mut self) -> Self {
        self.ping = None;
        self
    }

    /// How long a client may take to connect, its token's check included: 15 s. Then it is closed with
    /// [`STALE`](crate::centrifuge::Disconnect::STALE).
    #[must_use]
    pub const fn stale_after(mut self, time: Duration) -> Self {
        self.stale_after = time;
        self
    }

    /// How much longer than told a connection or subscription lives that is refreshed by the client, or
    /// how long the application may take to refresh it: 25 s.
    #[must_use]
    pub const fn grace(mut self, time: Duration) -> Self {
        self.grace = time;
        self
    }

    /// How many channels a client may be subscribed to, those that the server subscribed it to
    /// included: 128. The next one is refused with
    /// [`LIMIT_EXCEEDED`](crate::centrifuge::ClientError::LIMIT_EXCEEDED), or, if it is the server's, closes
    /// the connection with [`CHANNEL_LIMIT`](crate::centrifuge::Disconnect::CHANNEL_LIMIT).
    #[must_use]
    pub const fn max_channels(mut self, channels: usize) -> Self {
        self.max_channels = channels;
        self
    }

    /// How many requests of a client may wait for their answers: 256. More are refused with
    /// [`TOO_MANY_REQUESTS`](crate::centrifuge::ClientError::TOO_MANY_REQUESTS), at which clients try again. A
    /// client that comes back subscribes to all its channels at once, so it is more than
    /// [`max_channels`](Self::max_channels).
    #[must_use]
    pub const fn max_pending(mut self, requests: usize) -> Self {
        self.max_pending = requests;
        self
    }

    /// How many commands there may be in one frame: 1024. More close the connection with
    /// [`BAD_REQUEST`](crate::centrifuge::Disconnect::BAD_REQUEST). It is more than
    /// [`max_channels`](Self::max_channels), see above. As many may wait while the client is connected; more
    /// close the connection with
    /// [`TOO_MANY_REQUESTS`](crate::centrifuge::Disconnect::TOO_MANY_REQUESTS).
    #[must_use]
    pub const fn max_commands(mut self, commands: usize) -> Self {
        self.max_commands = commands;
        self
    }

    /// How many bytes a frame of a client may have: 64 KiB. Longer ones close the connection with
    /// [`MESSAGE_TOO_BIG`](crate::centrifuge::Disconnect::MESSAGE_TOO_BIG). All that comes while the
    /// application decides whether the client may connect is at most as long: more closes the connection with
    /// [`TOO_MANY_REQUESTS`](crate::centrifuge::Disconnect::TOO_MANY_REQUESTS).
    #[must_use]
    pub const fn max_frame(mut self, bytes: usize) -> Self {
        self.max_frame = bytes;
        self
    }

    /// How many publications a request for history gets at most: 1000.
    #[must_use]
    pub const fn max_history(mut self, publications: usize) -> Self {
        self.max_history = publications;
        self
    }

    /// How many clients a request for presence gets at most: 1000.
    #[must_use]
    pub const fn max_presence(mut self, clients: usize) -> Self {
        self.max_presence = clients;
        self
    }

    /// How many bytes may wait to be sent: 1 MiB. More close the connection with
    /// [`SLOW`](crate::centrifuge::Disconnect::SLOW). While 16 KiB or half of this wait, what the client asks for
    /// is not carried out; with less, a reply may be of any length.
    #[must_use]
    pub const fn max_queue(mut self, bytes: usize) -> Self {
        self.max_queue = bytes;
        self
    }

    /// The version of the server that clients are told. None by default.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }
}
