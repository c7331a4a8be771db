//! The same conversation, cut anywhere.

use tautline_frame::{CloseFrame, Ending, Message, Protocol, Role};

use crate::peer::*;

/// What a peer sends: every kind of frame, all three forms of a length, messages whole and in
/// fragments.
fn script(role: Role) -> Vec<u8> {
    let long = pattern(70_000);
    let list: Vec<(u8, &[u8])> = vec![
        (TEXT, "héllo € 😀".as_bytes()),
        (PING, b"one"),
        (TEXT_PART, "κό".as_bytes()),
        (PONG, b"unasked"),
        (PART, &"σμε".as_bytes()[..3]),
        (PING, b""),
        (PART, b""),
        (LAST_PART, &"σμε".as_bytes()[3..]),
        (BINARY, b""),
        (BINARY, &long[..200]),
        (BINARY_PART, &long[..126]),
        (LAST_PART, &long[..5000]),
        (PING, &long[..125]),
        (BINARY, &long),
        (TEXT, b"last"),
        (CLOSE, b"\x03\xe9going"),
        (TEXT, b"discarded"),
    ];
    frames(role, &list)
}

struct Outcome {
    messages: Vec<Message>,
    replies: Vec<Sent>,
    peer_close: Option<CloseFrame>,
    ending: Option<Ending>,
}

fn outcome(mut end: End) -> Outcome {
    let replies = end.written();
    Outcome {
        replies,
        peer_close: end.protocol.peer_close().cloned(),
        ending: end.protocol.poll_ending(),
        messages: end.delivered,
    }
}

fn expected() -> Vec<Message> {
    let long = pattern(70_000);
    vec![
        Message::from("héllo € 😀"),
        Message::from("κόσμε"),
        Message::from(b""),
        Message::from(&long[..200]),
        Message::from([&long[..126], &long[..5000]].concat()),
        Message::from(&long[..]),
        Message::from("last"),
    ]
}

fn check(outcome: &Outcome, messages: &[Message], how: &str) {
    assert!(outcome.messages == messages, "{how}");
    let replies = [
        Sent(PONG, b"one".to_vec()),
        Sent(PONG, vec![]),
        Sent(PONG, pattern(125)),
        Sent(CLOSE, close_body(1001, "going")),
    ];
    assert_eq!(outcome.replies, replies, "{how}");
    let close = outcome.peer_close.as_ref().map(ToString::to_string);
    assert_eq!(close.as_deref(), Some("1001 going"), "{how}");
    assert_eq!(outcome.ending, Some(Ending::Drain), "{how}");
}

#[test]
fn one_read_or_single_bytes_or_anything_between() {
    for role in ROLES {
        let bytes = script(role);
        let expected = expected();
        for step in [1, 2, 3, 7, 64, 125, 1000, 4096, 65_536, bytes.len()] {
            let mut end = End::new(role);
            for piece in bytes.chunks(step) {
                end.receive_bytes(piece).unwrap();
            }
            check(&outcome(end), &expected, &format!("{role:?} in pieces of {step}"));
        }
    }
}

// Every cut near a border of a frame, and some within the long payload.
#[test]
fn every_point_to_split_at() {
    for role in ROLES {
        let bytes = script(role);
        let expected = expected();
        let near_the_start = 0..800;
        let near_the_end = bytes.len() - 400..=bytes.len();
        let between = (800..bytes.len() - 400).step_by(997);
        for cut in near_the_start.chain(between).chain(near_the_end) {
            let mut end = End::new(role);
            end.receive_bytes(&bytes[..cut]).unwrap();
            let early = end.written();
            end.receive_bytes(&bytes[cut..]).unwrap();
            let mut outcome = outcome(end);
            outcome.replies.splice(0..0, early);
            check(&outcome, &expected, &format!("{role:?} split at {cut}"));
        }
    }
}

// The two roles with each other, both by this crate: what one sends, the other receives.
#[test]
fn a_client_and_a_server_understand_each_other() {
    let mut client = End::new(Role::Client);
    let mut server = End::new(Role::Server);
    let messages: Vec<Message> = (0..50)
        .map(|i| if i % 2 == 0 { "tick ".repeat(i * i).into() } else { pattern(i * 300).into() })
        .collect();
    for message in &messages {
        client.protocol.send(message.clone()).unwrap();
    }
    let id = client.protocol.ping().unwrap();
    let bytes = client.written_bytes();
    assert!(server.receive_bytes(&bytes).unwrap() == messages);
    for message in server.delivered.clone() {
        server.protocol.send(message).unwrap();
    }
    server.protocol.close(CloseFrame::empty(), server.now).unwrap();
    let bytes = server.written_bytes();
    assert!(client.receive_bytes(&bytes).unwrap() == messages);
    assert!(client.protocol.pong(id).is_some());
    let bytes = client.written_bytes();
    assert_eq!(server.receive_bytes(&bytes), Ok(vec![]));
    assert_eq!(server.protocol.poll_ending(), Some(Ending::Shutdown));
    assert_eq!(client.protocol.poll_ending(), Some(Ending::AwaitEof));
}

// An endpoint can be moved from task to task.
#[test]
fn the_protocol_can_be_sent_and_shared_between_threads() {
    fn sent_and_shared<T: Send + Sync + 'static>() {}
    sent_and_shared::<Protocol>();
}

// The derived output contained the current message, both compression windows, and everything
// queued.
#[test]
fn debug_output_shows_nothing_of_what_is_said() {
    let mut end = End::new(Role::Server);
    end.protocol.send(Message::from("a secret to send")).unwrap();
    end.receive(TEXT_PART, b"a secret that came").unwrap();
    let shown = format!("{:?}", end.protocol);
    assert!(!shown.contains("secret") && !shown.contains("115, 101, 99"), "{shown}");
}
