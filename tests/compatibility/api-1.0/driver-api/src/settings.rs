//! The configuration that a driver is opened with.

use std::fmt;

use serde_json::{Map, Value};

use crate::{Error, ErrorKind, Result};

/// Values of the driver's own keys, typed and checked by its [`Description`](crate::Description).
///
/// Absent keys have been given their defaults. `Debug` shows names only, since values may be secret.
#[derive(Clone, Default)]
pub struct Settings(Map<String, Value>);

impl Settings {
    /// Wraps checked values.
    pub fn new(values: Map<String, Value>) -> Self {
        Self(values)
    }

    /// All values.
    pub fn values(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The text at `key`, or `None` when it is absent.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] when the value is of another type.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        self.get(key, "a text", Value::as_str)
    }

    /// The text at `key`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] when it is absent or of another type.
    pub fn required_text(&self, key: &str) -> Result<&str> {
        self.text(key)?.ok_or_else(|| invalid(key, "is missing"))
    }

    /// The whole number at `key`, or `None` when it is absent.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] when the value is of another type.
    pub fn integer(&self, key: &str) -> Result<Option<i64>> {
        self.get(key, "a whole number", Value::as_i64)
    }

    /// The number at `key`, or `None` when it is absent.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] when the value is of another type.
    pub fn float(&self, key: &str) -> Result<Option<f64>> {
        self.get(key, "a number", Value::as_f64)
    }

    /// The truth value at `key`, or `None` when it is absent.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] when the value is of another type.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>> {
        self.get(key, "true or false", Value::as_bool)
    }

    /// The texts at `key`; empty when it is absent.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] when the value is of another type.
    pub fn list(&self, key: &str) -> Result<Vec<&str>> {
        let texts = self.get(key, "a list of texts", |value| {
            value.as_array()?.iter().map(Value::as_str).collect::<Option<Vec<_>>>()
        })?;
        Ok(texts.unwrap_or_default())
    }

    fn get<'a, T>(
        &'a self,
        key: &str,
        wanted: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| invalid(key, &format!("must be {wanted}"))),
        }
    }
}

fn invalid(key: &str, what: &str) -> Error {
    Error::new(ErrorKind::InvalidConfiguration, format!("{key} {what}"))
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_typed_and_debug_shows_no_value() {
        let values = serde_json::json!({"path": "/x", "n": 4, "on": true, "l": ["a", "b"], "none": null});
        let settings = Settings::new(values.as_object().unwrap().clone());
        assert_eq!(settings.required_text("path").unwrap(), "/x");
        assert_eq!(settings.integer("n").unwrap(), Some(4));
        assert_eq!(settings.boolean("on").unwrap(), Some(true));
        assert_eq!(settings.list("l").unwrap(), ["a", "b"]);
        assert_eq!(settings.text("none").unwrap(), None);
        assert_eq!(settings.text("n").unwrap_err().message, "n must be a text");
        assert_eq!(settings.required_text("gone").unwrap_err().message, "gone is missing");
        assert!(!format!("{settings:?}").contains("/x"));
    }
}
