//! A process that is killed while it writes: everything that it was told is there, and nothing else.
//!
//! The test starts its own binary again as the writer. The writer says on its standard output what the
//! driver has acknowledged; the test kills it at some moment, opens the folder and compares.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use docker_registry_driver_api::{ErrorKind, UploadState};
use serde_json::json;

use crate::subject::{all_below, append, body, call, commit, get, open_local, open_upload, put};

const WRITER_FOLDER: &str = "DOCKER_REGISTRY_TEST_WRITER_FOLDER";
const PIECE: usize = 300_000;

/// The content of every upload: the byte at a position follows from the position.
fn pattern(range: std::ops::Range<usize>) -> Vec<u8> {
    range.map(|at| (at ^ at >> 8 ^ at >> 16) as u8).collect()
}

fn object_content(number: usize) -> Vec<u8> {
    format!("object {number} ").repeat(1000 + number).into_bytes()
}

/// What the killed process runs. It writes until it is killed.
async fn write_for_ever(folder: &Path) {
    let store = open_local(json!({ "storage_path": folder })).await.unwrap();
    let acknowledge = |line: String| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush()).unwrap();
    };
    let mut state = open_upload(&store).await;
    let mut offset = 0;
    for number in 0.. {
        put(&store, &format!("objects/{}/{number}", number % 7), object_content(number)).await;
        acknowledge(format!("\nobject {number}"));
        let piece = body(pattern(offset..offset + PIECE));
        state = store.append(&call(), &state, offset as u64, piece).await.unwrap().state;
        offset += PIECE;
        acknowledge(format!("\nupload {offset} {}", std::str::from_utf8(state.as_bytes()).unwrap()));
    }
}

/// What the writer was told.
#[derive(Default)]
struct Acknowledged {
    objects: usize,
    offset: usize,
    state: String,
}

fn run_and_kill(folder: &Path, lines: usize) -> Acknowledged {
    let mut writer = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "crashes::a_killed_writer_leaves_what_was_acknowledged"])
        .env(WRITER_FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = Acknowledged::default();
    let mut output = BufReader::new(writer.stdout.take().unwrap()).lines();
    let mut read = 0;
    let mut take = |line: String| {
        let mut words = line.split(' ');
        match words.next() {
            Some("object") => acknowledged.objects = 1 + words.next().unwrap().parse::<usize>().unwrap(),
            Some("upload") => {
                acknowledged.offset = words.next().unwrap().parse().unwrap();
                acknowledged.state = words.next().unwrap().to_owned();
            }
            _ => return,
        }
        read += 1;
    };
    for line in output.by_ref().take(2 * lines + 4) {
        take(line.unwrap());
    }
    // The writer goes on meanwhile. It dies in the middle of something.
    writer.kill().unwrap();
    writer.wait().unwrap();
    output.for_each(|line| take(line.unwrap()));
    assert!(read >= lines, "the writer did not write");
    acknowledged
}

#[tokio::test]
async fn a_killed_writer_leaves_what_was_acknowledged() {
    // The test starts itself again as the writer.
    if let Some(folder) = env::var_os(WRITER_FOLDER) {
        return write_for_ever(Path::new(&folder)).await;
    }
    for lines in [3, 4, 11, 30] {
        let folder = tempfile::tempdir().unwrap();
        let acknowledged = run_and_kill(folder.path(), lines);
        let store = open_local(json!({ "storage_path": folder.path() })).await.unwrap();

        let found = all_below(&store, "", 1000).await;
        assert!(found.len() == acknowledged.objects || found.len() == acknowledged.objects + 1);
        for number in 0..found.len() {
            assert!(get(&store, &format!("objects/{}/{number}", number % 7)).await == object_content(number));
        }

        // The upload is where the last acknowledged state says, or one append further.
        let later = SystemTime::now() + Duration::from_secs(3600);
        let pending = store.list_uploads(&call(), later, None, 10).await.unwrap();
        let [upload] = pending.uploads.as_slice() else { panic!("{pending:?}") };
        let size = upload.size as usize;
        let state = UploadState::new(acknowledged.state).unwrap();
        let state = if size == acknowledged.offset {
            append(&store, &state, upload.size, "end").await
        } else {
            assert_eq!(size, acknowledged.offset + PIECE);
            let stale = store.append(&call(), &state, acknowledged.offset as u64, body("!")).await;
            assert_eq!(stale.unwrap_err().kind, ErrorKind::Conflict);
            append(&store, &upload.state, upload.size, "end").await
        };
        commit(&store, &state, "uploaded").await;
        let mut expected = pattern(0..size);
        expected.extend_from_slice(b"end");
        assert!(get(&store, "uploaded").await == expected);
    }
}
