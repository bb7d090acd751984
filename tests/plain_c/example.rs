//! The example as an author and an operator use it: looked at, checked, served, and used after a restart.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use docker_registry_driver_api::{
    Bytes, Condition, ErrorKind, ListRequest, Prefix, ReadRange, ReadingBody, UploadHint, byte_stream,
};
use docker_registry_tests::{
    artifacts,
    content::digest,
    server::{Chosen, Launch, Place, Server},
    v2,
};
use serde_json::Value;

use crate::building::{EXAMPLE, call, example, open_example, path};

/// Runs the program with the example in its search path. Returns its output after the expected success.
fn driver(arguments: &[&str]) -> String {
    let mut command = Command::new(artifacts::folder().join("docker-registry"));
    command.env_clear().env("DOCKER_REGISTRY_DRIVER_PATH", example()).arg("driver").args(arguments);
    let output = command.output().expect("the program runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn it_is_listed_and_inspected_like_any_other() {
    let listed = driver(&["list"]);
    let line = listed.lines().find(|line| line.starts_with("plain_files ")).expect("it is in the list");
    assert!(line.contains("0.1.0") && line.contains("API 1.2") && line.ends_with(EXAMPLE), "{line}");

    let inspected = driver(&["inspect", "plain-files"]);
    for part in
        ["plain_files 0.1.0: files in a folder", "Apache-2.0", "plain C functions", "root  (text, required"]
    {
        assert!(inspected.contains(part), "{part} is not in:\n{inspected}");
    }
    let root = tempfile::tempdir().unwrap();
    let set = format!("root={}", root.path().display());
    let document: Value =
        serde_json::from_str(&driver(&["inspect", "plain_files", "--json", "--set", &set])).expect("JSON");
    assert_eq!((&document["plain_c"], &document["nonblocking"]), (&true.into(), &false.into()));
    assert!(document["capabilities"].as_array().is_some_and(|all| all.contains(&"list-uploads".into())));
}

#[test]
fn it_passes_the_whole_suite() {
    let root = tempfile::tempdir().unwrap();
    let set = format!("root={}", root.path().join("store").display());
    let library = example().join(EXAMPLE);
    let output = driver(&["check", library.to_str().expect("UTF-8"), "--json", "--set", &set]);
    let report: Value = serde_json::from_str(&output).expect("JSON");
    assert_eq!(report["failed"], 0, "{output}");
    assert!(report["passed"].as_u64().is_some_and(|passed| passed > 0), "{output}");
}

#[test]
fn it_is_installed_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let drivers = folder.path().join("drivers");
    fs::create_dir(&drivers).unwrap();
    let library = example().join(EXAMPLE);
    let (library, drivers) = (library.to_str().expect("UTF-8"), drivers.to_str().expect("UTF-8"));
    let output = driver(&["install", library, "--folder", drivers]);
    assert!(output.contains("plain_files 0.1.0 is installed"), "{output}");
    assert!(output.contains("driver_sha256") && output.contains("  root "), "{output}");
}

fn server(folder: &Path, root: &Path, isolation: &str) -> Server {
    let configuration = folder.join("config.yml");
    let text = format!("c:\n  storage: plain-files\n  root: {}\n  isolation: {isolation}\n", root.display());
    fs::write(&configuration, text).expect("a file");
    let drivers = example().to_owned();
    let chosen = Some(Chosen { configuration, flavor: "c".to_owned(), drivers });
    Server::launch(Launch { chosen, ..Launch::under_test() }, Place::new())
}

#[test]
fn images_are_pushed_and_pulled_and_are_there_after_a_crash() {
    push_crash_and_pull("declared");
}

#[test]
fn the_same_with_the_driver_in_a_process_of_its_own() {
    push_crash_and_pull("process");
}

fn push_crash_and_pull(isolation: &str) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let server = server(folder.path(), &root, isolation);
    let client = server.client();
    let blobs: Vec<Vec<u8>> = [10_usize, 70_000, 3 << 20]
        .iter()
        .map(|size| (0..*size).map(|index| (index * 7 % 251) as u8).collect())
        .collect();
    let described: Vec<(String, u64)> =
        blobs.iter().map(|blob| (v2::push_blob(&client, "in/c", blob), blob.len() as u64)).collect();
    assert_eq!(described[2].0, digest(&blobs[2]));
    v2::push_manifest(&client, "in/c", "latest", &v2::manifest(&described)).expect(201);
    assert_eq!(v2::verify(&client, "in/c", "latest").len(), 4);
    assert_eq!(v2::tags(&client, "in/c"), ["latest"]);
    assert!(root.join("objects/docker/registry/v2").is_dir(), "the objects are files of this driver");

    // What a kill leaves of a write that is under way.
    let stores = paths_in(&root.join("temporary"));
    assert!(!stores.is_empty());
    for store in &stores {
        fs::write(store.join("unfinished"), "half a file").expect("a file");
    }
    let server = server.kill_and_restart();
    assert_eq!(v2::verify(&server.client(), "in/c", "latest").len(), 4);
    assert_eq!(stores.iter().find(|store| store.exists()), None, "files of a killed process stay");
    assert!(!paths_in(&root.join("temporary")).is_empty(), "the store that is open keeps its folder");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_store_keeps_its_temporary_files_and_a_closed_one_leaves_none() {
    let root = tempfile::tempdir().unwrap();
    let first = open_example(root.path()).await;
    let temporary = root.path().join("temporary");
    let [own] = &paths_in(&temporary)[..] else { panic!("one folder") };
    fs::write(own.join("under-way"), "half a file").unwrap();
    let second = open_example(root.path()).await;
    assert!(own.join("under-way").exists() && paths_in(&temporary).len() == 2);
    fs::remove_file(own.join("under-way")).unwrap();
    first.close(Duration::from_secs(60)).await;
    second.close(Duration::from_secs(60)).await;
    assert!(paths_in(&temporary).is_empty(), "{:?}", paths_in(&temporary));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_in_another_instance_and_the_stale_one_loses() {
    let root = tempfile::tempdir().unwrap();
    let first = open_example(root.path()).await;
    let state = first.open_upload(&call(), &UploadHint::default()).await.unwrap();
    let one = first.append(&call(), &state, 0, byte_stream([Bytes::from("one ")])).await.unwrap();

    let second = open_example(root.path()).await;
    let two = second.append(&call(), &one.state, 4, byte_stream([Bytes::from("two")])).await.unwrap();
    let late = first.append(&call(), &one.state, 4, byte_stream([Bytes::from("late")])).await.unwrap_err();
    assert_eq!(late.kind, ErrorKind::Conflict);
    let stale = first.commit(&call(), &one.state, &path("x"), &Condition::Always).await.unwrap_err();
    assert_eq!(stale.kind, ErrorKind::Conflict);

    let later = SystemTime::now() + Duration::from_secs(60);
    let pending = first.list_uploads(&call(), later, None, 10).await.unwrap();
    assert_eq!(pending.uploads.len(), 1);
    assert_eq!((pending.uploads[0].size, &pending.uploads[0].state), (7, &two.state));

    first.commit(&call(), &two.state, &path("folder/x"), &Condition::IfAbsent).await.unwrap();
    let content = second.get(&call(), &path("folder/x"), 100).await.unwrap().content;
    assert_eq!(content, "one two");
    let gone = second.append(&call(), &two.state, 7, byte_stream([])).await.unwrap_err();
    assert_eq!(gone.kind, ErrorKind::NotFound);
    assert!(first.list_uploads(&call(), later, None, 10).await.unwrap().uploads.is_empty());
    assert!(leftovers(root.path()).is_empty(), "{:?}", leftovers(root.path()));
}

fn paths_in(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
}

/// What lies in the folder of uploads and in the folders of temporary files, of which each open store has one.
fn leftovers(root: &Path) -> Vec<PathBuf> {
    let mut leftovers = paths_in(&root.join("uploads"));
    leftovers.extend(paths_in(&root.join("temporary")).iter().flat_map(|folder| paths_in(folder)));
    leftovers
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_conditional_writers_one_wins_and_files_are_handed_over() {
    let root = tempfile::tempdir().unwrap();
    let driver = open_example(root.path()).await;
    let tasks: Vec<_> = (0..16)
        .map(|number| {
            let driver = driver.clone();
            let content = Bytes::from(format!("writer {number}"));
            tokio::spawn(async move {
                driver.put(&call(), &path("a/b/c"), content, &Condition::IfAbsent).await.map(drop)
            })
        })
        .collect();
    let mut winners = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(()) => winners += 1,
            Err(error) => assert_eq!(error.kind, ErrorKind::ConditionFailed, "{error}"),
        }
    }
    assert_eq!(winners, 1);
    let reading = driver.read(&call(), &path("a/b/c"), ReadRange::From { offset: 7 }).await.unwrap();
    let ReadingBody::File(region) = reading.body else { panic!("this driver hands over files") };
    assert_eq!((region.offset, region.length), (7, reading.total_size - 7));
    // A tree that has been emptied leaves no folder behind.
    assert_eq!(driver.delete_tree(&call(), &Prefix::new("a").unwrap()).await.unwrap(), 1);
    assert!(driver.list(&call(), &ListRequest::children(Prefix::root())).await.unwrap().entries.is_empty());
    assert!(fs::read_dir(root.path().join("objects")).unwrap().next().is_none());
    assert!(leftovers(root.path()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_and_a_rename_onto_itself_change_not_even_the_tag() {
    let root = tempfile::tempdir().unwrap();
    let driver = open_example(root.path()).await;
    driver.put(&call(), &path("a/b"), Bytes::from("x"), &Condition::Always).await.unwrap();
    let before = driver.head(&call(), &path("a/b")).await.unwrap();
    driver.copy(&call(), &path("a/b"), &path("a/b")).await.unwrap();
    driver.rename(&call(), &path("a/b"), &path("a/b")).await.unwrap();
    let after = driver.head(&call(), &path("a/b")).await.unwrap();
    assert_eq!((after.size, after.modified, after.etag), (before.size, before.modified, before.etag));
    let error = driver.copy(&call(), &path("a/c"), &path("a/c")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deepest_tree_costs_neither_stack_nor_descriptors() {
    let root = tempfile::tempdir().unwrap();
    let driver = open_example(root.path()).await;
    let deepest = ["a"; 512].join("/");
    assert_eq!(deepest.len(), 1023);
    driver.put(&call(), &path(&deepest), Bytes::from("x"), &Condition::IfAbsent).await.unwrap();
    // Walks on many threads at once: one descriptor for each level would be too many.
    let walks: Vec<_> = (0..16)
        .map(|_| {
            let driver = driver.clone();
            tokio::spawn(async move {
                let page = driver.list(&call(), &ListRequest::below(Prefix::root())).await.unwrap();
                let children = driver.list(&call(), &ListRequest::children(Prefix::root())).await.unwrap();
                (page.entries[0].path.clone(), children.entries[0].path.clone())
            })
        })
        .collect();
    for walk in walks {
        assert_eq!(walk.await.unwrap(), (deepest.clone(), "a".to_owned()));
    }
    // Folders that are hollow do not keep an object away.
    fs::remove_file(root.path().join("objects").join(&deepest)).unwrap();
    driver.put(&call(), &path("a"), Bytes::from("y"), &Condition::IfAbsent).await.unwrap();
    driver.delete(&call(), &path("a")).await.unwrap();
    driver.put(&call(), &path(&deepest), Bytes::from("x"), &Condition::Always).await.unwrap();
    assert_eq!(driver.delete_tree(&call(), &Prefix::new("a").unwrap()).await.unwrap(), 1);
    assert!(fs::read_dir(root.path().join("objects")).unwrap().next().is_none());
}
