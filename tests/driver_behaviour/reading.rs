//! Readings: ranges, and content that does not change under a reader.

use docker_registry_driver_api::{Bytes, Condition, ErrorKind, ReadRange, ReadingBody};

use crate::subject::{Store, append, call, commit, content_of, fails, open_upload, path, put, read};

on_both_drivers!(
    ranges_follow_the_rules,
    an_open_reading_is_not_disturbed,
    readers_see_one_version_or_the_other,
    file_regions_are_handed_out_where_promised,
);

async fn ranges_follow_the_rules(store: Store) {
    // Made of pieces, so that ranges cross their borders.
    let state = open_upload(&store).await;
    let state = append(&store, &state, 0, "0123").await;
    let state = append(&store, &state, 4, "456789").await;
    commit(&store, &state, "a").await;
    for (range, expected) in [
        (ReadRange::Full, "0123456789"),
        (ReadRange::From { offset: 0 }, "0123456789"),
        (ReadRange::From { offset: 9 }, "9"),
        (ReadRange::Window { offset: 2, length: 5 }, "23456"),
        (ReadRange::Window { offset: 8, length: u64::MAX }, "89"),
        (ReadRange::Last { length: 3 }, "789"),
        (ReadRange::Last { length: 99 }, "0123456789"),
    ] {
        let reading = store.read(&call(), &path("a"), range).await.unwrap();
        assert_eq!((reading.total_size, reading.length), (10, expected.len() as u64), "{range:?}");
        assert_eq!(reading.etag, store.head(&call(), &path("a")).await.unwrap().etag);
        assert_eq!(content_of(reading).await, expected, "{range:?}");
    }
    put(&store, "empty", "").await;
    assert_eq!(read(&store, "empty", ReadRange::Full).await, "");
    for (at, range) in [
        ("a", ReadRange::From { offset: 10 }),
        ("a", ReadRange::Window { offset: u64::MAX, length: 1 }),
        ("empty", ReadRange::From { offset: 0 }),
        ("empty", ReadRange::Last { length: 1 }),
    ] {
        fails(store.read(&call(), &path(at), range).await, ErrorKind::InvalidRange);
    }
}

async fn an_open_reading_is_not_disturbed(store: Store) {
    put(&store, "a", "before").await;
    put(&store, "b", "before").await;
    put(&store, "c", "before").await;
    let open = |at| {
        let (store, at) = (store.clone(), path(at));
        async move { store.read(&call(), &at, ReadRange::Full).await.unwrap() }
    };
    let (replaced, deleted, moved) = (open("a").await, open("b").await, open("c").await);
    put(&store, "a", "after!").await;
    store.delete(&call(), &path("b")).await.unwrap();
    store.rename(&call(), &path("a"), &path("c")).await.unwrap();
    for reading in [replaced, deleted, moved] {
        assert_eq!(content_of(reading).await, "before");
    }
}

async fn readers_see_one_version_or_the_other(store: Store) {
    let version = |letter: u8, length: usize| Bytes::from(vec![letter; length]);
    put(&store, "a", version(b'a', 100_000)).await;
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for round in 0..50 {
                let (letter, length) = if round % 2 == 0 { (b'b', 70_000) } else { (b'a', 100_000) };
                let content = version(letter, length);
                store.put(&call(), &path("a"), content, &Condition::Always).await.unwrap();
            }
        })
    };
    loop {
        // Asked first, so that at least one look follows the last write.
        let done = writer.is_finished();
        let whole = store.get(&call(), &path("a"), u64::MAX).await.unwrap();
        assert_eq!(whole.info.size, whole.content.len() as u64);
        for content in [whole.content, read(&store, "a", ReadRange::Full).await] {
            let expected = if content[0] == b'a' { 100_000 } else { 70_000 };
            assert_eq!(content, version(content[0], expected));
        }
        if done {
            break;
        }
    }
    writer.await.unwrap();
}

async fn file_regions_are_handed_out_where_promised(store: Store) {
    use docker_registry_driver_api::Capability;
    put(&store, "a", "x").await;
    let reading = store.read(&call(), &path("a"), ReadRange::Full).await.unwrap();
    let is_file = matches!(reading.body, ReadingBody::File(_));
    assert_eq!(is_file, store.capabilities().has(Capability::FileRegions));
}
