//! Which file is read, and what is said when none is.

use docker_registry_config::{Environment, Loader, Source};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn write(path: &Path, storage: &str) -> PathBuf {
    fs::write(path, format!("dev: {{storage: {storage}}}\n")).expect("a file");
    path.to_owned()
}

#[test]
fn the_order_is_argument_then_variable_then_the_usual_places() {
    let folder = TempDir::new().expect("a folder");
    let argument = write(&folder.path().join("argument.yml"), "argument");
    let variable = write(&folder.path().join("variable.yml"), "variable");
    let second = write(&folder.path().join("second.yml"), "second");
    let third = write(&folder.path().join("third.yml"), "third");
    let candidates = vec![folder.path().join("first.yml"), second.clone(), third];
    let with = |name: &str| -> Environment {
        [("DOCKER_REGISTRY_CONFIG".to_owned(), name.to_owned())].into_iter().collect()
    };
    let named = with(&variable.display().to_string());

    let loaded = Loader::new(named.clone()).file(Some(argument)).candidates(candidates.clone()).load();
    assert_eq!(loaded.expect("the argument").settings.storage, "argument");
    let loaded = Loader::new(named).file(None).candidates(candidates.clone()).load();
    assert_eq!(loaded.expect("the variable's file").settings.storage, "variable");
    for environment in [Environment::default(), with("")] {
        let loaded =
            Loader::new(environment).candidates(candidates.clone()).load().expect("the second place");
        assert_eq!(loaded.settings.source, Source::File(second.clone()));
        assert_eq!(loaded.notices, Vec::<String>::new());
    }
}

#[test]
fn without_a_file_the_sample_runs_and_the_notice_says_what_lies_there() {
    let folder = TempDir::new().expect("a folder");
    write(&folder.path().join("config-dev.yml"), "local");
    fs::write(folder.path().join("auth.cert"), "").expect("a file");
    let missing = folder.path().join("config.yml");
    let loaded =
        Loader::new(Environment::default()).candidates(vec![missing.clone()]).load().expect("the sample");
    assert_eq!(loaded.settings.source, Source::BuiltInSample);
    assert_eq!((loaded.settings.flavor.as_str(), loaded.settings.storage.as_str()), ("dev", "local"));
    let [notice] = loaded.notices.as_slice() else { panic!("one notice, not {:?}", loaded.notices) };
    assert!(notice.contains(&format!("looked for {}", missing.display())), "{notice}");
    let there = format!("{} has config-dev.yml, auth.cert", folder.path().display());
    assert!(notice.contains(&there), "{notice}");
}

#[test]
fn a_missing_file_that_was_named_is_an_error() {
    let folder = TempDir::new().expect("a folder");
    write(&folder.path().join("config_sample.yml"), "local");
    let missing = folder.path().join("config.yml");
    let environment = [("DOCKER_REGISTRY_CONFIG", missing.display().to_string())].into_iter().collect();
    let other = write(&folder.path().join("other.yml"), "local");
    let problems = Loader::new(environment).candidates(vec![other]).load().expect_err("an error").to_string();
    assert_eq!(
        problems,
        format!(
            "{}: the configuration file is missing (named by DOCKER_REGISTRY_CONFIG; {} has config_sample.yml, other.yml)",
            missing.display(),
            folder.path().display()
        )
    );
    let problems = Loader::new(Environment::default()).file(Some(missing)).load().expect_err("an error");
    assert!(problems.has_errors());
}

#[test]
fn a_relative_name_is_looked_for_in_the_folders_of_the_usual_places() {
    let (first, second) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    let candidates = vec![first.path().join("config.yml"), second.path().join("config.yml")];
    let load = |name: &str| {
        let environment = [("DOCKER_REGISTRY_CONFIG", name)].into_iter().collect();
        Loader::new(environment).candidates(candidates.clone()).load()
    };
    let sentence = load("mine.yml").expect_err("missing").to_string();
    assert_eq!(
        sentence,
        format!(
            "mine.yml: the configuration file is missing (named by DOCKER_REGISTRY_CONFIG; looked for {0}/mine.yml, \
             {1}/mine.yml; {0} is empty; {1} is empty)",
            first.path().display(),
            second.path().display()
        )
    );
    let path = write(&second.path().join("mine.yml"), "second");
    assert_eq!(load("mine.yml").expect("the second folder's").settings.source, Source::File(path));
    let path = write(&first.path().join("mine.yml"), "first");
    assert_eq!(load("mine.yml").expect("the first folder's").settings.source, Source::File(path));
}

#[test]
fn what_lies_in_a_folder_is_told_in_a_few_names() {
    let folder = TempDir::new().expect("a folder");
    fs::create_dir(folder.path().join("certificates")).expect("a folder");
    for number in 0..9 {
        fs::write(folder.path().join(format!("note-{number}")), "").expect("a file");
    }
    write(&folder.path().join("registry.yaml"), "local");
    let candidates = vec![folder.path().join("config.yml"), folder.path().join("absent/config.yml")];
    let loaded = Loader::new(Environment::default()).candidates(candidates).load().expect("the sample");
    let there = "has registry.yaml, certificates/, note-0, note-1, note-2, note-3, note-4, note-5 and 3 more; there is no folder ";
    assert!(loaded.notices[0].contains(there), "{:?}", loaded.notices);
}

#[test]
fn a_folder_in_the_place_of_the_file_is_an_error() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("config.yml");
    fs::create_dir(&path).expect("a folder");
    let problems = Loader::new(Environment::default()).candidates(vec![path]).load().expect_err("an error");
    assert!(problems.to_string().contains("this is a folder, not a file"), "{problems}");
}

#[test]
fn files_that_are_no_configuration_are_refused_with_a_line() {
    let refused = |text: &[u8]| {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("config.yml");
        fs::write(&path, text).expect("a file");
        let problems = Loader::new(Environment::default()).file(Some(path)).load().expect_err("refused");
        problems.to_string().split_once("config.yml").expect("the file is named").1.to_owned()
    };
    assert!(refused(b"\xff\xfe").starts_with(": the configuration file is not UTF-8"));
    assert!(refused(b"").starts_with(": this is not a configuration"));
    assert!(refused(b"- a\n- b\n").starts_with(": this is not a configuration"));
    assert!(refused(b"dev:\n\tstorage: local\n").starts_with(":2: not valid YAML"));
    assert!(refused(b"worker_processes 10;\nevents {\n}\n").contains("not a"));
    assert!(refused(b"dev: 5\n").starts_with(":1: dev: a flavor is a mapping"));
    let duplicate = refused(b"a: &a {x: 1}\nb: &b {y: 1}\ndev:\n  <<: *a\n  <<: *b\n");
    assert!(duplicate.contains("`<<: [*one, *two]`"), "{duplicate}");
    assert!(refused(b"dev:\n  <<: text\n").starts_with(":2: <<: a merge key takes a mapping"));
    assert!(refused(&vec![b'#'; (4 << 20) + 1]).contains("larger than 4 MiB"));
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_key() {
    let loaded = crate::support::load("\u{feff}dev: {storage: local}\n", &[]);
    assert_eq!(loaded.settings.storage, "local");
}

#[test]
fn a_file_cut_anywhere_is_read_or_refused_but_never_a_panic() {
    let sample = docker_registry_config::SAMPLE;
    let ends = sample.char_indices().map(|(end, _)| end).step_by(97);
    let read = ends.filter(|end| crate::support::ConfigurationFile::new(&sample[..*end]).load(&[]).is_ok());
    // The flavor dev stands near the end, so few of the pieces have it.
    assert!((1..20).contains(&read.count()));
}
