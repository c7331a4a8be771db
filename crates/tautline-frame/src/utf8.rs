//! UTF-8 checking of text that arrives in pieces (RFC 6455 section 8.1).

use std::error::Error;
use std::fmt;

/// The value of `Utf8Checker::len` after invalid bytes.
const FAILED: u8 = u8::MAX;

/// Checks that text is UTF-8 while it arrives, in pieces of any length (RFC 6455 sections 5.6
/// and 8.1).
///
/// Invalid text is reported at the first byte after which no continuation could be valid, even
/// within a character, without waiting for the end of the character, the piece or the message.
///
/// ```
/// use tautline_frame::utf8::{InvalidUtf8, Utf8Checker};
///
/// let mut checker = Utf8Checker::default();
/// checker.feed(b"K\xc3")?; // half of a letter
/// checker.feed(b"\xb6ln")?;
/// checker.finish()?;
///
/// // No character begins with these two bytes.
/// assert!(checker.feed(b"\xf4\x90").is_err());
/// # Ok::<(), InvalidUtf8>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8Checker {
    /// The beginning of a character whose other bytes have not arrived yet.
    pending: [u8; 3],
    /// How many bytes of `pending` are in use, or `FAILED`.
    len: u8,
}

impl Utf8Checker {
    /// Takes the next piece of the text.
    ///
    /// The time is linear in the length of the piece, however the text is cut.
    ///
    /// # Errors
    ///
    /// [`InvalidUtf8`] as soon as nothing that follows could make the text valid. From then on
    /// every call fails, until [`finish`](Self::finish) has ended the text.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), InvalidUtf8> {
        let result = self.check(bytes);
        if result.is_err() {
            self.len = FAILED;
        }
        result
    }

    /// Ends the text; the checker is then ready for another.
    ///
    /// # Errors
    ///
    /// [`InvalidUtf8`] if the text ends within a character, or was found to be invalid before.
    pub fn finish(&mut self) -> Result<(), InvalidUtf8> {
        let ended = std::mem::take(self);
        if ended.len == 0 { Ok(()) } else { Err(InvalidUtf8) }
    }

    fn check(&mut self, bytes: &[u8]) -> Result<(), InvalidUtf8> {
        let rest = match self.len {
            0 => bytes,
            FAILED => return Err(InvalidUtf8),
            _ => self.complete(bytes)?,
        };
        let (whole, begun) = rest.split_at(rest.len() - begun_at_end(rest));
        // All the text between the cuts is checked with vector instructions, which succeeds unless
        // it is invalid.
        simdutf8::basic::from_utf8(whole).map_err(|_| InvalidUtf8)?;
        if !begun.is_empty() {
            self.begin(begun)?;
        }
        Ok(())
    }

    /// Completes the pending character and returns what follows it.
    fn complete<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], InvalidUtf8> {
        let have = usize::from(self.len);
        let missing = width(self.pending[0]) - have;
        let (head, rest) = bytes.split_at(missing.min(bytes.len()));
        let mut character = [0; 4];
        character[..have].copy_from_slice(&self.pending[..have]);
        character[have..have + head.len()].copy_from_slice(head);
        let character = &character[..have + head.len()];
        if head.len() == missing {
            std::str::from_utf8(character).map_err(|_| InvalidUtf8)?;
            self.len = 0;
        } else {
            self.begin(character)?;
        }
        Ok(rest)
    }

    /// Keeps the beginning of a character, if some character begins this way.
    fn begin(&mut self, begun: &[u8]) -> Result<(), InvalidUtf8> {
        match std::str::from_utf8(begun) {
            // `error_len` is absent when more bytes could still make it valid.
            Err(error) if error.error_len().is_none() => {
                self.pending[..begun.len()].copy_from_slice(begun);
                self.len = begun.len() as u8;
                Ok(())
            }
            _ => Err(InvalidUtf8),
        }
    }
}

/// The length of the character that begins with `lead`; 0 if no multi-byte character does.
fn width(lead: u8) -> usize {
    match lead {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 0,
    }
}

/// How many bytes at the end of `bytes` belong to an incomplete character. Invalid bytes there may
/// be counted or not.
fn begun_at_end(bytes: &[u8]) -> usize {
    let tail = bytes.iter().rev().take(3).zip(1..);
    for (&byte, len) in tail {
        match byte {
            0x80..=0xbf => {}
            lead if width(lead) > len => return len,
            _ => return 0,
        }
    }
    0
}

/// The text is not UTF-8: the close code is 1007 (RFC 6455 section 8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct InvalidUtf8;

impl fmt::Display for InvalidUtf8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the text is not valid UTF-8")
    }
}

impl Error for InvalidUtf8 {}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Both sides of every border that RFC 3629 section 4 draws between bytes.
    const BORDERS: [u8; 25] = [
        0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1,
        0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff,
    ];

    /// An oracle that knows the beginnings of all characters.
    struct Oracle(HashSet<Vec<u8>>);

    impl Oracle {
        fn new() -> Self {
            let mut beginnings = HashSet::new();
            // Characters in a row of 64 differ in their last byte only, which no beginning has.
            for character in (0x80..=0x10_ffff).step_by(64).filter_map(char::from_u32) {
                let mut buffer = [0; 4];
                let bytes = character.encode_utf8(&mut buffer).as_bytes();
                beginnings.extend((1..bytes.len()).map(|len| bytes[..len].to_vec()));
            }
            // The lead bytes of two-byte characters; those of three bytes and what may come second;
            // those of four bytes and what may come second and third.
            assert_eq!(beginnings.len(), 30 + 16 + 960 + 5 + 256 + 16384);
            Self(beginnings)
        }

        /// Whether some continuation, or none, makes the bytes valid.
        fn may_become_valid(&self, bytes: &[u8]) -> bool {
            let valid = std::str::from_utf8(bytes).map_or_else(|e| e.valid_up_to(), str::len);
            valid == bytes.len() || self.0.contains(&bytes[valid..])
        }

        /// Feeds the pieces and compares each answer with the oracle's for the bytes so far.
        fn check(&self, pieces: &[&[u8]]) {
            let mut checker = Utf8Checker::default();
            let mut so_far = Vec::new();
            for piece in pieces {
                so_far.extend_from_slice(piece);
                let fed = checker.feed(piece).is_ok();
                assert_eq!(fed, self.may_become_valid(&so_far), "{so_far:x?} of {pieces:x?}");
            }
            let finished = checker.finish().is_ok();
            assert_eq!(finished, std::str::from_utf8(&so_far).is_ok(), "end of {pieces:x?}");
            assert_eq!(checker.feed(b"next"), Ok(()), "after {pieces:x?}");
        }

        fn check_whole_and_by_bytes(&self, bytes: &[u8]) {
            self.check(&[bytes]);
            self.check(&bytes.chunks(1).collect::<Vec<_>>());
        }
    }

    #[test]
    fn every_pair_of_bytes_fails_as_soon_as_it_must() {
        let oracle = Oracle::new();
        for first in 0..=255 {
            oracle.check(&[&[first]]);
            for second in 0..=255 {
                oracle.check_whole_and_by_bytes(&[first, second]);
            }
        }
    }

    #[test]
    fn every_border_of_three_and_four_bytes_fails_as_soon_as_it_must() {
        let oracle = Oracle::new();
        for first in BORDERS {
            for second in BORDERS {
                for third in BORDERS {
                    oracle.check_whole_and_by_bytes(&[first, second, third]);
                    if first < 0x80 {
                        continue; // the other three have been seen
                    }
                    for fourth in BORDERS {
                        oracle.check_whole_and_by_bytes(&[first, second, third, fourth]);
                    }
                }
            }
        }
    }

    /// The same in text that is long enough for vectors, cut before, within and after the bytes.
    #[test]
    fn borders_within_long_text_fail_as_soon_as_they_must() {
        let oracle = Oracle::new();
        for around in ["a".repeat(67), "aö漢🦀".repeat(8)] {
            for first in BORDERS.into_iter().filter(|byte| *byte >= 0x80) {
                for second in BORDERS {
                    for third in [0x41, 0x80, 0xbf, 0xc2, 0xff] {
                        let bytes = [around.as_bytes(), &[first, second, third]].concat();
                        let text = [&bytes[..], around.as_bytes()].concat();
                        oracle.check(&[&text]);
                        for cut in around.len()..=bytes.len() {
                            oracle.check(&[&text[..cut], &text[cut..]]);
                        }
                    }
                }
            }
        }
    }

    /// RFC 6455 sections 5.6 and 8.1: a message counts, not the pieces in which it comes.
    #[test]
    fn every_cut_into_three_pieces_gives_the_same_answer() {
        let oracle = Oracle::new();
        let texts: [&[u8]; 13] = [
            b"",
            b"plain",
            "κόσμε".as_bytes(),
            "\u{80}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}".as_bytes(),
            "🦀🦀🦀".as_bytes(),
            b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
            b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited",
            b"ends in \xf0\x9f\xa6",
            b"ends in \xe6\xbc",
            b"ends in \xc3",
            b"cut \xe6\xbcshort",
            b"\xf0\x9f\xa6\xf0\x9f\xa6\x80",
            b"\x80 alone",
        ];
        for text in texts {
            for i in 0..=text.len() {
                for j in i..=text.len() {
                    oracle.check(&[&text[..i], &text[i..j], &text[j..]]);
                }
            }
        }
    }

    /// RFC 6455 section 8.1: the connection fails at once, not at the end of the character.
    #[test]
    fn bytes_that_begin_no_character_fail_at_once() {
        let hopeless: [&[u8]; 9] = [
            b"\x80",         // a continuation of nothing
            b"\xc0",         // overlong
            b"\xc1",         // overlong
            b"\xe0\x80",     // overlong
            b"\xf0\x8f",     // overlong
            b"\xed\xa0",     // a surrogate
            b"\xf4\x90",     // above U+10FFFF
            b"\xf5",         // above U+10FFFF
            b"\xf0\x90\x41", // not a continuation
        ];
        for bytes in hopeless {
            let (last, before) = bytes.split_last().unwrap();
            let mut checker = Utf8Checker::default();
            assert_eq!(checker.feed(before), Ok(()), "{bytes:x?}");
            assert_eq!(checker.feed(&[*last]), Err(InvalidUtf8), "{bytes:x?}");
            assert_eq!(Utf8Checker::default().feed(bytes), Err(InvalidUtf8), "{bytes:x?}");
        }
    }

    #[test]
    fn a_failure_lasts_until_the_text_is_finished() {
        let mut checker = Utf8Checker::default();
        assert_eq!(checker.feed(b"\xff"), Err(InvalidUtf8));
        assert_eq!(checker.feed(b"fine"), Err(InvalidUtf8));
        assert_eq!(checker.feed(b""), Err(InvalidUtf8));
        assert_eq!(checker.finish(), Err(InvalidUtf8));
        assert_eq!(checker.feed(b"fine"), Ok(()));
        assert_eq!(checker.finish(), Ok(()));
    }

    #[test]
    fn a_long_text_in_short_pieces() {
        let text = "aé漢🦀".repeat(100_000);
        for piece in [1, 3, 64, 4096] {
            let mut checker = Utf8Checker::default();
            for bytes in text.as_bytes().chunks(piece) {
                assert_eq!(checker.feed(bytes), Ok(()));
            }
            assert_eq!(checker.finish(), Ok(()));
        }
    }

    #[test]
    fn a_checker_is_small() {
        assert_eq!(size_of::<Utf8Checker>(), 4);
    }
}
