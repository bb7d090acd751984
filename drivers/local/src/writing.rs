//! Objects of any size written in one call: a temporary file that gets its name when it is whole.
//!
//! There is no record, because nobody else goes on with the file. A call that ends early takes it along, and a
//! later start removes what a crash left.

use std::{fs::File, sync::Arc};

use docker_registry_driver_api::{
    ByteStream, Bytes, Condition, Error, ErrorKind, ObjectInfo, ObjectPath, Result,
};
use tempfile::NamedTempFile;
use tokio::runtime::Handle;

use crate::{
    Store,
    batches::{self, Batches},
    blocking,
    durable::Lasts,
    publishing,
};

/// See `Driver::write`.
pub(crate) async fn write(
    store: Arc<Store>,
    path: ObjectPath,
    body: ByteStream,
    condition: Condition,
) -> Result<ObjectInfo> {
    let begin = {
        let (store, path, condition) = (Arc::clone(&store), path.clone(), condition.clone());
        move || {
            store.root.object(&path)?;
            // Decided again at the rename. Here it saves a write that would be in vain.
            store.check_condition(&path, &condition)?;
            Ok(Arc::new(Growing(Some(store.staging.temporary_file()?))))
        }
    };
    let growing = blocking(begin).await?;
    let received = batches::receive(&growing, 0, body).await;
    blocking(move || {
        let file = Growing::ended(growing)?;
        received?;
        publishing::stamp(file.as_file())
            .and_then(|()| file.as_file().sync_all())
            .map_err(|error| Error::from(error).at(&path))?;
        store.publish(file.path(), file.as_file(), &path, &condition, Lasts::Always)
    })
    .await
}

/// The file while it is written. Dropped then, it is removed.
struct Growing(Option<NamedTempFile>);

impl Growing {
    /// The file, once nothing is written to it any more.
    fn ended(growing: Arc<Self>) -> Result<NamedTempFile> {
        let file = Arc::into_inner(growing).and_then(|mut growing| growing.0.take());
        file.ok_or_else(|| Error::new(ErrorKind::Internal, "a write is still under way"))
    }

    fn named(&self) -> &NamedTempFile {
        self.0.as_ref().expect("it is taken out when nobody else has it")
    }
}

impl Batches for Growing {
    fn write(&self, chunks: &[Bytes], offset: u64) -> Result<()> {
        batches::write_at(self.named().as_file(), chunks, offset)
    }

    fn file(&self) -> &File {
        self.named().as_file()
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        let Some(file) = self.0.take() else { return };
        // Freeing a large file takes time, and this may be a thread that polls.
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(file))),
            Err(_) => drop(file),
        }
    }
}
