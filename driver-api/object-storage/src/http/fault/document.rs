//! The error documents of the stores: XML of S3, OSS, GCS and Azure, JSON of GCS and of token services.
//!
//! Whatever arrives, reading it never fails and never panics: at worst nothing is known.

use quick_xml::{Reader, events::Event};
use serde_json::Value;

use crate::http::exchange::{LARGEST_DOCUMENT, one_line};

/// What an error document says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::http) struct Said {
    pub code: Option<String>,
    pub message: Option<String>,
    pub request_id: Option<String>,
    /// A region or endpoint named as the right one.
    pub place: Option<String>,
}

/// Reads what can be read.
pub(in crate::http) fn read(document: &[u8]) -> Said {
    let document = &document[..document.len().min(LARGEST_DOCUMENT)];
    let text = String::from_utf8_lossy(document);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if text.starts_with('<') {
        of_xml(text)
    } else if text.starts_with('{') || text.starts_with('[') {
        of_json(text)
    } else {
        Said::default()
    }
}

/// Takes the first text of the known elements directly below the root `Error`.
fn of_xml(text: &str) -> Said {
    let mut said = Said::default();
    let mut reader = Reader::from_str(text);
    let mut path: Vec<String> = Vec::new();
    let mut collected = String::new();
    loop {
        match reader.read_event() {
            Ok(Event::Start(start)) => {
                path.push(start.local_name().as_ref().to_owned());
                collected.clear();
            }
            Ok(Event::Text(text)) => collected.push_str(&text),
            Ok(Event::CData(data)) => collected.push_str(&data),
            Ok(Event::GeneralRef(name)) => {
                collected.push(match &*name {
                    "lt" => '<',
                    "gt" => '>',
                    "quot" => '"',
                    "apos" => '\'',
                    "amp" => '&',
                    _ => '?',
                });
            }
            Ok(Event::End(_)) => {
                if let [root, name] = path.as_slice()
                    && root.eq_ignore_ascii_case("error")
                {
                    let slot = match name.as_str() {
                        "Code" => Some(&mut said.code),
                        "Message" => Some(&mut said.message),
                        "RequestId" => Some(&mut said.request_id),
                        "Region" | "Endpoint" => Some(&mut said.place),
                        _ => None,
                    };
                    let value = one_line(&collected);
                    if let Some(slot) = slot
                        && slot.is_none()
                        && !value.is_empty()
                    {
                        *slot = Some(value);
                    }
                }
                path.pop();
                collected.clear();
            }
            Ok(Event::Eof) | Err(_) => return said,
            Ok(_) => {}
        }
    }
}

/// `{"error": {"code": 403, "message": …, "errors": [{"reason": …}]}}` of GCS,
/// `{"error": "invalid_grant", "error_description": …}` of OAuth, `{"Code": …, "Message": …}` of others.
fn of_json(text: &str) -> Said {
    let Ok(value) = serde_json::from_str::<Value>(text) else { return Said::default() };
    let line = |value: &Value| value.as_str().map(one_line).filter(|text| !text.is_empty());
    let error = match &value["error"] {
        inner @ Value::Object(_) => inner,
        _ => &value,
    };
    let code =
        [&error["errors"][0]["reason"], &error["error"], &error["status"], &error["code"], &error["Code"]]
            .into_iter()
            .find_map(line);
    let message =
        [&error["message"], &error["error_description"], &error["Message"]].into_iter().find_map(line);
    Said { code, message, request_id: line(&value["RequestId"]), place: None }
}

/// Whether a document that came with a good status is an error all the same.
pub(in crate::http) fn is_error(document: &[u8]) -> bool {
    let text = String::from_utf8_lossy(&document[..document.len().min(LARGEST_DOCUMENT)]);
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}').trim_start());
    loop {
        match reader.read_event() {
            Ok(Event::Start(start) | Event::Empty(start)) => {
                return start.local_name().as_ref().eq_ignore_ascii_case("error");
            }
            Ok(Event::Eof) | Err(_) => return false,
            Ok(_) => {}
        }
    }
}
