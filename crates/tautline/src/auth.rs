//! Who may come in: credentials out of a request, compared in constant time, and the refusal.
//!
//! These are parts for [`Server::authorize`](crate::Server::authorize), and for
//! [`Acceptor::read`](crate::Acceptor::read) and other HTTP servers as well, since they look at
//! nothing but the headers and the target of a request.
//!
//! | where a client puts it | read by | who can |
//! |---|---|---|
//! | `Authorization: Bearer` (RFC 6750) | [`bearer`] | all but browsers |
//! | `Authorization: Basic` (RFC 7617) | [`basic`] | all but browsers |
//! | a cookie (RFC 6265) | [`cookie`] | browsers, on pages of the same site |
//! | `Sec-WebSocket-Protocol: bearer, TOKEN` | [`subprotocol`], [`subprotocol_prefix`] | all |
//! | `?access_token=TOKEN` | [`query`] | all; but it shows in logs |
//!
//! A browser sends its cookies with every WebSocket, whichever page opens it: they are safe only with
//! a check of the origin, as the server has it by default ([`OriginPolicy`](crate::OriginPolicy)).
//!
//! ```
//! use tautline::auth::{self, AuthError, Challenge};
//! use tautline::{Client, Server, Upgrade};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::bind("127.0.0.1:0").await?;
//! let uri = format!("ws://{}/", server.local_addr()?);
//! let serving = server.authorize(|request| async move {
//!     let user = match auth::bearer(request.headers()) {
//!         Ok(token) if token.matches("3f2a") => Ok("ada"),
//!         Ok(_) => Err(AuthError::Invalid),
//!         Err(error) => Err(error),
//!     };
//!     user.map(Upgrade::new).map_err(|error| Challenge::bearer("chat").response(error))
//! });
//! tokio::spawn(serving.serve_with(|mut ws, user| async move { Ok(ws.send(user).await?) }));
//!
//! let refused = tautline::connect(&uri).await.unwrap_err();
//! assert_eq!(refused.status().map(|status| status.as_u16()), Some(401));
//! let mut ws = Client::new().header("authorization", "Bearer 3f2a").connect(&uri).await?;
//! assert_eq!(ws.next().await.unwrap()?.as_text(), Some("ada"));
//! # Ok(())
//! # }
//! ```

mod challenge;
mod error;
#[cfg(feature = "jwt")]
mod jwt;
mod token;

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, COOKIE, HeaderMap};
use http::{HeaderValue, Uri};
use tautline_handshake::Offer;

pub use self::challenge::Challenge;
pub use self::error::AuthError;
#[cfg(feature = "jwt")]
pub use self::jwt::{JwtError, JwtKey, JwtKeyError, JwtVerifier};
pub use self::token::{Credentials, Token};

/// The token of `Authorization: Bearer` (RFC 6750 section 2.1).
///
/// # Errors
/// [`AuthError::Missing`], [`Duplicate`](AuthError::Duplicate),
/// [`OtherScheme`](AuthError::OtherScheme), or [`Malformed`](AuthError::Malformed) if it is not made
/// of the characters of a token.
pub fn bearer(headers: &HeaderMap) -> Result<Token<'_>, AuthError> {
    let token = authorization(headers, "Bearer")?;
    let body = token.trim_end_matches('=');
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    if body.is_empty() || !body.bytes().all(is_valid) {
        return Err(AuthError::Malformed);
    }
    Ok(Token::new(token))
}

/// User and password of `Authorization: Basic` (RFC 7617), in UTF-8.
///
/// # Errors
/// [`AuthError::Missing`], [`Duplicate`](AuthError::Duplicate),
/// [`OtherScheme`](AuthError::OtherScheme), or [`Malformed`](AuthError::Malformed) if it is not
/// base64 of `user:password`, or has control characters.
///
/// ```
/// use tautline::auth;
///
/// let mut headers = http::HeaderMap::new();
/// headers.insert("authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".parse()?);
/// let credentials = auth::basic(&headers)?;
/// assert_eq!(credentials.user(), "Aladdin");
/// assert!(credentials.matches("Aladdin", "open sesame"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn basic(headers: &HeaderMap) -> Result<Credentials, AuthError> {
    let encoded = authorization(headers, "Basic")?;
    let decoded = STANDARD.decode(encoded).map_err(|_| AuthError::Malformed)?;
    let decoded = String::from_utf8(decoded).map_err(|_| AuthError::Malformed)?;
    // RFC 7617 section 2.
    if decoded.chars().any(char::is_control) {
        return Err(AuthError::Malformed);
    }
    let (user, password) = decoded.split_once(':').ok_or(AuthError::Malformed)?;
    Ok(Credentials::new(user, password))
}

/// What follows this scheme (RFC 9110 section 11.4).
fn authorization<'a>(headers: &'a HeaderMap, scheme: &str) -> Result<&'a str, AuthError> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let line = match (lines.next(), lines.next()) {
        (None, _) => return Err(AuthError::Missing),
        (Some(line), None) => line,
        (Some(_), Some(_)) => return Err(AuthError::Duplicate),
    };
    let line = line.to_str().map_err(|_| AuthError::Malformed)?.trim_matches([' ', '\t']);
    let (named, credentials) = line.split_once(' ').unwrap_or((line, ""));
    if !named.eq_ignore_ascii_case(scheme) {
        return Err(AuthError::OtherScheme);
    }
    match credentials.trim_start_matches(' ') {
        "" => Err(AuthError::Malformed),
        credentials => Ok(credentials),
    }
}

/// The value of the cookie of this name (RFC 6265 section 4.2), as it was sent.
///
/// # Errors
/// [`AuthError::Missing`]; [`Duplicate`](AuthError::Duplicate) if there are two of this name, of
/// which a neighbouring site may have set one; [`Malformed`](AuthError::Malformed) if it is empty or
/// not visible ASCII.
///
/// ```
/// use tautline::auth;
///
/// let mut headers = http::HeaderMap::new();
/// headers.insert("cookie", "theme=dark; session=31d4d96e".parse()?);
/// assert!(auth::cookie(&headers, "session")?.matches("31d4d96e"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Result<Token<'a>, AuthError> {
    // HTTP/2 may send each in a line of its own (RFC 9113 section 8.2.3).
    let pairs = headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b';').map(<[u8]>::trim_ascii));
    let value = |pair: &'a [u8]| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=");
    let value = only(pairs.filter_map(value))?;
    let text = std::str::from_utf8(value).ok();
    let text = text.filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()));
    text.map(Token::new).ok_or(AuthError::Malformed)
}

/// The token that a client offers as the subprotocol after the one of this name:
/// `new WebSocket(url, ["bearer", token])`. Browsers cannot send `Authorization`.
///
/// Answer with the name as the subprotocol, `Upgrade::new(..).subprotocol("bearer")`, or with another
/// one that the client offers: browsers close a connection for which none was selected. Never answer
/// with the token. It is made of the characters that RFC 9110 section 5.6.2 allows in a token, as JWT
/// and base64url are, without padding.
///
/// # Errors
/// [`AuthError::Missing`] if this name is not offered; [`Malformed`](AuthError::Malformed) if it is
/// the last one, or the header breaks its grammar.
///
/// ```
/// use tautline::auth;
///
/// let mut headers = http::HeaderMap::new();
/// headers.insert("sec-websocket-protocol", "chat.v2, bearer, 3f2a".parse()?);
/// assert!(auth::subprotocol(&headers, "bearer")?.matches("3f2a"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn subprotocol<'a>(headers: &'a HeaderMap, name: &str) -> Result<Token<'a>, AuthError> {
    let mut offers = offers(headers)?.into_iter();
    offers.find(|offer| *offer == name).ok_or(AuthError::Missing)?;
    offers.next().map(Token::new).ok_or(AuthError::Malformed)
}

/// The token that a client offers as a subprotocol with this prefix:
/// `new WebSocket(url, ["chat.v2", "bearer." + token])`. Answer with another one that the client
/// offers, never with this. Otherwise as [`subprotocol`].
///
/// # Errors
/// [`AuthError::Missing`]; [`Duplicate`](AuthError::Duplicate) if there are two;
/// [`Malformed`](AuthError::Malformed) if nothing follows the prefix, or the header breaks its
/// grammar.
///
/// ```
/// use tautline::auth;
///
/// let mut headers = http::HeaderMap::new();
/// headers.insert("sec-websocket-protocol", "chat.v2, bearer.3f2a".parse()?);
/// assert!(auth::subprotocol_prefix(&headers, "bearer.")?.matches("3f2a"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn subprotocol_prefix<'a>(
    headers: &'a HeaderMap,
    prefix: &str,
) -> Result<Token<'a>, AuthError> {
    match only(offers(headers)?.into_iter().filter_map(|offer| offer.strip_prefix(prefix)))? {
        "" => Err(AuthError::Malformed),
        token => Ok(Token::new(token)),
    }
}

fn offers(headers: &HeaderMap) -> Result<Vec<&str>, AuthError> {
    let offer = Offer::read(headers).map_err(|_| AuthError::Malformed)?;
    Ok(offer.subprotocols().to_vec())
}

/// The value of a parameter of the query, decoded as forms are (`%XX`, and `+` for a space).
///
/// A target is written to the logs of proxies and servers, and kept in the history of browsers:
/// accept here only tokens that are good for one connection and a few seconds. This crate itself never
/// logs a query.
///
/// # Errors
/// [`AuthError::Missing`]; [`Duplicate`](AuthError::Duplicate) if there are two of this name;
/// [`Malformed`](AuthError::Malformed) if it is empty, or not encoded UTF-8.
///
/// ```
/// use tautline::auth;
///
/// let uri: http::Uri = "/feed?since=7&access_token=3f%2B2a".parse()?;
/// assert!(auth::query(&uri, "access_token")?.matches("3f+2a"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn query<'a>(uri: &'a Uri, name: &str) -> Result<Token<'a>, AuthError> {
    let pairs = uri.query().unwrap_or_default().split('&');
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let named = pairs.filter(|(key, _)| decode(key).is_some_and(|key| key == name));
    let value = only(named.map(|(_, value)| value))?;
    let value = decode(value).filter(|value| !value.is_empty());
    value.map(Token::new).ok_or(AuthError::Malformed)
}

fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(text.into());
    }
    let decoded = crate::percent::decode(&text.replace('+', " "))?;
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

fn only<T>(mut found: impl Iterator<Item = T>) -> Result<T, AuthError> {
    match (found.next(), found.next()) {
        (None, _) => Err(AuthError::Missing),
        (Some(value), None) => Ok(value),
        (Some(_), Some(_)) => Err(AuthError::Duplicate),
    }
}

/// A value of a header made of parts that can be sent: what cannot is left out.
fn header_value(text: &str) -> HeaderValue {
    let sent: String = text.chars().filter(|&char| matches!(char, ' '..='~')).collect();
    HeaderValue::try_from(sent).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests;
