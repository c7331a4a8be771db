//! The grammar of `Sec-WebSocket-Extensions` (RFC 6455 section 9.1).

use std::borrow::Cow;
use std::fmt;

use http::HeaderMap;
use http::header::SEC_WEBSOCKET_EXTENSIONS;

use crate::token::{MAX_EMPTY, is_tchar, token};

/// One extension with its parameters, as a client offers it or a server answers with it. A
/// parameter's name may appear several times: whether that is legal is up to the extension.
///
/// `Display` writes it in the syntax of the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extension<'a> {
    pub(crate) name: &'a str,
    pub(crate) params: Vec<Param<'a>>,
}

/// One parameter of an [`Extension`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Param<'a> {
    pub(crate) name: &'a str,
    /// Borrowed unless it was written with a backslash.
    pub(crate) value: Option<Cow<'a, str>>,
}

impl<'a> Extension<'a> {
    pub(crate) const fn new(name: &'a str) -> Self {
        Self { name, params: Vec::new() }
    }

    pub(crate) fn push(&mut self, name: &'a str, value: Option<u8>) {
        let value = value.map(|value| Cow::Owned(value.to_string()));
        self.params.push(Param { name, value });
    }
}

impl fmt::Display for Extension<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
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
/// (RFC 6455 section 9.1). Empty members are ignored, up to 32 (RFC 9110 section 5.6.1.2).
///
/// # Errors
///
/// An [`ExtensionError`] when a line does not follow the grammar or the lines name no extension at
/// all.
pub(crate) fn parse_extensions(headers: &HeaderMap) -> Result<Vec<Extension<'_>>, ExtensionError> {
    let mut extensions = Vec::new();
    let mut empty = 0;
    for line in headers.get_all(SEC_WEBSOCKET_EXTENSIONS) {
        empty += Parser { bytes: line.as_bytes(), at: 0 }.list(&mut extensions)?;
        if empty > MAX_EMPTY {
            return Err(ExtensionError::Empty);
        }
    }
    if extensions.is_empty() && headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
        return Err(ExtensionError::Empty);
    }
    Ok(extensions)
}

/// A cursor that only moves forwards: the time is linear in the line, whatever its content.
struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Parser<'a> {
    /// One line; returns how many of its members are empty.
    fn list(&mut self, into: &mut Vec<Extension<'a>>) -> Result<usize, ExtensionError> {
        let mut empty = 0;
        loop {
            self.skip_ows();
            match self.peek() {
                None | Some(b',') => empty += 1,
                Some(_) => into.push(self.extension()?),
            }
            match self.next() {
                None => return Ok(empty),
                Some(b',') => {}
                Some(_) => return Err(ExtensionError::Delimiter),
            }
        }
    }

    /// `extension-token *( ";" extension-param )`, up to a comma, the end or something unexpected.
    fn extension(&mut self) -> Result<Extension<'a>, ExtensionError> {
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

    fn value(&mut self) -> Result<Cow<'a, str>, ExtensionError> {
        if self.eat(b'"') {
            self.quoted()
        } else {
            self.token().map(Cow::Borrowed).ok_or(ExtensionError::Value)
        }
    }

    /// The rest of a quoted string; what it holds, once unescaped, must be a token.
    fn quoted(&mut self) -> Result<Cow<'a, str>, ExtensionError> {
        let start = self.at;
        let mut unescaped: Option<Vec<u8>> = None;
        let end = loop {
            let at = self.at;
            match self.next().ok_or(ExtensionError::UnclosedQuote)? {
                b'"' => break at,
                b'\\' => {
                    let byte = self.next().ok_or(ExtensionError::UnclosedQuote)?;
                    let so_far = unescaped.get_or_insert_with(|| self.bytes[start..at].to_vec());
                    so_far.push(byte);
                }
                byte => {
                    if let Some(so_far) = &mut unescaped {
                        so_far.push(byte);
                    }
                }
            }
        };
        let value = match &unescaped {
            Some(value) => token(value).map(|value| Cow::Owned(value.to_owned())),
            None => token(&self.bytes[start..end]).map(Cow::Borrowed),
        };
        value.ok_or(ExtensionError::Value)
    }

    fn token(&mut self) -> Option<&'a str> {
        let start = self.at;
        while self.peek().is_some_and(is_tchar) {
            self.at += 1;
        }
        token(&self.bytes[start..self.at])
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
    /// The lines name no extension, or have more empty members than are ignored.
    Empty,
    /// An extension's name is not a token.
    Name,
    /// A parameter's name is missing or is not a token.
    ParamName,
    /// A parameter's value is missing, or is not a token once unquoted.
    Value,
    /// A quoted string is not terminated.
    UnclosedQuote,
    /// Something other than `,` or `;` follows an extension or a parameter.
    Delimiter,
}

impl fmt::Display for ExtensionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "Sec-WebSocket-Extensions names no extension",
            Self::Name => "Sec-WebSocket-Extensions has a name that is not a token",
            Self::ParamName => "Sec-WebSocket-Extensions has a parameter without a valid name",
            Self::Value => "Sec-WebSocket-Extensions has a parameter value that is not a token",
            Self::UnclosedQuote => "Sec-WebSocket-Extensions has an unterminated quoted string",
            Self::Delimiter => "Sec-WebSocket-Extensions lacks a comma or semicolon",
        })
    }
}

impl std::error::Error for ExtensionError {}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    /// The extensions as `Display` writes them.
    fn parse(lines: &[&[u8]]) -> Result<Vec<String>, ExtensionError> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_bytes(line).unwrap());
        }
        Ok(parse_extensions(&headers)?.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_grammar_of_rfc6455_9_1() {
        for (lines, expected) in [
            (&["foo"][..], &["foo"][..]),
            (&["foo, bar; baz=2"], &["foo", "bar; baz=2"]),
            (&["foo", "bar; baz=2"], &["foo", "bar; baz=2"]),
            (&["a;b=\"c\""], &["a; b=c"]),
            (&["a;b=\"\\c\\d\""], &["a; b=cd"]),
            (&["a;b=\"cd\\ef\""], &["a; b=cdef"]),
            (&["a \t;\tb =\t1 ; c , d"], &["a; b=1; c", "d"]),
            (&[",, a,\t,b ,"], &["a", "b"]),
            (&["a;b;b;b=1"], &["a; b; b; b=1"]),
            (&["a, a"], &["a", "a"]),
            (&["constructor; __proto__=toString"], &["constructor; __proto__=toString"]),
            (&[], &[]),
        ] {
            let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
            assert_eq!(parse(&lines).unwrap(), expected);
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
        assert_eq!(parse(&[b"a", b""]).unwrap().len(), 1);
        assert_eq!(parse(&[&b",".repeat(16 << 10)]), Err(ExtensionError::Empty));
        assert_eq!(parse(&[&[b"a", &b",".repeat(40)[..]].concat()]), Err(ExtensionError::Empty));
    }

    /// faye's `websocket-extensions` (CVE-2020-7662) took exponential time over an unclosed quoted
    /// string of escapes: its regular expression backtracked. The cursor here never goes back, as
    /// this test checks: it moves over the line once and stops at the end.
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
