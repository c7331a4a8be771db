//! The listening sockets of a server, and accepting whatever happens to single connections.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

use crate::transport::{Peer, socket};

/// How long accepting pauses if the system is out of file descriptors or memory: it would fail
/// again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listening socket.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

/// An accepted connection.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Listener {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, Peer)>> {
        match self {
            Self::Tcp(listener) => {
                let tcp = |(stream, addr): (_, SocketAddr)| (Stream::Tcp(stream), addr.into());
                listener.poll_accept(cx).map_ok(tcp)
            }
            #[cfg(unix)]
            Self::Unix(listener) => {
                let unix = |(stream, _)| (Stream::Unix(stream), Peer::unknown());
                listener.poll_accept(cx).map_ok(unix)
            }
        }
    }
}

/// All that a server listens on; at least one.
#[derive(Debug)]
pub(super) struct Listeners {
    all: Vec<Listener>,
    /// Which is asked first.
    next: usize,
}

impl Listeners {
    pub(super) fn new(listener: Listener) -> Self {
        Self { all: vec![listener], next: 0 }
    }

    pub(super) fn add(&mut self, listener: Listener) {
        self.all.push(listener);
    }

    /// The addresses of those that have one.
    pub(super) fn local_addrs(&self) -> impl Iterator<Item = io::Result<SocketAddr>> {
        self.all.iter().filter_map(|listener| match listener {
            Listener::Tcp(listener) => Some(listener.local_addr()),
            #[cfg(unix)]
            Listener::Unix(_) => None,
        })
    }

    /// The next connection, whatever happens to others: a peer that has left already is skipped,
    /// and a system that is out of file descriptors is given time.
    pub(super) async fn accept(&mut self) -> (Stream, Peer) {
        loop {
            match poll_fn(|cx| self.poll_accept(cx)).await {
                Ok(accepted) => return accepted,
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "accepting failed, and is tried again after a pause");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Asks each in turn, so that none waits for one that always has another connection.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, Peer)>> {
        for _ in 0..self.all.len() {
            let listener = &self.all[self.next];
            self.next = (self.next + 1) % self.all.len();
            if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    }
}

impl Stream {
    /// Has this connection end with a reset, when it is dropped: it was not let in. An orderly end
    /// would leave a part of it in the system for a minute, for each one of a flood.
    pub(super) fn reset(self) {
        if let Self::Tcp(stream) = self {
            socket::reset_at_end(&stream);
        }
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted,
        NetworkDown, NetworkUnreachable,
    };
    // Linux also passes on what is wrong with the network of the new connection (accept(2)).
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    // A peer that left before it was accepted is not an error of the listener; EMFILE (24) and
    // ENFILE (23) are.
    #[test]
    fn errors_of_one_connection_do_not_pause_accepting() {
        assert!(is_about_one_connection(&io::ErrorKind::ConnectionAborted.into()));
        assert!(is_about_one_connection(&io::ErrorKind::HostUnreachable.into()));
        assert!(!is_about_one_connection(&io::Error::from_raw_os_error(24)));
        assert!(!is_about_one_connection(&io::Error::from_raw_os_error(23)));
    }
}
