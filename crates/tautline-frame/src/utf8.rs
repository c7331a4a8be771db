//! UTF-8 checking of text that arrives in pieces (RFC 6455 section 8.1).

use std::error::Error;
use std::fmt;

/// The value of `Utf8Checker::len` that says that invalid bytes were seen.
const FAILED: u8 = u8::MAX;

/// Checks that text is UTF-8 while it arrives, in pieces of any length (RFC 6455 sections 5.6
/// and 8.1).
///
/// Invalid text is reported with the first byte after which no continuation could be valid, even
/// within a character; it is not waited for the end of the character, the piece or the message.
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
    /// The beginning of a character whose other bytes are still to come.
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
    /// [`InvalidUtf8`] as soon as nothing that may follow can make the text valid. From then on every
    /// call fails, until [`finish`](Self::finish) has ended the text.
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
        // All the text between the cuts goes through the vectors of the CPU, and succeeds there
        // unless it is invalid.
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

    /// Keeps the beginning of a character, if there is one that begins so.
    fn begin(&mut self, begun: &[u8]) -> Result<(), InvalidUtf8> {
        match std::str::from_utf8(begun) {
            // `error_len` is absent when more bytes could still make it valid.
            Err(error) if error.valid_up_to() == 0 && error.error_len().is_none() => {
                self.pending[..begun.len()].copy_from_slice(begun);
                self.len = begun.len() as u8;
                Ok(())
            }
            _ => Err(InvalidUtf8),
        }
    }
}

/// The length of the character that begins with `lead`; 0 if none does that is longer than one byte.
fn width(lead: u8) -> usize {
    match lead {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 0,
    }
}

/// How many bytes at the end of `bytes` belong to a character that has begun and is not complete.
/// What is invalid there may be counted or not.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidUtf8;

impl fmt::Display for InvalidUtf8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the text is not valid UTF-8")
    }
}

impl Error for InvalidUtf8 {}
