//! Logs: events of `tracing` on standard error, as text or as JSON.
//!
//! Text that came from outside is recorded as a field value, never as part of the message: both
//! formats escape it, so that nobody can forge a line.

use std::{io, str::FromStr};

use tracing_subscriber::{EnvFilter, filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// How much is logged, in docker-registry's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// Everything that helps to find a fault, each storage call included.
    Debug,
    /// One line per request, and what the server does.
    #[default]
    Info,
    /// What an operator should look at.
    Warning,
    /// What failed.
    Error,
    /// The same as [`Level::Error`]: what the old name `critical` asks for.
    Critical,
}

impl FromStr for Level {
    type Err = UnknownLevel;

    /// The names of 0.9.1's `loglevel`, in any case, and those of distribution's `log.level`.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name.to_ascii_lowercase().as_str() {
            "debug" | "trace" | "notset" => Ok(Self::Debug),
            "info" => Ok(Self::Info),
            "warn" | "warning" => Ok(Self::Warning),
            "error" => Ok(Self::Error),
            "critical" | "fatal" | "panic" => Ok(Self::Critical),
            _ => Err(UnknownLevel(name.to_owned())),
        }
    }
}

/// A log level that does not exist.
#[derive(Debug, thiserror::Error)]
#[error("the log level {0:?} is not one of debug, info, warning, error, critical")]
pub struct UnknownLevel(String);

impl Level {
    fn filter(self) -> LevelFilter {
        match self {
            Self::Debug => LevelFilter::DEBUG,
            Self::Info => LevelFilter::INFO,
            Self::Warning => LevelFilter::WARN,
            Self::Error | Self::Critical => LevelFilter::ERROR,
        }
    }
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Starts logging to standard error. Only the first call of a process has an effect.
///
/// The libraries below the server log at their level only when they warn: what they say at `debug` is
/// about their inside, and much.
pub fn install(level: Level, format: Format) {
    let quiet = if level == Level::Debug { ",h2=warn,hyper=warn,hyper_util=warn,warp=warn" } else { "" };
    let filter = EnvFilter::new(format!("{}{quiet}", level.filter()));
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false);
    // The error is that logging has been started before, by a test for example; it then stays as it is.
    let _ = match format {
        Format::Text => registry.with(lines).try_init(),
        Format::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_new_level_names_are_known() {
        assert_eq!("DEBUG".parse::<Level>().unwrap(), Level::Debug);
        assert_eq!("warn".parse::<Level>().unwrap(), Level::Warning);
        assert_eq!("critical".parse::<Level>().unwrap().filter(), LevelFilter::ERROR);
        assert!("loud".parse::<Level>().unwrap_err().to_string().contains("\"loud\""));
    }
}
