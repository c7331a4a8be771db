//! A client that stays connected, over streams in memory and with time that does not pass by
//! itself: what becomes of messages, deadlines and delays.

use std::io;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join;
use tautline::reconnect::{Backoff, Cause, Event, Reconnecting, SendError, State, WhileAway};
use tautline::{
    CloseCode, CloseFrame, Config, ConnectError, Error, Message, Role, Timeout, WebSocket,
};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::support::peer::open;

const FIRST: Duration = Duration::from_secs(100);

type Feed = Reconnecting<DuplexStream>;

/// What the next attempt finds.
enum Network {
    /// The far end of a connection with this room goes to the test.
    Up(usize),
    Down,
    /// Nothing is answered.
    Hangs,
}

/// A connection that is kept open over a network of the test's. Its first retry comes after
/// [`FIRST`].
struct Lab {
    feed: Feed,
    network: mpsc::UnboundedSender<Network>,
    servers: mpsc::UnboundedReceiver<WebSocket<DuplexStream>>,
}

impl Lab {
    fn new(config: Config) -> Self {
        let (network, mut next) = mpsc::unbounded_channel();
        let (up, servers) = mpsc::unbounded_channel();
        let feed = Reconnecting::by(move |_| {
            let (found, up, config) = (next.try_recv(), up.clone(), config.clone());
            async move {
                match found.expect("an attempt that the test does not know of") {
                    Network::Up(room) => {
                        let (near, far) = duplex(room);
                        up.send(open(far, Role::Server, Config::new().ping_interval(None)))
                            .unwrap();
                        Ok(open(near, Role::Client, config))
                    }
                    Network::Down => Err(ConnectError::Io(io::ErrorKind::TimedOut.into())),
                    Network::Hangs => std::future::pending().await,
                }
            }
        });
        let feed = feed.backoff(Backoff::new().first(FIRST).max(FIRST).jitter(false));
        Self { feed, network, servers }
    }

    fn then(&self, network: Network) {
        self.network.send(network).unwrap();
    }

    /// Opens a connection, and returns the server's end.
    async fn connect(&mut self) -> WebSocket<DuplexStream> {
        self.then(Network::Up(1 << 20));
        let event = self.feed.next().await.unwrap().unwrap();
        assert!(matches!(event, Event::Connected(_)), "{event:?}");
        self.servers.recv().await.unwrap()
    }

    async fn disconnected(&mut self) -> tautline::reconnect::Disconnected {
        match self.feed.next().await.unwrap().unwrap() {
            Event::Disconnected(event) => event,
            other => panic!("{other:?}"),
        }
    }
}

/// Quiet: no deadline passes while the test waits for a retry.
fn quiet() -> Config {
    Config::new().ping_interval(None)
}

async fn text(ws: &mut WebSocket<DuplexStream>) -> String {
    ws.next().await.unwrap().unwrap().as_text().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_message_fails_while_there_is_no_connection_and_is_returned() {
    let mut lab = Lab::new(quiet());
    let sender = lab.feed.sender();
    for result in [sender.send("early").await, sender.try_send("early")] {
        let Err(SendError::NotConnected(message)) = result else { panic!("{result:?}") };
        assert_eq!(message.as_text(), Some("early"));
    }
    let mut server = lab.connect().await;
    assert!(sender.send("one").await.unwrap().is_handed_over());
    assert!(sender.try_send("two").unwrap().is_handed_over());
    assert_eq!(text(&mut server).await, "one");
    // A message that was only queued is written by the stream.
    let (two, _) =
        join(text(&mut server), async { assert!(lab.feed.next().now_or_never().is_none()) }).await;
    assert_eq!(two, "two");
    drop(server);
    // The sender notices before the stream does.
    while sender.send("lost").await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(matches!(sender.send("late").await, Err(SendError::NotConnected(_))));
    let event = lab.disconnected().await;
    assert!(
        matches!(event.cause(), Cause::Closed(frame) if frame.code() == CloseCode::GOING_AWAY),
        "{event:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_message_waits_for_a_connection_and_one_that_was_given_up_is_not_sent() {
    let mut lab = Lab::new(quiet());
    lab.feed = lab.feed.while_away(WhileAway::Wait);
    let sender = lab.feed.sender();
    assert!(sender.send("given up").now_or_never().is_none());
    assert!(matches!(sender.try_send("no time"), Err(SendError::NotConnected(_))));
    lab.then(Network::Down);
    lab.disconnected().await;
    let waiting = tokio::spawn({
        let sender = sender.clone();
        async move { sender.send("waited").await }
    });
    let before = Instant::now();
    let mut server = lab.connect().await;
    assert_eq!(before.elapsed().as_secs(), FIRST.as_secs());
    assert!(waiting.await.unwrap().unwrap().is_handed_over());
    assert_eq!(text(&mut server).await, "waited");
    // One that waits when the stream is dropped is returned.
    drop(server);
    lab.disconnected().await;
    let waiting = tokio::spawn(async move { sender.send("never sent").await });
    tokio::task::yield_now().await;
    drop(lab.feed);
    let Err(SendError::Stopped { message, stopped, .. }) = waiting.await.unwrap() else { panic!() };
    assert_eq!(message.as_text(), Some("never sent"));
    assert!(stopped.cause().is_none() && !stopped.is_closed());
}

#[tokio::test(start_paused = true)]
async fn messages_are_kept_up_to_a_bound_and_follow_what_the_hook_sends() {
    let mut lab = Lab::new(quiet());
    lab.feed = lab.feed.while_away(WhileAway::keep(3 * 512 + 9)).on_connect(|mut ws| async move {
        // Of those that are sent meanwhile, none comes first.
        tokio::time::sleep(Duration::from_secs(1)).await;
        ws.send("resume").await?;
        Ok(ws)
    });
    let sender = lab.feed.sender();
    let kept = sender.send("one").await.unwrap();
    assert!(!kept.is_handed_over());
    lab.then(Network::Up(1 << 20));
    assert!(lab.feed.next().now_or_never().is_none(), "the hook sleeps");
    let also = sender.try_send("two").unwrap();
    let third = sender.send("3").await.unwrap();
    let Err(SendError::Full(message)) = sender.send("4").await else { panic!() };
    assert_eq!((message.as_text(), sender.kept_bytes()), (Some("4"), 3 * 512 + 7));
    assert!(matches!(lab.feed.next().await, Some(Ok(Event::Connected(_)))));
    assert_eq!(sender.kept_bytes(), 0);
    for handover in [kept, also, third] {
        handover.await.unwrap();
    }
    sender.send("live").await.unwrap();
    let mut server = lab.servers.recv().await.unwrap();
    for expected in ["resume", "one", "two", "3", "live"] {
        assert_eq!(text(&mut server).await, expected);
    }
    // What is kept when it stops goes back.
    drop(server);
    lab.disconnected().await;
    let kept = sender.send("returned").await.unwrap();
    sender.close();
    assert!(lab.feed.next().await.is_none());
    let error = kept.await.unwrap_err();
    assert!(matches!(error, SendError::Stopped { .. }), "{error:?}");
    assert_eq!(error.into_message().unwrap().as_text(), Some("returned"));
}

#[tokio::test(start_paused = true)]
async fn more_than_a_connection_takes_at_once_is_handed_over_in_order() {
    let mut lab = Lab::new(quiet().write_mark(1024));
    lab.feed = lab.feed.while_away(WhileAway::keep(1 << 20));
    let sender = lab.feed.sender();
    let message = |number: usize| format!("{number:>500}");
    let mut handovers = Vec::new();
    for number in 0..100 {
        handovers.push(sender.send(message(number)).await.unwrap());
    }
    lab.then(Network::Up(700));
    assert!(matches!(lab.feed.next().await, Some(Ok(Event::Connected(_)))));
    assert!(sender.kept_bytes() > 0);
    // Those that are sent now do not overtake them, and do not wait for the stream, which the same
    // task may have to poll.
    let next = sender.send(message(100)).now_or_never().unwrap().unwrap();
    assert!(!next.is_handed_over());
    handovers.extend([next, sender.try_send(message(101)).unwrap()]);
    let mut server = lab.servers.recv().await.unwrap();
    tokio::select! {
        event = lab.feed.next() => panic!("{event:?}"),
        () = async {
            for number in 0..=101 {
                assert_eq!(text(&mut server).await, message(number));
            }
        } => {}
    }
    assert!(sender.send("live").await.unwrap().is_handed_over());
    for handover in handovers {
        handover.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_of_a_connection_that_is_lost_is_reported_and_not_sent_again() {
    let mut lab = Lab::new(quiet());
    let sender = lab.feed.sender();
    lab.then(Network::Up(1000));
    assert!(matches!(lab.feed.next().await, Some(Ok(Event::Connected(_)))));
    let server = lab.servers.recv().await.unwrap();
    let sending = tokio::spawn({
        let sender = sender.clone();
        async move { sender.send(vec![7; 5000]).await }
    });
    // It is handed over, and waits for the peer to read.
    tokio::task::yield_now().await;
    drop(server.into_inner().map(|parts| parts.stream));
    lab.disconnected().await;
    let error = sending.await.unwrap().unwrap_err();
    assert!(matches!(error, SendError::Interrupted(_)), "{error:?}");
    assert!(error.into_message().is_none());
    let mut server = lab.connect().await;
    sender.send("next").await.unwrap();
    assert_eq!(text(&mut server).await, "next");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_waits_for_room_when_the_connection_is_lost_was_not_handed_over() {
    for mode in [WhileAway::Fail, WhileAway::Wait, WhileAway::keep(1000)] {
        let mut lab = Lab::new(quiet().write_mark(1024));
        lab.feed = lab.feed.while_away(mode);
        lab.then(Network::Up(100));
        assert!(matches!(lab.feed.next().await, Some(Ok(Event::Connected(_)))));
        let server = lab.servers.recv().await.unwrap();
        let send = |message: Message| {
            let sender = lab.feed.sender();
            tokio::spawn(async move { sender.send(message).await })
        };
        let first = send(vec![7; 5000].into());
        tokio::task::yield_now().await;
        let second = send("no room".into());
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(server);
        lab.disconnected().await;
        assert!(matches!(first.await.unwrap(), Err(SendError::Interrupted(_))));
        if mode == WhileAway::Fail {
            let Err(SendError::NotConnected(message)) = second.await.unwrap() else { panic!() };
            assert_eq!(message.as_text(), Some("no room"));
            continue;
        }
        let mut server = lab.connect().await;
        tokio::select! {
            event = lab.feed.next() => panic!("{event:?}"),
            text = text(&mut server) => assert_eq!(text, "no room"),
        }
        second.await.unwrap().unwrap().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_writes_what_it_was_handed_while_nobody_polls_the_stream() {
    let mut lab = Lab::new(quiet().write_mark(1024));
    let sender = lab.feed.sender();
    lab.then(Network::Up(1000));
    assert!(matches!(lab.feed.next().await, Some(Ok(Event::Connected(_)))));
    let mut server = lab.servers.recv().await.unwrap();
    let sending = async {
        for number in 0..100_u8 {
            sender.send(vec![number; 2000]).await.unwrap();
        }
    };
    let receiving = async {
        for number in 0..100_u8 {
            assert_eq!(server.next().await.unwrap().unwrap(), Message::from(vec![number; 2000]));
        }
    };
    join(sending, receiving).await;
}

// A network that changes takes the connection away without a word.
#[tokio::test(start_paused = true)]
async fn a_silent_network_is_found_out_within_the_deadline_of_the_keepalive() {
    let (interval, timeout) = (Duration::from_secs(30), Duration::from_secs(20));
    let mut lab = Lab::new(Config::new().ping_interval(interval).ping_timeout(timeout));
    let mut state = lab.feed.state();
    assert!(matches!(&*state.borrow_and_update(), State::Connecting));
    let server = lab.connect().await;
    assert!(state.borrow_and_update().is_connected());
    let start = Instant::now();
    let event = lab.disconnected().await;
    assert!(matches!(event.cause(), Cause::Failed(Error::Timeout(Timeout::Ping))), "{event:?}");
    assert!(
        start.elapsed() <= interval + timeout + Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    match &*state.borrow_and_update() {
        State::Waiting { until, cause, .. } => {
            assert_eq!(until.duration_since(Instant::now()), event.retry_in());
            assert!(matches!(**cause, Cause::Failed(_)));
        }
        other => panic!("{other:?}"),
    }
    drop(server);
    lab.connect().await;
    assert!(state.borrow_and_update().is_connected());
}

#[tokio::test(start_paused = true)]
async fn delays_grow_up_to_their_limit_and_start_over_after_a_connection_that_lasted() {
    let mut lab = Lab::new(quiet());
    let secs = Duration::from_secs;
    let backoff = Backoff::new().first(secs(5)).max(secs(60)).jitter(false);
    lab.feed = lab.feed.backoff(backoff.healthy_after(secs(30)));
    for delay in [5, 10, 20, 40, 60, 60] {
        lab.then(Network::Down);
        assert_eq!(lab.disconnected().await.retry_in(), secs(delay));
    }
    // One that ends too soon, and one that lasts.
    for (lasts, delay) in [(29, 60), (30, 5), (0, 10)] {
        let server = lab.connect().await;
        tokio::time::sleep(secs(lasts)).await;
        drop(server);
        assert_eq!(lab.disconnected().await.retry_in(), secs(delay));
    }
}

#[tokio::test(start_paused = true)]
async fn reconnecting_now_cuts_waits_and_attempts_short_and_replaces_a_connection() {
    let mut lab = Lab::new(quiet());
    let sender = lab.feed.sender();
    lab.then(Network::Down);
    lab.disconnected().await;
    let start = Instant::now();
    // The wait, and then the attempt.
    lab.then(Network::Hangs);
    sender.reconnect_now();
    assert!(lab.feed.next().now_or_never().is_none());
    sender.reconnect_now();
    let mut first = lab.connect().await;
    // The connection, while a message of it is waiting to be written.
    sender.reconnect_now();
    let event = lab.disconnected().await;
    assert!(matches!(event.cause(), Cause::Requested) && event.retry_in().is_zero(), "{event:?}");
    let mut second = lab.connect().await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(first.next().await.is_none());
    assert_eq!(first.close_frame().map(CloseFrame::code), Some(CloseCode::GOING_AWAY));
    sender.send("to the second").await.unwrap();
    assert_eq!(text(&mut second).await, "to the second");
    // It wakes a task that waits, and the delays have started over.
    drop(second);
    assert_eq!(lab.disconnected().await.retry_in(), FIRST);
    lab.then(Network::Up(100));
    let waiting = tokio::spawn(async move {
        lab.feed.next().await.unwrap().unwrap();
        lab
    });
    tokio::task::yield_now().await;
    sender.reconnect_now();
    let lab = waiting.await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    drop(lab);
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_hangs_or_fails_is_tried_again() {
    let mut lab = Lab::new(quiet());
    let mut calls = 0;
    lab.feed = lab.feed.on_connect_timeout(Duration::from_secs(7)).on_connect(move |ws| {
        calls += 1;
        async move {
            match calls {
                1 => std::future::pending().await,
                2 => Err("not subscribed".into()),
                _ => Ok(ws),
            }
        }
    });
    let start = Instant::now();
    lab.then(Network::Up(1000));
    assert!(matches!(lab.disconnected().await.cause(), Cause::HookTimeout));
    assert_eq!(start.elapsed(), Duration::from_secs(7));
    let mut server = lab.servers.recv().await.unwrap();
    assert!(server.next().await.is_none());
    assert_eq!(server.close_frame().map(CloseFrame::code), Some(CloseCode::GOING_AWAY));
    lab.then(Network::Up(1000));
    assert!(matches!(lab.disconnected().await.cause(), Cause::Hook(_)));
    lab.then(Network::Up(1000));
    assert!(matches!(lab.feed.next().await, Some(Ok(Event::Connected(connected)))
        if matches!(connected.attempt().last_cause(), Some(Cause::Hook(_)))));
}
