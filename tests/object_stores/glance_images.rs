//! The conformance suite on the images of Glance: its paths are those of a registry that keeps blobs only.
//!
//! The suite's own paths are the other driver's, so here each of them becomes the path of a blob and back. Folders are
//! made of the listing on this side; what a folder is to the driver itself is tried by the suite on the other driver's
//! paths and by the tests of the server.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use docker_registry::plugin::{Execution, Search, load};
use docker_registry_driver_api::futures::{StreamExt, stream};
use docker_registry_driver_api::{
    ByteStream, Bytes, CallContext, Condition, ETag, Entry, Error, ErrorKind, ListPage, ListRequest, Object,
    ObjectInfo, ObjectPath, Prefix, ReadRange, Reading, Result, Settings, SharedDriver, Stat, UploadHint,
    UploadState, async_trait,
};
use docker_registry_driver_conformance::{
    Opener, Outcome, cases,
    forwarding::{Forward, Forwarding},
};
use docker_registry_tests::artifacts;
use docker_registry_tests::store_server::StoreServer;
use tempfile::TempDir;

use crate::glance::with_alternate;
use crate::running::Subject;

/// Where blobs lie.
const BLOBS: &str = "docker/registry/v2/blobs/sha256";
/// Cases at the same time.
const AT_ONCE: usize = 6;
/// What would only try this side: pages, and names that are too long for the name of a blob.
const OF_THIS_SIDE: [&str; 4] = ["listing/", "cursors/", "names/", "large_listings/"];

/// A driver whose objects are blobs.
struct Blobs(SharedDriver);

/// The path of a blob, or the path itself where it is too long for one.
fn blob(path: &str) -> String {
    let mut hex: String = path.bytes().map(|byte| format!("{byte:02x}")).collect();
    while hex.len() < 32 {
        hex.push_str("00");
    }
    if hex.len() > 128 { path.to_owned() } else { format!("{BLOBS}/{}/{hex}/data", &hex[..2]) }
}

/// The path that [`blob`] made this one of.
fn path_of(blob: &str) -> String {
    let Some(rest) = blob.strip_prefix(BLOBS) else { return blob.to_owned() };
    let hex = rest.split('/').nth(2).expect("a blob has a hash");
    let bytes = (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hex"));
    String::from_utf8(bytes.filter(|byte| *byte != 0).collect()).expect("a path")
}

fn to(path: &ObjectPath) -> ObjectPath {
    ObjectPath::new(blob(path.as_str())).expect("a path")
}

fn back<T>(path: &ObjectPath, result: Result<T>) -> Result<T> {
    result.map_err(|error| error.at(path))
}

impl Blobs {
    /// Every object in order.
    async fn all(&self, call: &CallContext) -> Result<Vec<(String, Option<ObjectInfo>)>> {
        let (mut request, mut found) = (ListRequest::below(Prefix::root()), Vec::new());
        loop {
            let page = self.0.list(call, &request).await?;
            found.extend(page.entries.into_iter().map(|entry| (path_of(&entry.path), entry.object)));
            let Some(next) = page.next else { break };
            request.after = Some(next);
        }
        found.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(found)
    }
}

#[async_trait]
impl Forward for Blobs {
    fn inner(&self) -> &SharedDriver {
        &self.0
    }

    async fn get(&self, call: &CallContext, path: &ObjectPath, max_size: u64) -> Result<Object> {
        back(path, self.0.get(call, &to(path), max_size).await)
    }

    async fn put(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        content: Bytes,
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        back(path, self.0.put(call, &to(path), content, condition).await)
    }

    async fn head(&self, call: &CallContext, path: &ObjectPath) -> Result<ObjectInfo> {
        back(path, self.0.head(call, &to(path)).await)
    }

    async fn stat(&self, call: &CallContext, path: &Prefix) -> Result<Stat> {
        if path.is_root() {
            return Ok(Stat::Folder);
        }
        let object = ObjectPath::new(path.as_str())?;
        match self.head(call, &object).await {
            Err(error) if error.is_not_found() => {}
            found => return found.map(Stat::Object),
        }
        let start = path.start();
        match self.all(call).await?.iter().any(|(found, _)| found.starts_with(&start)) {
            true => Ok(Stat::Folder),
            false => Err(Error::not_found(path)),
        }
    }

    async fn read(&self, call: &CallContext, path: &ObjectPath, range: ReadRange) -> Result<Reading> {
        back(path, self.0.read(call, &to(path), range).await)
    }

    async fn list(&self, call: &CallContext, request: &ListRequest) -> Result<ListPage> {
        let start = request.prefix.start();
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen = BTreeSet::new();
        for (path, object) in self.all(call).await? {
            let Some(rest) = path.strip_prefix(&start) else { continue };
            let entry = match rest.split_once('/') {
                Some((name, _)) if !request.recursive => {
                    Entry { path: format!("{start}{name}"), object: None }
                }
                _ => Entry { path, object },
            };
            if request.after.as_ref().is_none_or(|after| entry.path > *after)
                && seen.insert(entry.path.clone())
            {
                entries.push(entry);
            }
        }
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        let is_more = entries.len() > request.limit as usize;
        entries.truncate(request.limit as usize);
        let next = entries.last().filter(|_| is_more).map(|entry| entry.path.clone());
        Ok(ListPage { entries, next })
    }

    async fn open_upload(&self, call: &CallContext, hint: &UploadHint) -> Result<UploadState> {
        let hint = UploadHint { final_path: hint.final_path.as_ref().map(to), size: hint.size };
        self.0.open_upload(call, &hint).await
    }

    async fn commit(
        &self,
        call: &CallContext,
        state: &UploadState,
        final_path: &ObjectPath,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        back(final_path, self.0.commit(call, state, &to(final_path), condition).await)
    }

    async fn write(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        size: Option<u64>,
        body: ByteStream,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        back(path, self.0.write(call, &to(path), size, body, condition).await)
    }

    async fn copy(&self, call: &CallContext, from: &ObjectPath, path: &ObjectPath) -> Result<()> {
        back(from, self.0.copy(call, &to(from), &to(path)).await)
    }

    async fn rename(&self, call: &CallContext, from: &ObjectPath, path: &ObjectPath) -> Result<()> {
        back(from, self.0.rename(call, &to(from), &to(path)).await)
    }

    async fn delete(&self, call: &CallContext, path: &ObjectPath) -> Result<()> {
        back(path, self.0.delete(call, &to(path)).await)
    }

    async fn delete_many(
        &self,
        call: &CallContext,
        paths: &[ObjectPath],
    ) -> Result<Vec<(ObjectPath, Error)>> {
        let blobs: Vec<ObjectPath> = paths.iter().map(to).collect();
        let failures = self.0.delete_many(call, &blobs).await?;
        failures
            .into_iter()
            .map(|(path, error)| Ok((ObjectPath::new(path_of(path.as_str()))?, error)))
            .collect()
    }

    async fn delete_tree(&self, call: &CallContext, prefix: &Prefix) -> Result<u64> {
        let start = prefix.start();
        let all = self.all(call).await?.into_iter().map(|(path, _)| path);
        let wanted = all.filter(|path| path == prefix.as_str() || path.starts_with(&start));
        let paths = wanted.map(ObjectPath::new).collect::<Result<Vec<_>>>()?;
        match self.delete_many(call, &paths).await?.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(paths.len() as u64),
        }
    }
}

struct OnBlobs {
    subject: Subject,
    _folder: TempDir,
}

#[async_trait]
impl Opener for OnBlobs {
    async fn open(&self) -> Result<SharedDriver> {
        let search = Arc::new(Search::new(&[artifacts::folder().to_owned()], None, None));
        let failed = |error: String| Error::new(ErrorKind::Internal, error);
        let loaded = load(&search, "glance").map_err(|error| failed(error.to_string()))?;
        let value = |text: &String| text.parse::<u32>().map_or_else(|_| text.clone().into(), Into::into);
        let settings = self.subject.settings.iter().map(|(key, text)| (key.clone(), value(text)));
        let driver = loaded.open(Settings::new(settings.collect()), Execution::Declared).await;
        Ok(Forwarding::shared(Blobs(driver.map_err(|error| failed(error.to_string()))?)))
    }
}

#[test]
fn a_path_becomes_a_blob_and_back() {
    for path in ["a", "folder/an object", &"x".repeat(64), &"x".repeat(65)] {
        assert_eq!(path_of(&blob(path)), path);
    }
}

/// What Glance does not take minutes for.
#[test]
fn the_images_themselves_conform_where_that_is_quick() {
    let server = StoreServer::start("glance");
    let groups = ["objects/", "writing/", "uploads/", "moving/", "reading/a_", "reading/ranges"];
    let quick = |name: &str| groups.iter().any(|group| name.starts_with(group));
    let passed = conform(&server, |subject| subject, quick);
    assert!(passed > 25, "{passed} cases passed");
}

#[cfg(feature = "long")]
#[test]
fn the_images_themselves_conform() {
    let server = StoreServer::start("glance");
    let passed = conform(&server, |subject| subject, |_| true);
    assert!(passed > 80, "{passed} cases passed");
}

/// But for `write`, whose content is there once: it fails then, and the client sends it again. And but for what takes thousands
/// of requests.
#[cfg(feature = "long")]
#[test]
fn the_images_conform_while_the_way_to_glance_makes_trouble() {
    use docker_registry_tests::fault_proxy::{Fault, FaultProxy};
    use docker_registry_tests::flavor_variables::at;

    let server = StoreServer::start("glance");
    let proxy = FaultProxy::start(server.address_of("glance_url"));
    proxy.make_trouble(&[
        (Fault::Busy, 20),
        (Fault::AnswerLost, 3),
        (Fault::RequestCut, 3),
        (Fault::AnswerCut, 3),
    ]);
    let through = |subject: Subject| {
        let address = at(proxy.address(), server.value("glance_url"));
        subject.with("glance_url", &address).with("attempt_timeout", "5").with("most_attempts", "20")
    };
    let groups = ["objects/", "reading/", "deleting/a_deleted", "moving/", "uploads/"];
    let passed = conform(&server, through, |name| groups.iter().any(|group| name.starts_with(group)));
    assert!(passed > 30, "{passed} cases passed");
    let met = proxy.take_seen().iter().filter(|seen| seen.fault.is_some()).count();
    assert!(met > 300, "only {met} requests met trouble");
}

/// Runs the wanted cases on the images, and returns how many passed.
fn conform(
    server: &StoreServer,
    change: impl FnOnce(Subject) -> Subject,
    wanted: impl Fn(&str) -> bool,
) -> usize {
    let folder = tempfile::tempdir().expect("a folder");
    let subject = change(with_alternate(server, "local", "images", folder.path()));
    let opener: Arc<OnBlobs> = Arc::new(OnBlobs { subject, _folder: folder });
    let wanted = cases().filter(|case| {
        let name = case.name();
        wanted(name) && !case.is_long() && !OF_THIS_SIDE.iter().any(|group| name.starts_with(group))
    });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let outcomes: Vec<(&str, Outcome)> = runtime.block_on(
        stream::iter(wanted)
            .map(|case| {
                let opener: Arc<dyn Opener> = opener.clone();
                async move {
                    let began = Instant::now();
                    let outcome = case.run(opener).await;
                    println!("{} {outcome:?} after {:?}", case.name(), began.elapsed());
                    (case.name(), outcome)
                }
            })
            .buffer_unordered(AT_ONCE)
            .collect(),
    );
    let failed: Vec<String> = outcomes
        .iter()
        .filter_map(|(name, outcome)| match outcome {
            Outcome::Failed(reason) => Some(format!("{name}: {reason}")),
            _ => None,
        })
        .collect();
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), outcomes.len(), failed.join("\n"));
    outcomes.iter().filter(|(_, outcome)| *outcome == Outcome::Passed).count()
}
