//! Options of the TCP sockets that connections run over.

use std::io;

use tokio::net::{TcpSocket, TcpStream};

/// How many bytes may wait in the system that the peer has no room for yet.
///
/// Without it Linux takes up to 4 MiB, and reports the socket writable again only after a third of
/// that has been taken: a peer that reads 250 kB/s looks as if it took nothing for 5 seconds, and
/// runs into a deadline. With it, progress is seen after at most this much. What the network has
/// room for is not limited by it: throughput stays the same.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT: u32 = 128 * 1024;

/// Sets what every connection wants of its socket.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    // Messages are batched in user space; the system must not hold them back.
    stream.set_nodelay(true)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    limit_unsent(&stream.into());
    Ok(())
}

/// The same, before it connects. Linux reports a socket as writable when its `TCP_NOTSENT_LOWAT` is set:
/// a task that already waits for it would be woken for nothing.
pub(crate) fn prepare_to_connect(socket: &TcpSocket) -> io::Result<()> {
    socket.set_nodelay(true)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    limit_unsent(&socket.into());
    Ok(())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn limit_unsent(socket: &socket2::SockRef<'_>) {
    if let Err(error) = socket.set_tcp_notsent_lowat(UNSENT) {
        // Emulations of Linux may not know it. Deadlines are coarser then, and nothing else
        // changes.
        tracing::debug!(%error, "TCP_NOTSENT_LOWAT cannot be set");
    }
}

/// Turns the end of the connection into a reset.
pub(crate) fn reset_at_end(stream: &TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        tracing::debug!(%error, "a connection cannot be reset");
    }
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    /// A peer that read steadily at 250 kB/s was given up by `close_timeout` and by `send_timeout`,
    /// because the system kept it to itself that bytes were taken, until a third of 4 MiB were.
    #[tokio::test]
    async fn that_a_peer_reads_is_seen_soon() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        prepare(&stream).unwrap();
        // Full is a socket that is not writable again by itself: the peer's system takes a part.
        let again = Duration::from_millis(100);
        while let Ok(writable) = tokio::time::timeout(again, stream.writable()).await {
            writable.unwrap();
            let _ = stream.try_write(&[0; 64 * 1024]);
        }
        let mut read = 0;
        let mut buffer = vec![0; 64 * 1024];
        let reading = async {
            loop {
                read += peer.read(&mut buffer).await.unwrap();
                // So that the other is looked at between reads.
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            writable = stream.writable() => writable.unwrap(),
            () = reading => {}
        }
        assert!(read <= 2 * UNSENT as usize, "{read} bytes were read before");
    }
}
