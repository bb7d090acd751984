//! What was released does not change: today's layout against the recorded one.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use docker_registry_driver_api::abi::layout;
use docker_registry_tests::{artifacts, projects};
use serde_json::Value;

use crate::sources::RECORDING;

/// The recording of the plain C interface, which has no sources to build: C drivers have the header only.
const PLAIN_C: &str = "tests/compatibility/plain-c-1.0";

/// What a message can never get at its end: a side that does not know the field would not release it.
const OWNED: [&str; 7] =
    ["Region", "RawStream", "RawFile", "RawDriver", "RawInfo", "Answer", "Option<RawDriver>"];

/// Blocks of a layout text: the line that begins one, and the lines in it.
fn blocks(text: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut blocks = BTreeMap::new();
    for block in text.split("\n\n") {
        let mut lines = block.lines();
        let head = lines.next().expect("a block has a line");
        assert!(blocks.insert(head, lines.collect()).is_none(), "{head} stands twice");
    }
    blocks
}

/// What in `today` breaks a promise of `recorded`, a sentence each.
fn broken(recorded: &str, today: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let now = blocks(today);
    for (head, old) in blocks(recorded) {
        if head.starts_with("driver API") {
            continue;
        }
        let Some(new) = now.get(head) else {
            broken.push(format!("`{head}` is gone or differs"));
            continue;
        };
        let kind = head.split(' ').next().unwrap_or_default();
        match kind {
            "numbers" => {
                let missing = old.iter().filter(|line| !new.contains(line));
                broken.extend(missing.map(|line| format!("the number `{}` is gone or differs", line.trim())));
            }
            "documents" => broken.extend(broken_documents(&old, new)),
            _ => {
                for (index, line) in old.iter().enumerate() {
                    if new.get(index) != Some(line) {
                        let found = new.get(index).unwrap_or(&"nothing");
                        broken.push(format!(
                            "`{head}`: `{}` was released and is now `{}`",
                            line.trim(),
                            found.trim()
                        ));
                    }
                }
                let appended = new.get(old.len()..).unwrap_or_default();
                if kind == "frozen" && !appended.is_empty() {
                    broken.push(format!("`{head}` is frozen and got {}", appended.concat().trim()));
                }
                let owned = appended
                    .iter()
                    .filter(|line| OWNED.iter().any(|owned| line.ends_with(&format!(": {owned}"))));
                broken.extend(owned.map(|line| format!("`{head}` got the owned field `{}`", line.trim())));
            }
        }
    }
    broken
}

fn broken_documents(old: &[&str], new: &[&str]) -> Vec<String> {
    let parse = |line: &str| {
        let (name, document) = line.trim().split_once(": ").expect("a name and a document");
        (name.to_owned(), serde_json::from_str::<Value>(document).expect("JSON"))
    };
    let now: BTreeMap<String, Value> = new.iter().map(|line| parse(line)).collect();
    old.iter()
        .map(|line| parse(line))
        .filter(|(name, document)| !now.get(name).is_some_and(|new| holds(new, document)))
        .map(|(name, _)| format!("the document `{name}` lost or changed a field"))
        .collect()
}

/// Whether `new` has everything that `old` has.
fn holds(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            old.iter().all(|(key, value)| new.get(key).is_some_and(|new| holds(new, value)))
        }
        (Value::Array(new), Value::Array(old)) => {
            new.len() == old.len() && new.iter().zip(old).all(|(new, old)| holds(new, old))
        }
        _ => new == old,
    }
}

#[test]
fn todays_layout_is_the_released_one_or_extends_it() {
    let today = layout::text().expect("the layout");
    let copy = projects::target().join("layout-today.txt");
    fs::create_dir_all(projects::target()).expect("a folder");
    fs::write(&copy, &today).expect("a file");
    let recordings = [RECORDING, PLAIN_C].map(|recording| {
        let file = artifacts::workspace().join(recording).join("layout.txt");
        fs::read_to_string(file).expect("the recorded layout")
    });
    let broken: Vec<String> = recordings.iter().flat_map(|recorded| broken(recorded, &today)).collect();
    assert!(
        broken.is_empty(),
        "released drivers would break:\n  {}\nToday's layout is in {}",
        broken.join("\n  "),
        copy.display()
    );
}

#[test]
fn the_comparison_finds_what_breaks_a_driver_and_lets_the_rest_pass() {
    let recorded = layout::text().expect("the layout");
    assert!(broken(&recorded, &recorded).is_empty());
    let changed = |from: &str, to: &str| {
        assert_eq!(recorded.matches(from).count(), 1, "{from}");
        broken(&recorded, &recorded.replace(from, to))
    };
    let field = "\n   40 +8   length: u64\n\nmessage AppendRequest";
    // Allowed: a plain field, a function, a number and a JSON field more.
    for (from, to) in [
        (field, "\n   40 +8   length: u64\n   48 +8   priority: u64\n\nmessage AppendRequest"),
        (" 168 +8   write: Method\n", " 168 +8   write: Method\n  176 +8   compact: Method\n"),
        ("error Internal = 17\n", "error Internal = 17\n  error Embargoed = 18\n"),
        ("{\"prefix\":\"a\",", "{\"prefix\":\"a\",\"depth\":1,"),
    ] {
        assert_eq!(changed(from, to), Vec::<String>::new());
    }
    // Not allowed.
    for (from, to, sentence) in [
        (field, "\n   40 +8   size: u64\n\nmessage AppendRequest", "length: u64` was released"),
        (field, "\n\nmessage AppendRequest", "is now `nothing`"),
        (field, "\n   40 +8   length: u64\n   48 +32  more: Region\n\nmessage AppendRequest", "owned field"),
        ("error Internal = 17", "error Internal = 18", "number `error Internal = 17` is gone"),
        (
            "frozen RawFile, aligned to 8",
            "frozen RawFile, aligned to 4",
            "`frozen RawFile, aligned to 8` is gone",
        ),
        ("{\"prefix\":\"a\",", "{\"folder\":\"a\",", "document `list request`"),
    ] {
        let found = changed(from, to);
        assert!(found.iter().any(|found| found.contains(sentence)), "{sentence} is not in {found:?}");
    }
}

/// The text cannot leave a field out, because it would not compile; this finds a struct that it leaves out.
#[test]
fn every_struct_that_crosses_is_in_the_layout() {
    let text = layout::text().expect("the layout");
    let folder = artifacts::workspace().join("driver-api/src/abi");
    let mut found = 0;
    let files = |folder: &Path| {
        let entries = fs::read_dir(folder).expect("a readable folder");
        let paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
    };
    for path in files(&folder).chain(files(&folder.join("plain_c"))) {
        let source = fs::read_to_string(&path).expect("a source");
        let source = source.split("#[cfg(test)]").next().expect("a first part");
        let structs = source.split("#[repr(").skip(1).filter_map(|rest| {
            let (_, declaration) = rest.split_once("struct ")?;
            declaration.split(|c: char| !c.is_alphanumeric()).next()
        });
        let messages = source.split("\nmessages! {").skip(1).flat_map(|declared| {
            let declared = declared.split("\n}").next().unwrap_or_default();
            declared.lines().filter_map(|line| line.strip_prefix("    ")?.strip_suffix(" {"))
        });
        for name in structs.chain(messages).filter(|name| !name.is_empty()) {
            let name = if name == "Note" { "AnyNote" } else { name };
            assert!(text.contains(&format!(" {name}, aligned")), "{name} of {} is not in it", path.display());
            found += 1;
        }
    }
    assert!(found >= 52, "only {found} structs were found");
}
