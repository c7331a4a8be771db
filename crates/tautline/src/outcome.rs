//! What came of opening handshakes, for those who count.

/// How an opening handshake ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    Opened,
    /// Otherwise than with a WebSocket: by the application, or not at all at a shutdown.
    Answered,
    Invalid,
    /// A proxy that is trusted did not name its client.
    Proxy,
    Timeout,
    Tls,
    Io,
    Internal,
}
