//! Deletions take exactly what they name.

use docker_registry_driver_api::{ErrorKind, UploadHint};

use crate::{
    case::group,
    checks::{fails, holds, ok, same},
    failure::shown,
    promise,
    store::{Store, call},
    tasks,
};

group! {
    "deleting":
    a_deleted_object_is_gone =>
        "A deleted object is gone for every call; its neighbours in the same folder stay.";
    deleting_twice_does_no_harm =>
        "A delete of an absent object is Ok or NotFound, and takes nothing else.";
    delete_of_a_folder_takes_nothing =>
        "A delete of a path where only a folder is takes nothing that is in the folder.";
    a_deleted_object_is_made_again =>
        "An object that was deleted is written again, with another content, several times.";
    many_are_deleted_and_absent_ones_are_no_error =>
        "delete_many takes the objects that it names, and does not mind absent ones and repetitions.";
    more_than_a_thousand_are_deleted_in_one_call =>
        "delete_many takes a list of 2,500 paths, however the storage cuts it.";
    a_tree_is_exactly_a_tree =>
        "delete_tree of `a` takes `a/b` and never `ab`, `a-b`, `a.b` or `A`, and counts what it takes.";
    a_tree_takes_the_object_of_its_name =>
        "delete_tree of an object's path takes the object, and counts one.";
    a_tree_that_is_not_there_counts_nothing =>
        "delete_tree of what is not there, or no longer, is Ok and counts none.";
    a_deep_tree_goes_whole =>
        "delete_tree takes objects 40 folders deep, and what is beside them on the way.";
    a_tree_of_more_than_a_page_goes_whole =>
        "delete_tree takes and counts 1,050 objects.";
    a_tree_leaves_uploads_alone =>
        "An upload whose object is to be in the folder survives delete_tree of the folder.";
    writers_and_deleters_share_a_folder =>
        "Deleting the last object of a folder does not fail a writer who is about to use the folder.";
}

async fn delete(store: &Store, name: &str) {
    // What is not seen yet may be NotFound to a delete as well.
    store.head(name).await;
    let deleted = store.driver.delete(&call(), &store.path(name)).await;
    ok(deleted, format_args!("delete of {name}"), promise::DELETE);
}

async fn delete_tree(store: &Store, name: &str) -> u64 {
    let deleted = store.driver.delete_tree(&call(), &store.folder(name)).await;
    ok(deleted, format_args!("delete_tree of {name:?}"), promise::TREE)
}

async fn delete_many(store: &Store, names: &[String]) {
    let paths: Vec<_> = names.iter().map(|name| store.path(name)).collect();
    let failures = store.driver.delete_many(&call(), &paths).await;
    let failures = ok(failures, format_args!("delete_many of {} paths", names.len()), promise::DELETE_MANY);
    if let Some((path, error)) = failures.first() {
        let found = format!("{} failures, the first at {path}: {}", failures.len(), shown(error));
        holds(false, "delete_many returns no failures", found, promise::DELETE_MANY);
    }
}

async fn a_deleted_object_is_gone(store: Store) {
    store.put_all(&["a/b/c", "a/b/cc", "a/b/c-", "a/d", "e"]).await;
    delete(&store, "a/b/c").await;
    store.expect_absent("a/b/c", promise::DELETE).await;
    let got = store.eventually(|| store.get("a/b/c"), Result::is_err).await;
    fails(got, &[ErrorKind::NotFound], "get of a deleted object", promise::NOT_FOUND);
    let stat = store.eventually(|| store.stat("a/b/c"), Result::is_err).await;
    fails(stat, &[ErrorKind::NotFound], "stat of a deleted object", promise::NOT_FOUND);
    store.expect_below("", &["a/b/cc", "a/b/c-", "a/d", "e"], promise::DELETE).await;
    for stays in ["a/b/cc", "a/b/c-", "a/d", "e"] {
        store.expect(stays, stays, promise::DELETE).await;
    }
}

async fn deleting_twice_does_no_harm(store: Store) {
    store.put_all(&["a/b", "a/c"]).await;
    delete(&store, "a/b").await;
    for absent in ["a/b", "a/b", "absent", "absent/too", "a/c/below"] {
        if let Err(error) = store.driver.delete(&call(), &store.path(absent)).await {
            let what = format_args!("delete of {absent} succeeds or fails with NotFound");
            holds(error.kind == ErrorKind::NotFound, what, shown(&error), promise::DELETE_ABSENT);
        }
    }
    store.expect_below("", &["a/c"], promise::DELETE).await;
}

async fn delete_of_a_folder_takes_nothing(store: Store) {
    let names = ["a/b/c", "a/b/d", "a/e"];
    store.put_all(&names).await;
    store.expect_below("", &names, promise::PUT).await;
    for folder in ["a", "a/b"] {
        if let Err(error) = store.driver.delete(&call(), &store.path(folder)).await {
            let what = format_args!("delete of the folder {folder} succeeds or fails with NotFound");
            holds(error.kind == ErrorKind::NotFound, what, shown(&error), promise::DELETE_ABSENT);
        }
        delete_many(&store, &[folder.to_owned()]).await;
        store.expect_below("", &names, promise::DELETE_FOLDER).await;
        store.expect("a/b/c", "a/b/c", promise::DELETE_FOLDER).await;
    }
}

async fn a_deleted_object_is_made_again(store: Store) {
    for round in 0..4 {
        let content = format!("round {round}");
        store.put("a/b", content.clone()).await;
        store.expect("a/b", content, promise::PUT).await;
        match round % 3 {
            0 => delete(&store, "a/b").await,
            1 => delete_many(&store, &["a/b".to_owned()]).await,
            _ => {
                store.expect_below("a", &["a/b"], promise::PUT).await;
                same(delete_tree(&store, "a").await, 1, "objects that went", promise::TREE_COUNT);
            }
        }
        store.expect_absent("a/b", promise::DELETE).await;
    }
}

async fn many_are_deleted_and_absent_ones_are_no_error(store: Store) {
    store.put_all(&["a/1", "a/2", "a/b/3", "a/b/33", "c"]).await;
    // The last one is a folder, and the beginning of a name.
    let names = ["a/1", "absent", "a/b/3", "c/below", "a/b/3", "absent/too", "a/b"];
    delete_many(&store, &names.map(str::to_owned)).await;
    store.expect_below("", &["a/2", "a/b/33", "c"], promise::DELETE_MANY).await;
    delete_many(&store, &[]).await;
    store.expect_below("", &["a/2", "a/b/33", "c"], promise::DELETE_MANY).await;
}

async fn more_than_a_thousand_are_deleted_in_one_call(store: Store) {
    let all: Vec<_> = (0..2500).map(|number| format!("f{}/{number:04}", number % 7)).collect();
    // Only those at the borders of lists of 100, 256 and 1000 exist.
    let is_at_border = |at: usize| [100, 256, 1000].iter().any(|size| [0, size - 1].contains(&(at % size)));
    let present = all.iter().enumerate().filter(|(at, _)| is_at_border(*at));
    let present: Vec<_> = present.map(|(_, name)| name.clone()).collect();
    let stays = ["f0/stays".to_owned(), "f6/2500".to_owned()];
    store.put_all(&present).await;
    store.put_all(&stays).await;
    delete_many(&store, &all).await;
    store.expect_below("", &stays, promise::DELETE_MANY).await;
}

async fn a_tree_is_exactly_a_tree(store: Store) {
    let inside = ["x/a/1", "x/a/b/2", "x/a/b/c/3", "x/a/b.c"];
    let outside = ["x/ab", "x/a-b", "x/a-/1", "x/a.b/4", "x/a0", "x/A/5", "x/b/a/1", "y/a/6", "a/7"];
    store.put_all(&inside).await;
    store.put_all(&outside).await;
    store.expect_below("x/a", &inside, promise::PUT).await;
    same(delete_tree(&store, "x/a").await, 4, "objects that went with x/a", promise::TREE_COUNT);
    store.expect_below("", &outside, promise::TREE).await;
    store.expect("x/ab", "x/ab", promise::TREE).await;
    store.expect_below("y", &["y/a/6"], promise::PUT).await;
    same(delete_tree(&store, "y").await, 1, "objects that went with y", promise::TREE_COUNT);
    let left: Vec<_> = outside.iter().filter(|name| !name.starts_with("y/")).collect();
    store.expect_below("", &left, promise::TREE).await;
    store.expect_children("", &["a", "x"], promise::STAT_FOLDER).await;
}

async fn a_tree_takes_the_object_of_its_name(store: Store) {
    store.put_all(&["f/a", "f/ab"]).await;
    store.expect_below("", &["f/a", "f/ab"], promise::PUT).await;
    same(delete_tree(&store, "f/a").await, 1, "objects that went with f/a", promise::TREE_COUNT);
    store.expect_below("", &["f/ab"], promise::TREE).await;
    // Where a name can be both, both go.
    if store.driver.put(&call(), &store.path("f/ab/c"), "x".into(), &Default::default()).await.is_ok() {
        store.expect_below("f/ab", &["f/ab/c"], promise::PUT).await;
        same(delete_tree(&store, "f/ab").await, 2, "objects that went with f/ab", promise::TREE_COUNT);
        store.expect_absent("f/ab", promise::TREE).await;
        store.expect_below::<&str>("", &[], promise::TREE).await;
    }
}

async fn a_tree_that_is_not_there_counts_nothing(store: Store) {
    store.put_all(&["ab/c", "d"]).await;
    for absent in ["a", "absent/deeper", "d/below", "ab/c/below"] {
        let went = delete_tree(&store, absent).await;
        same(went, 0, format_args!("objects that went with {absent}"), promise::TREE_NOTHING);
    }
    store.expect_below("", &["ab/c", "d"], promise::TREE).await;
    delete_tree(&store, "ab").await;
    store.expect_below("", &["d"], promise::TREE).await;
    same(delete_tree(&store, "ab").await, 0, "objects that went with ab again", promise::TREE_NOTHING);
}

async fn a_deep_tree_goes_whole(store: Store) {
    let mut names = Vec::new();
    let mut folder = "deep".to_owned();
    for level in 0..40 {
        folder = format!("{folder}/f{level}");
        if level % 8 == 0 {
            names.push(format!("{folder}/beside"));
        }
    }
    names.push(format!("{folder}/object"));
    store.put_all(&names).await;
    store.put("deeper", "x").await;
    store.expect_below("deep", &names, promise::PUT).await;
    same(delete_tree(&store, "deep").await, names.len() as u64, "objects that went", promise::TREE_COUNT);
    store.expect_below("", &["deeper"], promise::TREE).await;
    store.expect_children("", &["deeper"], promise::STAT_FOLDER).await;
}

async fn a_tree_of_more_than_a_page_goes_whole(store: Store) {
    let names: Vec<_> = (0..1050).map(|number| format!("tree/{}/{number}", number % 5)).collect();
    store.put_all(&names).await;
    store.put("tree-2", "x").await;
    store.expect_below("tree", &names, promise::LIST_BELOW).await;
    same(delete_tree(&store, "tree").await, 1050, "objects that went", promise::TREE_COUNT);
    store.expect_below("", &["tree-2"], promise::TREE).await;
}

async fn a_tree_leaves_uploads_alone(store: Store) {
    store.put("f/a", "x").await;
    store.expect_below("f", &["f/a"], promise::PUT).await;
    let hint = UploadHint { final_path: Some(store.path("f/b")), size: Some(7) };
    let state = store.open_upload_with(hint).await;
    let state = store.append(&state, 0, "cont").await;
    same(delete_tree(&store, "f").await, 1, "objects that went, uploads not counted", promise::TREE_COUNT);
    let state = store.append(&state, 4, "ent").await;
    store.commit(&state, "f/b").await;
    store.expect("f/b", "content", promise::TREE).await;
}

async fn writers_and_deleters_share_a_folder(store: Store) {
    let tasks = (0..8).map(|task| {
        let store = store.clone();
        tasks::spawn(async move {
            let own = format!("shared/deep/folder/{task}");
            for round in 0..12 {
                let content = format!("{task} in round {round}");
                store.put(&own, content.clone()).await;
                store.expect(&own, content, promise::CONCURRENCY).await;
                delete(&store, &own).await;
            }
            store.put(&own, "last").await;
            own
        })
    });
    let names = tasks::all(tasks.collect::<Vec<_>>()).await;
    store.expect_below("", &names, promise::CONCURRENCY).await;
}
