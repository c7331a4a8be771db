//! What topics are called, and what patterns match.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest name of a topic, and the longest pattern, in bytes.
pub const MAX_LEN: usize = 255;

/// The name of a topic: 1 to 255 bytes, in tokens separated by `.`, as in `game.7.chat`.
///
/// A token is not empty, and has no white space, no control characters, and no `*` or `>`, which are
/// for [patterns](Pattern). These are the rules of NATS' subjects, so that every name is one there. What
/// else a name may hold, and who may use it, is decided by
/// [`HubBuilder::authorize`](crate::HubBuilder::authorize).
///
/// ```
/// use tautline_hub::Topic;
///
/// let topic = Topic::new("game.7.chat")?;
/// assert_eq!(topic.as_str(), "game.7.chat");
/// assert!(Topic::new("game..chat").is_err());
/// # Ok::<(), tautline_hub::TopicError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

/// Topics by their tokens: `*` is any one token, and `>` at the end any one or more, as in NATS.
///
/// ```
/// use tautline_hub::{Pattern, Topic};
///
/// let chats = Pattern::new("game.*.chat")?;
/// assert!(chats.matches(&Topic::new("game.7.chat")?));
/// assert!(!chats.matches(&Topic::new("game.7.red.chat")?));
/// let all_of_game_7 = Pattern::new("game.7.>")?;
/// assert!(all_of_game_7.matches(&Topic::new("game.7.red.chat")?));
/// assert!(!all_of_game_7.matches(&Topic::new("game.7")?));
/// # Ok::<(), tautline_hub::TopicError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern(Arc<str>);

/// What one can subscribe to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a name has wildcards or has none")]
pub enum Filter {
    /// One topic: with history, recovery and presence, where the topic has them.
    Topic(Topic),
    /// All topics that match, live only.
    Pattern(Pattern),
}

/// Why a name is not one of a topic, or a pattern is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopicError {
    /// It has no bytes.
    Empty,
    /// It has more than [`MAX_LEN`] bytes: so many.
    TooLong(usize),
    /// A token is empty: it begins or ends with a dot, or two stand together.
    EmptyToken,
    /// White space, a control character, or a wildcard where none is possible.
    Character(char),
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the name is empty"),
            Self::TooLong(len) => write!(f, "the name has {len} bytes, and {MAX_LEN} are possible"),
            Self::EmptyToken => f.write_str("a token of the name is empty"),
            Self::Character(c) => write!(f, "{c:?} is not possible here"),
        }
    }
}

impl std::error::Error for TopicError {}

/// The token for any one token.
pub(crate) const ANY: &str = "*";
/// The last token, for all that follow.
pub(crate) const REST: &str = ">";

impl Topic {
    /// A topic of this name.
    ///
    /// # Errors
    /// Why it is not a name.
    pub fn new(name: impl Into<Arc<str>>) -> Result<Self, TopicError> {
        let name = name.into();
        check_len(&name)?;
        name.split('.').try_for_each(check_token)?;
        Ok(Self(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its tokens.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }
}

impl Pattern {
    /// A pattern. One without a wildcard matches the one topic of this name.
    ///
    /// # Errors
    /// Why it is none.
    pub fn new(pattern: impl Into<Arc<str>>) -> Result<Self, TopicError> {
        let pattern = pattern.into();
        check_len(&pattern)?;
        let mut tokens = pattern.split('.').peekable();
        while let Some(token) = tokens.next() {
            if token != ANY && (token != REST || tokens.peek().is_some()) {
                check_token(token)?;
            }
        }
        Ok(Self(pattern))
    }

    /// The pattern as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a topic is one of those.
    #[must_use]
    pub fn matches(&self, topic: &Topic) -> bool {
        let (mut tokens, mut names) = (self.tokens(), topic.tokens());
        loop {
            match (tokens.next(), names.next()) {
                (Some(REST), Some(_)) | (None, None) => return true,
                (Some(token), Some(name)) if token == ANY || token == name => {}
                _ => return false,
            }
        }
    }

    pub(crate) fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }
}

impl Filter {
    /// A topic, or a pattern if there is a wildcard in it.
    ///
    /// # Errors
    /// Why it is neither.
    pub fn new(filter: impl Into<Arc<str>>) -> Result<Self, TopicError> {
        let filter = filter.into();
        if filter.split('.').any(|token| token == ANY || token == REST) {
            return Pattern::new(filter).map(Self::Pattern);
        }
        Topic::new(filter).map(Self::Topic)
    }

    /// The name or the pattern.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Topic(topic) => topic.as_str(),
            Self::Pattern(pattern) => pattern.as_str(),
        }
    }
}

fn check_len(name: &str) -> Result<(), TopicError> {
    match name.len() {
        0 => Err(TopicError::Empty),
        1..=MAX_LEN => Ok(()),
        len => Err(TopicError::TooLong(len)),
    }
}

fn check_token(token: &str) -> Result<(), TopicError> {
    if token.is_empty() {
        return Err(TopicError::EmptyToken);
    }
    let impossible = |c: char| c.is_whitespace() || c.is_control() || c == '*' || c == '>';
    token.chars().find(|c| impossible(*c)).map_or(Ok(()), |c| Err(TopicError::Character(c)))
}

macro_rules! impl_name {
    ($name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl From<$name> for Filter {
            fn from(name: $name) -> Self {
                Self::$name(name)
            }
        }

        impl From<&$name> for Filter {
            fn from(name: &$name) -> Self {
                Self::$name(name.clone())
            }
        }
    };
}

impl_name!(Topic);
impl_name!(Pattern);

macro_rules! impl_parse {
    ($name:ident) => {
        impl FromStr for $name {
            type Err = TopicError;

            fn from_str(name: &str) -> Result<Self, TopicError> {
                Self::new(name)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = TopicError;

            fn try_from(name: &str) -> Result<Self, TopicError> {
                Self::new(name)
            }
        }
    };
}

impl_parse!(Topic);
impl_parse!(Pattern);
impl_parse!(Filter);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_tokens_without_white_space_and_wildcards() {
        for name in ["a", "a.b", "chat:7", "user#42", "$private", "größe.ü", "a.b-c_d/e"] {
            assert_eq!(Topic::new(name).map(|topic| topic.to_string()), Ok(name.to_owned()));
        }
        for (name, error) in [
            ("", TopicError::Empty),
            (".", TopicError::EmptyToken),
            (".a", TopicError::EmptyToken),
            ("a.", TopicError::EmptyToken),
            ("a..b", TopicError::EmptyToken),
            ("a b", TopicError::Character(' ')),
            ("a\u{a0}b", TopicError::Character('\u{a0}')),
            ("a\r\nSUB", TopicError::Character('\r')),
            ("a\0", TopicError::Character('\0')),
            ("a.*", TopicError::Character('*')),
            ("a.>", TopicError::Character('>')),
        ] {
            assert_eq!(Topic::new(name), Err(error), "{name:?}");
        }
        assert!(Topic::new("x".repeat(MAX_LEN)).is_ok());
        assert_eq!(Topic::new("x".repeat(256)), Err(TopicError::TooLong(256)));
    }

    #[test]
    fn patterns_match_as_those_of_nats() {
        let cases = [
            ("a.b", "a.b", true),
            ("a.b", "a.b.c", false),
            ("*", "a", true),
            ("*", "a.b", false),
            ("*.*", "a.b", true),
            ("*.b", "a.b", true),
            ("a.*.c", "a.b.c", true),
            ("a.*.c", "a.b.d", false),
            (">", "a", true),
            (">", "a.b.c", true),
            ("a.>", "a", false),
            ("a.>", "a.b", true),
            ("a.>", "a.b.c.d", true),
            ("a.*.>", "a.b", false),
            ("a.*.>", "a.b.c", true),
            ("ab.>", "a.b", false),
        ];
        for (pattern, topic, matches) in cases {
            let (pattern, topic) = (Pattern::new(pattern).unwrap(), Topic::new(topic).unwrap());
            assert_eq!(pattern.matches(&topic), matches, "{pattern} {topic}");
        }
    }

    #[test]
    fn a_wildcard_is_a_token_of_its_own() {
        for (pattern, error) in [
            ("a*", TopicError::Character('*')),
            ("a.b*.c", TopicError::Character('*')),
            (">.a", TopicError::Character('>')),
            ("a>", TopicError::Character('>')),
            ("a..*", TopicError::EmptyToken),
            ("", TopicError::Empty),
        ] {
            assert_eq!(Pattern::new(pattern), Err(error), "{pattern:?}");
        }
        assert!(matches!(Filter::new("a.*"), Ok(Filter::Pattern(_))));
        assert!(matches!(Filter::new("a.>"), Ok(Filter::Pattern(_))));
        assert!(matches!(Filter::new("a.b"), Ok(Filter::Topic(_))));
        assert_eq!(Filter::new("a*"), Err(TopicError::Character('*')));
    }
}
