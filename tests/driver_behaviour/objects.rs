//! Objects written whole, looked at, copied and moved.

use docker_registry_driver_api::{Bytes, Condition, ErrorKind, ReadRange, Stat};

use crate::subject::{Store, all_below, call, fails, get, missing, path, prefix, put, read};

on_both_drivers!(
    what_was_put_is_there,
    a_replacement_changes_content_and_tag,
    an_absent_object_is_not_found_everywhere,
    a_folder_is_not_an_object,
    names_are_kept_as_they_are,
    a_copy_replaces_and_leaves_the_source,
    a_rename_moves_and_replaces,
    a_missing_source_leaves_the_target,
    onto_itself_nothing_changes,
    a_healthy_store_says_so,
);

async fn what_was_put_is_there(store: Store) {
    for content in ["", "x", "a longer content"] {
        let etag =
            store.put(&call(), &path("a/b/c"), Bytes::from(content), &Condition::Always).await.unwrap();
        let object = store.get(&call(), &path("a/b/c"), 100).await.unwrap();
        assert_eq!(object.content, content);
        assert_eq!(object.info.size, content.len() as u64);
        assert_eq!(object.info.etag, etag);
        assert!(object.info.modified.is_some());
        assert_eq!(store.head(&call(), &path("a/b/c")).await.unwrap(), object.info);
        assert_eq!(store.stat(&call(), &prefix("a/b/c")).await.unwrap(), Stat::Object(object.info));
        assert_eq!(read(&store, "a/b/c", ReadRange::Full).await, content);
    }
    fails(store.get(&call(), &path("a/b/c"), 15).await, ErrorKind::TooLarge);
    assert_eq!(store.get(&call(), &path("a/b/c"), 16).await.unwrap().info.size, 16);
}

async fn a_replacement_changes_content_and_tag(store: Store) {
    let mut seen = Vec::new();
    // The same size and the same moment, as far as clocks can tell.
    for content in ["1", "2", "1", "2", "1"] {
        put(&store, "a", content).await;
        let object = store.get(&call(), &path("a"), 10).await.unwrap();
        assert_eq!(object.content, content);
        let etag = object.info.etag.unwrap();
        assert!(!seen.contains(&etag), "a tag came back");
        seen.push(etag);
    }
}

async fn an_absent_object_is_not_found_everywhere(store: Store) {
    put(&store, "a", "x").await;
    // The last two lie below an object, where nothing can be.
    for absent in ["b", "b/c", "a/b", "a/b/c"] {
        assert!(missing(&store, absent).await);
        fails(store.get(&call(), &path(absent), 1).await, ErrorKind::NotFound);
        fails(store.stat(&call(), &prefix(absent)).await, ErrorKind::NotFound);
        fails(store.read(&call(), &path(absent), ReadRange::Full).await, ErrorKind::NotFound);
        fails(store.delete(&call(), &path(absent)).await, ErrorKind::NotFound);
        assert_eq!(store.delete_tree(&call(), &prefix(absent)).await.unwrap(), 0);
        assert!(all_below(&store, absent, 10).await.is_empty());
    }
}

async fn a_folder_is_not_an_object(store: Store) {
    put(&store, "a/b/c", "x").await;
    for folder in ["a", "a/b"] {
        assert!(missing(&store, folder).await);
        assert_eq!(store.stat(&call(), &prefix(folder)).await.unwrap(), Stat::Folder);
        fails(store.get(&call(), &path(folder), 9).await, ErrorKind::NotFound);
        fails(store.read(&call(), &path(folder), ReadRange::Full).await, ErrorKind::NotFound);
        fails(store.delete(&call(), &path(folder)).await, ErrorKind::NotFound);
        fails(store.copy(&call(), &path(folder), &path("z")).await, ErrorKind::NotFound);
        fails(store.rename(&call(), &path(folder), &path("z")).await, ErrorKind::NotFound);
        for condition in [Condition::Always, Condition::IfAbsent] {
            let put = store.put(&call(), &path(folder), Bytes::from("y"), &condition).await;
            fails(put, ErrorKind::Conflict);
        }
    }
    for condition in [Condition::Always, Condition::IfAbsent] {
        let put = store.put(&call(), &path("a/b/c/d/e"), Bytes::from("y"), &condition).await;
        fails(put, ErrorKind::Conflict);
    }
    assert_eq!(get(&store, "a/b/c").await, "x");
    assert_eq!(store.stat(&call(), &prefix("")).await.unwrap(), Stat::Folder);
    store.delete(&call(), &path("a/b/c")).await.unwrap();
    // Folders are what objects make of them. Now an object may have the name.
    fails(store.stat(&call(), &prefix("a")).await, ErrorKind::NotFound);
    put(&store, "a", "y").await;
    assert_eq!(get(&store, "a").await, "y");
}

async fn names_are_kept_as_they_are(store: Store) {
    let long = "n".repeat(255);
    // The two last ones look alike and are different texts.
    let names = ["A", "a", " b ", "%2e%2e", "c.", ".d", "e\\f", "'\"*?<>|", &long, "\u{e9}", "e\u{301}"];
    for name in names {
        put(&store, &format!("names/{name}"), name.to_owned()).await;
    }
    for name in names {
        assert_eq!(get(&store, &format!("names/{name}")).await, name);
    }
    let mut expected: Vec<String> = names.iter().map(|name| format!("names/{name}")).collect();
    expected.sort();
    assert_eq!(all_below(&store, "names", 1000).await, expected);
}

async fn a_copy_replaces_and_leaves_the_source(store: Store) {
    put(&store, "from/a", "content").await;
    put(&store, "to/b", "before").await;
    for to in ["to/b", "new/folder/c"] {
        store.copy(&call(), &path("from/a"), &path(to)).await.unwrap();
        assert_eq!(get(&store, to).await, "content");
    }
    put(&store, "from/a", "changed").await;
    assert_eq!(get(&store, "to/b").await, "content");
    fails(store.copy(&call(), &path("to/b"), &path("from")).await, ErrorKind::Conflict);
    fails(store.copy(&call(), &path("to/b"), &path("from/a/x")).await, ErrorKind::Conflict);
}

async fn a_rename_moves_and_replaces(store: Store) {
    put(&store, "from/deep/a", "content").await;
    put(&store, "to/b", "before").await;
    store.rename(&call(), &path("from/deep/a"), &path("to/b")).await.unwrap();
    assert_eq!(get(&store, "to/b").await, "content");
    assert_eq!(all_below(&store, "", 10).await, ["to/b"]);
    // Into its own former folder, and an object that takes the name of the folder it was in.
    store.rename(&call(), &path("to/b"), &path("new/c")).await.unwrap();
    put(&store, "other", "x").await;
    fails(store.rename(&call(), &path("new/c"), &path("other/d")).await, ErrorKind::Conflict);
    assert_eq!(get(&store, "new/c").await, "content");
    assert_eq!(all_below(&store, "", 10).await, ["new/c", "other"]);
}

async fn a_missing_source_leaves_the_target(store: Store) {
    put(&store, "to", "before").await;
    fails(store.copy(&call(), &path("from"), &path("to")).await, ErrorKind::NotFound);
    fails(store.rename(&call(), &path("from"), &path("to")).await, ErrorKind::NotFound);
    fails(store.rename(&call(), &path("from"), &path("new/folder")).await, ErrorKind::NotFound);
    assert_eq!(get(&store, "to").await, "before");
    assert_eq!(all_below(&store, "", 10).await, ["to"]);
}

async fn onto_itself_nothing_changes(store: Store) {
    put(&store, "a", "content").await;
    store.copy(&call(), &path("a"), &path("a")).await.unwrap();
    store.rename(&call(), &path("a"), &path("a")).await.unwrap();
    assert_eq!(get(&store, "a").await, "content");
    fails(store.rename(&call(), &path("b"), &path("b")).await, ErrorKind::NotFound);
}

async fn a_healthy_store_says_so(store: Store) {
    store.health(&call()).await.unwrap();
}
