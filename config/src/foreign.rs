//! Configuration files of other programs, recognised so that the answer is one useful sentence.

use crate::problem::Problem;
use crate::settings::LogLevel;
use crate::yaml::{self, Entry, Node};

/// Keys under distribution's `storage` that are options, not drivers.
const STORAGE_OPTIONS: [&str; 5] = ["delete", "cache", "maintenance", "redirect", "tag"];

/// A problem that names the other program, or `None` for a file that may be ours.
pub(crate) fn recognise(entries: &[Entry], file: &str) -> Option<Problem> {
    distribution(entries, file).or_else(|| registry_web(entries, file))
}

/// `version: 0.1` with settings at the top level: the registry 2.x of Docker, now CNCF distribution.
fn distribution(entries: &[Entry], file: &str) -> Option<Problem> {
    let version = yaml::entry(entries, "version")?;
    let is_known = matches!(&version.node, Node::Scalar(scalar) if scalar.text == "0.1");
    let has_settings = ["storage", "http", "log"].iter().any(|name| yaml::entry(entries, name).is_some());
    (is_known && has_settings).then(|| {
        let message =
            "this is a configuration of distribution (registry 2.x), which this release does not read";
        Problem::error(file, "version", message).at(version.line).hint(format!(
            "write instead, as the whole file: {}{}",
            equivalent(entries),
            left_behind(entries)
        ))
    })
}

/// The flavor that stores where the other file stores, and what else to do where more is needed.
fn equivalent(entries: &[Entry]) -> String {
    let driver = child(entries, "storage")
        .and_then(|storage| storage.iter().find(|entry| !STORAGE_OPTIONS.contains(&entry.name.as_str())));
    let (mut keys, more) = match driver {
        Some(driver) if driver.name != "filesystem" => {
            let name = if driver.name == "azure" { "azureblob" } else { &driver.name };
            let more = format!(" with the keys that `docker-registry driver inspect {name}` lists");
            (format!("storage: {name}"), more)
        }
        driver => {
            let folder = driver.and_then(|driver| match &driver.node {
                Node::Map(options) => yaml::entry(options, "rootdirectory").and_then(text),
                _ => None,
            });
            let folder = flow_text(folder.unwrap_or("/var/lib/registry"));
            (format!("storage: local, storage_path: {folder}"), String::new())
        }
    };
    let address = child(entries, "http").and_then(|http| yaml::entry(http, "addr")).and_then(text);
    if let Some((host, port)) = address.and_then(|address| address.rsplit_once(':')) {
        if !host.is_empty() {
            keys.push_str(&format!(", host: \"{host}\""));
        }
        keys.push_str(&format!(", port: {port}"));
    }
    let level = child(entries, "log").and_then(|log| yaml::entry(log, "level")).and_then(text);
    if let Some(level) = level.and_then(LogLevel::parse) {
        keys.push_str(&format!(", loglevel: {level}"));
    }
    if let Some(tls) = child(entries, "http").and_then(|http| child(http, "tls")) {
        keys.push_str(&group("tls", &texts(tls, &TLS)));
    }
    if let Some(htpasswd) = htpasswd(entries) {
        keys.push_str(&format!(", auth: {{{}}}", &group("htpasswd", &texts(htpasswd, &HTPASSWD))[2..]));
    }
    format!("dev: {{{keys}}}{more}")
}

/// Keys of distribution's `http.tls` and `auth.htpasswd` that have the same name and meaning here.
const TLS: [&str; 2] = ["certificate", "key"];
const HTPASSWD: [&str; 2] = ["path", "realm"];

/// What asks for passwords in both programs. Without a file of them it asks for none here.
fn htpasswd(entries: &[Entry]) -> Option<&[Entry]> {
    let htpasswd = child(child(entries, "auth")?, "htpasswd")?;
    yaml::entry(htpasswd, "path").and_then(text).map(|_| htpasswd)
}

/// Those of the keys that are written, as `key: value`.
fn texts(entries: &[Entry], names: &[&str]) -> Vec<String> {
    let written = names.iter().filter_map(|name| Some((name, yaml::entry(entries, name).and_then(text)?)));
    written.map(|(name, value)| format!("{name}: {}", flow_text(value))).collect()
}

/// A further key of a mapping in braces, itself a mapping; nothing when that is empty.
fn group(name: &str, inner: &[String]) -> String {
    if inner.is_empty() { String::new() } else { format!(", {name}: {{{}}}", inner.join(", ")) }
}

/// A text as it can stand in a mapping in braces, in quotes where it needs them.
pub(crate) fn flow_text(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " /._-".contains(c);
    let begins_plain = text.starts_with(|c: char| c == '/' || c.is_ascii_alphabetic());
    if begins_plain && !text.ends_with(' ') && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}

/// What the other file asks for and the equivalent does not have, by name: nobody must believe that the new server
/// asks for tokens because the old one did.
fn left_behind(entries: &[Entry]) -> String {
    let mut names = Vec::new();
    for entry in entries {
        let inner = match &entry.node {
            Node::Map(inner) => inner.as_slice(),
            _ => &[],
        };
        match entry.name.as_str() {
            "version" => {}
            "storage" => {
                let options = inner.iter().filter(|option| STORAGE_OPTIONS.contains(&option.name.as_str()));
                names.extend(options.map(|option| format!("storage.{}", option.name)));
            }
            "http" => {
                names.extend(others(inner, "http", &["addr", "tls"]));
                let tls = child(inner, "tls").unwrap_or_default();
                names.extend(others(tls, "http.tls", &TLS));
            }
            "log" => names.extend(others(inner, "log", &["level"])),
            "auth" => {
                let carried: &[&str] = if htpasswd(entries).is_some() { &["htpasswd"] } else { &[] };
                names.extend(others(inner, "auth", carried).into_iter().filter(|name| name != "auth.none"));
                // `auth: silly`, without anything below.
                names.extend(text(entry).filter(|text| *text != "none").map(|text| format!("auth.{text}")));
            }
            other => names.push(other.to_owned()),
        }
    }
    if names.is_empty() {
        return String::new();
    }
    let loses_auth = htpasswd(entries).is_none() && names.iter().any(|name| name.starts_with("auth."));
    let warning =
        if loses_auth { ", and without auth.htpasswd everybody is let in without a password" } else { "" };
    format!("; not carried over: {}{warning}", names.join(", "))
}

fn others(entries: &[Entry], group: &str, known: &[&str]) -> Vec<String> {
    let unknown = entries.iter().filter(|entry| !known.contains(&entry.name.as_str()));
    unknown.map(|entry| format!("{group}.{}", entry.name)).collect()
}

/// The web interface hyper/docker-registry-web, whose file often lies beside a registry's.
fn registry_web(entries: &[Entry], file: &str) -> Option<Problem> {
    let registry = yaml::entry(entries, "registry")?;
    let Node::Map(keys) = &registry.node else { return None };
    let is_theirs = yaml::entry(keys, "url").is_some() && yaml::entry(keys, "storage").is_none();
    is_theirs.then(|| {
        let message = "this is a configuration of docker-registry-web, a web interface, not of a registry";
        Problem::error(file, "registry", message)
            .at(registry.line)
            .hint("a registry needs at least: dev: {storage: local, storage_path: /var/lib/registry}")
    })
}

fn child<'a>(entries: &'a [Entry], name: &str) -> Option<&'a [Entry]> {
    match &yaml::entry(entries, name)?.node {
        Node::Map(entries) => Some(entries),
        _ => None,
    }
}

fn text(entry: &Entry) -> Option<&str> {
    match &entry.node {
        Node::Scalar(scalar) if !scalar.is_null() => Some(&scalar.text),
        _ => None,
    }
}
