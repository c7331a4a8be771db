//! The addresses that were tried, and why each failed.

use std::fmt;
use std::io;
use std::net::SocketAddr;

/// No TCP connection was opened: every address that was tried, in this order, and why it failed.
/// `Display` lists them.
#[derive(Debug)]
pub struct DialError(Vec<DialAttempt>);

/// An address that was tried, and why there is no connection to it.
#[derive(Debug)]
pub struct DialAttempt {
    address: SocketAddr,
    error: io::Error,
}

impl DialError {
    pub(super) const fn new(attempts: Vec<DialAttempt>) -> Self {
        Self(attempts)
    }

    /// The addresses that were tried, the first one first. None if the name had no address.
    #[must_use]
    pub fn attempts(&self) -> &[DialAttempt] {
        &self.0
    }

    /// The kind of the last address's error; [`io::ErrorKind::AddrNotAvailable`] without addresses.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.0.last().map_or(io::ErrorKind::AddrNotAvailable, |attempt| attempt.error.kind())
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, others)) = self.0.split_first() else {
            return f.write_str("the name has no address");
        };
        first.fmt(f)?;
        others.iter().try_for_each(|attempt| write!(f, "; {attempt}"))
    }
}

/// It has no source: each address has an error of its own, and all of them are listed.
impl std::error::Error for DialError {}

impl DialAttempt {
    pub(super) const fn new(address: SocketAddr, error: io::Error) -> Self {
        Self { address, error }
    }

    /// The address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Why it failed. One that had not answered at the deadline has
    /// [`io::ErrorKind::TimedOut`].
    #[must_use]
    pub const fn error(&self) -> &io::Error {
        &self.error
    }
}

impl fmt::Display for DialAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.address, self.error)
    }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_address_is_listed_with_its_error() {
        let attempt = |address: &str, kind: io::ErrorKind| {
            DialAttempt::new(address.parse().unwrap(), io::Error::new(kind, format!("{kind:?}")))
        };
        let error = DialError::new(vec![
            attempt("[2001:db8::1]:80", io::ErrorKind::TimedOut),
            attempt("192.0.2.1:80", io::ErrorKind::ConnectionRefused),
        ]);
        assert_eq!(
            error.to_string(),
            "[2001:db8::1]:80: TimedOut; 192.0.2.1:80: ConnectionRefused"
        );
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(error.attempts()[0].address().port(), 80);
        let none = DialError::new(Vec::new());
        assert_eq!(none.to_string(), "the name has no address");
        assert_eq!(none.kind(), io::ErrorKind::AddrNotAvailable);
    }
}
