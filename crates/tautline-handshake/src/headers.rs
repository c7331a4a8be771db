//! Headers that the application adds to a request or a response.

use std::fmt;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHORIZATION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, SET_COOKIE, TRANSFER_ENCODING, UPGRADE,
};

use crate::error::BuildError;
use crate::token::is_tchar;

/// The headers that the handshake sets, or whose presence would change what follows the head.
const RESERVED: [(HeaderName, &str); 10] = [
    (SEC_WEBSOCKET_KEY, "Sec-WebSocket-Key"),
    (SEC_WEBSOCKET_ACCEPT, "Sec-WebSocket-Accept"),
    (SEC_WEBSOCKET_VERSION, "Sec-WebSocket-Version"),
    (SEC_WEBSOCKET_EXTENSIONS, "Sec-WebSocket-Extensions"),
    (SEC_WEBSOCKET_PROTOCOL, "Sec-WebSocket-Protocol"),
    (UPGRADE, "Upgrade"),
    (CONNECTION, "Connection"),
    (CONTENT_LENGTH, "Content-Length"),
    (TRANSFER_ENCODING, "Transfer-Encoding"),
    (EXPECT, "Expect"),
];

/// How much of a name that is not one an error shows.
const MAX_SHOWN_NAME: usize = 64;

/// Headers for a handshake, and the first of them that cannot be sent.
///
/// Errors are kept until [`finish`](Self::finish), so that builders which hold this can be chained.
/// `Debug` shows names only: credentials are among the values.
///
/// ```
/// use tautline_handshake::Headers;
///
/// let mut headers = Headers::new();
/// headers.set("authorization", "Bearer old");
/// headers.set("authorization", "Bearer new"); // replaces
/// headers.append("cookie", "a=1");
/// headers.append("cookie", "b=2"); // joins: a request has one `Cookie` line
/// let headers = headers.finish()?;
/// assert_eq!(headers["authorization"], "Bearer new");
/// assert_eq!(headers["cookie"], "a=1; b=2");
/// # Ok::<(), tautline_handshake::BuildError>(())
/// ```
#[derive(Clone, Default)]
pub struct Headers {
    // Boxed: most clients set none, and each task that holds a client has room for what it is.
    set: Option<Box<Set>>,
}

#[derive(Clone, Default)]
struct Set {
    map: HeaderMap,
    error: Option<BuildError>,
}

impl Headers {
    /// No headers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a header; it replaces all earlier lines of that name.
    pub fn set<N, V>(&mut self, name: N, value: V)
    where
        N: TryInto<HeaderName> + AsRef<[u8]>,
        V: TryInto<HeaderValue>,
    {
        let set = checked(name, value).and_then(|(name, value)| self.insert(name, value));
        self.note(set);
    }

    /// Adds a line, whether or not there are others of that name (RFC 9110 section 5.3 allows
    /// several for lists and for `Set-Cookie`). `Cookie` is the exception: its values are joined
    /// into one line (RFC 6265 section 5.4).
    pub fn append<N, V>(&mut self, name: N, value: V)
    where
        N: TryInto<HeaderName> + AsRef<[u8]>,
        V: TryInto<HeaderValue>,
    {
        let added = checked(name, value).and_then(|(name, value)| self.add(name, value));
        self.note(added);
    }

    /// Sets all of these: the lines of each name in `map` replace earlier ones of that name.
    pub fn extend(&mut self, map: HeaderMap) {
        if map.is_empty() {
            return;
        }
        let mut current = None;
        for (name, value) in map {
            // The name stands only with the first of its values.
            let first = name.is_some();
            current = name.or(current);
            let Some(name) = current.clone() else { return };
            let result = check_name(&name).and_then(|()| match first {
                true => self.insert(name, value),
                false => self.add(name, value),
            });
            self.note(result);
        }
    }

    /// Sets all that the others set, as [`extend`](Self::extend) does. Their mistakes count too.
    pub fn merge(&mut self, others: Self) {
        let Some(others) = others.set else { return };
        self.extend(others.map);
        self.note(others.error.map_or(Ok(()), Err));
    }

    /// What was set.
    ///
    /// # Errors
    ///
    /// The [`BuildError`] of the first header that cannot be sent; it names the header.
    pub fn finish(self) -> Result<HeaderMap, BuildError> {
        let Set { map, error } = self.set.map_or_else(Set::default, |set| *set);
        error.map_or(Ok(map), Err)
    }

    fn insert(&mut self, name: HeaderName, value: HeaderValue) -> Result<(), BuildError> {
        let full = BuildError::TooManyHeaders(name.clone());
        let value = guarded(&name, value);
        self.map().try_insert(name, value).map_err(|_| full)?;
        Ok(())
    }

    fn add(&mut self, name: HeaderName, value: HeaderValue) -> Result<(), BuildError> {
        if name == COOKIE
            && let Some(line) = self.map().get(COOKIE)
        {
            let joined = [line.as_bytes(), b"; ", value.as_bytes()].concat();
            let joined = HeaderValue::try_from(joined);
            let joined = joined.map_err(|_| BuildError::HeaderValue(name.clone()))?;
            return self.insert(name, joined);
        }
        let full = BuildError::TooManyHeaders(name.clone());
        let value = guarded(&name, value);
        self.map().try_append(name, value).map_err(|_| full)?;
        Ok(())
    }

    fn map(&mut self) -> &mut HeaderMap {
        &mut self.set.get_or_insert_default().map
    }

    fn note(&mut self, result: Result<(), BuildError>) {
        if let Err(error) = result {
            self.set.get_or_insert_default().error.get_or_insert(error);
        }
    }
}

/// [Appends](Headers::append) each.
impl<N, V> FromIterator<(N, V)> for Headers
where
    N: TryInto<HeaderName> + AsRef<[u8]>,
    V: TryInto<HeaderValue>,
{
    fn from_iter<I: IntoIterator<Item = (N, V)>>(lines: I) -> Self {
        let mut headers = Self::new();
        for (name, value) in lines {
            headers.append(name, value);
        }
        headers
    }
}

/// The names, and whether one cannot be sent.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = self.set.as_ref();
        let names: Vec<_> = set.iter().flat_map(|set| set.map.keys()).collect();
        let error = set.and_then(|set| set.error.as_ref());
        f.debug_struct("Headers").field("names", &names).field("error", &error).finish()
    }
}

fn checked<N, V>(name: N, value: V) -> Result<(HeaderName, HeaderValue), BuildError>
where
    N: TryInto<HeaderName> + AsRef<[u8]>,
    V: TryInto<HeaderValue>,
{
    let invalid = start_of_name(name.as_ref());
    let name = name.try_into().map_err(|_| BuildError::HeaderName(invalid))?;
    check_name(&name)?;
    let value = value.try_into().map_err(|_| BuildError::HeaderValue(name.clone()))?;
    Ok((name, value))
}

fn check_name(name: &HeaderName) -> Result<(), BuildError> {
    match RESERVED.iter().find(|(reserved, _)| reserved == name) {
        Some((_, shown)) => Err(BuildError::ReservedHeader(shown)),
        None => Ok(()),
    }
}

/// The start of a name, up to the first byte that no name has: with `authorization: Bearer x` for a
/// name, what follows the colon is a secret.
fn start_of_name(name: &[u8]) -> String {
    let start = name.iter().take(MAX_SHOWN_NAME).take_while(|&&byte| is_tchar(byte));
    start.map(|&byte| char::from(byte)).collect()
}

/// Marks the values of fields that hold credentials, so that the `Debug` of an [`HeaderMap`] hides
/// them.
pub(crate) fn guarded(name: &HeaderName, mut value: HeaderValue) -> HeaderValue {
    if [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, SET_COOKIE].contains(name) {
        value.set_sensitive(true);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(headers: Headers) -> Vec<(String, String)> {
        let map = headers.finish().unwrap();
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        map.iter().map(line).collect()
    }

    fn expected(lines: &[(&str, &str)]) -> Vec<(String, String)> {
        lines.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// A client that was cloned for another account sent the old `Authorization` and the new one.
    // A client was 128 bytes larger, and with it each task that opened a connection by a clone.
    #[test]
    fn headers_take_a_word() {
        assert_eq!(size_of::<Headers>(), size_of::<usize>());
    }

    #[test]
    fn setting_replaces_and_adding_appends() {
        let mut headers = Headers::new();
        headers.append("authorization", "old");
        headers.append("Authorization", "older");
        headers.set("AUTHORIZATION", "new");
        headers.set("x-tag", "one");
        headers.append("X-Tag", "two");
        let all = [("authorization", "new"), ("x-tag", "one"), ("x-tag", "two")];
        assert_eq!(lines(headers), expected(&all));
    }

    /// Two cookies made two `Cookie` lines, which servers read as one, the other or neither (RFC
    /// 6265 section 5.4). What a server sets stays one line each (RFC 6265 section 3).
    #[test]
    fn cookies_join_into_one_line_and_set_cookie_stays_several() {
        let mut headers = Headers::new();
        headers.append("cookie", "a=1");
        headers.append("Cookie", "b=2");
        headers.append("set-cookie", "a=1");
        headers.append("set-cookie", "b=2");
        let all = [("cookie", "a=1; b=2"), ("set-cookie", "a=1"), ("set-cookie", "b=2")];
        assert_eq!(lines(headers), expected(&all));
    }

    #[test]
    fn a_whole_map_replaces_what_it_names_and_leaves_the_rest() {
        let mut headers = Headers::new();
        headers.set("x-tag", "old");
        headers.set("x-rest", "stays");
        let mut map = HeaderMap::new();
        map.append("x-tag", HeaderValue::from_static("one"));
        map.append("x-tag", HeaderValue::from_static("two"));
        map.append(COOKIE, HeaderValue::from_static("a=1"));
        map.append(COOKIE, HeaderValue::from_static("b=2"));
        headers.extend(map);
        let mut found = lines(headers);
        found.sort();
        let all = [("cookie", "a=1; b=2"), ("x-rest", "stays"), ("x-tag", "one"), ("x-tag", "two")];
        assert_eq!(found, expected(&all));
    }

    /// "a header's value has a control character" left the user to guess which of twenty; a value
    /// would have been told to whoever reads the log.
    #[test]
    fn the_first_error_is_kept_and_names_the_header_but_no_value() {
        for (name, value, error, shown) in [
            (
                "x-token",
                "secret\n",
                BuildError::HeaderValue(HeaderName::from_static("x-token")),
                "the value of the header x-token has a control character",
            ),
            (
                "x-token: secret",
                "a",
                BuildError::HeaderName("x-token".to_owned()),
                "the header name that starts with \"x-token\" is not a token",
            ),
            (
                "",
                "a",
                BuildError::HeaderName(String::new()),
                "the header name that starts with \"\" is not a token",
            ),
            (
                "Upgrade",
                "secret",
                BuildError::ReservedHeader("Upgrade"),
                "the header Upgrade is set by the handshake itself",
            ),
        ] {
            let mut headers = Headers::new();
            headers.append(name, value);
            headers.set("y", "secret\r\n");
            headers.set("z", "fine");
            let debug = format!("{headers:?}");
            assert!(!debug.contains("secret") && !debug.contains("fine"), "{debug}");
            let found = headers.finish().unwrap_err();
            assert_eq!(found.to_string(), shown);
            assert_eq!(found, error);
        }
        let mut headers = Headers::new();
        let map = HeaderMap::from_iter([(CONNECTION, HeaderValue::from_static("close"))]);
        headers.extend(map);
        assert_eq!(headers.finish(), Err(BuildError::ReservedHeader("Connection")));
    }

    #[test]
    fn values_that_are_credentials_are_marked() {
        let mut headers = Headers::new();
        for name in ["authorization", "proxy-authorization", "cookie", "set-cookie"] {
            headers.append(name, "secret");
        }
        headers.append("cookie", "secret");
        let debug = format!("{:?}", headers.finish().unwrap());
        assert!(!debug.contains("secret"), "{debug}");
    }
}
