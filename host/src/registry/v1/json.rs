//! JSON as 0.9.1 writes it, in answers and in its store.
//!
//! Members and elements are separated by `", "` and `": "`, keys are sorted, and everything outside
//! ASCII is escaped: Python's `json.dumps(value, sort_keys=True)`.

use std::io::{self, Write};

use bytes::Bytes;
use serde::Serialize;
use serde_json::{
    Serializer, Value,
    ser::{CharEscape, Formatter},
};

/// Bodies up to this size are parsed in place; larger ones would hold up other requests.
const PARSED_IN_PLACE: usize = 64 << 10;

/// The text of a value.
pub fn to_text(value: &Value) -> String {
    let mut text = Vec::new();
    // Values have texts as keys and a vector takes every byte, so that neither half can fail.
    let written = value.serialize(&mut Serializer::with_formatter(&mut text, PythonStyle));
    debug_assert!(written.is_ok());
    String::from_utf8(text).unwrap_or_default()
}

/// Reads JSON; `None` when it is none, or is nested deeper than 128 levels.
pub async fn parse(content: Bytes) -> Option<Value> {
    if content.len() <= PARSED_IN_PLACE {
        return serde_json::from_slice(&content).ok();
    }
    tokio::task::spawn_blocking(move || serde_json::from_slice(&content).ok()).await.ok().flatten()
}

struct PythonStyle;

impl PythonStyle {
    fn separate<W: ?Sized + Write>(writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }
}

impl Formatter for PythonStyle {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        Self::separate(writer, first)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        Self::separate(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        for part in fragment.split_inclusive(|c: char| !c.is_ascii()) {
            match part.char_indices().next_back() {
                Some((start, last)) if !last.is_ascii() => {
                    writer.write_all(&part.as_bytes()[..start])?;
                    for unit in last.encode_utf16(&mut [0; 2]) {
                        write!(writer, "\\u{unit:04x}")?;
                    }
                }
                _ => writer.write_all(part.as_bytes())?,
            }
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        // Only the forms that the default writes differently from Python would need a case here.
        serde_json::ser::CompactFormatter.write_char_escape(writer, escape)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_look_as_python_writes_them() {
        let value =
            json!({"b": [1, 2.5, null, true], "a": {"z": {}, "y": []}, "c": "é\u{1f600}x\u{7f}\"\\\n\u{1}"});
        assert_eq!(
            to_text(&value),
            r#"{"a": {"y": [], "z": {}}, "b": [1, 2.5, null, true], "c": "\u00e9\ud83d\ude00x"#.to_owned()
                + "\u{7f}"
                + r#"\"\\\n\u0001"}"#
        );
    }

    #[tokio::test]
    async fn deep_nesting_and_broken_text_are_refused() {
        assert_eq!(parse(Bytes::from("[1]")).await, Some(json!([1])));
        for broken in ["", "{", "\u{feff}[]", &"[".repeat(1 << 20)] {
            assert_eq!(parse(Bytes::from(broken.to_owned())).await, None);
        }
        assert_eq!(parse(Bytes::from_static(b"\"\xff\"")).await, None);
    }
}
