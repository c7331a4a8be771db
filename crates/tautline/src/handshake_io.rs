//! Reads the heads of opening handshakes from a stream, for both roles.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use tautline_handshake::{
    BodyReader, HeadError, RequestHeadReader, ResponseHeadReader, body_framing,
};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

/// Room for a typical request of a browser, without cookies, in one read.
const FIRST_READ: usize = 1 << 10;

/// How much of the body of a refusal is kept: enough for an explanation, not for a download.
const MAX_REFUSAL_BODY: usize = 64 << 10;

/// How long to wait for that body. The status is already known, and must not be lost because the
/// body stalls, or never ends on a connection that the server keeps open.
const REFUSAL_BODY_PATIENCE: Duration = Duration::from_secs(2);

/// Later than any deadline that matters, but within the range of an `Instant`.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The deadline of something that starts now and may take this long.
pub(crate) fn deadline_in(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(NEVER)
}

/// Why a head could not be read.
#[derive(Debug)]
pub(crate) enum ReadHeadError {
    /// With the status of a response, if its first line was valid up to it.
    Head(HeadError, Option<StatusCode>),
    Io(io::Error),
}

impl From<io::Error> for ReadHeadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads the head of a request; what comes after it stays in `buffer`.
pub(crate) async fn read_request<S: AsyncRead + Unpin>(
    stream: &mut S,
    mut reader: RequestHeadReader,
    buffer: &mut BytesMut,
) -> Result<Request<()>, ReadHeadError> {
    loop {
        read_some(stream, buffer).await?;
        let read = reader.read(buffer).map_err(|error| ReadHeadError::Head(error, None))?;
        if let Some(request) = read {
            return Ok(request);
        }
    }
}

/// Reads the head of a response; what comes after it stays in `buffer`.
pub(crate) async fn read_response<S: AsyncRead + Unpin>(
    stream: &mut S,
    mut reader: ResponseHeadReader,
    buffer: &mut BytesMut,
) -> Result<Response<()>, ReadHeadError> {
    loop {
        read_some(stream, buffer).await?;
        match reader.read(buffer) {
            Ok(Some(response)) => return Ok(response),
            Ok(None) => {}
            Err(error) => return Err(ReadHeadError::Head(error, reader.status())),
        }
    }
}

/// Reads the body of a refusal, up to its limit and the deadline.
pub(crate) async fn read_refusal<S: AsyncRead + Unpin>(
    stream: &mut S,
    head: Response<()>,
    buffer: &mut BytesMut,
    deadline: Instant,
) -> Response<Bytes> {
    let mut body = BodyReader::new(body_framing(&head), MAX_REFUSAL_BODY);
    let reading = async {
        while !body.read(buffer) {
            read_some(stream, buffer).await?;
        }
        io::Result::Ok(())
    };
    // The status is what matters: of a body that breaks off, the part that arrived is returned.
    let until = deadline.min(deadline_in(REFUSAL_BODY_PATIENCE));
    let _ = tokio::time::timeout_at(until, reading).await;
    head.map(|()| body.into_bytes())
}

/// Reads at least one byte; the end of the stream is an error here.
async fn read_some<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut BytesMut) -> io::Result<()> {
    if buffer.capacity() - buffer.len() < FIRST_READ / 2 {
        buffer.reserve(FIRST_READ);
    }
    if stream.read_buf(buffer).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}
