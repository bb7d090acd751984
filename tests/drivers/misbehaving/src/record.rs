//! What the driver has done, in a file that outlives its process: a count that dies with the process would
//! miss the very call that ended it.

use std::{fs::OpenOptions, io::Write, path::PathBuf};

use docker_registry_driver_api::{Result, Settings};

/// The file of the key `record`, if there is one. Each line is one thing that happened.
#[derive(Clone, Debug)]
pub(crate) struct Record(Option<PathBuf>);

impl Record {
    /// Reads the key `record`.
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        Ok(Self(settings.text("record")?.map(PathBuf::from)))
    }

    /// Adds a line, whole and at once, so that processes and threads can share the file.
    pub(crate) fn note(&self, line: &str) {
        let Some(file) = &self.0 else { return };
        let mut file = OpenOptions::new().append(true).create(true).open(file).expect("the record opens");
        file.write_all(format!("{line}\n").as_bytes()).expect("the record takes a line");
    }
}

/// Adds a line when it is dropped.
pub(crate) struct NotedWhenDropped(pub(crate) Record, pub(crate) &'static str);

impl Drop for NotedWhenDropped {
    fn drop(&mut self) {
        self.0.note(self.1);
    }
}
