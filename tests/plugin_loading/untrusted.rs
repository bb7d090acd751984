//! Libraries that others could replace: owners, modes, links and pinned digests of real files.
//!
//! The tests hold for root and for any other user. Where only root can set a case up, the test says in its name
//! what holds for everybody else.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    sync::Arc,
};

use docker_registry::plugin::{LibraryFile, Search, load};
use tempfile::TempDir;

use crate::{built_libraries, search};

const MEMORY: &str = "libdocker_registry_driver_memory.so";
/// A user that is neither root nor the one who runs the tests.
const SOMEBODY: u32 = 54_321;

/// A folder `outer/drivers` with the memory driver in it.
struct Place {
    root: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { root: tempfile::tempdir().unwrap() };
        fs::create_dir_all(place.drivers()).unwrap();
        mode(&place.outer(), 0o755);
        mode(&place.drivers(), 0o755);
        fs::copy(built_libraries().join(MEMORY), place.library()).unwrap();
        mode(&place.library(), 0o644);
        place
    }

    fn outer(&self) -> PathBuf {
        self.root.path().join("outer")
    }

    fn drivers(&self) -> PathBuf {
        self.outer().join("drivers")
    }

    fn library(&self) -> PathBuf {
        self.drivers().join(MEMORY)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The sentence with which the driver in a folder is refused.
fn refusal(folder: &Path) -> String {
    let Err(error) = load(&search(folder), "memory") else { panic!("the driver was loaded") };
    let text = error.to_string();
    assert!(!text.contains('\n'), "more than one line: {text}");
    text
}

fn loads(folder: &Path) {
    if let Err(error) = load(&search(folder), "memory") {
        panic!("{error}");
    }
}

#[test]
fn a_library_that_only_trusted_users_can_write_is_loaded() {
    loads(&Place::new().drivers());
}

#[test]
fn a_file_that_everyone_may_write_is_refused() {
    let place = Place::new();
    mode(&place.library(), 0o646);
    let file = place.library();
    let file = file.display();
    assert_eq!(
        refusal(&place.drivers()),
        format!(
            "{file} is not loaded because others could replace it: everyone may write to {file}; run `chmod o-w {file}`"
        )
    );
    mode(&place.library(), 0o666);
    assert!(
        refusal(&place.drivers()).contains("chmod o-w") || refusal(&place.drivers()).contains("chmod go-w")
    );
}

#[test]
fn a_group_that_may_write_is_refused_unless_it_is_the_servers_own() {
    let place = Place::new();
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    for path in [place.library(), place.drivers()] {
        let usual = path.metadata().unwrap().mode();
        mode(&path, usual | 0o020);
        if root() {
            chown(&path, None, Some(SOMEBODY)).unwrap();
            let sentence = refusal(&place.drivers());
            let shown = path.display();
            assert!(
                sentence
                    .ends_with(&format!("group {SOMEBODY} may write to {shown}; run `chmod g-w {shown}`")),
                "{sentence}"
            );
            // Root's group is trusted: only root can add members.
            chown(&path, None, Some(0)).unwrap();
            loads(&place.drivers());
        } else if user == group {
            // The umask 002 of Debian and Ubuntu: a group for each user.
            loads(&place.drivers());
        } else {
            assert!(refusal(&place.drivers()).contains(&format!("group {group} may write to")));
        }
        mode(&path, usual);
    }
}

#[test]
fn a_folder_somewhere_above_that_everyone_may_write_is_refused_unless_it_is_sticky() {
    let place = Place::new();
    for folder in [place.drivers(), place.outer()] {
        mode(&folder, 0o757);
        let (sentence, shown) = (refusal(&place.drivers()), folder.display());
        assert!(
            sentence.ends_with(&format!("everyone may write to {shown}; run `chmod o-w {shown}`")),
            "{sentence}"
        );
        mode(&folder, 0o1777);
        loads(&place.drivers());
        mode(&folder, 0o755);
    }
}

#[test]
fn what_belongs_to_another_user_is_refused_and_without_root_nothing_can_be_given_away() {
    let place = Place::new();
    for path in [place.library(), place.drivers(), place.outer()] {
        let given = chown(&path, Some(SOMEBODY), None);
        if !root() {
            assert_eq!(given.unwrap_err().kind(), ErrorKind::PermissionDenied);
            continue;
        }
        given.unwrap();
        let (sentence, shown) = (refusal(&place.drivers()), path.display());
        assert!(
            sentence.contains(&format!(
                "{shown} belongs to user {SOMEBODY}, not to root; run `chown root {shown}`"
            )),
            "{sentence}"
        );
        // The sticky bit does not hold back the owner of the folder.
        if path.is_dir() {
            mode(&path, 0o1755);
            assert!(refusal(&place.drivers()).contains("belongs to user"));
            mode(&path, 0o755);
        }
        chown(&path, Some(0), None).unwrap();
        loads(&place.drivers());
    }
}

#[test]
fn links_are_resolved_first_and_the_place_they_lead_to_counts() {
    let place = Place::new();
    let elsewhere = place.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    // By the file, by a folder, with `..` in it, through two links.
    symlink(place.library(), elsewhere.join(MEMORY)).unwrap();
    symlink("outer/drivers", place.path("folder")).unwrap();
    symlink("elsewhere/../folder", place.path("again")).unwrap();
    let all = [elsewhere, place.path("folder"), place.path("again")];
    for folder in &all {
        loads(folder);
    }
    mode(&place.outer(), 0o777);
    for folder in &all {
        let sentence = refusal(folder);
        assert!(sentence.starts_with(&folder.join(MEMORY).display().to_string()), "{sentence}");
        assert!(
            sentence.contains(&format!("everyone may write to {};", place.outer().display())),
            "{sentence}"
        );
    }
}

#[test]
fn a_link_that_leads_nowhere_is_named_with_its_target() {
    let place = Place::new();
    fs::remove_file(place.library()).unwrap();
    symlink("/nowhere/driver.so", place.library()).unwrap();
    let file = place.library();
    let file = file.display();
    assert_eq!(
        refusal(&place.drivers()),
        format!(
            "{file} leads nowhere: the link {file} points to /nowhere/driver.so, which does not exist; \
             install the driver again, or run `ln -sfn LIBRARY {file}`"
        )
    );
    fs::remove_file(place.library()).unwrap();
    symlink(MEMORY, place.library()).unwrap();
    assert!(refusal(&place.drivers()).contains("too many") || refusal(&place.drivers()).contains("Too many"));
    // Behind a link that is right, a missing file is just a missing file.
    symlink(place.drivers(), place.path("link")).unwrap();
    let missing = LibraryFile::open(&place.path("link").join("missing.so")).unwrap_err().to_string();
    assert!(missing.contains("cannot be read: No such file"), "{missing}");
}

#[test]
fn in_a_sticky_folder_a_second_name_or_somebody_elses_link_is_refused() {
    let place = Place::new();
    let shared = place.path("shared");
    fs::create_dir(&shared).unwrap();
    mode(&shared, 0o1777);
    let in_shared = shared.join(MEMORY);
    // Anybody could have made it, of any old library that they can see.
    fs::hard_link(place.library(), &in_shared).unwrap();
    let sentence = refusal(&shared);
    assert!(sentence.contains("is a hard link in a folder that everyone may add names to"), "{sentence}");
    loads(&place.drivers());
    fs::remove_file(&in_shared).unwrap();
    fs::copy(place.library(), &in_shared).unwrap();
    loads(&shared);
    fs::remove_file(&in_shared).unwrap();
    symlink(place.library(), &in_shared).unwrap();
    loads(&shared);
    if root() {
        std::os::unix::fs::lchown(&in_shared, Some(SOMEBODY), None).unwrap();
        let sentence = refusal(&shared);
        assert!(sentence.contains(&format!("run `chown -h root {}`", in_shared.display())), "{sentence}");
    }
}

#[test]
fn an_access_list_behind_the_servers_own_group_is_refused_where_it_could_give_rights_to_others() {
    let place = Place::new();
    // user::rw-, user:SOMEBODY:rw-, group::r--, mask::rw-, other::r-- as the kernel stores it (acl(5)).
    let entry = |tag: u16, rights: u16, id: u32| {
        [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let list = [
        2_u32.to_le_bytes().to_vec(),
        entry(0x01, 6, u32::MAX),
        entry(0x02, 6, SOMEBODY),
        entry(0x04, 4, u32::MAX),
        entry(0x10, 6, u32::MAX),
        entry(0x20, 4, u32::MAX),
    ]
    .concat();
    let library = place.library();
    let set =
        rustix::fs::setxattr(&library, "system.posix_acl_access", &list, rustix::fs::XattrFlags::empty());
    if set == Err(rustix::io::Errno::OPNOTSUPP) {
        // A file system without such lists has nothing to hide.
        loads(&place.drivers());
        return;
    }
    set.unwrap();
    assert_eq!(library.metadata().unwrap().mode() & 0o777, 0o664, "the mask stands where the group stood");
    let sentence = refusal(&place.drivers());
    let command = if root() || rustix::process::geteuid().as_raw() == rustix::process::getegid().as_raw() {
        "setfacl -b"
    } else {
        "chmod g-w"
    };
    assert!(sentence.ends_with(&format!("run `{command} {}`", library.display())), "{sentence}");
}

#[test]
fn what_is_no_regular_file_is_refused_without_opening_it() {
    let place = Place::new();
    fs::remove_file(place.library()).unwrap();
    fs::create_dir(place.library()).unwrap();
    assert!(refusal(&place.drivers()).ends_with("it is a folder, not a file"));
    fs::remove_dir(place.library()).unwrap();
    let pipe = std::process::Command::new("mkfifo").arg(place.library()).status().unwrap();
    assert!(pipe.success());
    // Nobody writes to it: opening it for reading would wait for ever.
    assert!(refusal(&place.drivers()).ends_with("it is not a regular file"));
    fs::remove_file(place.library()).unwrap();
    symlink("/dev/zero", place.library()).unwrap();
    assert!(refusal(&place.drivers()).ends_with("it is not a regular file"));
}

#[test]
fn an_unreadable_file_or_folder_is_refused_with_the_command_and_root_reads_every_file() {
    let place = Place::new();
    mode(&place.library(), 0o200);
    if root() {
        loads(&place.drivers());
        return;
    }
    assert!(refusal(&place.drivers()).ends_with(&format!("run `chmod a+r {}`", place.library().display())));
    mode(&place.library(), 0o644);
    mode(&place.outer(), 0o600);
    let error = LibraryFile::open(&place.library()).unwrap_err().to_string();
    mode(&place.outer(), 0o755);
    assert!(error.ends_with(&format!("run `chmod a+x {}`", place.outer().display())), "{error}");
}

#[test]
fn a_driver_loads_under_its_pinned_digest_only() {
    let place = Place::new();
    let digest = LibraryFile::open(&place.library()).unwrap().digest().unwrap();
    let pinned = |digest: &str| {
        let pins = [("memory".to_owned(), digest.to_owned())].into();
        Arc::new(Search::new(&[place.drivers()], None, None).with_pins(&pins))
    };
    let loaded = load(&pinned(&digest), "memory").map_err(|error| error.to_string()).expect("it is pinned");
    assert_eq!(loaded.digest(), digest);
    let other = "0".repeat(64);
    let Err(error) = load(&pinned(&other), "memory") else { panic!("another digest was pinned") };
    assert_eq!(
        error.to_string(),
        format!(
            "{} is not the file that `driver_sha256` allows for `memory`: its SHA-256 is {digest} and {other} is \
             written; install the file that was meant, or write the new digest if this one is",
            place.library().display()
        )
    );
}

#[test]
fn a_refused_driver_is_listed_with_the_reason() {
    let place = Place::new();
    mode(&place.drivers(), 0o777);
    let installed = search(place.drivers()).installed();
    let driver = installed.iter().find(|driver| driver.path == place.library()).expect("it is there");
    assert!(driver.note.as_ref().unwrap_err().to_string().contains("chmod"));
}
