//! Readers that stall or go away: they get the right bytes, hold up nobody, and leave nothing behind.

use std::{panic::Location, time::Duration};

use docker_registry_driver_api::ReadRange;

use crate::{
    bodies::{Running, patterned, soon},
    case::group,
    checks::{ok, same},
    content::Pattern,
    failure::{broken, shown},
    pieces::Pieces,
    promise,
    store::{Store, call},
    tasks,
};

group! {
    "slow_readers":
    a_reader_that_stalls_goes_on =>
        "Readings that stall for seconds go on with the right bytes, and other calls go on meanwhile.";
    readers_that_go_away_leave_nothing =>
        "More readings are begun and dropped than a process may have files open.";
    writers_that_stall_hold_up_nobody =>
        "While the clients of sixteen appends are silent, other uploads are opened, written and committed.";
}

const SIZE: u64 = 16 * 1024 * 1024;

async fn put_large(store: &Store, pattern: &Pattern) {
    let state = store.open_upload().await;
    let chunks = patterned(pattern, 0, SIZE, &[1_000_000]);
    let progress = ok(store.try_append(&state, 0, chunks).await, "append", promise::APPEND);
    store.commit(&progress.state, "large").await;
    store.head("large").await;
}

async fn begin(store: &Store) -> Pieces {
    let reading = store.driver.read(&call(), &store.path("large"), ReadRange::Full).await;
    Pieces::of(ok(reading, "read", promise::READ))
}

/// Reads on and compares; returns how many bytes came.
async fn read_on(pieces: &mut Pieces, pattern: &Pattern, mut at: u64, count: usize) -> u64 {
    for _ in 0..count {
        match pieces.next().await {
            None => break,
            Some(Ok(piece)) => {
                let difference = pattern.difference(at, &piece);
                same(difference, None, "where a slow reading differs from the object", promise::READ);
                at += piece.len() as u64;
            }
            Some(Err(error)) => {
                broken("a slow reading goes on", shown(&error), promise::READ, Location::caller())
            }
        }
    }
    at
}

async fn a_reader_that_stalls_goes_on(store: Store) {
    let pattern = Pattern::new(8);
    put_large(&store, &pattern).await;
    let readers = (0..8_u32).map(|number| {
        let (store, pattern) = (store.clone(), pattern.clone());
        tasks::spawn(async move {
            let mut pieces = begin(&store).await;
            let mut at = 0;
            // One stalls before its first byte, the others after some.
            for pause in [3, 1] {
                at = read_on(&mut pieces, &pattern, at, number as usize).await;
                tokio::time::sleep(Duration::from_secs(pause)).await;
            }
            at = read_on(&mut pieces, &pattern, at, usize::MAX).await;
            same(at, SIZE, "the bytes of a reading that stalled", promise::READ);
        })
    });
    let readers: Vec<_> = readers.collect();
    let mut rounds = 0;
    while rounds < 20 || !readers.iter().all(tasks::Task::is_finished) {
        let name = format!("meanwhile/{}", rounds % 5);
        store.put(&name, format!("round {rounds}")).await;
        store.expect(&name, format!("round {rounds}"), promise::CONCURRENCY).await;
        rounds += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tasks::all(readers).await;
}

async fn readers_that_go_away_leave_nothing(store: Store) {
    let pattern = Pattern::new(9);
    put_large(&store, &pattern).await;
    let readers = (0..16).map(|_| {
        let (store, pattern) = (store.clone(), pattern.clone());
        tasks::spawn(async move {
            for round in 0..80 {
                let mut pieces = begin(&store).await;
                read_on(&mut pieces, &pattern, 0, round % 3).await;
            }
        })
    });
    tasks::all(readers).await;
    let mut pieces = begin(&store).await;
    let end = read_on(&mut pieces, &pattern, 0, usize::MAX).await;
    same(end, SIZE, "the bytes of a reading after many that were dropped", promise::READ);
}

async fn writers_that_stall_hold_up_nobody(store: Store) {
    let mut stalled = Vec::new();
    for _ in 0..16 {
        let state = store.open_upload().await;
        let running = Running::start(&store, &state, 0, "start ").await;
        running.send(vec![b'x'; 100_000]);
        stalled.push(running);
    }
    for number in 0..16 {
        let name = format!("meanwhile/{number}");
        let one = async {
            let state = store.open_upload().await;
            let state = store.append(&state, 0, name.clone()).await;
            store.commit(&state, &name).await;
        };
        soon(one, "an upload", promise::CONCURRENCY).await;
        store.expect(&name, name.clone(), promise::CONCURRENCY).await;
    }
    for (number, running) in stalled.into_iter().enumerate() {
        running.send(format!("end of {number}"));
        let progress = ok(running.finish().await, "append of a client that was silent", promise::APPEND);
        let name = format!("stalled/{number}");
        store.commit(&progress.state, &name).await;
        let mut content = b"start ".to_vec();
        content.resize(6 + 100_000, b'x');
        content.extend_from_slice(format!("end of {number}").as_bytes());
        store.expect(&name, content, promise::APPEND).await;
    }
}
