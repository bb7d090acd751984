//! The database of the index: 0.9.1's two tables, and one of our own beside them.
//!
//! `version` and `repository` are what SQLAlchemy makes of 0.9.1's models, so that either server goes on with what
//! the other wrote; 0.9.1 does not see the third table. That one holds what 0.9.1's tables have no room for: in
//! which API the repository was seen, what its image said of itself, and how often the row has changed.
//!
//! Everything here blocks. A write is one `BEGIN IMMEDIATE` transaction and takes effect only on rows that are as
//! the caller saw them before it looked at the storage; so that a late writer never undoes a later look. Servers with
//! different storages may share a database, as flavor `dev` makes them do: each claims the rows of its own store, sees no
//! others, and takes a row away only when no other store claims it. The journal
//! mode is left as it is found: 0.9.1 and file systems without shared memory know the default one only.

use std::{
    collections::HashSet,
    env, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use docker_registry_config::IndexDatabase;
use rusqlite::{
    Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior,
    config::DbConfig,
    params,
    types::{Type, ValueRef},
};

use super::query::{Found, Hit, Query};

/// How long another process may hold the database before this one gives up.
const BUSY: Duration = Duration::from_secs(5);
/// The one version of the schema.
const VERSION: i64 = 1;
/// How long it is remembered that a repository is gone. Longer than any look at the storage takes.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS version (id INTEGER NOT NULL, PRIMARY KEY (id));
    CREATE TABLE IF NOT EXISTS repository (
        id INTEGER NOT NULL, name VARCHAR(95) NOT NULL, description VARCHAR(100),
        PRIMARY KEY (id), UNIQUE (name));
    CREATE TABLE IF NOT EXISTS docker_registry_repository (
        name TEXT NOT NULL, store TEXT NOT NULL, in_v1 INTEGER NOT NULL, in_v2 INTEGER NOT NULL,
        image_description TEXT, revision INTEGER NOT NULL, changed INTEGER NOT NULL,
        PRIMARY KEY (name, store));";

/// All rows that are not another store's alone, but for the V1 repositories whose short name is a V2 repository.
const VISIBLE: &str = "
    SELECT shown.name, shown.description FROM repository AS shown
    LEFT JOIN docker_registry_repository AS own ON own.name = shown.name AND own.store = ?1
    WHERE (own.in_v1 OR own.in_v2
           OR NOT EXISTS (SELECT 1 FROM docker_registry_repository AS other
                          WHERE other.name = shown.name AND (other.in_v1 OR other.in_v2)))
      AND NOT (substr(shown.name, 1, 8) = 'library/' AND coalesce(own.in_v2, 0) = 0
               AND instr(substr(shown.name, 9), '/') = 0
               AND EXISTS (SELECT 1 FROM docker_registry_repository AS short
                           WHERE short.name = substr(shown.name, 9) AND short.store = ?1 AND short.in_v2))";

/// Names of this store's repositories, and of those that no store has claimed: 0.9.1 wrote them.
const NAMES: &str = "
    SELECT name FROM docker_registry_repository WHERE store = ?1 AND (in_v1 OR in_v2)
    UNION
    SELECT name FROM repository AS listed
    WHERE NOT EXISTS (SELECT 1 FROM docker_registry_repository AS other
                      WHERE other.name = listed.name AND (other.in_v1 OR other.in_v2))";

/// What this store's claim to a name says.
const OWN: &str = "SELECT revision, in_v1, in_v2, image_description FROM docker_registry_repository \
                   WHERE name = ?1 AND store = ?2";

/// Whether any store claims a name.
const CLAIMED: &str = "SELECT EXISTS (SELECT 1 FROM docker_registry_repository \
                       WHERE name = ?1 AND (in_v1 OR in_v2))";

/// Takes away the row of a name that no other store claims.
const DELETE_UNCLAIMED: &str = "DELETE FROM repository WHERE name = ?1 AND NOT EXISTS \
    (SELECT 1 FROM docker_registry_repository AS other \
     WHERE other.name = ?1 AND other.store <> ?2 AND (other.in_v1 OR other.in_v2))";

/// Why the index cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{path} cannot be opened: {reason}{}", slashes(.path))]
    Open { path: PathBuf, reason: String },
    #[error("it has version {0}, and only version 1 is known here")]
    Version(i64),
    #[error("the database holds something else than a search index: {0}")]
    SomethingElse(rusqlite::Error),
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

/// What to say about a path that is not where its writer thinks.
fn slashes(path: &Path) -> String {
    if path.is_absolute() {
        return String::new();
    }
    let folder = env::current_dir().map(|folder| folder.display().to_string()).unwrap_or_default();
    format!(
        "; three slashes name a file relative to the working directory {folder}, an absolute path has four: \
         sqlite:////{}",
        path.display()
    )
}

/// What the index says of a repository.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    listed: bool,
    revision: Option<i64>,
    in_v1: bool,
    pub(super) in_v2: bool,
    image_description: Option<String>,
}

/// What a look at the storage showed.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) name: String,
    /// What the index said before the look.
    pub(super) seen: Seen,
    pub(super) in_v1: bool,
    pub(super) in_v2: bool,
    /// What the image says of itself, where that was looked at.
    pub(super) description: Option<Option<String>>,
    /// Whether looks that began earlier are overtaken by this one, even when it only confirms what the index says.
    pub(super) overtakes: bool,
}

/// What came of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Unchanged,
    Added,
    Changed,
    Removed,
    /// Somebody else changed the row since it was seen: look again.
    Overtaken,
}

impl Change {
    /// Whether there is anything to write.
    pub(super) fn is_written(&self) -> bool {
        self.overtakes || self.alters()
    }

    fn alters(&self) -> bool {
        let said = self.description.as_ref().is_some_and(|said| *said != self.seen.image_description);
        let exists = self.in_v1 || self.in_v2;
        exists != self.seen.listed
            || said
            || (exists || self.seen.revision.is_some())
                && (self.seen.revision.is_none()
                    || (self.in_v1, self.in_v2) != (self.seen.in_v1, self.seen.in_v2))
    }
}

/// An open database.
pub(super) struct Database {
    connection: Connection,
    /// Whose repositories these are.
    store: String,
    /// The file and what it was when it was opened.
    file: Option<(PathBuf, Option<(u64, u64)>)>,
    /// Whether nobody has indexed anything here yet.
    pub(super) is_new: bool,
}

impl Database {
    pub(super) fn open(place: &IndexDatabase, store: &str) -> Result<Self, Error> {
        let (connection, file) = match place {
            IndexDatabase::Memory => (Connection::open_in_memory()?, None),
            IndexDatabase::File(path) => {
                let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
                    | OpenFlags::SQLITE_OPEN_CREATE
                    | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let connection = Connection::open_with_flags(path, flags).map_err(|error| {
                    let reason = why_not(path).unwrap_or_else(|| error.to_string());
                    Error::Open { path: path.clone(), reason }
                })?;
                (connection, Some((path.clone(), identity(path))))
            }
        };
        connection.busy_timeout(BUSY)?;
        // The file may be anybody's, in /tmp for example. What it holds is data and never runs.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
        let mut database = Self { connection, store: store.to_owned(), file, is_new: false };
        database.prepare_schema()?;
        Ok(database)
    }

    /// Whether the path still leads to the file that is open here.
    pub(super) fn is_current(&self) -> bool {
        self.file.as_ref().is_none_or(|(path, opened)| identity(path) == *opened)
    }

    /// Makes the tables that are missing, unless those that are there are somebody else's.
    fn prepare_schema(&mut self) -> Result<(), Error> {
        if is_complete(&self.connection)? {
            check_columns(&self.connection)?;
        } else {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute_batch(SCHEMA)?;
            let is_new = check_version(&transaction)?.is_none();
            if is_new {
                transaction.execute("INSERT INTO version (id) VALUES (?1)", [VERSION])?;
            }
            check_columns(&transaction)?;
            transaction.commit()?;
            self.is_new = is_new;
        }
        if let Some((path, opened)) = &mut self.file {
            // The file may be as new as its first table.
            *opened = identity(path);
        }
        Ok(())
    }

    /// What the index says of a repository now.
    pub(super) fn read(&self, name: &str) -> Result<Seen, Error> {
        read(&self.connection, &self.store, name)
    }

    /// Names of everything that the index knows.
    pub(super) fn names(&self) -> Result<HashSet<String>, Error> {
        let mut statement = self.connection.prepare(NAMES)?;
        let mut rows = statement.query([&self.store])?;
        let mut names = HashSet::new();
        while let Some(row) = rows.next()? {
            names.extend(text(row.get_ref(0)?));
        }
        Ok(names)
    }

    pub(super) fn find(&self, query: &Query, visible: &impl Fn(&str) -> bool) -> Result<Found, Error> {
        let mut statement = self.connection.prepare(VISIBLE)?;
        let mut rows = statement.query([&self.store])?;
        let mut failure = None;
        let hits = std::iter::from_fn(|| {
            loop {
                let row = match rows.next() {
                    Ok(row) => row?,
                    Err(error) => {
                        failure = Some(error);
                        return None;
                    }
                };
                // What is no text was written by neither server.
                if let Some(name) = row.get_ref(0).ok().and_then(text) {
                    let description = row.get_ref(1).ok().and_then(text);
                    return Some(Hit { name, description });
                }
            }
        });
        let found = query.answer(hits.filter(|hit| visible(&hit.name)));
        match failure {
            None => Ok(found),
            Some(error) => Err(error.into()),
        }
    }

    /// Writes what was seen, all of it or nothing.
    pub(super) fn apply(&mut self, changes: &[Change]) -> Result<Vec<Outcome>, Error> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let outcomes = changes
            .iter()
            .map(|change| write(&transaction, &self.store, change))
            .collect::<Result<_, _>>()?;
        transaction.commit()?;
        Ok(outcomes)
    }

    /// Whether repositories are remembered that have been gone for long.
    pub(super) fn remembers_gone(&self) -> Result<bool, Error> {
        let sql = "SELECT EXISTS (SELECT 1 FROM docker_registry_repository \
                   WHERE NOT in_v1 AND NOT in_v2 AND changed < ?1)";
        Ok(self.connection.query_row(sql, [long_ago()], |row| row.get(0))?)
    }

    /// Forgets them.
    pub(super) fn forget_gone(&mut self) -> Result<(), Error> {
        let sql = "DELETE FROM docker_registry_repository WHERE NOT in_v1 AND NOT in_v2 AND changed < ?1";
        self.connection.execute(sql, [long_ago()])?;
        Ok(())
    }
}

/// Whether all tables are there, and filled as far as they are at the beginning.
fn is_complete(connection: &Connection) -> Result<bool, Error> {
    let tables: i64 = connection.query_row(
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' \
         AND name IN ('version', 'repository', 'docker_registry_repository')",
        [],
        |row| row.get(0),
    )?;
    Ok(tables == 3 && check_version(connection)?.is_some())
}

fn check_version(connection: &Connection) -> Result<Option<i64>, Error> {
    let version = connection.query_row("SELECT max(id) FROM version", [], |row| row.get::<_, Option<i64>>(0));
    match version {
        Ok(Some(VERSION)) => Ok(Some(VERSION)),
        Ok(Some(other)) => Err(Error::Version(other)),
        Ok(None) => Ok(None),
        Err(error) if is_mistaken(&error) => Err(Error::SomethingElse(error)),
        Err(error) => Err(error.into()),
    }
}

/// Whether the tables have the columns that are used here.
fn check_columns(connection: &Connection) -> Result<(), Error> {
    for columns in [
        "SELECT id, name, description FROM repository LIMIT 0",
        "SELECT name, store, in_v1, in_v2, image_description, revision, changed \
         FROM docker_registry_repository LIMIT 0",
    ] {
        connection.prepare(columns).map_err(|error| match error {
            error if is_mistaken(&error) => Error::SomethingElse(error),
            error => error.into(),
        })?;
    }
    Ok(())
}

/// Whether the tables are not those that the statement was written for.
fn is_mistaken(error: &rusqlite::Error) -> bool {
    matches!(
        error,
        rusqlite::Error::SqlInputError { .. }
            | rusqlite::Error::InvalidColumnType(_, _, Type::Text | Type::Blob)
    )
}

fn read(connection: &Connection, store: &str, name: &str) -> Result<Seen, Error> {
    let is_listed: bool =
        connection.query_row("SELECT count(*) FROM repository WHERE name = ?1", [name], |row| row.get(0))?;
    let own = connection.query_row(OWN, [name, store], |row| {
        let (in_v1, in_v2): (bool, bool) = (row.get(1)?, row.get(2)?);
        let listed = is_listed && (in_v1 || in_v2);
        Ok(Seen { listed, revision: Some(row.get(0)?), in_v1, in_v2, image_description: row.get(3)? })
    });
    let mut seen = own.optional()?.unwrap_or_default();
    if is_listed && !seen.listed {
        // A row that no store claims is anybody's.
        seen.listed = !connection.query_row(CLAIMED, [name], |row| row.get::<_, bool>(0))?;
    }
    Ok(seen)
}

fn write(transaction: &Transaction<'_>, store: &str, change: &Change) -> Result<Outcome, Error> {
    let now_seen = read(transaction, store, &change.name)?;
    if now_seen.revision != change.seen.revision {
        return Ok(Outcome::Overtaken);
    }
    let change = &Change { seen: now_seen, ..change.clone() };
    if !change.is_written() {
        return Ok(Outcome::Unchanged);
    }
    let (name, seen) = (&change.name, &change.seen);
    let exists = change.in_v1 || change.in_v2;
    let said = change.description.as_ref().unwrap_or(&seen.image_description);
    let outcome = match (seen.listed, exists) {
        (false, true) => {
            let insert = "INSERT OR IGNORE INTO repository (name, description) VALUES (?1, ?2)";
            // Another store may have one of this name; the image that was pushed last describes both.
            if transaction.execute(insert, params![name, said])? == 0 && said.is_some() {
                let update = "UPDATE repository SET description = ?2 WHERE name = ?1";
                transaction.execute(update, params![name, said])?;
            }
            Outcome::Added
        }
        (true, false) => {
            transaction.execute(DELETE_UNCLAIMED, [name, store])?;
            Outcome::Removed
        }
        (true, true) if *said != seen.image_description => {
            // What somebody wrote by hand stays until an image says something new.
            let update = match said {
                Some(_) => "UPDATE repository SET description = ?2 WHERE name = ?1",
                None => "UPDATE repository SET description = NULL WHERE name = ?1 AND description = ?2",
            };
            let text = said.as_ref().or(seen.image_description.as_ref());
            transaction.execute(update, params![name, text])?;
            Outcome::Changed
        }
        _ => Outcome::Unchanged,
    };
    let remembered = if exists { said.as_ref() } else { None };
    transaction.execute(
        "INSERT OR REPLACE INTO docker_registry_repository \
         (name, store, in_v1, in_v2, image_description, revision, changed) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![name, store, change.in_v1, change.in_v2, remembered, seen.revision.unwrap_or(0) + 1, now()],
    )?;
    Ok(outcome)
}

fn text(value: ValueRef<'_>) -> Option<String> {
    value.as_str().ok().map(str::to_owned)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs().cast_signed()
}

/// The time before which what is gone need not be remembered.
fn long_ago() -> i64 {
    now().saturating_sub(REMEMBERED.as_secs().cast_signed())
}

/// Which file a path leads to.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// SQLite says only that it cannot; the system says why.
fn why_not(path: &Path) -> Option<String> {
    let error = match std::fs::OpenOptions::new().read(true).write(true).open(path) {
        Ok(_) => return None,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty())?;
            if folder.is_dir() {
                return Some(format!("no file can be made in {}", folder.display()));
            }
            return Some(format!("there is no folder {}", folder.display()));
        }
        Err(error) => error,
    };
    Some(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(place: &IndexDatabase, store: &str) -> Database {
        Database::open(place, store).expect("it opens")
    }

    fn change(database: &Database, name: &str, in_v1: bool, description: Option<&str>) -> Change {
        let seen = database.read(name).expect("it is read");
        let description = Some(description.map(str::to_owned));
        Change { name: name.to_owned(), seen, in_v1, in_v2: false, description, overtakes: false }
    }

    fn found(database: &Database) -> Vec<String> {
        let found = database.find(&Query::all(""), &|_| true).expect("it is searched");
        found.hits.into_iter().map(|hit| hit.name).collect()
    }

    #[test]
    fn a_look_that_was_overtaken_writes_nothing() {
        let mut database = open(&IndexDatabase::Memory, "s");
        let looked = change(&database, "a/b", false, None);
        let pushed = change(&database, "a/b", true, None);
        assert_eq!(database.apply(&[pushed]).unwrap(), [Outcome::Added]);
        assert_eq!(database.apply(std::slice::from_ref(&looked)).unwrap(), [Outcome::Overtaken]);
        assert_eq!(found(&database), ["a/b"]);
        let deleted = change(&database, "a/b", false, None);
        let late = change(&database, "a/b", true, None);
        assert_eq!(database.apply(&[deleted]).unwrap(), [Outcome::Removed]);
        assert_eq!(database.apply(&[late, looked]).unwrap(), [Outcome::Overtaken; 2]);
        assert_eq!(found(&database), Vec::<String>::new());
    }

    #[test]
    fn stores_that_share_a_database_see_and_remove_their_own_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = IndexDatabase::File(folder.path().join("x.db"));
        let (mut one, mut two) = (open(&place, "one"), open(&place, "two"));
        for (database, names) in [(&mut one, ["a/only", "a/both"]), (&mut two, ["b/only", "a/both"])] {
            let changes = names.map(|name| change(database, name, true, None));
            assert_eq!(database.apply(&changes).unwrap(), [Outcome::Added; 2]);
        }
        assert_eq!(
            (found(&one).join(" "), found(&two).join(" ")),
            ("a/both a/only".into(), "a/both b/only".into())
        );
        assert_eq!(one.names().unwrap(), HashSet::from(["a/only", "a/both"].map(str::to_owned)));
        let gone = change(&one, "a/both", false, None);
        one.apply(&[gone]).unwrap();
        assert_eq!((found(&one).join(" "), found(&two).join(" ")), ("a/only".into(), "a/both b/only".into()));
        // What 0.9.1 wrote is anybody's until somebody has looked.
        one.connection.execute("INSERT INTO repository (name) VALUES ('c/old')", []).unwrap();
        assert!(found(&one).contains(&"c/old".to_owned()) && found(&two).contains(&"c/old".to_owned()));
        let gone = change(&two, "c/old", false, None);
        assert_eq!(two.apply(&[gone]).unwrap(), [Outcome::Removed]);
        assert_eq!(found(&one), ["a/only"]);
    }

    #[test]
    fn what_is_invisible_is_neither_found_nor_counted() {
        let mut database = open(&IndexDatabase::Memory, "s");
        for name in ["a/secret", "a/open"] {
            let pushed = change(&database, name, true, None);
            database.apply(&[pushed]).unwrap();
        }
        let found = database.find(&Query::all("a"), &|name| !name.contains("secret")).unwrap();
        assert_eq!((found.total, found.hits.len()), (1, 1));
    }
}
