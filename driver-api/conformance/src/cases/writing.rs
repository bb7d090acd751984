//! Content of any size in one call: whole or not at all, whatever comes of the body.

use bytes::Bytes;
use docker_registry_driver_api::{Capability, Condition, ETag, ErrorKind, ReadRange, Result, empty_stream};
use futures::{StreamExt, stream};

use crate::{
    bodies::{CLIENT_IS_GONE, Running, failing, patterned},
    case::group,
    checks::{fails, holds, ok, same},
    content::Pattern,
    failure::skip,
    pieces::{Pieces, expect_pattern},
    promise,
    remains::pending,
    store::{Store, body, call, until_known},
    tasks,
};

group! {
    "writing":
    what_is_written_is_what_is_read =>
        "Contents of nothing, of a byte and of some hundred thousand are read as they were written.";
    a_large_write_is_streamed =>
        "A write of 20 MiB in chunks of awkward sizes arrives whole, whether its size is known or not.";
    many_small_chunks_become_one_content =>
        "A write in thousands of chunks of a few bytes, from a client that pauses, arrives whole.";
    a_wrong_size_does_no_harm =>
        "What write is told about the size may be missing, too small and much too large.";
    a_write_replaces_what_is_there =>
        "A write over an object replaces it, also by less; a write to a deep path makes its folders.";
    nothing_is_visible_before_the_end =>
        "While a write waits for its client, what was there is still there, and no upload is to be seen.";
    a_failed_body_changes_nothing =>
        "A body that fails is BodyFailed with its own error; nothing shows, and nothing is left of it.";
    a_dropped_write_changes_nothing =>
        "A write that is dropped before its body has ended leaves what was there.";
    an_open_reading_keeps_its_content =>
        "A reading that is open while its object is written over yields the old content or an error.";
    of_two_writers_one_content_stays =>
        "Writes at one path at once leave one of the contents, whole.";
    if_absent_writes_where_nothing_is [PutIfAbsent] =>
        "With IfAbsent a write succeeds where nothing is, and fails where an object is and changes nothing.";
    of_many_writers_with_if_absent_one_wins [PutIfAbsent] =>
        "Of eight writes with IfAbsent exactly one succeeds, and the content is its own.";
    if_match_writes_over_the_tagged_version [PutIfMatch] =>
        "With the tag of the object there a write succeeds, with that of an earlier version it changes nothing.";
    conditions_that_are_not_offered_are_unsupported =>
        "A driver without a condition says so and writes nothing.";
    a_write_that_finds_no_place_changes_nothing =>
        "Where a folder or an object is in the way, a write is a conflict, in stores that have folders.";
}

/// Chunks as they may come from a network.
const AWKWARD: &[usize] = &[1, 3_000_000, 70_001, 2, 1_048_576, 65_535];

async fn what_is_written_is_what_is_read(store: Store) {
    let pattern = Pattern::new(20);
    for size in [0, 1, 2, 65_536, 300_001] {
        let name = format!("a/{size}");
        let content = pattern.bytes(0, size);
        let info = store.write(&name, Some(size as u64), body(content.clone()), size as u64).await;
        store.expect(&name, content, promise::WRITE).await;
        let head = store.head(&name).await;
        same(head.size, size as u64, "the size that head returns", promise::HEAD);
        if let (Some(written), Some(found)) = (&info.etag, &head.etag) {
            same(found, written, "the tag of head and the one that write returned", promise::ETAG);
        }
    }
    store.write("nothing", None, empty_stream(), 0).await;
    store.expect("nothing", "", promise::WRITE).await;
}

async fn a_large_write_is_streamed(store: Store) {
    const SIZE: u64 = 20 * 1024 * 1024 + 12_345;
    let pattern = Pattern::new(21);
    for (name, size) in [("known", Some(SIZE)), ("unknown", None)] {
        store.write(name, size, patterned(&pattern, 0, SIZE, AWKWARD), SIZE).await;
        store.head(name).await;
        let reading = store.driver.read(&call(), &store.path(name), ReadRange::Full).await;
        let reading = ok(reading, "read of the object", promise::WRITE);
        same(reading.total_size, SIZE, "the size that read returns", promise::WRITE);
        expect_pattern(reading, &pattern, promise::WRITE).await;
    }
}

async fn many_small_chunks_become_one_content(store: Store) {
    let chunks = stream::iter(0..5_000).then(|number: u32| async move {
        if number.is_multiple_of(100) {
            tokio::task::yield_now().await;
        }
        Ok(Bytes::copy_from_slice(&number.to_le_bytes()))
    });
    store.write("a", None, chunks.boxed(), 20_000).await;
    let content: Vec<u8> = (0..5_000_u32).flat_map(u32::to_le_bytes).collect();
    store.expect("a", content, promise::WRITE).await;
}

async fn a_wrong_size_does_no_harm(store: Store) {
    for (round, size) in [None, Some(0), Some(3), Some(9), Some(1 << 40)].into_iter().enumerate() {
        let content = format!("round {round}");
        let length = content.len() as u64;
        let written = store.try_write("a", size, body(content.clone()), &Condition::Always).await;
        let info = ok(written, format_args!("write that is told {size:?}"), promise::WRITE_SIZE);
        same(info.size, length, "the size that write returns", promise::WRITE_SIZE);
        store.expect("a", content, promise::WRITE_SIZE).await;
    }
    store.expect_below("", &["a"], promise::WRITE).await;
}

async fn a_write_replaces_what_is_there(store: Store) {
    store.put("a/b", "a long content that was there before").await;
    for content in ["short", "", "an even longer content that comes afterwards"] {
        store.write("a/b", None, body(content), content.len() as u64).await;
        store.expect("a/b", content, promise::WRITE).await;
    }
    let deep = (0..40).map(|number| format!("folder-{number}")).collect::<Vec<_>>().join("/");
    store.write(&deep, Some(9), body("deep down"), 9).await;
    store.expect(&deep, "deep down", promise::PUT).await;
    store.expect_below("", &["a/b", &deep], promise::WRITE).await;
}

async fn nothing_is_visible_before_the_end(store: Store) {
    store.put("old", "before").await;
    store.head("old").await;
    for name in ["old", "folder/new"] {
        let running = Running::write(&store, name, None, "!").await;
        running.send_much(b'!').await;
        store.expect("old", "before", promise::ATOMICITY).await;
        store.expect_absent("folder/new", promise::ATOMICITY).await;
        store.expect_below("", &["old"], promise::ATOMICITY).await;
        let info = ok(running.finish().await, "write", promise::WRITE);
        same(info.size, 4_000_001, "the size that write returns", promise::WRITE);
        store.expect(name, vec![b'!'; 4_000_001], promise::WRITE).await;
        ok(store.driver.delete(&call(), &store.path(name)).await, "delete", promise::DELETE);
        store.put("old", "before").await;
        store.expect("old", "before", promise::PUT).await;
        store.expect_absent("folder/new", promise::DELETE).await;
    }
}

async fn a_failed_body_changes_nothing(store: Store) {
    store.put("old", "before").await;
    store.head("old").await;
    // A size of the case's own: others may have uploads in the store.
    let odd = 70_000 + usize::from(fastrand::u16(..));
    let before: Vec<_> = pending(&store).await.into_iter().map(|upload| upload.state).collect();
    for (name, chunks) in [
        ("old", vec![]),
        ("old", vec![Bytes::from("x")]),
        ("folder/new", vec![Bytes::from(vec![1; odd])]),
        ("old", vec![Bytes::from(vec![2; odd]), Bytes::from(vec![3; 6_000_000])]),
    ] {
        let written = store.try_write(name, None, failing(chunks), &Condition::Always).await;
        let what = "write of a body that fails";
        let error = fails(written, &[ErrorKind::BodyFailed], what, promise::WRITE_FAILED_KIND);
        let source = error.source_text.unwrap_or_default();
        holds(
            source.contains(CLIENT_IS_GONE),
            format_args!("the source of the error has the body's own: {CLIENT_IS_GONE:?}"),
            format_args!("{source:?}"),
            promise::BODY_FAILED_SOURCE,
        );
        store.expect("old", "before", promise::WRITE_FAILED).await;
        store.expect_below("", &["old"], promise::WRITE_FAILED).await;
    }
    let sizes = [odd as u64, odd as u64 + 6_000_000];
    let left = pending(&store)
        .await
        .into_iter()
        .find(|upload| sizes.contains(&upload.size) && !before.contains(&upload.state));
    holds(
        left.is_none(),
        "no upload is left of a write whose body failed",
        format_args!("one of {} bytes", left.map_or(0, |upload| upload.size)),
        promise::WRITE_FAILED,
    );
}

async fn a_dropped_write_changes_nothing(store: Store) {
    store.a_write_was_dropped();
    store.put("old", "before").await;
    store.head("old").await;
    for name in ["old", "folder/new"] {
        for much in [false, true] {
            let running = Running::write(&store, name, Some(4_000_001), "!").await;
            if much {
                running.send_much(b'!').await;
            }
            running.cancel().await;
            store.expect("old", "before", promise::WRITE_DROPPED).await;
            store.expect_absent("folder/new", promise::WRITE_DROPPED).await;
        }
    }
    // Neither later.
    store.write("afterwards", None, body("works"), 5).await;
    store.expect("afterwards", "works", promise::CANCELLATION).await;
    store.expect_below("", &["afterwards", "old"], promise::WRITE_DROPPED).await;
}

async fn an_open_reading_keeps_its_content(store: Store) {
    const SIZE: u64 = 8 * 1024 * 1024;
    let (old, new) = (Pattern::new(22), Pattern::new(23));
    store.write("a", Some(SIZE), patterned(&old, 0, SIZE, AWKWARD), SIZE).await;
    store.head("a").await;
    let reading = store.driver.read(&call(), &store.path("a"), ReadRange::Full).await;
    let mut pieces = Pieces::of(ok(reading, "read", promise::READ));
    let mut at = 0;
    let mut is_replaced = false;
    while let Some(Ok(piece)) = pieces.next().await {
        let difference = old.difference(at, &piece);
        same(difference, None, "where a reading differs from the content it was opened on", promise::READING);
        at += piece.len() as u64;
        if !std::mem::replace(&mut is_replaced, true) {
            store.write("a", None, patterned(&new, 0, SIZE, AWKWARD), SIZE).await;
        }
    }
    let reading = store.driver.read(&call(), &store.path("a"), ReadRange::Full).await;
    expect_pattern(ok(reading, "read of the new content", promise::WRITE), &new, promise::WRITE).await;
}

async fn of_two_writers_one_content_stays(store: Store) {
    for round in 0..5 {
        let name = format!("a/{round}");
        let writers = [(b'a', 200_000), (b'b', 100_000), (b'c', 1)].map(|(letter, size)| {
            let (store, name) = (store.clone(), name.clone());
            tasks::spawn(async move {
                store.write(&name, None, body(vec![letter; size]), size as u64).await;
            })
        });
        tasks::all(writers).await;
        let content = ok(store.get(&name).await, "get", promise::WRITE);
        let first = content.first().copied().unwrap_or_default();
        let size = match first {
            b'a' => 200_000,
            b'b' => 100_000,
            _ => 1,
        };
        holds(
            content.len() == size && content.iter().all(|byte| *byte == first),
            "one of the contents, whole",
            format_args!("{} bytes that begin with {first}", content.len()),
            promise::ATOMICITY,
        );
    }
}

async fn write_if(store: &Store, name: &str, content: &str, condition: &Condition) -> Result<Option<ETag>> {
    let write = || store.try_write(name, None, body(content.to_owned()), condition);
    until_known(write).await.map(|info| info.etag)
}

async fn if_absent_writes_where_nothing_is(store: Store) {
    let written = write_if(&store, "folder/a", "first", &Condition::IfAbsent).await;
    ok(written, "write with IfAbsent where nothing is", promise::IF_ABSENT);
    store.expect("folder/a", "first", promise::WRITE).await;
    store.put("empty", "").await;
    store.head("empty").await;
    for (name, there) in [("folder/a", "first"), ("empty", "")] {
        let written = write_if(&store, name, "second", &Condition::IfAbsent).await;
        let what = "write with IfAbsent over an object";
        fails(written, &[ErrorKind::ConditionFailed], what, promise::IF_ABSENT);
        store.expect(name, there, promise::CONDITION_FAILED).await;
    }
}

async fn of_many_writers_with_if_absent_one_wins(store: Store) {
    for (round, size) in [(0, 10_usize), (1, 700_000)] {
        let name = format!("new-{round}/a");
        let writers = (0..8_u8).map(|number| {
            let (store, name) = (store.clone(), name.clone());
            tasks::spawn(async move {
                let content = body(vec![b'a' + number; size + usize::from(number)]);
                (number, store.try_write(&name, None, content, &Condition::IfAbsent).await)
            })
        });
        let mut winners = Vec::new();
        for (number, written) in tasks::all(writers).await {
            match written {
                Ok(_) => winners.push(number),
                Err(error) => {
                    let what = "a writer whose condition does not hold";
                    fails::<()>(Err(error), &[ErrorKind::ConditionFailed], what, promise::IF_ABSENT);
                }
            }
        }
        same(winners.len(), 1, "writers with IfAbsent that succeed", promise::IF_ABSENT);
        let winner = winners[0];
        store.expect(&name, vec![b'a' + winner; size + usize::from(winner)], promise::IF_ABSENT).await;
    }
}

async fn if_match_writes_over_the_tagged_version(store: Store) {
    store.put("a", "first").await;
    let first = store.head("a").await.etag.unwrap_or_else(|| ETag(String::new()));
    let condition = Condition::IfMatch(first);
    let written = write_if(&store, "a", "second", &condition).await;
    ok(written, "write with the tag of the object", promise::IF_MATCH);
    store.expect("a", "second", promise::IF_MATCH).await;
    let strange = Condition::IfMatch(ETag("a tag that the driver never gave".to_owned()));
    for (name, condition) in [("a", &condition), ("a", &strange), ("absent", &condition)] {
        let written = write_if(&store, name, "third", condition).await;
        let what = format!("write at {name} with a tag that no object there has");
        fails(written, &[ErrorKind::ConditionFailed], what, promise::IF_MATCH);
    }
    store.expect("a", "second", promise::CONDITION_FAILED).await;
    store.expect_below("", &["a"], promise::CONDITION_FAILED).await;
}

async fn conditions_that_are_not_offered_are_unsupported(store: Store) {
    let conditions = [
        (Capability::PutIfAbsent, Condition::IfAbsent),
        (Capability::PutIfMatch, Condition::IfMatch(ETag("any".to_owned()))),
    ];
    if conditions.iter().all(|(capability, _)| store.has(*capability)) {
        skip("the driver offers every condition");
    }
    store.put("taken", "before").await;
    for (_, condition) in conditions.iter().filter(|(capability, _)| !store.has(*capability)) {
        for name in ["a", "taken"] {
            let written = write_if(&store, name, "x", condition).await;
            let what = format!("write with {condition:?}");
            fails(written, &[ErrorKind::Unsupported], what, promise::CONDITION_UNSUPPORTED);
        }
        store.expect_below("", &["taken"], promise::CONDITION_UNSUPPORTED).await;
        store.expect("taken", "before", promise::CONDITION_UNSUPPORTED).await;
    }
}

async fn a_write_that_finds_no_place_changes_nothing(store: Store) {
    store.put("folder/object", "before").await;
    for name in ["folder", "folder/object/below"] {
        match write_if(&store, name, "content", &Condition::Always).await {
            // A store without folders has a place for it.
            Ok(_) => {
                store.expect(name, "content", promise::WRITE).await;
                ok(store.driver.delete(&call(), &store.path(name)).await, "delete", promise::DELETE);
            }
            Err(error) => {
                let what = format!("write at {name}, where an object or a folder is in the way,");
                fails::<()>(Err(error), &[ErrorKind::Conflict], what, promise::PUT_CONFLICT);
            }
        }
        store.expect("folder/object", "before", promise::CONFLICT).await;
        store.expect_below("", &["folder/object"], promise::CONFLICT).await;
    }
}
