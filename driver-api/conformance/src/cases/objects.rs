//! Objects written whole and looked at: content, sizes, limits, absence, folders.

use docker_registry_driver_api::{
    CallContext, Capability, Condition, ErrorKind, ListRequest, Prefix, ReadRange, Stat,
};

use crate::{
    case::group,
    checks::{fails, holds, ok, same},
    content::Pattern,
    failure::shown,
    promise,
    store::{Store, call},
};

group! {
    "objects":
    what_was_put_is_there =>
        "An object of 0 bytes to 1 MiB is there with its size and content, whichever call looks, and twice.";
    every_byte_value_is_kept =>
        "A content of all 256 byte values, zeros and line ends included, comes back unchanged.";
    a_shorter_content_leaves_no_tail =>
        "A content that replaces a longer one is all that is there, down to one byte and to none.";
    what_is_transient_is_there_all_the_same =>
        "A transient put is seen at once and replaces what is there; a transient rename moves it, a delete and delete_many take it away.";
    deep_paths_are_made_at_once =>
        "An object 60 folders deep is written without making the folders first.";
    the_limit_of_get_holds =>
        "get returns an object of exactly max_size bytes and refuses one with a byte more.";
    an_absent_object_is_not_found =>
        "Every call that names an absent object says so; one below an object is absent as well.";
    a_folder_is_not_an_object =>
        "get, head, read, copy and rename of a folder fail with NotFound; stat says that it is a folder.";
    folders_are_what_objects_make_of_them =>
        "The root is a folder; another folder is there while an object is in it, and no longer.";
    the_beginning_of_a_name_is_no_folder =>
        "A path that only begins like the name of an object or of a folder is not found.";
    an_object_and_a_folder_of_one_name_do_no_harm =>
        "A write where a folder is, or below an object, is made beside it or refused with Conflict.";
}

async fn what_was_put_is_there(store: Store) {
    let pattern = Pattern::new(1);
    // Downwards as well, so that a tail that stays is seen.
    for size in [1024 * 1024, 0, 32, 1, 4095, 65_536, 2] {
        let content = pattern.bytes(0, size);
        store.put("a/b/c", content.clone()).await;
        for _ in 0..2 {
            store.expect("a/b/c", content.clone(), promise::PUT).await;
        }
        let size = size as u64;
        let look = || async { store.head("a/b/c").await.size };
        let found = store.eventually(look, |found| *found == size).await;
        same(found, size, "the size by head", promise::SIZE);
        let is_new = |found: &Result<Stat, _>| matches!(found, Ok(Stat::Object(info)) if info.size == size);
        let found = store.eventually(|| store.stat("a/b/c"), is_new).await;
        match ok(found, "stat of an object", promise::STAT) {
            Stat::Object(info) => same(info.size, size, "the size by stat", promise::SIZE),
            Stat::Folder => {
                holds(false, "stat of an object says what is known of it", "a folder", promise::STAT)
            }
        }
    }
    store.put("text", "\u{e9}\u{4e2d}\u{1f433}").await;
    store.expect("text", "\u{e9}\u{4e2d}\u{1f433}", promise::PUT).await;
}

async fn every_byte_value_is_kept(store: Store) {
    let all: Vec<u8> = (0..=255).collect();
    let backwards: Vec<u8> = all.iter().rev().copied().collect();
    let contents =
        [all, backwards, b"\r\n\n\r\0\0\x1a".to_vec(), vec![0; 300], b"\xef\xbb\xbf\xff\xfe".to_vec()];
    for content in contents {
        store.put("bytes", content.clone()).await;
        store.expect("bytes", content, promise::GET).await;
    }
}

async fn what_is_transient_is_there_all_the_same(store: Store) {
    let call = CallContext { transient: true, ..call() };
    for delete_many in [false, true] {
        for content in ["in flight", "on", ""] {
            let path = store.path("upload/record");
            let put = store.driver.put(&call, &path, content.into(), &Condition::Always).await;
            ok(put, "a transient put", promise::PUT);
            store.expect("upload/record", content, promise::TRANSIENT).await;
        }
        let (from, to) = (store.path("upload/moving"), store.path("moved/record"));
        let put = store.driver.put(&call, &from, "moves".into(), &Condition::Always).await;
        ok(put, "a transient put", promise::PUT);
        ok(store.driver.rename(&call, &from, &to).await, "a transient rename", promise::RENAME);
        store.expect_absent("upload/moving", promise::TRANSIENT).await;
        store.expect("moved/record", "moves", promise::TRANSIENT).await;
        let path = store.path("upload/record");
        if delete_many {
            let failed = store.driver.delete_many(&call, &[path]).await;
            let failed = ok(failed, "a transient delete_many", promise::DELETE_MANY);
            same(failed.len(), 0, "the paths that failed", promise::DELETE_MANY);
        } else {
            ok(store.driver.delete(&call, &path).await, "a transient delete", promise::DELETE);
        }
        store.expect_absent("upload/record", promise::TRANSIENT).await;
    }
}

async fn a_shorter_content_leaves_no_tail(store: Store) {
    let pattern = Pattern::new(2);
    for size in [1024 * 1024, 4096, 2048, 1024, 1, 0, 3] {
        let content = pattern.bytes(size as u64, size);
        store.put("a", content.clone()).await;
        store.expect("a", content, promise::PUT).await;
    }
    // And by the other ways to write.
    store.put("short", "short").await;
    store.expect("short", "short", promise::PUT).await;
    store.put("target", "a content that is much longer").await;
    ok(
        store.driver.copy(&call(), &store.path("short"), &store.path("target")).await,
        "copy over a longer object",
        promise::COPY,
    );
    store.expect("target", "short", promise::COPY).await;
    store.put("target", "a content that is much longer").await;
    ok(
        store.driver.rename(&call(), &store.path("short"), &store.path("target")).await,
        "rename over a longer object",
        promise::RENAME,
    );
    store.expect("target", "short", promise::RENAME).await;
}

async fn deep_paths_are_made_at_once(store: Store) {
    let deep = format!("{}/object", vec!["folder"; 60].join("/"));
    store.put(&deep, "content").await;
    store.expect(&deep, "content", promise::PUT).await;
    store.expect_below("", &[&deep], promise::LIST_BELOW).await;
    store.expect_children("", &["folder"], promise::LIST_BELOW).await;
}

async fn the_limit_of_get_holds(store: Store) {
    let pattern = Pattern::new(3);
    for size in [0_u64, 1, 1000, 70_000] {
        let content = pattern.bytes(0, size as usize);
        store.put("a", content.clone()).await;
        store.expect("a", content.clone(), promise::PUT).await;
        for limit in [size, size + 1, u64::MAX] {
            let object = ok(
                store.driver.get(&call(), &store.path("a"), limit).await,
                format_args!("get of {size} bytes where {limit} are allowed"),
                promise::GET_LIMIT,
            );
            holds(object.content == content, "get returns the content", "another one", promise::GET);
            same(object.info.size, size, "the size in info", promise::GET_SIZE);
        }
        for limit in [size.saturating_sub(1), size / 2, 0].into_iter().filter(|limit| *limit < size) {
            fails(
                store.driver.get(&call(), &store.path("a"), limit).await,
                &[ErrorKind::TooLarge],
                format_args!("get of {size} bytes where {limit} are allowed"),
                promise::GET_LIMIT,
            );
        }
    }
}

async fn an_absent_object_is_not_found(store: Store) {
    store.put("present", "x").await;
    store.put("folder/b", "x").await;
    for absent in ["absent", "absent/too", "folder/a", "present/below", "present/far/below"] {
        expect_no_object(&store, absent).await;
        let stat = store.stat(absent).await;
        fails(stat, &[ErrorKind::NotFound], format_args!("stat of {absent}"), promise::NOT_FOUND);
        let deleted = store.driver.delete_tree(&call(), &store.folder(absent)).await;
        let deleted = ok(deleted, format_args!("delete_tree of {absent}"), promise::TREE_NOTHING);
        same(deleted, 0, format_args!("objects that go with {absent}"), promise::TREE_NOTHING);
        store.expect_below::<&str>(absent, &[], promise::LIST_ABSENT).await;
        store.expect_children::<&str>(absent, &[], promise::LIST_ABSENT).await;
    }
    store.expect_below("", &["folder/b", "present"], promise::NOT_FOUND).await;
}

/// Every call that wants an object there fails with `NotFound`.
async fn expect_no_object(store: &Store, name: &str) {
    let (path, elsewhere) = (store.path(name), store.path("elsewhere"));
    let kinds = &[ErrorKind::NotFound];
    store.expect_absent(name, promise::NOT_FOUND).await;
    for limit in [0, u64::MAX] {
        let got = store.driver.get(&call(), &path, limit).await;
        fails(got, kinds, format_args!("get of {name}"), promise::NOT_FOUND);
    }
    let ranges = [ReadRange::Full, ReadRange::From { offset: 64 }, ReadRange::Last { length: 1 }];
    for range in ranges {
        let reading = store.driver.read(&call(), &path, range).await;
        fails(reading, kinds, format_args!("read of {name}"), promise::NOT_FOUND);
    }
    let copied = store.driver.copy(&call(), &path, &elsewhere).await;
    fails(copied, kinds, format_args!("copy of {name}"), promise::SOURCE);
    let moved = store.driver.rename(&call(), &path, &elsewhere).await;
    fails(moved, kinds, format_args!("rename of {name}"), promise::SOURCE);
    if let Err(error) = store.driver.delete(&call(), &path).await {
        let is_fine = error.kind == ErrorKind::NotFound;
        let what = format_args!("delete of {name} succeeds or fails with NotFound");
        holds(is_fine, what, shown(&error), promise::DELETE_ABSENT);
    }
    store.expect_absent("elsewhere", promise::SOURCE).await;
}

async fn a_folder_is_not_an_object(store: Store) {
    store.put("a/b/c", "x").await;
    store.expect("a/b/c", "x", promise::PUT).await;
    for folder in ["a", "a/b"] {
        store.expect_absent(folder, promise::HEAD_FOLDER).await;
        expect_no_object(&store, folder).await;
        let stat = store.eventually(|| store.stat(folder), Result::is_ok).await;
        let stat = ok(stat, format_args!("stat of the folder {folder}"), promise::STAT);
        same(stat, Stat::Folder, format_args!("stat of {folder}"), promise::STAT_FOLDER);
        let many = store.driver.delete_many(&call(), &[store.path(folder)]).await;
        let failures = ok(many, "delete_many of a folder", promise::DELETE_MANY);
        holds(
            failures.is_empty(),
            "an absent object is no error",
            format!("{failures:?}"),
            promise::DELETE_MANY,
        );
    }
    store.expect("a/b/c", "x", promise::DELETE_FOLDER).await;
}

async fn folders_are_what_objects_make_of_them(store: Store) {
    let root = store.driver.stat(&call(), &Prefix::root()).await;
    same(ok(root, "stat of the root", promise::STAT), Stat::Folder, "stat of the root", promise::STAT);
    let no_folder = store.stat("").await;
    fails(no_folder, &[ErrorKind::NotFound], "stat of the case's folder", promise::STAT_FOLDER);
    store.put("a/b/c", "x").await;
    for folder in ["", "a", "a/b"] {
        let found = store.eventually(|| store.stat(folder), Result::is_ok).await;
        let found = ok(found, format_args!("stat of the folder {folder:?}"), promise::STAT_FOLDER);
        same(found, Stat::Folder, format_args!("stat of {folder:?}"), promise::STAT_FOLDER);
    }
    ok(store.driver.delete(&call(), &store.path("a/b/c")).await, "delete", promise::DELETE);
    for folder in ["a/b", "a", ""] {
        let gone = store.eventually(|| store.stat(folder), Result::is_err).await;
        fails(gone, &[ErrorKind::NotFound], format!("stat of the empty {folder:?}"), promise::STAT_FOLDER);
        store.expect_children::<&str>(folder, &[], promise::STAT_FOLDER).await;
    }
    // Nothing is in the way of an object where a folder was.
    store.put("a", "an object now").await;
    store.expect("a", "an object now", promise::PUT).await;
}

async fn the_beginning_of_a_name_is_no_folder(store: Store) {
    store.put_all(&["abc", "folder/x", "fold-er"]).await;
    store.expect_below("", &["abc", "folder/x", "fold-er"], promise::LIST_BELOW).await;
    for part in ["a", "ab", "f", "fold", "folde"] {
        let stat = store.stat(part).await;
        fails(stat, &[ErrorKind::NotFound], format_args!("stat of {part}"), promise::FOLDER);
        store.expect_absent(part, promise::NOT_FOUND).await;
        let request = ListRequest { limit: 2, ..ListRequest::below(store.folder(part)) };
        store.expect_listing::<&str>(request, &[], promise::FOLDER).await;
        store.expect_children::<&str>(part, &[], promise::FOLDER).await;
    }
}

async fn an_object_and_a_folder_of_one_name_do_no_harm(store: Store) {
    store.put("a/b/c", "object").await;
    store.expect("a/b/c", "object", promise::PUT).await;
    let conditions = [Condition::Always, Condition::IfAbsent];
    let usable = if store.has(Capability::PutIfAbsent) { 2 } else { 1 };
    for condition in &conditions[..usable] {
        for name in ["a", "a/b", "a/b/c/d", "a/b/c/d/e"] {
            match store.driver.put(&call(), &store.path(name), name.to_owned().into(), condition).await {
                // A store without folders has room for both.
                Ok(_) => {
                    store.expect(name, name.to_owned(), promise::PUT).await;
                    let deleted = store.driver.delete(&call(), &store.path(name)).await;
                    ok(deleted, format_args!("delete of {name}"), promise::DELETE);
                }
                Err(error) => {
                    // A folder is something at the path, so that a store may say that the condition does not hold.
                    let is_fine = error.kind == ErrorKind::Conflict
                        || (error.kind == ErrorKind::ConditionFailed && *condition != Condition::Always);
                    let what = format_args!("put of {name} succeeds or fails with Conflict");
                    holds(is_fine, what, shown(&error), promise::PUT_CONFLICT);
                }
            }
            store.expect_absent(name, promise::PUT_CONFLICT).await;
            store.expect("a/b/c", "object", promise::PUT_CONFLICT).await;
        }
    }
    store.expect_below("", &["a/b/c"], promise::PUT_CONFLICT).await;
}
