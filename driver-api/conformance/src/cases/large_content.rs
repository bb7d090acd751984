//! Content that fits into no memory: made, appended, read back and compared piece by piece.

use docker_registry_driver_api::{Capability, ReadRange};

use crate::{
    bodies::patterned,
    case::group,
    checks::{ok, same},
    content::Pattern,
    pieces::expect_pattern,
    promise,
    store::{Store, call},
};

group! {
    "large_content":
    five_gibibytes_are_streamed long 120 =>
        "5 GiB arrive in several appends, go on in another process where that is promised, and come back whole.";
}

/// A little more than what 32 bits and the largest part of common storages hold.
const SIZE: u64 = 5 * 1024 * 1024 * 1024 + 4_321;
/// Bytes of an append.
const STEP: u64 = 1024 * 1024 * 1024 + 7;

async fn five_gibibytes_are_streamed(store: Store) {
    let pattern = Pattern::new(10);
    let mut state = store.open_upload().await;
    let mut offset = 0;
    while offset < SIZE {
        let process =
            if store.has(Capability::ResumableUploads) { store.second().await } else { store.clone() };
        let length = STEP.min(SIZE - offset);
        let body = patterned(&pattern, offset, length, &[1024 * 1024, 256 * 1024]);
        let appended = process.try_append(&state, offset, body).await;
        let progress = ok(appended, format!("append of {length} bytes at {offset}"), promise::APPEND);
        offset += length;
        same(progress.offset, offset, "the offset after a large append", promise::APPEND);
        state = progress.state;
    }
    let info = store.commit(&state, "large").await;
    same(info.size, SIZE, "the size that commit returns", promise::COMMIT);
    same(store.head("large").await.size, SIZE, "the size that head returns", promise::COMMIT);
    let path = store.path("large");
    let reading = store.driver.read(&call(), &path, ReadRange::Full).await;
    let reading = ok(reading, "read", promise::COMMIT);
    same(reading.length, SIZE, "the length of the reading", promise::COMMIT);
    expect_pattern(reading, &pattern, promise::APPEND).await;
    // Around what 32 bits hold, and the end.
    for (start, length) in [(u64::from(u32::MAX) - 1_000, 2_000), (SIZE - 99_999, 99_999)] {
        let range = ReadRange::Window { offset: start, length };
        let reading = ok(store.driver.read(&call(), &path, range).await, "read of a range", promise::READ);
        same((reading.offset, reading.length), (start, length), "the range of a reading", promise::READ);
        expect_pattern(reading, &pattern, promise::READ).await;
    }
}
