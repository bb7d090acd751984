//! Deletions take exactly what they name.

use docker_registry_driver_api::ErrorKind;

use crate::subject::{
    Store, all_below, all_children, append, call, commit, fails, get, missing, open_upload, path, prefix, put,
};

on_both_drivers!(
    a_deleted_object_is_gone_and_its_folders_too,
    a_tree_is_exactly_a_tree,
    the_root_empties_the_store_and_spares_uploads,
    many_are_deleted_and_absent_ones_are_no_error,
    writers_and_deleters_share_a_folder,
);

async fn a_deleted_object_is_gone_and_its_folders_too(store: Store) {
    put(&store, "a/b/c", "x").await;
    put(&store, "a/d", "x").await;
    store.delete(&call(), &path("a/b/c")).await.unwrap();
    assert!(missing(&store, "a/b/c").await);
    fails(store.stat(&call(), &prefix("a/b")).await, ErrorKind::NotFound);
    assert_eq!(all_children(&store, "a", 10).await, ["a/d"]);
    fails(store.delete(&call(), &path("a/b/c")).await, ErrorKind::NotFound);
}

async fn a_tree_is_exactly_a_tree(store: Store) {
    for name in ["x/a/1", "x/a/b/2", "x/a/b/c/3", "x/ab", "x/a-b", "x/a.b/4", "x/A/5", "y/a/6"] {
        put(&store, name, "x").await;
    }
    assert_eq!(store.delete_tree(&call(), &prefix("x/a")).await.unwrap(), 3);
    assert_eq!(all_below(&store, "", 100).await, ["x/A/5", "x/a-b", "x/a.b/4", "x/ab", "y/a/6"]);
    assert_eq!(store.delete_tree(&call(), &prefix("x/a")).await.unwrap(), 0);
    // The object of the same name counts as well.
    assert_eq!(store.delete_tree(&call(), &prefix("x/ab")).await.unwrap(), 1);
    assert_eq!(store.delete_tree(&call(), &prefix("y")).await.unwrap(), 1);
    assert_eq!(all_children(&store, "", 100).await, ["x"]);
}

async fn the_root_empties_the_store_and_spares_uploads(store: Store) {
    put(&store, "a", "x").await;
    put(&store, "b/c", "x").await;
    let state = open_upload(&store).await;
    let state = append(&store, &state, 0, "content").await;
    assert_eq!(store.delete_tree(&call(), &prefix("")).await.unwrap(), 2);
    assert!(all_below(&store, "", 100).await.is_empty());
    commit(&store, &state, "d").await;
    assert_eq!(get(&store, "d").await, "content");
}

async fn many_are_deleted_and_absent_ones_are_no_error(store: Store) {
    for name in ["a/1", "a/2", "a/b/3", "c"] {
        put(&store, name, "x").await;
    }
    let paths = ["a/1", "absent", "a/b/3", "c/below", "a/b/3", "absent/too"].map(path);
    assert!(store.delete_many(&call(), &paths).await.unwrap().is_empty());
    assert_eq!(all_below(&store, "", 100).await, ["a/2", "c"]);
    assert!(store.delete_many(&call(), &[]).await.unwrap().is_empty());
}

/// Deleting the last object of a folder removes the folder, which must not fail a writer who is about
/// to use it, and what a writer was told is there stays.
async fn writers_and_deleters_share_a_folder(store: Store) {
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                let own = format!("shared/deep/folder/{task}");
                for _ in 0..25 {
                    put(&store, &own, "x").await;
                    assert_eq!(get(&store, &own).await, "x");
                    store.delete(&call(), &path(&own)).await.unwrap();
                }
                put(&store, &own, "last").await;
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(all_below(&store, "", 100).await.len(), 8);
}
