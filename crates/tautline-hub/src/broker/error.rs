//! Why a broker did not do what it was asked for.

use std::fmt;
use std::sync::Arc;

type Source = Arc<dyn std::error::Error + Send + Sync>;

/// Why a broker did not do what it was asked for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum BrokerError {
    /// It cannot be reached, or did not answer in time. Whether it was done is not known.
    Unavailable(Source),
    /// It refused: wrong credentials, no permission, or an error in its settings. Time does not heal
    /// that.
    Refused(Source),
    /// It answered something that was not to be expected.
    Unexpected(Source),
    /// It cannot do this at all, such as keep a history.
    Unsupported(&'static str),
}

impl BrokerError {
    /// It is [not available](Self::Unavailable), for this reason.
    pub fn unavailable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unavailable(Arc::from(source.into()))
    }

    /// It [refused](Self::Refused), for this reason.
    pub fn refused(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Refused(Arc::from(source.into()))
    }

    /// It answered something [unexpected](Self::Unexpected).
    pub fn unexpected(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unexpected(Arc::from(source.into()))
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// Its text with those of its sources.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        text
    }

    /// Whether both are of the same variant.
    #[cfg(any(feature = "redis", feature = "nats"))]
    pub(crate) fn same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl fmt::Display for BrokerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(_) => f.write_str("the broker is not available"),
            Self::Refused(_) => f.write_str("the broker refused"),
            Self::Unexpected(_) => f.write_str("the broker's answer makes no sense"),
            Self::Unsupported(what) => write!(f, "the broker has no {what}"),
        }
    }
}

impl std::error::Error for BrokerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unavailable(source) | Self::Refused(source) | Self::Unexpected(source) => {
                Some(&**source)
            }
            Self::Unsupported(_) => None,
        }
    }
}
