//! Where the log goes and how its lines look: the keys under `log`.

use crate::reader::Reader;
use std::fmt;
use std::path::PathBuf;

/// The log and the access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// How lines of the log look.
    pub format: LogFormat,
    /// Where the log goes.
    pub error_file: LogFile,
    /// How lines of the access log look when it has a file of its own.
    pub access_format: AccessFormat,
    /// The file of the access log; `None` when requests stand in the log like everything else.
    pub access_file: Option<LogFile>,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
    /// One JSON object a line, with the names that Logstash expects.
    Logstash,
}

/// How a line of the access log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AccessFormat {
    /// The combined format of Apache, which is gunicorn's too.
    #[default]
    Combined,
    /// As [`LogFormat::Json`].
    Json,
    /// As [`LogFormat::Logstash`].
    Logstash,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFile {
    /// `-` of the access log.
    StandardOutput,
    /// `-` of the log.
    StandardError,
    /// A file, appended to.
    File(PathBuf),
}

impl LogFile {
    /// What is written for the file of the log.
    pub fn of_errors(written: &str) -> LogFile {
        if written == "-" { LogFile::StandardError } else { LogFile::File(written.into()) }
    }

    /// What is written for the file of the access log.
    pub fn of_access(written: &str) -> LogFile {
        if written == "-" { LogFile::StandardOutput } else { LogFile::File(written.into()) }
    }
}

impl fmt::Display for LogFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogFile::StandardOutput => formatter.write_str("standard output"),
            LogFile::StandardError => formatter.write_str("standard error"),
            LogFile::File(path) => path.display().fmt(formatter),
        }
    }
}

impl LogSettings {
    pub(crate) fn read(reader: &mut Reader<'_>) -> LogSettings {
        let file = |reader: &Reader<'_>, name| reader.text(name).filter(|text| !text.is_empty());
        LogSettings {
            format: word(
                reader,
                "log.format",
                &[("text", LogFormat::Text), ("json", LogFormat::Json), ("logstash", LogFormat::Logstash)],
            ),
            error_file: file(reader, "log.error_file")
                .map_or(LogFile::StandardError, |text| LogFile::of_errors(&text)),
            access_format: word(
                reader,
                "log.access_format",
                &[
                    ("combined", AccessFormat::Combined),
                    ("json", AccessFormat::Json),
                    ("logstash", AccessFormat::Logstash),
                ],
            ),
            access_file: file(reader, "log.access_file").map(|text| LogFile::of_access(&text)),
        }
    }
}

/// One of a few words; any other is a problem, and the default stands.
fn word<T: Copy + Default>(reader: &mut Reader<'_>, name: &str, words: &[(&str, T)]) -> T {
    let written = reader.text(name).unwrap_or_default();
    if let Some((_, meant)) = words.iter().find(|(word, _)| written.eq_ignore_ascii_case(word)) {
        return *meant;
    }
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    reader.problem(
        name,
        format!("`{written}` is not a format of lines"),
        format!("one of {}", known.join(", ")),
    );
    T::default()
}
