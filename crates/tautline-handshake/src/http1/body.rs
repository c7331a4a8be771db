//! The body of a response that refuses the handshake, up to a limit.

use std::fmt;

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Response, StatusCode};

use crate::token::members;

/// Where the body of a response ends (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "RFC 9112 has these four, and is final")]
pub enum BodyFraming {
    /// There is no body.
    None,
    /// After this many bytes.
    Length(u64),
    /// After the last chunk (RFC 9112 section 7.1).
    Chunked,
    /// At the end of the connection.
    UntilClose,
}

/// Where the body of the response to a `GET` ends (RFC 9112 section 6.3). A `Content-Length` that
/// contradicts itself or is not a number makes the response unusable; its body is treated as
/// absent.
#[must_use]
pub fn body_framing<T>(response: &Response<T>) -> BodyFraming {
    let status = response.status();
    if status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    {
        return BodyFraming::None;
    }
    let headers = response.headers();
    if headers.contains_key(TRANSFER_ENCODING) {
        let last = members(headers, &TRANSFER_ENCODING).last().unwrap_or_default();
        let chunked = last.eq_ignore_ascii_case(b"chunked");
        return if chunked { BodyFraming::Chunked } else { BodyFraming::UntilClose };
    }
    let mut lengths = members(headers, &CONTENT_LENGTH);
    let Some(first) = lengths.next() else {
        // A `Content-Length` without a number is not the same as no `Content-Length`.
        let named = headers.contains_key(CONTENT_LENGTH);
        return if named { BodyFraming::None } else { BodyFraming::UntilClose };
    };
    if lengths.any(|other| other != first) {
        return BodyFraming::None;
    }
    decimal(first).map_or(BodyFraming::None, BodyFraming::Length)
}

/// Digits only: `u64::from_str` would accept a sign.
fn decimal(digits: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(digits).ok()?;
    let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if valid { digits.parse().ok() } else { None }
}

/// The longest line between chunks: a size in hexadecimal with extensions, or a trailer field.
const MAX_CHUNK_LINE: usize = 256;

/// The most trailer fields after the last chunk; they are skipped.
const MAX_TRAILERS: u8 = 32;

/// Collects the body of a response, up to a limit, from bytes as they arrive.
///
/// ```
/// use bytes::BytesMut;
/// use tautline_handshake::{BodyFraming, BodyReader};
///
/// let mut body = BodyReader::new(BodyFraming::Chunked, 1024);
/// assert!(!body.read(&mut BytesMut::from("3\r\nabc\r\n")));
/// assert!(body.read(&mut BytesMut::from("0\r\n\r\n")));
/// assert_eq!(body.into_bytes(), "abc");
/// ```
pub struct BodyReader {
    state: State,
    limit: usize,
    line: usize,
    collected: BytesMut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Data(u64),
    UntilClose,
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailer(u8),
    Done,
}

impl BodyReader {
    /// Creates a reader for a body that ends as `framing` says. It keeps at most `limit` bytes.
    #[must_use]
    pub fn new(framing: BodyFraming, limit: usize) -> Self {
        let state = match framing {
            BodyFraming::None | BodyFraming::Length(0) => State::Done,
            BodyFraming::Length(length) => State::Data(length),
            BodyFraming::Chunked => State::ChunkSize,
            BodyFraming::UntilClose => State::UntilClose,
        };
        Self { state, limit, line: 0, collected: BytesMut::new() }
    }

    /// Takes what it can from `buf`; unfinished lines of the chunked coding stay in it. Returns
    /// whether no more is needed: the body is complete, the limit is reached, or the coding is
    /// malformed. The caller has to notice the end of the connection.
    pub fn read(&mut self, buf: &mut BytesMut) -> bool {
        while !self.is_done() && self.step(buf) {}
        self.is_done()
    }

    /// Whether no more is needed.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done || self.collected.len() >= self.limit
    }

    /// Returns what was collected: the whole body, or its beginning if the limit was reached or the
    /// rest did not arrive.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.collected.freeze()
    }

    /// Takes one step; `false` when more bytes are needed.
    fn step(&mut self, buf: &mut BytesMut) -> bool {
        match self.state {
            State::Done => return false,
            State::UntilClose => return self.take(u64::MAX, buf) > 0,
            State::Data(left) | State::ChunkData(left) => {
                let chunked = matches!(self.state, State::ChunkData(_));
                let taken = self.take(left, buf);
                self.state = match (left - taken, chunked) {
                    (0, false) => State::Done,
                    (0, true) => State::ChunkEnd,
                    (left, false) => State::Data(left),
                    (left, true) => State::ChunkData(left),
                };
                return taken > 0;
            }
            State::ChunkSize | State::ChunkEnd | State::Trailer(_) => {}
        }
        let Some(line) = self.take_line(buf) else {
            return false;
        };
        self.state = match self.state {
            State::ChunkSize => match chunk_size(&line) {
                None => State::Done,
                Some(0) => State::Trailer(0),
                Some(size) => State::ChunkData(size),
            },
            State::ChunkEnd if line.is_empty() => State::ChunkSize,
            State::Trailer(seen) if !line.is_empty() && seen < MAX_TRAILERS => {
                State::Trailer(seen + 1)
            }
            _ => State::Done,
        };
        true
    }

    /// Moves at most `most` bytes from `buf`, and no more than the limit leaves room for.
    fn take(&mut self, most: u64, buf: &mut BytesMut) -> u64 {
        let room = (self.limit - self.collected.len()).min(buf.len());
        let taken = usize::try_from(most).map_or(room, |most| most.min(room));
        self.collected.extend_from_slice(&buf[..taken]);
        buf.advance(taken);
        taken as u64
    }

    /// The next line without its CR LF; a line over its limit, or with a bare LF, ends the body.
    fn take_line(&mut self, buf: &mut BytesMut) -> Option<Bytes> {
        let new = self.line.min(buf.len());
        let Some(found) = buf[new..].iter().position(|&byte| byte == b'\n') else {
            self.line = buf.len();
            if buf.len() > MAX_CHUNK_LINE {
                self.state = State::Done;
            }
            return None;
        };
        let end = new + found;
        self.line = 0;
        let line = buf.split_to(end + 1).freeze();
        match line.strip_suffix(b"\r\n") {
            Some(content) if end <= MAX_CHUNK_LINE => Some(line.slice_ref(content)),
            _ => {
                self.state = State::Done;
                None
            }
        }
    }
}

/// Omits the collected bytes.
impl fmt::Debug for BodyReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyReader")
            .field("state", &self.state)
            .field("limit", &self.limit)
            .field("collected", &self.collected.len())
            .finish_non_exhaustive()
    }
}

/// The size in a chunk's first line: hexadecimal digits, then optional extensions, which are
/// ignored (RFC 9112 section 7.1.1).
fn chunk_size(line: &[u8]) -> Option<u64> {
    let end = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (digits, rest) = line.split_at(end);
    if !matches!(rest.first(), None | Some(b';' | b' ' | b'\t')) {
        return None;
    }
    let digits = std::str::from_utf8(digits).ok()?;
    u64::from_str_radix(digits, 16).ok()
}
