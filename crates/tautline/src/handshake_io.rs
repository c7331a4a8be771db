//! Handshake heads over a stream, for both roles.

use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use tautline_handshake::{
    BodyReader, HeadError, RequestHeadReader, ResponseHeadReader, body_framing, encode_response,
    encode_response_to_head,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

/// Room for a typical request of a browser, without cookies, in one read.
const FIRST_READ: usize = 1 << 10;

/// How much of the body of a refusal is kept: enough for an explanation, not for a download.
const MAX_REFUSAL_BODY: usize = 64 << 10;

/// How long to wait for that body. The status is already known, and must not be lost because the
/// body stalls, or never ends on a connection that the server keeps open.
const REFUSAL_BODY_PATIENCE: Duration = Duration::from_secs(2);

/// How long, and how many bytes, a refused peer may still send before the connection is closed.
/// Closing at once would answer what it is sending with a reset, which could overtake our answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1 << 20;

/// Later than any deadline that matters, but within the range of an `Instant`.
pub(crate) const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The deadline of something that starts now and may take this long.
pub(crate) fn deadline_in(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(NEVER)
}
/// How much of an answer is written at a time, in bytes: one TLS record. A client that reads this
/// much before the deadline makes progress.
const PIECE: usize = 16 << 10;

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

/// Reads the head of a request, of which `buffer` may hold the start; what comes after it stays in
/// `buffer`.
pub(crate) async fn read_request<S: AsyncRead + Unpin>(
    stream: &mut S,
    mut reader: RequestHeadReader,
    buffer: &mut BytesMut,
) -> Result<Request<()>, ReadHeadError> {
    loop {
        let read = reader.read(buffer).map_err(|error| ReadHeadError::Head(error, None))?;
        if let Some(request) = read {
            return Ok(request);
        }
        read_some(stream, buffer).await?;
    }
}

/// Whether the peer begins with HTTP/2's preface (RFC 9113 section 3.4): reads until that is known.
/// What was read stays in `buffer`.
#[cfg(feature = "http2")]
pub(crate) async fn begins_http2<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut BytesMut,
) -> io::Result<bool> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    while buffer.len() < PREFACE.len() && PREFACE.starts_with(buffer) {
        read_some(stream, buffer).await?;
    }
    Ok(buffer.starts_with(PREFACE))
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

/// What a server sends in answer to a request. A client that keeps reading may take any time for
/// the whole, as with messages; one that reads nothing until the deadline is disconnected.
pub(crate) struct Answer<'a, S> {
    stream: &'a mut S,
    /// Turns the end of the stream into a reset, if the stream can do that.
    reset: fn(&S),
    status: StatusCode,
    sent: usize,
    length: usize,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Answer<'a, S> {
    pub(crate) fn new(stream: &'a mut S, reset: fn(&S), status: StatusCode) -> Self {
        Self { stream, reset, status, sent: 0, length: 0 }
    }

    /// Sends the answer that opens the connection.
    pub(crate) async fn switch(mut self, wire: &[u8], patience: Duration) -> io::Result<()> {
        self.write(wire, patience).await
    }

    /// Answers with a response that is not 101, and closes the connection in a way that lets the
    /// answer arrive.
    pub(crate) async fn refuse(
        mut self,
        response: &Response<Bytes>,
        head_only: bool,
        patience: Duration,
    ) -> io::Result<()> {
        let mut wire = BytesMut::new();
        if head_only {
            encode_response_to_head(response, &mut wire);
        } else {
            encode_response(response, &mut wire);
        }
        self.write(&wire, patience).await?;
        in_time(patience, self.stream.shutdown()).await?;
        linger(self.stream).await;
        Ok(())
    }

    /// Writes all of this, and flushes each piece: what TLS buffers would not show as progress.
    async fn write(&mut self, wire: &[u8], patience: Duration) -> io::Result<()> {
        self.length = wire.len();
        while let Some(piece) = wire[self.sent..].chunks(PIECE).next() {
            let count = in_time(patience, self.stream.write(piece)).await?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            in_time(patience, self.stream.flush()).await?;
            self.sent += count;
        }
        Ok(())
    }
}

/// However an answer is cut off, by a deadline, a failure or the end of the server's drain: the
/// client must not take what it received for complete, as it would after an orderly end.
impl<S> Drop for Answer<'_, S> {
    fn drop(&mut self) {
        if self.sent < self.length {
            (self.reset)(self.stream);
            let (status, sent, length) = (self.status.as_u16(), self.sent, self.length);
            tracing::info!(
                status,
                sent,
                length,
                "an answer was cut: its client did not take it in time"
            );
        }
    }
}

async fn in_time<T>(
    patience: Duration,
    step: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    match tokio::time::timeout(patience, step).await {
        Ok(result) => result,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Waits for the peer to close a stream whose end was sent, so that no reset overtakes what came
/// before it. It does not matter whether it does so in time.
pub(crate) async fn linger<S: AsyncRead + Unpin>(stream: &mut S) {
    let _ = tokio::time::timeout(LINGER, discard(stream)).await;
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

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use std::cell::Cell;
    use std::io::ErrorKind;

    use tokio::io::DuplexStream;
    use tokio::time::{Instant, sleep};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);

    thread_local! {
        static RESETS: Cell<u32> = const { Cell::new(0) };
    }

    fn count(_: &DuplexStream) {
        RESETS.set(RESETS.get() + 1);
    }

    /// Answers with a body of 1 MB to a client that reads 4 KB per second, this many times.
    async fn answer_slowly(times: usize) -> (io::Result<()>, usize, u32) {
        RESETS.set(0);
        let (mut near, mut far) = tokio::io::duplex(4000);
        let response = Response::new(vec![b'x'; 1_000_000].into());
        let reading = async {
            let mut taken = 0;
            let mut buffer = [0; 4000];
            for _ in 0..times {
                sleep(Duration::from_secs(1)).await;
                match far.read(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(count) => taken += count,
                }
            }
            (taken, far)
        };
        let answer = Answer::new(&mut near, count, StatusCode::OK);
        let answering = Box::pin(answer.refuse(&response, false, PATIENCE));
        let (result, (taken, _far)) = tokio::join!(answering, reading);
        (result, taken, RESETS.get())
    }

    // An answer of 30 MB to a client that read 1 MB/s was cut at the deadline of the handshake and
    // two seconds.
    #[tokio::test(start_paused = true)]
    async fn an_answer_takes_as_long_as_it_moves() {
        let start = Instant::now();
        let (result, taken, resets) = answer_slowly(usize::MAX).await;
        result.unwrap();
        assert!(taken > 1_000_000, "{taken}");
        assert!(start.elapsed().as_secs() >= 250);
        assert_eq!(resets, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_move_is_cut_with_a_reset() {
        let start = Instant::now();
        let (result, taken, resets) = answer_slowly(3).await;
        assert_eq!(result.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!((taken, resets), (12_000, 1));
        assert_eq!(start.elapsed().as_secs(), 5);
    }
}
