//! One person's connection.

use serde_json::json;
use tautline::{BoxError, CloseCode, CloseFrame, WebSocket};
use tautline_hub::{Attach, Hub, MemberInfo, Slow, Start, Subscribe};

use crate::outlet::Page;
use crate::rooms::{Ticket, here, history, is_full, say};

const MAX_ID: usize = 64; // bytes
pub(crate) const MAX_MESSAGE: usize = 8 * 1024; // bytes: the page's 2000 UTF-16 units take up to 6000, and the id
const BEHIND: usize = 256 * 1024; // bytes that wait for one slow reader, before it begins anew

/// From the history to the close.
pub(crate) async fn talk(ws: WebSocket, ticket: Ticket, hub: Hub) -> Result<(), BoxError> {
    let (mut reader, mut writer) = ws.split();
    let Ticket { room, name, since } = ticket;
    if is_full(&hub, &room, &name) {
        let frame = CloseFrame::new(CloseCode::TRY_AGAIN_LATER, "no free place")?;
        return Ok(writer.close_with(frame).await?);
    }
    // A connection that is too slow misses nothing: it is closed, and the page recovers.
    let slow = Slow::disconnect(BEHIND, CloseCode::TRY_AGAIN_LATER);
    let attach = Attach::new().info(MemberInfo::new(name.as_str())).slow(slow);
    let member = hub.attach_outlet(Page::new(&writer), attach);

    let how = since.into_iter().fold(Subscribe::new().watch(true), Subscribe::since);
    let start = match member.subscribe(&room, how).await {
        Ok(start) => start,
        Err(error) if error.is_retryable() => {
            let frame = CloseFrame::new(CloseCode::TRY_AGAIN_LATER, "no free room")?;
            return Ok(writer.close_with(frame).await?);
        }
        Err(error) => return Err(error.into()),
    };
    // What is published from now on, and who joins and leaves, may come first, or be in both: the page sorts
    // that out.
    if !matches!(start, Start::Recovered { .. }) {
        member.send(history(&hub, &room).await?);
    }
    member.send(json!({ "type": "here", "here": here(&hub, &room) }).to_string());

    while let Some(message) = reader.next().await {
        let message = message?;
        let line = message.as_text().and_then(|text| text.split_once('\n'));
        let Some((id, text)) = line.filter(|(id, _)| id.len() <= MAX_ID) else {
            let frame = CloseFrame::new(CloseCode::POLICY_VIOLATION, "expected: id LF text")?;
            return Ok(writer.close_with(frame).await?);
        };
        if say(&hub, &room, &name, id, text).await.is_err() {
            // The page sends it again when it is back.
            let frame = CloseFrame::new(CloseCode::TRY_AGAIN_LATER, "not published")?;
            return Ok(writer.close_with(frame).await?);
        }
    }
    Ok(())
}
