//! What a driver call costs: directly, through the ABI, on the driver's own threads, and with the driver in a
//! process of its own.
//!
//! The driver is the memory driver, so that nearly nothing but the way to it is measured; files and durable
//! appends are those of the local driver. The same code is linked into this program and loaded from its library.
//! This program is also the one that runs as the driver's process.

use std::{
    collections::BTreeMap,
    env,
    hint::black_box,
    io::Read,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, measurement::WallTime};
use docker_registry::{
    isolation::{self, Launch, WhichDriver},
    plugin::{Execution, Search, load},
};
use docker_registry_driver_api::{
    Bytes, CallContext, Condition, Driver, HostServices, ObjectPath, ReadRange, Reading, ReadingBody,
    Settings, SharedDriver, UploadHint, byte_stream, futures::StreamExt,
};
use docker_registry_driver_local::LocalDriver;
use docker_registry_driver_memory::MemoryDriver;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const SMALL: usize = 1024;
const CHUNK: usize = 256 * 1024;
/// Chunks in the streamed object.
const CHUNKS: usize = 256;

/// A driver in every way that it can be reached; `direct` is the one that is linked in.
fn reached<D: Driver>(
    runtime: &Runtime,
    name: &str,
    settings: &Settings,
) -> Vec<(&'static str, SharedDriver)> {
    let executable = env::current_exe().expect("a program has a path");
    let folder = executable.parent().expect("it lies in a folder").to_owned();
    let search = Arc::new(Search::new(&[folder], None, None));
    let loaded = load(&search, name).expect("the library loads");
    let launch = Launch::of_this_program(WhichDriver::Named(name.to_owned()), &search, &BTreeMap::new());
    let settings = || settings.clone();
    runtime.block_on(async {
        let direct = D::open(settings(), HostServices::default()).await.expect("it opens");
        let in_place = loaded.open(settings(), Execution::InPlace).await.expect("it opens");
        let spawned = loaded.open(settings(), Execution::Spawned).await.expect("it opens");
        let process = isolation::open(launch, settings()).await.expect("it opens");
        vec![
            ("direct", Arc::new(direct) as SharedDriver),
            ("abi", in_place),
            ("abi-spawned", spawned),
            ("process", process),
        ]
    })
}

/// The memory driver.
fn drivers(runtime: &Runtime) -> Vec<(&'static str, SharedDriver)> {
    reached::<MemoryDriver>(runtime, "memory", &Settings::default())
}

/// The local driver, on one folder.
fn local_drivers(runtime: &Runtime, folder: &TempDir) -> Vec<(&'static str, SharedDriver)> {
    let root = folder.path().to_str().expect("a path of text");
    let settings = Settings::new([("storage_path".to_owned(), root.into())].into_iter().collect());
    reached::<LocalDriver>(runtime, "local", &settings)
}

fn path(text: &str) -> ObjectPath {
    ObjectPath::new(text).expect("a valid path")
}

/// Measures an asynchronous piece of work without the cost of entering the runtime each time.
fn measure<F: Future<Output = ()>>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    runtime: &Runtime,
    name: &str,
    work: impl Fn() -> F,
) {
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|rounds| {
            runtime.block_on(async {
                let start = Instant::now();
                for _ in 0..rounds {
                    work().await;
                }
                start.elapsed()
            })
        });
    });
}

fn small_reads(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("get 1 KiB");
    let (call, small) = (CallContext::default(), path("small"));
    for (name, driver) in drivers(&runtime) {
        let content = Bytes::from(vec![7; SMALL]);
        let put = driver.put(&call, &small, content, &Condition::Always);
        runtime.block_on(put).expect("it is stored");
        measure(&mut group, &runtime, name, || async {
            let object = driver.get(&call, &small, u64::MAX).await.expect("it is there");
            black_box(object.content);
        });
    }
    group.finish();
}

async fn drain(reading: Reading) {
    let ReadingBody::Stream(mut stream) = reading.body else { panic!("memory hands out no files") };
    let mut read = 0;
    while let Some(chunk) = stream.next().await {
        read += chunk.expect("a chunk").len();
    }
    assert_eq!(read, CHUNK * CHUNKS);
}

/// One iteration is one object; divided by [`CHUNKS`] it is one chunk.
fn streams(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("read 256 chunks of 256 KiB");
    group.throughput(Throughput::Elements(CHUNKS as u64));
    let (call, large) = (CallContext::default(), path("large"));
    for (name, driver) in drivers(&runtime) {
        runtime.block_on(async {
            let state = driver.open_upload(&call, &UploadHint::default()).await.expect("it begins");
            let chunks = (0..CHUNKS).map(|_| Bytes::from(vec![7; CHUNK])).collect::<Vec<_>>();
            let progress = driver.append(&call, &state, 0, byte_stream(chunks)).await.expect("it takes them");
            driver.commit(&call, &progress.state, &large, &Condition::Always).await.expect("it is stored");
        });
        measure(&mut group, &runtime, name, || async {
            drain(driver.read(&call, &large, ReadRange::Full).await.expect("it is there")).await;
        });
    }
    group.finish();
}

/// Opening a region of a file and reading its first byte; the bytes go by `sendfile` in any case.
fn file_regions(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut group = criterion.benchmark_group("read a file region");
    let (call, large) = (CallContext::default(), path("large"));
    for (name, driver) in local_drivers(&runtime, &folder) {
        let put = driver.put(&call, &large, Bytes::from(vec![7; CHUNK]), &Condition::Always);
        runtime.block_on(put).expect("it is stored");
        measure(&mut group, &runtime, name, || async {
            let reading = driver.read(&call, &large, ReadRange::Full).await.expect("it is there");
            let ReadingBody::File(mut region) = reading.body else { panic!("local hands out files") };
            let mut first = [0];
            region.file.read_exact(&mut first).expect("it has bytes");
            black_box(first);
        });
    }
    group.finish();
}

/// One iteration is an upload of [`CHUNKS`] chunks with one append, thrown away afterwards.
fn appends(
    criterion: &mut Criterion,
    title: &str,
    drivers: &[(&'static str, SharedDriver)],
    runtime: &Runtime,
) {
    let mut group = criterion.benchmark_group(title);
    group.throughput(Throughput::Elements(CHUNKS as u64));
    let (call, chunk) = (CallContext::default(), Bytes::from(vec![7; CHUNK]));
    for (name, driver) in drivers {
        measure(&mut group, runtime, name, || async {
            let state = driver.open_upload(&call, &UploadHint::default()).await.expect("it begins");
            let chunks = vec![chunk.clone(); CHUNKS];
            let progress = driver.append(&call, &state, 0, byte_stream(chunks)).await.expect("it takes them");
            driver.abort(&call, &progress.state).await.expect("it forgets them");
        });
    }
    group.finish();
}

fn memory_appends(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    appends(criterion, "append 256 chunks of 256 KiB", &drivers(&runtime), &runtime);
}

fn local_appends(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let title = "append 256 chunks of 256 KiB to a file";
    appends(criterion, title, &local_drivers(&runtime, &folder), &runtime);
}

fn settings() -> Criterion {
    Criterion::default().measurement_time(Duration::from_secs(4)).warm_up_time(Duration::from_secs(1))
}

criterion_group! {
    name = calls;
    config = settings();
    targets = small_reads, streams, file_regions, memory_appends, local_appends
}

fn main() -> ExitCode {
    // What a driver's process is started with, as the server is.
    if env::args().skip(1).eq(["driver", "host"]) {
        return isolation::run_child().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    calls();
    Criterion::default().configure_from_args().final_summary();
    ExitCode::SUCCESS
}
