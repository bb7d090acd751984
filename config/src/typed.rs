//! A written value turned into the type its key asks for.
//!
//! The result is JSON, for the server's keys and a driver's alike. Nothing written, `~` and an empty value
//! are `None`. Messages name the offending value only when the key is no secret.

use crate::env_value::{Reference, Through};
use crate::environment::{Environment, NotUnicode};
use crate::keys::{Key, KeyKind};
use crate::scalar::{Scalar, Typed};
use crate::show::mask_url;
use crate::yaml::{self, Entry, Node};
use serde_json::{Map, Number, Value};

/// A value as found, before it has a type.
#[derive(Clone)]
pub(crate) struct Written {
    /// The node, or why the text of a variable is none.
    pub(crate) node: Result<Node, Unusable>,
    /// Set when the value came through `_env:` or a variable.
    pub(crate) through: Option<Through>,
}

/// Why the text of a variable is no value.
#[derive(Clone)]
pub(crate) enum Unusable {
    /// It is not YAML; the parser's message.
    Yaml(String),
    /// It is not even UTF-8.
    NotUnicode(NotUnicode),
}

impl Written {
    /// A text that is read as YAML, such as a variable's.
    pub(crate) fn through(through: Through, line: Option<usize>) -> Written {
        let node = through.parse().map_err(|error| Unusable::Yaml(error.message));
        let node = node.map(|node| relabelled(node, line));
        Written { node, through: Some(through) }
    }

    /// A mapping's value: a reference is followed, anything else is itself.
    pub(crate) fn entry(entry: &Entry, environment: &Environment) -> Written {
        match Reference::read(&entry.node).map(|reference| reference.follow(environment)) {
            None => Written { node: Ok(entry.node.clone()), through: None },
            Some(Ok(through)) => Written::through(through, entry.line),
            Some(Err(error)) => Written { node: Err(Unusable::NotUnicode(error)), through: None },
        }
    }
}

/// Lines inside a variable's text mean nothing to the operator; the line of the `_env:` does.
fn relabelled(node: Node, line: Option<usize>) -> Node {
    match node {
        Node::Scalar(_) => node,
        Node::List(items) => Node::List(items.into_iter().map(|item| relabelled(item, line)).collect()),
        Node::Map(entries) => Node::Map(
            entries
                .into_iter()
                .map(|entry| Entry { line, node: relabelled(entry.node, line), ..entry })
                .collect(),
        ),
    }
}

/// The value in the type of the key, `None` for nothing, or a sentence that says what does not fit.
pub(crate) fn convert(
    key: &Key,
    written: &Written,
    environment: &Environment,
) -> Result<Option<Value>, String> {
    if key.kind == KeyKind::Text
        && let Some(through) = &written.through
    {
        return Ok(through.keep_text().map(Value::String));
    }
    let node = match &written.node {
        Ok(node) => node,
        Err(Unusable::NotUnicode(error)) => return Err(error.to_string()),
        Err(_) if key.secret => return Err("the value is not valid YAML".to_owned()),
        Err(Unusable::Yaml(message)) => return Err(format!("the value is not valid YAML: {message}")),
    };
    if node.is_null() {
        return Ok(None);
    }
    let mismatch = || {
        let described = key.kind.described();
        match node {
            _ if key.secret => format!("the value is not {described}"),
            Node::Scalar(scalar) => format!("`{}` is not {described}", shortened(&scalar.text)),
            Node::List(_) => format!("a list is not {described}"),
            Node::Map(_) => format!("a mapping is not {described}"),
        }
    };
    let converted = match (key.kind, node) {
        (KeyKind::Text, Node::Scalar(scalar)) => Some(Value::String(scalar.text.clone())),
        (KeyKind::Boolean, Node::Scalar(scalar)) => boolean(scalar).map(Value::Bool),
        (KeyKind::Integer, Node::Scalar(scalar)) => integer(scalar).map(Value::from),
        (KeyKind::Float, Node::Scalar(scalar)) => float(scalar),
        (KeyKind::Duration, Node::Scalar(scalar)) => duration(scalar),
        (KeyKind::Size, Node::Scalar(scalar)) => size(scalar).map(Value::from),
        (KeyKind::List, Node::List(_)) => json(node, environment),
        (KeyKind::List, Node::Scalar(scalar)) => list(scalar, environment),
        (KeyKind::Map, Node::Map(_)) | (KeyKind::Any, _) => json(node, environment),
        _ => None,
    };
    converted.map(Some).ok_or_else(mismatch)
}

/// A value for a message: cut when it is long, on one line, passwords in URLs masked.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 60;
    let text = mask_url(text);
    let mut characters = text.chars();
    let start: String =
        characters.by_ref().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if characters.next().is_some() { format!("{start}…") } else { start }
}

/// Quotes around a number or a boolean change nothing where only a number or a boolean can be meant.
fn unquoted(scalar: &Scalar) -> Typed {
    Scalar { text: scalar.text.trim().to_owned(), plain: true }.typed()
}

fn boolean(scalar: &Scalar) -> Option<bool> {
    match unquoted(scalar) {
        Typed::Boolean(value) => Some(value),
        Typed::Integer(0) => Some(false),
        Typed::Integer(1) => Some(true),
        _ => None,
    }
}

fn integer(scalar: &Scalar) -> Option<i64> {
    match unquoted(scalar) {
        Typed::Integer(value) => Some(value),
        _ => None,
    }
}

fn float(scalar: &Scalar) -> Option<Value> {
    let number = match unquoted(scalar) {
        Typed::Integer(value) => Number::from(value),
        Typed::Float(value) => Number::from_f64(value)?,
        // `1e5` is text in YAML 1.1, but nothing else can be meant here.
        Typed::Text(text) => Number::from_f64(text.parse().ok()?)?,
        _ => return None,
    };
    Some(Value::Number(number))
}

/// Seconds, whole where they are whole.
fn duration(scalar: &Scalar) -> Option<Value> {
    match unquoted(scalar) {
        Typed::Integer(seconds) => u64::try_from(seconds).ok().map(Value::from),
        Typed::Float(seconds) => {
            std::time::Duration::try_from_secs_f64(seconds).ok()?;
            Number::from_f64(seconds).map(Value::Number)
        }
        Typed::Text(text) => {
            let duration = humantime::parse_duration(&text).ok()?;
            if duration.subsec_nanos() == 0 {
                return Some(Value::from(duration.as_secs()));
            }
            Number::from_f64(duration.as_secs_f64()).map(Value::Number)
        }
        _ => None,
    }
}

fn size(scalar: &Scalar) -> Option<u64> {
    match unquoted(scalar) {
        Typed::Integer(bytes) => u64::try_from(bytes).ok(),
        Typed::Text(text) if text.starts_with(|first: char| first.is_ascii_digit()) => {
            text.parse::<bytesize::ByteSize>().ok().map(|size| size.as_u64())
        }
        _ => None,
    }
}

/// `a, b c` is three items; `[1, 2]` in quotes is what it says. A number or boolean is a list of one.
fn list(scalar: &Scalar, environment: &Environment) -> Option<Value> {
    let text = scalar.text.trim();
    if text.starts_with('[') {
        return match yaml::parse(text) {
            Ok(node @ Node::List(_)) => json(&node, environment),
            _ => None,
        };
    }
    let items = text.split(|character: char| character == ',' || character.is_whitespace());
    Some(Value::Array(
        items.filter(|item| !item.is_empty()).map(|item| Value::String(item.to_owned())).collect(),
    ))
}

/// A node as JSON. References are followed in mappings, not inside lists, as in the original.
/// `None` when there is a number JSON does not have, or a reference whose text is not YAML.
fn json(node: &Node, environment: &Environment) -> Option<Value> {
    match node {
        Node::Scalar(scalar) => Some(match scalar.typed() {
            Typed::Null => Value::Null,
            Typed::Boolean(value) => Value::Bool(value),
            Typed::Integer(value) => Value::from(value),
            Typed::Float(value) => Value::Number(Number::from_f64(value)?),
            Typed::Text(value) => Value::String(value),
        }),
        Node::List(items) => {
            // An empty environment follows nothing, but a reference in a list must stay text altogether.
            items.iter().map(plain_json).collect::<Option<_>>().map(Value::Array)
        }
        Node::Map(entries) => {
            let mut map = Map::new();
            for entry in entries {
                let node = Written::entry(entry, environment).node.ok()?;
                map.insert(entry.name.clone(), json(&node, environment)?);
            }
            Some(Value::Object(map))
        }
    }
}

/// A node as JSON with references left as text.
fn plain_json(node: &Node) -> Option<Value> {
    match node {
        Node::Map(entries) => {
            let mut map = Map::new();
            for entry in entries {
                map.insert(entry.name.clone(), plain_json(&entry.node)?);
            }
            Some(Value::Object(map))
        }
        _ => json(node, &Environment::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn value(kind: KeyKind, text: &str) -> Result<Option<Value>, String> {
        let entries = match yaml::parse(&format!("key: {text}\n")) {
            Ok(Node::Map(entries)) => entries,
            _ => panic!("not a mapping: {text}"),
        };
        let environment: Environment = [("NUMBER", "0123"), ("BAD", "[a")].into_iter().collect();
        convert(&Key::new("key", kind), &Written::entry(&entries[0], &environment), &environment)
    }

    #[track_caller]
    fn gives(kind: KeyKind, text: &str, expected: Value) {
        let expected = if expected.is_null() { None } else { Some(expected) };
        assert_eq!(value(kind, text), Ok(expected), "{kind} {text}");
    }

    #[test]
    fn text_keeps_what_is_written() {
        for text in ["0123", "1.50", "yes", "1:30", "2014-01-01"] {
            gives(KeyKind::Text, text, json!(text));
        }
        gives(KeyKind::Text, "_env:NUMBER", json!("0123"));
        gives(KeyKind::Text, "_env:BAD", json!("[a"));
        gives(KeyKind::Text, "''", json!(""));
        gives(KeyKind::Text, "~", json!(null));
        assert_eq!(value(KeyKind::Text, "[a]"), Err("a list is not text".to_owned()));
    }

    #[test]
    fn numbers_and_booleans_also_in_quotes() {
        gives(KeyKind::Integer, "0123", json!(83));
        gives(KeyKind::Integer, "'5000'", json!(5000));
        gives(KeyKind::Integer, "_env:NUMBER", json!(83));
        gives(KeyKind::Float, "2", json!(2));
        gives(KeyKind::Float, "1e5", json!(100000.0));
        gives(KeyKind::Boolean, "off", json!(false));
        gives(KeyKind::Boolean, "'true'", json!(true));
        gives(KeyKind::Boolean, "1", json!(true));
        assert_eq!(value(KeyKind::Integer, "1.5"), Err("`1.5` is not a whole number".to_owned()));
        assert_eq!(value(KeyKind::Boolean, "maybe"), Err("`maybe` is not true or false".to_owned()));
        assert!(value(KeyKind::Float, ".nan").is_err());
        assert!(value(KeyKind::Integer, "_env:BAD").is_err_and(|message| message.contains("not valid YAML")));
    }

    #[test]
    fn durations_and_sizes() {
        gives(KeyKind::Duration, "30", json!(30));
        gives(KeyKind::Duration, "0.5", json!(0.5));
        gives(KeyKind::Duration, "30s", json!(30));
        gives(KeyKind::Duration, "1m 30s", json!(90));
        gives(KeyKind::Duration, "250ms", json!(0.25));
        gives(KeyKind::Size, "4096", json!(4096));
        gives(KeyKind::Size, "4MiB", json!(4 << 20));
        gives(KeyKind::Size, "4MB", json!(4_000_000));
        for text in ["-1", "soon", "-0.5"] {
            assert!(value(KeyKind::Duration, text).is_err(), "{text}");
            assert!(value(KeyKind::Size, text).is_err(), "{text}");
        }
    }

    #[test]
    fn lists_and_mappings() {
        gives(KeyKind::List, "[v1, 2]", json!(["v1", 2]));
        gives(KeyKind::List, "v1,v2 v3", json!(["v1", "v2", "v3"]));
        gives(KeyKind::List, "'[1, 2]'", json!([1, 2]));
        gives(KeyKind::Map, "{a: {b: _env:NUMBER}}", json!({"a": {"b": 83}}));
        gives(KeyKind::Any, "yes", json!(true));
        // The original follows references in mappings only.
        gives(KeyKind::List, "['_env:NUMBER']", json!(["_env:NUMBER"]));
        gives(KeyKind::List, "[{a: '_env:NUMBER'}]", json!([{"a": "_env:NUMBER"}]));
        assert!(value(KeyKind::Map, "text").is_err());
    }

    #[test]
    fn a_secret_is_not_in_the_message() {
        let key = Key { secret: true, ..Key::new("key", KeyKind::Integer) };
        let through = Through::described_default("hunter2");
        let message = convert(&key, &Written::through(through, None), &Environment::default());
        assert_eq!(message, Err("the value is not a whole number".to_owned()));
    }
}
