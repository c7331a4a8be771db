//! A server that echoes on the listening socket that is its standard input, as a supervisor that
//! restarts servers passes it on. On SIGTERM it leaves to others what has not been accepted.

#![cfg_attr(not(unix), allow(unused, reason = "there are no signals"))]

use std::error::Error;
use std::io::Write;
#[cfg(unix)]
use std::os::fd::AsFd;
use std::time::Duration;

use tautline::{CloseCode, Drain, Server};
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::signal::unix::{SignalKind, signal};

#[cfg(not(unix))]
fn main() {}

#[cfg(unix)]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let socket = std::net::TcpListener::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    socket.set_nonblocking(true)?;
    let drain = Drain::new()
        .code(CloseCode::SERVICE_RESTART)
        .notice(Duration::from_millis(50))
        .spread(Duration::from_millis(200));
    let server = Server::from_listener(TcpListener::from_std(socket)?).drain(drain);
    let (handle, mut term) = (server.handle(), signal(SignalKind::terminate())?);
    tokio::spawn(async move {
        if term.recv().await.is_some() {
            handle.shutdown();
        }
    });
    writeln!(std::io::stdout(), "ready")?;
    server
        .serve(|mut ws| async move {
            while let Some(message) = ws.next().await {
                ws.send(message?).await?;
            }
            Ok(())
        })
        .await?;
    Ok(())
}
