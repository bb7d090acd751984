//! The store as a case sees it: its own folder of it, short ways to call the driver, and looks that wait
//! where the driver does not promise to be consistent at once.

use std::{
    collections::BTreeSet,
    fmt::Debug,
    panic::Location,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use docker_registry_driver_api::{
    ByteStream, CallContext, Capability, Condition, ErrorKind, ListRequest, ObjectInfo, ObjectPath, Prefix,
    Result, SharedDriver, Stat, UploadHint, UploadProgress, UploadState, byte_stream,
};
use futures::{StreamExt, stream};
use tokio::time::Instant;

use crate::{
    Opener,
    checks::{excerpt, ok},
    failure::{Ended, broken, end, shown},
    promise::{self, Promise},
};

/// How long a store without strong consistency may take to show what was written.
const SETTLING: Duration = Duration::from_secs(60);
/// Time between the first two looks at such a store; it doubles from look to look.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Longest time between two looks.
const LOOK_SELDOM: Duration = Duration::from_secs(1);
/// How long a folder that was emptied must stay empty, when listings may be late.
const STAYS_EMPTY: Duration = Duration::from_secs(1);
/// The same when only a write that was dropped may still be on its way.
const NOTHING_COMES: Duration = Duration::from_millis(300);

/// How many objects are written at a time where a case needs many.
const WRITERS: usize = 16;

/// The folder of one case in an open driver. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Store {
    /// The driver itself, for calls that need no short way.
    pub(crate) driver: SharedDriver,
    shared: Arc<Shared>,
}

/// What all drivers of one case share.
struct Shared {
    root: String,
    opener: Arc<dyn Opener>,
    opened: Mutex<Vec<SharedDriver>>,
    uploads: Mutex<Uploads>,
    writes_were_dropped: AtomicBool,
}

/// The uploads of the case.
#[derive(Default)]
pub(crate) struct Uploads {
    /// The latest known state of each upload that was not ended yet.
    pub(crate) pending: Vec<UploadState>,
    /// Every state that was handed out.
    pub(crate) known: Vec<UploadState>,
    /// Every size that an upload had after an append.
    pub(crate) sizes: BTreeSet<u64>,
}

/// A call without a deadline.
pub(crate) fn call() -> CallContext {
    CallContext::default()
}

/// Makes a conditional write again for as long as the driver does not know whether it happened, as when its answer got
/// lost and somebody changed the object since. Whoever never knows keeps no promise.
///
/// # Errors
/// Those of the last attempt.
pub(crate) async fn until_known<T, A>(mut write: impl FnMut() -> A) -> Result<T>
where
    A: Future<Output = Result<T>>,
{
    const ATTEMPTS: u32 = 5;
    for _ in 1..ATTEMPTS {
        match write().await {
            Err(error) if error.outcome_unknown => {}
            result => return result,
        }
    }
    write().await
}

/// A body of one chunk, or of none for no content: no stream has an empty chunk.
pub(crate) fn body(content: impl Into<Bytes>) -> ByteStream {
    let content = content.into();
    byte_stream((!content.is_empty()).then_some(content))
}

impl Store {
    /// Opens the driver and draws a folder.
    pub(crate) async fn open(opener: Arc<dyn Opener>) -> Self {
        let driver = match opener.open().await {
            Ok(driver) => driver,
            Err(error) => end(Ended::Failed(format!(
                "expected: the driver opens with the given settings\nfound:    {}",
                shown(&error)
            ))),
        };
        let shared = Shared {
            root: format!("conformance-{:016x}", fastrand::u64(..)),
            opener,
            opened: Mutex::new(vec![driver.clone()]),
            uploads: Mutex::default(),
            writes_were_dropped: AtomicBool::new(false),
        };
        Self { driver, shared: Arc::new(shared) }
    }

    /// Another driver over the same store.
    pub(crate) async fn second(&self) -> Self {
        let driver = ok(self.shared.opener.open().await, "another open of the driver", promise::RESUMABLE);
        lock(&self.shared.opened).push(driver.clone());
        Self { driver, shared: Arc::clone(&self.shared) }
    }

    /// Closes this driver alone, as a process that ends does.
    pub(crate) async fn end(self, grace: Duration) {
        lock(&self.shared.opened).retain(|opened| !Arc::ptr_eq(opened, &self.driver));
        self.driver.close(grace).await;
    }

    /// What the tester named as a storage that cannot work.
    pub(crate) async fn dead(&self) -> Option<Result<SharedDriver>> {
        self.shared.opener.open_dead().await
    }

    /// What no text of an error may show.
    pub(crate) fn secrets(&self) -> Vec<String> {
        self.shared.opener.secrets()
    }

    /// Closes every driver that the case opened.
    pub(crate) async fn close(&self, grace: Duration) {
        let opened = std::mem::take(&mut *lock(&self.shared.opened));
        for driver in opened {
            driver.close(grace).await;
        }
    }

    /// Whether the driver has the capability.
    pub(crate) fn has(&self, capability: Capability) -> bool {
        self.driver.capabilities().has(capability)
    }

    /// The folder of the case.
    pub(crate) fn root(&self) -> &str {
        &self.shared.root
    }

    /// The path of an object in the folder of the case.
    pub(crate) fn path(&self, name: &str) -> ObjectPath {
        ObjectPath::new(format!("{}/{name}", self.shared.root)).expect("the names of the suite are valid")
    }

    /// A folder in the folder of the case; empty for that one itself.
    pub(crate) fn folder(&self, name: &str) -> Prefix {
        if name.is_empty() {
            Prefix::new(self.shared.root.clone()).expect("the root of a case is a valid path")
        } else {
            self.path(name).into()
        }
    }

    /// The uploads of the case so far.
    pub(crate) fn uploads(&self) -> MutexGuard<'_, Uploads> {
        lock(&self.shared.uploads)
    }

    /// Says that a write was dropped in the middle, so that it may happen after everything else.
    pub(crate) fn a_write_was_dropped(&self) {
        self.shared.writes_were_dropped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn writes_were_dropped(&self) -> bool {
        self.shared.writes_were_dropped.load(Ordering::Relaxed)
    }

    /// Looks until `wanted` or until the store has had time to settle. A strongly consistent store is
    /// looked at once. Returns the last look.
    pub(crate) async fn eventually<T, F: Future<Output = T>>(
        &self,
        look: impl Fn() -> F,
        wanted: impl Fn(&T) -> bool,
    ) -> T {
        let end = Instant::now() + SETTLING;
        let mut pause = LOOK_AGAIN;
        loop {
            let found = look().await;
            if wanted(&found) || self.has(Capability::StrongConsistency) || Instant::now() > end {
                return found;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOK_SELDOM);
        }
    }

    /// Deletes a folder until nothing of it shows any more, however late the listings are from which a driver may
    /// know what is in it, and expects that it stays empty.
    pub(crate) async fn empty(&self, folder: &str) {
        let quiet = match (self.has(Capability::StrongConsistency), self.writes_were_dropped()) {
            (true, false) => Duration::ZERO,
            (true, true) => NOTHING_COMES,
            (false, _) => STAYS_EMPTY,
        };
        let end = Instant::now() + SETTLING;
        let mut empty_since = None;
        loop {
            let deleted = self.driver.delete_tree(&call(), &self.folder(folder)).await;
            ok(deleted, format_args!("delete_tree of {}", self.folder(folder)), promise::TREE);
            if quiet.is_zero() || Instant::now() > end {
                break;
            }
            let is_empty = self.list(&ListRequest::below(self.folder(folder))).await.is_empty();
            let since = *empty_since.get_or_insert_with(Instant::now);
            if !is_empty {
                empty_since = None;
            } else if since.elapsed() >= quiet {
                break;
            }
            tokio::time::sleep(quiet / 10).await;
        }
        self.expect_below::<&str>(folder, &[], promise::TREE).await;
    }

    /// Writes an object, which must succeed.
    #[track_caller]
    pub(crate) fn put<C: Into<Bytes>>(&self, name: &str, content: C) -> impl Future<Output = ()> + use<C> {
        let (store, path, content, place) =
            (self.clone(), self.path(name), content.into(), Location::caller());
        async move {
            if let Err(error) = store.driver.put(&call(), &path, content, &Condition::Always).await {
                broken(format_args!("put of {path} succeeds"), shown(&error), promise::PUT, place);
            }
        }
    }

    /// Writes many objects, some at a time, each with its own name as content.
    #[track_caller]
    pub(crate) fn put_all<N: AsRef<str>>(&self, names: &[N]) -> impl Future<Output = ()> + use<N> {
        let writes: Vec<_> =
            names.iter().map(|name| self.put(name.as_ref(), name.as_ref().to_owned())).collect();
        async move { stream::iter(writes).buffer_unordered(WRITERS).collect().await }
    }

    /// Reads an object whole, whatever comes.
    pub(crate) async fn get(&self, name: &str) -> Result<Bytes> {
        self.driver.get(&call(), &self.path(name), u64::MAX).await.map(|object| object.content)
    }

    /// Expects that the object has this content.
    #[track_caller]
    pub(crate) fn expect<C: Into<Bytes>>(
        &self,
        name: &str,
        content: C,
        promise: Promise,
    ) -> impl Future<Output = ()> + use<C> {
        let (store, name, content, place) =
            (self.clone(), name.to_owned(), content.into(), Location::caller());
        async move {
            let wanted = |found: &Result<Bytes>| found.as_ref().is_ok_and(|found| *found == content);
            let found = store.eventually(|| async { store.get(&name).await }, wanted).await;
            if !wanted(&found) {
                let expected = format!("{} holds {}", store.path(&name), excerpt(&content));
                let found = found.map_or_else(|error| shown(&error), |found| excerpt(&found));
                broken(expected, found, promise, place);
            }
        }
    }

    /// Facts of an object that must be there.
    #[track_caller]
    pub(crate) fn head(&self, name: &str) -> impl Future<Output = ObjectInfo> + use<> {
        let (store, path, place) = (self.clone(), self.path(name), Location::caller());
        async move {
            match store.eventually(|| async { store.driver.head(&call(), &path).await }, Result::is_ok).await
            {
                Ok(info) => info,
                Err(error) => {
                    broken(format_args!("head of {path} succeeds"), shown(&error), promise::HEAD, place)
                }
            }
        }
    }

    /// What lies at a path.
    pub(crate) async fn stat(&self, name: &str) -> Result<Stat> {
        self.driver.stat(&call(), &self.folder(name)).await
    }

    /// Expects that there is no object.
    #[track_caller]
    pub(crate) fn expect_absent(&self, name: &str, promise: Promise) -> impl Future<Output = ()> + use<> {
        let (store, path, place) = (self.clone(), self.path(name), Location::caller());
        async move {
            let wanted =
                |found: &Result<ObjectInfo>| matches!(found, Err(error) if error.kind == ErrorKind::NotFound);
            let found = store.eventually(|| async { store.driver.head(&call(), &path).await }, wanted).await;
            if !wanted(&found) {
                let found = found.map_or_else(|error| shown(&error), |info| format!("{info:?}"));
                broken(format_args!("head of {path} fails with NotFound"), found, promise, place);
            }
        }
    }

    /// Expects exactly these objects below a folder, given and compared without the folder of the case.
    #[track_caller]
    pub(crate) fn expect_below<N: AsRef<str>>(
        &self,
        folder: &str,
        names: &[N],
        promise: Promise,
    ) -> impl Future<Output = ()> + use<N> {
        self.expect_listing(ListRequest::below(self.folder(folder)), names, promise)
    }

    /// Expects exactly these direct children of a folder.
    #[track_caller]
    pub(crate) fn expect_children<N: AsRef<str>>(
        &self,
        folder: &str,
        names: &[N],
        promise: Promise,
    ) -> impl Future<Output = ()> + use<N> {
        self.expect_listing(ListRequest::children(self.folder(folder)), names, promise)
    }

    /// Expects that all pages of a listing hold exactly these names. They need not be sorted.
    #[track_caller]
    pub(crate) fn expect_listing<N: AsRef<str>>(
        &self,
        request: ListRequest,
        names: &[N],
        promise: Promise,
    ) -> impl Future<Output = ()> + use<N> {
        let place = Location::caller();
        let mut expected: Vec<String> = names.iter().map(|name| name.as_ref().to_owned()).collect();
        expected.sort_unstable();
        let store = self.clone();
        async move {
            let found =
                store.eventually(|| async { store.list(&request).await }, |found| *found == expected).await;
            if found != expected {
                let what = if request.recursive { "objects below" } else { "children of" };
                let expected_line = format!(
                    "the {what} {} in pages of {} are {}",
                    request.prefix,
                    request.limit,
                    few(&expected)
                );
                broken(expected_line, difference(&found, &expected), promise, place);
            }
        }
    }

    /// The paths of all pages of a listing, without the folder of the case. The rules of pages are
    /// checked on the way.
    pub(crate) async fn list(&self, request: &ListRequest) -> Vec<String> {
        let start = format!("{}/", self.root());
        let paths = crate::listing::paths(&self.driver, request.clone()).await;
        paths.into_iter().map(|path| path.strip_prefix(&start).map_or(path.clone(), str::to_owned)).collect()
    }

    /// Begins an upload, which must succeed.
    #[track_caller]
    pub(crate) fn open_upload(&self) -> impl Future<Output = UploadState> + use<> {
        self.open_upload_with(UploadHint::default())
    }

    /// Begins an upload with a hint, which must succeed.
    #[track_caller]
    pub(crate) fn open_upload_with(&self, hint: UploadHint) -> impl Future<Output = UploadState> + use<> {
        let (store, place) = (self.clone(), Location::caller());
        async move {
            match store.driver.open_upload(&call(), &hint).await {
                Ok(state) => {
                    let mut uploads = store.uploads();
                    uploads.pending.push(state.clone());
                    uploads.known.push(state.clone());
                    state
                }
                Err(error) => broken("open_upload succeeds", shown(&error), promise::OPEN_UPLOAD, place),
            }
        }
    }

    /// Appends one chunk, which must succeed; returns the new state.
    #[track_caller]
    pub(crate) fn append<C: Into<Bytes>>(
        &self,
        state: &UploadState,
        offset: u64,
        content: C,
    ) -> impl Future<Output = UploadState> + use<C> {
        let content: Bytes = content.into();
        let end = offset + content.len() as u64;
        let (store, state, place) = (self.clone(), state.clone(), Location::caller());
        async move {
            let appended = store.try_append(&state, offset, body(content)).await;
            let expected = format!("append at {offset} succeeds and moves the upload to {end}");
            match appended {
                Ok(progress) if progress.offset == end => progress.state,
                Ok(progress) => {
                    broken(expected, format_args!("the offset {}", progress.offset), promise::APPEND, place)
                }
                Err(error) => broken(expected, shown(&error), promise::APPEND, place),
            }
        }
    }

    /// Appends, whatever comes of it.
    pub(crate) async fn try_append(
        &self,
        state: &UploadState,
        offset: u64,
        body: ByteStream,
    ) -> Result<UploadProgress> {
        let progress = self.driver.append(&call(), state, offset, body).await?;
        let mut uploads = self.uploads();
        uploads.pending.retain(|pending| pending != state);
        uploads.pending.push(progress.state.clone());
        uploads.known.push(progress.state.clone());
        uploads.sizes.insert(progress.offset);
        Ok(progress)
    }

    /// Commits, which must succeed.
    #[track_caller]
    pub(crate) fn commit(&self, state: &UploadState, name: &str) -> impl Future<Output = ObjectInfo> + use<> {
        let (store, state, name, place) = (self.clone(), state.clone(), name.to_owned(), Location::caller());
        async move {
            match store.try_commit(&state, &name, &Condition::Always).await {
                Ok(info) => info,
                Err(error) => broken(
                    format_args!("commit at {} succeeds", store.path(&name)),
                    shown(&error),
                    promise::COMMIT,
                    place,
                ),
            }
        }
    }

    /// Commits, whatever comes of it.
    pub(crate) async fn try_commit(
        &self,
        state: &UploadState,
        name: &str,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        let info = self.driver.commit(&call(), state, &self.path(name), condition).await?;
        self.uploads().pending.retain(|pending| pending != state);
        Ok(info)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A list for people: all of a short one, the ends of a long one.
fn few<T: Debug>(names: &[T]) -> String {
    match names {
        [first, second, .., last] if names.len() > 30 => {
            format!("{} entries: {first:?}, {second:?} … {last:?}", names.len())
        }
        _ => format!("{names:?}"),
    }
}

fn difference(found: &[String], expected: &[String]) -> String {
    let have: BTreeSet<_> = found.iter().collect();
    let want: BTreeSet<_> = expected.iter().collect();
    let lacking: Vec<_> = want.difference(&have).collect();
    let surplus: Vec<_> = have.difference(&want).collect();
    format!("{}; missing: {}; too many: {}", few(found), few(&lacking), few(&surplus))
}
