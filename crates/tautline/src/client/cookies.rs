//! Cookies that are kept between requests.

use http::HeaderValue;
use tautline_handshake::WsUri;

/// Keeps the cookies of servers (RFC 6265): see [`Client::cookie_jar`](crate::Client::cookie_jar).
///
/// With the feature `cookies` it is implemented for a `CookieStore` of the crate `cookie_store` in a
/// [`Mutex`](std::sync::Mutex) or an [`RwLock`](std::sync::RwLock). An implementation of your own
/// may wrap the jar of an HTTP client, so that both share a login.
///
/// To a jar, `ws` is `http` and `wss` is `https`: a cookie with `Secure` is only for the latter, and
/// one with `HttpOnly` is for both. An implementation must not block for long.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use tautline::http::HeaderValue;
/// use tautline::{Client, CookieJar, WsUri};
///
/// /// The cookies of one server, whatever their attributes say.
/// #[derive(Default)]
/// struct Session(Mutex<Option<HeaderValue>>);
///
/// impl CookieJar for Session {
///     fn cookies(&self, uri: &WsUri) -> Option<HeaderValue> {
///         self.0.lock().unwrap().clone().filter(|_| uri.host() == "chat.example")
///     }
///
///     fn store(&self, uri: &WsUri, set_cookies: &mut dyn Iterator<Item = &HeaderValue>) {
///         let pair = set_cookies.last().and_then(|line| line.to_str().ok()?.split(';').next());
///         if let Some(pair) = pair.filter(|_| uri.host() == "chat.example") {
///             *self.0.lock().unwrap() = HeaderValue::from_str(pair).ok();
///         }
///     }
/// }
///
/// let client = Client::new().cookie_jar(Arc::new(Session::default()));
/// # let _ = client;
/// ```
pub trait CookieJar: Send + Sync {
    /// The value of `Cookie` for a request to this URI, or `None` if there are no cookies for it.
    fn cookies(&self, uri: &WsUri) -> Option<HeaderValue>;

    /// Keeps what a response to a request for this URI sets: the values of its `Set-Cookie` lines,
    /// of which there is at least one.
    fn store(&self, uri: &WsUri, set_cookies: &mut dyn Iterator<Item = &HeaderValue>);
}

#[cfg(feature = "cookies")]
mod store {
    use std::sync::{Mutex, PoisonError, RwLock};

    use cookie_store::{CookieStore, RawCookie};
    use http::HeaderValue;
    use tautline_handshake::WsUri;
    use url::Url;

    use super::CookieJar;

    impl CookieJar for Mutex<CookieStore> {
        fn cookies(&self, uri: &WsUri) -> Option<HeaderValue> {
            line(&self.lock().unwrap_or_else(PoisonError::into_inner), uri)
        }

        fn store(&self, uri: &WsUri, set_cookies: &mut dyn Iterator<Item = &HeaderValue>) {
            keep(&mut self.lock().unwrap_or_else(PoisonError::into_inner), uri, set_cookies);
        }
    }

    impl CookieJar for RwLock<CookieStore> {
        fn cookies(&self, uri: &WsUri) -> Option<HeaderValue> {
            line(&self.read().unwrap_or_else(PoisonError::into_inner), uri)
        }

        fn store(&self, uri: &WsUri, set_cookies: &mut dyn Iterator<Item = &HeaderValue>) {
            keep(&mut self.write().unwrap_or_else(PoisonError::into_inner), uri, set_cookies);
        }
    }

    fn line(store: &CookieStore, uri: &WsUri) -> Option<HeaderValue> {
        let url = http_url(uri)?;
        let pairs: Vec<_> =
            store.get_request_values(&url).map(|(name, value)| format!("{name}={value}")).collect();
        let line = HeaderValue::try_from(pairs.join("; ")).ok();
        line.filter(|line| !line.is_empty())
    }

    fn keep(
        store: &mut CookieStore,
        uri: &WsUri,
        set_cookies: &mut dyn Iterator<Item = &HeaderValue>,
    ) {
        let Some(url) = http_url(uri) else { return };
        let parsed = set_cookies
            .filter_map(|line| RawCookie::parse(line.to_str().ok()?).ok())
            .map(RawCookie::into_owned);
        store.store_response_cookies(parsed, &url);
    }

    /// The URI in the schemes that the rules of cookies know (RFC 6265 section 5.4).
    fn http_url(uri: &WsUri) -> Option<Url> {
        let text = uri.to_string();
        let rest = text.strip_prefix("ws")?;
        Url::parse(&format!("http{rest}")).ok()
    }

    #[cfg(all(test, not(tautline_loom)))]
    mod tests {
        use super::*;

        fn uri(text: &str) -> WsUri {
            WsUri::parse(text).expect("a URI")
        }

        #[test]
        fn a_cookie_goes_where_its_attributes_say() {
            let jar = Mutex::new(CookieStore::default());
            let lines = [
                "plain=1",
                "secure=2; Secure",
                "script=3; HttpOnly",
                "path=4; Path=/admin",
                "domain=5; Domain=chat.test",
                "foreign=6; Domain=other.test",
                "gone=7; Max-Age=0",
            ]
            .map(HeaderValue::from_static);
            jar.store(&uri("wss://www.chat.test/"), &mut lines.iter());
            for (to, expected) in [
                ("wss://www.chat.test/", "domain=5; plain=1; script=3; secure=2"),
                ("ws://www.chat.test:81/x", "domain=5; plain=1; script=3"),
                ("ws://www.chat.test/admin/x", "domain=5; path=4; plain=1; script=3"),
                ("wss://chat.test/", "domain=5"),
                ("wss://other.test/", ""),
                ("wss://chat.test.other/", ""),
            ] {
                let line = jar.cookies(&uri(to));
                let line = line.as_ref().map_or("", |line| line.to_str().expect("text"));
                let mut pairs: Vec<_> = line.split("; ").collect();
                pairs.sort_unstable();
                assert_eq!(pairs.join("; "), expected, "{to}");
            }
        }
    }
}
