//! Where the search index is: `search_backend` and `sqlalchemy_index_database`.
//!
//! The URL is SQLAlchemy's, whose slashes are easily miscounted: the third one ends an empty host and belongs to
//! no path. Only SQLite is known. No message repeats the URL: one of another database holds a password.

use crate::reader::Reader;
use std::path::PathBuf;

/// The database of the search index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexDatabase {
    /// `sqlite://`: in memory, gone when the server ends.
    Memory,
    /// An SQLite file. A relative path counts from the working directory.
    File(PathBuf),
}

const HINT: &str = "sqlite:////var/lib/docker-registry/search.db, with four slashes before an absolute path";

impl Reader<'_> {
    /// `None` when nothing is indexed.
    pub(crate) fn search(&mut self) -> Option<IndexDatabase> {
        let backend = self.text("search_backend")?;
        match backend.to_ascii_lowercase().as_str() {
            // What Python took for false, and what people write for it.
            "" | "false" | "no" | "none" | "off" => return None,
            "sqlalchemy" => {}
            _ => {
                let message =
                    format!("`{backend}` is not a search backend; modules of Python are not loaded");
                self.problem("search_backend", message, "sqlalchemy, or nothing");
                return None;
            }
        }
        let url = self.text("sqlalchemy_index_database").unwrap_or_default();
        match parse(&url) {
            Ok(database) => Some(database),
            Err(message) => {
                self.problem("sqlalchemy_index_database", message, HINT);
                None
            }
        }
    }
}

fn parse(url: &str) -> Result<IndexDatabase, String> {
    let Some((dialect, rest)) = url.trim().split_once("://") else {
        return Err("this is not the URL of a database".to_owned());
    };
    let scheme = dialect.split('+').next().unwrap_or_default().to_ascii_lowercase();
    if scheme != "sqlite" {
        let is_word = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let named = if is_word { format!("a `{scheme}` database") } else { "this database".to_owned() };
        return Err(format!("{named} cannot hold the search index, only SQLite can"));
    }
    if rest.contains('?') {
        return Err("options after `?` are not known".to_owned());
    }
    match rest.strip_prefix('/') {
        None if rest.is_empty() => Ok(IndexDatabase::Memory),
        None => Err("SQLite has no host: a relative path has three slashes, an absolute one four".to_owned()),
        Some("" | ":memory:") => Ok(IndexDatabase::Memory),
        Some(path) => Ok(IndexDatabase::File(PathBuf::from(path))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_count_as_in_sqlalchemy() {
        let file = |path: &str| Ok(IndexDatabase::File(PathBuf::from(path)));
        assert_eq!(parse("sqlite:////tmp/x.db"), file("/tmp/x.db"));
        assert_eq!(parse("sqlite:///tmp/x.db"), file("tmp/x.db"));
        assert_eq!(parse("sqlite+pysqlite:///x.db"), file("x.db"));
        for memory in ["sqlite://", "sqlite:///", "sqlite:///:memory:"] {
            assert_eq!(parse(memory), Ok(IndexDatabase::Memory), "{memory}");
        }
    }

    #[test]
    fn what_is_not_sqlite_is_refused_without_its_password() {
        for (url, word) in [
            ("mysql://root:hunter2@db/index", "`mysql`"),
            ("postgresql+psycopg2://u:hunter2@db/index", "`postgresql`"),
            ("u:hunter2@db://x", "this database"),
            ("/tmp/hunter2.db", "URL"),
            ("sqlite://hunter2/x.db", "three slashes"),
            ("sqlite:////x.db?hunter2=1", "options"),
        ] {
            let refusal = parse(url).expect_err(url);
            assert!(refusal.contains(word) && !refusal.contains("hunter2"), "{refusal}");
        }
    }
}
