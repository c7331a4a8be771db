//! Patterns by their tokens, so that those that match a topic are found without asking each.

use std::collections::HashMap;

use crate::topic::{ANY, Pattern, REST, Topic};

/// A value for each of some patterns.
#[derive(Debug)]
pub(crate) struct Trie<T> {
    root: Node<T>,
    len: usize,
}

#[derive(Debug)]
struct Node<T> {
    next: HashMap<Box<str>, Node<T>>,
    /// Of the pattern that ends here.
    value: Option<T>,
}

impl<T> Default for Trie<T> {
    fn default() -> Self {
        Self { root: Node::default(), len: 0 }
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { next: HashMap::new(), value: None }
    }
}

impl<T> Trie<T> {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, pattern: &Pattern) -> Option<&T> {
        let mut node = &self.root;
        for token in pattern.tokens() {
            node = node.next.get(token)?;
        }
        node.value.as_ref()
    }

    pub(crate) fn insert(&mut self, pattern: &Pattern, value: T) {
        let mut node = &mut self.root;
        for token in pattern.tokens() {
            node = node.next.entry(token.into()).or_default();
        }
        if node.value.replace(value).is_none() {
            self.len += 1;
        }
    }

    /// Removes the value, and what leads to nothing else.
    pub(crate) fn remove(&mut self, pattern: &Pattern) -> Option<T> {
        let tokens: Vec<&str> = pattern.tokens().collect();
        let removed = self.root.remove(&tokens);
        self.len -= usize::from(removed.is_some());
        removed
    }

    /// Calls this with the value of each pattern that matches.
    pub(crate) fn matching<'a>(&'a self, topic: &Topic, found: &mut impl FnMut(&'a T)) {
        let tokens: Vec<&str> = topic.tokens().collect();
        self.root.matching(&tokens, found);
    }

    /// Calls this with each value.
    pub(crate) fn for_each<'a>(&'a self, each: &mut impl FnMut(&'a T)) {
        self.root.for_each(each);
    }
}

impl<T> Node<T> {
    fn remove(&mut self, tokens: &[&str]) -> Option<T> {
        let Some((token, rest)) = tokens.split_first() else { return self.value.take() };
        let node = self.next.get_mut(*token)?;
        let removed = node.remove(rest);
        if node.value.is_none() && node.next.is_empty() {
            self.next.remove(*token);
        }
        removed
    }

    fn matching<'a>(&'a self, tokens: &[&str], found: &mut impl FnMut(&'a T)) {
        let Some((token, rest)) = tokens.split_first() else {
            self.value.iter().for_each(found);
            return;
        };
        if let Some(all) = self.next.get(REST) {
            all.value.iter().for_each(&mut *found);
        }
        for token in [*token, ANY] {
            if let Some(node) = self.next.get(token) {
                node.matching(rest, found);
            }
        }
    }

    fn for_each<'a>(&'a self, each: &mut impl FnMut(&'a T)) {
        self.value.iter().for_each(&mut *each);
        self.next.values().for_each(|node| node.for_each(each));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).unwrap()
    }

    #[test]
    fn it_finds_those_that_match_and_no_others() {
        let patterns = ["a.b", "a.*", "*", "*.b", "*.*", ">", "a.>", "a.b.>", "b.*", "a.*.c"];
        let mut trie = Trie::default();
        for text in patterns {
            trie.insert(&pattern(text), text);
        }
        assert_eq!(trie.len(), patterns.len());
        for topic in ["a", "b", "a.b", "b.b", "a.b.c", "a.x.c", "a.b.c.d", "c"] {
            let topic = Topic::new(topic).unwrap();
            let mut found = Vec::new();
            trie.matching(&topic, &mut |text| found.push(*text));
            found.sort_unstable();
            let mut expected: Vec<_> =
                patterns.into_iter().filter(|text| pattern(text).matches(&topic)).collect();
            expected.sort_unstable();
            assert_eq!(found, expected, "{topic}");
        }
    }

    #[test]
    fn what_is_removed_leaves_nothing() {
        let mut trie = Trie::default();
        trie.insert(&pattern("a.*.c"), 1);
        trie.insert(&pattern("a.*"), 2);
        assert_eq!(trie.remove(&pattern("a.>")), None);
        assert_eq!(trie.remove(&pattern("a.*.c")), Some(1));
        assert_eq!(trie.remove(&pattern("a.*.c")), None);
        assert_eq!(trie.get(&pattern("a.*")), Some(&2));
        assert_eq!(trie.remove(&pattern("a.*")), Some(2));
        assert_eq!(trie.len(), 0);
        assert!(trie.root.next.is_empty());
    }
}
