//! The fields of an event as JSON values, for formats of our own.

use std::fmt::Debug;

use serde_json::{Map, Value};
use tracing::{
    Event,
    field::{Field, Visit},
};

/// The fields of an event by name, `message` among them.
pub(super) fn of(event: &Event<'_>) -> Map<String, Value> {
    let mut fields = FieldValues(Map::new());
    event.record(&mut fields);
    fields.0
}

struct FieldValues(Map<String, Value>);

impl FieldValues {
    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        // `r#type` is how Rust spells a field that is called `type`.
        let name = field.name();
        self.0.insert(name.strip_prefix("r#").unwrap_or(name).to_owned(), value.into());
    }
}

impl Visit for FieldValues {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.set(field, format!("{value:?}"));
    }
}
