//! Servers that run as another user than the one who installed, and a program with more rights than its caller.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::PathBuf,
    process::Command,
};

use docker_registry_tests::artifacts;

use crate::place::{Place, ended, is_root, mode};

/// `nobody`, by convention.
const NOBODY: u32 = 65_534;

/// The program and the driver folder where every user can reach them.
fn program_for_everyone(place: &Place) -> PathBuf {
    mode(place.root(), 0o755);
    // Not beside the driver folder, which would be searched for that alone.
    let program = place.root().join("bin/docker-registry");
    fs::create_dir(place.root().join("bin")).unwrap();
    mode(&place.root().join("bin"), 0o755);
    fs::copy(artifacts::folder().join("docker-registry"), &program).unwrap();
    mode(&program, 0o755);
    program
}

fn command(place: &Place, program: &PathBuf) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("DOCKER_REGISTRY_DRIVER_PATH", place.drivers())
        .env("REGISTRY_ADMIN", "off")
        .current_dir(place.root());
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// As in a container image: all files are root's, the server is not. Without root, the own user does the same.
#[test]
fn a_driver_installed_by_root_is_loaded_by_a_server_of_another_user() {
    let place = Place::new();
    let program = program_for_everyone(&place);
    place.install(&place.download("1.0.0")).done();
    let inspected = ended(command(&place, &program).args(["driver", "inspect", "memory"])).done();
    assert!(inspected.starts_with("memory 1.0.0"), "{inspected}");
}

/// Without root nothing can be given away, so that the case cannot arise.
#[test]
fn a_file_of_a_third_user_or_one_that_the_server_cannot_read_is_refused_for_a_server_that_is_not_root() {
    let place = Place::new();
    let program = program_for_everyone(&place);
    place.install(&place.download("1.0.0")).done();
    let file = place.installed();
    let file = file.display();
    let refused = || ended(command(&place, &program).args(["driver", "inspect", "memory"])).refused();
    mode(&place.installed(), 0o200);
    let sentence = refused();
    assert!(sentence.ends_with(&format!("run `chmod a+r {file}`")), "{sentence}");
    mode(&place.installed(), 0o644);
    mode(&place.drivers(), 0o600);
    let sentence =
        ended(command(&place, &program).args(["driver", "inspect"]).arg(place.installed())).refused();
    assert!(sentence.ends_with(&format!("run `chmod a+x {}`", place.drivers().display())), "{sentence}");
    mode(&place.drivers(), 0o755);
    let given = std::os::unix::fs::chown(place.installed(), Some(54_321), None);
    if is_root() {
        let sentence = refused();
        assert!(
            sentence.contains(&format!(
                "{file} belongs to user 54321, neither to root nor to the server's user {NOBODY}; run `chown root {file}`"
            )),
            "{sentence}"
        );
    } else {
        assert_eq!(given.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    }
}

/// The environment of a set-user-id program belongs to somebody with fewer rights. Without root, and where the
/// file system ignores the bit, the program has the rights of its caller and the variable counts.
#[test]
fn the_driver_path_of_the_environment_counts_only_without_raised_rights() {
    let place = Place::new();
    let program = program_for_everyone(&place);
    place.install(&place.download("1.0.0")).done();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    let ignored =
        rustix::fs::statvfs(&program).unwrap().f_flag.contains(rustix::fs::StatVfsMountFlags::NOSUID);
    let listed = ended(command(&place, &program).args(["driver", "list"])).done();
    let folder = place.drivers().display().to_string();
    if is_root() && !ignored {
        assert!(!listed.contains(&folder), "{listed}");
    } else {
        assert!(listed.contains(&folder), "{listed}");
    }
}
