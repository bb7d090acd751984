//! Which part of a file counts: the flavor.
//!
//! `SETTINGS_FLAVOR` names a key of the top level (default `dev`); set to nothing, the whole document is the
//! configuration. A file of 0.6 or 0.7, which has a `common` part and no merge keys, gets `common` merged
//! under the chosen flavor, as those versions did.

use crate::environment::Environment;
use crate::foreign;
use crate::keys::Key;
use crate::locate::Source;
use crate::merge;
use crate::problem::{Problem, Problems};
use crate::scalar::Scalar;
use crate::typed::Written;
use crate::yaml::{self, Entry, Node};

/// The flavor that runs when nothing names one.
pub(crate) const DEFAULT_FLAVOR: &str = "dev";

/// The part that other flavors build on.
const COMMON: &str = "common";

/// The keys of the chosen flavor. They may hold secrets, so there is no `Debug`.
#[derive(Clone)]
pub(crate) struct Flavor {
    /// Empty when the whole document is the configuration.
    pub(crate) name: String,
    /// The file's name for messages.
    pub(crate) file: String,
    /// The line of the flavor's name.
    pub(crate) line: Option<usize>,
    pub(crate) entries: Vec<Entry>,
}

/// Chooses the flavor of a document. Notices are added to `notices`.
pub(crate) fn select(
    text: &str,
    file: &str,
    name: &str,
    notices: &mut Vec<String>,
) -> Result<Flavor, Problems> {
    let document = yaml::parse(text).map_err(|error| {
        let problem = Problem::error(file, "", format!("not valid YAML: {}", error.message)).at(error.line);
        if error.message.contains("duplicate entry with key \"<<\"") {
            problem.hint("merge several mappings with `<<: [*one, *two]`")
        } else {
            problem
        }
    })?;
    let merged = merge::resolve(document);
    let mut problems: Vec<Problem> = merged
        .invalid
        .iter()
        .map(|line| Problem::error(file, "<<", "a merge key takes a mapping or a list of mappings").at(*line))
        .collect();
    let Node::Map(entries) = merged.node else {
        let message = "this is not a configuration: the top level is no mapping";
        return Err(Problem::error(file, "", message).into());
    };
    if let Some(problem) = foreign::recognise(&entries, file) {
        return Err(problem.into());
    }
    let flavor = match choose(&entries, file, name) {
        Ok(flavor) => flavor,
        Err(problem) => {
            problems.push(problem);
            return Err(Problems(problems).sorted());
        }
    };
    if !problems.is_empty() {
        return Err(Problems(problems).sorted());
    }
    if merged.found_any || name.is_empty() || name == COMMON {
        return Ok(flavor);
    }
    Ok(with_common(flavor, &entries, notices))
}

fn choose(entries: &[Entry], file: &str, name: &str) -> Result<Flavor, Problem> {
    let flavor = |line, entries| Flavor { name: name.to_owned(), file: file.to_owned(), line, entries };
    if name.is_empty() {
        return Ok(flavor(None, entries.to_vec()));
    }
    match yaml::entry(entries, name) {
        Some(Entry { node: Node::Map(keys), line, .. }) => Ok(flavor(*line, keys.clone())),
        Some(Entry { line, .. }) => {
            Err(Problem::error(file, name, "a flavor is a mapping of keys to values").at(*line))
        }
        None => {
            Err(Problem::error(file, "", format!("the flavor {name} is missing")).hint(existing(entries)))
        }
    }
}

/// What could have been chosen instead.
fn existing(entries: &[Entry]) -> String {
    let flavors: Vec<&str> = entries
        .iter()
        .filter(|entry| entry.name != COMMON && matches!(entry.node, Node::Map(_)))
        .map(|entry| entry.name.as_str())
        .collect();
    match flavors.as_slice() {
        [] => "the file has no flavor; with SETTINGS_FLAVOR set to nothing the whole file is one".to_owned(),
        [only] => format!("the file has only {only}: set SETTINGS_FLAVOR={only}"),
        several => format!("the file has {}: choose one with SETTINGS_FLAVOR", several.join(", ")),
    }
}

/// Where a key stands in a mapping, into which it is put when it is not there.
fn position(entries: &mut Vec<Entry>, name: &str) -> usize {
    entries.iter().position(|entry| entry.name == name).unwrap_or_else(|| {
        let node = Node::Map(Vec::new());
        entries.push(Entry { name: name.to_owned(), plain: true, line: None, node });
        entries.len() - 1
    })
}

fn with_common(mut flavor: Flavor, entries: &[Entry], notices: &mut Vec<String>) -> Flavor {
    if let Some(Entry { node: Node::Map(common), .. }) = yaml::entry(entries, COMMON) {
        for entry in common {
            merge::add_missing(&mut flavor.entries, entry.clone());
        }
        notices.push(format!(
            "{}: the file has no merge keys, so `common` is merged under flavor {} as docker-registry 0.6 and 0.7 did",
            flavor.file, flavor.name
        ));
    }
    flavor
}

impl Flavor {
    /// A flavor in which nothing is written.
    pub(crate) fn empty() -> Flavor {
        let file = Source::CommandLine.to_string();
        Flavor { name: String::new(), file, line: None, entries: Vec::new() }
    }

    /// Whether no file stands behind it.
    pub(crate) fn is_command_line(&self) -> bool {
        self.file == Source::CommandLine.to_string()
    }

    /// Writes a dotted key over what is there. The text goes through a variable of the snapshot that no
    /// process can have, so that it is typed like a variable's and its origin can be told.
    pub(crate) fn override_key(&mut self, name: &str, text: String, environment: &mut Environment) {
        let variable = format!("--set {name}");
        let reference = Scalar { text: format!("_env:{variable}"), plain: true };
        environment.set(&variable, text);
        let mut entries = &mut self.entries;
        let mut rest = name;
        while let Some((group, inner)) = rest.split_once('.') {
            rest = inner;
            let index = position(entries, group);
            if !matches!(entries[index].node, Node::Map(_)) {
                entries[index].node = Node::Map(Vec::new());
            }
            let Node::Map(children) = &mut entries[index].node else { return };
            entries = children;
        }
        let index = position(entries, rest);
        entries[index].node = Node::Scalar(reference);
        entries[index].line = None;
    }

    /// Keys with a path below `group` whose group is written as something else than a mapping.
    pub(crate) fn check_groups<'a>(
        &self,
        keys: impl Iterator<Item = &'a Key> + Clone,
        environment: &Environment,
    ) -> Vec<Problem> {
        let mut problems = Vec::new();
        for entry in &self.entries {
            let mut children = keys.clone().filter(|key| is_below(&key.name, &entry.name)).peekable();
            if children.peek().is_none() || keys.clone().any(|key| key.name == entry.name) {
                continue;
            }
            let written = Written::entry(entry, environment);
            let fits = written.node.is_ok_and(|node| node.is_null() || matches!(node, Node::Map(_)));
            if !fits {
                let names: Vec<_> = children.map(|key| &key.name[entry.name.len() + 1..]).collect();
                let problem = Problem::error(&self.file, entry.name.clone(), "this is not a mapping");
                problems.push(problem.at(entry.line).hint(format!("its keys are {}", names.join(", "))));
            }
        }
        problems
    }
}

/// True when `name` is a key inside `group`: `cache.host` is below `cache`.
pub(crate) fn is_below(name: &str, group: &str) -> bool {
    name.strip_prefix(group).is_some_and(|rest| rest.starts_with('.'))
}
