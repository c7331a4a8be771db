//! A server whose listening sockets belong to its supervisor, so that a restart refuses nobody:
//! `cargo run --example socket_activation -- [ADDRESS]`
//!
//! It takes the sockets that it has inherited in the way of systemd (`LISTEN_FDS`), TCP and Unix,
//! and listens on the address where there are none. What it has not accepted when it ends stays in
//! the queue of the socket, for the process that comes next. To try it without a unit:
//!
//! ```sh
//! systemd-socket-activate --listen 127.0.0.1:9001 target/debug/examples/socket_activation
//! ```
//!
//! `docs/operations` has a socket unit and a service unit.

#[path = "support/mod.rs"]
mod support;

use std::error::Error;
use std::io;
use std::time::Duration;

use listenfd::ListenFd;
use tautline::{CloseCode, Drain, Server};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = match inherited(&mut ListenFd::from_env())? {
        Some(server) => server,
        None => {
            let address = std::env::args().nth(1);
            Server::bind(address.unwrap_or_else(|| "127.0.0.1:9001".to_owned())).await?
        }
    };
    let stopped = support::stopped();
    for address in server.local_addrs()? {
        println!("listening on ws://{address}");
    }
    // Clients connect again at once where they are told of a restart; not all in the same moment.
    let drain = Drain::new().code(CloseCode::SERVICE_RESTART).spread(Duration::from_secs(1));
    let server = server.drain(drain).with_graceful_shutdown(stopped);
    let serving = server.serve(|mut ws| async move {
        while let Some(message) = ws.next().await {
            ws.feed(message?).await?;
        }
        Ok(())
    });
    Ok(serving.await?)
}

/// A server on all the sockets that were passed on, if there are any.
fn inherited(sockets: &mut ListenFd) -> io::Result<Option<Server>> {
    let mut server: Option<Server> = None;
    for index in 0..sockets.len() {
        server = Some(match sockets.take_tcp_listener(index) {
            Ok(Some(socket)) => {
                socket.set_nonblocking(true)?; // which tokio requires
                let listener = TcpListener::from_std(socket)?;
                match server {
                    Some(server) => server.and_listener(listener),
                    None => Server::from_listener(listener),
                }
            }
            #[cfg(unix)]
            Err(_) => {
                let socket = sockets.take_unix_listener(index)?;
                let socket = socket.ok_or(io::ErrorKind::NotFound)?;
                socket.set_nonblocking(true)?;
                let listener = tokio::net::UnixListener::from_std(socket)?;
                match server {
                    Some(server) => server.and_unix_listener(listener),
                    None => Server::from_unix_listener(listener),
                }
            }
            #[cfg(not(unix))]
            Err(error) => return Err(error),
            Ok(None) => continue,
        });
    }
    Ok(server)
}
