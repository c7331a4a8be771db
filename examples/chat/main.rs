//! A chat: one port serves the page and its sockets.
//!
//! ```sh
//! cargo run --example chat                                  # open http://127.0.0.1:8080 in two windows
//! cargo run --example chat -- --listen 0.0.0.0:8080         # for everybody on the network
//! ```
//!
//! A browser connects to `/ws?room=ROOM&name=NAME` and sends each message as `id LF text`. It
//! receives JSON: `welcome` (who is here, what was said), then `message` and `presence`. A message
//! whose id the room already has is dropped, so after a reconnect a browser resends every message
//! that it has not seen come back.

#[path = "../support/mod.rs"]
mod support;

mod page;
mod rooms;

use std::error::Error;

use tautline::{CloseCode, CloseFrame, Config, Server, Upgrade, UpgradeRequest, WebSocket};
use tokio::sync::broadcast::error::RecvError;

use page::{page, plain, ticket};
use rooms::{Rooms, Ticket};

type BoxError = Box<dyn Error + Send + Sync>;

const MAX_ID: usize = 64; // bytes
const MAX_MESSAGE: usize = 8 * 1024; // bytes: the page's 2000 UTF-16 units take up to 6000, and the id

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let [listen] = support::arguments(["--listen"], &[])?;
    let listen = listen.unwrap_or_else(|| "127.0.0.1:8080".into());
    let server = Server::bind(listen).await?.with_graceful_shutdown(support::stopped());
    println!("chat on http://{}", server.local_addr()?);

    let rooms = Rooms::default();
    server
        .config(Config::new().max_message_size(MAX_MESSAGE))
        .fallback(|request, _peer| async move { page(&request) })
        .authorize(|request: UpgradeRequest| async move {
            let refuse = |status| plain(status, "expected: /ws?room=ROOM&name=NAME\n");
            ticket(request.uri()).map(Upgrade::new).map_err(refuse)
        })
        .serve_with(move |ws, ticket| chat(ws, ticket, rooms.clone()))
        .await?;
    Ok(())
}

/// One person's connection, from welcome to close.
async fn chat(mut ws: WebSocket, ticket: Ticket, rooms: Rooms) -> Result<(), BoxError> {
    let Some((seat, welcome, mut events)) = rooms.enter(ticket) else {
        let frame = CloseFrame::new(CloseCode::TRY_AGAIN_LATER, "no free place")?;
        return Ok(ws.close_with(frame).await?);
    };
    ws.send(welcome).await?;
    loop {
        tokio::select! {
            message = ws.next() => {
                let Some(message) = message else { return Ok(()) };
                let message = message?;
                let line = message.as_text().and_then(|text| text.split_once('\n'));
                let Some((id, text)) = line.filter(|(id, _)| id.len() <= MAX_ID) else {
                    let frame = CloseFrame::new(CloseCode::POLICY_VIOLATION, "expected: id LF text")?;
                    return Ok(ws.close_with(frame).await?);
                };
                seat.say(id, text);
            }
            event = events.recv() => match event {
                Ok(event) => ws.feed(event).await?, // written by the next call of `next`, many at a time
                Err(RecvError::Lagged(_)) => {
                    // This reader is slower than the room: send it the current state of the room.
                    let Some((welcome, fresh)) = seat.look() else { return Ok(()) };
                    events = fresh;
                    ws.send(welcome).await?;
                }
                Err(RecvError::Closed) => return Ok(()),
            },
        }
    }
}
