//! What is wrong with the URI of a proxy.

use std::fmt;

/// The URI of a proxy cannot be used. The text itself is not in the error: it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidProxy {
    variable: Option<&'static str>,
    reason: Reason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Scheme,
    #[cfg(not(feature = "tls"))]
    NoTls,
    #[cfg(not(feature = "socks"))]
    NoSocks,
    Host,
    Credentials,
}

impl InvalidProxy {
    pub(super) const fn new(reason: Reason) -> Self {
        Self { variable: None, reason }
    }

    pub(super) const fn of(mut self, variable: &'static str) -> Self {
        self.variable = Some(variable);
        self
    }

    /// The variable of the environment that has this URI, if it came from there.
    #[must_use]
    pub const fn variable(&self) -> Option<&'static str> {
        self.variable
    }
}

impl fmt::Display for InvalidProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.variable {
            Some(variable) => write!(f, "the proxy in the variable {variable} ")?,
            None => f.write_str("the proxy's URI ")?,
        }
        f.write_str(match self.reason {
            Reason::Scheme => "has a scheme other than http, https, socks5 and socks5h",
            #[cfg(not(feature = "tls"))]
            Reason::NoTls => "has the scheme https, which needs the feature `tls`",
            #[cfg(not(feature = "socks"))]
            Reason::NoSocks => "is one of SOCKS, which needs the feature `socks`",
            Reason::Host => "has no valid host and port",
            Reason::Credentials => "has credentials that cannot be sent",
        })
    }
}

impl std::error::Error for InvalidProxy {}
