//! From where a connection goes out.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpSocket, TcpStream};

use crate::transport::socket;

/// The local address and the interface that sockets are bound to.
#[derive(Clone, Debug, Default)]
pub(super) struct Local {
    pub(super) address: Option<IpAddr>,
    #[cfg_attr(
        not(any(target_os = "android", target_os = "fuchsia", target_os = "linux")),
        expect(dead_code, reason = "other systems cannot bind by name")
    )]
    pub(super) interface: Option<Arc<str>>,
}

impl Local {
    /// A connection with the options that all of ours have.
    pub(super) async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
        if let Some(name) = &self.interface {
            let bound = socket.bind_device(Some(name.as_bytes()));
            bound.map_err(|error| told(&error, format_args!("the interface {name}")))?;
        }
        if let Some(ip) = self.address {
            let bound = socket.bind(SocketAddr::new(ip, 0));
            bound.map_err(|error| told(&error, format_args!("the local address {ip}")))?;
        }
        socket::prepare_to_connect(&socket)?;
        socket.connect(address).await
    }
}

/// Without its name, the error would look like one of the server's address.
fn told(error: &io::Error, what: std::fmt::Arguments<'_>) -> io::Error {
    io::Error::new(error.kind(), format!("{what} cannot be used: {error}"))
}
