//! Where a server is: a URI, and for `ws+unix:` the path of its socket.

#[cfg(unix)]
use std::ffi::OsString;
#[cfg(unix)]
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use tautline_handshake::{UriError, WsUri};

use crate::percent;

const UNIX: &str = "ws+unix:";

/// Where a server is, and what to ask it for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Endpoint {
    pub(super) uri: WsUri,
    socket: Option<Box<Path>>,
}

impl Endpoint {
    pub(super) fn parse(text: &str) -> Result<Self, UriError> {
        let rest = match text.split_at_checked(UNIX.len()) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(UNIX) => rest,
            _ => return Ok(WsUri::parse(text)?.into()),
        };
        if cfg!(not(unix)) {
            return Err(UriError::Scheme);
        }
        // An authority can only be an empty one: the socket is of this machine.
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (path, resource) = rest.split_once(':').unwrap_or((rest, "/"));
        if !path.starts_with('/') || path.contains(['?', '#']) || !resource.starts_with('/') {
            return Err(UriError::SocketPath);
        }
        let uri = WsUri::parse(&format!("ws://localhost{resource}"))?;
        Ok(Self { uri, socket: Some(decoded(path)?.into()) })
    }

    /// The same place, asked for something else.
    pub(super) fn with_uri(self, uri: WsUri) -> Self {
        Self { uri, ..self }
    }

    /// The path of a Unix socket.
    pub(super) fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }
}

impl From<WsUri> for Endpoint {
    fn from(uri: WsUri) -> Self {
        Self { uri, socket: None }
    }
}

fn decoded(path: &str) -> Result<PathBuf, UriError> {
    let decoded = percent::decode(path).ok_or(UriError::PercentEncoding)?;
    if decoded.contains(&0) {
        return Err(UriError::SocketPath);
    }
    into_path(decoded)
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "other systems refuse")]
fn into_path(bytes: Vec<u8>) -> Result<PathBuf, UriError> {
    Ok(OsString::from_vec(bytes).into())
}

#[cfg(not(unix))]
fn into_path(_: Vec<u8>) -> Result<PathBuf, UriError> {
    Err(UriError::Scheme)
}

#[cfg(all(test, unix, not(tautline_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_socket_and_what_to_ask_for() {
        for (text, socket, resource) in [
            ("ws+unix:/run/app.sock", "/run/app.sock", "/"),
            ("ws+unix:/run/app.sock:/chat?room=1:2", "/run/app.sock", "/chat?room=1:2"),
            ("WS+Unix:///run/app.sock:/chat", "/run/app.sock", "/chat"),
            ("ws+unix:/a%3ab%20c/%C3%BC:/%3a", "/a:b c/ü", "/%3a"),
        ] {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!(endpoint.socket(), Some(Path::new(socket)), "{text}");
            assert_eq!(endpoint.uri.path_and_query(), resource, "{text}");
            assert_eq!(endpoint.uri.authority_for_host_header(), "localhost", "{text}");
            assert!(!endpoint.uri.is_secure());
        }
        assert_eq!(Endpoint::parse("ws://h:81/").unwrap().socket(), None);
    }

    #[test]
    fn what_names_no_socket_is_refused() {
        for (text, error) in [
            ("ws+unix:", UriError::SocketPath),
            ("ws+unix:run/app.sock", UriError::SocketPath),
            ("ws+unix://host/app.sock", UriError::SocketPath),
            ("ws+unix:/app.sock?q", UriError::SocketPath),
            ("ws+unix:/app.sock:chat", UriError::SocketPath),
            ("ws+unix:/app%00.sock", UriError::SocketPath),
            ("ws+unix:/app%.sock", UriError::PercentEncoding),
            ("ws+unix:/app.sock:/a b", UriError::ControlOrSpace),
            ("ws+unix:/app.sock:/#x", UriError::Fragment),
            ("wss+unix:/app.sock", UriError::Scheme),
        ] {
            assert_eq!(Endpoint::parse(text), Err(error), "{text}");
        }
    }
}
