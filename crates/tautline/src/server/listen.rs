//! The listening socket: how long its queue is, and accepting whatever happens to single
//! connections.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream, ToSocketAddrs};

/// How long accepting pauses if the system is out of file descriptors or memory: it would fail
/// again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listens on the first of these addresses that is available.
pub(super) async fn bind(address: impl ToSocketAddrs, backlog: u32) -> io::Result<TcpListener> {
    let mut failure = None;
    for address in tokio::net::lookup_host(address).await? {
        match listen(address, backlog) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
}

fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restarted server gets its port although connections of the previous one linger. On Windows
    // the same option would let two servers share a port.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// The next connection, whatever happens to others: a peer that has left already is skipped, and a
/// system that is out of file descriptors is given time.
pub(super) async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "accepting failed, and is tried again after a pause");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Has this connection end with a reset, when it is dropped: it was not let in. An orderly end would
/// leave a part of it in the system for a minute, for each one of a flood.
pub(super) fn reset(stream: &TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        tracing::debug!(%error, "a connection cannot be reset");
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
