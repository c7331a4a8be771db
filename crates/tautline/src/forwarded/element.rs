//! The grammar of `Forwarded` (RFC 7239 section 4).

/// What one proxy tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    /// The parameter `for`.
    pub(super) node: Option<String>,
    pub(super) proto: Option<String>,
    pub(super) host: Option<String>,
}

/// The elements of a line, without those that are empty; `None` if any part of it breaks the grammar.
pub(super) fn parse(line: &[u8]) -> Option<Vec<Element>> {
    let mut rest = line.trim_ascii();
    let mut elements = Vec::new();
    let mut element = None;
    while !rest.is_empty() {
        rest = match rest {
            [b',', rest @ ..] => {
                elements.extend(element.take());
                rest.trim_ascii_start()
            }
            [b';', rest @ ..] => rest.trim_ascii_start(),
            _ => {
                let rest = pair(rest, element.get_or_insert_default())?;
                // White space may stand ahead of a comma or, as proxies have it, a semicolon.
                let rest = rest.trim_ascii_start();
                if !matches!(rest.first(), None | Some(b',' | b';')) {
                    return None;
                }
                rest
            }
        };
    }
    elements.extend(element);
    Some(elements)
}

/// Reads a pair into the element, in which each name may stand once, and returns what is after it.
fn pair<'a>(text: &'a [u8], element: &mut Element) -> Option<&'a [u8]> {
    let end = text.iter().position(|&byte| !is_tchar(byte))?;
    let (name, rest) = text.split_at(end);
    let (value, rest) = value(rest.strip_prefix(b"=")?)?;
    let known = match name.to_ascii_lowercase().as_slice() {
        b"" => return None,
        b"for" => &mut element.node,
        b"proto" => &mut element.proto,
        b"host" => &mut element.host,
        _ => return Some(rest),
    };
    known.replace(value).is_none().then_some(rest)
}

/// A token or a quoted string, and what is after it.
fn value(text: &[u8]) -> Option<(String, &[u8])> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        // Proxies leave out the quotes that `:`, `[` and `]` need.
        let is_value = |byte| is_tchar(byte) || matches!(byte, b':' | b'[' | b']');
        let end = text.iter().position(|&byte| !is_value(byte)).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (end > 0).then_some((String::from_utf8(value.to_vec()).ok()?, rest));
    };
    let mut value = Vec::new();
    let mut bytes = quoted.iter().enumerate();
    while let Some((at, &byte)) = bytes.next() {
        match byte {
            b'"' => return Some((String::from_utf8(value).ok()?, &quoted[at + 1..])),
            b'\\' => value.push(*bytes.next()?.1),
            _ => value.push(byte),
        }
    }
    None
}

/// RFC 9110 section 5.6.2.
fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
