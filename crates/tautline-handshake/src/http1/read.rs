//! From bytes to `http` types.

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use httparse::{EMPTY_HEADER, Header, Status};

use super::scan::{Extent, HeadLimits, Kind, Scanner};
use crate::error::HeadError;

/// Interim responses (1xx other than 101) that are skipped before the final one. Servers send one or two
/// (`100 Continue`, `103 Early Hints`); without a bound they could go on for ever.
const MAX_INTERIM: u8 = 8;

/// Reads the head of a request from bytes as they arrive: strictly by RFC 9112, in time linear in the
/// head whatever the pieces, and refusing as early as the bytes allow.
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
}

impl RequestHeadReader {
    /// A reader at the start of a head.
    #[must_use]
    pub const fn new(limits: HeadLimits) -> Self {
        Self { scanner: Scanner::new(Kind::Request, limits) }
    }

    /// Looks at what was appended to `buf` since the last call. Once the head is complete it is taken out
    /// of `buf`; what follows it stays there. Until then `buf` must only be appended to.
    ///
    /// The version is HTTP/1.1 or HTTP/1.0; the latter is for
    /// [`ServerRequest::check`](crate::ServerRequest::check) or a plain HTTP handler to judge.
    ///
    /// # Errors
    ///
    /// A [`HeadError`]; nothing more can be read from the connection.
    pub fn read(&mut self, buf: &mut BytesMut) -> Result<Option<Request<()>>, HeadError> {
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
        // RFC 3986 has no characters beyond ASCII, and RFC 9112 section 3.2 no fragment here; the parser lets both pass.
        if !target.is_ascii() || target.contains('#') {
            return Err(HeadError::FirstLine);
        }
        let mut request = Request::new(());
        *request.method_mut() =
            Method::from_bytes(method.as_bytes()).map_err(|_| HeadError::FirstLine)?;
        *request.uri_mut() = Uri::from_maybe_shared(head.slice_ref(target.as_bytes()))
            .map_err(|_| HeadError::FirstLine)?;
        *request.version_mut() = http_version(version);
        *request.headers_mut() = header_map(&head, parsed.headers)?;
        Ok(Some(request))
    }
}

/// Reads the head of a response from bytes as they arrive; the counterpart of [`RequestHeadReader`].
/// Interim responses, such as `103 Early Hints`, are skipped, up to a bound
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
}

impl ResponseHeadReader {
    /// A reader at the start of a head.
    #[must_use]
    pub const fn new(limits: HeadLimits) -> Self {
        Self { scanner: Scanner::new(Kind::Response, limits), interim: 0 }
    }

    /// Looks at what was appended to `buf` since the last call. Heads that are complete are taken out of
    /// `buf`; what follows stays there. Until then `buf` must only be appended to.
    ///
    /// # Errors
    ///
    /// A [`HeadError`]; nothing more can be read from the connection.
    pub fn read(&mut self, buf: &mut BytesMut) -> Result<Option<Response<()>>, HeadError> {
        while let Some((head, extent)) = next_head(&mut self.scanner, Kind::Response, buf)? {
            let response = parse_response(&head, extent)?;
            let status = response.status();
            if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Some(response));
            }
            if self.interim == MAX_INTERIM {
                return Err(HeadError::TooManyInterim(MAX_INTERIM));
            }
            self.interim += 1;
        }
        Ok(None)
    }
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

/// The next complete head, taken out of `buf`. It is copied once, so that its header values can share
/// it without keeping the read buffer alive.
fn next_head(
    scanner: &mut Scanner,
    kind: Kind,
    buf: &mut BytesMut,
) -> Result<Option<(Bytes, Extent)>, HeadError> {
    let Some(extent) = scanner.scan(buf)? else {
        return Ok(None);
    };
    *scanner = Scanner::new(kind, scanner.limits());
    let head = Bytes::copy_from_slice(&buf[..extent.len]);
    buf.advance(extent.len);
    Ok(Some((head, extent)))
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

/// Whether the first line has a version (`HTTP/` digit `.` digit, RFC 9112 section 2.3) in its place, and
/// one that is not read here.
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
