//! Logs: events of `tracing` on standard error or in files, as text or as JSON; requests in a file of their own
//! where an operator wants that.
//!
//! Text that came from outside is recorded as a field value, never as part of the message: every format escapes it,
//! so that nobody can forge a line. Times for people are in the zone of `TZ`, those for programs in UTC.

use std::{io, str::FromStr};

use docker_registry_config::{AccessFormat, LogFile, LogFormat, LogSettings};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{LevelFilter, filter_fn},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use super::{access_lines::CombinedLines, local_time, local_time::LocalTime, log_file, logstash::Logstash};

/// The target of the event that each request leaves.
pub(crate) const ACCESS: &str = "access";

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

/// What a server logs, and where.
#[derive(Debug, Clone)]
pub struct Logging {
    /// How much.
    pub level: Level,
    /// The rest of it.
    pub settings: LogSettings,
}

/// A log cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("the log {destination} cannot be opened: {source}")]
pub struct OpenError {
    destination: LogFile,
    source: io::Error,
}

/// The logs of a server. Dropping it waits until the last lines are written.
#[derive(Debug)]
pub struct Logs(Vec<log_file::LogFile>);

impl Logs {
    /// Starts logging as a server does: into files by threads of their own, the requests apart where they have a
    /// file. Only the first call of a process has an effect.
    ///
    /// # Errors
    /// When a file cannot be opened.
    pub fn start(logging: &Logging) -> Result<Self, OpenError> {
        let LogSettings { format, error_file, access_format, access_file } = &logging.settings;
        let mut logs = Self(Vec::new());
        let errors = logs.open(error_file)?;
        let apart = access_file.as_ref().map(|file| logs.open(file)).transpose()?;
        let filter = filter(logging.level, apart.is_some());
        let errors = lines(*format, errors).with_filter(filter).boxed();
        let apart = apart.map(|file| {
            // Whoever wants a file of the requests wants all of them, whatever the level.
            let requests = filter_fn(|about| about.target() == ACCESS).with_max_level_hint(LevelFilter::INFO);
            access_lines(*access_format, file).with_filter(requests).boxed()
        });
        let layers: Vec<_> = [Some(errors), apart].into_iter().flatten().collect();
        // The error is that logging has been started before, by a test for example; it then stays as it is.
        let _ = tracing_subscriber::registry().with(layers).try_init();
        if let Some(problem) = local_time::problem() {
            tracing::warn!("{problem}");
        }
        Ok(logs)
    }

    /// Opens a file, once also where both logs have the same.
    fn open(&mut self, destination: &LogFile) -> Result<log_file::LogFile, OpenError> {
        if let Some(open) = self.0.iter().find(|open| open.destination() == destination) {
            return Ok(open.clone());
        }
        let opened = log_file::LogFile::open(destination);
        let file = opened.map_err(|source| OpenError { destination: destination.clone(), source })?;
        self.0.push(file.clone());
        Ok(file)
    }

    /// Opens every file anew, for programs that rename logs (SIGUSR1).
    pub fn reopen(&self) {
        self.0.iter().for_each(log_file::LogFile::reopen);
    }

    /// Waits until everything is written, a while at most.
    pub fn flush(&self) {
        self.0.iter().for_each(log_file::LogFile::flush);
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Logs at `info`, as text to standard error, line by line: for commands and for processes that serve nobody. Only
/// the first call of a process has an effect.
pub fn install() {
    let layer =
        tracing_subscriber::fmt::layer().with_writer(io::stderr).with_timer(LocalTime).with_ansi(false);
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter(Level::Info, false))).try_init();
}

/// The libraries below the server log at its level only when they warn: what they say at `debug` is about their
/// inside, and much. The client of Redis is never heard: its errors can hold what a server answered, and the cache says in
/// its own words what is wrong.
fn filter(level: Level, requests_apart: bool) -> EnvFilter {
    let quiet = if level == Level::Debug { ",h2=warn,hyper=warn,hyper_util=warn,warp=warn" } else { "" };
    let requests = if requests_apart { ",access=off" } else { "" };
    EnvFilter::new(format!("{},redis=off{quiet}{requests}", level.filter()))
}

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

fn lines(format: LogFormat, file: log_file::LogFile) -> BoxedLayer {
    let layer = tracing_subscriber::fmt::layer().with_writer(file).with_ansi(false);
    match format {
        LogFormat::Text => layer.with_timer(LocalTime).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
        LogFormat::Logstash => layer.event_format(Logstash).boxed(),
    }
}

fn access_lines(format: AccessFormat, file: log_file::LogFile) -> BoxedLayer {
    match format {
        AccessFormat::Combined => CombinedLines(file).boxed(),
        AccessFormat::Json => lines(LogFormat::Json, file),
        AccessFormat::Logstash => lines(LogFormat::Logstash, file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_of_redis_is_never_heard() {
        for level in [Level::Debug, Level::Info, Level::Warning, Level::Error] {
            let subscriber = Registry::default().with(filter(level, false));
            tracing::subscriber::with_default(subscriber, || {
                assert!(!tracing::enabled!(target: "redis::aio", tracing::Level::ERROR));
                assert!(tracing::enabled!(target: "docker_registry::storage", tracing::Level::ERROR));
            });
        }
    }

    #[test]
    fn old_and_new_level_names_are_known() {
        assert_eq!("DEBUG".parse::<Level>().unwrap(), Level::Debug);
        assert_eq!("warn".parse::<Level>().unwrap(), Level::Warning);
        assert_eq!("critical".parse::<Level>().unwrap().filter(), LevelFilter::ERROR);
        assert!("loud".parse::<Level>().unwrap_err().to_string().contains("\"loud\""));
    }
}
