//! What is wrong with a configuration, one line a problem.
//!
//! No message holds the value of a secret; the code that builds a message sees to that.

use std::fmt;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The server runs, but perhaps not as the operator meant.
    Warning,
    /// The server must not start.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Severity::Warning => "warning",
            Severity::Error => "error",
        })
    }
}

/// One problem. `Display` is one line: `config.yml:12: storage_pth: unknown key (did you mean storage_path?)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether the server may start in spite of it.
    pub severity: Severity,
    /// The file, as the operator named it, or `built-in sample`.
    pub file: Option<String>,
    /// The line where the key is written, counted from 1.
    pub line: Option<usize>,
    /// The key with its path, such as `cache.host`; empty when the whole file is meant.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl Problem {
    pub(crate) fn error(file: &str, key: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem {
            severity: Severity::Error,
            file: Some(file.to_owned()),
            line: None,
            key: key.into(),
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn warning(file: &str, key: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem { severity: Severity::Warning, ..Problem::error(file, key, message) }
    }

    pub(crate) fn at(self, line: Option<usize>) -> Problem {
        Problem { line, ..self }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Problem {
        Problem { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            formatter.write_str(file)?;
            if let Some(line) = self.line {
                write!(formatter, ":{line}")?;
            }
            formatter.write_str(": ")?;
        }
        if !self.key.is_empty() {
            write!(formatter, "{}: ", self.key)?;
        }
        formatter.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(formatter, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// Problems in the order of their lines. `Display` prints one a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// True when one of them forbids to start.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Orders by line, problems without a line first, and drops repetitions.
    pub(crate) fn sorted(mut self) -> Problems {
        self.0.sort_by(|left, right| (left.line, &left.key).cmp(&(right.line, &right.key)));
        self.0.dedup();
        self
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Problems {
        Problems(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            write!(formatter, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
