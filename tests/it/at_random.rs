//! Two ends that send, ping, split, join again and give up waiting, in an order that the dice
//! decide: nothing is lost, doubled or out of order, and nobody waits for ever.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tautline::{Config, Message, Reader, Role, TryFeedError, WebSocket, Writer};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How many messages each end sends.
const MESSAGES: u32 = 60;

/// Far more than a conversation takes: who waits for as long waits for ever.
const EVER: Duration = Duration::from_secs(60);

/// Pseudorandom numbers that a seed repeats (xorshift).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % end
    }
}

/// What an end did and saw.
struct End {
    ws: WebSocket<DuplexStream>,
    dice: Dice,
    /// The number of each message, and whether it is certain that it was queued.
    sent: Vec<(u32, bool)>,
    received: Vec<Message>,
}

/// The message that comes after these, and its number.
fn message_after(sent: &[(u32, bool)], dice: &mut Dice) -> (u32, Message) {
    let number = sent.len() as u32;
    (number, format!("{number}:{}", "x".repeat(dice.below(300) as usize)).into())
}

/// Polls once and gives up.
fn once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

async fn read_until(
    mut reader: Reader<DuplexStream>,
    mut stop: oneshot::Receiver<()>,
) -> (Reader<DuplexStream>, Vec<Message>) {
    let mut received = Vec::new();
    loop {
        tokio::select! {
            biased;
            _ = &mut stop => return (reader, received),
            message = reader.next() => received.push(message.unwrap().unwrap()),
        }
    }
}

impl End {
    async fn play(mut self) -> Self {
        while self.sent.len() < MESSAGES as usize {
            match self.dice.below(10) {
                0 => self.ws.ping().await.map(drop).unwrap(),
                1..4 => self.read_what_is_there(),
                4..6 => self = self.split().await,
                _ => self.send().await,
            }
        }
        self.feed("end".into()).await;
        self.flush().await;
        while self.received.last().is_none_or(|message| message.as_text() != Some("end")) {
            self.received.push(self.ws.next().await.unwrap().unwrap());
        }
        self.received.pop();
        self
    }

    fn read_what_is_there(&mut self) {
        while let Some(message) = once(self.ws.next()) {
            self.received.push(message.unwrap().unwrap());
        }
    }

    async fn send(&mut self) {
        let (number, message) = message_after(&self.sent, &mut self.dice);
        let mut certain = true;
        match self.dice.below(3) {
            0 => self.feed(message).await,
            1 => {
                self.feed(message).await;
                self.flush().await;
            }
            _ => certain = once(self.ws.send(message)).is_some_and(|sent| sent.is_ok()),
        }
        self.sent.push((number, certain));
    }

    async fn feed(&mut self, message: Message) {
        let mut message = Some(message);
        while let Err(error) = self.ws.try_feed(message.take().unwrap()) {
            let TryFeedError::Full(back) = error else { panic!("{error}") };
            message = Some(back);
            self.flush().await;
        }
    }

    /// Reads meanwhile: two ends that wait for each other to read would wait for ever.
    async fn flush(&mut self) {
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(flushed) = pin!(self.ws.flush()).poll(cx) {
                    flushed.unwrap();
                    return Poll::Ready(());
                }
                let message = ready!(pin!(self.ws.next()).poll(cx)).unwrap().unwrap();
                self.received.push(message);
            }
        })
        .await;
    }

    async fn split(self) -> Self {
        let Self { ws, mut dice, mut sent, mut received } = self;
        let (reader, mut writer) = ws.split();
        let (stop, stopped) = oneshot::channel();
        let reading = tokio::spawn(read_until(reader, stopped));
        for _ in 0..dice.below(4) {
            write(&mut writer, &mut dice, &mut sent).await;
        }
        let _ = stop.send(());
        let (reader, more) = reading.await.unwrap();
        received.extend(more);
        Self { ws: reader.reunite(writer).unwrap(), dice, sent, received }
    }
}

async fn write(writer: &mut Writer<DuplexStream>, dice: &mut Dice, sent: &mut Vec<(u32, bool)>) {
    let (number, message) = message_after(sent, dice);
    let mut certain = true;
    match dice.below(5) {
        0 => writer.feed(message).await.unwrap(),
        1 => writer.clone().send(message).await.unwrap(),
        2 => certain = once(writer.send(message)).is_some_and(|sent| sent.is_ok()),
        3 => {
            writer.feed(message).await.unwrap();
            writer.ping().await.map(drop).unwrap();
        }
        _ => match writer.try_feed(message) {
            Err(TryFeedError::Full(_)) => return,
            fed => fed.unwrap(),
        },
    }
    sent.push((number, certain));
}

/// All that is certain has arrived, in order, and nothing else but what may have been queued.
#[track_caller]
fn check(seed: u64, sent: &[(u32, bool)], received: &[Message]) {
    let mut received = received.iter().map(|message| {
        let (number, padding) = message.as_text().unwrap().split_once(':').unwrap();
        assert!(padding.bytes().all(|byte| byte == b'x'));
        number.parse::<u32>().unwrap()
    });
    let mut next = received.next();
    for &(number, certain) in sent {
        if next == Some(number) {
            next = received.next();
        } else {
            assert!(!certain, "seed {seed}: {number} was lost; next is {next:?}");
        }
    }
    assert_eq!(next, None, "seed {seed}: more than was sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ends_that_do_anything_in_any_order_lose_nothing() {
    for seed in 1..=100 {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let size = [3, 64, 4096][dice.below(3) as usize];
        let (near, far) = duplex(size);
        let config = Config::new().write_mark(1024);
        let mut end = |role, stream| End {
            ws: WebSocket::builder(role).config(config.clone()).build(stream),
            dice: Dice(dice.below(u64::MAX) | 1),
            sent: Vec::new(),
            received: Vec::new(),
        };
        let (client, server) = (end(Role::Client, near), end(Role::Server, far));
        let playing = async {
            tokio::join!(async { tokio::spawn(client.play()).await.unwrap() }, async {
                tokio::spawn(server.play()).await.unwrap()
            },)
        };
        let (mut client, mut server) =
            timeout(EVER, playing).await.unwrap_or_else(|_| panic!("seed {seed}: an end waits"));
        check(seed, &client.sent, &server.received);
        check(seed, &server.sent, &client.received);
        let closing = async { tokio::join!(client.ws.close(), server.ws.next()) };
        let (closed, end) = timeout(EVER, closing).await.unwrap();
        closed.unwrap();
        assert!(end.is_none());
    }
}
