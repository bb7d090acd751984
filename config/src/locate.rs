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

/// Names of a folder that a message shows at most.
const MOST_NAMES: usize = 8;

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
        return read_named(Path::new(path), candidates);
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

/// The file that the variable names. The original took a relative name for one in its own folder of configurations,
/// wherever it was started; here the folders of the usual places stand for that one, the working folder first.
fn read_named(path: &Path, candidates: &[PathBuf]) -> Result<Located, Problem> {
    let folders: Vec<&Path> = candidates.iter().map(|candidate| parent(candidate)).collect();
    if path.is_absolute() || folders.is_empty() {
        return read(path).map_err(|error| unreadable(path, &error, VARIABLE));
    }
    for folder in &folders {
        let path = folder.join(path);
        match read(&path) {
            Ok(located) => return Ok(located),
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(unreadable(&path, &error, VARIABLE)),
        }
    }
    let looked: Vec<_> = folders.iter().map(|folder| folder.join(path).display().to_string()).collect();
    let there: Vec<_> = folders.iter().map(|folder| contents(folder)).collect();
    let hint = format!("named by {VARIABLE}; looked for {}; {}", looked.join(", "), there.join("; "));
    Err(Problem::error(&path.display().to_string(), "", "the configuration file is missing").hint(hint))
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
        hints.push(contents(folder));
    }
    let problem = Problem::error(&name, "", message);
    if hints.is_empty() { problem } else { problem.hint(hints.join("; ")) }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What lies in a folder, for people who look for a file there: the YAML files first, and not more than a few.
fn contents(folder: &Path) -> String {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return if folder.is_dir() {
            format!("{} cannot be listed", folder.display())
        } else {
            format!("there is no folder {}", folder.display())
        };
    };
    let mut names: Vec<(bool, String)> = entries
        .filter_map(Result::ok)
        .map(|entry| {
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let name = entry.file_name().to_string_lossy().escape_debug().to_string();
            let is_yaml = name.ends_with(".yml") || name.ends_with(".yaml");
            (!is_yaml, if is_folder { format!("{name}/") } else { name })
        })
        .collect();
    names.sort();
    let more = names.len().saturating_sub(MOST_NAMES);
    let shown: Vec<String> = names.into_iter().take(MOST_NAMES).map(|(_, name)| name).collect();
    match (shown.is_empty(), more) {
        (true, _) => format!("{} is empty", folder.display()),
        (false, 0) => format!("{} has {}", folder.display(), shown.join(", ")),
        (false, more) => format!("{} has {} and {more} more", folder.display(), shown.join(", ")),
    }
}

fn nothing_found(candidates: &[PathBuf]) -> String {
    let looked: Vec<_> = candidates.iter().map(|path| path.display().to_string()).collect();
    let there: Vec<_> = candidates.iter().map(|path| contents(parent(path))).collect();
    format!(
        "no configuration file: looked for {}; {}; running the built-in sample (name a file with {VARIABLE})",
        looked.join(", "),
        there.join("; ")
    )
}
