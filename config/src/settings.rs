//! The server's own settings, with types and within their bounds.

use crate::flavor::{DEFAULT_FLAVOR, Flavor};
use crate::locate::Source;
use crate::problem::Problem;
use crate::resolve::Resolved;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// What the server needs to know, beside the driver's own configuration.
///
/// A value with an error has its default here; [`crate::Loaded::check`] says whether there is one.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The flavor's name; empty when the whole document is the configuration.
    pub flavor: String,
    /// The file it was read from.
    pub source: Source,
    /// The text at `/`. Without one, the original answers `docker-registry server (FLAVOR)`.
    pub issue: Option<String>,
    /// How much is logged.
    pub loglevel: LogLevel,
    /// Whether `/_ping` answers verbosely.
    pub debug: bool,
    /// Whether requests meant for an index are answered here. `false` alone is an error in this release.
    /// `None`, not written, counts as true; docker-registry 0.7 to 0.9.1 took it for false, so that a
    /// server must say aloud what it does.
    pub standalone: Option<bool>,
    /// Without `standalone`: serve images to everyone, as 0.9.1 did with this key.
    pub disable_token_auth: bool,
    /// The driver's name in lower case, `local` for `file`. Empty only when that is reported as an error.
    pub storage: String,
    /// The name of the driver that glance uses beside itself, in the same form.
    pub storage_alternate: Option<String>,
    /// Folders to search for drivers before all others.
    pub drivers: Vec<PathBuf>,
    /// The SHA-256, 64 hex digits in lower case, that a driver's file must have, by the driver's name.
    pub driver_sha256: BTreeMap<String, String>,
    /// Where the driver's code runs.
    pub isolation: Isolation,
    /// The protocols to serve; at least one.
    pub protocols: Protocols,
    /// Where to listen.
    pub bind: Address,
    /// Where metrics and health are; `None` when switched off.
    pub admin: Option<Address>,
    /// Bounds on what clients and the driver may take.
    pub limits: Limits,
    /// The hosts named in `X-Docker-Endpoints`; empty for the host of the request.
    pub registry_endpoints: Vec<String>,
}

/// A host, by name or number, and a port; port 0 lets the system choose one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

/// Where the code of the driver runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Isolation {
    /// In the server: on its threads when the driver says that it never blocks, else on the driver's own.
    #[default]
    Declared,
    /// In the server, on the threads that serve requests, whatever the driver says.
    InPlace,
    /// In the server, on the driver's own threads, whatever the driver says.
    Spawned,
    /// In a process of its own, whose end costs the calls under way and nothing else.
    Process,
}

/// The registry protocols a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols {
    /// The API of docker 0.6 to 1.9.
    pub v1: bool,
    /// The V2 and OCI API.
    pub v2: bool,
}

/// Bounds; the table of keys has a sentence about each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at the same time.
    pub max_connections: usize,
    /// The largest manifest accepted, in bytes.
    pub max_manifest_size: u64,
    /// The time a client has to send the head of a request.
    pub header_timeout: Duration,
    /// How long a connection without a request stays open.
    pub idle_timeout: Duration,
    /// How long a request body may pause.
    pub body_timeout: Duration,
    /// How long requests may go on after the signal to stop.
    pub graceful_timeout: Duration,
    /// Calls of the driver running at the same time.
    pub driver_calls: usize,
    /// The deadline of one call of the driver.
    pub driver_timeout: Duration,
    /// How long an upload may lie untouched before it is discarded.
    pub upload_age: Duration,
}

/// How much is logged. `critical` of the original logs what `error` logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything, also from libraries.
    Trace,
    /// Each step.
    Debug,
    /// Each request and change of state.
    Info,
    /// What may need attention.
    Warn,
    /// What failed.
    Error,
}

impl LogLevel {
    /// The name that tracing's filters understand.
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Trace => "trace",
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error => "error",
        }
    }

    fn parse(text: &str) -> Option<LogLevel> {
        Some(match text.to_ascii_lowercase().as_str() {
            "trace" | "notset" => LogLevel::Trace,
            "debug" => LogLevel::Debug,
            "info" => LogLevel::Info,
            "warn" | "warning" => LogLevel::Warn,
            "error" | "critical" | "fatal" => LogLevel::Error,
            _ => return None,
        })
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The server's keys by name, each resolved.
pub(crate) type ResolvedKeys = BTreeMap<&'static str, Resolved>;

/// Builds the settings; what does not fit its bounds is added to `problems`.
pub(crate) fn build(
    keys: &ResolvedKeys,
    flavor: &Flavor,
    source: Source,
    problems: &mut Vec<Problem>,
) -> Settings {
    let mut reader = Reader { keys, flavor, problems };
    let bind = reader.address("host", "port", 5000);
    let disable_token_auth = reader.boolean("disable_token_auth", false);
    Settings {
        flavor: flavor.name.clone(),
        source,
        issue: reader.text("issue"),
        loglevel: reader.loglevel(),
        debug: reader.boolean("debug", false),
        standalone: reader.standalone(disable_token_auth),
        disable_token_auth,
        storage: reader.driver("storage").unwrap_or_default(),
        storage_alternate: reader.driver("storage_alternate"),
        drivers: reader.driver_folders(),
        driver_sha256: reader.driver_sha256(),
        isolation: reader.isolation(),
        protocols: reader.protocols(),
        bind,
        admin: reader.admin(),
        limits: Limits {
            max_connections: reader.count("limits.max_connections"),
            max_manifest_size: reader.size("limits.max_manifest_size"),
            header_timeout: reader.duration("limits.header_timeout", INSTANT),
            idle_timeout: reader.duration("limits.idle_timeout", INSTANT),
            body_timeout: reader.duration("limits.body_timeout", INSTANT),
            graceful_timeout: reader.duration("limits.graceful_timeout", Duration::ZERO),
            driver_calls: reader.count("limits.driver_calls"),
            driver_timeout: reader.duration("limits.driver_timeout", INSTANT),
            upload_age: reader.duration("limits.upload_age", HOUR),
        },
        registry_endpoints: reader.list("registry_endpoints"),
    }
}

/// Most connections or calls.
const MOST_COUNT: usize = 1_000_000;
/// Smallest limit for a size, in bytes.
const LEAST_SIZE: u64 = 1024;
/// Shortest time-out.
const INSTANT: Duration = Duration::from_millis(1);
/// Youngest upload that may be taken for abandoned.
const HOUR: Duration = Duration::from_secs(60 * 60);
/// Longest time of any kind.
const MOST_TIME: Duration = Duration::from_secs(3650 * 86_400);

/// Takes typed values out of the resolved keys and checks their bounds.
struct Reader<'a> {
    keys: &'a ResolvedKeys,
    flavor: &'a Flavor,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn value(&self, name: &str) -> Option<&Value> {
        self.keys.get(name)?.value.as_ref()
    }

    fn problem(&mut self, name: &str, message: impl Into<String>, hint: impl Into<String>) {
        let line = self.keys.get(name).and_then(|resolved| resolved.origin.line());
        self.problems.push(Problem::error(&self.flavor.file, name, message).at(line).hint(hint));
    }

    fn text(&self, name: &str) -> Option<String> {
        self.value(name)?.as_str().map(str::to_owned)
    }

    fn boolean(&self, name: &str, otherwise: bool) -> bool {
        self.value(name).and_then(Value::as_bool).unwrap_or(otherwise)
    }

    fn list(&self, name: &str) -> Vec<String> {
        let items = self.value(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect()
    }

    fn address(&mut self, host: &str, port: &str, default_port: u16) -> Address {
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
    fn admin(&mut self) -> Option<Address> {
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

    fn loglevel(&mut self) -> LogLevel {
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
    fn standalone(&mut self, disable_token_auth: bool) -> Option<bool> {
        let written = self.value("standalone").and_then(Value::as_bool);
        if written == Some(false) && !disable_token_auth {
            self.problem(
                "standalone",
                "this release cannot ask an index who may do what, so it would be open to everyone",
                "write `standalone: true` and let the proxy in front ask for passwords",
            );
        }
        written
    }

    /// The name becomes part of a file's name, so nothing but a plain word is let through.
    fn driver(&mut self, key: &str) -> Option<String> {
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

    /// A digest that cannot be one must not look like a pin that is kept.
    /// Absolute folders only: a relative one would depend on where the server happens to be started.
    fn driver_folders(&mut self) -> Vec<PathBuf> {
        let (absolute, relative): (Vec<PathBuf>, Vec<PathBuf>) =
            self.list("drivers").into_iter().map(PathBuf::from).partition(|folder| folder.is_absolute());
        for folder in relative {
            let message = format!("{} is a relative path", folder.display());
            self.problem("drivers", message, "write the whole path, from / on");
        }
        absolute
    }

    fn driver_sha256(&mut self) -> BTreeMap<String, String> {
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

    fn isolation(&mut self) -> Isolation {
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

    fn protocols(&mut self) -> Protocols {
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

    fn count(&mut self, name: &str) -> usize {
        let written = self.value(name).and_then(Value::as_i64).unwrap_or(1);
        match usize::try_from(written) {
            Ok(count) if (1..=MOST_COUNT).contains(&count) => count,
            _ => {
                self.problem(name, format!("{written} is out of bounds"), format!("1 to {MOST_COUNT}"));
                1
            }
        }
    }

    fn size(&mut self, name: &str) -> u64 {
        let bytes = self.value(name).and_then(Value::as_u64).unwrap_or(LEAST_SIZE);
        if bytes < LEAST_SIZE {
            self.problem(name, format!("{bytes} bytes are too few"), format!("at least {LEAST_SIZE} bytes"));
        }
        bytes.max(LEAST_SIZE)
    }

    /// A time of at least `least`. Zero means "never" elsewhere and "at once" to a timer, so it is
    /// refused rather than guessed at.
    fn duration(&mut self, name: &str, least: Duration) -> Duration {
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

/// The flavor to choose: `SETTINGS_FLAVOR`, or `dev`.
pub(crate) fn flavor_name(variable: Option<&str>) -> &str {
    variable.unwrap_or(DEFAULT_FLAVOR)
}
