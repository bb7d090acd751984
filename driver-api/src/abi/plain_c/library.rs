//! A library with a driver in plain C: its table, checked once when it is loaded, and the opening of the driver.

use std::{
    ffi::{c_char, c_void},
    mem::offset_of,
    ptr, slice,
    sync::Arc,
};

use serde_json::Value;

use super::{
    codes,
    host::serve,
    lent::{LentText, NO_TEXT, c_string},
    opened::{Opened, open},
    table::PlainDriver,
    threads::Threads,
    values::{PlainKey, PlainSetting, PlainSettings, PlainText},
};
use crate::{
    ConfigurationKey, Description, Error, ErrorKind, Result, Settings, SharedDriver, ValueKind,
    abi::{host::Host, memory::Message},
};

/// Size of the table in API 1.0, whose last function was `health`.
const FIRST_SIZE: usize = offset_of!(PlainDriver, health) + size_of::<usize>();
/// A table of more bytes is none: it would hold some thousand functions.
const LARGEST_SIZE: usize = 64 * 1024;
/// More keys than any driver can have.
const MOST_KEYS: usize = 1000;

/// What the loader has of a library in plain C. It is there as long as the process.
pub struct PlainLibrary {
    table: PlainDriver,
    description: Description,
    threads: &'static Threads,
}

impl PlainLibrary {
    /// Checks what a library exports. `name` is the one in its note. The result is there as long as the process.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence about the library.
    ///
    /// # Safety
    /// `exported` is the address of what DOCKER_REGISTRY_DRIVER defines: a pointer to a table that begins with its
    /// own size and never changes, with pointers to C strings and keys that never change either.
    pub unsafe fn check(name: &str, exported: *const c_void) -> std::result::Result<&'static Self, String> {
        // SAFETY: the exported static is a pointer, by the caller's promise.
        let table = unsafe { exported.cast::<*const PlainDriver>().read_unaligned() };
        if table.is_null() {
            return Err("its table of functions is null".to_owned());
        }
        // SAFETY: a table begins with its size.
        let size = unsafe { ptr::read_unaligned(table.cast::<usize>()) };
        if !(FIRST_SIZE..=LARGEST_SIZE).contains(&size) {
            return Err(format!(
                "its table of functions says that it has {size} bytes, and API {}.0 has {FIRST_SIZE}",
                crate::API_VERSION.0
            ));
        }
        // SAFETY: the size is at the front, and what is missing may be zero.
        let table = unsafe { PlainDriver::take(table) };
        if table.api_major != crate::API_VERSION.0 {
            return Err(format!(
                "its table of functions is of API {}.{}, this server speaks {}.x",
                table.api_major,
                table.api_minor,
                crate::API_VERSION.0
            ));
        }
        require_functions(&table)?;
        // SAFETY: the strings and the keys of a table are there for ever.
        let description = unsafe { describe(&table) }?;
        // Like the library itself, whose functions may be running for ever.
        let threads = Box::leak(Box::new(Threads::new(name)));
        Ok(Box::leak(Box::new(Self { table, description, threads })))
    }

    /// What the driver says about itself.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Opens the driver. Each call makes an instance of its own.
    ///
    /// # Errors
    /// What the driver reported; [`ErrorKind::InvalidConfiguration`] for a value that is not of the key's type.
    pub async fn open(&self, settings: &Settings, host: Arc<dyn Host>) -> Result<SharedDriver> {
        let settings = LentSettings::new(&self.description, settings)?;
        let opened: Opened = open(self.table, self.threads, settings, serve(host)).await?;
        Ok(Arc::new(opened))
    }
}

fn require_functions(table: &PlainDriver) -> std::result::Result<(), String> {
    for (name, is_there) in [
        ("open", table.open.is_some()),
        ("get", table.get.is_some()),
        ("put", table.put.is_some()),
        ("head", table.head.is_some()),
        ("stat", table.stat.is_some()),
        ("read_open", table.read_open.is_some()),
        ("list", table.list.is_some()),
        ("open_upload", table.open_upload.is_some()),
        ("append", table.append.is_some()),
        ("commit", table.commit.is_some()),
        ("abort_upload", table.abort_upload.is_some()),
        ("copy", table.copy.is_some()),
        ("rename", table.rename.is_some()),
        ("remove", table.remove.is_some()),
        ("remove_tree", table.remove_tree.is_some()),
        ("health", table.health.is_some()),
    ] {
        if !is_there {
            return Err(format!("its function `{name}` is null, and every driver must have it"));
        }
    }
    Ok(())
}

/// # Safety
/// The strings and the keys of the table are there for ever.
unsafe fn describe(table: &PlainDriver) -> std::result::Result<Description, String> {
    // SAFETY: passed on to the caller.
    let text = |what: &str, data: *const c_char| match unsafe { c_string(data) } {
        Ok(text) => Ok(text),
        Err(fault) => Err(format!("{what} {fault}")),
    };
    let required = |what: &str, data: *const c_char| {
        text(what, data)?.map(str::to_owned).ok_or_else(|| format!("{what} is null"))
    };
    if table.key_count > MOST_KEYS || (table.keys.is_null() && table.key_count > 0) {
        return Err(format!("its {} configuration keys cannot be there", table.key_count));
    }
    let keys: &[PlainKey] = if table.key_count == 0 {
        &[]
    } else {
        // SAFETY: passed on to the caller; the pointer is not null and the number is small.
        unsafe { slice::from_raw_parts(table.keys, table.key_count) }
    };
    let mut described = Vec::with_capacity(keys.len());
    for (index, key) in keys.iter().enumerate() {
        let name = required(&format!("the name of its configuration key {}", index + 1), key.name)?;
        let kind = match key.kind {
            codes::KIND_TEXT => ValueKind::Text,
            codes::KIND_INTEGER => ValueKind::Integer,
            codes::KIND_FLOAT => ValueKind::Float,
            codes::KIND_BOOLEAN => ValueKind::Boolean,
            codes::KIND_LIST => ValueKind::List,
            other => return Err(format!("its configuration key `{name}` has the unknown type {other}")),
        };
        let of = |what: &str| format!("the {what} of its configuration key `{name}`");
        described.push(ConfigurationKey {
            kind,
            default: text(&of("default"), key.default_value)?.map(str::to_owned),
            environment: text(&of("environment variable"), key.environment)?.map(str::to_owned),
            required: key.flags & codes::KEY_REQUIRED != 0,
            secret: key.flags & codes::KEY_SECRET != 0,
            doc: required(&of("explanation"), key.doc)?,
            name,
        });
    }
    Ok(Description {
        summary: required("its summary", table.summary)?,
        licence: required("its licence", table.licence)?,
        keys: described,
    })
}

/// Settings that can be lent to the driver.
pub(super) struct LentSettings {
    values: Vec<LentSetting>,
}

struct LentSetting {
    name: LentText,
    value: LentValue,
}

enum LentValue {
    Text(LentText),
    Integer(i64),
    Number(f64),
    Boolean(bool),
    List(Vec<LentText>),
}

impl LentSettings {
    /// The settings, each in the type of its key.
    fn new(description: &Description, settings: &Settings) -> Result<Self> {
        let mut values = Vec::new();
        for key in &description.keys {
            let name = key.name.as_str();
            if settings.values().get(name).is_none_or(Value::is_null) {
                continue;
            }
            let value = match key.kind {
                ValueKind::Text => settings.text(name)?.map(|text| lent(name, text).map(LentValue::Text)),
                ValueKind::Integer => settings.integer(name)?.map(|number| Ok(LentValue::Integer(number))),
                ValueKind::Float => settings.float(name)?.map(|number| Ok(LentValue::Number(number))),
                ValueKind::Boolean => settings.boolean(name)?.map(|truth| Ok(LentValue::Boolean(truth))),
                ValueKind::List => {
                    let texts = settings.list(name)?;
                    let texts = texts.into_iter().map(|text| lent(name, text)).collect::<Result<_>>();
                    Some(texts.map(LentValue::List))
                }
            };
            if let Some(value) = value {
                values.push(LentSetting { name: LentText::new(name), value: value? });
            }
        }
        Ok(Self { values })
    }

    /// Lends the settings to `code`.
    pub(super) fn with<T>(&self, code: impl FnOnce(&PlainSettings) -> T) -> T {
        let lists: Vec<Vec<PlainText>> = self
            .values
            .iter()
            .map(|setting| match &setting.value {
                LentValue::List(texts) => texts.iter().map(LentText::plain).collect(),
                _ => Vec::new(),
            })
            .collect();
        let settings: Vec<PlainSetting> =
            self.values.iter().zip(&lists).map(|(setting, list)| setting.plain(list)).collect();
        code(&PlainSettings {
            size: size_of::<PlainSettings>(),
            settings: settings.as_ptr(),
            count: settings.len(),
        })
    }
}

impl LentSetting {
    fn plain(&self, list: &[PlainText]) -> PlainSetting {
        let mut plain = PlainSetting {
            name: self.name.plain(),
            kind: codes::KIND_TEXT,
            boolean: 0,
            integer: 0,
            number: 0.0,
            text: NO_TEXT,
            items: ptr::null(),
            item_count: 0,
        };
        match &self.value {
            LentValue::Text(text) => plain.text = text.plain(),
            LentValue::Integer(number) => (plain.kind, plain.integer) = (codes::KIND_INTEGER, *number),
            LentValue::Number(number) => (plain.kind, plain.number) = (codes::KIND_FLOAT, *number),
            LentValue::Boolean(truth) => {
                (plain.kind, plain.boolean) = (codes::KIND_BOOLEAN, u32::from(*truth))
            }
            LentValue::List(_) => {
                (plain.kind, plain.items, plain.item_count) = (codes::KIND_LIST, list.as_ptr(), list.len());
            }
        }
        plain
    }
}

/// A value that can be a C string. The text itself may be secret and is not told.
fn lent(key: &str, text: &str) -> Result<LentText> {
    if text.contains('\0') {
        let message = format!("{key} must not contain a zero byte");
        return Err(Error::new(ErrorKind::InvalidConfiguration, message));
    }
    Ok(LentText::new(text))
}
