//! A market whose order book is sent to everybody, for `feed_client`: `cargo run --example
//! feed_server -- [--listen ADDRESS] [--every MILLISECONDS] [--cut UPDATES]`
//!
//! A client says first from where on it wants updates: `new`, or `after MARKET NUMBER`. The server
//! keeps the last 10,000 updates; to those who ask for older ones, or for those of another market,
//! it sends the whole book. `--cut` ends each connection after that many updates, to see clients
//! resume.

#[path = "feed/book.rs"]
mod book;
#[path = "support/mod.rs"]
mod support;

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tautline::{BoxError, CloseCode, Server, WebSocket};
use tokio::sync::watch;

use crate::book::{Book, Sent, Side, Update};

/// How many updates are kept for those who resume.
const KEPT: usize = 10_000;

/// How many updates are taken from the market at a time, so that its lock is held for a moment only.
const AT_ONCE: usize = 100;

struct Market {
    /// Another one for each start: numbers start over.
    name: String,
    state: Mutex<State>,
    /// The number of the last update.
    last: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    book: Book,
    kept: VecDeque<Update>,
    number: u64,
}

impl Market {
    fn open() -> Self {
        let name = format!("{:016x}", RandomState::new().hash_one(0));
        Self { name, state: Mutex::default(), last: watch::Sender::new(0) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, side: Side, price: u64, quantity: u64) {
        let number = {
            let mut state = self.state();
            state.number += 1;
            state.book.set(side, price, quantity);
            let (number, check) = (state.number, state.book.check());
            state.kept.push_back(Update { number, side, price, quantity, check });
            if state.kept.len() > KEPT {
                state.kept.pop_front();
            }
            number
        };
        self.last.send_replace(number);
    }

    /// What comes after this number, as far as it is to be sent now; the book if some of it is not
    /// kept any more, or if there is no number. So a client that is too slow gets the book, too.
    fn after(&self, number: Option<u64>) -> Vec<Sent> {
        let state = self.state();
        let missing = number.and_then(|number| state.number.checked_sub(number));
        match missing.and_then(|missing| usize::try_from(missing).ok()) {
            Some(missing) if missing <= state.kept.len() => {
                let from = state.kept.len() - missing;
                state.kept.iter().skip(from).take(AT_ONCE).copied().map(Sent::Update).collect()
            }
            _ => {
                let (market, number, book) = (self.name.clone(), state.number, state.book.clone());
                vec![Sent::Snapshot { market, number, book }]
            }
        }
    }

    /// Quantities that change at random, at prices around 10,000.
    async fn trade(&self, every: Duration) {
        let (random, mut ticks) = (RandomState::new(), tokio::time::interval(every));
        for turn in 0_u64.. {
            ticks.tick().await;
            let dice = random.hash_one(turn);
            let distance = 1 + (dice >> 8) % 20;
            let quantity = ((dice >> 16) % 4) * 25;
            if dice >> 63 == 0 {
                self.change(Side::Bid, 10_000 - distance, quantity);
            } else {
                self.change(Side::Ask, 10_000 + distance, quantity);
            }
        }
    }

    async fn send_to(&self, mut ws: WebSocket, cut: Option<u64>) -> Result<(), BoxError> {
        let mut last = self.last.subscribe();
        let request = ws.next().await.ok_or("gone before it asked")??;
        let words: Vec<_> = request.as_text().unwrap_or_default().split(' ').collect();
        let mut position = match words[..] {
            ["after", market, number] if market == self.name => Some(number.parse()?),
            _ => None,
        };
        let mut sent = 0;
        loop {
            last.borrow_and_update();
            let messages = self.after(position);
            let is_behind = !messages.is_empty();
            for message in messages {
                ws.feed(message.to_string()).await?;
                position = Some(match message {
                    Sent::Update(update) => update.number,
                    Sent::Snapshot { number, .. } => number,
                });
                sent += 1;
                if cut.is_some_and(|cut| sent > cut) {
                    // Not 1000, which says that there is nothing more to come.
                    return Ok(ws.close_with(CloseCode::GOING_AWAY).await?);
                }
            }
            if is_behind {
                continue;
            }
            ws.flush().await?;
            tokio::select! {
                changed = last.changed() => changed?,
                message = ws.next() => match message {
                    Some(message) => drop(message?),
                    None => return Ok(()),
                },
            }
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    support::exit_code(run().await)
}

async fn run() -> Result<(), BoxError> {
    let [listen, every, cut] = support::arguments(["--listen", "--every", "--cut"], &[])?;
    let every = Duration::from_millis(every.map_or(Ok(20), |every| every.parse())?.max(1));
    let cut = cut.map(|cut| cut.parse()).transpose()?;
    let server = Server::bind(listen.as_deref().unwrap_or("127.0.0.1:9004")).await?;
    println!("listening on ws://{}", server.local_addr()?);
    let market = Arc::new(Market::open());
    let trading = market.clone();
    tokio::spawn(async move { trading.trade(every).await });
    let server = server.with_graceful_shutdown(support::stopped());
    server
        .serve(move |ws| {
            let market = market.clone();
            async move { market.send_to(ws, cut).await }
        })
        .await?;
    Ok(())
}
