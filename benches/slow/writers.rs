//! A server that sends to each connection by itself, through a sender that drops what is too much.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tautline::{DroppingSender, Prepared, Server, WebSocket};
use tokio::io::AsyncReadExt;

use crate::process::Process;
use crate::support::Result;
use crate::{INTERVAL, LIMIT, Sending, payload};

/// The server's process.
pub(crate) struct Writers {
    server: Process,
    address: String,
}

impl Writers {
    pub(crate) fn start() -> Result<Self> {
        let mut server = Process::start("0", &["serve"], &[])?;
        let address = server.line()?;
        Ok(Self { server, address })
    }
}

impl Sending for Writers {
    fn address(&self) -> &str {
        &self.address
    }

    fn server(&self) -> &Process {
        &self.server
    }

    fn begin(&mut self, _connections: usize) -> Result {
        Ok(self.server.input.write_all(b"\n")?)
    }

    fn end(&mut self, _healthy: usize) -> Result<(u64, String)> {
        self.server.input.write_all(b"\n")?;
        Ok((self.server.line()?.parse()?, self.server.line()?))
    }
}

type All = Arc<Mutex<Vec<DroppingSender>>>;

/// Sends from the first byte that it reads to the next one.
pub(crate) async fn serve() -> Result {
    let server = Server::bind("127.0.0.1:0").await?;
    println!("{}", server.local_addr()?);
    let all = All::default();
    let joined = all.clone();
    tokio::spawn(server.serve(move |ws| join(ws, joined.clone())));
    let mut input = tokio::io::stdin();
    input.read_u8().await?;
    let all = std::mem::take(&mut *all.lock().unwrap_or_else(PoisonError::into_inner));
    let mut ticks = tokio::time::interval(INTERVAL);
    let mut published = 0_u64;
    let publishing = async {
        loop {
            ticks.tick().await;
            let message = Prepared::new(payload());
            published += 1;
            for sender in &all {
                let _ = sender.send(message.clone());
            }
        }
    };
    tokio::select! {
        () = publishing => {}
        _ = input.read_u8() => {}
    }
    // Those that read get the last ones too.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let dropping = all.iter().filter(|sender| sender.counts().dropped > 0).count();
    let whole = all.iter().filter(|sender| sender.counts().sent == published).count();
    println!("{published}");
    println!("{published} published, {whole} got all, {dropping} missed some");
    // The client has read them when this process is ended.
    std::future::pending().await
}

async fn join(ws: WebSocket, all: All) -> Result {
    let (mut reader, writer) = ws.split();
    let (sender, feeding) = writer.dropping_sender(LIMIT);
    tokio::spawn(feeding);
    all.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
    while let Some(message) = reader.next().await {
        message?;
    }
    Ok(())
}
