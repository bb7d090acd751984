//! Who the server is in a container, and whose the images are.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
};

use docker_registry_tests::docker::Docker;

use crate::{
    Test,
    container::{Container, mount, unprivileged},
};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("the_server_is_not_root_and_has_no_capabilities", not_root),
    ("a_volume_of_root_is_given_to_the_servers_user_once_and_with_all_that_is_in_it", volume_of_root),
    ("another_user_is_left_alone", another_user),
    ("a_read_only_container_without_capabilities_serves_from_a_tmpfs", hardened),
    ("a_read_only_container_without_capabilities_keeps_images_in_a_volume_of_its_user", hardened_with_volume),
    ("a_folder_that_is_called_almost_like_one_of_the_system_is_given_as_well", names_like_the_systems),
    ("what_a_link_points_to_is_given_and_the_systems_own_folders_never_are", links_and_folders_of_the_system),
    ("root_without_the_right_to_change_owners_serves_all_the_same", without_chown),
];

/// The user of the image.
const REGISTRY: u32 = 5000;

fn not_root(docker: &Docker) {
    let container = Container::ready(docker, &[], &[]);
    assert_eq!(container.identity(), unprivileged(REGISTRY));
    // A folder that is not there yet, and that only root can make.
    let container = Container::ready(docker, &["-e", "STORAGE_PATH=/made/here"], &[]);
    assert_eq!(container.identity(), unprivileged(REGISTRY));
    let container = Container::ready(docker, &["--read-only", "--tmpfs=/tmp"], &[]);
    assert_eq!(container.identity(), unprivileged(REGISTRY));
}

fn volume_of_root(docker: &Docker) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir_all(data.join("repositories/library/one")).unwrap();
    fs::write(data.join("repositories/library/one/tag_latest"), "0".repeat(64)).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    let owner = |path: &str| fs::metadata(data.join(path)).unwrap().uid();
    assert_eq!(owner(""), 0, "this test runs as root");
    let volume = mount(&data, "/tmp/registry");

    let container = Container::ready(docker, &[&volume], &[]);
    assert!(container.log().contains("/tmp/registry belongs to the user registry (5000) from now on"));
    assert_eq!(container.identity(), unprivileged(REGISTRY));
    assert_eq!((owner(""), owner("repositories/library/one/tag_latest")), (REGISTRY, REGISTRY));
    drop(container);
    let container = Container::ready(docker, &[&volume], &[]);
    assert!(!container.log().contains("from now on"), "{}", container.log());
}

fn another_user(docker: &Docker) {
    let container = Container::ready(docker, &["--user=1234"], &[]);
    assert_eq!(container.identity(), unprivileged(1234));
    let folder = tempfile::tempdir().unwrap();
    chown(folder.path(), Some(1234), Some(1234)).unwrap();
    let volume = mount(folder.path(), "/var/lib/registry");
    let options = ["--user=1234:1234", "--read-only", "--cap-drop=ALL", &volume];
    let container = Container::ready(docker, &options, &[]);
    assert_eq!(container.identity(), unprivileged(1234));
    assert_eq!(fs::metadata(folder.path()).unwrap().uid(), 1234);
}

fn hardened(docker: &Docker) {
    let options = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp"];
    let container = Container::ready(docker, &options, &[]);
    // Nobody can become another user without capabilities, but a root without any is hardly one.
    assert_eq!(container.identity(), unprivileged(0));
    let container = Container::ready(docker, &[&options[..], &["--user=5000"]].concat(), &[]);
    assert_eq!(container.identity(), unprivileged(REGISTRY));
}

fn hardened_with_volume(docker: &Docker) {
    let folder = tempfile::tempdir().unwrap();
    chown(folder.path(), Some(REGISTRY), Some(REGISTRY)).unwrap();
    let volume = mount(folder.path(), "/var/lib/registry");
    let options = ["--read-only", "--cap-drop=ALL", &volume];
    let container = Container::ready(docker, &[&options[..], &["--user=5000"]].concat(), &[]);
    assert_eq!(container.identity(), unprivileged(REGISTRY));
    drop(container);
    // Root without capabilities may not write there.
    let container = Container::start(docker, &options, &[]);
    assert_eq!(container.ended(), 1, "{}", container.log());
    assert!(
        container.log().contains("cannot write to /var/lib/registry: add --user 5000"),
        "{}",
        container.log()
    );
}

fn names_like_the_systems(docker: &Docker) {
    for place in ["/devops/registry", "/library"] {
        let folder = tempfile::tempdir().unwrap();
        let (volume, setting) = (mount(folder.path(), place), format!("STORAGE_PATH={place}"));
        let container = Container::ready(docker, &[&volume, "-e", &setting], &[]);
        assert_eq!(container.identity(), unprivileged(REGISTRY));
        assert_eq!(fs::metadata(folder.path()).unwrap().uid(), REGISTRY, "{place}");
    }
}

fn links_and_folders_of_the_system(docker: &Docker) {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let owner = |path: &str| fs::symlink_metadata(folder.path().join(path)).unwrap().uid();
    fs::create_dir(folder.path().join("images")).unwrap();
    symlink("images", folder.path().join("link")).unwrap();
    let volume = mount(folder.path(), "/data");
    let container = Container::ready(docker, &[&volume, "-e", "STORAGE_PATH=/data/link"], &[]);
    assert_eq!(container.identity(), unprivileged(REGISTRY));
    assert_eq!((owner("images"), owner("")), (REGISTRY, 0));
    drop(container);

    // Everybody may write to this one, so that the server starts although it stays with its owner.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let volume = mount(folder.path(), "/opt");
    for place in ["/opt", "/opt/", "/opt/images/.."] {
        let setting = format!("STORAGE_PATH={place}");
        drop(Container::ready(docker, &[&volume, "-e", &setting], &[]));
        assert_eq!(owner(""), 0, "{place}");
    }
}

fn without_chown(docker: &Docker) {
    let folder = tempfile::tempdir().unwrap();
    let volume = mount(folder.path(), "/var/lib/registry");
    let container = Container::ready(docker, &["--cap-drop=CHOWN", &volume], &[]);
    assert!(container.log().contains("cannot be given to the user registry"), "{}", container.log());
    assert_eq!(container.identity().user, "0");
}
