//! The floor of a broadcast: the frame is made once; each connection writes all that is in its
//! queue at once.

use std::future::poll_fn;
use std::task::Poll;

use kit::{Bytes, Handler, Hub, Outcome, Subscription, Topics, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use wire::Turn;

#[derive(Clone, Default)]
pub(crate) struct Broadcast(Hub<Bytes>);

impl Handler for Broadcast {
    async fn handle<S: Transport>(self, mut stream: S) -> Outcome {
        // Before the answer, so that the client is in the round when it knows of the connection.
        let queue = self.0.subscribe();
        Box::pin(kit::answer_upgrade(&mut stream)).await?;
        pass_on(stream, queue, |frame, _| self.0.publish(frame)).await
    }
}

/// The same by topics: each connection has one queue for all of its own.
#[derive(Clone)]
pub(crate) struct ByTopic(pub(crate) Topics<Bytes>);

impl Handler for ByTopic {
    async fn handle<S: Transport>(self, mut stream: S) -> Outcome {
        let queue = self.0.subscribe();
        Box::pin(kit::answer_upgrade(&mut stream)).await?;
        let publish = |frame: Bytes, header| self.0.publish(kit::topic_of(&frame[header..]), frame);
        pass_on(stream, queue, publish).await
    }
}

/// Writes what comes through the queue, and publishes what is read: a frame, and the length of its header.
async fn pass_on<S: Transport>(
    stream: S,
    mut queue: Subscription<Bytes>,
    publish: impl Fn(Bytes, usize),
) -> Outcome {
    let (mut reader, mut writer) = tokio::io::split(stream);
    tokio::spawn(async move {
        let mut out = Vec::new();
        while collect(&mut queue, &mut out).await {
            if writer.write_all(&out).await.is_err() {
                break;
            }
            out.clear();
        }
    });
    let mut state = Turn::default();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = reader.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        // The messages of this scenario are short, and those of a burst come whole.
        let (mut replies, _) = state.turn(&mut buffer, count);
        while let Some(header) = wire::parse(&buffer[replies.clone()]) {
            let end = replies.start + header.length + usize::try_from(header.payload)?;
            publish(Bytes::copy_from_slice(&buffer[replies.start..end]), header.length);
            replies.start = end;
        }
    }
}

/// Waits for a frame, and takes all that are there.
async fn collect(queue: &mut Subscription<Bytes>, out: &mut Vec<u8>) -> bool {
    poll_fn(|cx| {
        loop {
            match queue.poll_recv(cx) {
                Poll::Ready(Some(frame)) => out.extend_from_slice(&frame),
                Poll::Ready(None) => return Poll::Ready(false),
                Poll::Pending if out.is_empty() => return Poll::Pending,
                Poll::Pending => return Poll::Ready(true),
            }
        }
    })
    .await
}
