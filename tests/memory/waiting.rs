//! How much memory messages take that wait for a peer that does not read: no more than the limit.

use tautline::{Message, Role, WebSocket, Writer};
use tokio::io::DuplexStream;

use crate::{allocated, alone};

const LIMIT: usize = 64 << 10;
/// More than there is room for, whatever their size.
const MESSAGES: usize = 10_000;

/// A connection that nobody drives.
fn writer() -> Writer<DuplexStream> {
    let (near, _) = tokio::io::duplex(64);
    WebSocket::builder(Role::Server).build(near).split().1
}

/// The bytes that are held when all these messages were sent.
fn held(mut send: impl FnMut(usize)) -> usize {
    let before = allocated();
    (0..MESSAGES).for_each(&mut send);
    allocated().saturating_sub(before)
}

// Messages counted their payload alone, and were otherwise bounded by their number: a limit of
// 64 KiB let 65,536 messages of a byte wait, which took 24 MB. A short payload was held twice, in
// the message and in its frame, and a long one with room for 8 KiB more.
#[test]
fn what_waits_in_a_sender_takes_no_more_than_its_limit() {
    let _turn = alone();
    for size in [0, 1, 100, 1000, 8191, 8192, 20_000] {
        let (sender, _feeding) = writer().dropping_sender(LIMIT);
        let held = held(|_| sender.send(vec![7; size]).unwrap());
        assert!(held <= LIMIT, "{held} bytes held by messages of {size}");
        assert!(held > LIMIT / 2, "{held} bytes are far from the limit");
        let counts = sender.counts();
        assert_eq!(counts.queued_bytes, counts.queued * size);
    }
}

#[test]
fn what_waits_for_each_key_takes_no_more_than_the_limit() {
    let _turn = alone();
    for size in [0, 1, 100, 1000, 8191, 8192, 20_000] {
        let (sender, _feeding) = writer().latest_sender(LIMIT);
        let held_by = held(|key| sender.send(key, Message::text("x".repeat(size))).unwrap());
        assert!(held_by <= LIMIT, "{held_by} bytes held by messages of {size}");
        let (sender, _feeding) = writer().latest_sender(LIMIT);
        let held_by = held(|key| sender.send([key; 50], vec![7; size]).unwrap());
        assert!(held_by <= LIMIT, "{held_by} bytes held by messages of {size}, with long keys");
    }
}
