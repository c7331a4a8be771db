//! The market by itself, and a page that reads slowly.

use std::collections::HashMap;

use serde_json::Value;
use tautline::{Role, WebSocket};
use tautline_hub::{Epoch, Position};
use tokio::io::{DuplexStream, duplex};

use crate::book::{Book, Side};
use crate::feed::{Feed, SYMBOLS, hub};
use crate::market::{DEPTH, Market};
use crate::session::{Asked, serve};

#[test]
fn a_market_never_crosses_and_its_updates_are_all_that_changed() {
    for seed in 0..20 {
        let (mut market, mut copy) = (Market::new("TAUT", 300, seed), Book::default());
        for number in 1..=2_000 {
            for level in market.step() {
                copy.set(level.side, level.price, level.quantity);
            }
            assert_eq!(market.number, number);
            assert_eq!(copy, market.book, "seed {seed}, update {number}");
            let (Some(bid), Some(ask)) = market.book.best() else { panic!("an empty side") };
            assert!(bid > 0 && bid < ask, "seed {seed}: {bid} {ask}");
            for side in [Side::Bid, Side::Ask] {
                assert!(market.book.levels(side).count() as u64 <= DEPTH, "seed {seed}");
            }
        }
    }
}

#[test]
fn what_a_page_asks_for_is_understood_or_refused() {
    let position = Position { offset: 12, epoch: Epoch::from_u64(0xab) };
    assert_eq!(Asked::parse("watch ROPE"), Some(Asked::Watch("ROPE", None)));
    assert_eq!(Asked::parse("watch ROPE 12@ab"), Some(Asked::Watch("ROPE", Some(position))));
    assert_eq!(Asked::parse("ping 7"), Some(Asked::Ping(7)));
    for wrong in
        ["", "watch", "watch GOLD", "watch ROPE 12", "watch ROPE 12@ab x", "ping", "ping -1"]
    {
        assert_eq!(Asked::parse(wrong), None, "{wrong}");
    }
}

async fn next(page: &mut WebSocket<DuplexStream>) -> Value {
    let message = page.next().await.unwrap().unwrap();
    serde_json::from_str(message.as_text().unwrap()).unwrap()
}

/// A page behind a pipe of so many bytes.
fn page(hub: &tautline_hub::Hub, pipe: usize) -> WebSocket<DuplexStream> {
    let (near, far) = duplex(pipe);
    tokio::spawn(serve(WebSocket::builder(Role::Server).build(near), hub.clone()));
    WebSocket::builder(Role::Client).build(far)
}

#[tokio::test]
async fn a_slow_page_gets_the_latest_prices() {
    const TICKS: u64 = 200;
    let hub = hub().build();
    let mut feed = Feed::new(hub.clone()).unwrap();
    feed.tick().await.unwrap();
    let mut witness = page(&hub, 1 << 20);
    let mut slow = page(&hub, 100);
    // Each has the first price of the last symbol: it is subscribed to all.
    for page in [&mut witness, &mut slow] {
        while next(page).await["symbol"] != SYMBOLS[3].0 {}
    }
    for number in 2..=TICKS {
        feed.tick().await.unwrap();
        // What one has, the hub has handed to the other, too.
        while {
            let price = next(&mut witness).await;
            price["symbol"] != SYMBOLS[3].0 || price["number"] != number
        } {}
    }
    let mut got = HashMap::<String, Vec<u64>>::new();
    while got.values().filter(|of| of.last() == Some(&TICKS)).count() < SYMBOLS.len() {
        let price = next(&mut slow).await;
        got.entry(price["symbol"].to_string()).or_default().push(price["number"].as_u64().unwrap());
    }
    for (symbol, numbers) in got {
        assert!(numbers.len() < 20, "{symbol}: the others were replaced: {numbers:?}");
        assert!(numbers.windows(2).all(|two| two[0] < two[1]), "{symbol}: {numbers:?}");
    }
}

#[tokio::test]
async fn a_page_that_comes_back_gets_every_update_that_it_missed() {
    let hub = hub().build();
    let mut feed = Feed::new(hub.clone()).unwrap();
    feed.tick().await.unwrap();
    let mut first = page(&hub, 1 << 20);
    first.send("watch LINE").await.unwrap();
    let snapshot = loop {
        let message = next(&mut first).await;
        if message["type"] == "snapshot" {
            break message;
        }
    };
    assert_eq!(snapshot["number"], 1);
    drop(first);
    for _ in 0..50 {
        feed.tick().await.unwrap();
    }
    let mut back = page(&hub, 1 << 20);
    let since = snapshot["position"].as_str().unwrap();
    back.send(format!("watch LINE {since}")).await.unwrap();
    let mut number = 1;
    while number < 51 {
        let message = next(&mut back).await;
        assert_ne!(message["type"], "snapshot", "none is needed");
        if message["type"] == "update" {
            number += 1;
            assert_eq!(message["number"], number);
        }
    }
}
