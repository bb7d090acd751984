//! Lines of the access log in the combined format of Apache, which is what gunicorn writes:
//! `HOST - USER [TIME] "METHOD PATH PROTOCOL" STATUS BYTES "REFERER" "USER AGENT"`.
//!
//! What a client sent is escaped as Apache does it, so that nobody can forge a line or a field. The path is without
//! its query, which may hold tokens. A client that went away before it was answered has status 499.

use std::{fmt::Write as _, io::Write as _, net::SocketAddr};

use jiff::ZonedDateTime;
use serde_json::{Map, Value};
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::MakeWriter,
    layer::{Context, Layer},
};

use super::{field_values, local_time};

/// Writes a line for each event that it is given: those of the target `access`.
pub(super) struct CombinedLines<W>(pub(super) W);

impl<S, W> Layer<S> for CombinedLines<W>
where
    S: Subscriber,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let line = line(&field_values::of(event), &local_time::now());
        // What cannot be written is the writer's to tell.
        let _ = self.0.make_writer().write_all(line.as_bytes());
    }
}

fn line(fields: &Map<String, Value>, now: &ZonedDateTime) -> String {
    let peer = text(fields, "peer");
    let host =
        peer.parse::<SocketAddr>().map(|peer| peer.ip().to_string()).unwrap_or_else(|_| escaped(&peer, true));
    let user = escaped(&text(fields, "user"), true);
    let bytes = fields.get("bytes").and_then(Value::as_u64).filter(|bytes| *bytes > 0);
    let bytes = bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string());
    format!(
        "{} - {} [{}] \"{} {} {}\" {} {bytes} \"{}\" \"{}\"\n",
        or_dash(host),
        or_dash(user),
        now.strftime("%d/%b/%Y:%H:%M:%S %z"),
        escaped(&text(fields, "method"), false),
        escaped(&text(fields, "path"), false),
        or_dash(escaped(&text(fields, "protocol"), false)),
        text(fields, "status"),
        or_dash(escaped(&text(fields, "referer"), false)),
        or_dash(escaped(&text(fields, "user_agent"), false)),
    )
}

fn text(fields: &Map<String, Value>, name: &str) -> String {
    match fields.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

/// Printable ASCII stays; quotes and backslashes get a backslash, everything else is `\xhh` byte for byte. A word
/// that stands without quotes has no blank either.
fn escaped(text: &str, word: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => escaped.extend(['\\', char::from(byte)]),
            b' ' if !word => escaped.push(' '),
            0x21..=0x7e => escaped.push(char::from(byte)),
            // Writing to text does not fail.
            other => drop(write!(escaped, "\\x{other:02x}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use jiff::{Timestamp, tz::TimeZone};
    use serde_json::json;

    use super::*;

    fn of(fields: Value) -> String {
        let Value::Object(fields) = fields else { panic!("an object") };
        let zone = TimeZone::fixed(jiff::tz::offset(8));
        line(&fields, &Timestamp::UNIX_EPOCH.to_zoned_datetime(zone))
    }

    #[test]
    fn a_request_is_a_line_of_the_combined_format() {
        let line = of(json!({
            "peer": "192.0.2.7:40000", "method": "GET", "path": "/v1/_ping", "protocol": "HTTP/1.1", "status": 200,
            "bytes": 2, "user_agent": "docker/1.9.1 go/go1.4.2", "id": "7"
        }));
        let expected = "192.0.2.7 - - [01/Jan/1970:08:00:00 +0800] \"GET /v1/_ping HTTP/1.1\" 200 2 \"-\" \
                        \"docker/1.9.1 go/go1.4.2\"\n";
        assert_eq!(line, expected);
        let line = of(json!({
            "peer": "[::1]:40000", "user": "joe doe", "method": "HEAD", "path": "/", "protocol": "HTTP/2.0",
            "status": 499, "bytes": 0, "referer": "http://example.com/"
        }));
        let expected = "::1 - joe\\x20doe [01/Jan/1970:08:00:00 +0800] \"HEAD / HTTP/2.0\" 499 - \
                        \"http://example.com/\" \"-\"\n";
        assert_eq!(line, expected);
    }

    #[test]
    fn nobody_can_forge_a_line_or_a_field() {
        let line = of(json!({
            "peer": "a socket\n", "method": "GET", "path": "/\"\n\\\u{7f}é", "protocol": "HTTP/1.1", "status": 200,
            "bytes": 1, "user_agent": "x\" 200\r\n\u{1b}[0m"
        }));
        assert!(line.starts_with("a\\x20socket\\x0a - - ["), "{line}");
        assert!(line.contains("\"GET /\\\"\\x0a\\\\\\x7f\\xc3\\xa9 HTTP/1.1\""), "{line}");
        assert!(line.ends_with("\"x\\\" 200\\x0d\\x0a\\x1b[0m\"\n"), "{line}");
        assert_eq!(line.lines().count(), 1);
    }
}
