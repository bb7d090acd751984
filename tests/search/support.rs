//! Servers with a search index, pushes with descriptions, and databases seen through Python's own SQLite.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use docker_registry_tests::{
    artifacts,
    http::Client,
    process::{PATIENCE, Process, run, wait_for},
    server::{Chosen, Launch, Place, Server},
    v1::{self, Image},
    v2,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The annotation and label that describes an image.
pub(crate) const DESCRIPTION: &str = "org.opencontainers.image.description";

/// A folder with a configuration and, unless it says otherwise, the database of the index.
pub(crate) struct Folder {
    folder: TempDir,
    backend: &'static str,
    database: String,
    storage: String,
    more: &'static str,
}

impl Folder {
    /// The database is a file in the folder.
    pub(crate) fn new() -> Folder {
        let folder = tempfile::Builder::new().prefix("search-test-").tempdir().expect("a folder");
        // An absolute path begins with the fourth slash.
        let database = format!("sqlite:///{}", folder.path().join("search.db").display());
        Folder { folder, backend: "sqlalchemy", database, storage: "_env:STORAGE_PATH".to_owned(), more: "" }
    }

    /// The database is at another URL.
    pub(crate) fn with_database(self, url: &str) -> Folder {
        Folder { database: url.to_owned(), ..self }
    }

    /// The `search_backend` is another, or none when it is empty.
    pub(crate) fn with_backend(self, backend: &'static str) -> Folder {
        Folder { backend, ..self }
    }

    /// The storage is this folder, whatever place a server is started in.
    pub(crate) fn with_storage(self, storage: &Path) -> Folder {
        Folder { storage: storage.display().to_string(), ..self }
    }

    /// The flavor has another line.
    pub(crate) fn with(self, more: &'static str) -> Folder {
        Folder { more, ..self }
    }

    /// The file of the database.
    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("search.db")
    }

    /// Another file in the folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the configuration, once, and says where it is.
    pub(crate) fn configuration(&self) -> PathBuf {
        let file = self.file("config.yml");
        if file.exists() {
            return file;
        }
        let text = format!(
            "dev:\n  storage: local\n  storage_path: {}\n  standalone: true\n  \
             search_backend: '{}'\n  sqlalchemy_index_database: '{}'\n  {}\n",
            self.storage, self.backend, self.database, self.more
        );
        fs::write(&file, text).expect("the configuration can be written");
        file
    }

    /// Starts a server on a storage.
    pub(crate) fn serve(&self, place: Place) -> Server {
        let chosen = Chosen {
            configuration: self.configuration(),
            flavor: "dev".to_owned(),
            drivers: artifacts::folder().to_owned(),
        };
        Server::launch(Launch { chosen: Some(chosen), ..Launch::under_test() }, place)
    }

    /// The program, on a storage.
    pub(crate) fn program(&self, storage: &Path) -> Command {
        let mut command = Command::new(artifacts::folder().join("docker-registry"));
        command
            .env_clear()
            .env("DOCKER_REGISTRY_DRIVER_PATH", artifacts::folder())
            .env("STORAGE_PATH", storage)
            .env("REGISTRY_ADMIN", "off")
            .current_dir(self.folder.path());
        command
    }

    /// Runs `search-index rebuild`.
    pub(crate) fn rebuild(&self, storage: &Path) -> Output {
        let mut command = self.program(storage);
        command.args(["search-index", "rebuild", "--config"]).arg(self.configuration());
        command.output().expect("the program runs")
    }
}

/// Runs SQL as 0.9.1 does, by Python's module, and returns all rows as JSON.
pub(crate) fn sql(database: &Path, statements: &str) -> Value {
    const SCRIPT: &str = "\
import json, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=60)
rows, statement = [], ''
for piece in sys.argv[2].split(';'):
    statement += piece + ';'
    if sqlite3.complete_statement(statement):
        rows += connection.execute(statement).fetchall()
        statement = ''
connection.commit()
print(json.dumps(rows))";
    let text = run(Command::new("python3").args(["-c", SCRIPT]).arg(database).arg(statements));
    serde_json::from_str(&text).expect("rows are JSON")
}

/// A process that holds the database as `EXCLUSIVE` (nobody else reads or writes) or `IMMEDIATE` (nobody else
/// writes), until it is dropped.
pub(crate) fn lock(folder: &Folder, how: &str) -> Process {
    const SCRIPT: &str = "\
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
connection.execute('BEGIN ' + sys.argv[2])
print('locked', flush=True)
time.sleep(3600)";
    let mut command = Command::new("python3");
    command.args(["-c", SCRIPT]).arg(folder.database()).arg(how);
    let process = Process::start("python3", &mut command, &folder.file("lock.log"));
    wait_for("the database is locked", PATIENCE, || process.log().contains("locked").then_some(()));
    process
}

/// The schema as SQLAlchemy makes it for 0.9.1.
pub(crate) const SCHEMA_OF_0_9_1: &str = "\
CREATE TABLE version (id INTEGER NOT NULL, PRIMARY KEY (id));
CREATE TABLE repository (id INTEGER NOT NULL, name VARCHAR(95) NOT NULL, description VARCHAR(100), \
PRIMARY KEY (id), UNIQUE (name))";

/// Pushes an image of its own with V1.
#[track_caller]
pub(crate) fn push_v1(client: &Client, repository: &str) {
    let image = Image::new(None, repository.as_bytes().to_vec());
    v1::push(client, repository, "latest", &[&image]);
}

/// Pushes an image with V2, described by an annotation or a label where that is said. Returns its digest.
#[track_caller]
pub(crate) fn push_v2(
    client: &Client,
    repository: &str,
    tag: &str,
    annotation: Option<&str>,
    label: Option<&str>,
) -> String {
    let labels: Value = label.map_or_else(|| json!({"x": "y"}), |label| json!({DESCRIPTION: label}));
    let configuration = json!({"os": "linux", "config": {"Labels": labels}, "tag": tag}).to_string();
    let digest = v2::push_blob(client, repository, configuration.as_bytes());
    let annotations = annotation.map_or_else(|| json!({}), |text| json!({DESCRIPTION: text}));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest,
            "size": configuration.len(),
        },
        "layers": [],
        "annotations": annotations,
    });
    put_manifest(client, repository, tag, &manifest)
}

/// Pushes a manifest or an index of OCI's types. Returns its digest.
#[track_caller]
pub(crate) fn put_manifest(client: &Client, repository: &str, tag: &str, manifest: &Value) -> String {
    let media_type = manifest["mediaType"].as_str().expect("a media type");
    let target = format!("/v2/{repository}/manifests/{tag}");
    let text = manifest.to_string();
    let answer = client.send("PUT", &target, &[("Content-Type", media_type)], text.as_bytes()).expect(201);
    answer.header("docker-content-digest").expect("a digest").to_owned()
}

/// Asks until the answer to a search is this one. A loaded machine may take its time.
#[track_caller]
pub(crate) fn expect_answer(client: &Client, query: &str, expected: &str) {
    let start = Instant::now();
    loop {
        let answer = client.get(&format!("/v1/search{query}"));
        if answer.status == 200 && answer.text() == expected {
            return;
        }
        if start.elapsed() > PATIENCE {
            assert_eq!((answer.status, answer.text().as_str()), (200, expected), "{query}");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Asks until a search finds these names, with their descriptions.
#[track_caller]
pub(crate) fn expect_found(client: &Client, query: &str, expected: &[(&str, Option<&str>)]) {
    let start = Instant::now();
    loop {
        let found = found(client, query);
        if found.iter().map(|(name, text)| (name.as_str(), text.as_deref())).eq(expected.iter().copied()) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{query}: {found:?} instead of {expected:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// What a search finds; nothing when it is not answered.
pub(crate) fn found(client: &Client, query: &str) -> Vec<(String, Option<String>)> {
    let answer = client.get(&format!("/v1/search{query}"));
    if answer.status != 200 {
        return Vec::new();
    }
    let answer: Value = serde_json::from_slice(&answer.body).expect("the answer is JSON");
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let results = answer["results"].as_array().expect("results");
    results.iter().map(|hit| (text(&hit["name"]).expect("a name"), text(&hit["description"]))).collect()
}

/// Waits until a server has compared the index with its storage once.
pub(crate) fn await_comparison(server: &Server) {
    wait_for("the index is up to date", PATIENCE, || {
        server.process().log().contains("the search index is up to date").then_some(())
    });
}

/// Lines of the log that warn about the index.
pub(crate) fn warnings(server: &Server) -> Vec<String> {
    let log = server.process().log();
    log.lines()
        .filter(|line| line.contains(" WARN ") && line.contains("search index"))
        .map(str::to_owned)
        .collect()
}
