//! Why a request does not say who sent it.

use std::fmt;

/// Why the sender of a request is not known: [`Challenge::response`](super::Challenge::response) makes
/// the answer of it. It holds nothing of the credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuthError {
    /// There are no credentials where they were looked for.
    Missing,
    /// There are several: another server might take others of them than this one.
    Duplicate,
    /// They are for another authentication scheme.
    OtherScheme,
    /// They break their grammar.
    Malformed,
    /// Nobody has them, or no longer. The functions of this module do not return it: it is for you.
    Invalid,
}

impl AuthError {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Missing => "credentials are missing",
            Self::Duplicate => "there are several credentials",
            Self::OtherScheme => "the credentials are of another authentication scheme",
            Self::Malformed => "the credentials are malformed",
            Self::Invalid => "the credentials are not valid",
        }
    }
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for AuthError {}
