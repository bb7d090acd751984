//! Libraries whose table is wrong: refused when they are loaded, each with one sentence.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, process::Command, sync::Arc};

use docker_registry::plugin::{self, Execution, PluginError, Search};
use docker_registry_driver_api::Settings;

use crate::building::{faulty, include, load, run};

/// Why the library that is compiled with these definitions is not loaded.
fn refusal(definitions: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let library = faulty(folder.path(), definitions);
    let Err(error) = load(&library) else { panic!("{definitions:?} was loaded") };
    let (text, file) = (error.to_string(), library.display().to_string());
    assert!(!text.contains('\n'), "{text}");
    text.strip_prefix(&format!("{file} cannot be loaded: ")).unwrap_or_else(|| panic!("{text}")).to_owned()
}

#[test]
fn a_table_of_another_size_or_version_is_refused() {
    for size in ["0", "8", "63", "1000000"] {
        let text = refusal(&[&format!("TABLE_SIZE={size}")]);
        assert!(text.starts_with(&format!("its table of functions says that it has {size} bytes")), "{text}");
    }
    assert_eq!(refusal(&["API_MAJOR=2"]), "its table of functions is of API 2.0, this server speaks 1.x");
}

#[test]
fn a_longer_table_of_a_later_minor_version_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let library = faulty(folder.path(), &["TABLE_SIZE=sizeof(struct docker_registry_driver)+64"]);
    assert_eq!(load(&library).unwrap().description().keys.len(), 5);
}

#[test]
fn a_missing_function_is_named() {
    for (definition, name) in [("GET=NULL", "get"), ("HEALTH=NULL", "health")] {
        let expected = format!("its function `{name}` is null, and every driver must have it");
        assert_eq!(refusal(&[definition]), expected);
    }
}

#[test]
fn a_wrong_description_is_refused() {
    let long = format!("SUMMARY=\"{}\"", "x".repeat(5000));
    for (definition, sentence) in [
        ("SUMMARY=NULL", "its summary is null"),
        ("SUMMARY=\"caf\\xe9\"", "its summary is not UTF-8"),
        (long.as_str(), "its summary is longer than 4096 bytes"),
        ("KEYS=NULL", "its 5 configuration keys cannot be there"),
        ("KEY_COUNT=1000000", "its 1000000 configuration keys cannot be there"),
        ("KEY_KIND=77", "its configuration key `integer` has the unknown type 77"),
        ("KEY_DOC=NULL", "the explanation of its configuration key `list` is null"),
    ] {
        assert_eq!(refusal(&[definition]), sentence);
    }
}

#[test]
fn a_note_that_lies_about_the_name_or_the_language_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let (source, library) =
        (folder.path().join("liar.c"), folder.path().join("docker-registry-driver-liar.so"));
    let compile = |text: &str| {
        fs::write(&source, text).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-I"]).arg(include()).arg("-o").arg(&library).arg(&source);
        let output = run(&mut compiler);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        match load(&library) {
            Ok(_) => panic!("it was loaded"),
            Err(error) => error.to_string(),
        }
    };
    // A table that nobody can call, because its pointer is null.
    let text = compile(
        "#include \"docker_registry_driver.h\"\n\
         DOCKER_REGISTRY_DRIVER(liar, \"0.1.0\", *(const struct docker_registry_driver *)0);\n",
    );
    assert!(text.ends_with("its table of functions is null"), "{text}");
    // The note of one driver in a library of another.
    let text = compile(
        "__asm__(\".pushsection .note.docker-registry-driver, \\\"a\\\", %note\\n\"\n\
         \".long 23, 32, 1\\n.asciz \\\"docker-registry-driver\\\"\\n.balign 4\\n\"\n\
         \".ascii \\\"name=liar\\\\napi=1.0\\\\nflags=plain-c\\\\n\\\"\\n.popsection\\n\");\n",
    );
    assert!(text.ends_with("it exports no `docker_registry_driver_liar`"), "{text}");
}

#[tokio::test]
async fn a_driver_that_lacks_what_it_says_it_can_does_not_open() {
    let folder = tempfile::tempdir().unwrap();
    let library = faulty(folder.path(), &["CAPABILITIES=DOCKER_REGISTRY_CAN_LIST_UPLOADS"]);
    let opened = load(&library).unwrap().open(Settings::default(), Execution::Declared).await;
    let Err(error) = opened else { panic!("it was opened") };
    assert!(error.to_string().contains("its function `list_uploads` is null"), "{error}");
}

#[test]
fn a_file_that_others_may_write_or_that_is_not_the_pinned_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let library = faulty(folder.path(), &[]);
    let search = |digest: &str| {
        let pins = BTreeMap::from([("faulty".to_owned(), digest.to_owned())]);
        Arc::new(Search::new(&[folder.path().to_owned()], None, None).with_pins(&pins))
    };
    let digest = load(&library).unwrap().digest().to_owned();
    assert!(plugin::load(&search(&digest), "faulty").is_ok());
    let Err(error) = plugin::load(&search(&"0".repeat(64)), "faulty") else { panic!("it was loaded") };
    assert!(matches!(error, PluginError::OtherDigest { .. }), "{error}");

    fs::set_permissions(&library, fs::Permissions::from_mode(0o666)).unwrap();
    let Err(error) = plugin::load(&search(&digest), "faulty") else { panic!("it was loaded") };
    assert!(matches!(error, PluginError::Untrusted { .. }), "{error}");
}
