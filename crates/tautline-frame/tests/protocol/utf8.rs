//! RFC 6455 sections 5.6 and 8.1: text is UTF-8.

use bytes::Bytes;
use tautline_frame::{Message, ProtocolError, Text};

use crate::peer::*;

/// Text with characters of each length, and the borders of what is valid. U+FFFE and U+FFFF are
/// noncharacters, but valid.
const VALID: [&str; 8] = [
    "",
    "plain",
    "κόσμε héllo € 😀 end",
    "\u{7f}\u{80}\u{7ff}\u{800}",
    "\u{d7ff}\u{e000}\u{fffd}",
    "\u{fffe}\u{ffff}",
    "\u{10000}\u{10ffff}",
    "\u{0}in the middle\u{0}",
];

/// Bytes that are not UTF-8, and the number of bytes that show it: one fewer could still become
/// valid.
const INVALID: [(&[u8], usize); 21] = [
    (b"\x80", 1),
    (b"\xbf", 1),
    (b"\xc0\xaf", 1),
    (b"\xc1\xbf", 1),
    (b"\xc2\x41", 2),
    (b"\xc3\xc3", 2),
    (b"\xe0\x80\xaf", 2),
    (b"\xe0\x9f\xbf", 2),
    (b"\xe1\x80\x41", 3),
    (b"\xed\xa0\x80", 2),
    (b"\xed\xbf\xbf", 2),
    (b"\xed\xa0\x80\xed\xb0\x80", 2),
    (b"\xf0\x80\x80\xaf", 2),
    (b"\xf0\x8f\xbf\xbf", 2),
    (b"\xf0\x90\x41\x80", 3),
    (b"\xf1\x80\x80\x41", 4),
    (b"\xf4\x90\x80\x80", 2),
    (b"\xf5\x80\x80\x80", 1),
    (b"\xf8\x88\x80\x80\x80", 1),
    (b"\xfe", 1),
    (b"\xff", 1),
];

#[test]
fn valid_text_is_delivered_whatever_the_cut() {
    for role in ROLES {
        for text in VALID {
            let bytes = text.as_bytes();
            for cut in 0..=bytes.len() {
                let (left, right) = bytes.split_at(cut);
                let mut end = End::new(role);
                let two = end.receive_all(&[(TEXT_PART, left), (PING, b""), (LAST_PART, right)]);
                assert_eq!(two, Ok(vec![Message::from(text)]), "{text:?} in fragments at {cut}");

                let whole = frame(role, TEXT, bytes);
                let mut end = End::new(role);
                end.receive_bytes(&whole[..cut]).unwrap();
                end.receive_bytes(&whole[cut..]).unwrap();
                assert_eq!(end.delivered, [Message::from(text)], "{text:?} in reads at {cut}");
            }
        }
    }
}

// Section 8.1: 1007.
#[test]
fn invalid_text_is_refused_whatever_the_cut() {
    for role in ROLES {
        for (bad, _) in INVALID {
            for (before, after) in [("", ""), ("", "behind"), ("0123456789", ""), ("κόσμε", "€")]
            {
                let bytes = [before.as_bytes(), bad, after.as_bytes()].concat();
                for cut in 0..=bytes.len() {
                    let (left, right) = bytes.split_at(cut);
                    let mut end = End::new(role);
                    let two = end.receive_all(&[(TEXT_PART, left), (LAST_PART, right)]);
                    assert_eq!(two, Err(ProtocolError::Utf8), "{bytes:x?} at {cut}");
                    assert_eq!(end.written(), [close_for(ProtocolError::Utf8, 1007)]);
                    let mut end = End::new(role);
                    assert_eq!(end.receive(TEXT, &bytes), Err(ProtocolError::Utf8));
                }
            }
        }
    }
}

// Section 8.1; Autobahn's cases 6.4. The frame is long, and the rest of it never comes.
#[test]
fn a_wrong_byte_is_refused_as_soon_as_it_is_there() {
    for role in ROLES {
        for (bad, telling) in INVALID {
            let text = [b"some text \xe2\x82\xac", bad].concat();
            let header_len = header(role, TEXT, 60_000).len();
            // The beginning of a long frame: pad, mask, cut.
            let mut payload = text.clone();
            payload.resize(60_000, b' ');
            for first in [TEXT, TEXT_PART] {
                let bytes = frame(role, first, &payload);
                let verdict = header_len + text.len() - bad.len() + telling;
                let mut end = End::new(role);
                for byte in &bytes[..verdict - 1] {
                    assert_eq!(end.receive_bytes(&[*byte]), Ok(vec![]), "{bad:x?}");
                }
                let last = end.receive_bytes(&bytes[verdict - 1..verdict]);
                assert_eq!(last, Err(ProtocolError::Utf8), "{bad:x?}");
                assert_eq!(end.written(), [close_for(ProtocolError::Utf8, 1007)]);
                let mut end = End::new(role);
                assert_eq!(end.receive_bytes(&bytes[..verdict - 1]), Ok(vec![]), "in one read");
                let mut end = End::new(role);
                assert_eq!(end.receive_bytes(&bytes[..verdict]), Err(ProtocolError::Utf8));
            }
        }
    }
}

// The same in a continuation, with the character started in the previous fragment.
#[test]
fn a_wrong_byte_in_a_continuation_is_refused_as_soon_as_it_is_there() {
    for role in ROLES {
        let mut end = End::new(role);
        end.receive(TEXT_PART, b"\xf4").unwrap();
        end.receive(PING, b"\xff not text").unwrap();
        let bytes = frame(role, PART, b"\x90 and a long rest");
        let header_len = header(role, PART, 16).len();
        assert_eq!(end.receive_bytes(&bytes[..header_len]), Ok(vec![]));
        let next = end.receive_bytes(&bytes[header_len..=header_len]);
        assert_eq!(next, Err(ProtocolError::Utf8));
    }
}

// Section 8.1: a character may be split between two fragments, but must be complete at the end of
// the message.
#[test]
fn a_character_cut_off_by_the_end_of_the_message_is_refused() {
    for role in ROLES {
        for begun in [&b"\xc3"[..], b"\xe2\x82", b"\xe2", b"\xf0\x9f\x98", b"\xf0\x9f", b"\xf0"] {
            let mut end = End::new(role);
            assert_eq!(end.receive(TEXT, begun), Err(ProtocolError::Utf8), "{begun:x?}");
            let mut end = End::new(role);
            assert_eq!(end.receive(TEXT_PART, begun), Ok(vec![]), "may go on");
            assert_eq!(end.receive(LAST_PART, b""), Err(ProtocolError::Utf8), "{begun:x?}");
            assert_eq!(end.written(), [close_for(ProtocolError::Utf8, 1007)]);
        }
    }
}

// Section 5.6: only text is text.
#[test]
fn binary_messages_and_the_payloads_of_pings_are_not_checked() {
    for role in ROLES {
        let mut end = End::new(role);
        for (bad, _) in INVALID {
            assert_eq!(end.receive(BINARY, bad), Ok(vec![Message::from(bad)]));
            let two = end.receive_all(&[(BINARY_PART, bad), (LAST_PART, b"")]);
            assert_eq!(two, Ok(vec![Message::from(bad)]));
            assert_eq!(end.receive(PING, bad), Ok(vec![]));
            assert_eq!(end.written(), [Sent(PONG, bad.to_vec())]);
        }
        assert_eq!(end.receive(TEXT, b"and text after it"), Ok(vec!["and text after it".into()]));
    }
}

// sockudo (before 2.0.2) checked everything again for each piece. The work here is linear, or this
// takes minutes.
#[test]
fn a_long_text_in_short_frames_is_checked_piece_by_piece() {
    let text = "κόσμε €😀 ".repeat(1 << 16);
    for role in ROLES {
        let mut end = End::new(role);
        let mut pieces = text.as_bytes().chunks(63).peekable();
        let mut first = TEXT_PART;
        while let Some(piece) = pieces.next() {
            let fin = if pieces.peek().is_none() { 0x80 } else { 0 };
            end.receive(first | fin, piece).unwrap();
            first = PART;
        }
        assert_eq!(end.delivered.len(), 1);
        assert_eq!(end.delivered[0].as_text(), Some(&text[..]));
    }
}

// Section 8.1 applies to sending, too: there is no way to make a text from other bytes. Mattermost
// (CVE-2025-12689) crashed on bytes that a peer had let through.
#[test]
fn text_cannot_be_made_of_what_is_not_utf8() {
    for (bad, _) in INVALID {
        assert!(Text::try_from(Bytes::from_static(bad)).is_err(), "{bad:x?}");
    }
    for text in VALID {
        let made = Text::try_from(Bytes::from_static(text.as_bytes())).unwrap();
        assert_eq!(made.as_str(), text);
    }
}
