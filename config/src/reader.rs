//! Typed values out of the resolved keys, each within its bounds.
//!
//! What is out of bounds is noted as a problem and replaced by something harmless, so that all problems of a
//! file are found at once.

use crate::flavor::Flavor;
use crate::problem::Problem;
use crate::settings::{Address, Isolation, LogLevel, Protocols, ResolvedKeys};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Most connections or calls.
const MOST_COUNT: usize = 1_000_000;
/// Smallest limit for a size, in bytes.
const LEAST_SIZE: u64 = 1024;
/// Shortest time-out.
pub(crate) const INSTANT: Duration = Duration::from_millis(1);
/// Youngest upload that may be taken for abandoned.
pub(crate) const HOUR: Duration = Duration::from_secs(60 * 60);
/// Longest time of any kind.
const MOST_TIME: Duration = Duration::from_secs(3650 * 86_400);

/// Takes typed values out of the resolved keys and checks their bounds.
pub(crate) struct Reader<'a> {
    pub(crate) keys: &'a ResolvedKeys,
    pub(crate) flavor: &'a Flavor,
    pub(crate) problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        self.keys.get(name)?.value.as_ref()
    }

    pub(crate) fn problem(&mut self, name: &str, message: impl Into<String>, hint: impl Into<String>) {
        let line = self.keys.get(name).and_then(|resolved| resolved.origin.line());
        self.problems.push(Problem::error(&self.flavor.file, name, message).at(line).hint(hint));
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.value(name)?.as_str().map(str::to_owned)
    }

    pub(crate) fn boolean(&self, name: &str, otherwise: bool) -> bool {
        self.value(name).and_then(Value::as_bool).unwrap_or(otherwise)
    }

    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let items = self.value(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect()
    }

    pub(crate) fn address(&mut self, host: &str, port: &str, default_port: u16) -> Address {
        let written = self.value(port).and_then(Value::as_i64).unwrap_or(i64::from(default_port));
        let number = u16::try_from(written).unwrap_or_else(|_| {
            self.problem(port, format!("{written} is not a port"), "a port is 0 to 65535");
            default_port
        });
        let host = self.text(host).unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
        Address { host: host.to_owned(), port: number }
    }

    /// `HOST:PORT`, or a word that means off.
    pub(crate) fn admin(&mut self) -> Option<Address> {
        let text = self.text("admin")?;
        if matches!(text.to_ascii_lowercase().as_str(), "off" | "false" | "no" | "") {
            return None;
        }
        let address = text.rsplit_once(':').and_then(|(host, port)| {
            let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            Some(Address { host: host.to_owned(), port: port.parse().ok()? }).filter(|_| !host.is_empty())
        });
        if address.is_none() {
            self.problem(
                "admin",
                format!("`{text}` is not an address"),
                "HOST:PORT, for example 127.0.0.1:5001, or off",
            );
        }
        address
    }

    pub(crate) fn loglevel(&mut self) -> LogLevel {
        let text = self.text("loglevel").unwrap_or_default();
        LogLevel::parse(&text).unwrap_or_else(|| {
            self.problem(
                "loglevel",
                format!("`{text}` is not a log level"),
                "one of debug, info, warn, error, critical",
            );
            LogLevel::Info
        })
    }

    /// A registry that was protected by an index must not become an open one without a word.
    pub(crate) fn standalone(&mut self, disable_token_auth: bool) -> Option<bool> {
        let written = self.value("standalone").and_then(Value::as_bool);
        if written == Some(false) && !disable_token_auth {
            self.problem(
                "standalone",
                "this release cannot ask an index who may do what, so it would be open to everyone",
                "write `standalone: true` and let `auth` or the proxy in front ask for passwords",
            );
        }
        written
    }

    /// The name becomes part of a file's name, so nothing but a plain word is let through.
    pub(crate) fn driver(&mut self, key: &str) -> Option<String> {
        let name = self.text(key)?.to_ascii_lowercase();
        let is_word = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if name.is_empty() || !is_word {
            self.problem(
                key,
                "this is not the name of a driver",
                "a name has only letters, digits, `_` and `-`",
            );
            return None;
        }
        Some(if name == "file" { "local".to_owned() } else { name })
    }

    /// Absolute folders only: a relative one would depend on where the server happens to be started.
    pub(crate) fn driver_folders(&mut self) -> Vec<PathBuf> {
        let (absolute, relative): (Vec<PathBuf>, Vec<PathBuf>) =
            self.list("drivers").into_iter().map(PathBuf::from).partition(|folder| folder.is_absolute());
        for folder in relative {
            let message = format!("{} is a relative path", folder.display());
            self.problem("drivers", message, "write the whole path, from / on");
        }
        absolute
    }

    /// A digest that cannot be one must not look like a pin that is kept.
    pub(crate) fn driver_sha256(&mut self) -> BTreeMap<String, String> {
        let entries = self.value("driver_sha256").and_then(Value::as_object).cloned().unwrap_or_default();
        let mut digests = BTreeMap::new();
        for (name, value) in entries {
            let digest =
                value.as_str().unwrap_or_default().trim_start_matches("sha256:").to_ascii_lowercase();
            if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                self.problem(
                    "driver_sha256",
                    format!("what is written for `{name}` is not a SHA-256"),
                    "64 hex digits in quotes, as `docker-registry driver inspect` prints them",
                );
                continue;
            }
            let name = name.to_ascii_lowercase().replace('-', "_");
            digests.insert(if name == "file" { "local".to_owned() } else { name }, digest);
        }
        digests
    }

    pub(crate) fn isolation(&mut self) -> Isolation {
        let text = self.text("isolation").unwrap_or_default();
        match text.to_ascii_lowercase().as_str() {
            "declared" => Isolation::Declared,
            "in-place" => Isolation::InPlace,
            "spawned" => Isolation::Spawned,
            "process" => Isolation::Process,
            _ => {
                self.problem(
                    "isolation",
                    format!("`{text}` is not a way to run a driver"),
                    "declared, in-place, spawned or process",
                );
                Isolation::Declared
            }
        }
    }

    pub(crate) fn protocols(&mut self) -> Protocols {
        let mut protocols = Protocols { v1: false, v2: false };
        for name in self.list("protocols") {
            match name.to_ascii_lowercase().as_str() {
                "v1" => protocols.v1 = true,
                "v2" => protocols.v2 = true,
                _ => self.problem("protocols", format!("`{name}` is not a protocol"), "v1, v2 or both"),
            }
        }
        if !protocols.v1 && !protocols.v2 {
            self.problem("protocols", "no protocol is left to serve", "v1, v2 or both");
            return Protocols { v1: true, v2: true };
        }
        protocols
    }

    pub(crate) fn count(&mut self, name: &str) -> usize {
        let written = self.value(name).and_then(Value::as_i64).unwrap_or(1);
        match usize::try_from(written) {
            Ok(count) if (1..=MOST_COUNT).contains(&count) => count,
            _ => {
                self.problem(name, format!("{written} is out of bounds"), format!("1 to {MOST_COUNT}"));
                1
            }
        }
    }

    pub(crate) fn size(&mut self, name: &str) -> u64 {
        let bytes = self.value(name).and_then(Value::as_u64).unwrap_or(LEAST_SIZE);
        if bytes < LEAST_SIZE {
            self.problem(name, format!("{bytes} bytes are too few"), format!("at least {LEAST_SIZE} bytes"));
        }
        bytes.max(LEAST_SIZE)
    }

    /// A time of at least `least`. Zero means "never" elsewhere and "at once" to a timer, so it is
    /// refused rather than guessed at.
    pub(crate) fn duration(&mut self, name: &str, least: Duration) -> Duration {
        let seconds = self.value(name).and_then(Value::as_f64).unwrap_or_default();
        let written = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        if (least..=MOST_TIME).contains(&written) {
            return written;
        }
        let bounds = format!("{least:?} to {} days", MOST_TIME.as_secs() / 86_400);
        self.problem(name, format!("{seconds} seconds are out of bounds"), bounds);
        written.clamp(least, MOST_TIME)
    }
}
