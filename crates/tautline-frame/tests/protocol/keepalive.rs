//! Keepalive: a silent peer is pinged, and dropped if it stays silent.

use std::time::Duration;

use tautline_frame::{Config, Message, Timeout};

use crate::peer::*;

const INTERVAL: Duration = secs(100);
const TIMEOUT: Duration = secs(30);

fn end(role: tautline_frame::Role) -> End {
    let config = Config::new().ping_interval(INTERVAL).ping_timeout(TIMEOUT);
    End::with(role, config.message_timeout(None))
}

/// The ping of keepalive, to which any byte is an answer.
fn ping() -> Sent {
    Sent(PING, vec![])
}

/// Time passes until the keepalive ping goes out; it is written at once.
fn until_pinged(end: &mut End) -> Sent {
    for _ in 0..3 {
        end.wait_for_deadline().unwrap();
        let mut sent = end.written();
        if let Some(ping) = sent.pop() {
            assert!(sent.is_empty());
            return ping;
        }
    }
    panic!("no ping after three deadlines");
}

// Connections that began together must not ping together. At first only the deadline was random:
// when it fired, it was postponed to the full interval, and every ping came exactly then.
#[test]
fn the_first_ping_comes_at_a_random_time_in_the_second_half_of_the_interval() {
    for role in ROLES {
        let mut times: Vec<Duration> = (0..200)
            .map(|_| {
                let mut end = end(role);
                let start = end.now;
                assert_eq!(until_pinged(&mut end), ping());
                end.now - start
            })
            .collect();
        times.sort();
        assert!(times[0] >= INTERVAL / 2 && times[199] <= INTERVAL, "{times:?}");
        // 200 values spread over 50 seconds: all in one half of that is as likely as 200 equal
        // tosses of a coin.
        assert!(times[0] < INTERVAL * 3 / 4 && times[199] > INTERVAL * 3 / 4, "{times:?}");
        times.dedup();
        assert!(times.len() > 190, "{} different times", times.len());
    }
}

#[test]
fn an_answered_ping_is_followed_by_another_an_interval_later() {
    for role in ROLES {
        let mut end = end(role);
        for _ in 1..5 {
            assert_eq!(until_pinged(&mut end), ping());
            end.wait(secs(1)).unwrap();
            end.receive(PONG, b"").unwrap();
            let answered = end.now;
            let mut probe = INTERVAL - Duration::from_millis(1);
            while let Some(next) = end.deadline_in().filter(|next| *next <= probe) {
                end.wait(next).unwrap();
                probe = INTERVAL - Duration::from_millis(1) - (end.now - answered);
            }
            assert_eq!(end.written(), [], "not before the interval is over");
        }
    }
}

#[test]
fn a_peer_that_sends_is_not_pinged() {
    for role in ROLES {
        let mut end = end(role);
        for _ in 0..100 {
            end.wait(INTERVAL / 2 - Duration::from_millis(1)).unwrap();
            end.receive(TEXT, b"alive").unwrap();
            assert_eq!(end.written(), []);
        }
        // From then on it is silent for the interval.
        end.wait(INTERVAL - Duration::from_millis(1)).unwrap();
        assert_eq!(end.written(), []);
        end.wait(Duration::from_millis(1)).unwrap();
        assert_eq!(end.written(), [ping()]);
    }
}

// Any byte counts as a sign of life, even one that completes nothing: a long message over a slow
// line has no complete frames yet.
#[test]
fn a_piece_of_a_frame_is_a_sign_of_life() {
    for role in ROLES {
        let mut end = end(role);
        let bytes = frame(role, BINARY, &pattern(100));
        for byte in &bytes[..50] {
            end.wait(INTERVAL / 2 - Duration::from_millis(1)).unwrap();
            end.receive_bytes(&[*byte]).unwrap();
            assert_eq!(end.written(), []);
        }
    }
}

#[test]
fn a_peer_that_stays_silent_is_given_up() {
    for role in ROLES {
        let mut end = end(role);
        assert_eq!(until_pinged(&mut end), ping());
        assert_eq!(end.wait(TIMEOUT - Duration::from_millis(1)), Ok(()));
        assert!(end.protocol.is_open());
        assert_eq!(end.wait(Duration::from_millis(1)), Err(Timeout::Ping));
        assert!(!end.protocol.is_open());
        assert_eq!(end.written(), [Sent(CLOSE, close_body(1011, "ping timeout"))]);
        assert!(end.protocol.send(Message::from("x")).is_err());
        assert_eq!(end.receive(TEXT, b"too late"), Ok(vec![]));
        // Only the end of the transport is awaited, and not forever.
        let left = end.deadline_in().unwrap();
        assert_eq!(left, tautline_frame::Config::DEFAULT_CLOSE_TIMEOUT);
        assert_eq!(end.wait(left), Err(Timeout::Close));
        assert_eq!(end.protocol.poll_timeout(), None);
    }
}

// py websockets (#1005), WebSocket-Node (#229): a ping after a long message was considered overdue
// before it was on the wire.
#[test]
fn the_ping_deadline_counts_from_when_the_ping_was_written() {
    for role in ROLES {
        let config = Config::new().ping_interval(INTERVAL).ping_timeout(TIMEOUT).send_timeout(None);
        let mut end = End::with(role, config);
        end.protocol.send(Message::from(pattern(60_000))).unwrap();
        // The keepalive ping is due, and queued after the message.
        end.wait(INTERVAL).unwrap();
        assert!(end.queued() > 60_000);
        let advance = |end: &mut End, count: usize| {
            bytes::Buf::advance(end.protocol.queue(), count);
            end.protocol.handle_written(end.now);
        };
        // The transport accepts it slowly: all but the last byte of the ping, in ten hours.
        let rest = end.queued() - 1;
        for _ in 0..rest / 1000 {
            advance(&mut end, 1000);
            assert_eq!(end.wait(secs(600)), Ok(()));
        }
        advance(&mut end, rest % 1000);
        assert_eq!(end.wait(TIMEOUT * 2), Ok(()));
        assert_eq!(end.queued(), 1);
        advance(&mut end, 1);
        assert_eq!(end.wait(TIMEOUT - Duration::from_millis(1)), Ok(()));
        assert_eq!(end.wait(Duration::from_millis(1)), Err(Timeout::Ping));
    }
}

// A device that answered pings with an empty pong, and one that did not answer them but sent a
// reading every second, were dropped with `Timeout(Ping)`: only the pong with the right payload
// counted, and any other byte merely delayed its deadline. Any byte is a sign of life, and
// satisfies a ping; the next one is due when the peer has been silent for the interval again.
#[test]
fn whatever_comes_behind_a_ping_answers_it() {
    for role in ROLES {
        let text = frame(role, TEXT, b"reading");
        let answers = [frame(role, PONG, b""), frame(role, PONG, b"wrong"), text[..1].to_vec()];
        for answer in answers {
            let mut end = end(role);
            assert_eq!(until_pinged(&mut end), ping());
            end.wait(TIMEOUT - Duration::from_millis(1)).unwrap();
            end.receive_bytes(&answer).unwrap();
            // Neither the deadline of that ping, nor a further ping before the interval is over.
            end.wait(INTERVAL - Duration::from_millis(1)).unwrap();
            assert_eq!(end.written(), []);
            end.wait(Duration::from_millis(1)).unwrap();
            assert_eq!(end.written(), [ping()]);
            assert!(end.protocol.is_open());
        }
    }
}

// The case of the report: data every 1.1 s, an interval of 1 s, a timeout of 0.7 s.
#[test]
fn a_peer_that_sends_a_little_less_often_than_the_interval_lives_without_a_single_pong() {
    for role in ROLES {
        let config = Config::new().ping_interval(secs(1)).ping_timeout(Duration::from_millis(700));
        let mut end = End::with(role, config);
        for _ in 0..100 {
            end.wait(Duration::from_millis(1100)).unwrap();
            end.receive(TEXT, b"reading").unwrap();
        }
        assert!(!end.written().is_empty(), "it was pinged");
        assert!(end.protocol.is_open());
    }
}

// One byte after the ping is a sign of life, and no more than that: a peer that then falls silent
// is pinged again, and dropped.
#[test]
fn a_peer_that_falls_silent_after_one_byte_behind_the_ping_is_given_up() {
    for role in ROLES {
        let mut end = end(role);
        assert_eq!(until_pinged(&mut end), ping());
        end.wait(secs(10)).unwrap();
        end.receive_bytes(&frame(role, BINARY, &[1])[..1]).unwrap();
        end.wait(INTERVAL).unwrap();
        assert_eq!(end.written(), [ping()]);
        assert_eq!(end.wait(TIMEOUT - Duration::from_millis(1)), Ok(()));
        assert_eq!(end.wait(Duration::from_millis(1)), Err(Timeout::Ping));
        assert_eq!(end.written(), [Sent(CLOSE, close_body(1011, "ping timeout"))]);
    }
}

// A timeout longer than the interval: silence is checked again at each interval, whatever happened
// to an earlier ping.
#[test]
fn a_long_timeout_does_not_put_off_the_next_ping() {
    for role in ROLES {
        let config = Config::new().ping_interval(secs(10)).ping_timeout(secs(60));
        let mut end = End::with(role, config);
        assert_eq!(until_pinged(&mut end), ping());
        end.wait(secs(1)).unwrap();
        end.receive(TEXT, b"alive").unwrap();
        end.wait(secs(10)).unwrap();
        assert_eq!(end.written(), [ping()]);
        assert_eq!(end.wait(secs(59)), Ok(()));
        assert_eq!(end.wait(secs(1)), Err(Timeout::Ping));
    }
}

#[test]
fn without_an_interval_there_is_no_deadline() {
    for role in ROLES {
        let mut end = End::with(role, Config::new().ping_interval(None));
        assert_eq!(end.protocol.poll_timeout(), None);
        assert_eq!(end.wait(secs(1_000_000)), Ok(()));
        assert_eq!(end.written(), []);
    }
}

#[test]
fn a_look_that_comes_early_does_nothing() {
    for role in ROLES {
        let mut end = end(role);
        let deadline = end.protocol.poll_timeout();
        for _ in 0..49 {
            assert_eq!(end.wait(secs(1)), Ok(()));
            assert_eq!(end.protocol.poll_timeout(), deadline);
            assert_eq!(end.written(), []);
        }
    }
}

// The pings stop with the connection.
#[test]
fn a_closing_connection_is_not_pinged() {
    for role in ROLES {
        let config = Config::new().ping_interval(secs(10)).close_timeout(secs(1000));
        let mut closer = End::with(role, config.clone());
        closer.protocol.close(tautline_frame::CloseFrame::empty(), closer.now).unwrap();
        let mut closed = End::with(role, config);
        closed.receive(CLOSE, b"").unwrap();
        for end in [&mut closer, &mut closed] {
            assert_eq!(end.written(), [Sent(CLOSE, vec![])]);
            assert_eq!(end.wait(secs(999)), Ok(()));
            assert_eq!(end.written(), []);
            assert_eq!(end.wait(secs(1)), Err(Timeout::Close));
        }
    }
}

// A ping is pending when a Close arrives: the peer has shown a sign of life, and no longer owes a
// pong.
#[test]
fn a_close_ends_the_wait_for_a_pong() {
    for role in ROLES {
        let config = Config::new().ping_interval(secs(10)).ping_timeout(secs(2));
        let mut end = End::with(role, config.close_timeout(secs(7)));
        let id = end.protocol.ping().unwrap();
        assert_eq!(end.written(), [Sent(PING, id.to_be_bytes().to_vec())]);
        end.receive(CLOSE, b"").unwrap();
        assert_eq!(end.deadline_in(), Some(secs(7)), "that of the closing handshake alone");
        assert_eq!(end.written(), [Sent(CLOSE, vec![])]);
        assert_eq!(end.wait(secs(6)), Ok(()));
        assert_eq!(end.wait(secs(1)), Err(Timeout::Close));
    }
}

// Found on review: a setting of `Duration::MAX`, which people write for "never", overflowed
// `Instant`; an interval of zero left a deadline that was always due at once.
#[test]
fn settings_at_the_ends_of_their_range_are_taken() {
    for role in ROLES {
        let never = Config::new()
            .ping_interval(Duration::MAX)
            .ping_timeout(Duration::MAX)
            .close_timeout(Duration::MAX)
            .send_timeout(Duration::MAX);
        let mut end = End::with(role, never);
        let id = end.protocol.ping().unwrap();
        end.protocol.handle_blocked(end.now);
        assert_eq!(end.written(), [Sent(PING, id.to_be_bytes().to_vec())]);
        end.protocol.close(tautline_frame::CloseFrame::empty(), end.now).unwrap();
        end.protocol.handle_blocked(end.now);
        assert_eq!(end.wait(secs(1_000_000)), Ok(()));

        let at_once = Config::new().ping_interval(Duration::ZERO).ping_timeout(Duration::ZERO);
        let mut end = End::with(role, at_once);
        assert_eq!(end.wait(Duration::from_millis(1)), Ok(()));
        assert_eq!(end.written(), [ping()]);
        assert_eq!(end.wait(Duration::ZERO), Err(Timeout::Ping));
    }
}
