//! One page's connection.

use serde_json::json;
use tautline::{BoxError, CloseCode, CloseFrame, WebSocket};
use tautline_hub::{Attach, Hub, MemberInfo, Slow, Subscribe};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::outlet::Page;
use crate::topics::{Input, Topics, direction};
use crate::world::{HEIGHT, TICKS_PER_SECOND, WIDTH};

/// Bytes that wait for a slow page: of the world, and of the people, only the latest does.
const BEHIND: usize = 32 * 1024;

/// From the welcome to the close.
pub(crate) async fn serve<S>(ws: WebSocket<S>, name: String, hub: Hub) -> Result<(), BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut reader, mut writer) = ws.split();
    let attach = Attach::new().info(MemberInfo::new(name.as_str())).slow(Slow::latest(BEHIND));
    let member = hub.attach_outlet(Page::new(&writer), attach);
    let player = member.id().to_string();
    let welcome = json!({
        "type": "welcome",
        "you": player,
        "width": WIDTH,
        "height": HEIGHT,
        "ticks": TICKS_PER_SECOND,
    });
    member.send(welcome.to_string());
    // Who comes late begins with the last state.
    let topics = Topics::new()?;
    for topic in [&topics.people, &topics.world] {
        member.subscribe(topic, Subscribe::new().last_value(true)).await?;
    }

    let mut ended = Ok(());
    while let Some(message) = reader.next().await {
        let message = match message {
            Ok(message) => message,
            Err(error) => {
                ended = Err(error.into());
                break;
            }
        };
        let Some((x, y)) = message.as_text().and_then(parse) else {
            let frame = CloseFrame::new(CloseCode::POLICY_VIOLATION, "expected: X Y")?;
            ended = writer.close_with(frame).await.map_err(Into::into);
            break;
        };
        let go = Input::Go { player: player.clone(), name: name.clone(), x, y };
        // What is not published is said again by the page, within a second.
        hub.publish(&topics.input, go.encode()).await.ok();
    }
    hub.publish(&topics.input, Input::Left { player }.encode()).await.ok();
    ended
}

/// A direction as a page writes it.
pub(crate) fn parse(text: &str) -> Option<(f64, f64)> {
    let (x, y) = text.split_once(' ')?;
    direction(x.parse().ok()?, y.parse().ok()?)
}
