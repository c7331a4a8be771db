//! The command line that all servers take.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::Outcome;

/// What the process is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Sends every message back.
    Echo,
    /// Sends every message to all connections.
    Broadcast,
    /// Sends every message to the connections that have its topic: see [`topics_of`](crate::topics_of).
    Hub {
        /// How many there are: a square.
        topics: usize,
    },
    /// Measures the library's masking.
    Mask,
    /// Connects, sends this many messages of this many bytes, and sends back every reply.
    Client {
        /// Of the echo server.
        address: SocketAddr,
        /// Messages on the way at any time.
        in_flight: usize,
        /// Bytes of each.
        payload: usize,
    },
    /// Connects and closes, again and again.
    Connect {
        /// Of the server.
        address: SocketAddr,
    },
}

/// The command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// What to do.
    pub task: Task,
    /// Which of the library's interfaces to use.
    pub api: String,
    /// Serves TLS with the certificate and key in this directory, or trusts it as a client.
    pub tls: Option<PathBuf>,
    /// Accepts permessage-deflate, with the settings of this name.
    pub deflate: Option<String>,
    /// Works this long for each message of a flood: see [`work`](crate::work).
    pub busy: Option<Duration>,
    /// A runtime with this many threads instead of one that has the calling thread alone.
    pub threads: Option<usize>,
    /// A listener and a runtime of one thread for each of so many cores.
    pub per_core: Option<NonZeroUsize>,
    /// Keeps sessions of TLS for later connections.
    pub resume: bool,
}

impl Options {
    /// `echo|broadcast|hub TOPICS|mask|client ADDRESS IN_FLIGHT PAYLOAD|connect ADDRESS [--api NAME]
    /// [--tls DIR] [--deflate NAME] [--busy MICROSECONDS] [--threads NUMBER] [--per-core NUMBER]
    /// [--resume yes|no]`
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Outcome<Self> {
        let mut word = |what: &str| words.next().ok_or_else(|| format!("{what} is missing"));
        let task = match word("the task")?.as_str() {
            "echo" => Task::Echo,
            "broadcast" => Task::Broadcast,
            "hub" => Task::Hub { topics: word("the number of topics")?.parse()? },
            "mask" => Task::Mask,
            "client" => Task::Client {
                address: word("the address")?.parse()?,
                in_flight: word("the number in flight")?.parse()?,
                payload: word("the size")?.parse()?,
            },
            "connect" => Task::Connect { address: word("the address")?.parse()? },
            other => return Err(format!("`{other}` is no task").into()),
        };
        let mut options = Self {
            task,
            api: String::new(),
            tls: None,
            deflate: None,
            busy: None,
            threads: None,
            per_core: None,
            resume: true,
        };
        while let Some(name) = words.next() {
            let value = words.next().ok_or_else(|| format!("{name} has no value"))?;
            match name.as_str() {
                "--api" => options.api = value,
                "--tls" => options.tls = Some(value.into()),
                "--deflate" => options.deflate = Some(value),
                "--busy" => options.busy = Some(Duration::from_micros(value.parse()?)),
                "--threads" => options.threads = Some(value.parse()?),
                "--per-core" => options.per_core = Some(value.parse()?),
                "--resume" => options.resume = value == "yes",
                _ => return Err(format!("`{name}` is no option").into()),
            }
        }
        Ok(options)
    }
}
