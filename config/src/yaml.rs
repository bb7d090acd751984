//! YAML text to nodes with lines.
//!
//! serde_yaml decides what is valid and how the document is built (aliases expanded, with its limits on depth
//! and repetition); [`crate::marks`] adds the line of each key and the way each scalar is written. Where the
//! two parsers see different things, serde_yaml's value stands and the line is missing.

use crate::marks::{self, Mark};
use crate::scalar::Scalar;
use serde_yaml::Value;
use std::rc::Rc;

/// One node of a document. It may hold secrets, so it has no `Debug`.
#[derive(Clone)]
pub(crate) enum Node {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a mapping with its value.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// True when the key is written without quotes; only a plain `<<` merges.
    pub(crate) plain: bool,
    /// The line of the key, counted from 1.
    pub(crate) line: Option<usize>,
    pub(crate) node: Node,
}

/// Why a text is not usable YAML.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct YamlError {
    pub(crate) line: Option<usize>,
    pub(crate) message: String,
}

impl Node {
    /// A node that stands for "nothing written".
    pub(crate) fn null() -> Node {
        Node::Scalar(Scalar { text: String::new(), plain: true })
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Node::Scalar(scalar) if scalar.is_null())
    }
}

/// The value of a key in a mapping.
pub(crate) fn entry<'a>(entries: &'a [Entry], name: &str) -> Option<&'a Entry> {
    entries.iter().find(|entry| entry.name == name)
}

/// Reads one document. An empty text is null.
pub(crate) fn parse(text: &str) -> Result<Node, YamlError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let value: Value = serde_yaml::from_str(text).map_err(|error| YamlError {
        line: error.location().map(|location| location.line()),
        message: error.to_string(),
    })?;
    let marks = marks::read(text);
    convert(value, marks.as_deref())
}

fn convert(value: Value, mark: Option<&Mark>) -> Result<Node, YamlError> {
    Ok(match value {
        Value::Null => scalar(None, mark),
        Value::Bool(value) => scalar(Some(value.to_string()), mark),
        Value::Number(value) => scalar(Some(value.to_string()), mark),
        Value::String(text) => match mark {
            Some(Mark::Scalar { text: marked, plain, .. }) if *marked == text => {
                Node::Scalar(Scalar { text, plain: *plain })
            }
            _ => Node::Scalar(Scalar { text, plain: false }),
        },
        Value::Sequence(items) => {
            let marks: &[Rc<Mark>] = match mark {
                Some(Mark::List(marks)) if marks.len() == items.len() => marks,
                _ => &[],
            };
            let converted = items
                .into_iter()
                .enumerate()
                .map(|(index, item)| convert(item, marks.get(index).map(Rc::as_ref)));
            Node::List(converted.collect::<Result<_, _>>()?)
        }
        Value::Mapping(pairs) => {
            let marks: &[(Rc<Mark>, Rc<Mark>)] = match mark {
                Some(Mark::Map(marks)) if marks.len() == pairs.len() => marks,
                _ => &[],
            };
            let mut entries = Vec::with_capacity(pairs.len());
            for (index, (key, node)) in pairs.into_iter().enumerate() {
                let marked = marks.get(index);
                entries.push(convert_entry(key, node, marked)?);
            }
            Node::Map(entries)
        }
        Value::Tagged(_) => {
            return Err(YamlError {
                line: first_line(mark),
                // Not the tag itself: a secret without quotes may begin with `!`.
                message: "a tag has no meaning here; put quotes around a value that begins with `!`"
                    .to_owned(),
            });
        }
    })
}

fn convert_entry(key: Value, node: Value, marked: Option<&(Rc<Mark>, Rc<Mark>)>) -> Result<Entry, YamlError> {
    let line = marked.and_then(|(key, _)| first_line(Some(key)));
    let Node::Scalar(name) = convert(key, marked.map(|(key, _)| key.as_ref()))? else {
        return Err(YamlError { line, message: "a list or mapping cannot be a key".to_owned() });
    };
    let node = convert(node, marked.map(|(_, node)| node.as_ref()))?;
    // Without marks a plain `<<` cannot be told from a quoted one; nobody quotes it.
    let plain = name.plain || marked.is_none();
    Ok(Entry { name: name.text, plain, line, node })
}

/// A scalar that serde_yaml gave a type: the text as written if the marks have it, else its value as text.
fn scalar(value: Option<String>, mark: Option<&Mark>) -> Node {
    match mark {
        Some(Mark::Scalar { text, .. }) => Node::Scalar(Scalar { text: text.clone(), plain: true }),
        _ => Node::Scalar(Scalar { text: value.unwrap_or_default(), plain: true }),
    }
}

fn first_line(mark: Option<&Mark>) -> Option<usize> {
    match mark? {
        Mark::Scalar { line, .. } => Some(*line),
        Mark::List(items) => first_line(items.first().map(Rc::as_ref)),
        Mark::Map(pairs) => first_line(pairs.first().map(|(key, _)| key.as_ref())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> Vec<Entry> {
        match parse(text) {
            Ok(Node::Map(entries)) => entries,
            Ok(_) => panic!("not a mapping"),
            Err(error) => panic!("{}", error.message),
        }
    }

    #[test]
    fn keys_know_their_lines_also_behind_an_alias() {
        let entries = map("one: 1\n\n# comment\ntwo: &two\n  inner: 2\nthree: *two\nempty:\nlast: x\n");
        let lines: Vec<_> = entries.iter().map(|entry| (entry.name.as_str(), entry.line)).collect();
        let expected =
            [("one", Some(1)), ("two", Some(4)), ("three", Some(6)), ("empty", Some(7)), ("last", Some(8))];
        assert_eq!(lines, expected);
        let Node::Map(three) = &entries[2].node else { panic!("the alias is a mapping") };
        assert_eq!((three[0].name.as_str(), three[0].line), ("inner", Some(5)));
    }

    #[test]
    fn scalars_keep_their_text_and_their_quotes() {
        let entries = map("a: 0123\nb: '0123'\nc: 1.50\nd: !!str 7\ne: |\n  yes\nf: yes\n");
        let scalars: Vec<_> = entries
            .iter()
            .map(|entry| match &entry.node {
                Node::Scalar(scalar) => (scalar.text.as_str(), scalar.plain),
                _ => panic!("not a scalar"),
            })
            .collect();
        let expected =
            [("0123", true), ("0123", false), ("1.50", true), ("7", false), ("yes\n", false), ("yes", true)];
        assert_eq!(scalars, expected);
    }

    #[test]
    fn lines_are_right_with_carriage_returns_and_a_document_start() {
        let entries = map("---\r\n# 注释\r\none: 1\r\ntwo: 0123\r\n...\r\n");
        let lines: Vec<_> = entries.iter().map(|entry| entry.line).collect();
        assert_eq!(lines, [Some(3), Some(4)]);
        assert!(matches!(&entries[1].node, Node::Scalar(scalar) if scalar.text == "0123"));
    }

    #[test]
    fn a_value_without_marks_is_still_right() {
        let value = serde_yaml::from_str("a: {<<: {x: 1}, s: text, n: ~, l: [true]}").expect("valid YAML");
        let Ok(Node::Map(entries)) = convert(value, None) else { panic!("a mapping") };
        let Node::Map(inner) = &entries[0].node else { panic!("a mapping") };
        assert_eq!(entries[0].line, None);
        assert!(inner[0].plain && inner[2].node.is_null());
        assert!(matches!(&inner[1].node, Node::Scalar(scalar) if scalar.text == "text" && !scalar.plain));
        assert!(matches!(&inner[3].node, Node::List(items) if items.len() == 1));
    }

    #[test]
    fn errors_name_the_line() {
        let line = |text: &str| parse(text).err().and_then(|error| error.line);
        assert_eq!(line("a: 1\nb: [\n"), Some(3));
        assert_eq!(line("a: 1\nb: !thing x\n"), Some(2));
        assert_eq!(line("a: 1\n? [x]\n: 1\n"), Some(2));
        assert!(parse("a: 1\na: 2\n").is_err());
        assert!(parse("a: 1\n---\nb: 1\n").is_err());
    }

    #[test]
    fn documents_that_explode_are_refused() {
        let mut text = String::from("a: &a [x, x, x, x, x, x, x, x, x]\n");
        for (from, to) in ('a'..='i').zip('b'..='j') {
            text.push_str(&format!("{to}: &{to} [*{from}, *{from}, *{from}, *{from}, *{from}, *{from}]\n"));
        }
        assert!(parse(&text).is_err());
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
