//! Which file is the configuration, and what to say when there is none.

use crate::environment::Environment;
use crate::problem::Problem;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The variable that names the file.
const VARIABLE: &str = "DOCKER_REGISTRY_CONFIG";

/// Files looked for when nothing names one, in this order.
pub(crate) const CANDIDATES: [&str; 3] =
    ["./config.yml", "/etc/docker-registry/config.yml", "/etc/docker/registry/config.yml"];

/// No configuration is larger; a device or a wrong file must not fill the memory.
const LARGEST: u64 = 4 << 20;

/// Where a configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, as it was named.
    File(PathBuf),
    /// The sample that is part of the program, [`crate::SAMPLE`].
    BuiltInSample,
    /// Nothing but what was typed, and what needs no file.
    CommandLine,
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => path.display().fmt(formatter),
            Source::BuiltInSample => formatter.write_str("built-in sample"),
            Source::CommandLine => formatter.write_str("command line"),
        }
    }
}

/// A configuration's text with its source.
pub(crate) struct Located {
    pub(crate) source: Source,
    pub(crate) text: String,
}

/// Finds and reads the file: the one named by the caller, else by the variable, else the first candidate
/// that exists, else the built-in sample with a notice.
pub(crate) fn locate(
    file: Option<&Path>,
    environment: &Environment,
    candidates: &[PathBuf],
    notices: &mut Vec<String>,
) -> Result<Located, Problem> {
    if let Some(path) = file {
        return read(path).map_err(|error| unreadable(path, &error, ""));
    }
    let named = environment
        .get(VARIABLE)
        .map_err(|error| Problem { file: None, ..Problem::error("", VARIABLE, error.to_string()) })?;
    if let Some(path) = named.filter(|path| !path.is_empty()) {
        let path = Path::new(path);
        return read(path).map_err(|error| unreadable(path, &error, VARIABLE));
    }
    for path in candidates {
        match read(path) {
            Ok(located) => return Ok(located),
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(unreadable(path, &error, "")),
        }
    }
    notices.push(nothing_found(candidates));
    Ok(Located { source: Source::BuiltInSample, text: crate::SAMPLE.to_owned() })
}

fn read(path: &Path) -> io::Result<Located> {
    let mut text = String::new();
    let read = File::open(path)?.take(LARGEST + 1).read_to_string(&mut text)?;
    if read as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 4 MiB"));
    }
    Ok(Located { source: Source::File(path.to_owned()), text })
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn unreadable(path: &Path, error: &io::Error, variable: &str) -> Problem {
    let name = path.display().to_string();
    let is_folder = path.is_dir();
    let message = match error.kind() {
        _ if is_folder => "this is a folder, not a file".to_owned(),
        _ if is_absent(error) => "the configuration file is missing".to_owned(),
        io::ErrorKind::InvalidData => "the configuration file is not UTF-8 text".to_owned(),
        _ => format!("the configuration file cannot be read: {error}"),
    };
    let mut hints = Vec::new();
    if !variable.is_empty() {
        hints.push(format!("named by {variable}"));
    }
    if is_folder {
        hints.push("docker makes a folder where a mounted file does not exist".to_owned());
    }
    if is_folder || is_absent(error) {
        let folder = if is_folder { path } else { parent(path) };
        hints.push(match yaml_files(folder) {
            files if !files.is_empty() => format!("{} has {}", folder.display(), files.join(", ")),
            _ if folder.is_dir() => format!("{} has no YAML file", folder.display()),
            _ => format!("there is no folder {}", folder.display()),
        });
    }
    let problem = Problem::error(&name, "", message);
    if hints.is_empty() { problem } else { problem.hint(hints.join("; ")) }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The names of the YAML files in a folder, sorted; empty when it cannot be listed.
fn yaml_files(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".yml") || name.ends_with(".yaml"))
        .collect();
    names.sort();
    names
}

fn nothing_found(candidates: &[PathBuf]) -> String {
    let looked: Vec<_> = candidates.iter().map(|path| path.display().to_string()).collect();
    let mut lying = Vec::new();
    for path in candidates {
        let folder = parent(path);
        lying.extend(yaml_files(folder).into_iter().map(|name| folder.join(name).display().to_string()));
    }
    let there = match lying.as_slice() {
        [] => "no other YAML file lies in those folders".to_owned(),
        files => format!("in those folders lie {}", files.join(", ")),
    };
    format!(
        "no configuration file: looked for {}; {there}; running the built-in sample (name a file with {VARIABLE})",
        looked.join(", ")
    )
}
