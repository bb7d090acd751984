//! The server's own settings, with types and within their bounds.

use crate::auth::AuthSettings;
use crate::cache::CacheSettings;
use crate::compatibility::{Caches, Compatibility};
use crate::flavor::{DEFAULT_FLAVOR, Flavor};
use crate::listening::Listening;
use crate::locate::Source;
use crate::logging::LogSettings;
use crate::problem::Problem;
use crate::reader::{HOUR, INSTANT, Reader};
use crate::resolve::Resolved;
use crate::search::IndexDatabase;
use crate::tls::Tls;
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
    /// Where the log goes and how it looks.
    pub log: LogSettings,
    /// Which version of docker-registry V1 answers like.
    pub compatibility: Compatibility,
    /// Which of the two caches are configured.
    pub caches: Caches,
    /// Whether `/_ping` answers verbosely.
    pub debug: bool,
    /// Whether requests meant for an index are answered here. `false` alone is an error in this release.
    /// `None`, not written, counts as true; docker-registry 0.7 to 0.9.1 took it for false, so that a
    /// server must say aloud what it does.
    pub standalone: Option<bool>,
    /// Without `standalone`: serve images to everyone, as 0.9.1 did with this key.
    pub disable_token_auth: bool,
    /// Whether clients of V2 that fetch a blob are sent to the storage itself, where it makes addresses.
    pub storage_redirect: bool,
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
    /// How clients come in, beside the address.
    pub listening: Listening,
    /// TLS on the registry's port; `None` for plain HTTP.
    pub tls: Option<Tls>,
    /// Where metrics and health are; `None` when switched off.
    pub admin: Option<Address>,
    /// Bounds on what clients and the driver may take.
    pub limits: Limits,
    /// The hosts named in `X-Docker-Endpoints`; empty for the host of the request.
    pub registry_endpoints: Vec<String>,
    /// Where the search index is; `None` when nothing is indexed and every search comes back empty.
    pub search: Option<IndexDatabase>,
    /// The cache in front of small reads; `None` without one.
    pub cache: Option<CacheSettings>,
    /// Passwords and rights; `None` when nobody is asked for a password.
    pub auth: Option<AuthSettings>,
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
    /// Connections open at the same time; more are told to come later.
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

    pub(crate) fn parse(text: &str) -> Option<LogLevel> {
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
        log: LogSettings::read(&mut reader),
        compatibility: Compatibility::read(&mut reader),
        caches: Caches::read(&reader),
        debug: reader.boolean("debug", false),
        standalone: reader.standalone(disable_token_auth),
        disable_token_auth,
        storage_redirect: reader.boolean("storage_redirect", false),
        storage: reader.driver("storage").unwrap_or_default(),
        storage_alternate: reader.driver("storage_alternate"),
        drivers: reader.driver_folders(),
        driver_sha256: reader.driver_sha256(),
        isolation: reader.isolation(),
        protocols: reader.protocols(),
        bind,
        listening: reader.listening(),
        tls: reader.tls(),
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
        search: reader.search(),
        cache: reader.cache(),
        auth: reader.auth(),
    }
}

/// The flavor to choose: `SETTINGS_FLAVOR`, or `dev`.
pub(crate) fn flavor_name(variable: Option<&str>) -> &str {
    variable.unwrap_or(DEFAULT_FLAVOR)
}
