//! Secrets that a request carries. They are compared in constant time, and never shown by `Debug`.

use std::borrow::Cow;
use std::fmt;

use subtle::{Choice, ConstantTimeEq};

/// A token that a request carries. `Debug` does not show it.
#[derive(Clone)]
pub struct Token<'a>(Cow<'a, str>);

impl<'a> Token<'a> {
    /// One that came elsewhere than in a request, such as in a first message: to compare it in constant time, or
    /// to verify it.
    pub fn new(token: impl Into<Cow<'a, str>>) -> Self {
        Self(token.into())
    }

    /// The token, to look it up or to verify it. Do not compare it with `==`: the time that it takes
    /// tells how much of it is right.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is this one. The time that it takes depends on nothing but the length of the token
    /// that was sent. An empty `expected`, as of a setting that is not there, matches nothing.
    #[must_use]
    pub fn matches(&self, expected: impl AsRef<[u8]>) -> bool {
        same(self.0.as_bytes(), expected.as_ref()).into()
    }
}

impl fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// User and password that a request carries. `Debug` shows neither.
#[derive(Clone)]
pub struct Credentials {
    user: String,
    password: String,
}

impl Credentials {
    pub(super) fn new(user: &str, password: &str) -> Self {
        Self { user: user.to_owned(), password: password.to_owned() }
    }

    /// The user, which may be empty.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The password, to verify it with its hash. Do not compare it with `==`: see
    /// [`Token::as_str`].
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Whether both are these, in constant time as with [`Token::matches`]: whether the user is known
    /// cannot be told from the time that a wrong password takes. An empty expected password matches
    /// nothing.
    #[must_use]
    pub fn matches(&self, user: &str, password: &str) -> bool {
        let user_is = if user.is_empty() {
            Choice::from(u8::from(self.user.is_empty()))
        } else {
            same(self.user.as_bytes(), user.as_bytes())
        };
        (user_is & same(self.password.as_bytes(), password.as_bytes())).into()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

/// Goes through all that was given, whatever is expected and of whatever length: `ct_eq` of two slices
/// would return at once if their lengths differ, and so tell the length.
fn same(given: &[u8], expected: &[u8]) -> Choice {
    let mut equal = given.len().ct_eq(&expected.len());
    if expected.is_empty() {
        return Choice::from(0);
    }
    for (given, expected) in given.iter().zip(expected.iter().cycle()) {
        equal &= given.ct_eq(expected);
    }
    equal
}
