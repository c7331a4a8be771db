//! How a page hears of what is published: with its position, so that it can say after a reconnect what it
//! has; of where a subscription starts, or has a gap; and of who joins and leaves.
#![allow(dead_code, reason = "each example uses a part")]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use tautline::{CloseFrame, Message, Prepared, Writer};
use tautline_hub::presence::Change;
use tautline_hub::{Delivery, Ended, Format, Outgoing, Outlet, Position, Start};
use tokio::io::{AsyncRead, AsyncWrite};

/// The page at the other end of a connection. What is published to it are JSON objects.
pub(crate) struct Page<S>(Writer<S>);

impl<S> Page<S> {
    pub(crate) fn new(writer: &Writer<S>) -> Self {
        Self(writer.clone())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Outlet for Page<S> {
    fn poll_feed(
        &mut self,
        outgoing: &Outgoing<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Ended>> {
        let told;
        let message = match outgoing {
            Outgoing::Delivery(delivery) => delivery.form::<WithPosition>(),
            Outgoing::Message(message) => message,
            other => match tell(other) {
                Some(text) => {
                    told = Prepared::new(text);
                    &told
                }
                None => return Poll::Ready(Ok(())),
            },
        };
        pin!(self.0.feed_prepared(message)).poll(cx).map_err(|_| Ended)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        pin!(self.0.flush()).poll(cx).map_err(|_| Ended)
    }

    fn poll_close(&mut self, frame: &CloseFrame, cx: &mut Context<'_>) -> Poll<()> {
        // A connection that was lost has nobody to be told.
        pin!(self.0.close_with(frame.clone())).poll(cx).map(drop)
    }
}

fn tell(outgoing: &Outgoing<'_>) -> Option<String> {
    let told = match outgoing {
        Outgoing::Started { filter, start, .. } => {
            let recovered = matches!(start, Start::Recovered { .. });
            // What was recovered comes next, and each has its own position.
            let position = start.position().filter(|_| !recovered).map(|at| at.to_string());
            json!({
                "type": "start",
                "topic": filter.as_str(),
                "recovered": recovered,
                "position": position,
            })
        }
        Outgoing::Gap(topic, _) => json!({ "type": "gap", "topic": topic.as_str() }),
        Outgoing::Presence(event) => {
            let what = match event.change {
                Change::Joined => "joined",
                Change::Left => "left",
            };
            json!({ "type": "presence", what: &*event.member.info.user })
        }
        _ => return None,
    };
    Some(told.to_string())
}

/// Made once for each publication, whoever gets it.
struct WithPosition;

impl Format for WithPosition {
    fn encode(delivery: &Delivery) -> Message {
        let message = delivery.publication().message();
        match (message.as_text(), delivery.position()) {
            (Some(text), Some(position)) => with_position(text, position).into(),
            _ => message.clone(),
        }
    }
}

/// The object that this text is, with a member more.
pub(crate) fn with_position(object: &str, position: Position) -> String {
    let members = object.strip_prefix('{').unwrap_or(object);
    format!(r#"{{"position":"{position}",{members}"#)
}

/// Milliseconds since 1970, as in JavaScript.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(u64::MAX)
}
