//! What the broker's subjects are called.

use async_nats::HeaderMap;
use async_nats::header::{NATS_LAST_SEQUENCE, NATS_SEQUENCE};

use crate::topic::{Filter, Topic};

/// The subjects of one prefix. Whatever a topic is called, its subjects begin with the prefix, so that
/// none is one of the server's own, such as those that begin with `$JS`.
#[derive(Clone, Debug)]
pub(super) struct Subjects {
    prefix: Box<str>,
}

impl Subjects {
    /// `None` if the prefix is not 1 to 64 letters, digits, `-`, `_`, and dots between them.
    pub(super) fn new(prefix: &str) -> Option<Self> {
        let possible = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let token = |token: &str| !token.is_empty() && token.chars().all(possible);
        let fits = prefix.len() <= 64 && prefix.split('.').all(token);
        // Where the client's answers go.
        let own = prefix.split('.').next() == Some("_INBOX");
        (fits && !own).then(|| Self { prefix: prefix.into() })
    }

    /// Where a topic's publications arrive.
    pub(super) fn live(&self, topic: &Topic) -> String {
        format!("{}.live.{topic}", self.prefix)
    }

    /// Where all that match arrive.
    pub(super) fn live_of(&self, filter: &Filter) -> String {
        format!("{}.live.{}", self.prefix, filter.as_str())
    }

    /// Where a topic's publications go in, for the stream to keep and to pass on.
    pub(super) fn kept(&self, topic: &Topic) -> String {
        format!("{}.in.{topic}", self.prefix)
    }

    /// What the stream takes, and where it passes it on to.
    pub(super) fn all(&self) -> (String, String) {
        (format!("{}.in.>", self.prefix), format!("{}.live.>", self.prefix))
    }

    /// The topic of a subject where publications arrive.
    pub(super) fn topic(&self, subject: &str) -> Option<Topic> {
        let name = subject.strip_prefix(&*self.prefix)?.strip_prefix(".live.")?;
        Topic::new(name).ok()
    }

    /// What nodes signal.
    pub(super) fn signal(&self) -> String {
        format!("{}.signal", self.prefix)
    }

    /// Nobody is subscribed to this: the server says so at once, and so that it has read all before it.
    pub(super) fn nobody(&self) -> String {
        format!("{}.nobody", self.prefix)
    }

    /// The name of the stream, unless another one is set.
    pub(super) fn stream(&self) -> String {
        self.prefix.replace('.', "_")
    }
}

/// The id by which the stream knows a publication again. Ids are of the stream, so the topic is a part of
/// it; a header has no control characters.
pub(super) fn message_id(topic: &Topic, id: &[u8]) -> String {
    use std::fmt::Write;
    let mut out = format!("{topic} ");
    for byte in id {
        // Writing to a string does not fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// Where a publication is in the stream, and the one of its topic before it; `None` in the middle if
/// the stream did not pass it on; `None` at all if that makes no sense.
pub(super) fn place(headers: Option<&HeaderMap>) -> Option<Option<(u64, u64)>> {
    let Some(headers) = headers else { return Some(None) };
    let number = |name| headers.get(name).map(|value| value.as_str().parse::<u64>());
    match (number(NATS_SEQUENCE), number(NATS_LAST_SEQUENCE)) {
        (None, None) => Some(None),
        (Some(Ok(sequence)), Some(Ok(last))) if last < sequence => Some(Some((sequence, last))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> Topic {
        Topic::new(name).unwrap()
    }

    #[test]
    fn a_prefix_is_tokens_of_plain_characters() {
        for prefix in ["tautline", "app.chat", "A-1_b"] {
            assert!(Subjects::new(prefix).is_some(), "{prefix}");
        }
        for prefix in
            ["", ".", "a.", "a..b", "a.*", ">", "$JS", "a b", "_INBOX", "_INBOX.a", &"x".repeat(65)]
        {
            assert!(Subjects::new(prefix).is_none(), "{prefix}");
        }
    }

    #[test]
    fn no_topic_reaches_a_subject_outside_the_prefix() {
        let subjects = Subjects::new("app.x").unwrap();
        for name in ["$JS.API.STREAM.DELETE.x", "$SYS", "_INBOX.1", "größe.a"] {
            let live = subjects.live(&topic(name));
            assert_eq!(live, format!("app.x.live.{name}"));
            assert_eq!(subjects.topic(&live), Some(topic(name)));
            assert_eq!(subjects.kept(&topic(name)), format!("app.x.in.{name}"));
        }
        for subject in ["app.x.live.", "app.x.live", "app.xx.live.a", "app.x.in.a", "live.a", ""] {
            assert_eq!(subjects.topic(subject), None, "{subject}");
        }
        let pattern = Filter::new("a.*.>").unwrap();
        assert_eq!(subjects.live_of(&pattern), "app.x.live.a.*.>");
        assert_eq!(subjects.stream(), "app_x");
    }

    #[test]
    fn ids_of_two_topics_are_never_the_same_and_fit_in_a_header() {
        assert_eq!(message_id(&topic("a"), b"\r\n"), "a 0d0a");
        assert_ne!(message_id(&topic("a.b"), b"c"), message_id(&topic("a"), b".b c"));
    }

    #[test]
    fn a_place_is_two_numbers_that_grow() {
        let headers = |pairs: &[(&str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, *value);
            }
            place(Some(&headers))
        };
        assert_eq!(place(None), Some(None));
        assert_eq!(headers(&[("Other", "1")]), Some(None));
        assert_eq!(
            headers(&[("Nats-Sequence", "9"), ("Nats-Last-Sequence", "4")]),
            Some(Some((9, 4)))
        );
        assert_eq!(headers(&[("Nats-Sequence", "9")]), None);
        assert_eq!(headers(&[("Nats-Last-Sequence", "9")]), None);
        for (sequence, last) in [("x", "1"), ("1", "x"), ("4", "4"), ("4", "9"), ("-1", "0")] {
            let strange = [("Nats-Sequence", sequence), ("Nats-Last-Sequence", last)];
            assert_eq!(headers(&strange), None, "{strange:?}");
        }
    }
}
