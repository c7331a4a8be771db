//! One person's connection.

use tautline::{BoxError, CloseCode, CloseFrame, WebSocket};
use tokio::sync::broadcast::error::RecvError;

use crate::rooms::{Rooms, Ticket};

const MAX_ID: usize = 64; // bytes
pub(crate) const MAX_MESSAGE: usize = 8 * 1024; // bytes: the page's 2000 UTF-16 units take up to 6000, and the id

/// From welcome to close.
pub(crate) async fn talk(mut ws: WebSocket, ticket: Ticket, rooms: Rooms) -> Result<(), BoxError> {
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
