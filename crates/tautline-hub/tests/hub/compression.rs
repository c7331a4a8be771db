//! Publications to members that have agreed on permessage-deflate, and to others.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tautline::{Compression, Role, WebSocket};
use tautline_hub::{Attach, Delivery, Ended, Hub, Outgoing, Outlet, Subscribe};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use crate::support::{Peer, member_with, text, topic};

/// What was written, in pieces: where each is in memory, and how long it is.
type Written = Arc<Mutex<Vec<(usize, usize)>>>;

/// A pipe that notes down what is written to it.
struct Noting {
    stream: DuplexStream,
    written: Written,
}

impl AsyncRead for Noting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Noting {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut total = 0;
        for buf in bufs.iter().filter(|buf| !buf.is_empty()) {
            match Pin::new(&mut self.stream).poll_write(cx, buf) {
                Poll::Ready(Ok(count)) => {
                    let piece = (buf.as_ptr() as usize, count);
                    self.written.lock().unwrap().push(piece);
                    total += count;
                    if count < buf.len() {
                        break;
                    }
                }
                Poll::Pending if total == 0 => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(total))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Has the publications, so that nothing else comes to be where they and their forms are.
struct Keeping(Vec<Delivery>);

impl Outlet for Keeping {
    fn poll_feed(&mut self, what: &Outgoing<'_>, _: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        if let Outgoing::Delivery(delivery) = what {
            self.0.push((*delivery).clone());
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _: &tautline::CloseFrame, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

/// A member, what is written to it, and its peer.
fn noted(hub: &Hub, compression: Option<Compression>) -> (tautline_hub::Member, Written, Peer) {
    let (near, far) = tokio::io::duplex(1 << 20);
    let written = Written::default();
    let near = Noting { stream: near, written: written.clone() };
    let mut builders = (WebSocket::builder(Role::Server), WebSocket::builder(Role::Client));
    if let Some(compression) = compression {
        // What the peer may receive is what the member has agreed on.
        let peer = compression.peer_window_bits(compression.get_own_window_bits());
        builders = (builders.0.compression(compression), builders.1.compression(peer));
    }
    let (mut reader, writer) = builders.0.build(near).split();
    let member = hub.attach(&writer);
    tokio::spawn(async move { while reader.next().await.is_some() {} });
    (member, written, builders.1.build(far))
}

/// Words that are compressed to about a third, and to more than is copied from one buffer to another.
fn words() -> String {
    let mut numbers = crate::xorshift::Xorshift(1);
    (0..20_000).map(|_| format!("{} ", numbers.below(1000))).collect()
}

#[tokio::test]
async fn a_publication_is_compressed_once_for_all_who_have_agreed_on_the_same() {
    let hub = Hub::new();
    let keeping = hub.attach_outlet(Keeping(Vec::new()), Attach::new());
    keeping.subscribe(&topic("a"), Subscribe::new()).await.unwrap();
    let narrow = Compression::new().own_window_bits(9);
    let agreed = [Some(Compression::new()), None, Some(narrow)];
    let mut members = Vec::new();
    for compression in agreed.into_iter().cycle().take(9) {
        let (member, written, peer) = noted(&hub, compression);
        member.subscribe(&topic("a"), Subscribe::new()).await.unwrap();
        members.push((member, written, peer));
    }
    let (plain, mut plains) = member_with(&hub, Attach::new(), 1 << 20);
    plain.subscribe(&topic("a"), Subscribe::new()).await.unwrap();

    let published = words();
    hub.publish(&topic("a"), published.clone()).await.unwrap();
    assert_eq!(text(&mut plains).await, published);
    let mut payloads = Vec::new();
    for (_, written, peer) in &mut members {
        assert_eq!(text(peer).await, published);
        let written = std::mem::take(&mut *written.lock().unwrap());
        let total: usize = written.iter().map(|(_, len)| len).sum();
        // The header is a piece of its own.
        let payload = written.into_iter().max_by_key(|(_, len)| *len).unwrap();
        assert!(total - payload.1 <= 10, "{total} {payload:?}");
        payloads.push(payload);
    }
    let [wide, whole, narrow] = [0, 1, 2].map(|index| payloads[index]);
    assert_eq!(whole.1, published.len());
    assert!(wide.1 < whole.1 / 2 && narrow.1 < whole.1 * 2 / 3, "{payloads:?}");
    // The same bytes, at the same place, for all who have agreed on the same.
    assert!(payloads.chunks(3).all(|some| some == [wide, whole, narrow]), "{payloads:?}");
    assert_ne!(wide.0, narrow.0, "and others for others");
}
