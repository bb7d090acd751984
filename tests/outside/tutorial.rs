//! "Write a driver", followed word for word: every file of the page is written and every command is run, in the
//! order of the page, in an empty folder outside of this tree.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use docker_registry_tests::{artifacts, projects};

use crate::empty_folder;

/// Part of the page that a reader carries out.
#[derive(Debug)]
enum Step {
    /// A part of a file, whose parts follow each other on the page.
    File(PathBuf, String),
    /// Commands for a shell.
    Commands(String),
}

/// The steps of a page, in its order.
///
/// # Panics
/// When a block of code says neither which file it belongs to nor that it is a command.
fn steps(page: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else {
            continue;
        };
        let text: String =
            lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect();
        steps.push(match kind.split_once(" file=") {
            Some((_, file)) => Step::File(file.into(), text),
            None if kind == "sh" => Step::Commands(text),
            None => panic!("nobody would know what to do with this ```{kind}:\n{text}"),
        });
    }
    steps
}

/// A shell in which the page is followed: the folder and the variables live from one block to the next.
struct Reader {
    folder: tempfile::TempDir,
    /// What the blocks so far have done, run again in front of each further one: only `cd` and `export`.
    lasting: String,
    project: Option<PathBuf>,
}

impl Reader {
    fn run(&mut self, commands: &str) -> String {
        let mut path = vec![artifacts::folder().to_owned()];
        path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        let mut shell = Command::new("sh");
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("CARGO_") || name.starts_with("DOCKER_REGISTRY") {
                shell.env_remove(name);
            }
        }
        let output = shell
            .args(["-e", "-c", &format!("{}{commands}", self.lasting)])
            .current_dir(self.folder.path())
            .env("PATH", env::join_paths(path).expect("a search path"))
            .env("CARGO_INCREMENTAL", "0")
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .output()
            .expect("a shell");
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "following the page failed at:\n{commands}\n{text}");
        for line in commands.lines().filter(|line| line.starts_with("cd ") || line.starts_with("export ")) {
            self.lasting.push_str(line);
            self.lasting.push('\n');
        }
        text
    }

    /// The first project that a block has made is given the target folder and the third-party versions that all
    /// projects outside share.
    fn prepare_project(&mut self) {
        let folders = fs::read_dir(self.folder.path()).expect("a readable folder");
        let made = folders.map(|entry| entry.expect("an entry").path()).find(|path| path.is_dir());
        if let (None, Some(project)) = (&self.project, made) {
            std::os::unix::fs::symlink(projects::target(), project.join("target")).expect("a link");
            fs::copy(artifacts::workspace().join("Cargo.lock"), project.join("Cargo.lock")).expect("a copy");
            self.project = Some(project);
        }
    }
}

#[test]
fn whoever_follows_write_a_driver_has_a_driver_that_passes() {
    let page = artifacts::workspace().join("driver-api/docs/write-a-driver.md");
    let page = fs::read_to_string(page).expect("the page");
    fs::create_dir_all(projects::target()).expect("the shared target folder");
    let mut reader = Reader { folder: empty_folder(), lasting: String::new(), project: None };
    let (mut written, mut said) = (Vec::<PathBuf>::new(), Vec::new());
    for step in steps(&page) {
        match step {
            Step::Commands(commands) => {
                said.push(reader.run(&commands));
                reader.prepare_project();
            }
            Step::File(file, text) => {
                let project = reader.project.as_deref().unwrap_or(Path::new("/nowhere"));
                let path = project.join(&file);
                let before = if written.contains(&file) {
                    fs::read_to_string(&path).expect("the first part") + "\n"
                } else {
                    String::new()
                };
                fs::write(&path, before + &text)
                    .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                written.push(file);
            }
        }
    }
    let checks: Vec<_> = said.iter().filter(|text| text.contains(" passed, ")).collect();
    assert_eq!(checks.len(), 3, "the page checks three times");
    for check in checks {
        assert!(check.contains(" 0 failed"), "{check}");
    }
}
