//! The command line: what can be typed and what comes back.
//!
//! Standard output carries what was asked for, standard error everything else. Exit codes are part of
//! the interface: 0 done, 1 failed, 2 wrong command line (clap's own), 64 wrong configuration.

mod alternate;
mod cert;
mod config;
mod configured_driver;
mod contents;
mod driver;
mod gunicorn;
mod health;
mod htpasswd;
mod manual;
mod old_command_lines;
mod prepare;
mod search_index;
mod serve;

use std::{
    fmt::Display,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Args, CommandFactory, Parser, Subcommand};
use docker_registry_config::Problems;

use self::old_command_lines::Typed;
use crate::{http::listener::ListenAddress, plugin::PluginError};

const AFTER_HELP: &str = "\
Environment:
  SETTINGS_FLAVOR              section of the configuration [default: dev]
  DOCKER_REGISTRY_CONFIG       configuration file
  REGISTRY_HOST, REGISTRY_PORT address of the registry [default: 0.0.0.0, 5000]
  REGISTRY_ADMIN               address of metrics and health, or off [default: 127.0.0.1:5001]
  REGISTRY_PROTOCOLS           v1, v2 or both [default: v1, v2]
  DOCKER_REGISTRY_DRIVER_PATH  further folders with storage drivers, separated by colons
  LOGLEVEL                     debug, info, warn, error or critical
  REGISTRY_LOG_FORMAT          text, json or logstash [default: text]
  GUNICORN_ACCESS_LOG_FILE     a file for the requests alone, - for standard output
  GUNICORN_ERROR_LOG_FILE      a file for the log, - for standard error [default: -]
  GUNICORN_GRACEFUL_TIMEOUT    how long requests may go on at the end [default: 1m]
  TZ                           zone of the times in logs for people
  The configuration names more; `docker-registry config show` lists every value and its source.

Without a command the server starts, as `docker-registry` always did; `docker-registry FILE.yml` starts it with
that configuration.

Exit codes:
  0   done, or stopped in good order
  1   it could not start, or failed while running
  2   the command line is wrong
  64  the configuration is wrong";

const SERVE_HELP: &str = "\
Examples:
  docker-registry serve
      Flavor dev: files in /tmp/registry, port 5000.
  SETTINGS_FLAVOR=local STORAGE_PATH=/srv/registry docker-registry serve
      Files in /srv/registry.
  docker-registry serve /etc/docker-registry/config.yml --bind 127.0.0.1:5000
      A configuration of your own, behind a proxy on the same machine.
  docker-registry serve --bind unix:/run/docker-registry/registry.sock
      The same through a unix socket.
  docker-registry serve --access-log /var/log/docker-registry/access.log --error-log /var/log/docker-registry/server.log
      Logs in files. SIGUSR1 opens them anew after logrotate has renamed them.

SIGTERM and SIGINT stop the server in good order: it takes no new connection, finishes the requests under
way (limits.graceful_timeout at most) and exits 0. A second signal stops it at once.";

/// A container registry whose storage drivers are shared libraries.
#[derive(Debug, Parser)]
#[command(name = "docker-registry", version, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the registry.
    #[command(after_help = SERVE_HELP)]
    Serve(ServeArguments),
    /// Look at the configuration without running anything.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look at the storage drivers that are installed.
    #[command(subcommand)]
    Driver(driver::DriverCommand),
    /// Make and check certificates for TLS.
    #[command(subcommand)]
    Cert(cert::CertCommand),
    /// Look after the search index.
    #[command(subcommand)]
    SearchIndex(search_index::SearchIndexCommand),
    /// Ask the server of the same configuration whether it is ready.
    Health(health::HealthArguments),
    /// Write manual pages and shell completions into a folder.
    #[command(hide = true)]
    Manual {
        /// The folder, which is made when it does not exist.
        folder: PathBuf,
    },
    /// Change and check a password file.
    #[command(subcommand)]
    Htpasswd(htpasswd::HtpasswdCommand),
}

/// Arguments of `serve`.
#[derive(Debug, Args)]
struct ServeArguments {
    /// Configuration file; without it the usual places are searched.
    file: Option<PathBuf>,
    /// Where to listen instead of the configured address: HOST:PORT (port 0 takes a free port), unix:PATH, or
    /// systemd for the sockets that systemd passes; may be given several times.
    #[arg(long, value_name = "ADDRESS", value_parser = ListenAddress::parse)]
    bind: Vec<ListenAddress>,
    /// How log lines look [default: text, or what the configuration says].
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// File for the requests alone; - is standard output. Without it they stand in the log.
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    access_log: Option<String>,
    /// File for the log; - is standard error, the default.
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    error_log: Option<String>,
    /// How long requests may go on after the signal to stop: seconds, or a time such as 2m.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    graceful_timeout: Option<Duration>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
    /// One JSON object per line, with the names that Logstash expects.
    Logstash,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Report every problem of the configuration at once; exit code 64 if one of them is an error.
    Check {
        /// Configuration file; without it the usual places are searched.
        file: Option<PathBuf>,
    },
    /// Print every value of the selected flavor and where it came from; secrets are masked.
    Show {
        /// Configuration file; without it the usual places are searched.
        file: Option<PathBuf>,
    },
}

/// Why a command ended without success. Each kind has its exit code.
#[derive(Debug)]
enum Failure {
    /// Exit code 1.
    Failed(String),
    /// Exit code 64.
    Configuration(String),
}

impl Failure {
    fn failed(reason: impl Display) -> Self {
        Self::Failed(reason.to_string())
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Configuration(problems.to_string())
    }
}

impl From<PluginError> for Failure {
    fn from(error: PluginError) -> Self {
        use docker_registry_driver_api::ErrorKind;
        match &error {
            PluginError::Driver { error: inner, .. } if inner.kind == ErrorKind::InvalidConfiguration => {
                Self::Configuration(error.to_string())
            }
            _ => Self::failed(error),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::failed(error)
    }
}

/// Runs the command of this process and returns its exit code.
pub fn run() -> ExitCode {
    let typed = match old_command_lines::read(std::env::args_os().collect(), &Arguments::command()) {
        Typed::Arguments(typed) => typed,
        Typed::Translated(sentence) => return report(&sentence, 2),
    };
    let mut output = io::stdout().lock();
    let done = match Arguments::parse_from(typed).command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Config(ConfigCommand::Check { file }) => config::check(file, &mut output),
        Command::Config(ConfigCommand::Show { file }) => config::show(file, &mut output),
        Command::Driver(command) => driver::run(command, &mut output),
        Command::Cert(command) => cert::run(command, &mut output),
        Command::SearchIndex(command) => search_index::run(command, &mut output),
        Command::Health(arguments) => health::check(arguments, &mut output),
        Command::Manual { folder } => manual::write(&folder),
        Command::Htpasswd(command) => htpasswd::run(command, &mut output),
    };
    let done = done.and_then(|()| Ok(output.flush()?));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Failed(reason)) => report(&reason, 1),
        Err(Failure::Configuration(reason)) => report(&reason, 64),
    }
}

fn report(reason: &str, code: u8) -> ExitCode {
    for line in reason.lines() {
        // Nothing is left to do when even standard error is gone.
        let _ = writeln!(io::stderr(), "docker-registry: {line}");
    }
    ExitCode::from(code)
}

/// Seconds, as gunicorn's options were given, or a time with units.
fn duration(text: &str) -> Result<Duration, String> {
    match text.parse::<u32>() {
        Ok(seconds) => Ok(Duration::from_secs(seconds.into())),
        Err(_) => humantime::parse_duration(text).map_err(|_| "a time is 3600, 90s or 1h 30m".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_time_is_a_number_of_seconds_or_has_units() {
        assert_eq!(duration("3600"), Ok(Duration::from_secs(3600)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5400)));
        for wrong in ["", "-1", "soon", "1.5"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
