//! Lines for Logstash: one JSON object a line, as its `json_lines` codec reads them.
//!
//! Every line has these keys, and no other line format of the server has them:
//!
//! | key | type | meaning |
//! |---|---|---|
//! | `@timestamp` | text | RFC 3339 in UTC, with milliseconds and `Z` |
//! | `@version` | text | always `"1"`, the version of this shape |
//! | `message` | text | the event in words; `request` for a line of the access log |
//! | `level` | text | `DEBUG`, `INFO`, `WARN` or `ERROR` |
//! | `logger_name` | text | the module, or `access` for the access log |
//! | `thread_name` | text | the thread; `unnamed` where it has no name |
//!
//! The fields of the event stand beside them as text, number or boolean, for a line of the access log for example
//! `method`, `path`, `status`, `bytes`, `milliseconds`. One that has the name of a key above is called `field_NAME`.

use std::fmt;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use super::field_values;

/// The format.
pub(super) struct Logstash;

impl<S, N> FormatEvent<S, N> for Logstash
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        writeln!(writer, "{}", Value::Object(object(event, Timestamp::now())))
    }
}

fn object(event: &Event<'_>, now: Timestamp) -> Map<String, Value> {
    let mut fields = field_values::of(event);
    let message = match fields.remove("message") {
        Some(Value::String(message)) => message,
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let thread = std::thread::current();
    let mut line = Map::new();
    line.insert("@timestamp".to_owned(), json!(now.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()));
    line.insert("@version".to_owned(), json!("1"));
    line.insert("message".to_owned(), json!(message));
    line.insert("level".to_owned(), json!(event.metadata().level().as_str()));
    line.insert("logger_name".to_owned(), json!(event.metadata().target()));
    line.insert("thread_name".to_owned(), json!(thread.name().unwrap_or("unnamed")));
    for (name, value) in fields {
        let name = if line.contains_key(&name) { format!("field_{name}") } else { name };
        line.insert(name, value);
    }
    line
}
