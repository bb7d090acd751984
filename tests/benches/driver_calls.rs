//! What a driver call costs: directly, through the ABI, and on the driver's own threads.
//!
//! The driver is the memory driver, so that nearly nothing but the way to it is measured. The same code is
//! linked into this program and loaded from its library.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use docker_registry::plugin::{Execution, Search, load};
use docker_registry_driver_api::{
    Bytes, CallContext, Condition, Driver, HostServices, ObjectPath, ReadRange, Reading, ReadingBody,
    Settings, SharedDriver, UploadHint, byte_stream, futures::StreamExt,
};
use docker_registry_driver_memory::MemoryDriver;
use tokio::runtime::Runtime;

const SMALL: usize = 1024;
const CHUNK: usize = 256 * 1024;
/// Chunks in the streamed object.
const CHUNKS: usize = 256;

/// The memory driver in every way that it can be reached.
fn drivers(runtime: &Runtime) -> Vec<(&'static str, SharedDriver)> {
    let executable = std::env::current_exe().expect("a program has a path");
    let folder = executable.parent().expect("it lies in a folder").to_owned();
    let loaded = load(&Arc::new(Search::new(&[folder], None, None)), "memory").expect("the library loads");
    let settings = Settings::default;
    runtime.block_on(async {
        let direct = MemoryDriver::open(settings(), HostServices::default()).await.expect("it opens");
        let in_place = loaded.open(settings(), Execution::InPlace).await.expect("it opens");
        let spawned = loaded.open(settings(), Execution::Spawned).await.expect("it opens");
        vec![("direct", Arc::new(direct) as SharedDriver), ("abi", in_place), ("abi-spawned", spawned)]
    })
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

fn settings() -> Criterion {
    Criterion::default().measurement_time(Duration::from_secs(4)).warm_up_time(Duration::from_secs(1))
}

criterion_group! { name = calls; config = settings(); targets = small_reads, streams }
criterion_main!(calls);
