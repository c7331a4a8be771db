//! From bytes to `http` types.

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use httparse::{EMPTY_HEADER, Header, Status};

use super::scan::{Extent, HeadLimits, Kind, Scanner};
use crate::authority::Authority;
use crate::error::HeadError;
use crate::headers::guarded;
use crate::token::{Lines, lines};

/// Interim responses (1xx other than 101) that are skipped before the final one. Servers send one
/// or two (`100 Continue`, `103 Early Hints`); without a bound they could go on forever.
const MAX_INTERIM: u8 = 8;

/// Reads the head of a request from bytes as they arrive: strictly by RFC 9112, in time linear in
/// the head however it is split, and failing as early as the bytes allow. One empty line before the
/// request is skipped (section 2.2).
///
/// ```
/// use bytes::BytesMut;
/// use tautline_handshake::{HeadLimits, RequestHeadReader};
///
/// let mut reader = RequestHeadReader::new(HeadLimits::default());
/// let mut buffer = BytesMut::from("GET /chat HTTP/1.1\r\nHost: exa");
/// assert!(reader.read(&mut buffer)?.is_none()); // more is needed
/// buffer.extend_from_slice(b"mple.com\r\n\r\n\x81\x80");
/// let request = reader.read(&mut buffer)?.expect("the head is complete");
/// assert_eq!(request.headers()["host"], "example.com");
/// assert_eq!(&buffer[..], b"\x81\x80"); // the first frame stays
/// # Ok::<(), tautline_handshake::HeadError>(())
/// ```
#[derive(Clone, Debug)]
pub struct RequestHeadReader {
    scanner: Scanner,
    /// Whether the optional empty line before the request has been looked for.
    started: bool,
}

impl RequestHeadReader {
    /// A reader at the start of a head.
    #[must_use]
    pub const fn new(limits: HeadLimits) -> Self {
        Self { scanner: Scanner::new(Kind::Request, limits), started: false }
    }

    /// Examines what was appended to `buf` since the last call. Once the head is complete, it is
    /// removed from `buf`; what follows it stays there. Until then `buf` must only be appended to.
    ///
    /// The version is HTTP/1.1 or HTTP/1.0; [`ServerRequest::check`](crate::ServerRequest::check)
    /// or a plain HTTP handler decides about the latter.
    ///
    /// # Errors
    ///
    /// A [`HeadError`]; nothing more can be read from the connection.
    pub fn read(&mut self, buf: &mut BytesMut) -> Result<Option<Request<()>>, HeadError> {
        if !self.started {
            match &buf[..] {
                b"" | b"\r" => return Ok(None),
                [b'\r', b'\n', ..] => buf.advance(2),
                _ => {}
            }
            self.started = true;
        }
        let Some((head, extent)) = next_head(&mut self.scanner, Kind::Request, buf)? else {
            return Ok(None);
        };
        let mut headers = vec![EMPTY_HEADER; extent.headers];
        let mut parsed = httparse::Request::new(&mut headers);
        match parsed.parse(&head) {
            Ok(Status::Complete(_)) => {}
            Ok(Status::Partial) => return Err(HeadError::FirstLine),
            Err(error) => return Err(head_error(error, &head)),
        }
        let (Some(method), Some(target), Some(version)) =
            (parsed.method, parsed.path, parsed.version)
        else {
            return Err(HeadError::FirstLine);
        };
        // RFC 3986 allows neither non-ASCII characters nor a backslash, which some read as a slash,
        // and RFC 9112 section 3.2 allows no fragment here; the parser accepts all of them.
        if !target.is_ascii() || target.contains(['#', '\\']) {
            return Err(HeadError::FirstLine);
        }
        let mut request = Request::new(());
        *request.method_mut() =
            Method::from_bytes(method.as_bytes()).map_err(|_| HeadError::FirstLine)?;
        *request.uri_mut() = Uri::from_maybe_shared(head.slice_ref(target.as_bytes()))
            .map_err(|_| HeadError::FirstLine)?;
        *request.version_mut() = http_version(version);
        *request.headers_mut() = header_map(&head, parsed.headers)?;
        use_host_of_target(&mut request);
        Ok(Some(request))
    }
}

/// Replaces `Host` by the host of a target in absolute form, since `Host` is then to be ignored
/// (RFC 9112 section 3.2.2): the application sees one name for the request. A `Host` that is
/// missing, malformed or duplicated is left in place, to be refused.
fn use_host_of_target(request: &mut Request<()>) {
    let one = match lines(request.headers(), &HOST) {
        Lines::One(value) => value.to_str().is_ok_and(|value| Authority::is_valid(value.trim())),
        Lines::None | Lines::Several => false,
    };
    let named = request.uri().authority().filter(|_| request.uri().scheme().is_some());
    let named = named.filter(|named| one && Authority::is_valid(named.as_str()));
    if let Some(Ok(value)) = named.map(|named| HeaderValue::from_str(named.as_str())) {
        request.headers_mut().insert(HOST, value);
    }
}

/// Reads the head of a response from bytes as they arrive; the counterpart of
/// [`RequestHeadReader`]. Interim responses, such as `103 Early Hints`, are skipped, up to a bound
/// (RFC 9110 section 15.2); `101 Switching Protocols` is final.
///
/// ```
/// use bytes::BytesMut;
/// use tautline_handshake::{HeadLimits, ResponseHeadReader};
///
/// let mut reader = ResponseHeadReader::new(HeadLimits::default());
/// let mut buffer = BytesMut::from("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno");
/// let response = reader.read(&mut buffer)?.expect("the head is complete");
/// assert_eq!(response.status(), 404);
/// assert_eq!(&buffer[..], b"no");
/// # Ok::<(), tautline_handshake::HeadError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ResponseHeadReader {
    scanner: Scanner,
    interim: u8,
    /// The status of a head that cannot be read.
    status: Option<StatusCode>,
}

impl ResponseHeadReader {
    /// A reader at the start of a head.
    #[must_use]
    pub const fn new(limits: HeadLimits) -> Self {
        Self { scanner: Scanner::new(Kind::Response, limits), interim: 0, status: None }
    }

    /// Examines what was appended to `buf` since the last call. Complete heads are removed from
    /// `buf`; what follows stays there. Until then `buf` must only be appended to.
    ///
    /// # Errors
    ///
    /// A [`HeadError`]; nothing more can be read from the connection. The status from the first
    /// line is still known: see [`status`](Self::status).
    pub fn read(&mut self, buf: &mut BytesMut) -> Result<Option<Response<()>>, HeadError> {
        loop {
            let head = match next_head(&mut self.scanner, Kind::Response, buf) {
                Ok(Some(head)) => head,
                Ok(None) => return Ok(None),
                Err(error) => {
                    self.status = status_of(buf);
                    return Err(error);
                }
            };
            let response = parse_response(&head.0, head.1).inspect_err(|_| {
                self.status = status_of(&head.0);
            })?;
            let status = response.status();
            if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Some(response));
            }
            if self.interim == MAX_INTERIM {
                return Err(HeadError::TooManyInterim(MAX_INTERIM));
            }
            self.interim += 1;
        }
    }

    /// The status of a response whose head could not be read, if its first line was valid up to
    /// there: a refusal remains a refusal. `None` until [`read`](Self::read) has returned an error.
    ///
    /// ```
    /// use bytes::BytesMut;
    /// use tautline_handshake::{HeadLimits, ResponseHeadReader};
    ///
    /// let mut reader = ResponseHeadReader::new(HeadLimits::default());
    /// let mut buffer = BytesMut::from("HTTP/1.1 401 Unauthorized\r\nno header\r\n\r\n");
    /// assert!(reader.read(&mut buffer).is_err());
    /// assert_eq!(reader.status().map(|status| status.as_u16()), Some(401));
    /// ```
    #[must_use]
    pub const fn status(&self) -> Option<StatusCode> {
        self.status
    }
}

/// The status in a status line (RFC 9112 section 4), whatever comes after it.
fn status_of(head: &[u8]) -> Option<StatusCode> {
    let line = head.strip_prefix(b"HTTP/1.1 ").or_else(|| head.strip_prefix(b"HTTP/1.0 "))?;
    let (code, rest) = line.split_at_checked(3)?;
    let ends = matches!(rest.first(), Some(b' ' | b'\r'));
    StatusCode::from_bytes(code).ok().filter(|_| ends)
}

fn parse_response(head: &Bytes, extent: Extent) -> Result<Response<()>, HeadError> {
    let mut headers = vec![EMPTY_HEADER; extent.headers];
    let mut parsed = httparse::Response::new(&mut headers);
    match parsed.parse(head) {
        Ok(Status::Complete(_)) => {}
        Ok(Status::Partial) => return Err(HeadError::FirstLine),
        Err(error) => return Err(head_error(error, head)),
    }
    let (Some(code), Some(version)) = (parsed.code, parsed.version) else {
        return Err(HeadError::FirstLine);
    };
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(code).map_err(|_| HeadError::FirstLine)?;
    *response.version_mut() = http_version(version);
    *response.headers_mut() = header_map(head, parsed.headers)?;
    Ok(response)
}

/// The next complete head, removed from `buf`. It is copied once, so that its header values can
/// share it without keeping the read buffer alive.
fn next_head(
    scanner: &mut Scanner,
    kind: Kind,
    buf: &mut BytesMut,
) -> Result<Option<(Bytes, Extent)>, HeadError> {
    let Some(extent) = scanner.scan(buf)? else {
        return Ok(None);
    };
    *scanner = Scanner::new(kind, scanner.limits());
    let head = if extent.folded {
        let mut head = buf[..extent.len].to_vec();
        unfold(&mut head);
        head.into()
    } else {
        Bytes::copy_from_slice(&buf[..extent.len])
    };
    buf.advance(extent.len);
    Ok(Some((head, extent)))
}

/// Replaces each line fold, including the whitespace around it, by spaces (RFC 9112 section 5.2:
/// `OWS CRLF RWS`).
fn unfold(head: &mut [u8]) {
    let is_white = |byte: &u8| matches!(byte, b' ' | b'\t');
    let mut at = 0;
    while let Some(found) =
        head[at..].windows(3).position(|three| three.starts_with(b"\r\n") && is_white(&three[2]))
    {
        let fold = at + found;
        let before = head[..fold].iter().rev().take_while(|byte| is_white(byte)).count();
        let behind = head[fold + 2..].iter().take_while(|byte| is_white(byte)).count();
        head[fold - before..fold + 2 + behind].fill(b' ');
        at = fold + 2 + behind;
    }
}

fn header_map(head: &Bytes, parsed: &[Header<'_>]) -> Result<HeaderMap, HeadError> {
    let mut headers = HeaderMap::try_with_capacity(parsed.len()).map_err(|_| HeadError::Header)?;
    for header in parsed {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| HeadError::Header)?;
        let value = if header.value.is_empty() {
            HeaderValue::from_static("")
        } else {
            HeaderValue::from_maybe_shared(head.slice_ref(header.value))
                .map_err(|_| HeadError::Header)?
        };
        let value = guarded(&name, value);
        headers.try_append(name, value).map_err(|_| HeadError::Header)?;
    }
    Ok(headers)
}

const fn http_version(minor: u8) -> Version {
    if minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 }
}

fn head_error(error: httparse::Error, head: &[u8]) -> HeadError {
    match error {
        httparse::Error::HeaderName | httparse::Error::HeaderValue => HeadError::Header,
        httparse::Error::Version if names_another_version(head) => HeadError::Version,
        _ => HeadError::FirstLine,
    }
}

/// Whether the first line has a version (`HTTP/` digit `.` digit, RFC 9112 section 2.3) in its
/// place, but one that is not supported.
fn names_another_version(head: &[u8]) -> bool {
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let last = line.rsplit(|&byte| byte == b' ').next().unwrap_or_default();
    let first = line.split(|&byte| byte == b' ').next().unwrap_or_default();
    let version = if first.starts_with(b"HTTP/") { first } else { last };
    match version {
        b"HTTP/1.0" | b"HTTP/1.1" => false,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] => {
            major.is_ascii_digit() && minor.is_ascii_digit()
        }
        _ => false,
    }
}
