//! The way back from a connection to its stream.

use std::fmt;

use bytes::BytesMut;

use super::WebSocket;

impl<S> WebSocket<S> {
    /// Takes the stream out of the connection, to use it for something else that both ends have
    /// agreed on in messages. No Close is sent. A [`Server`](crate::Server) no longer counts the
    /// connection.
    ///
    /// It succeeds between two messages only, so that neither end loses a byte.
    ///
    /// ```
    /// use tautline::{Role, WebSocket};
    /// use tokio::io::{AsyncReadExt, AsyncWriteExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (near, far) = tokio::io::duplex(1024);
    /// # let mut client = WebSocket::builder(Role::Client).build(near);
    /// # let mut server = WebSocket::builder(Role::Server).build(far);
    /// client.send("raw bytes from here on").await?;
    /// let mut stream = client.into_inner().expect("nothing is under way").stream;
    /// stream.write_all(b"raw").await?;
    ///
    /// assert!(server.next().await.is_some());
    /// let mut parts = server.into_inner().expect("nothing is under way");
    /// // What the peer sent next may have been read together with its message.
    /// let mut bytes = parts.leftover;
    /// while bytes.len() < 3 {
    ///     parts.stream.read_buf(&mut bytes).await?;
    /// }
    /// assert_eq!(&bytes[..], b"raw");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns the connection, unchanged, if it is closing or over (which closes the transport), if
    /// something is queued ([`flush`](Self::flush) first), if messages that were received during a
    /// [`ping`](Self::ping) have not been taken yet, or if a part of a message has been received.
    pub fn into_inner(mut self) -> Result<Parts<S>, Self> {
        match self.connection.take_stream() {
            Some((stream, leftover)) => Ok(Parts { stream, leftover }),
            None => Err(self),
        }
    }
}

/// What [`WebSocket::into_inner`] returns.
#[non_exhaustive]
pub struct Parts<S> {
    /// The transport.
    pub stream: S,
    /// Bytes that were read from the stream but not decoded. They come before what you read from
    /// `stream`.
    pub leftover: BytesMut,
}

/// Without the bytes that were read.
impl<S: fmt::Debug> fmt::Debug for Parts<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let leftover = self.leftover.len();
        f.debug_struct("Parts").field("stream", &self.stream).field("leftover", &leftover).finish()
    }
}
