//! What is published of the market, and when.

use std::convert::Infallible;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tautline_hub::{
    Hub, HubBuilder, Keep, Position, Publication, PublishError, Published, Topic, TopicError,
    TopicOptions,
};
use tokio::time::{MissedTickBehavior, interval};

use crate::book::{Book, Side};
use crate::market::{Level, Market};

const TICK: Duration = Duration::from_millis(100);
const SNAPSHOT_EVERY: u64 = 20; // ticks
/// How long a page may have been away and still recover its book.
const RECOVERABLE: Duration = Duration::from_secs(60);
const UPDATES: usize = 600; // of each book: a minute
pub(crate) const CHART: usize = 240; // prices of each symbol: what a chart begins with
const CHART_AGE: Duration = Duration::from_secs(10 * 60);

/// The symbols, with their first prices in hundredths.
pub(crate) const SYMBOLS: [(&str, u64); 4] =
    [("TAUT", 10_125), ("LINE", 4_210), ("ROPE", 1_780), ("KNOT", 25_600)];

/// The topics of a symbol.
#[derive(Clone, Debug)]
pub(crate) struct Topics {
    pub(crate) book: Topic,
    pub(crate) snapshot: Topic,
    pub(crate) price: Topic,
}

impl Topics {
    pub(crate) fn of(symbol: &str) -> Result<Self, TopicError> {
        let topic = |what| Topic::new(format!("{what}.{symbol}"));
        Ok(Self { book: topic("book")?, snapshot: topic("snapshot")?, price: topic("price")? })
    }
}

/// A hub with such topics.
pub(crate) fn hub() -> HubBuilder {
    Hub::builder().max_topics(SYMBOLS.len() * 3).topics(|topic| {
        let keep = match topic.as_str().split('.').next() {
            Some("book") => Keep::last(UPDATES).age(RECOVERABLE),
            Some("snapshot") => Keep::last(1).age(RECOVERABLE),
            _ => Keep::last(CHART).age(CHART_AGE),
        };
        TopicOptions::new().history(keep)
    })
}

/// The market, and where it is published.
pub(crate) struct Feed {
    hub: Hub,
    markets: Vec<(Market, Topics)>,
    ticks: u64,
    /// Something was not published, so that books have a hole: they are published as a whole.
    torn: bool,
}

impl Feed {
    pub(crate) fn new(hub: Hub) -> Result<Self, TopicError> {
        let seed = micros();
        let market = |(number, (symbol, open)): (u64, (&'static str, u64))| {
            Ok((Market::new(symbol, open, seed.wrapping_mul(number)), Topics::of(symbol)?))
        };
        let markets = (1..).zip(SYMBOLS).map(market).collect::<Result<_, TopicError>>()?;
        Ok(Self { hub, markets, ticks: 0, torn: false })
    }

    /// Goes on until it is dropped.
    pub(crate) async fn run(mut self) -> Infallible {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let ticked = self.tick().await;
            if let Err(error) = &ticked
                && !self.torn
            {
                eprintln!("the market is not published: {error}");
            }
            self.torn = ticked.is_err();
        }
    }

    /// A moment of the market.
    pub(crate) async fn tick(&mut self) -> Result<(), PublishError> {
        let whole = self.torn || self.ticks.is_multiple_of(SNAPSHOT_EVERY);
        self.ticks += 1;
        let mut result = Ok(());
        for (market, topics) in &mut self.markets {
            let levels = market.step();
            let published = publish(&self.hub, market, topics, &levels, whole).await;
            result = result.and(published);
        }
        result
    }
}

async fn publish(
    hub: &Hub,
    market: &Market,
    topics: &Topics,
    levels: &[Level],
    whole: bool,
) -> Result<(), PublishError> {
    let updated = hub.publish(&topics.book, update(market, levels)).await;
    if let Ok(Published { position: Some(position), .. }) = updated
        && whole
    {
        hub.publish(&topics.snapshot, snapshot(market, position)).await?;
    }
    // For who is too slow, the latest price of each symbol.
    let price = Publication::new(price(market)).key(market.symbol);
    hub.publish(&topics.price, price).await?;
    updated.map(drop)
}

fn update(market: &Market, levels: &[Level]) -> String {
    let levels: Vec<_> = levels
        .iter()
        .map(|level| json!([level.side.to_string(), level.price, level.quantity]))
        .collect();
    json!({
        "type": "update",
        "symbol": market.symbol,
        "number": market.number,
        "at": micros(),
        "levels": levels,
        "check": market.book.check().to_string(), // too large for a number of JavaScript
    })
    .to_string()
}

/// `position` is that of the last update in it.
fn snapshot(market: &Market, position: Position) -> String {
    json!({
        "type": "snapshot",
        "symbol": market.symbol,
        "number": market.number,
        "position": position.to_string(),
        "bids": side(&market.book, Side::Bid),
        "asks": side(&market.book, Side::Ask),
    })
    .to_string()
}

fn side(book: &Book, side: Side) -> Value {
    book.levels(side).map(|(price, quantity)| json!([price, quantity])).collect()
}

fn price(market: &Market) -> String {
    let (bid, ask) = market.book.best();
    json!({
        "type": "price",
        "symbol": market.symbol,
        "number": market.number,
        "at": micros(),
        "bid": bid,
        "ask": ask,
        "last": market.last,
        "open": market.open,
    })
    .to_string()
}

/// Microseconds since 1970.
pub(crate) fn micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_micros().try_into().unwrap_or(u64::MAX)
}
