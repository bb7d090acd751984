//! What `driver new` writes and what it refuses.

use std::fs;

use docker_registry_tests::{artifacts, projects};

use crate::{empty_folder, new_driver, program, run};

#[test]
fn a_new_project_is_formatted_has_no_lints_and_passes_its_own_tests() {
    let folder = empty_folder();
    let project = new_driver(folder.path(), "shelf", &["--licence", "MIT OR Apache-2.0"]);
    projects::cargo(&project, &["fmt", "--all", "--check"]);
    projects::cargo(&project, &["clippy", "--quiet", "--all-targets", "--", "-D", "warnings"]);
    let tested = projects::cargo(&project, &["test", "--quiet"]);
    assert!(tested.contains("test result: ok") && !tested.contains("FAILED"), "{tested}");
    let manifest = fs::read_to_string(project.join("Cargo.toml")).unwrap();
    assert!(
        manifest.contains("license = \"MIT OR Apache-2.0\"") && manifest.contains("\nversion = \"0.1.0\"")
    );
}

/// The CI file runs what the test above runs, and the check.
#[test]
fn a_new_project_has_everything_that_an_author_needs() {
    let folder = empty_folder();
    let project = new_driver(folder.path(), "cold-store", &[]);
    let text =
        |file: &str| fs::read_to_string(project.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let workflow = text(".github/workflows/ci.yml");
    for step in ["cargo fmt --check", "cargo clippy", "cargo build", "cargo test", "driver check"] {
        assert!(workflow.contains(step), "{step} is not in the CI file");
    }
    let readme = text("README.md");
    assert!(
        readme.contains("storage: cold_store") && readme.contains("libdocker_registry_driver_cold_store.so")
    );
    assert!(text("src/lib.rs").contains("name: \"cold_store\""));
    assert!(text(".gitignore").contains("/target"));
    for file in ["Cargo.toml", "README.md", "src/lib.rs", "src/uploads.rs", "tests/behaviour.rs"] {
        assert!(!text(file).contains("__"), "a placeholder is left in {file}");
    }
    // One source for the API: the files of this tree, byte for byte.
    for file in ["src/driver.rs", "src/abi/messages.rs"] {
        let ours = fs::read_to_string(artifacts::workspace().join("driver-api").join(file)).unwrap();
        assert_eq!(text(&format!("vendor/driver-api/{file}")), ours);
    }
}

#[test]
fn the_api_of_a_checkout_is_used_when_one_is_named() {
    let folder = empty_folder();
    let checkout = artifacts::workspace().display().to_string();
    let project = new_driver(folder.path(), "linked", &["--driver-api", &checkout]);
    assert!(!project.join("vendor").exists());
    projects::build_driver(&project, "linked", &folder.path().join("drivers"));
    let (code, output) = run(program(folder.path()).args(["driver", "new", "other", "--driver-api", "."]));
    assert_eq!(code, 1);
    assert!(output.contains("holds no docker-registry-driver-api"), "{output}");
}

#[test]
fn a_folder_with_anything_in_it_is_left_alone() {
    let folder = empty_folder();
    let mine = folder.path().join("mine");
    fs::create_dir(&mine).unwrap();
    fs::write(mine.join("notes"), "keep").unwrap();
    let (code, output) = run(program(folder.path()).args(["driver", "new", "shelf", "--path", "mine"]));
    assert_eq!(code, 1);
    assert!(output.contains("mine cannot hold the new project: it is not empty"), "{output}");
    assert_eq!(fs::read_dir(&mine).unwrap().count(), 1);

    fs::create_dir(folder.path().join("empty")).unwrap();
    let (code, output) = run(program(folder.path()).args(["driver", "new", "shelf", "--path", "empty"]));
    assert_eq!(code, 0, "{output}");
    let next: Vec<&str> = output.lines().filter(|line| line.starts_with("  ")).map(str::trim).collect();
    assert_eq!(
        next,
        [
            "cd empty",
            "cargo build --release",
            "docker-registry driver check target/release/libdocker_registry_driver_shelf.so"
        ]
    );
}

#[test]
fn a_name_that_no_driver_can_have_is_refused() {
    let folder = empty_folder();
    for name in ["S3", "a/b", "../up", "9p", "api", "file"] {
        let (code, output) = run(program(folder.path()).args(["driver", "new", name]));
        assert_eq!(code, 1, "{name}: {output}");
        assert!(output.contains(&format!("`{name}`")), "{output}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
