//! The drivers that the suite runs against, each over a store that nobody else uses.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use docker_registry_driver_api::{
    ByteStream, Bytes, CallContext, Capabilities, Capability, Condition, Driver, ETag, Error, HostServices,
    ObjectInfo, ObjectPath, RedirectRequest, Result, Settings, SharedDriver, UploadPage, UploadState,
    async_trait,
};
use docker_registry_driver_conformance::{
    Opener,
    forwarding::{Forward, Forwarding},
};
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

/// Opens a memory driver in which no byte has room.
pub(crate) async fn open_full_memory() -> Result<SharedDriver> {
    open::<MemoryDriver>(json!({ "memory_limit": 0 })).await
}

#[async_trait]
impl Opener for Memory {
    async fn open(&self) -> Result<SharedDriver> {
        open_memory().await
    }

    /// No byte has room in it.
    async fn open_dead(&self) -> Option<Result<SharedDriver>> {
        Some(open_full_memory().await)
    }
}

/// A memory driver that gives two entries where a thousand are asked for, as a driver may.
pub(crate) struct SmallPages;

#[async_trait]
impl Opener for SmallPages {
    async fn open(&self) -> Result<SharedDriver> {
        open::<MemoryDriver>(json!({ "page_size": 2 })).await
    }
}

/// A memory driver that can do the least that the API asks for, and redirects.
pub(crate) struct Least;

#[async_trait]
impl Opener for Least {
    async fn open(&self) -> Result<SharedDriver> {
        Ok(Forwarding::shared(LeastDriver(open_memory().await?)))
    }
}

struct LeastDriver(SharedDriver);

/// Without the capability for it no condition but one can be met.
fn unsupported_unless_always(operation: &str, condition: &Condition) -> Result<()> {
    if *condition == Condition::Always { Ok(()) } else { Err(Error::unsupported(operation)) }
}

#[async_trait]
impl Forward for LeastDriver {
    fn inner(&self) -> &SharedDriver {
        &self.0
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE.with(Capability::Redirects)
    }

    async fn put(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        content: Bytes,
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        unsupported_unless_always("put", condition)?;
        self.0.put(call, path, content, condition).await
    }

    async fn commit(
        &self,
        call: &CallContext,
        state: &UploadState,
        final_path: &ObjectPath,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        unsupported_unless_always("commit", condition)?;
        self.0.commit(call, state, final_path, condition).await
    }

    async fn write(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        size: Option<u64>,
        body: ByteStream,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        unsupported_unless_always("write", condition)?;
        self.0.write(call, path, size, body, condition).await
    }

    async fn list_uploads(
        &self,
        _: &CallContext,
        _: SystemTime,
        _: Option<&str>,
        _: u32,
    ) -> Result<UploadPage> {
        Err(Error::unsupported("list_uploads"))
    }

    /// Nothing is served there. That the address can be followed is all that the suite asks for.
    async fn redirect_url(&self, _: &CallContext, request: &RedirectRequest) -> Result<Option<String>> {
        let name: String = request.path.as_str().bytes().map(|byte| format!("%{byte:02X}")).collect();
        Ok(Some(format!("https://storage.example/{name}?signature=0")))
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
