//! Every future is dropped at every await, over a stream on which every other call is not ready.
//! The conversation then continues, and nothing is lost, duplicated or torn (invariant 8).

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use futures_util::FutureExt;
use tautline::{Config, Message, Reader, Role, WebSocket, Writer};
use tokio::io::{AsyncWriteExt, DuplexStream};

use crate::conversation::pattern;
use crate::support::peer::{
    BINARY, CLOSE, CONTINUATION, Choppy, FIN, Frame, PING, PONG, Peer, ROLES, TEXT, close_body,
    open,
};

type Io = Choppy<DuplexStream>;

/// More polls than any step takes here: beyond that it is stuck.
const MANY: usize = 100_000;

enum Ends {
    Whole(WebSocket<Io>),
    Halves(Reader<Io>, Writer<Io>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
    Next,
    Send,
    Feed,
    Flush,
    Ping,
    Close,
    CloseWith,
}

const OPS: [Op; 7] = [Op::Next, Op::Send, Op::Feed, Op::Flush, Op::Ping, Op::Close, Op::CloseWith];

impl Ends {
    async fn next(&mut self) -> Option<Message> {
        let message = match self {
            Self::Whole(ws) => ws.next().await,
            Self::Halves(reader, _) => reader.next().await,
        };
        message.map(Result::unwrap)
    }

    async fn send(&mut self, message: Message) {
        let result = match self {
            Self::Whole(ws) => ws.send(message).await,
            Self::Halves(_, writer) => writer.send(message).await,
        };
        result.unwrap();
    }

    async fn feed(&mut self, message: Message) {
        let result = match self {
            Self::Whole(ws) => ws.feed(message).await,
            Self::Halves(_, writer) => writer.feed(message).await,
        };
        result.unwrap();
    }

    async fn flush(&mut self) {
        let result = match self {
            Self::Whole(ws) => ws.flush().await,
            Self::Halves(_, writer) => writer.flush().await,
        };
        result.unwrap();
    }

    /// A writer's ping needs a reader that reads; what that gets is kept.
    async fn ping(&mut self, received: &mut Vec<Message>) {
        let time = match self {
            Self::Whole(ws) => ws.ping().await,
            Self::Halves(reader, writer) => {
                let mut ping = pin!(writer.ping());
                loop {
                    tokio::select! {
                        biased;
                        time = &mut ping => break time,
                        message = reader.next() => received.push(message.unwrap().unwrap()),
                    }
                }
            }
        };
        time.unwrap();
    }

    /// A writer's close needs a reader that reads, too.
    async fn close(&mut self, code: Option<u16>, received: &mut Vec<Message>) {
        let frame: Option<tautline::CloseFrame> =
            code.map(|code| tautline::CloseCode::new(code).unwrap().into());
        let result = match (self, frame) {
            (Self::Whole(ws), None) => ws.close().await,
            (Self::Whole(ws), Some(frame)) => ws.close_with(frame).await,
            (Self::Halves(reader, writer), frame) => {
                let mut close = pin!(async {
                    match frame {
                        None => writer.close().await,
                        Some(frame) => writer.close_with(frame).await,
                    }
                });
                loop {
                    tokio::select! {
                        biased;
                        result = &mut close => break result,
                        Some(message) = reader.next() => received.push(message.unwrap()),
                    }
                }
            }
        };
        result.unwrap();
    }

    async fn run(&mut self, op: Op, received: &mut Vec<Message>) {
        match op {
            Op::Next => {
                while received.len() < incoming().len() {
                    received.extend(self.next().await);
                }
            }
            Op::Send => self.send(subject()).await,
            Op::Feed => self.feed(subject()).await,
            Op::Flush => self.flush().await,
            Op::Ping => self.ping(received).await,
            Op::Close => self.close(None, received).await,
            Op::CloseWith => self.close(Some(1001), received).await,
        }
    }
}

/// What the interrupted `send` or `feed` sends.
fn subject() -> Message {
    pattern(777).into()
}

/// The peer, and what it got.
struct Other {
    peer: Peer<DuplexStream>,
    frames: Vec<Frame>,
}

impl Other {
    /// Answers what is there.
    fn step(&mut self) {
        while let Some(frame) = self.peer.try_recv() {
            match frame.first & 0xF {
                PING => self.peer.send(FIN | PONG, &frame.payload).now_or_never().unwrap(),
                CLOSE => {
                    self.peer.send(FIN | CLOSE, &frame.payload).now_or_never().unwrap();
                    if !self.peer.client {
                        self.peer.stream.shutdown().now_or_never().unwrap().unwrap();
                    }
                }
                _ => {}
            }
            self.frames.push(frame);
        }
    }

    /// Polls so many times at most; the peer has its turn after each.
    fn drive<T>(&mut self, future: impl Future<Output = T>, polls: usize) -> Option<T> {
        let mut future = pin!(future);
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..polls {
            let result = Pin::as_mut(&mut future).poll(&mut cx);
            self.step();
            if let Poll::Ready(result) = result {
                return Some(result);
            }
        }
        None
    }

    fn finish<T>(&mut self, future: impl Future<Output = T>) -> T {
        self.drive(future, MANY).expect("it stands still")
    }

    /// Whole messages, fragments put together, and the control frames but pings.
    fn heard(&self) -> (Vec<Vec<u8>>, Vec<Frame>) {
        let (mut messages, mut controls, mut fresh) = (Vec::new(), Vec::new(), true);
        for frame in &self.frames {
            match frame.first & 0xF {
                TEXT | BINARY => {
                    assert!(fresh, "a message inside another");
                    messages.push(frame.payload.clone());
                }
                CONTINUATION => {
                    assert!(!fresh, "a fragment of nothing");
                    messages.last_mut().unwrap().extend(&frame.payload);
                }
                PING => continue,
                _ => {
                    controls.push(frame.clone());
                    continue;
                }
            }
            fresh = frame.first & FIN != 0;
        }
        assert!(fresh, "an unfinished message");
        (messages, controls)
    }
}

fn incoming() -> [Message; 4] {
    [pattern(0).into(), "ünïcödé".into(), pattern(40).into(), pattern(300).into()]
}

/// One conversation in which `op` is dropped after so many polls; whether it was over before.
fn interrupt(role: Role, split: bool, fragments: Option<usize>, op: Op, polls: usize) -> bool {
    let what = format!("{role:?} split {split} fragments {fragments:?} {op:?} {polls}");
    let (near, far) = tokio::io::duplex(1 << 16);
    let config = Config::new().write_mark(1024).fragment_size(fragments);
    let ws = open(Choppy::new(near, 23), role, config);
    let mut other = Other { peer: Peer::of(role, far), frames: Vec::new() };
    let mut ends = if split {
        let (reader, writer) = ws.split();
        Ends::Halves(reader, writer)
    } else {
        Ends::Whole(ws)
    };
    for message in incoming() {
        // With a ping in the middle of each message.
        let first = if message.is_text() { TEXT } else { BINARY };
        let (start, end) = message.as_bytes().split_at(message.len() / 2);
        for (first, part) in [(first, start), (FIN | PING, b"?"), (FIN | CONTINUATION, end)] {
            other.peer.send(first, part).now_or_never().unwrap();
        }
    }
    // More than the write mark: whoever sends next has to wait.
    let mut expected = vec![pattern(600).to_vec(), pattern(601).to_vec()];
    for message in &expected {
        other.finish(ends.feed(message.clone().into()));
    }

    let mut received = Vec::new();
    let over = other.drive(ends.run(op, &mut received), polls).is_some();

    let closing = matches!(op, Op::Close | Op::CloseWith);
    if !closing {
        other.finish(ends.send(pattern(10).into()));
        while received.len() < incoming().len() {
            received.extend(other.finish(ends.next()));
        }
        assert_eq!(received, incoming(), "{what}");
        other.finish(ends.flush());
        other.finish(ends.ping(&mut received));
    }
    // An interrupted close continues, both when it is called again and while reading.
    if polls % 2 == 1 {
        if !closing {
            other.drive(ends.close(Some(3000), &mut received), 1);
        }
        while let Some(message) = other.finish(ends.next()) {
            received.push(message);
        }
    } else {
        other.finish(ends.close(Some(3000), &mut received));
    }
    assert!(other.finish(ends.next()).is_none(), "{what}");

    let (messages, controls) = other.heard();
    if matches!(op, Op::Send | Op::Feed) && (over || messages.len() > 3) {
        expected.push(subject().as_bytes().to_vec());
    }
    if closing {
        // What `close` met was discarded, the rest delivered.
        assert!(incoming().ends_with(&received), "{what}: {received:?}");
    } else {
        expected.push(pattern(10).to_vec());
    }
    assert!(
        messages == expected,
        "{what}: {:?}",
        messages.iter().map(Vec::len).collect::<Vec<_>>()
    );
    let code = match op {
        Op::Close if polls > 0 => 1000,
        Op::CloseWith if polls > 0 => 1001,
        _ => 3000,
    };
    // RFC 6455 section 5.5.2: a ping is answered until the peer's Close is received, even after
    // ours.
    let (closes, controls): (Vec<_>, Vec<_>) =
        controls.into_iter().partition(|frame| frame.first == FIN | CLOSE);
    let closes: Vec<_> = closes.iter().map(|frame| &frame.payload[..]).collect();
    assert_eq!(closes, [close_body(code, "")], "{what}");
    let pong = |frame: &Frame| frame.first == FIN | PONG && frame.payload == b"?";
    assert!(controls.iter().all(pong), "{what}: {controls:?}");
    if !closing {
        // RFC 6455 section 5.5.3: while there is no room, only the newest ping is certain to get
        // its pong.
        assert!((1..=incoming().len()).contains(&controls.len()), "{what}: {controls:?}");
    }
    over
}

fn interrupt_everywhere(split: bool) {
    for role in ROLES {
        for fragments in [None, Some(1024)] {
            for op in OPS {
                let awaits = (0..MANY).take_while(|&at| !interrupt(role, split, fragments, op, at));
                let awaits = awaits.count();
                assert!(awaits > 3, "{op:?} was never interrupted: {awaits}");
            }
        }
    }
}

#[tokio::test]
async fn dropping_any_future_of_a_connection_at_any_await_loses_nothing() {
    // All of it in one poll of the test's task, which the runtime's budget would otherwise stop.
    tokio::task::unconstrained(async { interrupt_everywhere(false) }).await;
}

#[tokio::test]
async fn dropping_any_future_of_either_half_at_any_await_loses_nothing() {
    // All of it in one poll of the test's task, which the runtime's budget would otherwise stop.
    tokio::task::unconstrained(async { interrupt_everywhere(true) }).await;
}
