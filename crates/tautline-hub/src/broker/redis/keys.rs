//! What the broker's keys and channels are called.

use std::fmt::Write;

use crate::topic::{ANY, Pattern, REST, Topic};

/// The names of one prefix.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: Box<str>,
}

/// A key may have what a topic has, but for the braces: they mark what keys of one topic share, so that a
/// cluster has them in one place, and end the topic's name in a key.
fn escaped(topic: &Topic) -> String {
    let mut out = String::with_capacity(topic.as_str().len());
    for c in topic.as_str().chars() {
        match c {
            '{' => out.push_str("%7B"),
            '}' => out.push_str("%7D"),
            '%' => out.push_str("%25"),
            _ => out.push(c),
        }
    }
    out
}

impl Keys {
    /// `None` if the prefix is not 1 to 64 letters, digits, `-`, `_`, `:` and `.`.
    pub(super) fn new(prefix: &str) -> Option<Self> {
        let possible = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':' | '.');
        let fits = (1..=64).contains(&prefix.len()) && prefix.chars().all(possible);
        fits.then(|| Self { prefix: prefix.into() })
    }

    /// The hash of what is known of a topic.
    pub(super) fn meta(&self, topic: &Topic) -> String {
        format!("{}:meta:{{{}}}", self.prefix, escaped(topic))
    }

    /// The stream of its history.
    pub(super) fn log(&self, topic: &Topic) -> String {
        format!("{}:log:{{{}}}", self.prefix, escaped(topic))
    }

    /// Where a publication with this id was put.
    pub(super) fn id(&self, topic: &Topic, id: &[u8]) -> Vec<u8> {
        let mut key = format!("{}:id:{{{}}}:", self.prefix, escaped(topic)).into_bytes();
        key.extend_from_slice(id);
        key
    }

    /// The channel of a topic.
    pub(super) fn channel(&self, topic: &Topic) -> String {
        format!("{}:live:{topic}", self.prefix)
    }

    /// The topic that this is the channel of.
    pub(super) fn topic(&self, channel: &[u8]) -> Option<Topic> {
        let name = channel.strip_prefix(self.prefix.as_bytes())?.strip_prefix(b":live:")?;
        Topic::new(str::from_utf8(name).ok()?).ok()
    }

    /// The channel of what nodes signal.
    pub(super) fn signal(&self) -> String {
        format!("{}:signal", self.prefix)
    }

    /// A glob for the channels of all topics that match, and of more: `*` goes beyond a dot in it. Each
    /// pattern has another one.
    pub(super) fn glob(&self, pattern: &Pattern) -> String {
        let mut glob = format!("{}:live:", self.prefix);
        for (index, token) in pattern.tokens().enumerate() {
            if index > 0 {
                glob.push('.');
            }
            match token {
                ANY => glob.push('*'),
                REST => glob.push_str("?*"),
                _ => token.chars().for_each(|c| match c {
                    '?' | '[' | ']' | '\\' | '^' => {
                        // Writing to a string does not fail.
                        let _ = write!(glob, "\\{c}");
                    }
                    _ => glob.push(c),
                }),
            }
        }
        glob
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys::new("app:1").unwrap()
    }

    fn topic(name: &str) -> Topic {
        Topic::new(name).unwrap()
    }

    #[test]
    fn a_prefix_has_nothing_that_means_something_in_keys_and_globs() {
        for prefix in ["a", "tautline", "My_app-2.x:y"] {
            assert!(Keys::new(prefix).is_some(), "{prefix}");
        }
        for prefix in ["", "a b", "a*", "a{b}", "größe", &"x".repeat(65)] {
            assert!(Keys::new(prefix).is_none(), "{prefix}");
        }
    }

    #[test]
    fn keys_of_a_topic_share_their_tag_and_those_of_two_topics_are_never_the_same() {
        assert_eq!(keys().meta(&topic("a.b")), "app:1:meta:{a.b}");
        assert_eq!(keys().log(&topic("}a{%")), "app:1:log:{%7Da%7B%25}");
        // Without an escape, both would be `{a}:b}:c`.
        assert_ne!(keys().id(&topic("a"), b"b}:c"), keys().id(&topic("a}:b"), b"c"));
    }

    #[test]
    fn a_channel_is_one_of_a_topic_or_of_nobody() {
        for name in ["a", "a.b", "größe.{x}?"] {
            let channel = keys().channel(&topic(name));
            assert_eq!(keys().topic(channel.as_bytes()), Some(topic(name)));
        }
        for channel in ["app:1:live:", "app:1:live:a b", "app:2:live:a", "app:1:signal", ""] {
            assert_eq!(keys().topic(channel.as_bytes()), None, "{channel}");
        }
        assert_eq!(keys().topic(b"app:1:live:\xff"), None);
    }

    #[test]
    fn a_glob_has_the_tokens_and_no_other_wildcards() {
        let glob = |pattern: &str| keys().glob(&Pattern::new(pattern).unwrap());
        assert_eq!(glob("a.*.b"), "app:1:live:a.*.b");
        assert_eq!(glob("a.>"), "app:1:live:a.?*");
        assert_eq!(glob("what?[x]^\\.*"), "app:1:live:what\\?\\[x\\]\\^\\\\.*");
    }
}
