//! The drivers that the suite runs against, each over a store that nobody else uses.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use docker_registry_driver_api::{Driver, HostServices, Result, Settings, SharedDriver, async_trait};
use docker_registry_driver_conformance::Opener;
use docker_registry_driver_local::LocalDriver;
use docker_registry_driver_memory::MemoryDriver;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A memory driver, another store each time.
pub(crate) struct Memory;

/// Opens a memory driver with default settings.
pub(crate) async fn open_memory() -> Result<SharedDriver> {
    open::<MemoryDriver>(json!({})).await
}

#[async_trait]
impl Opener for Memory {
    async fn open(&self) -> Result<SharedDriver> {
        open_memory().await
    }

    /// No byte has room in it.
    async fn open_dead(&self) -> Option<Result<SharedDriver>> {
        Some(open::<MemoryDriver>(json!({ "memory_limit": 0 })).await)
    }
}

/// A local driver over a temporary folder.
pub(crate) struct Local {
    folder: TempDir,
}

impl Local {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { folder: tempfile::tempdir()? })
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// Looks for files that the driver left behind, such that only this test can see: the suite sees what
    /// the driver lists. The locks of objects stay by intention.
    pub(crate) fn expect_no_files(&self) -> Result<(), String> {
        let mut files = Vec::new();
        collect(&self.root(), &mut files).map_err(|error| error.to_string())?;
        files
            .retain(|file| !file.ends_with("lock") && !file.parent().is_some_and(|at| at.ends_with("locks")));
        if files.is_empty() { Ok(()) } else { Err(format!("files are left behind: {files:?}")) }
    }
}

#[async_trait]
impl Opener for Local {
    async fn open(&self) -> Result<SharedDriver> {
        open::<LocalDriver>(json!({ "storage_path": self.root() })).await
    }

    /// A file is where the folder would be.
    async fn open_dead(&self) -> Option<Result<SharedDriver>> {
        let file = self.folder.path().join("file");
        fs::write(&file, "not a folder").expect("the temporary folder can be written");
        Some(open::<LocalDriver>(json!({ "storage_path": file })).await)
    }
}

async fn open<D: Driver>(settings: Value) -> Result<SharedDriver> {
    let settings = settings.as_object().cloned().unwrap_or_default();
    Ok(Arc::new(D::open(Settings::new(settings), HostServices::default()).await?))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}
