//! What the tests share: loading a text with chosen variables, in a folder of its own.

use docker_registry_config::{Environment, Key, KeyKind, Loaded, Loader, Problems};
use std::path::PathBuf;
use tempfile::TempDir;

/// A configuration file called `config.yml` that lives as long as this value.
pub(crate) struct ConfigurationFile {
    folder: TempDir,
}

impl ConfigurationFile {
    pub(crate) fn new(text: &str) -> ConfigurationFile {
        let folder = TempDir::new().expect("a temporary folder");
        std::fs::write(folder.path().join("config.yml"), text).expect("a file in it");
        ConfigurationFile { folder }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("config.yml")
    }

    pub(crate) fn load(&self, variables: &[(&str, &str)]) -> Result<Loaded, Problems> {
        Loader::new(variables.iter().copied().collect()).file(Some(self.path())).load()
    }

    /// Messages without the folder, which differs from run to run.
    pub(crate) fn lines(&self, problems: &Problems) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        problems.0.iter().map(|problem| problem.to_string().replace(&folder, "")).collect()
    }
}

/// Loads a text that must be readable.
pub(crate) fn load(text: &str, variables: &[(&str, &str)]) -> Loaded {
    ConfigurationFile::new(text).load(variables).expect("a readable configuration")
}

/// All problems of a text, as lines.
pub(crate) fn problems(text: &str, keys: &[Key], variables: &[(&str, &str)]) -> Vec<String> {
    let file = ConfigurationFile::new(text);
    match file.load(variables) {
        Ok(loaded) => file.lines(&loaded.check(Some(keys))),
        Err(problems) => file.lines(&problems),
    }
}

/// The built-in sample.
pub(crate) fn sample(variables: &[(&str, &str)]) -> Loaded {
    let environment: Environment = variables.iter().copied().collect();
    Loader::new(environment).candidates(Vec::new()).load().expect("the sample is valid")
}

pub(crate) fn key(name: &'static str, kind: KeyKind) -> Key {
    Key::new(name, kind)
}
