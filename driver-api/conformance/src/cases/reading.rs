//! Readings: whole objects and ranges of them, small and large, one and many at a time.

use docker_registry_driver_api::{Capability, ErrorKind, ReadRange, Reading, ReadingBody};

use crate::{
    bodies::patterned,
    case::group,
    checks::{fails, holds, ok, same, same_bytes},
    content::Pattern,
    failure::shown,
    pieces::{Pieces, expect_pattern},
    promise,
    store::{Store, call},
    tasks,
};

group! {
    "reading":
    a_whole_object_is_read =>
        "A reading of objects of 0 bytes to 1 MiB yields all bytes and announces how many.";
    ranges_follow_the_rules =>
        "From an offset, a window, the last bytes, one byte: each range yields exactly its bytes.";
    a_range_without_a_byte_is_invalid =>
        "A range that begins at the end or behind it fails with InvalidRange, in an empty object always.";
    many_small_ranges_add_up =>
        "The windows of an object, joined, are the object, whatever their size.";
    chunks_are_never_empty =>
        "No chunk of a stream is empty.";
    the_form_of_a_reading_is_as_declared =>
        "File regions come from drivers that declare them, and streams from the others.";
    an_object_made_of_pieces_is_read_across_them =>
        "Ranges that cross the borders of an upload's appends yield the bytes of both sides.";
    a_large_object_is_read_in_ranges =>
        "An object of 24 MiB is read whole, in random windows, and from places near its end.";
    many_readers_at_once =>
        "16 readers of one large object, each from its own offset, get their bytes.";
    a_dropped_reading_costs_nothing =>
        "64 readings that are dropped after their first piece, or before, leave the store able to read.";
    open_readings_do_not_block_others =>
        "32 readings that are open and not read from keep no other call from its work.";
    an_object_of_a_gibibyte_is_read_in_ranges long 10 =>
        "An object of 1 GiB is read whole and in windows around 2^29 and its end.";
}

const MIB: u64 = 1024 * 1024;

/// Opens a reading of an object of `size` bytes, which must succeed and announce what the range means.
async fn open(store: &Store, name: &str, range: ReadRange, size: u64) -> Reading {
    let path = store.path(name);
    let is_there = |found: &Result<Reading, _>| found.as_ref().is_ok_and(|found| found.total_size == size);
    let look = || async { store.driver.read(&call(), &path, range).await };
    let reading = store.eventually(look, is_there).await;
    let reading = ok(reading, format_args!("read of {range:?} of {size} bytes"), promise::READ);
    let (offset, length) = range.resolve(size).expect("the suite asks for ranges that hold a byte");
    same(reading.total_size, size, format_args!("total_size for {range:?}"), promise::READ_TOTAL);
    same(reading.offset, offset, format_args!("offset for {range:?} of {size}"), promise::READ_PLACE);
    same(reading.length, length, format_args!("length for {range:?} of {size}"), promise::READ_LENGTH);
    reading
}

/// Reads a range of an object that holds `pattern` from its first byte on, and compares every byte.
pub(super) async fn expect(store: &Store, name: &str, range: ReadRange, pattern: &Pattern, size: u64) {
    expect_pattern(open(store, name, range, size).await, pattern, promise::READ).await;
}

/// Writes a large object, of which no more than a chunk is held.
pub(super) async fn write(store: &Store, name: &str, pattern: &Pattern, size: u64) {
    let state = store.open_upload().await;
    let body = patterned(pattern, 0, size, &[1_000_003, 262_144]);
    let progress = ok(store.try_append(&state, 0, body).await, "append", promise::APPEND);
    same(progress.offset, size, "the offset after the append", promise::APPEND);
    store.commit(&progress.state, name).await;
}

async fn a_whole_object_is_read(store: Store) {
    let pattern = Pattern::new(20);
    for size in [0, 1, 2, 4095, 65_537, MIB] {
        store.put("a/b", pattern.bytes(0, size as usize)).await;
        for _ in 0..2 {
            expect(&store, "a/b", ReadRange::Full, &pattern, size).await;
        }
    }
}

async fn ranges_follow_the_rules(store: Store) {
    let pattern = Pattern::new(21);
    for size in [10, 100_000] {
        store.put("a", pattern.bytes(0, size as usize)).await;
        for range in [
            ReadRange::Full,
            ReadRange::From { offset: 0 },
            ReadRange::From { offset: 1 },
            ReadRange::From { offset: size / 2 },
            ReadRange::From { offset: size - 1 },
            ReadRange::Window { offset: 0, length: 1 },
            ReadRange::Window { offset: 0, length: size - 1 },
            ReadRange::Window { offset: 0, length: size },
            ReadRange::Window { offset: 2, length: 5 },
            ReadRange::Window { offset: size - 1, length: 1 },
            ReadRange::Window { offset: size - 2, length: 5 },
            ReadRange::Window { offset: 3, length: size },
            ReadRange::Window { offset: size - 1, length: u64::MAX },
            ReadRange::Last { length: 1 },
            ReadRange::Last { length: 3 },
            ReadRange::Last { length: size },
            ReadRange::Last { length: size + 1 },
            ReadRange::Last { length: u64::MAX },
        ] {
            expect(&store, "a", range, &pattern, size).await;
        }
    }
}

async fn a_range_without_a_byte_is_invalid(store: Store) {
    let pattern = Pattern::new(22);
    for size in [0, 1, 10, 70_000] {
        store.put("a", pattern.bytes(0, size as usize)).await;
        expect(&store, "a", ReadRange::Full, &pattern, size).await;
        let mut ranges = vec![
            ReadRange::From { offset: size },
            ReadRange::From { offset: size + 1 },
            ReadRange::From { offset: u64::MAX },
            ReadRange::Window { offset: size, length: 1 },
            ReadRange::Window { offset: size + 10, length: 10 },
            ReadRange::Window { offset: u64::MAX, length: 1 },
            ReadRange::Window { offset: u64::MAX, length: u64::MAX },
        ];
        if size == 0 {
            ranges.extend([ReadRange::Last { length: 1 }, ReadRange::Last { length: u64::MAX }]);
        }
        for range in ranges {
            let reading = store.driver.read(&call(), &store.path("a"), range).await;
            let what = format_args!("read of {range:?} of an object of {size} bytes");
            fails(reading, &[ErrorKind::InvalidRange], what, promise::READ_RANGE);
        }
    }
}

async fn many_small_ranges_add_up(store: Store) {
    let pattern = Pattern::new(23);
    let content = pattern.bytes(0, 20_011);
    store.put("a", content.clone()).await;
    for step in [97, 512, 1000, 4096, 20_010] {
        let mut joined = Vec::new();
        while joined.len() < content.len() {
            let range = ReadRange::Window { offset: joined.len() as u64, length: step };
            let piece = Pieces::of(open(&store, "a", range, 20_011).await).rest().await;
            joined.extend(ok(piece, format_args!("{range:?}"), promise::READ));
        }
        same_bytes(&joined, &content, format_args!("windows of {step} bytes, joined"), promise::READ_PLACE);
    }
}

async fn chunks_are_never_empty(store: Store) {
    let pattern = Pattern::new(24);
    let size = 3 * MIB + 1;
    write(&store, "large", &pattern, size).await;
    store.put("small", pattern.bytes(0, 100)).await;
    store.put("empty", "").await;
    for (name, size) in [("large", size), ("small", 100), ("empty", 0)] {
        let mut pieces = Pieces::of(open(&store, name, ReadRange::Full, size).await);
        while let Some(piece) = pieces.next().await {
            let piece = ok(piece, format_args!("a piece of {name}"), promise::READ);
            holds(
                !piece.is_empty(),
                format_args!("chunks of {name} that hold bytes"),
                "an empty one",
                promise::CHUNKS,
            );
        }
    }
}

async fn the_form_of_a_reading_is_as_declared(store: Store) {
    store.put("a", "content").await;
    for range in [ReadRange::Full, ReadRange::Window { offset: 1, length: 2 }] {
        let reading = open(&store, "a", range, 7).await;
        let (is_file, found) = match &reading.body {
            ReadingBody::File(region) => {
                let what = format_args!("the length of the file region for {range:?}");
                same(region.length, reading.length, what, promise::READ_LENGTH);
                (true, "a file region")
            }
            ReadingBody::Stream(_) => (false, "a stream"),
        };
        let declared = store.has(Capability::FileRegions);
        let expected = if declared { "a file region, as declared" } else { "a stream, as declared" };
        holds(is_file == declared, expected, found, promise::FILE_REGIONS);
    }
}

async fn an_object_made_of_pieces_is_read_across_them(store: Store) {
    let pattern = Pattern::new(25);
    let mut state = store.open_upload().await;
    let (mut size, mut borders) = (0, Vec::new());
    for length in [4, 6, 1, 70_000, 3] {
        state = store.append(&state, size, pattern.bytes(size, length)).await;
        size += length as u64;
        borders.push(size);
    }
    store.commit(&state, "a").await;
    for border in borders {
        for (offset, length) in
            [(border - 1, 2), (border.saturating_sub(4), 8), (0, border), (border - 1, u64::MAX)]
        {
            expect(&store, "a", ReadRange::Window { offset, length }, &pattern, size).await;
        }
    }
    expect(&store, "a", ReadRange::Last { length: 70_004 }, &pattern, size).await;
}

/// Reads a large object whole and in windows at random places and at those that are easily got wrong.
async fn expect_windows(store: &Store, pattern: &Pattern, size: u64, places: &[u64]) {
    expect(store, "large", ReadRange::Full, pattern, size).await;
    let mut random = fastrand::Rng::with_seed(26);
    let mut ranges: Vec<_> = (0..24)
        .map(|_| ReadRange::Window { offset: random.u64(..size), length: random.u64(1..=MIB) })
        .collect();
    for place in places {
        ranges.push(ReadRange::Window { offset: place - 1, length: 2 });
        ranges.push(ReadRange::Window { offset: place - 1000, length: 100_000 });
    }
    ranges.extend([
        ReadRange::From { offset: size - 1 },
        ReadRange::From { offset: size - MIB - 1 },
        ReadRange::Last { length: 1 },
        ReadRange::Last { length: 2 * MIB + 1 },
    ]);
    for range in ranges {
        expect(store, "large", range, pattern, size).await;
    }
}

async fn a_large_object_is_read_in_ranges(store: Store) {
    let (pattern, size) = (Pattern::new(27), 24 * MIB + 5);
    write(&store, "large", &pattern, size).await;
    expect_windows(&store, &pattern, size, &[MIB, 4 * MIB, 5 * MIB, 8 * MIB, 16 * MIB, size - 1]).await;
    // And it is not read into memory where the caller allows less.
    let got = store.driver.get(&call(), &store.path("large"), MIB).await;
    fails(got, &[ErrorKind::TooLarge], "get of 24 MiB where 1 MiB is allowed", promise::GET_LIMIT);
}

async fn an_object_of_a_gibibyte_is_read_in_ranges(store: Store) {
    let (pattern, size) = (Pattern::new(28), 1024 * MIB + 7);
    write(&store, "large", &pattern, size).await;
    expect_windows(&store, &pattern, size, &[512 * MIB, 1024 * MIB, size - 1]).await;
}

async fn many_readers_at_once(store: Store) {
    let (pattern, size) = (Pattern::new(29), 16 * MIB);
    write(&store, "large", &pattern, size).await;
    expect(&store, "large", ReadRange::Last { length: 1 }, &pattern, size).await;
    let readers = (0..16).map(|reader| {
        let (store, pattern) = (store.clone(), pattern.clone());
        tasks::spawn(async move {
            let mut random = fastrand::Rng::with_seed(reader);
            for _ in 0..2 {
                let offset = random.u64(..size);
                expect(&store, "large", ReadRange::From { offset }, &pattern, size).await;
            }
        })
    });
    tasks::all(readers.collect::<Vec<_>>()).await;
}

async fn a_dropped_reading_costs_nothing(store: Store) {
    let (pattern, size) = (Pattern::new(30), 4 * MIB);
    write(&store, "large", &pattern, size).await;
    for attempt in 0..64 {
        let mut pieces = Pieces::of(open(&store, "large", ReadRange::Full, size).await);
        if attempt % 2 == 0
            && let Some(Err(error)) = pieces.next().await
        {
            holds(false, "the first piece of a reading", shown(&error), promise::READ);
        }
    }
    expect(&store, "large", ReadRange::Full, &pattern, size).await;
}

async fn open_readings_do_not_block_others(store: Store) {
    let (pattern, size) = (Pattern::new(31), 2 * MIB);
    write(&store, "large", &pattern, size).await;
    let mut readings = Vec::new();
    for _ in 0..32 {
        readings.push(open(&store, "large", ReadRange::Full, size).await);
    }
    store.put("b", "content").await;
    store.expect("b", "content", promise::CONCURRENCY).await;
    expect(&store, "large", ReadRange::Last { length: 10 }, &pattern, size).await;
    store.expect_below("", &["b", "large"], promise::CONCURRENCY).await;
    for reading in readings {
        expect_pattern(reading, &pattern, promise::READING).await;
    }
}
