//! The proxies that the environment names, as curl reads it.

use std::net::IpAddr;

use tautline_handshake::WsUri;

use super::exceptions::{Exceptions, is_at_or_below};
use super::{InvalidProxy, Proxy};

/// Lower case goes first. `HTTP_PROXY` is left out: a CGI program has what its client sent as the
/// header `Proxy` there.
const FOR_WS: &[&str] = &["http_proxy", "all_proxy", "ALL_PROXY"];
const FOR_WSS: &[&str] = &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
const EXCEPTIONS: &[&str] = &["no_proxy", "NO_PROXY"];

/// What the variables say.
#[derive(Debug)]
pub(super) struct Environment {
    ws: Result<Option<Proxy>, InvalidProxy>,
    wss: Result<Option<Proxy>, InvalidProxy>,
    exceptions: Exceptions,
}

impl Environment {
    /// An empty variable counts as none.
    pub(super) fn read(get: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: &[&'static str]| {
            let set = |&name: &&'static str| {
                get(name).filter(|value| !value.is_empty()).map(|value| (name, value))
            };
            names.iter().find_map(set)
        };
        let proxy = |names| {
            let found = first(names);
            let read = |(name, value): (_, String)| Proxy::new(&value).map_err(|e| e.of(name));
            found.map(read).transpose()
        };
        let exceptions = first(EXCEPTIONS).map(|(_, list)| Exceptions::parse(&list));
        Self { ws: proxy(FOR_WS), wss: proxy(FOR_WSS), exceptions: exceptions.unwrap_or_default() }
    }

    pub(super) fn proxy(&self, uri: &WsUri) -> Result<Option<&Proxy>, InvalidProxy> {
        if is_loopback(uri.host()) || self.exceptions.have(uri.host()) {
            return Ok(None);
        }
        let proxy = if uri.is_secure() { &self.wss } else { &self.ws };
        proxy.as_ref().map(Option::as_ref).map_err(Clone::clone)
    }
}

/// This machine itself (RFC 6761 section 6.3): no proxy can reach that.
fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().is_loopback(),
        Err(_) => is_at_or_below(host.strip_suffix('.').unwrap_or(host), "localhost"),
    }
}

#[cfg(all(test, not(tautline_loom)))]
mod tests {
    use super::*;

    /// The port of the proxy that is used with these variables: 0 for none.
    fn port(variables: &[(&str, &str)], uri: &str) -> u16 {
        let get = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let environment = Environment::read(get);
        let uri = WsUri::parse(uri).expect("a URI");
        let proxy = environment.proxy(&uri).expect("valid variables");
        proxy.map_or(0, Proxy::port)
    }

    // The same table runs against curl: `cargo xtask forward-proxies`.
    #[test]
    fn the_order_of_curl() {
        let (ws, wss) = ("ws://a.test/", "wss://a.test/");
        let all = [
            ("ALL_PROXY", "p:1"),
            ("all_proxy", "p:2"),
            ("HTTPS_PROXY", "p:3"),
            ("https_proxy", "p:4"),
            ("HTTP_PROXY", "p:5"),
            ("http_proxy", "p:6"),
        ];
        for (count, for_ws, for_wss) in
            [(0, 0, 0), (1, 1, 1), (2, 2, 2), (3, 2, 3), (4, 2, 4), (5, 2, 4), (6, 6, 4)]
        {
            assert_eq!(port(&all[..count], ws), for_ws, "{count}");
            assert_eq!(port(&all[..count], wss), for_wss, "{count}");
        }
        assert_eq!(port(&[("HTTP_PROXY", "p:1")], ws), 0);
        // An empty one is none, and the next counts.
        assert_eq!(port(&[("https_proxy", ""), ("ALL_PROXY", "p:1")], wss), 1);
        for (lower, upper, used) in
            [("a.test", "b.test", 0), ("b.test", "a.test", 1), ("", "a.test", 0)]
        {
            let variables = [("all_proxy", "p:1"), ("no_proxy", lower), ("NO_PROXY", upper)];
            assert_eq!(port(&variables, ws), used, "{lower}, {upper}");
        }
    }

    // Tests of users run against a server of their own on this machine, also where a proxy is set.
    #[test]
    fn this_machine_is_reached_without_a_proxy() {
        for (host, used) in [
            ("localhost", 0),
            ("a.localhost", 0),
            ("localhost.", 0),
            ("127.0.0.1", 0),
            ("127.9.9.9", 0),
            ("[::1]", 0),
            ("[::ffff:127.0.0.1]", 0),
            ("notlocalhost", 1),
            ("localhost.test", 1),
            ("128.0.0.1", 1),
        ] {
            assert_eq!(port(&[("all_proxy", "p:1")], &format!("ws://{host}/")), used, "{host}");
        }
    }

    #[test]
    fn an_invalid_variable_is_named_and_harms_only_those_that_it_is_for() {
        let get = |name: &str| (name == "HTTPS_PROXY").then(|| "ftp://u:secret@p".to_owned());
        let environment = Environment::read(get);
        let uri = |text| WsUri::parse(text).unwrap();
        assert!(environment.proxy(&uri("ws://a.test/")).unwrap().is_none());
        assert!(environment.proxy(&uri("wss://localhost/")).unwrap().is_none());
        let error = environment.proxy(&uri("wss://a.test/")).unwrap_err();
        assert_eq!(error.variable(), Some("HTTPS_PROXY"));
        assert!(error.to_string().contains("HTTPS_PROXY"), "{error}");
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    }
}
