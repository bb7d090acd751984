//! What the driver has done, in a file that outlives its process: a count that dies with the process would
//! miss the very call that ended it.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    sync::Arc,
};

use docker_registry_driver_api::{Result, Settings};

/// The file of the key `record`, if there is one. Each line is one thing that happened. It stays open, so that
/// it takes lines when there is no descriptor left.
#[derive(Clone, Debug)]
pub(crate) struct Record(Option<Arc<File>>);

impl Record {
    /// Reads the key `record`.
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        let Some(path) = settings.text("record")? else { return Ok(Self(None)) };
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self(Some(Arc::new(file))))
    }

    /// Adds a line, whole and at once, so that processes and threads can share the file.
    pub(crate) fn note(&self, line: &str) {
        let Some(mut file) = self.0.as_deref() else { return };
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
