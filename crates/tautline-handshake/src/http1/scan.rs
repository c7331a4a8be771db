//! Finds where a head ends, and whether it may go on. Each byte is examined once, however the bytes
//! arrive.

use crate::error::HeadError;
use crate::token::is_tchar;

/// How much of a head is read before it is refused.
///
/// ```
/// use tautline_handshake::HeadLimits;
///
/// let limits = HeadLimits::new().max_headers(40);
/// assert_eq!(limits.get_max_headers(), 40);
/// assert_eq!(limits.get_max_bytes(), HeadLimits::DEFAULT_MAX_BYTES);
/// ```
///
/// A setter has the name of its setting; the getter has the prefix `get_`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HeadLimits {
    max_bytes: usize,
    max_line_bytes: usize,
    max_headers: usize,
}

impl HeadLimits {
    /// 16 KiB: room for the cookies of one site (browsers stop near 4 KiB each, servers commonly at
    /// 8 or 16 KiB in all), and little enough to hold for many connections that are not yet
    /// accepted.
    pub const DEFAULT_MAX_BYTES: usize = 16 * 1024;

    /// 8 KiB: RFC 9112 section 3 recommends supporting at least 8000 bytes.
    pub const DEFAULT_MAX_LINE_BYTES: usize = 8 * 1024;

    /// 100: several times what browsers and proxies send, as in most HTTP servers.
    pub const DEFAULT_MAX_HEADERS: usize = 100;

    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            max_bytes: Self::DEFAULT_MAX_BYTES,
            max_line_bytes: Self::DEFAULT_MAX_LINE_BYTES,
            max_headers: Self::DEFAULT_MAX_HEADERS,
        }
    }

    /// The most bytes in the whole head, including its empty line. Default:
    /// [`DEFAULT_MAX_BYTES`](Self::DEFAULT_MAX_BYTES).
    #[must_use]
    pub const fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// The most bytes of the first line, without its CR LF. Default:
    /// [`DEFAULT_MAX_LINE_BYTES`](Self::DEFAULT_MAX_LINE_BYTES).
    #[must_use]
    pub const fn max_line_bytes(mut self, bytes: usize) -> Self {
        self.max_line_bytes = bytes;
        self
    }

    /// The most header lines. Default: [`DEFAULT_MAX_HEADERS`](Self::DEFAULT_MAX_HEADERS).
    #[must_use]
    pub const fn max_headers(mut self, lines: usize) -> Self {
        self.max_headers = lines;
        self
    }

    /// The most bytes of the whole head: see [`max_bytes`](Self::max_bytes).
    #[must_use]
    pub const fn get_max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// The most bytes of the first line: see [`max_line_bytes`](Self::max_line_bytes).
    #[must_use]
    pub const fn get_max_line_bytes(&self) -> usize {
        self.max_line_bytes
    }

    /// The most header lines: see [`max_headers`](Self::max_headers).
    #[must_use]
    pub const fn get_max_headers(&self) -> usize {
        self.max_headers
    }
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    Response,
}

/// Every response starts with this; the parser checks the last digit of the version.
const STATUS_LINE: &[u8] = b"HTTP/1.";

/// The longest method, by our own choice: the registered ones have at most 17 letters.
const MAX_METHOD: usize = 32;

/// The first byte of a TLS record (RFC 8446 section 5.1): a client starts with a handshake, and a
/// server answers anything else with an alert.
const TLS_HANDSHAKE: u8 = 0x16;
const TLS_ALERT: u8 = 0x15;

/// What has been seen of a head.
#[derive(Clone, Debug)]
pub(super) struct Scanner {
    kind: Kind,
    limits: HeadLimits,
    /// Bytes examined so far.
    at: usize,
    /// Where the current line starts.
    line: usize,
    /// Complete lines, including the first.
    lines: usize,
    /// Whether the method of a request is complete.
    method: bool,
    /// Whether a header of a response is folded over several lines.
    folded: bool,
}

/// A complete head: its length including the empty line, the number of its header lines, and
/// whether some of them only continue the line before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) len: usize,
    pub(super) headers: usize,
    pub(super) folded: bool,
}

impl Scanner {
    pub(super) const fn new(kind: Kind, limits: HeadLimits) -> Self {
        Self { kind, limits, at: 0, line: 0, lines: 0, method: false, folded: false }
    }

    pub(super) const fn limits(&self) -> HeadLimits {
        self.limits
    }

    /// Examines what is new in `buf`, which holds the head from its first byte on.
    pub(super) fn scan(&mut self, buf: &[u8]) -> Result<Option<Extent>, HeadError> {
        loop {
            self.skip_plain(buf);
            let Some(&byte) = buf.get(self.at) else {
                return Ok(None);
            };
            let previous = if self.at > self.line { buf[self.at - 1] } else { 0 };
            self.check_limits(byte)?;
            if previous == b'\r' && byte != b'\n' {
                return Err(HeadError::BareLineBreak);
            }
            if self.lines == 0 {
                self.check_first_line(byte)?;
            }
            match byte {
                b'\n' if previous != b'\r' => return Err(HeadError::BareLineBreak),
                b'\n' => {
                    let empty = self.at == self.line + 1;
                    self.at += 1;
                    if empty {
                        let (len, headers) = (self.at, self.lines - 1);
                        return Ok(Some(Extent { len, headers, folded: self.folded }));
                    }
                    self.lines += 1;
                    self.line = self.at;
                    continue;
                }
                b'\r' => {}
                b' ' | b'\t' if self.at == self.line => self.fold()?,
                b'\t' => {}
                0..=0x1f | 0x7f => return Err(HeadError::Control),
                _ if self.at == self.line => self.check_count()?,
                _ => {}
            }
            self.at += 1;
        }
    }

    /// Skips plain text, most of a head, several bytes at a time. Only bytes that
    /// [`scan`](Self::scan) would accept are skipped, and only within a line: after its first byte,
    /// within the limits, and after what the first line must start with.
    fn skip_plain(&mut self, buf: &[u8]) {
        let limit = if self.lines == 0 { self.limits.max_line_bytes } else { usize::MAX };
        let end = buf.len().min(limit).min(self.limits.max_bytes);
        if self.at == 0 && self.kind == Kind::Response && buf[..end].starts_with(STATUS_LINE) {
            self.at = STATUS_LINE.len();
        }
        let started = match (self.lines, self.kind) {
            (0, Kind::Request) => self.method,
            (0, Kind::Response) => self.at >= STATUS_LINE.len(),
            _ => self.at > self.line,
        };
        if !started || self.at >= end || buf[self.at - 1] == b'\r' {
            return;
        }
        self.at += plain_prefix(&buf[self.at..end]);
    }

    /// A line that starts with whitespace continues the one before it (RFC 9112 section 5.2). A
    /// server refuses that, and both ends do where there is no header to continue (section 2.2).
    fn fold(&mut self) -> Result<(), HeadError> {
        if self.kind == Kind::Request || self.lines < 2 {
            return Err(HeadError::LineFolding);
        }
        self.folded = true;
        self.check_count()
    }

    /// The lines before this one are the first line and `lines - 1` headers.
    fn check_count(&self) -> Result<(), HeadError> {
        if self.lines > self.limits.max_headers {
            return Err(HeadError::TooManyHeaders(self.limits.max_headers));
        }
        Ok(())
    }

    fn check_limits(&self, byte: u8) -> Result<(), HeadError> {
        let first = self.lines == 0;
        if first && self.at >= self.limits.max_line_bytes && !matches!(byte, b'\r' | b'\n') {
            return Err(HeadError::LineTooLong(self.limits.max_line_bytes));
        }
        if self.at >= self.limits.max_bytes {
            return Err(HeadError::TooLarge(self.limits.max_bytes));
        }
        Ok(())
    }

    /// Refuses early what cannot become a first line, instead of waiting for more.
    fn check_first_line(&mut self, byte: u8) -> Result<(), HeadError> {
        match self.kind {
            Kind::Response => match STATUS_LINE.get(self.at) {
                Some(&wanted) if wanted != byte => Err(self.not_http(byte)),
                _ => Ok(()),
            },
            Kind::Request if self.method => Ok(()),
            Kind::Request if is_tchar(byte) && self.at < MAX_METHOD => Ok(()),
            Kind::Request if byte == b' ' && self.at > 0 => {
                self.method = true;
                Ok(())
            }
            Kind::Request => Err(self.not_http(byte)),
        }
    }

    fn not_http(&self, byte: u8) -> HeadError {
        let tls = matches!(byte, TLS_HANDSHAKE | TLS_ALERT);
        if self.at == 0 && tls { HeadError::Tls } else { HeadError::NotHttp }
    }
}

/// How many of the first bytes are not control characters (RFC 5234 appendix B.1: 0x00 to 0x1f, and
/// 0x7f).
fn plain_prefix(bytes: &[u8]) -> usize {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    let (words, rest) = bytes.as_chunks::<8>();
    let mut at = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        // In each of these, the lowest set bit is in the first byte that is below 0x20, or 0x7f;
        // those above it may result from a borrow.
        let below = word.wrapping_sub(EACH * 0x20) & !word;
        let del = word ^ (EACH * 0x7f);
        let del = del.wrapping_sub(EACH) & !del;
        let found = (below | del) & (EACH * 0x80);
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at + rest.iter().take_while(|byte| !byte.is_ascii_control()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// tungstenite CVE-2023-43669: a head that came in small pieces was parsed again for each of
    /// them. Here the position only moves forwards, one step for each byte.
    #[test]
    fn each_byte_is_looked_at_once_however_the_bytes_arrive() {
        let head = [&b"GET / HTTP/1.1\r\n"[..], &b"A: b\r\n".repeat(100), b"\r\n"].concat();
        let mut scanner = Scanner::new(Kind::Request, HeadLimits::new());
        for len in 0..head.len() {
            assert_eq!(scanner.scan(&head[..len]), Ok(None));
            assert_eq!(scanner.at, len);
        }
        let extent = Extent { len: head.len(), headers: 100, folded: false };
        assert_eq!(scanner.scan(&head), Ok(Some(extent)));
    }

    #[test]
    fn a_limit_below_the_first_lines_is_that_of_the_head() {
        let limits = HeadLimits::new().max_bytes(10);
        let mut scanner = Scanner::new(Kind::Request, limits);
        assert_eq!(scanner.scan(b"GET / HTTP"), Ok(None));
        assert_eq!(scanner.scan(b"GET / HTTP/"), Err(HeadError::TooLarge(10)));
    }

    // The same bytes at every position in a word, with others before and after.
    #[test]
    fn text_ends_before_the_first_control() {
        for byte in 0..=u8::MAX {
            for at in 0..20 {
                for around in [b' ', b'a', 0x7e, 0x80, 0xff] {
                    let mut bytes = [around; 20];
                    bytes[at] = byte;
                    let expected = if byte.is_ascii_control() { at } else { 20 };
                    assert_eq!(plain_prefix(&bytes), expected, "{byte:#x} at {at}");
                }
            }
        }
        assert_eq!(plain_prefix(b"\n\x7f"), 0);
        assert_eq!(plain_prefix(b"ab\x7fd\nfgh"), 2);
    }

    // Whatever the bytes and the pieces they come in, skipping several at a time finds the same as
    // examining each one.
    #[test]
    fn pieces_and_positions_make_no_difference() {
        let limits = HeadLimits::new().max_bytes(60).max_line_bytes(24).max_headers(2);
        let good = b"GET /abcdefgh HTTP/1.1\r\nHost: a\r\nCookie: \xe9=\t1; 2=3\r\n\r\n";
        for at in 0..good.len() {
            for byte in [0, b'\t', b'\n', b'\r', b' ', b'x', 0x7f, 0xff] {
                let mut head = good.to_vec();
                head[at] = byte;
                let whole = Scanner::new(Kind::Request, limits).scan(&head);
                let mut scanner = Scanner::new(Kind::Request, limits);
                let single = (0..=head.len())
                    .map(|len| scanner.scan(&head[..len]))
                    .find(|scanned| !matches!(scanned, Ok(None)));
                assert_eq!(single.unwrap_or(Ok(None)), whole, "{byte:#x} at {at}");
            }
        }
    }

    #[test]
    fn a_buffer_that_shrank_is_no_panic() {
        let mut scanner = Scanner::new(Kind::Response, HeadLimits::new());
        assert_eq!(scanner.scan(b"HTTP/1.1 200 OK\r\n"), Ok(None));
        assert_eq!(scanner.scan(b""), Ok(None));
    }
}
