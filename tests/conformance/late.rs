//! A store whose listings are late, as those of some object stores: what was written is read at once and shows in
//! listings a moment later, and what was deleted still shows for a while.
//!
//! It makes the suite look again wherever the API lets a driver without strong consistency take its time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use docker_registry_driver_api::{
    ByteStream, Bytes, CallContext, Capabilities, Capability, Condition, ETag, Error, ErrorKind, ListPage,
    ListRequest, ObjectInfo, ObjectPath, Prefix, Result, SharedDriver, Stat, UploadState, async_trait,
};
use docker_registry_driver_conformance::{
    Opener,
    forwarding::{Forward, Forwarding},
};

use crate::{changed::call, subjects::open_memory};

/// How late listings are.
const LATE_BY: Duration = Duration::from_millis(60);
/// How often is tried again to show what has no place yet among what is shown.
const AGAIN: Duration = Duration::from_millis(10);

/// A late memory driver, another store each time.
pub(crate) struct Late;

#[async_trait]
impl Opener for Late {
    async fn open(&self) -> Result<SharedDriver> {
        let shown = Arc::new(Shown { paths: open_memory().await?, facts: Mutex::default() });
        Ok(Forwarding::shared(LateDriver { inner: open_memory().await?, shown }))
    }
}

/// What listings show.
struct Shown {
    /// An empty object at each path.
    paths: SharedDriver,
    facts: Mutex<HashMap<String, ObjectInfo>>,
}

struct LateDriver {
    inner: SharedDriver,
    shown: Arc<Shown>,
}

/// Lets listings know what became of a path, some time after the call that this belongs to has ended, however it did.
struct ShowLater {
    inner: SharedDriver,
    shown: Arc<Shown>,
    path: ObjectPath,
}

impl Drop for ShowLater {
    fn drop(&mut self) {
        let (inner, shown, path) = (self.inner.clone(), Arc::clone(&self.shown), self.path.clone());
        tokio::spawn(async move {
            tokio::time::sleep(LATE_BY).await;
            while shown.update(&inner, &path).await.is_err() {
                tokio::time::sleep(AGAIN).await;
            }
        });
    }
}

impl LateDriver {
    fn later(&self, path: &ObjectPath) -> ShowLater {
        ShowLater { inner: self.inner.clone(), shown: Arc::clone(&self.shown), path: path.clone() }
    }
}

impl Shown {
    /// # Errors
    /// `Conflict` while a folder is shown where the object is to be, or the other way round.
    async fn update(&self, inner: &SharedDriver, path: &ObjectPath) -> Result<()> {
        match inner.head(&call(), path).await {
            Ok(info) => {
                self.facts.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_string(), info);
                self.paths.put(&call(), path, Bytes::new(), &Condition::Always).await.map(drop)
            }
            Err(_) => {
                let _ = self.paths.delete(&call(), path).await;
                Ok(())
            }
        }
    }

    fn facts(&self, path: &str) -> Option<ObjectInfo> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }
}

#[async_trait]
impl Forward for LateDriver {
    fn inner(&self) -> &SharedDriver {
        &self.inner
    }

    fn capabilities(&self) -> Capabilities {
        let all = self.inner.capabilities();
        all.iter().filter(|capability| *capability != Capability::StrongConsistency).collect()
    }

    async fn put(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        content: Bytes,
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        let _later = self.later(path);
        self.inner.put(call, path, content, condition).await
    }

    async fn stat(&self, call: &CallContext, path: &Prefix) -> Result<Stat> {
        match self.inner.stat(call, path).await {
            Ok(Stat::Object(info)) => Ok(Stat::Object(info)),
            _ => match self.shown.paths.stat(call, path).await? {
                Stat::Folder => Ok(Stat::Folder),
                Stat::Object(_) => Err(Error::new(ErrorKind::NotFound, "it was deleted")),
            },
        }
    }

    async fn list(&self, call: &CallContext, request: &ListRequest) -> Result<ListPage> {
        let mut page = self.shown.paths.list(call, request).await?;
        for entry in &mut page.entries {
            if entry.object.is_some() {
                entry.object = self.shown.facts(&entry.path);
            }
        }
        Ok(page)
    }

    async fn commit(
        &self,
        call: &CallContext,
        state: &UploadState,
        final_path: &ObjectPath,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        let _later = self.later(final_path);
        self.inner.commit(call, state, final_path, condition).await
    }

    async fn write(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        size: Option<u64>,
        body: ByteStream,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        let _later = self.later(path);
        self.inner.write(call, path, size, body, condition).await
    }

    async fn copy(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        let _later = self.later(to);
        self.inner.copy(call, from, to).await
    }

    async fn rename(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        let _later = (self.later(from), self.later(to));
        self.inner.rename(call, from, to).await
    }

    async fn delete(&self, call: &CallContext, path: &ObjectPath) -> Result<()> {
        let _later = self.later(path);
        self.inner.delete(call, path).await
    }

    async fn delete_many(
        &self,
        call: &CallContext,
        paths: &[ObjectPath],
    ) -> Result<Vec<(ObjectPath, Error)>> {
        let _later: Vec<_> = paths.iter().map(|path| self.later(path)).collect();
        self.inner.delete_many(call, paths).await
    }

    /// Made of listings: what they do not show yet stays.
    async fn delete_tree(&self, call: &CallContext, prefix: &Prefix) -> Result<u64> {
        let mut paths: Vec<ObjectPath> = ObjectPath::new(prefix.as_str()).into_iter().collect();
        let mut request = ListRequest::below(prefix.clone());
        loop {
            let page = self.shown.paths.list(call, &request).await?;
            paths.extend(page.entries.into_iter().filter_map(|entry| ObjectPath::new(entry.path).ok()));
            request.after = page.next;
            if request.after.is_none() {
                break;
            }
        }
        let mut went = 0;
        for path in &paths {
            went += u64::from(self.delete(call, path).await.is_ok());
        }
        Ok(went)
    }
}
