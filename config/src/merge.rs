//! Merge keys (`<<`), resolved at any depth and through any chain.
//!
//! As in YAML 1.1: a mapping's own keys win over merged ones, in a list of mappings the earlier one wins,
//! and merging is shallow (a nested mapping is replaced whole). The merged mapping is itself resolved first,
//! so `prod` → `s3` → `common` needs no second pass.

use crate::yaml::{Entry, Node};

/// The name of the merge key.
const MERGE: &str = "<<";

/// What resolving gave.
pub(crate) struct Merged {
    pub(crate) node: Node,
    /// True when the document holds a merge key anywhere; files of 0.6 and 0.7 never do.
    pub(crate) found_any: bool,
    /// The lines of merge keys whose value is neither a mapping nor a list of mappings.
    pub(crate) invalid: Vec<Option<usize>>,
}

/// Resolves every merge key of a document.
pub(crate) fn resolve(node: Node) -> Merged {
    let mut merged = Merged { node: Node::null(), found_any: false, invalid: Vec::new() };
    merged.node = merged.resolve(node);
    merged
}

impl Merged {
    fn resolve(&mut self, node: Node) -> Node {
        match node {
            Node::Scalar(_) => node,
            Node::List(items) => Node::List(items.into_iter().map(|item| self.resolve(item)).collect()),
            Node::Map(entries) => Node::Map(self.resolve_map(entries)),
        }
    }

    fn resolve_map(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        let mut own = Vec::with_capacity(entries.len());
        let mut inherited = Vec::new();
        for entry in entries {
            let node = self.resolve(entry.node);
            if entry.name == MERGE && entry.plain {
                self.found_any = true;
                match merge_sources(node) {
                    Some(sources) => inherited.extend(sources),
                    None => self.invalid.push(entry.line),
                }
            } else {
                own.push(Entry { node, ..entry });
            }
        }
        for entry in inherited {
            add_missing(&mut own, entry);
        }
        own
    }
}

/// Adds a key unless the mapping has it already.
pub(crate) fn add_missing(entries: &mut Vec<Entry>, entry: Entry) {
    if !entries.iter().any(|present| present.name == entry.name) {
        entries.push(entry);
    }
}

fn merge_sources(node: Node) -> Option<Vec<Entry>> {
    match node {
        Node::Map(entries) => Some(entries),
        Node::List(items) => {
            let mut sources = Vec::new();
            for item in items {
                match item {
                    Node::Map(entries) => sources.extend(entries),
                    _ => return None,
                }
            }
            Some(sources)
        }
        Node::Scalar(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    /// The document after merging, as compact text.
    fn merged(text: &str) -> String {
        fn print(node: &Node) -> String {
            match node {
                Node::Scalar(scalar) => scalar.text.clone(),
                Node::List(items) => format!("[{}]", items.iter().map(print).collect::<Vec<_>>().join(" ")),
                Node::Map(entries) => {
                    let parts: Vec<_> = entries
                        .iter()
                        .map(|entry| format!("{}={}", entry.name, print(&entry.node)))
                        .collect();
                    format!("{{{}}}", parts.join(" "))
                }
            }
        }
        let node = yaml::parse(text).map_err(|error| error.message).expect("valid YAML");
        print(&resolve(node).node)
    }

    #[test]
    fn chains_are_followed_to_their_end() {
        let text = "a: &a {x: 1, y: 1}\nb: &b {<<: *a, y: 2, z: 2}\nc: &c {<<: *b, z: 3}\nd: {<<: *c}\n";
        assert_eq!(merged(text), "{a={x=1 y=1} b={y=2 z=2 x=1} c={z=3 y=2 x=1} d={z=3 y=2 x=1}}");
    }

    #[test]
    fn merging_is_shallow_and_works_at_depth() {
        let text = "a: &a {n: {p: 1, q: 1}}\nb: {<<: *a, n: {p: 2}}\nc: {list: [{deep: {<<: *a}}]}\n";
        assert_eq!(merged(text), "{a={n={p=1 q=1}} b={n={p=2}} c={list=[{deep={n={p=1 q=1}}}]}}");
    }

    #[test]
    fn own_keys_win_wherever_the_merge_key_stands_and_earlier_sources_win() {
        let text = "a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {x: 3, <<: *b}\nd: {<<: [*a, *b]}\n";
        assert_eq!(merged(text), "{a={x=1} b={x=2 y=2} c={x=3 y=2} d={x=1 y=2}}");
    }

    #[test]
    fn a_quoted_merge_key_is_an_ordinary_key() {
        assert_eq!(merged("a: {'<<': {x: 1}}\n"), "{a={<<={x=1}}}");
    }

    #[test]
    fn a_merge_key_without_mappings_is_reported_with_its_line() {
        for text in ["a:\n  <<: text\n", "a:\n  <<: [{x: 1}, text]\n", "a:\n  <<:\n"] {
            let node = yaml::parse(text).map_err(|error| error.message).expect("valid YAML");
            assert_eq!(resolve(node).invalid, [Some(2)], "{text}");
        }
    }
}
