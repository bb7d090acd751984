//! What only the local driver promises: its files, its restarts, its settings.

use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use docker_registry_driver_api::{Bytes, Capability, Condition, ErrorKind, ListRequest, Prefix, ReadRange};
use serde_json::json;

use crate::{
    running::Running,
    subject::{
        Subject, all_below, all_children, append, body, call, commit, fails, get, missing, open_local,
        open_upload, path, prefix, put,
    },
};

const LONG_AGO: Duration = Duration::from_secs(24 * 60 * 60);

/// The only folder in `folder`.
fn only_child(folder: &Path) -> PathBuf {
    let mut children: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(children.len(), 1, "{children:?}");
    children.remove(0)
}

fn make_old(place: &Path) {
    File::open(place).unwrap().set_modified(SystemTime::now() - LONG_AGO).unwrap();
}

#[tokio::test]
async fn an_object_is_a_file_of_the_same_name() {
    let subject = Subject::local().await;
    put(&subject.driver, "a/b", "content").await;
    assert_eq!(fs::read(subject.root().join("a/b")).unwrap(), b"content");
    // And a file that something else put there is an object.
    fs::write(subject.root().join("a/c"), "other").unwrap();
    assert_eq!(get(&subject.driver, "a/c").await, "other");
    subject.assert_nothing_is_left().await;
}

#[tokio::test]
async fn an_upload_goes_on_in_another_process() {
    let subject = Subject::local().await;
    let state = open_upload(&subject.driver).await;
    let state = append(&subject.driver, &state, 0, "first ").await;
    let second = subject.second().await;
    assert!(second.capabilities().has(Capability::ResumableUploads));
    let state = append(&second, &state, 6, "second ").await;
    let third = subject.second().await;
    let state = append(&third, &state, 13, "third").await;
    fails(subject.driver.append(&call(), &state, 6, body("x")).await, ErrorKind::Conflict);
    commit(&subject.driver, &state, "a").await;
    assert_eq!(get(&third, "a").await, "first second third");
}

#[tokio::test]
async fn another_process_overtakes_a_running_appender() {
    let subject = Subject::local().await;
    let state = open_upload(&subject.driver).await;
    let state = append(&subject.driver, &state, 0, "start ").await;
    let stale = Running::start(&subject.driver, &state, 6).await;
    stale.send_much().await;
    let second = subject.second().await;
    let state = append(&second, &state, 6, "winner").await;
    stale.send_much().await;
    stale.fails(&[ErrorKind::Conflict]).await;
    commit(&second, &state, "a").await;
    assert_eq!(get(&subject.driver, "a").await, "start winner");
    subject.assert_nothing_is_left().await;
}

/// The second appender works on a copy, because the first one holds the data.
#[tokio::test]
async fn a_dropped_append_takes_its_copy_with_it() {
    let subject = Subject::local().await;
    let state = open_upload(&subject.driver).await;
    let state = append(&subject.driver, &state, 0, "start ").await;
    let upload = only_child(&subject.root().join(".docker-registry/uploads"));
    let files = || {
        let mut names: Vec<_> = fs::read_dir(&upload)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let stale = Running::start(&subject.driver, &state, 6).await;
    // A child process that another test starts shares the locks until it runs its program. Then it is
    // this one that has the copy.
    let before = files();
    let dropped = Running::start(&subject.driver, &state, 6).await;
    assert_eq!(files().len(), 3, "{:?}", files());
    dropped.cancel().await;
    // The file goes on another thread.
    for _ in 0..1000 {
        if files() != before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    assert_eq!(files(), before);
    stale.fails(&[ErrorKind::Conflict]).await;
    let state = append(&subject.driver, &state, 6, "end").await;
    commit(&subject.driver, &state, "a").await;
    assert_eq!(get(&subject.driver, "a").await, "start end");
    subject.assert_nothing_is_left().await;
}

#[tokio::test]
async fn what_a_crashed_append_wrote_does_not_count() {
    let subject = Subject::local().await;
    let uploads = subject.root().join(".docker-registry/uploads");
    let state = open_upload(&subject.driver).await;
    let state = append(&subject.driver, &state, 0, "durable ").await;
    let upload = only_child(&uploads);
    // As a process leaves it that is killed while it writes: more bytes than the record counts, a copy
    // that nobody refers to, and a claim.
    fs::write(upload.join("data"), "durable and then something else").unwrap();
    fs::write(upload.join("data.0123456789abcdef"), "durable copy").unwrap();
    let mut record = fs::read(upload.join("record")).unwrap();
    record[1024..1032].fill(7);
    fs::write(upload.join("record"), record).unwrap();

    let pending = subject.driver.list_uploads(&call(), SystemTime::now() + LONG_AGO, None, 9).await.unwrap();
    assert_eq!(pending.uploads[0].size, 8);
    let second = subject.second().await;
    let state = append(&second, &state, 8, "end").await;
    fs::OpenOptions::new()
        .append(true)
        .open(upload.join("data"))
        .and_then(|mut data| std::io::Write::write_all(&mut data, b"more"))
        .unwrap();
    commit(&second, &state, "a").await;
    assert_eq!(get(&second, "a").await, "durable end");
    subject.assert_nothing_is_left().await;
}

#[tokio::test]
async fn acknowledged_bytes_that_are_missing_are_noticed() {
    let subject = Subject::local().await;
    let state = open_upload(&subject.driver).await;
    let state = append(&subject.driver, &state, 0, "durable").await;
    let upload = only_child(&subject.root().join(".docker-registry/uploads"));
    fs::write(upload.join("data"), "dur").unwrap();
    fails(subject.driver.append(&call(), &state, 7, body("x")).await, ErrorKind::Corrupt);
    fails(subject.driver.commit(&call(), &state, &path("a"), &Condition::Always).await, ErrorKind::Corrupt);
    assert!(missing(&subject.driver, "a").await);
    subject.driver.abort(&call(), &state).await.unwrap();
    subject.assert_nothing_is_left().await;
}

/// A commit that died right behind its rename: the object is there, the record still is.
#[tokio::test]
async fn a_commit_after_a_commit_that_crashed_finds_no_upload() {
    let subject = Subject::local().await;
    let state = open_upload(&subject.driver).await;
    let state = append(&subject.driver, &state, 0, "content").await;
    let upload = only_child(&subject.root().join(".docker-registry/uploads"));
    fs::rename(upload.join("data"), subject.root().join("a")).unwrap();
    let second = subject.second().await;
    fails(second.commit(&call(), &state, &path("a"), &Condition::IfAbsent).await, ErrorKind::ConditionFailed);
    fails(second.commit(&call(), &state, &path("b"), &Condition::IfAbsent).await, ErrorKind::NotFound);
    fails(second.append(&call(), &state, 7, body("!")).await, ErrorKind::NotFound);
    assert_eq!(get(&second, "a").await, "content");
    let pending = second.list_uploads(&call(), SystemTime::now() + LONG_AGO, None, 9).await.unwrap();
    assert!(pending.uploads.is_empty());
    // The rest of it goes with a later start.
    assert!(upload.exists());
    make_old(&upload);
    let third = subject.second().await;
    assert!(!upload.exists());
    assert_eq!(get(&third, "a").await, "content");
}

/// On file systems without a rename that refuses to replace, a commit links the data file first.
#[tokio::test]
async fn a_file_with_two_names_is_not_written_to() {
    let subject = Subject::local().await;
    let state = open_upload(&subject.driver).await;
    let state = append(&subject.driver, &state, 0, "content").await;
    let upload = only_child(&subject.root().join(".docker-registry/uploads"));
    fs::hard_link(upload.join("data"), subject.root().join("a")).unwrap();
    fails(subject.driver.append(&call(), &state, 7, body("!")).await, ErrorKind::NotFound);
    assert_eq!(get(&subject.driver, "a").await, "content");
    subject.driver.abort(&call(), &state).await.unwrap();
    assert_eq!(get(&subject.driver, "a").await, "content");
    // The same in a rename of two names of one file, which the system call alone leaves undone.
    fs::hard_link(subject.root().join("a"), subject.root().join("b")).unwrap();
    subject.driver.rename(&call(), &path("a"), &path("b")).await.unwrap();
    assert_eq!(all_below(&subject.driver, "", 9).await, ["b"]);
    subject.assert_nothing_is_left().await;
}

#[tokio::test]
async fn leftovers_of_dead_instances_go_and_those_of_living_ones_stay() {
    let subject = Subject::local().await;
    let temporary = subject.root().join(".docker-registry/tmp");
    let living = only_child(&temporary);
    fs::write(living.join("in-use"), "x").unwrap();
    make_old(&living);
    let [dead, fresh] = ["dead", "fresh"].map(|name| {
        let folder = temporary.join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("lock"), "").unwrap();
        fs::write(folder.join("half-written"), "x").unwrap();
        folder
    });
    make_old(&dead);
    let second = subject.second().await;
    assert!(!dead.exists());
    assert!(living.join("in-use").exists() && fresh.join("half-written").exists());
    // An instance that ends well leaves nothing.
    second.close(Duration::from_secs(1)).await;
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 2);
}

#[tokio::test]
async fn the_drivers_own_names_cannot_be_addressed() {
    let subject = Subject::local().await;
    let store = &subject.driver;
    put(store, "a", "x").await;
    for own in [".docker-registry", ".docker-registry/tmp", "a/b/.docker-registry-x", ".docker-registry-x/y"]
    {
        fails(store.get(&call(), &path(own), 9).await, ErrorKind::InvalidPath);
        fails(store.head(&call(), &path(own)).await, ErrorKind::InvalidPath);
        fails(store.stat(&call(), &prefix(own)).await, ErrorKind::InvalidPath);
        fails(store.read(&call(), &path(own), ReadRange::Full).await, ErrorKind::InvalidPath);
        fails(store.put(&call(), &path(own), Bytes::new(), &Condition::Always).await, ErrorKind::InvalidPath);
        fails(store.delete(&call(), &path(own)).await, ErrorKind::InvalidPath);
        fails(store.delete_tree(&call(), &prefix(own)).await, ErrorKind::InvalidPath);
        fails(store.copy(&call(), &path("a"), &path(own)).await, ErrorKind::InvalidPath);
        fails(store.rename(&call(), &path(own), &path("a")).await, ErrorKind::InvalidPath);
    }
    assert_eq!(all_below(store, "", 9).await, ["a"]);
    subject.assert_nothing_is_left().await;
}

#[tokio::test]
async fn links_are_followed_by_readers_only() {
    let subject = Subject::local().await;
    let store = &subject.driver;
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("file"), "outside").unwrap();
    put(store, "real/a", "inside").await;
    symlink(elsewhere.path(), subject.root().join("folder")).unwrap();
    symlink(elsewhere.path().join("file"), subject.root().join("object")).unwrap();
    symlink("nowhere", subject.root().join("dangling")).unwrap();
    symlink("a", subject.root().join("real/relative")).unwrap();
    assert_eq!(get(store, "folder/file").await, "outside");
    assert_eq!(get(store, "object").await, "outside");
    assert!(missing(store, "dangling").await);
    let all = ["folder/file", "object", "real/a", "real/relative"];
    assert_eq!(all_below(store, "", 2).await, all);
    assert_eq!(all_children(store, "", 9).await, ["folder", "object", "real"]);
    // A write and a move act on the link.
    put(store, "object", "replaced").await;
    store.rename(&call(), &path("real/relative"), &path("moved")).await.unwrap();
    assert_eq!(get(store, "moved").await, "inside");
    assert_eq!(get(store, "real/a").await, "inside");
    fails(store.delete(&call(), &path("folder")).await, ErrorKind::NotFound);
    for condition in [Condition::Always, Condition::IfAbsent] {
        let put = store.put(&call(), &path("folder"), Bytes::from("x"), &condition).await;
        fails(put, ErrorKind::Conflict);
    }
    store.delete_tree(&call(), &prefix("folder")).await.unwrap();
    assert_eq!(all_below(store, "", 9).await, ["moved", "object", "real/a"]);
    assert_eq!(fs::read(elsewhere.path().join("file")).unwrap(), b"outside");
    subject.assert_nothing_is_left().await;
}

/// An operator may have put part of the tree on another disk.
#[tokio::test]
async fn another_file_system_below_the_root_is_written_whole_as_well() {
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    let subject = Subject::local().await;
    let store = &subject.driver;
    let device = |place: &Path| fs::metadata(place).unwrap().dev();
    assert_ne!(device(elsewhere.path()), device(&subject.root()), "this test needs two file systems");
    symlink(elsewhere.path(), subject.root().join("other")).unwrap();
    let condition = Condition::IfAbsent;
    let etag = store.put(&call(), &path("other/x/a"), Bytes::from("content"), &condition).await.unwrap();
    assert_eq!(store.head(&call(), &path("other/x/a")).await.unwrap().etag, etag);
    let again = store.put(&call(), &path("other/x/a"), Bytes::from("content"), &condition).await;
    fails(again, ErrorKind::ConditionFailed);
    let state = open_upload(store).await;
    let state = append(store, &state, 0, "uploaded").await;
    commit(store, &state, "other/x/b").await;
    store.rename(&call(), &path("other/x/b"), &path("here")).await.unwrap();
    assert_eq!(get(store, "here").await, "uploaded");
    store.rename(&call(), &path("here"), &path("other/y/c")).await.unwrap();
    assert_eq!(all_below(store, "", 9).await, ["other/x/a", "other/y/c"]);
    // A copy that a crash left beside its target is not listed, and goes with the tree.
    fs::write(elsewhere.path().join("x/.docker-registry-left"), "half").unwrap();
    assert_eq!(all_children(store, "other/x", 9).await, ["other/x/a"]);
    assert_eq!(store.delete_tree(&call(), &prefix("other/x")).await.unwrap(), 1);
    store.delete(&call(), &path("other/y/c")).await.unwrap();
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    subject.assert_nothing_is_left().await;
}

/// A copy to another file system lies beside its target until it is complete.
#[tokio::test]
async fn a_copy_that_a_crash_left_goes_with_a_later_write() {
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    let subject = Subject::local().await;
    symlink(elsewhere.path(), subject.root().join("other")).unwrap();
    let [old, fresh] = ["old", "fresh"].map(|name| {
        let file = elsewhere.path().join(format!(".docker-registry-{name}"));
        fs::write(&file, "half").unwrap();
        file
    });
    make_old(&old);
    put(&subject.driver, "other/a", "content").await;
    assert!(!old.exists(), "what a crash left stays");
    assert!(fresh.exists(), "another writer may be working on it");
    assert_eq!(get(&subject.driver, "other/a").await, "content");
}

#[tokio::test]
async fn empty_folders_are_not_in_the_way() {
    let subject = Subject::local().await;
    fs::create_dir_all(subject.root().join("a/b/c")).unwrap();
    fails(subject.driver.stat(&call(), &prefix("a")).await, ErrorKind::NotFound);
    assert!(all_below(&subject.driver, "", 9).await.is_empty());
    let children = subject.driver.list(&call(), &ListRequest::children(Prefix::root())).await.unwrap();
    assert!(children.entries.is_empty(), "{children:?}");
    put(&subject.driver, "a", "content").await;
    assert_eq!(get(&subject.driver, "a").await, "content");
    fs::create_dir_all(subject.root().join("d/e")).unwrap();
    let put = subject.driver.put(&call(), &path("d"), Bytes::from("x"), &Condition::IfAbsent).await;
    put.unwrap();
    subject.assert_nothing_is_left().await;
}

#[tokio::test]
async fn names_that_no_path_can_have_are_not_listed() {
    use std::os::unix::ffi::OsStrExt;
    let subject = Subject::local().await;
    put(&subject.driver, "a/b", "x").await;
    fs::write(subject.root().join("a").join(std::ffi::OsStr::from_bytes(b"\xff")), "x").unwrap();
    fs::write(subject.root().join("a/new\nline"), "x").unwrap();
    assert_eq!(all_below(&subject.driver, "", 9).await, ["a/b"]);
    // They go with the tree.
    assert_eq!(subject.driver.delete_tree(&call(), &prefix("a")).await.unwrap(), 1);
    subject.assert_nothing_is_left().await;
}

/// Opening a named pipe to read waits for a writer. None will come.
#[tokio::test]
async fn a_named_pipe_is_not_an_object() {
    let subject = Subject::local().await;
    let made = Command::new("mkfifo").arg(subject.root().join("pipe")).status().unwrap();
    assert!(made.success());
    assert!(missing(&subject.driver, "pipe").await);
    fails(subject.driver.get(&call(), &path("pipe"), 9).await, ErrorKind::NotFound);
    fails(subject.driver.read(&call(), &path("pipe"), ReadRange::Full).await, ErrorKind::NotFound);
    assert!(all_children(&subject.driver, "", 9).await.is_empty());
    subject.assert_nothing_is_left().await;
}

/// More new folders than are synced at a time.
#[tokio::test]
async fn deep_paths_are_made_at_once() {
    let subject = Subject::local().await;
    let deep = vec!["folder"; 100].join("/");
    put(&subject.driver, &deep, "content").await;
    assert_eq!(get(&subject.driver, &deep).await, "content");
    assert_eq!(all_below(&subject.driver, "", 9).await, [deep]);
    subject.assert_nothing_is_left().await;
}

#[tokio::test]
async fn modes_are_set_as_configured() {
    let folder = tempfile::tempdir().unwrap();
    let settings = json!({ "storage_path": folder.path(), "file_mode": "0666", "directory_mode": "2777" });
    let store = open_local(settings).await.unwrap();
    put(&store, "a/b", "x").await;
    let state = open_upload(&store).await;
    commit(&store, &state, "a/c").await;
    let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("a"), mode("a/b"), mode("a/c")), (0o2777, 0o666, 0o666));
}

#[tokio::test]
async fn wrong_settings_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    for (settings, key) in [
        (json!({ "storage_path": "" }), "storage_path"),
        (json!({ "storage_path": file }), "storage_path"),
        (json!({ "storage_path": file.join("below") }), "storage_path"),
        (json!({ "storage_path": folder.path(), "file_mode": "rw-r--r--" }), "file_mode"),
        (json!({ "storage_path": folder.path(), "directory_mode": "99999" }), "directory_mode"),
    ] {
        let error = open_local(settings).await.err().unwrap();
        assert_eq!(error.kind, ErrorKind::InvalidConfiguration);
        assert!(error.message.contains(key), "{error}");
    }
    // A root that does not exist yet is made.
    let store = open_local(json!({ "storage_path": folder.path().join("new/root") })).await.unwrap();
    put(&store, "a", "x").await;
    assert!(folder.path().join("new/root/a").is_file());
}

#[tokio::test]
async fn a_storage_that_cannot_be_written_is_not_healthy() {
    let subject = Subject::local().await;
    fs::remove_dir_all(subject.root().join(".docker-registry")).unwrap();
    fails(subject.driver.health(&call()).await, ErrorKind::Unavailable);
    let put = subject.driver.put(&call(), &path("a"), Bytes::new(), &Condition::Always).await;
    fails(put, ErrorKind::Unavailable);
}
