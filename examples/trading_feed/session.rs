//! One page's connection.

use serde_json::{Value, json};
use tautline::{BoxError, CloseCode, CloseFrame, WebSocket};
use tautline_hub::broker::Range;
use tautline_hub::{Attach, Hub, Member, Position, Slow, Start, Subscribe, Topic};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::feed::{CHART, SYMBOLS, Topics, micros};
use crate::outlet::Page;

/// Bytes of updates that wait for a slow page, before it is closed and comes back.
const BEHIND: usize = 256 * 1024;
/// Bytes of prices that wait for it: only the latest of each symbol does.
const PRICES: usize = 8 * 1024;
/// How often it is tried to begin behind a snapshot, which may be forgotten meanwhile.
const TRIES: usize = 3;

/// What a page asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The book of this symbol, from behind this position on if it can be.
    Watch(&'static str, Option<Position>),
    /// This number back, and the time.
    Ping(u64),
}

impl Asked {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let asked = match (words.next()?, words.next()?) {
            ("watch", symbol) => {
                let (symbol, _) = SYMBOLS.into_iter().find(|(known, _)| *known == symbol)?;
                let since = words.next().map(|text| text.parse().map_err(drop)).transpose();
                Self::Watch(symbol, since.ok()?)
            }
            ("ping", number) => Self::Ping(number.parse().ok()?),
            _ => return None,
        };
        words.next().is_none().then_some(asked)
    }
}

/// From the first prices to the close.
pub(crate) async fn serve<S>(ws: WebSocket<S>, hub: Hub) -> Result<(), BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut reader, mut writer) = ws.split();
    let attach = Attach::new().slow(Slow::disconnect(BEHIND, CloseCode::TRY_AGAIN_LATER));
    let member = hub.attach_outlet(Page::new(&writer), attach);
    let how = Subscribe::new().last_value(true).slow(Slow::latest(PRICES));
    for (symbol, _) in SYMBOLS {
        member.subscribe(Topics::of(symbol)?.price, how.clone()).await?;
    }
    let mut watched: Option<Topic> = None;
    while let Some(message) = reader.next().await {
        let message = message?;
        match message.as_text().and_then(Asked::parse) {
            Some(Asked::Watch(symbol, since)) => {
                if let Some(topic) = watched.take() {
                    member.unsubscribe(topic);
                }
                let topics = Topics::of(symbol)?;
                member.send(chart(&hub, symbol, &topics).await?);
                if watch(&hub, &member, symbol, &topics, since).await? {
                    watched = Some(topics.book);
                }
            }
            Some(Asked::Ping(number)) => member.send(pong(number, &member)),
            None => {
                let frame =
                    CloseFrame::new(CloseCode::POLICY_VIOLATION, "expected: watch or ping")?;
                return Ok(writer.close_with(frame).await?);
            }
        }
    }
    Ok(())
}

/// Subscribes to a book: behind the position that the page has, or else behind a snapshot. Either way
/// the update that follows is the next one. Returns whether there is a book.
async fn watch(
    hub: &Hub,
    member: &Member,
    symbol: &str,
    topics: &Topics,
    since: Option<Position>,
) -> Result<bool, BoxError> {
    if let Some(position) = since
        && begin(member, &topics.book, position).await?
    {
        return Ok(true);
    }
    for _ in 0..TRIES {
        let kept = hub.history(&topics.snapshot, Range::Latest, 1).await?;
        let snapshot = kept.publications.first().map(|(_, publication)| publication.message());
        let Some((snapshot, position)) = snapshot.and_then(|message| {
            let object: Value = serde_json::from_str(message.as_text()?).ok()?;
            Some((message, object["position"].as_str()?.parse().ok()?))
        }) else {
            break;
        };
        member.send(snapshot.clone());
        if begin(member, &topics.book, position).await? {
            return Ok(true);
        }
    }
    member.send(json!({ "type": "closed", "symbol": symbol }).to_string());
    Ok(false)
}

async fn begin(member: &Member, book: &Topic, position: Position) -> Result<bool, BoxError> {
    let start = member.subscribe(book, Subscribe::new().since(position)).await?;
    let recovered = matches!(start, Start::Recovered { .. });
    if !recovered {
        member.unsubscribe(book);
    }
    Ok(recovered)
}

/// The prices so far, oldest first.
async fn chart(hub: &Hub, symbol: &str, topics: &Topics) -> Result<String, BoxError> {
    let kept = hub.history(&topics.price, Range::Latest, CHART).await?;
    let prices = kept.publications.iter().rev();
    let prices: Vec<_> = prices.filter_map(|(_, price)| price.message().as_text()).collect();
    Ok(format!(r#"{{"type":"chart","symbol":"{symbol}","prices":[{}]}}"#, prices.join(",")))
}

fn pong(number: u64, member: &Member) -> String {
    let counts = member.counts();
    json!({
        "type": "pong",
        "number": number,
        "now": micros(),
        "delivered": counts.delivered,
        "replaced": counts.replaced,
    })
    .to_string()
}
