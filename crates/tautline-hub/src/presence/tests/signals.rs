//! What nodes tell each other, as bytes; and what anybody else may send.

use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::network::Random;
use crate::presence::digest::{BUCKETS, Digest};
use crate::presence::mark::{Buckets, Mark, key_of};
use crate::presence::signal::{self, Signal, decode};
use crate::presence::{Config, MAX_SIGNAL_LEN, MemberInfo, SignalError, Tracker};
use crate::topic::TopicError;
use crate::{NodeId, Topic};

fn topic(name: &str) -> Topic {
    Topic::new(name).unwrap()
}

fn node() -> NodeId {
    NodeId::from_u64(7)
}

fn marks() -> (Mark, Mark) {
    (Mark::start_of(1), Mark::At(key_of(257), Some(topic("b"))))
}

/// One of each kind.
fn all() -> Vec<Bytes> {
    let mut changes = BytesMut::new();
    signal::put_joined(&mut changes, Some((300, "anna", b"c")), &topic("a"), b"t");
    signal::put_joined(&mut changes, None, &topic("b"), b"");
    let members = changes.clone();
    signal::put_left(&mut changes, u64::MAX, &topic("a.b"));
    signal::put_disconnected(&mut changes, 1);
    let (from, to) = (Mark::start_of(44), Mark::End);
    let mut buckets = Buckets::default();
    buckets.insert(200);
    let mut digests = [0; BUCKETS];
    digests[255] = u64::MAX;
    vec![
        signal::beat(node(), u64::MAX, Digest { count: 128, hash: 1 }, true),
        signal::delta(node(), 4, &changes),
        signal::ask(node(), NodeId::from_u64(8), true, &buckets),
        signal::digests(node(), 0, &digests),
        signal::piece(node(), 127, &from, &to, &members),
        signal::bye(node()),
    ]
}

#[test]
fn what_is_written_is_read() {
    let read: Vec<_> =
        all().iter().map(|signal| format!("{:?}", decode(signal).unwrap())).collect();
    let joined = |topic: &str, data: &str| {
        format!(
            "HeardMember {{ number: 300, user: \"anna\", connection_data: [99], \
             topic: \"{topic}\", topic_data: {data} }}"
        )
    };
    let (first, second) = (joined("a", "[116]"), joined("b", "[]"));
    let id = "0000000000000007";
    assert_eq!(
        read[0],
        format!(
            "({id}, Beat {{ version: {}, digest: Digest {{ count: 128, hash: 1 }}, hello: true }})",
            u64::MAX
        )
    );
    assert_eq!(
        read[1],
        format!(
            "({id}, Delta {{ version: 4, changes: [Joined({first}), Joined({second}), \
             Left {{ number: {}, topic: \"a.b\" }}, Disconnected {{ number: 1 }}] }})",
            u64::MAX
        )
    );
    assert_eq!(
        read[2],
        format!(
            "({id}, Ask {{ owner: 0000000000000008, digests: true, \
             buckets: Buckets([0, 0, 0, 256]) }})"
        )
    );
    assert!(read[3].ends_with("0, 0, 18446744073709551615] })"), "{}", read[3]);
    assert!(read[4].contains("from: At(3170534137668829184, None), to: End"), "{}", read[4]);
    assert!(read[4].ends_with(&format!("members: [{first}, {second}] }})")), "{}", read[4]);
    assert_eq!(read[5], format!("({id}, Bye)"));
}

#[test]
fn what_is_damaged_is_an_error_that_says_why() {
    let error = |bytes: &[u8]| decode(bytes).unwrap_err();
    let head = |kind: u8, rest: &[u8]| [&[1, kind, 0, 0, 0, 0, 0, 0, 0, 7], rest].concat();
    assert_eq!(error(&[2, 1]), SignalError::Version(2));
    assert_eq!(error(&head(9, &[])), SignalError::Kind(9));
    assert_eq!(error(&[0; MAX_SIGNAL_LEN + 1]), SignalError::TooLong(MAX_SIGNAL_LEN + 1));
    assert_eq!(error(&head(6, &[0, 0])), SignalError::Trailing(2));
    assert_eq!(error(&head(2, &[1])), SignalError::Truncated, "no changes");
    assert_eq!(error(&head(2, &[0x80, 0])), SignalError::Number, "not the shortest way");
    assert_eq!(error(&head(2, &[0xFF; 10])), SignalError::Number, "more than 64 bits");
    assert_eq!(error(&head(2, &[1, 4])), SignalError::Tag(4));
    assert_eq!(error(&head(2, &[1, 0])), SignalError::Tag(0), "of which connection?");
    assert_eq!(error(&head(2, &[1, 1, 1, 0x80, 2])), SignalError::UserTooLong(256));
    assert_eq!(error(&head(2, &[1, 1, 1, 0, 0x81, 0x20])), SignalError::DataTooLong(4097));
    assert_eq!(error(&head(2, &[1, 1, 1, 1, 0xFF])), SignalError::Utf8);
    let name = |error| SignalError::Topic(error);
    assert_eq!(error(&head(2, &[1, 2, 1, 0])), name(TopicError::Empty));
    assert_eq!(error(&head(2, &[1, 2, 1, 1, b'*'])), name(TopicError::Character('*')));
    assert_eq!(error(&head(2, &[1, 2, 1, 0x80, 2])), name(TopicError::TooLong(256)));
    for signal in all() {
        for len in 0..signal.len() {
            // A delta may end behind any of its changes, and a piece behind any of its members.
            if let Err(error) = decode(&signal[..len]) {
                assert_eq!(error, SignalError::Truncated, "{len} of {signal:?}");
            } else {
                assert!([2, 5].contains(&signal[1]), "{len} of {signal:?}");
            }
        }
    }
}

#[test]
fn members_of_a_piece_are_in_order_and_between_its_marks() {
    let piece = |members: &[(u64, &str)]| {
        let mut written = BytesMut::new();
        for (number, name) in members {
            let connection = Some((*number, "anna", &b""[..]));
            signal::put_joined(&mut written, connection, &topic(name), b"");
        }
        let (from, to) = marks();
        let signal = signal::piece(node(), 1, &from, &to, &written);
        decode(&signal).map(|_| ()).map_err(|error| error.to_string())
    };
    let order = Err(SignalError::Order.to_string());
    assert_eq!(piece(&[(1, "a"), (1, "b"), (257, "b")]), Ok(()));
    assert_eq!(piece(&[(1, "b"), (1, "a")]), order);
    assert_eq!(piece(&[(1, "a"), (1, "a")]), order, "twice");
    assert_eq!(piece(&[(256, "a")]), order, "before");
    assert_eq!(piece(&[(257, "c")]), order, "behind");
    let (from, to) = marks();
    let signal = signal::piece(node(), 1, &to, &from, &[]);
    assert_eq!(decode(&signal).unwrap_err(), SignalError::Order);
    let decoded = decode(&signal::piece(node(), 1, &from, &to, &[]))
        .map(|(_, signal)| matches!(signal, Signal::Piece { members, .. } if members.is_empty()));
    assert_eq!(decoded, Ok(true));
}

// The channel may be used by others, and by nodes of other versions.
#[test]
fn garbage_is_no_panic_and_does_not_grow() {
    let now = Instant::now();
    let config = Config::new().max_nodes(8).max_bytes(50_000).max_leaving(100);
    let mut tracker = Tracker::new(NodeId::from_u64(8), config, now);
    tracker.join(now, &topic("own"), 1, &MemberInfo::new("anna")).unwrap();
    let (mut random, signals) = (Random(1), all());
    let mut errors = 0;
    for round in 0..200_000_u32 {
        let signal = &signals[random.below(signals.len() as u64) as usize];
        let mut bytes = signal.to_vec();
        for _ in 0..random.below(4) {
            let index = random.below(bytes.len() as u64) as usize;
            match random.below(4) {
                0 => bytes[index] = random.next() as u8,
                1 => bytes[index] ^= 1 << random.below(8),
                2 => bytes.insert(index, random.next() as u8),
                _ => drop(bytes.remove(index)),
            }
        }
        let now = now + Config::DEFAULT_HEARTBEAT / 100 * round;
        errors += u64::from(tracker.handle_signal(now, &bytes).is_err());
        if tracker.deadline().is_some_and(|at| at <= now) {
            tracker.handle_timeout(now);
        }
        while let Some(signal) = tracker.poll_signal() {
            assert!(decode(&signal).is_ok());
        }
        while tracker.poll_event(now).is_some() {}
        let stats = tracker.stats();
        assert!(stats.nodes <= 8 && stats.bytes <= 50_000 && stats.leaving <= 100, "{stats:?}");
    }
    assert_eq!(tracker.stats().malformed_signals, errors);
    assert_eq!(tracker.members(&topic("own")).filter(|m| m.id.node.as_u64() == 8).count(), 1);
}

// Some 40 bytes for each heartbeat of a node, says the documentation.
#[test]
fn a_heartbeat_is_small() {
    let beat = signal::beat(node(), u64::MAX, Digest { count: 1_000_000, hash: 1 }, false);
    assert!(beat.len() <= 40, "{}", beat.len());
}

#[test]
fn the_largest_members_fit() {
    let now = Instant::now();
    let mut tracker = Tracker::new(node(), Config::new(), now);
    for number in 0..100 {
        let (user, data) = ("u".repeat(255), vec![b'd'; 4096]);
        let info = MemberInfo::new(user).connection_data(data.clone()).topic_data(data);
        tracker.join(now, &topic(&"t".repeat(255)), u64::MAX - number, &info).unwrap();
    }
    let all = Buckets([u64::MAX; BUCKETS / 64]);
    let ask = signal::ask(NodeId::from_u64(9), node(), true, &all);
    let (mut now, mut members) = (now, 0);
    tracker.handle_signal(now, &ask).unwrap();
    for _ in 0..10 {
        tracker.handle_timeout(now);
        while let Some(signal) = tracker.poll_signal() {
            assert!(signal.len() <= MAX_SIGNAL_LEN);
            if let (_, Signal::Piece { members: some, .. }) = decode(&signal).unwrap() {
                members += some.len();
            }
        }
        now += Config::DEFAULT_HEARTBEAT;
    }
    assert_eq!(members, 100);
}
