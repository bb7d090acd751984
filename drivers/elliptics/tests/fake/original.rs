//! Data that the original driver has left.

use docker_registry_driver_api::{
    Bytes, CallContext, Condition, Driver, ErrorKind, ListRequest, ObjectPath, Prefix, ReadRange,
    ReadingBody, Stat, collect,
};
use docker_registry_driver_elliptics::EllipticsDriver;
use libtest_mimic::Trial;

use crate::{cluster::FakeCluster, node::id_of, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("files_of_the_original_are_read_and_listed", read_and_listed),
        trial("the_newest_copy_of_a_file_of_the_original_counts", newest),
        trial("a_file_of_the_original_is_replaced_copied_and_deleted", replaced),
        trial("files_of_the_original_are_read_where_nodes_have_no_indexes", without_indexes),
        trial("where_the_original_has_left_nothing_its_indexes_are_asked_once", nothing_left),
    ]
}

fn path(path: &str) -> ObjectPath {
    ObjectPath::new(path).unwrap()
}

async fn content(driver: &EllipticsDriver, name: &str) -> Bytes {
    driver.get(&CallContext::default(), &path(name), 1 << 30).await.unwrap().content
}

async fn children(driver: &EllipticsDriver, folder: &str) -> Vec<(String, Option<u64>)> {
    let request = ListRequest::children(Prefix::new(folder).unwrap());
    let page = driver.list(&CallContext::default(), &request).await.unwrap();
    page.entries.into_iter().map(|entry| (entry.path, entry.object.map(|object| object.size))).collect()
}

async fn read_and_listed() {
    let cluster = FakeCluster::start(2, 2, true).await;
    let layer: Vec<u8> = (0..3_000_000).map(|place| (place / 7) as u8).collect();
    cluster.store_as_the_original("images/abc/json", b"{}", 5);
    cluster.store_as_the_original("images/abc/_checksum", b"", 5);
    cluster.store_as_the_original("images/abc/layer", &layer, 5);
    cluster.store_as_the_original("repositories/library/x/tag_latest", b"abc", 5);
    let driver = cluster.driver().await.unwrap();
    let call = CallContext::default();
    assert_eq!(content(&driver, "images/abc/json").await, "{}");
    assert_eq!(content(&driver, "images/abc/_checksum").await, "");
    assert_eq!(content(&driver, "images/abc/layer").await, layer);
    let window = ReadRange::Window { offset: 1_999_999, length: 5 };
    let reading = driver.read(&call, &path("images/abc/layer"), window).await.unwrap();
    assert_eq!((reading.total_size, reading.length), (3_000_000, 5));
    let ReadingBody::Stream(body) = reading.body else { panic!("a file") };
    assert_eq!(collect(body, 100).await.unwrap(), layer[1_999_999..2_000_004]);
    let top: Vec<_> = children(&driver, "").await;
    assert_eq!(top, [("images".to_owned(), None), ("repositories".to_owned(), None)]);
    let files = children(&driver, "images/abc").await;
    let expected = [("_checksum", 0), ("json", 2), ("layer", 3_000_000)];
    assert_eq!(files, expected.map(|(name, size)| (format!("images/abc/{name}"), Some(size))));
    let folder = driver.stat(&call, &Prefix::new("images/abc").unwrap()).await.unwrap();
    assert_eq!(folder, Stat::Folder);
    let error = driver.head(&call, &path("images/abc")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
}

async fn newest() {
    let cluster = FakeCluster::start(3, 1, true).await;
    cluster.store_as_the_original("a/file", b"old", 5);
    let id = id_of("DOCKER", "a/file");
    let new = crate::node::Stored { data: b"newer".to_vec(), seconds: 6, ..Default::default() };
    cluster.nodes[1].disk.lock().unwrap().objects.insert(id, new);
    let driver = cluster.driver().await.unwrap();
    assert_eq!(content(&driver, "a/file").await, "newer");
}

async fn replaced() {
    let cluster = FakeCluster::start(2, 1, true).await;
    for name in ["a/one", "a/two", "a/three"] {
        cluster.store_as_the_original(name, &b"content of the original ".repeat(9000), 5);
    }
    let driver = cluster.driver().await.unwrap();
    let call = CallContext::default();
    let exists = driver.put(&call, &path("a/one"), Bytes::from_static(b"x"), &Condition::IfAbsent).await;
    assert_eq!(exists.unwrap_err().kind, ErrorKind::ConditionFailed);
    let tag = driver.head(&call, &path("a/one")).await.unwrap().etag.unwrap();
    let new = Bytes::from_static(b"new");
    driver.put(&call, &path("a/one"), new.clone(), &Condition::IfMatch(tag)).await.unwrap();
    assert_eq!(content(&driver, "a/one").await, new);
    assert!(cluster.copies(&id_of("DOCKER", "a/one")).is_empty(), "the file of the original is gone");
    driver.rename(&call, &path("a/two"), &path("b/two")).await.unwrap();
    assert_eq!(content(&driver, "b/two").await, b"content of the original ".repeat(9000));
    assert_eq!(driver.head(&call, &path("a/two")).await.unwrap_err().kind, ErrorKind::NotFound);
    driver.delete(&call, &path("a/three")).await.unwrap();
    assert_eq!(children(&driver, "a").await, [("a/one".to_owned(), Some(3))]);
}

async fn without_indexes() {
    let cluster = FakeCluster::start(2, 1, false).await;
    cluster.store_as_the_original("a/file", b"old", 5);
    let driver = cluster.driver().await.unwrap();
    assert_eq!(content(&driver, "a/file").await, "old");
    // What is not in an index cannot be found by looking.
    assert_eq!(children(&driver, "a").await, []);
}

async fn nothing_left() {
    let cluster = FakeCluster::start(1, 1, true).await;
    let driver = cluster.driver().await.unwrap();
    let call = CallContext::default();
    for number in 0..20 {
        let content = Bytes::from_static(b"content");
        driver.put(&call, &path(&format!("{number}/a")), content, &Condition::Always).await.unwrap();
    }
    let requests = &cluster.nodes[0].behaviour.requests;
    requests.store(0, std::sync::atomic::Ordering::Relaxed);
    let request = ListRequest { recursive: true, ..ListRequest::below(Prefix::root()) };
    assert_eq!(driver.list(&call, &request).await.unwrap().entries.len(), 20);
    let count = requests.load(std::sync::atomic::Ordering::Relaxed);
    assert!(count < 100, "{count} requests for twenty folders and as many objects");
}
