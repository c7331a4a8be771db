//! Members whose peers are in the same test.

use tautline::{Role, WebSocket};
use tautline_hub::{Attach, Filter, Hub, Member, Topic};
use tokio::io::DuplexStream;

pub(crate) type Peer = WebSocket<DuplexStream>;

/// A member, and its peer.
pub(crate) fn member(hub: &Hub) -> (Member, Peer) {
    member_with(hub, Attach::new(), 64 << 10)
}

/// A member, and its peer behind a pipe of this size.
pub(crate) fn member_with(hub: &Hub, attach: Attach, pipe: usize) -> (Member, Peer) {
    let (near, far) = tokio::io::duplex(pipe);
    let (mut reader, writer) = WebSocket::builder(Role::Server).build(near).split();
    let member = hub.attach_with(&writer, attach);
    // Answers what the peer sends, until the end.
    tokio::spawn(async move { while reader.next().await.is_some() {} });
    (member, WebSocket::builder(Role::Client).build(far))
}

pub(crate) fn topic(name: &str) -> Topic {
    Topic::new(name).unwrap()
}

pub(crate) fn filter(name: &str) -> Filter {
    Filter::new(name).unwrap()
}

/// The next message.
pub(crate) async fn text(peer: &mut Peer) -> String {
    peer.next().await.unwrap().unwrap().as_text().unwrap().to_owned()
}

/// So many messages.
pub(crate) async fn texts(peer: &mut Peer, count: usize) -> Vec<String> {
    let mut texts = Vec::with_capacity(count);
    for _ in 0..count {
        texts.push(text(peer).await);
    }
    texts
}
