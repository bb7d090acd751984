//! Uploads as the suite cannot see them: how many requests they make, what memory they hold, and what is
//! left when something goes wrong.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use docker_registry_object_storage::{
    Engine, Opened, StoreSettings, Unchanging,
    bucket::Limits,
    driver_api::{
        ByteStream, Bytes, CallContext, Condition, Error, ErrorKind, ObjectPath, UploadHint, UploadState,
        byte_stream,
        futures::{StreamExt, future::join_all, stream},
    },
};
use libtest_mimic::Trial;

use crate::{KIB, MIB, fake_bucket::FakeBucket, settings, small, trial, trial_on, trouble::When::After};

/// Size of the chunks of bodies.
const CHUNK: usize = 64 << 10;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a small upload makes three requests and a large one two more and its parts",
            async |bucket, engine| {
                for (size, appending) in [(100 * KIB, 1), (600 * KIB, 2 + 3)] {
                    let before = bucket.calls();
                    let state = open(&engine).await;
                    assert_eq!(bucket.calls() - before, 0, "opening");
                    let state = append(&engine, &state, 0, size).await;
                    assert_eq!(bucket.calls() - before, appending, "appending");
                    commit(&engine, &state, "a").await;
                    assert_eq!(bucket.calls() - before, appending + 2, "committing");
                    assert_eq!(bucket.content("root/a").unwrap(), pattern(0, size));
                }
            },
        ),
        trial("another process goes on without sending again what is there", async |bucket, engine| {
            let second = another(&bucket, settings()).await;
            let state = append(&engine, &open(&engine).await, 0, MIB).await;
            let before = bucket.calls();
            let state = append(&second, &state, MIB, MIB).await;
            // Two looks at the fence, and the new parts.
            assert_eq!(bucket.calls() - before, 2 + 2 + 4);
            let before = bucket.calls();
            commit(&engine, &state, "a").await;
            // The marker, and the object of two copied parts.
            assert_eq!(bucket.calls() - before, 1 + 2 + 2);
            assert_eq!(bucket.content("root/a").unwrap(), pattern(0, 2 * MIB));
        }),
        trial("a write makes one request, or two besides its parts", async |bucket, engine| {
            for (size, requests) in [(0, 1), (1, 1), (256 * KIB, 1), (256 * KIB + 1, 2 + 2), (MIB, 2 + 4)] {
                let before = bucket.calls();
                let info = write(&engine, "a", body(0, size)).await.unwrap();
                assert_eq!((info.size, bucket.calls() - before), (size, requests));
                assert_eq!(bucket.content("root/a").unwrap(), pattern(0, size));
            }
        }),
        trial(
            "a write that fails or is dropped leaves what was there and nothing else",
            async |bucket, engine| {
                write(&engine, "a", body(0, 10)).await.unwrap();
                let broken = || Error::new(ErrorKind::Unavailable, "the client went away");
                let failing = body(0, MIB).chain(stream::once(async move { Err(broken()) })).boxed();
                let error = write(&engine, "a", failing).await.unwrap_err();
                assert_eq!(error.kind, ErrorKind::BodyFailed);
                assert_eq!(bucket.open_objects(), 0);
                let silent = body(0, MIB).chain(stream::pending()).boxed();
                let dropped =
                    tokio::time::timeout(settings().attempt_timeout, write(&engine, "a", silent)).await;
                assert!(dropped.is_err());
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                assert_eq!(bucket.open_objects(), 0);
                assert_eq!(bucket.keys(), ["root/a"]);
                assert_eq!(bucket.content("root/a").unwrap(), pattern(0, 10));
            },
        ),
        trial("a commit whose condition fails leaves the upload to everybody", async |bucket, engine| {
            bucket.place("root/taken", "before");
            for size in [100 * KIB, 10 * MIB] {
                let second = another(&bucket, settings()).await;
                let state = append(&engine, &open(&engine).await, 0, size).await;
                for process in [&engine, &second, &engine] {
                    let taken = path("taken");
                    let commit = process.commit(&call(), &state, &taken, &Condition::IfAbsent).await;
                    assert_eq!(commit.unwrap_err().kind, ErrorKind::ConditionFailed);
                }
                let third = another(&bucket, settings()).await;
                let longer = append(&third, &state, size, 300 * KIB).await;
                let stale = engine.append(&call(), &state, size, body(0, 1)).await;
                assert_eq!(stale.unwrap_err().kind, ErrorKind::Conflict);
                commit(&second, &longer, "a").await;
                assert_eq!(bucket.content("root/a").unwrap(), pattern(0, size + 300 * KIB));
            }
            assert_eq!(bucket.content("root/taken").unwrap(), "before");
        }),
        trial("an append and a commit whose answers were lost are successes", async |bucket, engine| {
            bucket.trouble.plan([Some(After)]);
            let state = append(&engine, &open(&engine).await, 0, 200 * KIB).await;
            // The look at the fence, beginning, three parts, and the end of it.
            bucket.trouble.plan([None, None, None, None, None, Some(After)]);
            let state = append(&engine, &state, 200 * KIB, 600 * KIB).await;
            bucket.trouble.plan([Some(After), Some(After)]);
            commit(&engine, &state, "a").await;
            assert_eq!(bucket.content("root/a").unwrap(), pattern(0, 800 * KIB));
        }),
        many_appends("many appends stay one upload", small(Limits::s3())),
        many_appends(
            "many appends stay one upload where parts are not copied",
            Limits { copied_parts: false, finish_if_absent: false, ..small(Limits::s3()) },
        ),
        trial("all uploads together hold no more memory than they may", async |bucket, engine| {
            const UPLOADS: usize = 32;
            let live = Arc::new(Live::default());
            let uploads = (0..UPLOADS).map(|number| {
                let (engine, live) = (&engine, Arc::clone(&live));
                async move {
                    let body = counted(live, 4 * MIB);
                    write(engine, &format!("{number}"), body).await.unwrap();
                }
            });
            join_all(uploads).await;
            for number in 0..UPLOADS {
                assert_eq!(bucket.content(&format!("root/{number}")).unwrap().len() as u64, 4 * MIB);
            }
            // Beside the budget: what is gathered without asking, and one chunk.
            let most = settings().upload_memory as usize + UPLOADS * ((256 << 10) + 2 * CHUNK);
            let peak = live.peak.load(Ordering::Relaxed);
            assert!(peak <= most, "{peak} of {most} bytes");
            assert_eq!(live.now.load(Ordering::Relaxed), 0);
        }),
        trial("uploads get on when the memory is for one part only", async |bucket, _engine| {
            let tight = another(&bucket, StoreSettings { upload_memory: 256 * KIB, ..settings() }).await;
            let uploads = (0..10).map(|number| {
                let tight = &tight;
                async move { write(tight, &format!("{number}"), body(0, 2 * MIB)).await.unwrap() }
            });
            join_all(uploads).await;
            assert_eq!(bucket.keys().len(), 10);
        }),
    ]
}

/// More appends than a row has segments, each large enough for a part.
fn many_appends(name: &str, limits: Limits) -> Trial {
    let limits = Limits { smallest_part: KIB, ..limits };
    trial_on(name, limits, async |bucket, engine| {
        const APPENDS: u64 = 700;
        let mut state = open(&engine).await;
        for number in 0..APPENDS {
            state = append(&engine, &state, number * 2 * KIB, 2 * KIB).await;
        }
        commit(&engine, &state, "a").await;
        assert_eq!(bucket.content("root/a").unwrap(), pattern(0, APPENDS * 2 * KIB));
    })
}

/// Bytes that exist.
#[derive(Default)]
struct Live {
    now: AtomicUsize,
    peak: AtomicUsize,
}

/// A chunk that tells when it goes.
struct Counted(Vec<u8>, Arc<Live>);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.now.fetch_sub(self.0.len(), Ordering::Relaxed);
    }
}

/// A body whose chunks are counted as long as they live.
fn counted(live: Arc<Live>, size: u64) -> ByteStream {
    let chunks = size.div_ceil(CHUNK as u64);
    stream::iter(0..chunks)
        .map(move |_| {
            let now = live.now.fetch_add(CHUNK, Ordering::Relaxed) + CHUNK;
            live.peak.fetch_max(now, Ordering::Relaxed);
            Ok(Bytes::from_owner(Counted(vec![1; CHUNK], Arc::clone(&live))))
        })
        .boxed()
}

/// Content that tells its place.
fn pattern(offset: u64, size: u64) -> Bytes {
    (offset..offset + size).map(|place| ((place / 5) ^ (place >> 11)) as u8).collect::<Vec<_>>().into()
}

fn body(offset: u64, size: u64) -> ByteStream {
    let content = pattern(offset, size);
    let starts = (0..content.len()).step_by(CHUNK);
    let chunks: Vec<Bytes> =
        starts.map(|start| content.slice(start..content.len().min(start + CHUNK))).collect();
    byte_stream(chunks)
}

fn call() -> CallContext {
    CallContext::default()
}

fn path(path: &str) -> ObjectPath {
    ObjectPath::new(path).unwrap()
}

/// Another process over the same bucket.
async fn another(bucket: &FakeBucket, settings: StoreSettings) -> Arc<Engine> {
    let opened = Opened {
        bucket: Arc::new(bucket.clone()),
        root: "root".to_owned(),
        renewal: Arc::<Unchanging>::default(),
    };
    Engine::open(opened, settings).await.unwrap()
}

async fn open(engine: &Arc<Engine>) -> UploadState {
    engine.open_upload(&call(), &UploadHint::default()).await.unwrap()
}

/// Appends what belongs at the offset.
async fn append(engine: &Arc<Engine>, state: &UploadState, offset: u64, size: u64) -> UploadState {
    let progress = engine.append(&call(), state, offset, body(offset, size)).await.unwrap();
    assert_eq!(progress.offset, offset + size);
    progress.state
}

async fn commit(engine: &Arc<Engine>, state: &UploadState, to: &str) {
    engine.commit(&call(), state, &path(to), &Condition::Always).await.unwrap();
}

async fn write(
    engine: &Arc<Engine>,
    to: &str,
    body: ByteStream,
) -> docker_registry_object_storage::driver_api::Result<docker_registry_object_storage::driver_api::ObjectInfo>
{
    engine.write(&call(), &path(to), None, body, &Condition::Always).await
}
