//! Reading the histories of topics out of the one stream that has them all.

use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::session::Kept;
use crate::broker::{BrokerError, History, MAX_PART, Range};
use crate::position::Position;

/// How many messages one request brings.
const PER_REQUEST: usize = 256;
/// And the first one, before it is known how long they are.
const FIRST_REQUEST: usize = 32;
/// How many topics are asked about at the same time.
const AT_ONCE: usize = 64;
/// How much further back each attempt looks for the latest ones.
const STEP: u64 = 8;
/// When the server forgets a consumer that nobody deleted.
const FORGOTTEN: Duration = Duration::from_secs(30);
/// How long a request waits for messages that are no longer there.
const EXPIRES: Duration = Duration::from_millis(500);

/// A message of the stream: its sequence and payload.
type Entry = (u64, Bytes);

/// How much is read: at most so many messages, and none is asked for any more once they have so many bytes.
#[derive(Clone, Copy)]
struct Part {
    limit: usize,
    bytes: usize,
}

/// Where the newest message of a subject is.
async fn newest(kept: &Kept, subject: &str) -> Result<Option<Entry>, BrokerError> {
    match kept.stream.get_last_raw_message_by_subject(subject).await {
        Ok(message) => Ok(Some((message.sequence, message.payload))),
        Err(error) => match error.kind() {
            LastRawMessageErrorKind::NoMessageFound => Ok(None),
            _ => Err(BrokerError::unavailable(error)),
        },
    }
}

/// The newest position of each of these subjects.
pub(super) async fn tops(
    kept: &Kept,
    subjects: Vec<String>,
) -> Result<Vec<Option<Position>>, BrokerError> {
    if subjects.is_empty() {
        return Ok(Vec::new());
    }
    // If the stream was made again meanwhile, the epoch is older than the positions, and the next
    // check sees it.
    let info = kept.stream.get_info().await.map_err(BrokerError::unavailable)?;
    let epoch = kept.note(&info);
    let asked = subjects.into_iter().map(|subject| async move {
        let found = newest(kept, &subject).await?;
        Ok(found.map(|(offset, _)| Position { epoch, offset }))
    });
    stream::iter(asked).buffered(AT_ONCE).try_collect().await
}

/// A part of the history of a subject.
pub(super) async fn read(
    kept: &Kept,
    subject: &str,
    range: Range,
    limit: usize,
) -> Result<History, BrokerError> {
    let newest = newest(kept, subject).await?;
    let (entries, since) = match (range, &newest) {
        (Range::After(since), Some(newest)) if newest.0 > since && limit > 0 => {
            (after(kept, subject, since, newest, limit).await?, since)
        }
        (Range::After(since), _) => (Vec::new(), since),
        (Range::Latest, Some(newest)) => (latest(kept, subject, newest, limit).await?, 0),
        (Range::Latest, None) => (Vec::new(), 0),
    };
    // After reading: what is gone from the stream now may have been gone when it was read.
    let info = kept.stream.get_info().await.map_err(BrokerError::unavailable)?;
    let epoch = kept.note(&info);
    let state = &info.state;
    let read = entries.iter().map(|(sequence, _)| *sequence).max();
    // What goes is what is oldest in the whole stream, so all that came after this sequence is there.
    let is_there = |since: u64| since.saturating_add(1) >= state.first_sequence;
    let (top, complete) = match (newest, range) {
        (Some((last, _)), Range::After(_)) => {
            let top = last.max(read.unwrap_or(0));
            (top, since <= top && is_there(since))
        }
        (Some((last, _)), Range::Latest) => (last, true),
        // Nothing is left of this topic, so nothing came after this that is not gone.
        (None, Range::After(_)) if since <= state.last_sequence && is_there(since) => (since, true),
        (None, range) => (state.last_sequence, range == Range::Latest),
    };
    let top = Position { epoch, offset: top };
    let read_to = crate::broker::read_to(range, &entries);
    Ok(History { publications: crate::broker::decoded(entries), top, complete, read_to })
}

async fn after(
    kept: &Kept,
    subject: &str,
    since: u64,
    newest: &Entry,
    limit: usize,
) -> Result<Vec<Entry>, BrokerError> {
    let mut consumer = consume(kept, subject, since.saturating_add(1)).await?;
    let read = fetch(&mut consumer, Part { limit, bytes: MAX_PART }, newest).await;
    discard(kept, &consumer).await;
    read
}

/// The latest ones, newest first. The stream can only be read forwards, and does not tell where the
/// last so many of a subject begin: looks further back until there are enough.
async fn latest(
    kept: &Kept,
    subject: &str,
    newest: &Entry,
    limit: usize,
) -> Result<Vec<Entry>, BrokerError> {
    if limit <= 1 {
        return Ok(std::iter::once(newest.clone()).take(limit).collect());
    }
    let mut back = limit as u64;
    loop {
        let start = newest.0.saturating_sub(back).max(1);
        let mut consumer = consume(kept, subject, start).await?;
        let found = consumer.cached_info().num_pending;
        if found >= limit as u64 || start == 1 {
            let all = usize::try_from(found).unwrap_or(usize::MAX);
            let read = fetch(&mut consumer, Part { limit: all, bytes: usize::MAX }, newest).await;
            discard(kept, &consumer).await;
            let mut entries = read?;
            entries.reverse();
            entries.truncate(limit);
            return Ok(entries);
        }
        discard(kept, &consumer).await;
        back = back.saturating_mul(STEP);
    }
}

/// A consumer of a subject from this sequence on.
async fn consume(
    kept: &Kept,
    subject: &str,
    start: u64,
) -> Result<Consumer<pull::Config>, BrokerError> {
    let config = pull::Config {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: start },
        filter_subject: subject.to_owned(),
        ack_policy: AckPolicy::None,
        inactive_threshold: FORGOTTEN,
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    };
    kept.stream.create_consumer(config).await.map_err(BrokerError::unavailable)
}

/// Reads a part, or what there is. How long the others may be is first guessed by the newest one.
async fn fetch(
    consumer: &mut Consumer<pull::Config>,
    part: Part,
    newest: &Entry,
) -> Result<Vec<Entry>, BrokerError> {
    let mut entries = Vec::new();
    let (mut bytes, mut longest) = (0, newest.1.len().max(1));
    let mut pending = consumer.cached_info().num_pending;
    while pending > 0 && entries.len() < part.limit && bytes < part.bytes {
        // Just as many as there are: a request without a time that finds some of them gone may wait for ever.
        let there = usize::try_from(pending).unwrap_or(usize::MAX);
        // Of long ones fewer: what was asked for is sent.
        let fits = ((part.bytes - bytes) / longest).max(1);
        let asked = entries.len().clamp(FIRST_REQUEST, PER_REQUEST);
        let most = asked.min(part.limit - entries.len()).min(there).min(fits);
        let batch = consumer.batch().max_messages(most).expires(EXPIRES).messages().await;
        let mut batch = batch.map_err(BrokerError::unavailable)?;
        let before = entries.len();
        while let Some(message) = batch.next().await {
            let message = message.map_err(BrokerError::unavailable)?;
            let info = message.info().map_err(BrokerError::unexpected)?;
            if info.consumer_sequence != entries.len() as u64 + 1 {
                return Err(BrokerError::unavailable("some of what it sent was lost"));
            }
            pending = info.pending;
            bytes += message.payload.len();
            longest = longest.max(message.payload.len());
            entries.push((info.stream_sequence, message.payload.clone()));
        }
        if entries.len() == before {
            // They were removed meanwhile, or the server has not found the time: it knows.
            pending = consumer.info().await.map_err(BrokerError::unavailable)?.num_pending;
        }
    }
    Ok(entries)
}

/// The server would forget it by itself, but later.
async fn discard(kept: &Kept, consumer: &Consumer<pull::Config>) {
    let name = &consumer.cached_info().name;
    if let Err(error) = kept.stream.delete_consumer(name).await {
        tracing::debug!(%error, "a consumer could not be deleted");
    }
}
