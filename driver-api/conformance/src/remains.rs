//! Clearing up after a case, and looking for what it left behind.
//!
//! Others may use the store at the same time, other runs of the suite among them. So only what can be
//! told to be the case's own counts: everything in and beside its folder, and uploads by the states that
//! the case was given. Not every driver lists the very state that it handed out. An upload that appeared
//! during the case, has exactly as many bytes as one of the case's had, and does not go away counts as
//! well.

use std::{
    panic::Location,
    time::{Duration, SystemTime},
};

use docker_registry_driver_api::{
    Capability, ErrorKind, ListRequest, PendingUpload, Prefix, Result, Stat, UploadState,
};

use crate::{
    checks::ok,
    failure::{broken, shown},
    promise,
    store::{Store, call},
};

/// Clocks of the storage may differ this much from the one here.
const CLOCKS: Duration = Duration::from_secs(24 * 60 * 60);
/// How often is looked again for an upload that may be another's.
const LOOKS: u32 = 50;
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What was there before the case.
pub(crate) struct Remains {
    uploads: Vec<UploadState>,
}

impl Remains {
    pub(crate) async fn before(store: &Store) -> Self {
        let uploads = pending(store).await;
        Self { uploads: uploads.into_iter().map(|upload| upload.state).collect() }
    }

    /// Deletes what the case made and expects that nothing of it is left.
    pub(crate) async fn clear(&self, store: &Store) {
        let unfinished = std::mem::take(&mut store.uploads().pending);
        for state in unfinished {
            ok(store.driver.abort(&call(), &state).await, "abort of what the case left open", promise::ABORT);
        }
        store.empty("").await;
        expect_nothing_beside(store).await;
        expect_no_folder(store).await;
        self.expect_no_upload(store).await;
    }

    async fn expect_no_upload(&self, store: &Store) {
        let mut left = None;
        for _ in 0..LOOKS {
            left = pending(store).await.into_iter().find_map(|upload| self.is_ours(store, &upload));
            match &left {
                None => return,
                Some((_, true)) if store.has(Capability::StrongConsistency) => break,
                Some(_) => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
        if let Some((upload, _)) = left {
            broken(
                "no upload of the case is pending once all are committed or aborted",
                upload,
                promise::PENDING,
                Location::caller(),
            );
        }
    }

    /// The upload in words if it is the case's own, and whether that is certain.
    fn is_ours(&self, store: &Store, upload: &PendingUpload) -> Option<(String, bool)> {
        let uploads = store.uploads();
        let certain = uploads.known.contains(&upload.state);
        let likely =
            upload.size > 0 && uploads.sizes.contains(&upload.size) && !self.uploads.contains(&upload.state);
        let text = || format!("an upload of {} bytes, touched {:?}", upload.size, upload.touched);
        (certain || likely).then(|| (text(), certain))
    }
}

/// Nothing in the storage root begins with the name of the case's folder.
async fn expect_nothing_beside(store: &Store) {
    let root = store.root();
    // Just before the name in byte order: nobody else's folder shares fifteen random digits.
    let after = &root[..root.len() - 1];
    let look = || async {
        let request =
            ListRequest { after: Some(after.to_owned()), limit: 10, ..ListRequest::children(Prefix::root()) };
        let page = ok(store.driver.list(&call(), &request).await, "list of the storage root", promise::LIST);
        page.entries.into_iter().map(|entry| entry.path).find(|path| path.starts_with(after))
    };
    if let Some(path) = store.eventually(look, Option::is_none).await {
        broken(
            format_args!("nothing of {root} is in the storage root after delete_tree"),
            path,
            promise::TREE,
            Location::caller(),
        );
    }
}

async fn expect_no_folder(store: &Store) {
    let is_gone = |found: &Result<Stat>| matches!(found, Err(error) if error.kind == ErrorKind::NotFound);
    let found = store.eventually(|| async { store.stat("").await }, is_gone).await;
    if !is_gone(&found) {
        let found = found.map_or_else(|error| shown(&error), |stat| format!("{stat:?}"));
        let expected = format!("stat of {} fails with NotFound after delete_tree", store.root());
        broken(expected, found, promise::STAT_FOLDER, Location::caller());
    }
}

/// All pending uploads of the store; none when the driver cannot list them.
pub(crate) async fn pending(store: &Store) -> Vec<PendingUpload> {
    let mut uploads = Vec::new();
    if !store.has(Capability::ListUploads) {
        return uploads;
    }
    let later = SystemTime::now() + CLOCKS;
    let mut after: Option<String> = None;
    loop {
        let listed = store.driver.list_uploads(&call(), later, after.as_deref(), 1000).await;
        let page = ok(listed, "list_uploads", promise::LIST_UPLOADS);
        uploads.extend(page.uploads);
        match page.next {
            None => return uploads,
            next if next == after => broken(
                "the cursor of list_uploads leads on",
                format_args!("{next:?} twice"),
                promise::LIST_UPLOADS,
                Location::caller(),
            ),
            next => after = next,
        }
    }
}
