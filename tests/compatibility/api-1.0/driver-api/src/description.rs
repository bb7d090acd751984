//! What a driver says about itself.
//!
//! The server validates configuration from this, prints it in `driver inspect`, and documents keys
//! with it; nobody writes the same facts twice.

use serde::{Deserialize, Serialize};

/// Type of a configuration value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ValueKind {
    /// Text; kept exactly as written (`0123` stays `0123`).
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Float,
    /// `true` or `false`.
    Boolean,
    /// A list of texts.
    List,
}

/// One configuration key of a driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationKey {
    /// Name in the flavor.
    pub name: String,
    /// Type of the value.
    pub kind: ValueKind,
    /// Value when the key is absent, written as in the configuration file.
    pub default: Option<String>,
    /// Environment variable that the sample configuration reads it from.
    pub environment: Option<String>,
    /// Whether the driver cannot open without it.
    pub required: bool,
    /// Whether the value must never be shown.
    pub secret: bool,
    /// One sentence for an operator.
    pub doc: String,
}

impl ConfigurationKey {
    /// An optional text key without default.
    pub fn text(name: &str, doc: &str) -> Self {
        Self::of(ValueKind::Text, name, doc)
    }

    /// An optional key of the given type without default.
    pub fn of(kind: ValueKind, name: &str, doc: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            default: None,
            environment: None,
            required: false,
            secret: false,
            doc: doc.to_owned(),
        }
    }

    /// Sets the default, written as in the configuration file.
    #[must_use]
    pub fn default(mut self, value: &str) -> Self {
        self.default = Some(value.to_owned());
        self
    }

    /// Names the environment variable that the sample configuration reads it from.
    #[must_use]
    pub fn environment(mut self, variable: &str) -> Self {
        self.environment = Some(variable.to_owned());
        self
    }

    /// The driver cannot open without the key.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// The value must never be shown.
    #[must_use]
    pub fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}

/// What a driver says about itself, apart from its name and version, which `export_driver!` records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// One line: what the driver stores in.
    pub summary: String,
    /// Licence of the driver, as an SPDX expression.
    pub licence: String,
    /// Every configuration key.
    pub keys: Vec<ConfigurationKey>,
}
