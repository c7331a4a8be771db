//! Which of several certificates is for the name that a client asks for.

use std::collections::HashMap;

/// The names of certificates, which are known here by their index.
#[derive(Debug, Default)]
pub(super) struct Names {
    exact: HashMap<String, Vec<usize>>,
    /// By what follows `*.`: a wildcard stands for one label (RFC 9525 section 6.3).
    wildcard: HashMap<String, Vec<usize>>,
}

impl Names {
    /// The index of each certificate is its place in this sequence of lists of names.
    pub(super) fn new<'a, I>(certificates: impl IntoIterator<Item = I>) -> Self
    where
        I: IntoIterator<Item = &'a str>,
    {
        let mut names = Self::default();
        for (index, of_one) in certificates.into_iter().enumerate() {
            for name in of_one {
                let name = normal(name);
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut names.wildcard, parent.to_owned()),
                    None => (&mut names.exact, name),
                };
                map.entry(name).or_default().push(index);
            }
        }
        names
    }

    /// The certificates for this name: those that have it first, then those with a wildcard, each
    /// in their order.
    pub(super) fn find(&self, name: &str) -> impl Iterator<Item = usize> {
        let name = normal(name);
        let parent = name.split_once('.').map_or("", |(_, parent)| parent);
        let exact = self.exact.get(&name).into_iter();
        exact.chain(self.wildcard.get(parent)).flatten().copied()
    }
}

/// As names are compared: in lower case, and without the dot of the root.
fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_finds_its_certificate_and_then_the_wildcards_of_one_label() {
        let names = Names::new([
            vec!["example.com", "*.example.com"],
            vec!["chat.example.com"],
            vec!["*.EXAMPLE.com", "localhost"],
            vec![],
        ]);
        let found = |name| names.find(name).collect::<Vec<_>>();
        assert_eq!(found("example.com"), [0]);
        assert_eq!(found("chat.example.com"), [1, 0, 2]);
        assert_eq!(found("Other.Example.Com."), [0, 2]);
        assert_eq!(found("localhost"), [2]);
        for unknown in ["a.chat.example.com", "com", "example.org", ".example.org", "", "."] {
            assert!(found(unknown).is_empty(), "{unknown}");
        }
    }
}
