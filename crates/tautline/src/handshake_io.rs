//! Handshake heads over a stream, for both roles.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use tautline_handshake::{
    BodyReader, HandshakeError, HeadError, RequestHeadReader, ResponseHeadReader, body_framing,
    encode_response, encode_response_to_head,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A common request of a browser, cookies aside, in one read.
const FIRST_READ: usize = 1 << 10;

/// How much of the body of a refusal is kept for the user: room for an explanation, not for a download.
const MAX_REFUSAL_BODY: usize = 64 << 10;

/// How long that body is waited for. The status is known already, and must not be lost because a body stalls, or has no
/// end on a connection that the server keeps open.
const REFUSAL_BODY_PATIENCE: Duration = Duration::from_secs(2);

/// How long, and how much, a refused peer may still send before the connection is cut. Closing at once would turn what it
/// was sending into a reset, which could overtake our answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1 << 20;

/// Why a head could not be read.
#[derive(Debug)]
pub(crate) enum ReadHeadError {
    Head(HeadError),
    Io(io::Error),
}

impl From<io::Error> for ReadHeadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<HeadError> for ReadHeadError {
    fn from(error: HeadError) -> Self {
        Self::Head(error)
    }
}

/// Reads a request's head; what came behind it stays in `buffer`.
pub(crate) async fn read_request<S: AsyncRead + Unpin>(
    stream: &mut S,
    mut reader: RequestHeadReader,
    buffer: &mut BytesMut,
) -> Result<Request<()>, ReadHeadError> {
    loop {
        read_some(stream, buffer).await?;
        if let Some(request) = reader.read(buffer)? {
            return Ok(request);
        }
    }
}

/// Reads a response's head; what came behind it stays in `buffer`.
pub(crate) async fn read_response<S: AsyncRead + Unpin>(
    stream: &mut S,
    mut reader: ResponseHeadReader,
    buffer: &mut BytesMut,
) -> Result<Response<()>, ReadHeadError> {
    loop {
        read_some(stream, buffer).await?;
        if let Some(response) = reader.read(buffer)? {
            return Ok(response);
        }
    }
}

/// Reads the body of a refusal, as much as is worth keeping.
pub(crate) async fn read_refusal<S: AsyncRead + Unpin>(
    stream: &mut S,
    head: Response<()>,
    buffer: &mut BytesMut,
) -> Response<Bytes> {
    let mut body = BodyReader::new(body_framing(&head), MAX_REFUSAL_BODY);
    let reading = async {
        while !body.read(buffer) {
            read_some(stream, buffer).await?;
        }
        io::Result::Ok(())
    };
    // The status is what counts: a body that breaks off is given as far as it came.
    let _ = tokio::time::timeout(REFUSAL_BODY_PATIENCE, reading).await;
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

/// Writes a head, and whatever the transport holds back of it.
pub(crate) async fn write<S: AsyncWrite + Unpin>(stream: &mut S, wire: &[u8]) -> io::Result<()> {
    stream.write_all(wire).await?;
    stream.flush().await
}

/// Answers with a response that is not 101, and ends the connection so that the answer arrives.
pub(crate) async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    response: &Response<Bytes>,
    head_only: bool,
) -> io::Result<()> {
    let mut wire = BytesMut::new();
    if head_only {
        encode_response_to_head(response, &mut wire);
    } else {
        encode_response(response, &mut wire);
    }
    write(stream, &wire).await?;
    stream.shutdown().await?;
    // Whether the peer ends in time or not: the answer is out.
    let _ = tokio::time::timeout(LINGER, discard(stream)).await;
    Ok(())
}

async fn discard<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<()> {
    let mut left = LINGER_BYTES;
    let mut scratch = BytesMut::with_capacity(FIRST_READ);
    while left > 0 {
        scratch.clear();
        match stream.read_buf(&mut scratch).await? {
            0 => break,
            count => left = left.saturating_sub(count),
        }
    }
    Ok(())
}

/// What a server answers to bytes that are not a request.
pub(crate) fn head_refusal(error: HeadError) -> Response<Bytes> {
    HandshakeError::Head(error).to_response()
}
