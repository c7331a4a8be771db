//! What a peer may take over time: rates, idle time, lifetime, and a share of all memory.

use std::time::Duration;

use tautline_frame::session::Error;
use tautline_frame::{
    CloseCode, Config, Excess, MemoryBudget, Message, ProtocolError, Rate, Strikes, Timeout,
};

use crate::conversations::{Pair, in_order, message};

const STEP: Duration = Duration::from_millis(100);

/// All that the server gets until it waits, and its error.
fn taken(pair: &mut Pair) -> (Vec<Message>, Option<Error>) {
    let mut messages = Vec::new();
    let mut yielded = 0;
    loop {
        let turns = pair.server.turns;
        match pair.server_next() {
            Some(Some(Ok(message))) => messages.push(message),
            Some(Some(Err(error))) => return (messages, Some(error)),
            Some(None) => return (messages, None),
            None if pair.server.turns == turns => return (messages, None),
            None => {
                yielded += 1;
                assert!(yielded < 1000, "it does not spin while it is to wait");
            }
        }
    }
}

/// What a masked frame of this kind looks like, with a key of zeros.
fn ping() -> [u8; 6] {
    [0x89, 0x80, 0, 0, 0, 0]
}

fn is_limit(error: Option<&Error>, limit: ProtocolError) -> bool {
    matches!(error, Some(Error::Protocol(error)) if *error == limit)
}

#[test]
fn messages_beyond_the_rate_come_later_and_none_is_lost() {
    let rate = Rate::per_second(100).burst(200);
    let mut pair = Pair::new(&Config::new().message_rate(rate), 1 << 20);
    for count in 0..5000_u32 {
        pair.client_send(count.to_be_bytes().to_vec());
    }
    pair.client_flush().unwrap().unwrap();
    let (mut given, mut steps) = (Vec::new(), 0);
    while given.len() < 5000 {
        let (more, error) = taken(&mut pair);
        assert!(error.is_none(), "unread bytes are a sign of life: {error:?}");
        given.extend(more);
        // The rate counts once a turn.
        assert!(given.len() <= 200 + 10 * steps + 512, "{} after {steps} steps", given.len());
        pair.pass(STEP);
        steps += 1;
    }
    assert!((420..=490).contains(&steps), "{steps} tenths of a second");
    assert!(given.iter().enumerate().all(|(at, it)| it.as_bytes() == (at as u32).to_be_bytes()));
    let (pauses, strikes) =
        (pair.server.session.protocol().pauses(), pair.server.session.protocol().strikes());
    assert!(pauses > 5);
    assert_eq!((strikes.message_rate, strikes.byte_rate, strikes.control_rate), (pauses, 0, 0));
}

#[test]
fn each_fragment_counts_as_a_message() {
    let rate = Rate::per_second(100).burst(200);
    let mut pair = Pair::new(&Config::new().message_rate(rate), 1 << 20);
    // "Empty fragments" of one message that never ends.
    pair.up.bytes.extend_from_slice(&[0x01, 0x80, 0, 0, 0, 0]);
    pair.up.bytes.extend_from_slice(&[0x00, 0x80, 0, 0, 0, 0].repeat(100_000));
    taken(&mut pair);
    for _ in 0..100 {
        pair.pass(STEP);
        let (_, error) = taken(&mut pair);
        assert!(error.is_none(), "{error:?}");
    }
    // 10 s: 1,200 fragments and a turn, what has been read of them, and no more.
    let left = pair.up.bytes.len() / 6;
    assert!(left > 100_000 - 1_200 - 512 - 65_536 / 6 * 2, "{left} were not read");
}

#[test]
fn bytes_beyond_the_rate_are_not_read_and_the_peer_is_blocked() {
    let rate = Rate::per_second(1 << 20).burst(1 << 20);
    let mut pair = Pair::new(&Config::new().byte_rate(rate), 100_000);
    for _ in 0..100 {
        pair.client_send(vec![7; 50_000]);
    }
    let (mut bytes, mut steps, mut blocked) = (0, 0, 0);
    while bytes < 5_000_000 {
        // What goes through the pipe in a tenth of a second is up to the server.
        loop {
            let sent = pair.client_flush().is_some();
            let (more, error) = taken(&mut pair);
            assert!(error.is_none(), "{error:?}");
            bytes += more.iter().map(Message::len).sum::<usize>();
            if sent || pair.up.bytes.len() == pair.up.capacity {
                break;
            }
        }
        blocked += usize::from(pair.up.bytes.len() == pair.up.capacity);
        let most = (1 << 20) + (1 << 20) * steps / 10 + (256 << 10);
        assert!(bytes <= most, "{bytes} after {steps} steps");
        pair.pass(STEP);
        steps += 1;
        assert!(steps < 100, "{bytes} bytes in 10 s");
    }
    assert!((33..=45).contains(&steps), "{steps} tenths of a second");
    assert!(blocked > 20, "{blocked}");
    let strikes = pair.server.session.protocol().strikes();
    assert!(strikes.byte_rate > 20 && strikes.message_rate == 0, "{strikes:?}");
}

#[test]
fn by_choice_the_connection_is_closed_instead() {
    let few = Rate::per_second(10);
    let messages = Config::new().message_rate(few).excess(Excess::Close);
    let bytes = Config::new().byte_rate(few).excess(Excess::Close);
    let per_second = 10;
    for (config, limit) in [
        (messages, ProtocolError::TooManyMessages { per_second }),
        (bytes, ProtocolError::TooManyBytes { per_second }),
    ] {
        let mut pair = Pair::new(&config, 1 << 20);
        pair.client_send("x");
        pair.client_flush().unwrap().unwrap();
        assert_eq!(message(pair.server_next()).len(), 1, "within the burst");
        for _ in 0..1000 {
            pair.client_send("x");
        }
        pair.client_flush().unwrap().unwrap();
        let (messages, error) = taken(&mut pair);
        // The driver is told after the transport has ended.
        pair.up.ended = true;
        let (_, later) = taken(&mut pair);
        assert!(is_limit(error.or(later).as_ref(), limit), "{limit:?}");
        assert!(messages.len() <= 512, "{}", messages.len());
        assert_eq!(limit.close_code(), CloseCode::POLICY_VIOLATION);
        let sent = pair.server.session.protocol().sent_close();
        assert_eq!(sent, Some(CloseCode::POLICY_VIOLATION));
        let strikes = pair.server.session.protocol().strikes();
        let by_messages = matches!(limit, ProtocolError::TooManyMessages { .. });
        let expected = if by_messages { (1, 0) } else { (0, 1) };
        assert_eq!((strikes.message_rate, strikes.byte_rate), expected);
    }
}

#[test]
fn a_flood_of_control_frames_ends_with_1008_whatever_is_chosen_for_messages() {
    let limit = ProtocolError::TooManyControlFrames {
        per_second: Config::DEFAULT_CONTROL_RATE.get_per_second(),
    };
    let mut pair = Pair::new(&Config::new(), 1 << 20);
    pair.up.bytes.extend_from_slice(&ping().repeat(4_000));
    let (_, error) = taken(&mut pair);
    assert!(error.is_none(), "what waited for a long time: {error:?}");
    pair.up.bytes.extend_from_slice(&ping().repeat(10_000));
    pair.up.ended = true;
    let (_, error) = taken(&mut pair);
    assert!(is_limit(error.as_ref(), limit));
    assert_eq!(pair.server.session.protocol().strikes().control_rate, 1);
    let sent = pair.server.session.protocol().sent_close();
    assert_eq!(sent, Some(CloseCode::POLICY_VIOLATION));
}

#[test]
fn pings_within_the_rate_go_on_for_ever() {
    let mut pair = Pair::new(&Config::public(), 1 << 20);
    for _ in 0..1000 {
        pair.up.bytes.extend_from_slice(&ping().repeat(5));
        let (_, error) = taken(&mut pair);
        assert!(error.is_none(), "{error:?}");
        pair.down.bytes.clear();
        pair.pass(STEP);
    }
    assert!(pair.server.session.protocol().is_open());
}

#[test]
fn a_peer_that_waits_is_served_otherwise_and_can_be_closed() {
    let rate = Rate::per_second(1).burst(1);
    let mut pair = Pair::new(&Config::new().message_rate(rate), 1 << 20);
    for _ in 0..600 {
        pair.client_send("x");
    }
    pair.client_flush().unwrap().unwrap();
    let (given, error) = taken(&mut pair);
    assert!((500..=512).contains(&given.len()), "{} messages: a turn", given.len());
    assert!(error.is_none(), "{error:?}");
    assert!(pair.server.session.protocol().is_paused());
    pair.server_send("meanwhile");
    pair.server_flush().unwrap().unwrap();
    assert_eq!(message(pair.client_next()), Message::from("meanwhile"));
    // Its deadline ends what the rate held up.
    pair.server.session.close(CloseCode::NORMAL.into(), pair.now).unwrap();
    assert!(!pair.server.session.protocol().is_paused());
    let (rest, _) = taken(&mut pair);
    assert_eq!(given.len() + rest.len(), 600);
    assert!(pair.client_next().is_none());
    assert!(in_order(&pair.server_next()) || pair.server.session.is_done());
}

// The first message is not late because of what the peer did an hour ago.
#[test]
fn nothing_is_remembered_of_a_peer_that_was_quiet() {
    let rate = Rate::per_second(10).burst(100);
    let mut pair = Pair::new(&Config::new().message_rate(rate), 1 << 20);
    for _ in 0..10 {
        for _ in 0..100 {
            pair.client_send("x");
        }
        pair.client_flush().unwrap().unwrap();
        let (given, error) = taken(&mut pair);
        assert!(given.len() == 100 && error.is_none(), "{} {error:?}", given.len());
        for _ in 0..11 {
            pair.pass(Duration::from_secs(1));
            taken(&mut pair);
        }
    }
    assert_eq!(pair.server.session.protocol().pauses(), 0);
    assert_eq!(pair.server.session.protocol().strikes(), Strikes::default());
}

#[test]
fn a_connection_closes_with_1012_between_half_of_its_lifetime_and_the_whole() {
    let lifetime = Duration::from_secs(1000);
    let config = Config::new().max_lifetime(lifetime).ping_interval(None);
    let mut ends = Vec::new();
    for _ in 0..50 {
        let mut pair = Pair::new(&config, 1 << 20);
        let end = loop {
            let due = pair.server.session.poll_timeout().expect("a deadline");
            pair.now = due;
            pair.server_next();
            if !pair.server.session.protocol().is_open() {
                break due;
            }
        };
        let start = Pair::new(&Config::new(), 1).now;
        ends.push(end - start);
        assert_eq!(pair.server.session.protocol().sent_close(), Some(CloseCode::SERVICE_RESTART));
        assert!(pair.client_next().is_none(), "it has answered");
        assert!(in_order(&pair.server_next()), "it is no error");
        assert!(in_order(&pair.client_next()));
    }
    ends.sort();
    let slack = Duration::from_secs(10);
    assert!(ends[0] + slack >= lifetime / 2 && ends[49] <= lifetime, "{ends:?}");
    assert!(ends[0] < lifetime * 3 / 4 && ends[49] > lifetime * 3 / 4, "at random: {ends:?}");
}

/// Runs the server until its connection begins to close, at most for an hour; `act` is called each
/// second. Returns the seconds.
fn until_closed(pair: &mut Pair, mut act: impl FnMut(&mut Pair, u64)) -> u64 {
    for second in 0..3600 {
        act(pair, second);
        pair.server_next();
        pair.client_next();
        pair.server_next();
        if !pair.server.session.protocol().is_open() {
            return second;
        }
        pair.pass(Duration::from_secs(1));
    }
    3600
}

#[test]
fn a_connection_without_messages_closes_with_1001() {
    // Pings go on meanwhile: they are no messages.
    let config = Config::new().ping_interval(Duration::from_secs(5));
    let idle = config.clone().idle_timeout(Duration::from_secs(60));
    let pair = || Pair::new(&idle, 1 << 20);
    let mut silent = pair();
    let end = until_closed(&mut silent, |_, _| {});
    assert!((60..=75).contains(&end), "{end}");
    assert_eq!(silent.server.session.protocol().sent_close(), Some(CloseCode::GOING_AWAY));
    let end = until_closed(&mut pair(), |pair, second| {
        if second == 30 {
            pair.client_send("one");
            pair.client_flush();
        }
    });
    assert!((90..=106).contains(&end), "{end}");
    // Either side's messages count.
    for from_server in [false, true] {
        let end = until_closed(&mut pair(), |pair, second| match second % 40 {
            0 if from_server => pair.server_send("tick"),
            0 => pair.client_send("tick"),
            _ => {}
        });
        assert_eq!(end, 3600, "{from_server}");
    }
    // A frame that takes long to arrive is not idleness. The client is not asked: it would ping too.
    let mut slow = Pair::new(&idle.ping_interval(None), 1 << 20);
    slow.up.bytes.extend_from_slice(&[0x82, 0xFE, 0xFF, 0xFF, 0, 0, 0, 0]);
    for _ in 0..1000 {
        slow.up.bytes.extend_from_slice(&[7; 10]);
        assert!(slow.server_next().is_none());
        assert!(slow.server.session.protocol().is_open());
        slow.pass(Duration::from_secs(1));
    }
    assert_eq!(until_closed(&mut Pair::new(&config, 1 << 20), |_, _| {}), 3600, "off by default");
}

/// The beginning of a message of 1 MiB, and so many bytes of it.
fn part(count: usize) -> Vec<u8> {
    let mut part = vec![0x82, 0xFF, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0];
    part.resize(14 + count, 7);
    part
}

#[test]
fn the_connections_that_hold_the_most_wait_first() {
    let budget = MemoryBudget::new(600_000);
    let config = Config::new().memory_budget(budget.clone());
    let (mut large, mut small) = (Pair::new(&config, 1 << 20), Pair::new(&config, 1 << 20));
    small.up.bytes.extend_from_slice(&part(1000));
    large.up.bytes.extend_from_slice(&part(300_000));
    for pair in [&mut small, &mut large] {
        assert!(taken(pair).1.is_none());
        assert!(!pair.server.session.protocol().is_paused());
    }
    let used = budget.used();
    assert!((301_000..=600_000).contains(&used), "{used}");
    // Now it is too much.
    large.up.bytes.extend_from_slice(&[7; 400_000]);
    for _ in 0..10 {
        assert!(taken(&mut large).1.is_none());
        large.pass(STEP);
    }
    assert!(large.server.session.protocol().is_paused() && budget.strikes() == 1);
    assert_eq!(
        large.server.session.protocol().strikes().memory_budget,
        1,
        "however often it looks"
    );
    large.up.bytes.extend_from_slice(&[7; 200_000]);
    assert!(taken(&mut large).1.is_none());
    assert!(large.up.bytes.len() >= 200_000, "it is not read");
    // The other one is not concerned.
    small.up.bytes.extend_from_slice(&[7; 10_000]);
    assert!(taken(&mut small).1.is_none());
    assert!(small.up.bytes.is_empty() && !small.server.session.protocol().is_paused());
    // Others let go: it goes on.
    let mut other = Pair::new(&config, 1 << 20);
    for _ in 0..40 {
        other.server_send(vec![7; 1_000_000]);
    }
    other.down.capacity = 0;
    assert!(other.server_flush().is_none());
    assert!(other.server_next().is_none());
    assert!(budget.used() > 40_000_000, "what is queued counts: {budget:?}");
    drop(other);
    assert!(budget.used() < 2_000_000, "{budget:?}");
}

#[test]
fn what_waits_for_memory_goes_on_when_there_is_some() {
    let budget = MemoryBudget::new(500_000);
    let config = Config::new().memory_budget(budget.clone());
    let (mut one, mut other) = (Pair::new(&config, 1 << 21), Pair::new(&config, 1 << 21));
    for pair in [&mut one, &mut other] {
        pair.up.bytes.extend_from_slice(&part(400_000));
        for _ in 0..10 {
            assert!(taken(pair).1.is_none());
            pair.pass(STEP);
        }
    }
    assert!(other.server.session.protocol().is_paused());
    other.up.bytes.extend_from_slice(&vec![7; (1 << 20) - 400_000]);
    assert!(taken(&mut other).0.is_empty());
    drop(one);
    other.pass(STEP);
    let (given, error) = taken(&mut other);
    assert!(given.is_empty() || given.len() == 1, "{error:?}");
    // It alone holds more than the limit, and still it is only slowed down until 30 s have passed.
    assert!(error.is_none());
}

#[test]
fn a_connection_that_fills_the_memory_for_long_is_told_to_try_again_later() {
    let budget = MemoryBudget::new(500_000);
    let mut pair = Pair::new(&Config::new().memory_budget(budget.clone()), 1 << 21);
    pair.up.bytes.extend_from_slice(&part(700_000));
    let (mut error, mut steps) = (None, 0);
    while error.is_none() && steps < 1000 {
        (_, error) = taken(&mut pair);
        pair.pass(STEP);
        steps += 1;
    }
    assert!(matches!(error, Some(Error::Timeout(Timeout::Memory))), "{error:?}");
    assert!((300..=330).contains(&steps), "{steps} tenths of a second");
    let sent = pair.server.session.protocol().sent_close();
    assert_eq!(sent, Some(CloseCode::TRY_AGAIN_LATER));
    assert_eq!(budget.used(), 0, "though the session is still there");
}
