//! Where a head ends, and whether it may go on: one look at each byte, however the bytes arrive.

use crate::error::HeadError;
use crate::token::is_tchar;

/// How much of a head is read before it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Most bytes of the whole head, its empty line included.
    pub max_bytes: usize,
    /// Most bytes of the first line, without its CR LF.
    pub max_line_bytes: usize,
    /// Most header lines.
    pub max_headers: usize,
}

impl HeadLimits {
    /// 16 KiB: room for the cookies of one site (browsers stop near 4 KiB each, servers commonly at 8
    /// or 16 KiB in all), and little enough to hold for each of many connections that are not yet
    /// accepted.
    pub const DEFAULT_MAX_BYTES: usize = 16 * 1024;

    /// 8 KiB: RFC 9112 section 3 recommends to support at least 8000 bytes.
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

/// The first line of every response starts so; the version's last digit is the parser's to check.
const STATUS_LINE: &[u8] = b"HTTP/1.";

/// Longest method, by our own measure: the registered ones have at most 17 letters.
const MAX_METHOD: usize = 32;

/// The first byte of a TLS record (RFC 8446 section 5.1): a client starts with a handshake, and a server answers what is not
/// one with an alert.
const TLS_HANDSHAKE: u8 = 0x16;
const TLS_ALERT: u8 = 0x15;

/// What has been seen of a head.
#[derive(Clone, Debug)]
pub(super) struct Scanner {
    kind: Kind,
    limits: HeadLimits,
    /// Bytes looked at.
    at: usize,
    /// Where the current line starts.
    line: usize,
    /// Lines that are complete, the first one included.
    lines: usize,
    /// The method of a request is complete.
    method: bool,
}

/// A complete head: its length with the empty line, and the number of its header lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) len: usize,
    pub(super) headers: usize,
}

impl Scanner {
    pub(super) const fn new(kind: Kind, limits: HeadLimits) -> Self {
        Self { kind, limits, at: 0, line: 0, lines: 0, method: false }
    }

    pub(super) const fn limits(&self) -> HeadLimits {
        self.limits
    }

    /// Looks at what is new in `buf`, which holds the head from its first byte on.
    pub(super) fn scan(&mut self, buf: &[u8]) -> Result<Option<Extent>, HeadError> {
        while let Some(&byte) = buf.get(self.at) {
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
                        return Ok(Some(Extent { len: self.at, headers: self.lines - 1 }));
                    }
                    self.lines += 1;
                    self.line = self.at;
                    continue;
                }
                b' ' | b'\t' if self.at == self.line => return Err(HeadError::LineFolding),
                b'\r' | b'\t' => {}
                0..=0x1f | 0x7f => return Err(HeadError::Control),
                // The lines before this one are the first line and `lines - 1` headers.
                _ if self.at == self.line && self.lines > self.limits.max_headers => {
                    return Err(HeadError::TooManyHeaders(self.limits.max_headers));
                }
                _ => {}
            }
            self.at += 1;
        }
        Ok(None)
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

    /// Refuses early what cannot become a first line, rather than waiting for more of it.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// tungstenite CVE-2023-43669: a head that came in small pieces was read anew for each of them. Here
    /// the place up to which bytes have been looked at only moves forwards, one step for each byte.
    #[test]
    fn each_byte_is_looked_at_once_however_the_bytes_arrive() {
        let head = [&b"GET / HTTP/1.1\r\n"[..], &b"A: b\r\n".repeat(100), b"\r\n"].concat();
        let mut scanner = Scanner::new(Kind::Request, HeadLimits::new());
        for len in 0..head.len() {
            assert_eq!(scanner.scan(&head[..len]), Ok(None));
            assert_eq!(scanner.at, len);
        }
        let extent = Extent { len: head.len(), headers: 100 };
        assert_eq!(scanner.scan(&head), Ok(Some(extent)));
    }

    #[test]
    fn a_limit_below_the_first_lines_is_that_of_the_head() {
        let limits = HeadLimits { max_bytes: 10, ..HeadLimits::new() };
        let mut scanner = Scanner::new(Kind::Request, limits);
        assert_eq!(scanner.scan(b"GET / HTTP"), Ok(None));
        assert_eq!(scanner.scan(b"GET / HTTP/"), Err(HeadError::TooLarge(10)));
    }

    #[test]
    fn a_buffer_that_shrank_is_no_panic() {
        let mut scanner = Scanner::new(Kind::Response, HeadLimits::new());
        assert_eq!(scanner.scan(b"HTTP/1.1 200 OK\r\n"), Ok(None));
        assert_eq!(scanner.scan(b""), Ok(None));
    }
}
