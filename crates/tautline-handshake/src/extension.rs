//! The grammar of `Sec-WebSocket-Extensions` (RFC 6455 section 9.1).

use std::fmt;

use http::HeaderMap;
use http::header::SEC_WEBSOCKET_EXTENSIONS;

use crate::token::{is_tchar, token};

/// One extension with its parameters, as a client offers it or a server answers with it.
///
/// `Display` writes it as it stands in the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    pub(crate) name: String,
    pub(crate) params: Vec<Param>,
}

/// One parameter of an [`Extension`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
}

impl Extension {
    /// The extension's name: a token, in the case in which it was written.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The parameters in order. A name may appear several times: whether that is legal is the
    /// extension's own rule.
    #[must_use]
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), params: Vec::new() }
    }

    pub(crate) fn push(&mut self, name: &str, value: Option<u8>) {
        let value = value.map(|value| value.to_string());
        self.params.push(Param { name: name.to_owned(), value });
    }
}

impl Param {
    /// The parameter's name: a token.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The parameter's value: a token, without the quotes and backslashes that it may have been written
    /// with.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }
}

impl fmt::Display for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for Param { name, value } in &self.params {
            write!(f, "; {name}")?;
            if let Some(value) = value {
                write!(f, "={value}")?;
            }
        }
        Ok(())
    }
}

/// Reads every `Sec-WebSocket-Extensions` line of `headers` as one list, in order of preference
/// (RFC 6455 section 9.1). Empty members are ignored (RFC 9110 section 5.6.1.2).
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::SEC_WEBSOCKET_EXTENSIONS};
///
/// let mut headers = HeaderMap::new();
/// headers.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static("foo, bar; baz=\"2\""));
/// let extensions = tautline_handshake::parse_extensions(&headers)?;
/// assert_eq!(extensions[0].name(), "foo");
/// assert_eq!(extensions[1].to_string(), "bar; baz=2");
/// # Ok::<(), tautline_handshake::ExtensionError>(())
/// ```
///
/// # Errors
///
/// An [`ExtensionError`] when a line does not follow the grammar or names no extension at all.
pub fn parse_extensions(headers: &HeaderMap) -> Result<Vec<Extension>, ExtensionError> {
    let mut extensions = Vec::new();
    for line in headers.get_all(SEC_WEBSOCKET_EXTENSIONS) {
        let before = extensions.len();
        Parser { bytes: line.as_bytes(), at: 0 }.list(&mut extensions)?;
        if extensions.len() == before {
            return Err(ExtensionError::Empty);
        }
    }
    Ok(extensions)
}

/// A cursor that only moves forwards: the time is linear in the line, whatever it holds.
struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn list(&mut self, into: &mut Vec<Extension>) -> Result<(), ExtensionError> {
        loop {
            self.skip_ows();
            match self.peek() {
                None => return Ok(()),
                Some(b',') => self.at += 1,
                Some(_) => {
                    into.push(self.extension()?);
                    match self.peek() {
                        None => return Ok(()),
                        Some(b',') => self.at += 1,
                        Some(_) => return Err(ExtensionError::Delimiter),
                    }
                }
            }
        }
    }

    /// `extension-token *( ";" extension-param )`, up to a comma, the end or something unexpected.
    fn extension(&mut self) -> Result<Extension, ExtensionError> {
        let name = self.token().ok_or(ExtensionError::Name)?;
        let mut params = Vec::new();
        self.skip_ows();
        while self.eat(b';') {
            self.skip_ows();
            let name = self.token().ok_or(ExtensionError::ParamName)?;
            self.skip_ows();
            let value = if self.eat(b'=') {
                self.skip_ows();
                Some(self.value()?)
            } else {
                None
            };
            self.skip_ows();
            params.push(Param { name, value });
        }
        Ok(Extension { name, params })
    }

    fn value(&mut self) -> Result<String, ExtensionError> {
        if self.eat(b'"') { self.quoted() } else { self.token().ok_or(ExtensionError::Value) }
    }

    /// The rest of a quoted string; what it holds, once unescaped, must be a token.
    fn quoted(&mut self) -> Result<String, ExtensionError> {
        let mut value = Vec::new();
        loop {
            match self.next().ok_or(ExtensionError::UnclosedQuote)? {
                b'"' => break,
                b'\\' => value.push(self.next().ok_or(ExtensionError::UnclosedQuote)?),
                byte => value.push(byte),
            }
        }
        token(&value).map(str::to_owned).ok_or(ExtensionError::Value)
    }

    fn token(&mut self) -> Option<String> {
        let start = self.at;
        while self.peek().is_some_and(is_tchar) {
            self.at += 1;
        }
        token(&self.bytes[start..self.at]).map(str::to_owned)
    }

    fn skip_ows(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn eat(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }
}

/// How a `Sec-WebSocket-Extensions` line breaks the grammar of RFC 6455 section 9.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExtensionError {
    /// The line names no extension.
    Empty,
    /// An extension's name is not a token.
    Name,
    /// A parameter's name is missing or is not a token.
    ParamName,
    /// A parameter's value is missing, or is not a token once unquoted.
    Value,
    /// A quoted string has no end.
    UnclosedQuote,
    /// Something other than `,` or `;` stands behind an extension or a parameter.
    Delimiter,
}

impl fmt::Display for ExtensionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "Sec-WebSocket-Extensions names no extension",
            Self::Name => "Sec-WebSocket-Extensions has a name that is not a token",
            Self::ParamName => "Sec-WebSocket-Extensions has a parameter without a proper name",
            Self::Value => "Sec-WebSocket-Extensions has a parameter value that is not a token",
            Self::UnclosedQuote => "Sec-WebSocket-Extensions has a quoted string without an end",
            Self::Delimiter => "Sec-WebSocket-Extensions lacks a comma or semicolon",
        })
    }
}

impl std::error::Error for ExtensionError {}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn parse(lines: &[&[u8]]) -> Result<Vec<Extension>, ExtensionError> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_bytes(line).unwrap());
        }
        parse_extensions(&headers)
    }

    #[test]
    fn the_grammar_of_rfc6455_9_1() {
        for (lines, expected) in [
            (&["foo"][..], &["foo"][..]),
            (&["foo, bar; baz=2"], &["foo", "bar; baz=2"]),
            (&["foo", "bar; baz=2"], &["foo", "bar; baz=2"]),
            (&["a;b=\"c\""], &["a; b=c"]),
            (&["a;b=\"\\c\\d\""], &["a; b=cd"]),
            (&["a \t;\tb =\t1 ; c , d"], &["a; b=1; c", "d"]),
            (&[",, a,\t,b ,"], &["a", "b"]),
            (&["a;b;b;b=1"], &["a; b; b; b=1"]),
            (&["a, a"], &["a", "a"]),
            (&["constructor; __proto__=toString"], &["constructor; __proto__=toString"]),
            (&[], &[]),
        ] {
            let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
            let parsed = parse(&lines).unwrap();
            let printed: Vec<String> = parsed.iter().map(ToString::to_string).collect();
            assert_eq!(printed, expected);
        }
    }

    #[test]
    fn what_is_outside_the_grammar_is_named() {
        for (line, error) in [
            ("", ExtensionError::Empty),
            (" , ,", ExtensionError::Empty),
            ("a b", ExtensionError::Delimiter),
            ("a=b", ExtensionError::Delimiter),
            ("a;b=\"c\"d", ExtensionError::Delimiter),
            (";a", ExtensionError::Name),
            ("\"a\"", ExtensionError::Name),
            ("(", ExtensionError::Name),
            ("a;", ExtensionError::ParamName),
            ("a;;b", ExtensionError::ParamName),
            ("a;=1", ExtensionError::ParamName),
            ("a;b=", ExtensionError::Value),
            ("a;b=,c", ExtensionError::Value),
            ("a;b=\"\"", ExtensionError::Value),
            ("a;b=\"c d\"", ExtensionError::Value),
            ("a;b=\"c,d\"", ExtensionError::Value),
            ("a;b=\"\\\"\"", ExtensionError::Value),
            ("a;b=\"c", ExtensionError::UnclosedQuote),
            ("a;b=\"c\\", ExtensionError::UnclosedQuote),
        ] {
            assert_eq!(parse(&[line.as_bytes()]), Err(error), "{line:?}");
        }
        assert_eq!(parse(&[b"a\xff"]), Err(ExtensionError::Delimiter));
        assert_eq!(parse(&[b"a;b=\"\xc3\xa9\""]), Err(ExtensionError::Value));
        assert_eq!(parse(&[b"a", b""]), Err(ExtensionError::Empty));
    }

    /// faye's `websocket-extensions` (CVE-2020-7662) took exponential time over an unclosed quoted
    /// string of escapes: its expression went back and tried again. The cursor here never goes back,
    /// which is what this test counts: it ends at the end of the line, having moved once over it.
    #[test]
    fn an_unclosed_quoted_string_is_read_once() {
        let line = [&b"a;b=\""[..], &b"\\c".repeat(32 * 1024)].concat();
        let mut parser = Parser { bytes: &line, at: 0 };
        assert_eq!(parser.list(&mut Vec::new()), Err(ExtensionError::UnclosedQuote));
        assert_eq!(parser.at, line.len());
        assert_eq!(parse(&[&line]), Err(ExtensionError::UnclosedQuote));
    }

    #[test]
    fn long_whitespace_is_read_once() {
        let line = [&b"a"[..], &b" ".repeat(64 * 1024), b"x"].concat();
        assert_eq!(parse(&[&line]), Err(ExtensionError::Delimiter));
    }
}
