//! What goes over channels and comes out of scripts.

use bytes::{Buf, Bytes};

use crate::position::{Epoch, Position};

/// Ahead of a publication without history.
const PLAIN: u8 = b'p';
/// Ahead of one with it: then come its offset, epoch and the offset before it, each with a colon.
const PLACED: u8 = b'h';

/// A publication without history as it goes over a channel.
pub(super) fn plain(encoded: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + encoded.len());
    out.push(PLAIN);
    out.extend_from_slice(encoded);
    out
}

/// Reads what came over a channel: where it is in the history, the offset before it, and the publication.
/// `None` if somebody else wrote it.
pub(super) fn read(mut message: Bytes) -> Option<(Option<(Position, u64)>, Bytes)> {
    match message.try_get_u8().ok()? {
        PLAIN => Some((None, message)),
        PLACED => {
            let mut number = || {
                let end = message.iter().take(MAX_DIGITS + 1).position(|byte| *byte == b':')?;
                let number = parse(&message[..end])?;
                message.advance(end + 1);
                Some(number)
            };
            let (offset, epoch, previous) = (number()?, number()?, number()?);
            let position = Position { epoch: Epoch::from_u64(epoch), offset };
            (previous < offset).then_some((Some((position, previous)), message))
        }
        _ => None,
    }
}

/// Digits of the highest number.
const MAX_DIGITS: usize = 20;

/// A number in decimal digits alone.
pub(super) fn parse(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

/// Two numbers with a colon between them.
pub(super) fn pair(text: &[u8]) -> Option<(u64, u64)> {
    let colon = text.iter().position(|byte| *byte == b':')?;
    Some((parse(&text[..colon])?, parse(&text[colon + 1..])?))
}

/// The position that a script returned as offset and epoch.
pub(super) fn position(text: &[u8]) -> Option<Position> {
    let (offset, epoch) = pair(text)?;
    Some(Position { epoch: Epoch::from_u64(epoch), offset })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(read(plain(b"x:1").into()), Some((None, Bytes::from_static(b"x:1"))));
        let position = Position { epoch: Epoch::from_u64(7), offset: 12 };
        let read = read(Bytes::from_static(b"h12:7:11:a:b"));
        assert_eq!(read, Some((Some((position, 11)), Bytes::from_static(b"a:b"))));
        assert_eq!(super::position(b"12:7"), Some(position));
    }

    #[test]
    fn what_somebody_else_wrote_is_nothing() {
        let all: &[&[u8]] = &[
            b"",
            b"hello",
            b"h",
            b"h1",
            b"h1:2",
            b"h1:2:3",
            b"h:2:0:x",
            b"h+1:2:0:x",
            b"h1:2:1:x",
            b"h1:2:5:x",
            b"h1:-2:0:x",
            b"h99999999999999999999999:1:0:x",
            b"{\"a\":1}",
            b"\xff\xff",
        ];
        for message in all {
            assert_eq!(read(Bytes::from_static(message)), None, "{message:?}");
        }
        for text in [&b""[..], b"1", b"1:", b":1", b"1:2:3", b" 1:2"] {
            assert_eq!(pair(text), None, "{text:?}");
        }
    }
}
