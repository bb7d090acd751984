//! curl, and what it was told.

use std::{
    path::Path,
    process::{Command, Stdio},
};

/// A request to be made.
pub(crate) struct Curl(Command);

/// What curl has to say.
#[derive(Debug)]
pub(crate) struct Told {
    /// Whether there was an answer.
    pub(crate) success: bool,
    pub(crate) status: u16,
    /// `1.1` or `2`.
    pub(crate) version: String,
    /// Headers as they came, and the body.
    pub(crate) text: String,
}

impl Curl {
    pub(crate) fn get(url: &str) -> Curl {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "60", "--include"]);
        command.args(["--write-out", "\n%{http_code} %{http_version}", url]);
        Curl(command)
    }

    /// Trusts this certificate and no other.
    pub(crate) fn trusting(self, certificate: &Path) -> Curl {
        self.with("--cacert", &certificate.display().to_string())
    }

    pub(crate) fn with(mut self, option: &str, value: &str) -> Curl {
        self.0.args([option, value]);
        self
    }

    pub(crate) fn flag(mut self, option: &str) -> Curl {
        self.0.arg(option);
        self
    }

    pub(crate) fn told(mut self) -> Told {
        let output = self.0.stdin(Stdio::null()).output().expect("curl runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (text, last) = text.rsplit_once('\n').expect("curl writes what it is told to");
        let (status, version) = last.split_once(' ').expect("two words");
        let errors = String::from_utf8_lossy(&output.stderr);
        Told {
            success: output.status.success(),
            status: status.parse().expect("a status"),
            version: version.to_owned(),
            text: format!("{text}{errors}"),
        }
    }

    /// Fails the test unless there is this answer.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Told {
        let told = self.told();
        assert!(told.success && told.status == status, "{told:?}");
        told
    }

    /// Fails the test unless there is no answer.
    #[track_caller]
    pub(crate) fn expect_nothing(self) -> Told {
        let told = self.told();
        assert!(!told.success && told.status == 0, "{told:?}");
        told
    }
}
