//! The configuration of docker-registry: what an operator wrote, turned into typed settings.
//!
//! It reads the files that docker-registry 0.6 to 0.9.1 read (flavors, merge keys, `_env:` values) and
//! guarantees three things:
//! - every problem is reported at once, each with file, line, key and where possible a hint ([`Problem`]);
//! - a value the operator gave as text to a key that holds text arrives unchanged (`0123` stays `0123`);
//! - the value of a secret is in no message, no `Debug` output and no `config show`.
//!
//! The way through the crate: [`Loader`] finds and reads the file and gives [`Loaded`]. The host opens the
//! driver that [`Settings::storage`] names, passes the keys which that driver described to
//! [`Loaded::check`], and hands [`Loaded::driver_settings`] to the driver.
//!
//! ```
//! use docker_registry_config::{Environment, Key, KeyKind, Loader};
//!
//! let environment: Environment = [("STORAGE_PATH", "/data")].into_iter().collect();
//! let loaded = Loader::new(environment).candidates(Vec::new()).load()?;
//! assert_eq!(loaded.settings.storage, "local");
//!
//! let described_by_the_driver = [Key::new("storage_path", KeyKind::Text)];
//! assert!(!loaded.check(Some(&described_by_the_driver)).has_errors());
//! let (settings, _) = loaded.driver_settings(&described_by_the_driver);
//! assert_eq!(settings.values()["storage_path"], "/data");
//! # Ok::<(), docker_registry_config::Problems>(())
//! ```
//!
//! The modules, in the order a file passes them: `locate` (which file), `yaml` and `marks` (text to nodes
//! with lines), `merge` (`<<`), `flavor` (which part of the file), `env_value` (`_env:`), `scalar` (YAML 1.1
//! types), `typed` (the type a key asks for), `server_keys` (the table of all keys), `reader` and `settings`
//! (with `listening`, `tls`, `auth`, `cache`, `search`, `logging` and `compatibility`), `driver` and `show`.

mod auth;
mod cache;
mod compatibility;
mod distribution_variables;
mod driver;
mod env_value;
mod environment;
mod flavor;
mod foreign;
mod keys;
mod listening;
mod load;
mod locate;
mod logging;
mod marks;
mod merge;
mod problem;
mod reader;
mod resolve;
mod scalar;
mod search;
mod server_keys;
mod settings;
mod show;
mod tls;
mod typed;
mod yaml;

pub use auth::{AccessRight, AccessRule, AccessWho, AuthSettings, SecretKey};
pub use cache::{CacheSettings, RedisKind, RedisPlace};
pub use compatibility::{Caches, Compatibility};
pub use driver::DriverSettings;
pub use environment::{Environment, NotUnicode};
pub use keys::{DriverKey, Key, KeyKind};
pub use listening::{Listening, ProxyProtocol, TrustedProxies};
pub use load::{Loaded, Loader};
pub use locate::Source;
pub use logging::{AccessFormat, LogFile, LogFormat, LogSettings};
pub use problem::{Problem, Problems, Severity};
pub use resolve::Origin;
pub use search::IndexDatabase;
pub use server_keys::server_keys;
pub use settings::{Address, Isolation, Limits, LogLevel, Protocols, Settings};
pub use show::ShownValue;
pub use tls::{ClientCertificates, Tls, TlsVersion};

/// The sample configuration with the 17 flavors of docker-registry 0.9.1. It runs when no file is found.
pub const SAMPLE: &str = include_str!("../config_sample.yml");
