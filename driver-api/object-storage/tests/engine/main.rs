//! The engine in this process, over a fake bucket in memory: the whole conformance suite on stores of
//! several kinds, one of them in constant trouble, and what the suite cannot see from outside.
//!
//! A test of the suite is named `STORE::GROUP/CASE`. In the other tests time is simulated: pauses and
//! time-outs cost nothing.

mod behaviour;
mod fake_bucket;
mod listings;
mod readings;
mod trouble;
mod uploads;

use std::{process::ExitCode, sync::Arc, time::Duration};

use docker_registry_driver_conformance::{Case, Opener, Outcome, cases};
use docker_registry_object_storage::{
    Bucket, Engine, ObjectStorage, Opened, StoreSettings, Unchanging,
    bucket::Limits,
    driver_api::{Description, Error, Result, Settings, SharedDriver, async_trait},
    object_store_driver,
};
use libtest_mimic::{Arguments, Completion, Trial};
use tokio::runtime::{Builder, Runtime};

use crate::{fake_bucket::FakeBucket, trouble::Trouble};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for (name, kind) in KINDS {
        for case in cases().filter(|case| !case.is_long()) {
            trials.push(Trial::ignorable_test(format!("{name}::{}", case.name()), move || run(case, kind())));
        }
    }
    trials.extend(behaviour::trials());
    trials.extend(listings::trials());
    trials.extend(readings::trials());
    trials.extend(uploads::trials());
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Makes a store, another one each time.
type MakeKind = fn() -> Kind;

/// The stores that the suite runs on.
const KINDS: &[(&str, MakeKind)] = &[
    ("able", || Kind { bucket: FakeBucket::new(small(Limits::s3())), root: "" }),
    ("by_key", || Kind {
        // Like MinIO.
        bucket: FakeBucket::new(small(Limits::s3())).listing_begun_by_key(),
        root: "a/root",
    }),
    ("half_conditional", || {
        let limits = Limits { finish_if_absent: false, finish_if_match: false, ..small(Limits::s3()) };
        Kind { bucket: FakeBucket::new(limits), root: "root" }
    }),
    ("in_sequence", || {
        let limits = Limits {
            parallel_parts: false,
            copied_parts: false,
            part_multiple: 256 * KIB,
            smallest_part: 256 * KIB,
            lists_begun: false,
            suffix_ranges: false,
            ..small(Limits::s3())
        };
        Kind { bucket: FakeBucket::new(limits), root: "root" }
    }),
    ("least", || Kind { bucket: FakeBucket::new(least()), root: "root" }),
    ("troubled", || Kind {
        bucket: FakeBucket::new(small(Limits::s3())).in_trouble(Trouble::often(30, 1)),
        root: "root",
    }),
    ("least_and_troubled", || Kind {
        bucket: FakeBucket::new(least()).in_trouble(Trouble::often(30, 1)),
        root: "",
    }),
];

/// Limits at which content of a few megabytes is large.
fn small(limits: Limits) -> Limits {
    Limits { smallest_part: 100 * KIB, largest_copy: 4 * MIB, largest_batch: 100, ..limits }
}

/// A store that can do as little as a store may.
fn least() -> Limits {
    Limits {
        put_if_absent: false,
        put_if_match: false,
        finish_if_absent: false,
        finish_if_match: false,
        copied_parts: false,
        largest_batch: 1,
        list_after: false,
        suffix_ranges: false,
        lists_begun: false,
        signs: false,
        ..small(Limits::s3())
    }
}

/// One store.
struct Kind {
    bucket: FakeBucket,
    root: &'static str,
}

/// Settings that fit the small limits.
fn settings() -> StoreSettings {
    StoreSettings {
        part_size: 256 * KIB,
        upload_memory: 8 * MIB,
        attempt_timeout: Duration::from_secs(1),
        most_attempts: 20,
        first_pause: Duration::from_millis(2),
        ..StoreSettings::default()
    }
}

object_store_driver! { driver: FakeDriver, storage: Fake }

/// The storage of [`FakeDriver`], which the tests open by themselves.
struct Fake;

#[async_trait]
impl ObjectStorage for Fake {
    fn describe() -> Description {
        Description { summary: "a fake".to_owned(), licence: "Apache-2.0".to_owned(), keys: Vec::new() }
    }

    async fn open(_: &Settings, _: &StoreSettings) -> Result<Opened> {
        Err(Error::unsupported("open"))
    }
}

impl Kind {
    async fn engine(&self) -> Result<Arc<Engine>> {
        let opened = Opened {
            bucket: Arc::new(self.bucket.clone()),
            root: self.root.to_owned(),
            renewal: Arc::<Unchanging>::default(),
        };
        Engine::open(opened, settings()).await
    }
}

#[async_trait]
impl Opener for Kind {
    async fn open(&self) -> Result<SharedDriver> {
        Ok(Arc::new(FakeDriver(self.engine().await?)))
    }
}

/// Runs a case, and looks for what it left in the store.
fn run(case: &Case, kind: Kind) -> Result<Completion, libtest_mimic::Failed> {
    let bucket = kind.bucket.clone();
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(async {
        let outcome = case.run(Arc::new(kind)).await;
        // Calls that were dropped clean up behind themselves.
        for _ in 0..100 {
            if bucket.open_objects() == 0 || !bucket.trouble.is_none() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        outcome
    });
    match outcome {
        Outcome::Passed => {}
        Outcome::Skipped(reason) => return Ok(Completion::ignored_with(reason)),
        Outcome::Failed(finding) => return Err(finding.into()),
    }
    // What is lost in trouble is found by `list_uploads` some day.
    if bucket.trouble.is_none() {
        let mut keys = bucket.keys();
        // Without conditions a commit looks for its segments behind its caller's back, perhaps too late.
        if !bucket.limits().put_if_absent {
            keys.retain(|key| !key.contains(".docker-registry/"));
        }
        if !keys.is_empty() {
            return Err(format!("objects are left behind: {keys:?}").into());
        }
        if bucket.open_objects() > 0 {
            return Err(format!("{} large objects are left open", bucket.open_objects()).into());
        }
    }
    Ok(Completion::Completed)
}

/// A runtime whose clock runs on when nobody has work.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime starts")
}

/// A test over an engine on a bucket with all abilities and no trouble.
fn trial<F>(name: &str, test: impl FnOnce(FakeBucket, Arc<Engine>) -> F + Send + 'static) -> Trial
where
    F: Future<Output = ()>,
{
    trial_on(name, small(Limits::s3()), test)
}

/// The same on a bucket with these limits.
fn trial_on<F>(
    name: &str,
    limits: Limits,
    test: impl FnOnce(FakeBucket, Arc<Engine>) -> F + Send + 'static,
) -> Trial
where
    F: Future<Output = ()>,
{
    Trial::test(name, move || {
        runtime().block_on(async {
            let kind = Kind { bucket: FakeBucket::new(limits), root: "root" };
            let engine = kind.engine().await.expect("the engine opens");
            test(kind.bucket, engine).await;
        });
        Ok(())
    })
}
