//! Indexes over a fake node: large folders, and names that go.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use docker_registry_driver_api::{Bytes, Condition, Settings};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use crate::{
    change::Change,
    cluster::Cluster,
    fake_node::FakeNode,
    index::Index,
    legacy::Legacy,
    objects::{New, Objects},
    record::Body,
    register::{
        Registers,
        tests::{store, stored},
    },
    replicas::Replicas,
    settings::EllipticsSettings,
    shard::Shard,
    walk::{MOST_AHEAD, Walk},
};

async fn registers() -> (FakeNode, Registers) {
    let node = FakeNode::start(1, false, Arc::new(Mutex::new(Vec::new()))).await;
    let values = json!({ "elliptics_nodes": format!("{}:2", node.address), "elliptics_groups": [1] });
    let settings = Settings::new(values.as_object().cloned().unwrap());
    let cluster = Cluster::open(EllipticsSettings::read(&settings).unwrap()).await.unwrap();
    (node, Registers::new(Replicas(cluster)))
}

fn names(found: &BTreeMap<String, u64>) -> Vec<&str> {
    found.keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_large_folder_is_cut_into_shards_and_loses_no_name() {
    let (_node, registers) = registers().await;
    let index = Index::new(registers.clone());
    let paths: Vec<String> = (0..2_600).map(|number| format!("folder/{number:04}")).collect();
    let ensures = paths.iter().map(|path| index.ensure(path));
    stream::iter(ensures).buffer_unordered(100).try_collect::<Vec<_>>().await.unwrap();
    let expected: Vec<&str> = paths.iter().map(|path| &path["folder/".len()..]).collect();
    assert_eq!(names(&index.names("folder/").await.unwrap()), expected);
    assert_eq!(names(&index.names("").await.unwrap()), ["folder/"]);
    // Another process, which knows nothing of the shards.
    let other = Index::new(registers);
    other.ensure("folder/another").await.unwrap();
    for path in ["folder/0001", "folder/2599"] {
        other.mark(path).await.unwrap();
    }
    let found = index.names("folder/").await.unwrap();
    assert_eq!(found.len(), 2_601);
    let marked: Vec<_> =
        found.iter().filter(|(_, mark)| **mark != 0).map(|(name, _)| name.as_str()).collect();
    assert_eq!(marked, ["0001", "2599"]);
}

#[tokio::test]
async fn whoever_does_not_know_yet_that_a_folder_was_cut_changes_the_right_shards() {
    let (_node, registers) = registers().await;
    let index = Index::new(registers.clone());
    let paths: Vec<String> = (0..1_300).map(|number| format!("folder/{number:04}")).collect();
    let ensures = paths.iter().map(|path| index.ensure(path));
    stream::iter(ensures).buffer_unordered(100).try_collect::<Vec<_>>().await.unwrap();
    let other = Index::new(registers);
    for path in [&paths[0], &paths[1_299]] {
        other.mark(path).await.unwrap();
    }
    let found = index.names("folder/").await.unwrap();
    assert_eq!(found.len(), 1_300);
    assert!(found["0000"] != 0 && found["1299"] != 0, "a change is lost");
}

/// So many paths in the folder whose names all belong to the first shard of the first depth, from a number on.
fn paths_of_one_shard(count: usize, from: usize) -> Vec<String> {
    let names = (from..).map(|number| format!("{number:06}"));
    let names = names.filter(|name| crc32fast::hash(name.as_bytes()).is_multiple_of(16));
    names.map(|name| format!("folder/{name}")).take(count).collect()
}

#[tokio::test]
async fn a_name_is_marked_where_another_process_has_put_it_that_has_cut_the_folder_finer() {
    let (_node, registers) = registers().await;
    let (index, other) = (Index::new(registers.clone()), Index::new(registers));
    // The one knows of a depth, and the other one cuts the folder to the next.
    for (index, from) in [(&index, 0), (&other, 500_000)] {
        let paths = paths_of_one_shard(1_002, from);
        let ensures = paths.iter().map(|path| index.ensure(path));
        stream::iter(ensures).buffer_unordered(100).try_collect::<Vec<_>>().await.unwrap();
    }
    other.ensure("folder/name").await.unwrap();
    assert_eq!(other.names("folder/").await.unwrap()["name"], 0);
    index.mark("folder/name").await.unwrap();
    assert!(other.names("folder/").await.unwrap()["name"] != 0, "the mark is lost");
}

#[tokio::test]
async fn a_depth_that_half_of_the_groups_tell_is_not_remembered() {
    let (nodes, registers) = crate::register::tests::registers(2).await;
    let index = Index::new(registers.clone());
    index.ensure("folder/before").await.unwrap();
    let id = registers.replicas.id(&crate::names::index("folder/", 0, 0));
    let old = nodes.iter().map(|node| stored(node, id)).collect::<Vec<_>>();
    // Somebody has begun to cut the folder: one group has taken it.
    let cut = Shard { depth: 1, ..Shard::default() }.pack();
    registers.change(id, |_| Ok(Change::Write(cut.clone(), ()))).await.unwrap();
    store(&nodes[1], id, old[1].clone());
    nodes[1].stop();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!(index.names("folder/").await.unwrap(), BTreeMap::new(), "what was begun is seen");
    // It comes to nothing.
    store(&nodes[0], id, old[0].clone());
    nodes[1].start_again().await;
    index.ensure("folder/after").await.unwrap();
    let found = Index::new(registers).names("folder/").await.unwrap();
    assert_eq!(names(&found), ["after", "before"]);
}

#[tokio::test]
async fn a_walk_reads_the_folders_ahead_some_at_once_and_keeps_the_order() {
    use std::sync::atomic::Ordering;
    let (node, registers) = registers().await;
    let legacy = Legacy::open(registers.replicas.clone()).await.unwrap();
    let objects = Objects::new(registers, legacy);
    let mut paths = Vec::new();
    for outer in 0..7 {
        for inner in ["", "a/", "b-/", "b/", "b/c/", "d/"] {
            paths.extend(["0", "x", "z"].map(|name| format!("{outer}/{inner}{name}")));
        }
    }
    for path in &paths {
        objects.index.ensure(path).await.unwrap();
    }
    paths.sort();
    node.behaviour.is_slow.store(true, Ordering::Relaxed);
    for after in [None, Some("0/b/"), Some("3/b/c/x"), Some("3/b0"), Some("6/z")] {
        node.behaviour.most_waiting.store(0, Ordering::Relaxed);
        let entries = objects.entries("").await.unwrap();
        let mut walk = Walk::new(objects.clone(), entries, after.map(str::to_owned), MOST_AHEAD);
        let mut walked = Vec::new();
        while let Some(path) = walk.next().await.unwrap() {
            walked.push(path);
        }
        let expected = paths.iter().filter(|path| after.is_none_or(|after| path.as_str() > after));
        assert_eq!(walked, expected.cloned().collect::<Vec<_>>(), "{after:?}");
        let at_once = node.behaviour.most_waiting.load(Ordering::Relaxed);
        assert!(at_once <= MOST_AHEAD, "{at_once} at once");
        assert!(after.is_some() || at_once > 6, "{at_once} at once");
    }
    // Who wants one object reads no more than that takes.
    node.behaviour.requests.store(0, Ordering::Relaxed);
    let entries = objects.entries("").await.unwrap();
    let mut walk = Walk::new(objects, entries, None, 1);
    assert_eq!(walk.next().await.unwrap().as_deref(), Some("0/0"));
    assert_eq!(node.behaviour.requests.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_name_is_dropped_when_its_record_is_gone_and_kept_when_it_came_back() {
    let (_node, registers) = registers().await;
    let index = Index::with_patience(registers.clone(), 0);
    let legacy = Legacy::open(registers.replicas.clone()).await.unwrap();
    let objects = Objects::new(registers, legacy);
    let put = async |path: &str| {
        let body = Body::Inline(Bytes::from_static(b"content"));
        let new = New { size: 7, body, mark: None, condition: &Condition::Always, guard: None };
        objects.write(path, new).await.unwrap();
    };
    for path in ["a/gone", "a/back", "b/gone"] {
        put(path).await;
    }
    for path in ["a/gone", "b/gone"] {
        objects.delete(path).await.unwrap();
    }
    // By the index that tidies nothing up yet.
    objects.index.mark("a/back").await.unwrap();
    let marked = index.names("a/").await.unwrap();
    assert!(marked.values().all(|mark| *mark != 0), "{marked:?}");
    index.tidy("").await.unwrap();
    assert_eq!(index.names("a/").await.unwrap(), BTreeMap::from([("back".to_owned(), 0)]));
    assert_eq!(index.names("").await.unwrap(), BTreeMap::from([("a/".to_owned(), 0)]));
}
