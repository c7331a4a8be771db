//! Who is reached without a proxy: the rules of `NO_PROXY`, as curl has them.

use std::net::IpAddr;

use ipnet::IpNet;

/// A list of names and networks.
#[derive(Clone, Debug, Default)]
pub(super) struct Exceptions {
    everybody: bool,
    networks: Vec<IpNet>,
    /// In lower case, without dots at either end. Each stands for the names below it too.
    names: Vec<String>,
}

impl Exceptions {
    /// Entries are separated by commas or blanks. What is neither a network nor a name matches
    /// nothing.
    pub(super) fn parse(list: &str) -> Self {
        let mut exceptions = Self { everybody: list == "*", ..Self::default() };
        for entry in list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty()) {
            let address = || entry.parse::<IpAddr>().map(IpNet::from);
            if let Ok(network) = entry.parse().or_else(|_| address()) {
                exceptions.networks.push(network);
            } else {
                let name = entry.strip_suffix('.').unwrap_or(entry);
                let name = name.strip_prefix('.').unwrap_or(name);
                if !name.is_empty() {
                    exceptions.names.push(name.to_ascii_lowercase());
                }
            }
        }
        exceptions
    }

    /// Whether this host, a name or an address, is one of them.
    pub(super) fn have(&self, host: &str) -> bool {
        if self.everybody {
            return true;
        }
        if let Ok(ip) = host.parse::<IpAddr>() {
            return self.networks.iter().any(|network| network.contains(&ip));
        }
        let host = host.strip_suffix('.').unwrap_or(host);
        self.names.iter().any(|name| is_at_or_below(host, name))
    }
}

/// Whether the host is this name, or one below it. Both are in lower case.
pub(super) fn is_at_or_below(host: &str, name: &str) -> bool {
    host.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    // The same table runs against curl: `cargo xtask forward-proxies`.
    #[test]
    fn the_rules_of_curl() {
        for (list, host, matches) in [
            ("", "a.test", false),
            ("*", "a.test", true),
            ("*", "192.0.2.1", true),
            ("*,b.test", "a.test", false),
            ("*.test", "a.test", false),
            ("a.test", "a.test", true),
            ("a.test", "b.a.test", true),
            ("a.test", "ba.test", false),
            (".a.test", "a.test", true),
            (".a.test", "b.a.test", true),
            ("a.test.", "a.test", true),
            ("a.test", "a.test.", true),
            ("A.Test", "a.test", true),
            ("b.test,a.test", "a.test", true),
            ("b.test a.test", "a.test", true),
            (" b.test ,, a.test ", "a.test", true),
            ("a.test:80", "a.test", false),
            ("test", "a.test", true),
            (".", "a.test", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.0/24", "192.0.2.1", true),
            ("192.0.2.77/24", "192.0.2.1", true),
            ("192.0.3.0/24", "192.0.2.1", false),
            ("192.0.2", "192.0.2.1", false),
            (".2.1", "192.0.2.1", false),
            ("192.0.2.1:80", "192.0.2.1", false),
            ("192.0.2.0/33", "192.0.2.1", false),
            ("2001:db8::1", "2001:db8::1", true),
            // Apart from curl 7.88, which compares these as text.
            ("2001:DB8:0::1", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db8::1", true),
            ("[2001:db8::1]", "2001:db8::1", false),
        ] {
            assert_eq!(Exceptions::parse(list).have(host), matches, "{list:?}: {host}");
        }
    }
}
