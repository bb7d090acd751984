//! What a configuration key is: its name, type, default, environment variable and a sentence about it.
//!
//! The server's keys ([`crate::server_keys()`]) and the keys a driver describes have the same shape, so that
//! typing, checking, masking and documentation are written once.

use std::borrow::Cow;
use std::fmt;

/// The type of a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyKind {
    /// Text. It is kept as written: `0123`, `yes` and `1.50` stay themselves.
    Text,
    /// A whole number that fits `i64`.
    Integer,
    /// A finite number.
    Float,
    /// True or false; every YAML 1.1 spelling (`yes`, `off`, …), also `0` and `1`.
    Boolean,
    /// A time: a number of seconds or text such as `30s`, `1m 30s`. In JSON: seconds.
    Duration,
    /// A number of bytes or text such as `4MiB` (1024-based) or `4MB` (1000-based). In JSON: bytes.
    Size,
    /// A list. Text counts as items separated by commas or blanks.
    List,
    /// A mapping with keys of its own choice.
    Map,
    /// Whatever YAML says it is.
    Any,
}

/// One configuration key.
///
/// A dot in the name is a level of nesting: `cache.host` is the key `host` in the mapping `cache`.
/// The value of a key is the one written in the flavor; when the key is not written there, the text of
/// its environment variable; when that gives nothing, the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The name, for example `storage_path` or `cache.host`.
    pub name: Cow<'static, str>,
    /// The type of the value.
    pub kind: KeyKind,
    /// The default, written as it would be in a configuration file.
    pub default: Option<Cow<'static, str>>,
    /// The environment variable to read when the flavor does not write the key.
    pub environment: Option<Cow<'static, str>>,
    /// True when there must be a value.
    pub required: bool,
    /// True when the value must never be printed.
    pub secret: bool,
    /// What the key means, in a sentence.
    pub doc: Cow<'static, str>,
}

/// A key as a driver described it; the host converts the driver's description into this.
pub type DriverKey = Key;

impl Key {
    /// A key without default, environment variable or documentation, neither required nor secret.
    pub fn new(name: impl Into<Cow<'static, str>>, kind: KeyKind) -> Key {
        Key {
            name: name.into(),
            kind,
            default: None,
            environment: None,
            required: false,
            secret: false,
            doc: Cow::Borrowed(""),
        }
    }
}

impl KeyKind {
    /// The type in an operator's words, to complete "this is not …".
    pub(crate) fn described(self) -> &'static str {
        match self {
            KeyKind::Text => "text",
            KeyKind::Integer => "a whole number",
            KeyKind::Float => "a number",
            KeyKind::Boolean => "true or false",
            KeyKind::Duration => "a duration such as 30s",
            KeyKind::Size => "a size such as 4MiB",
            KeyKind::List => "a list",
            KeyKind::Map => "a mapping",
            KeyKind::Any => "a value",
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            KeyKind::Text => "text",
            KeyKind::Integer => "integer",
            KeyKind::Float => "float",
            KeyKind::Boolean => "boolean",
            KeyKind::Duration => "duration",
            KeyKind::Size => "size",
            KeyKind::List => "list",
            KeyKind::Map => "map",
            KeyKind::Any => "any",
        })
    }
}
