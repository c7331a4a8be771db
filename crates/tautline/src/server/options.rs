//! How a listening socket is made.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, ToSocketAddrs};

use super::Server;

/// Options of a listening TCP socket, for [`Server::from_listener`] and [`Server::and_listener`].
///
/// A setter has the name of its setting; the getter has the prefix `get_`.
///
/// ```
/// use tautline::{ListenOptions, Server};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let options = ListenOptions::new().only_v6(true);
/// let server = Server::bind("127.0.0.1:0").await?;
/// # if std::net::TcpListener::bind("[::1]:0").is_err() { return Ok(()) }
/// let port = server.local_addr()?.port();
/// let server = server.and_listener(options.listen(("::1", port)).await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    backlog: u32,
    reuse_port: bool,
    only_v6: Option<bool>,
    keepalive: Option<Duration>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl ListenOptions {
    /// What [`Server::bind`] uses.
    #[must_use]
    pub const fn new() -> Self {
        Self { backlog: Server::DEFAULT_BACKLOG, reuse_port: false, only_v6: None, keepalive: None }
    }

    /// How many connections may wait in the system's queue, as far as the system allows. Clients
    /// that find it full try again after a second. Default:
    /// [`DEFAULT_BACKLOG`](Server::DEFAULT_BACKLOG).
    #[must_use]
    pub const fn backlog(mut self, connections: u32) -> Self {
        self.backlog = connections;
        self
    }

    /// Whether other sockets of this user may listen on the same port (`SO_REUSEPORT`): those of
    /// another process, which takes over from this one, or of another runtime. On Linux, the system
    /// spreads new connections over them. Connections that wait in the queue of a socket are lost
    /// when it is closed. Default: no.
    #[must_use]
    pub const fn reuse_port(mut self, reuse: bool) -> Self {
        self.reuse_port = reuse;
        self
    }

    /// Whether an IPv6 socket is for IPv6 alone (`IPV6_V6ONLY`, RFC 3493 section 5.3), or takes
    /// IPv4 as well. `None`, the default, leaves that to the system: on Linux it takes both, unless
    /// configured otherwise. An IPv4 address and `[::]` on the same port need `true`.
    #[must_use]
    pub fn only_v6(mut self, only: impl Into<Option<bool>>) -> Self {
        self.only_v6 = only.into();
        self
    }

    /// After which silence the system asks whether the other end is still there (`SO_KEEPALIVE`),
    /// at least one second. It is set on the listening socket, from which connections inherit it on
    /// Linux and most other systems. Default: never; WebSockets have
    /// [`ping_interval`](crate::Config::ping_interval), which finds out more.
    #[must_use]
    pub fn keepalive(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.keepalive = after.into();
        self
    }

    /// See [`backlog`](Self::backlog).
    #[must_use]
    pub const fn get_backlog(&self) -> u32 {
        self.backlog
    }

    /// See [`reuse_port`](Self::reuse_port).
    #[must_use]
    pub const fn get_reuse_port(&self) -> bool {
        self.reuse_port
    }

    /// See [`only_v6`](Self::only_v6).
    #[must_use]
    pub const fn get_only_v6(&self) -> Option<bool> {
        self.only_v6
    }

    /// See [`keepalive`](Self::keepalive).
    #[must_use]
    pub const fn get_keepalive(&self) -> Option<Duration> {
        self.keepalive
    }

    /// Listens on this address, or on the first available one if a name has several. Port 0 selects
    /// a free port.
    ///
    /// # Errors
    /// The system's, such as an address in use. `Unsupported` if [`reuse_port`](Self::reuse_port)
    /// is set on a system without it.
    pub async fn listen(&self, address: impl ToSocketAddrs) -> io::Result<TcpListener> {
        let mut failure = None;
        for address in tokio::net::lookup_host(address).await? {
            match self.listen_on(address) {
                Ok(listener) => return Ok(listener),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
    }

    fn listen_on(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        // A restarted server gets its port although connections of the previous one linger. On
        // Windows the same option would let two servers share a port.
        #[cfg(not(windows))]
        socket.set_reuse_address(true)?;
        if self.reuse_port {
            set_reuse_port(&socket)?;
        }
        if let Some(only) = self.only_v6
            && address.is_ipv6()
        {
            socket.set_only_v6(only)?;
        }
        if let Some(after) = self.keepalive {
            let keepalive = TcpKeepalive::new().with_time(after.max(Duration::from_secs(1)));
            socket.set_tcp_keepalive(&keepalive)?;
        }
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(self.backlog).unwrap_or(i32::MAX))?;
        TcpListener::from_std(socket.into())
    }
}

#[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin"))))]
fn set_reuse_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(not(all(
    unix,
    not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin"))
)))]
fn set_reuse_port(_: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
