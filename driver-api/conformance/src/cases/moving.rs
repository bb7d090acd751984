//! Copies and moves.

use docker_registry_driver_api::{ErrorKind, ReadRange, Result};

use super::reading;
use crate::{
    case::group,
    checks::{fails, holds, ok, same},
    content::Pattern,
    failure::shown,
    promise,
    store::{Store, call},
    tasks,
};

group! {
    "moving":
    a_copy_replaces_and_leaves_the_source =>
        "A copy has the source's content, replaces what was there, and is an object of its own.";
    a_rename_moves_and_replaces =>
        "After a rename the content is at the target only, whatever was there before.";
    moves_cross_folders =>
        "A copy and a rename make the folders they need; the emptied folders of the source are gone.";
    onto_itself_nothing_changes =>
        "A copy or a rename of an object onto itself leaves it as it is, its tag included.";
    an_absent_source_leaves_the_target =>
        "A copy or a rename of an absent object fails with NotFound and leaves the target as it was.";
    content_of_any_size_is_moved =>
        "Objects of no bytes, one byte and 1 MiB are copied and moved unchanged.";
    a_large_object_is_moved_whole =>
        "An object of 20 MiB that was uploaded is copied and moved, and every byte of it is compared.";
    many_are_moved_at_once =>
        "32 renames at the same time move 32 objects, each with its own content.";
    a_chain_of_renames_ends_with_the_first_content =>
        "An object that is renamed ten times in a row, and back, is the same object.";
    a_folder_at_the_target_is_a_conflict_or_no_matter =>
        "A copy or a rename to where a folder is, or below an object, is made or refused with Conflict.";
}

/// Writes what is to be moved, and waits until it is seen.
async fn source(store: &Store, name: &str, content: &'static str) {
    store.put(name, content).await;
    store.expect(name, content, promise::PUT).await;
}

async fn copy(store: &Store, from: &str, to: &str) -> Result<()> {
    store.driver.copy(&call(), &store.path(from), &store.path(to)).await
}

async fn rename(store: &Store, from: &str, to: &str) -> Result<()> {
    store.driver.rename(&call(), &store.path(from), &store.path(to)).await
}

async fn a_copy_replaces_and_leaves_the_source(store: Store) {
    source(&store, "a", "content").await;
    store.put("b", "a longer content before").await;
    for to in ["b", "c"] {
        ok(copy(&store, "a", to).await, format_args!("copy to {to}"), promise::COPY);
        store.expect(to, "content", promise::COPY).await;
        store.expect("a", "content", promise::COPY).await;
        same(store.head(to).await.size, 7, format_args!("the size of {to}"), promise::SIZE);
    }
    store.expect_below("", &["a", "b", "c"], promise::COPY).await;
    // The copies are not tied to the source.
    store.put("a", "changed").await;
    store.expect("a", "changed", promise::PUT).await;
    store.expect("b", "content", promise::COPY).await;
    ok(store.driver.delete(&call(), &store.path("b")).await, "delete", promise::DELETE);
    store.expect("c", "content", promise::COPY).await;
    store.expect("a", "changed", promise::COPY).await;
}

async fn a_rename_moves_and_replaces(store: Store) {
    source(&store, "a", "content").await;
    store.put("b", "a longer content before").await;
    ok(rename(&store, "a", "b").await, "rename over an object", promise::RENAME);
    store.expect("b", "content", promise::RENAME).await;
    store.expect_absent("a", promise::RENAME).await;
    ok(rename(&store, "b", "c").await, "rename to a new name", promise::RENAME);
    store.expect("c", "content", promise::RENAME).await;
    store.expect_absent("b", promise::RENAME).await;
    store.expect_below("", &["c"], promise::RENAME).await;
    // The old name is free.
    store.put("a", "another").await;
    store.expect("a", "another", promise::PUT).await;
    store.expect("c", "content", promise::RENAME).await;
}

async fn moves_cross_folders(store: Store) {
    source(&store, "from/deep/er/a", "from/deep/er/a").await;
    source(&store, "from/b", "from/b").await;
    ok(copy(&store, "from/b", "new/folder/b").await, "copy to a new folder", promise::COPY);
    store.expect("new/folder/b", "from/b", promise::COPY).await;
    let moved = rename(&store, "from/deep/er/a", "other/new/folder/a").await;
    ok(moved, "rename to a new folder", promise::RENAME);
    store.expect("other/new/folder/a", "from/deep/er/a", promise::RENAME).await;
    for gone in ["from/deep/er", "from/deep"] {
        let found = store.eventually(|| store.stat(gone), Result::is_err).await;
        let what = format_args!("stat of the emptied folder {gone}");
        fails(found, &[ErrorKind::NotFound], what, promise::STAT_FOLDER);
    }
    store.expect_below("", &["from/b", "new/folder/b", "other/new/folder/a"], promise::RENAME).await;
    // Up, down and back into the folder that was emptied.
    ok(rename(&store, "other/new/folder/a", "a").await, "rename upwards", promise::RENAME);
    ok(rename(&store, "a", "from/deep/er/a").await, "rename downwards", promise::RENAME);
    store.expect("from/deep/er/a", "from/deep/er/a", promise::RENAME).await;
    store.expect_children("", &["from", "new"], promise::STAT_FOLDER).await;
}

async fn onto_itself_nothing_changes(store: Store) {
    source(&store, "f/a", "content").await;
    // The time is not compared: what of it a store keeps is its own affair.
    let facts = || async {
        let info = store.head("f/a").await;
        (info.size, info.etag)
    };
    let before = facts().await;
    ok(copy(&store, "f/a", "f/a").await, "copy onto itself", promise::COPY_ITSELF);
    store.expect("f/a", "content", promise::COPY_ITSELF).await;
    same(facts().await, before.clone(), "size and tag after a copy onto itself", promise::COPY_ITSELF);
    ok(rename(&store, "f/a", "f/a").await, "rename onto itself", promise::RENAME_ITSELF);
    store.expect("f/a", "content", promise::RENAME_ITSELF).await;
    same(facts().await, before, "size and tag after a rename onto itself", promise::RENAME_ITSELF);
    store.expect_below("", &["f/a"], promise::RENAME_ITSELF).await;
    let kinds = &[ErrorKind::NotFound];
    fails(copy(&store, "f/b", "f/b").await, kinds, "copy of nothing onto itself", promise::SOURCE);
    fails(rename(&store, "f/b", "f/b").await, kinds, "rename of nothing onto itself", promise::SOURCE);
    store.expect_absent("f/b", promise::SOURCE).await;
}

async fn an_absent_source_leaves_the_target(store: Store) {
    store.put("to", "before").await;
    store.put("folder/x", "x").await;
    let kinds = &[ErrorKind::NotFound];
    for from in ["absent", "absent/deeper", "folder", "folder/y", "to/below"] {
        for to in ["to", "new/folder/a"] {
            let copied = copy(&store, from, to).await;
            fails(copied, kinds, format_args!("copy of {from} to {to}"), promise::SOURCE);
            let moved = rename(&store, from, to).await;
            fails(moved, kinds, format_args!("rename of {from} to {to}"), promise::SOURCE);
        }
        store.expect("to", "before", promise::SOURCE).await;
    }
    store.expect_below("", &["folder/x", "to"], promise::SOURCE).await;
    store.expect_children("", &["folder", "to"], promise::SOURCE).await;
}

async fn content_of_any_size_is_moved(store: Store) {
    let pattern = Pattern::new(4);
    for size in [0, 1, 1024 * 1024] {
        let content = pattern.bytes(0, size);
        store.put("a", content.clone()).await;
        ok(copy(&store, "a", "b").await, format_args!("copy of {size} bytes"), promise::COPY);
        store.expect("b", content.clone(), promise::COPY).await;
        ok(rename(&store, "a", "c").await, format_args!("rename of {size} bytes"), promise::RENAME);
        store.expect("c", content, promise::RENAME_SAFE).await;
        store.expect_absent("a", promise::RENAME).await;
    }
}

async fn a_large_object_is_moved_whole(store: Store) {
    let (pattern, size) = (Pattern::new(5), 20 * 1024 * 1024 + 3);
    reading::write(&store, "a", &pattern, size).await;
    reading::expect(&store, "a", ReadRange::Last { length: 1 }, &pattern, size).await;
    ok(copy(&store, "a", "folder/b").await, "copy of 20 MiB", promise::COPY);
    let look = || async { store.head("folder/b").await.size };
    same(store.eventually(look, |found| *found == size).await, size, "the size of the copy", promise::COPY);
    reading::expect(&store, "folder/b", ReadRange::Full, &pattern, size).await;
    ok(rename(&store, "a", "folder/b").await, "rename of 20 MiB over its copy", promise::RENAME);
    ok(rename(&store, "folder/b", "c").await, "rename of 20 MiB", promise::RENAME);
    reading::expect(&store, "c", ReadRange::Full, &pattern, size).await;
    store.expect_below("", &["c"], promise::RENAME).await;
}

async fn many_are_moved_at_once(store: Store) {
    let names: Vec<_> = (0..32).map(|number| format!("from/{number:02}")).collect();
    store.put_all(&names).await;
    store.expect_below("", &names, promise::PUT).await;
    let moves = names.iter().map(|from| {
        let (store, from) = (store.clone(), from.clone());
        tasks::spawn(async move {
            let to = from.replace("from", "to");
            ok(rename(&store, &from, &to).await, format_args!("rename of {from}"), promise::CONCURRENCY);
            store.expect(&to, from, promise::RENAME).await;
            to
        })
    });
    let moved = tasks::all(moves.collect::<Vec<_>>()).await;
    store.expect_below("", &moved, promise::RENAME).await;
}

async fn a_chain_of_renames_ends_with_the_first_content(store: Store) {
    store.put("step/0/a", "content").await;
    let mut at = "step/0/a".to_owned();
    for step in (1..10).chain([0]) {
        let next = format!("step/{step}/a");
        ok(rename(&store, &at, &next).await, format_args!("rename of {at} to {next}"), promise::RENAME);
        store.expect_absent(&at, promise::RENAME).await;
        at = next;
        // The next step needs to see the object; a store may take its time.
        store.expect(&at, "content", promise::RENAME).await;
    }
    store.expect_below("", &["step/0/a"], promise::RENAME).await;
}

async fn a_folder_at_the_target_is_a_conflict_or_no_matter(store: Store) {
    store.put("source", "moved").await;
    store.put("a/b/c", "object").await;
    store.expect("a/b/c", "object", promise::PUT).await;
    for to in ["a", "a/b", "a/b/c/d", "a/b/c/d/e"] {
        for (call_name, is_rename) in [("copy", false), ("rename", true)] {
            let result =
                if is_rename { rename(&store, "source", to).await } else { copy(&store, "source", to).await };
            match result {
                // A store without folders has room for both.
                Ok(()) => {
                    store.expect(to, "moved", promise::PUT_CONFLICT).await;
                    if is_rename {
                        store.expect_absent("source", promise::RENAME).await;
                        store.put("source", "moved").await;
                    }
                    ok(store.driver.delete(&call(), &store.path(to)).await, "delete", promise::DELETE);
                }
                Err(error) => {
                    let what = format_args!("{call_name} to {to} succeeds or fails with Conflict");
                    holds(error.kind == ErrorKind::Conflict, what, shown(&error), promise::PUT_CONFLICT);
                }
            }
            store.expect("source", "moved", promise::RENAME_CONFLICT).await;
            store.expect_absent(to, promise::PUT_CONFLICT).await;
            store.expect("a/b/c", "object", promise::PUT_CONFLICT).await;
        }
    }
    store.expect_below("", &["a/b/c", "source"], promise::PUT_CONFLICT).await;
}
