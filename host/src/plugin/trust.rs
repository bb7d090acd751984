//! Who could change a library: the owner and the mode of its file and of every folder above it.
//!
//! Loading a library is running its code with the server's rights. So nobody may be able to put another one in
//! its place except root and the user the server runs as (*trusted* below). The rule, after all symbolic links
//! are resolved:
//!
//! - the file and every folder from `/` down to it belong to a trusted user;
//! - none of them can be written by everyone, nor by a group, except root's group (0) and the *private group* of
//!   the server's user: the one that is its effective group and has its number, as Debian, Ubuntu and Fedora
//!   make one for each user and give files of their users to it (umask 002). An access control list can give
//!   rights to others behind such a group, so there it is refused;
//! - a folder with the sticky bit (`/tmp`) may be written by everyone: nobody else can rename or delete what
//!   belongs to a trusted user there. But anybody can *add* names to it. So a symbolic link that lies in it must
//!   belong to a trusted user, and a file or link in it may have no second name: that could be a hard link that
//!   somebody made to an old version of a library;
//! - hard links elsewhere do not matter: owner and mode belong to the file, not to a name, and only trusted users
//!   can have put the name there.
//!
//! **No gap between check and use.** The path is walked on descriptors, one component after the other, never by
//! name twice, and links are followed by hand. What comes out is the open file, whose owner and mode were read
//! from that descriptor: exchanging a folder while the walk is under way leads to a file that was checked
//! like any other. Trusted users themselves can write into the file at any time, also after its digest was taken.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{FileType, Mode, OFlags, Stat, fstat, getxattr_query, openat, readlinkat},
    io::Errno,
};

use super::PluginError;

/// As many symbolic links as the kernel itself follows in one path (path_resolution(7)).
const LINKS_MAX: u32 = 40;

/// The user and group that a server runs as.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity {
    user: u32,
    group: u32,
}

impl Identity {
    pub(super) fn of_process() -> Self {
        Self { user: rustix::process::geteuid().as_raw(), group: rustix::process::getegid().as_raw() }
    }

    fn trusts_user(self, user: u32) -> bool {
        user == 0 || user == self.user
    }

    fn trusts_group(self, group: u32) -> bool {
        group == 0 || (group == self.group && group == self.user)
    }
}

/// Opens a library for reading when only trusted users could have put it there.
///
/// # Errors
/// [`PluginError::Untrusted`] with what to change, [`PluginError::DanglingLink`], [`PluginError::NotReadable`],
/// [`PluginError::NotADriver`] for what is no regular file, [`PluginError::Unreadable`].
pub(super) fn open(path: &Path, server: Identity) -> Result<File, PluginError> {
    let absolute = std::path::absolute(path)
        .map_err(|reason| PluginError::Unreadable { path: path.to_owned(), reason })?;
    Walk { library: path, server, folders: Vec::new(), links: 0, last_link: None }.run(&absolute)
}

/// A folder on the way.
struct Folder {
    descriptor: OwnedFd,
    path: PathBuf,
    /// Others can add names to it, and not take away those of trusted users.
    shared: bool,
}

struct Walk<'a> {
    /// The path as it was asked for.
    library: &'a Path,
    server: Identity,
    /// From `/` to where the walk is; never empty once it runs.
    folders: Vec<Folder>,
    links: u32,
    /// The link that was followed last.
    last_link: Option<Link>,
}

/// A symbolic link that was followed.
struct Link {
    path: PathBuf,
    target: PathBuf,
    /// How many names are left of the path when its target is reached.
    left: usize,
}

impl Walk<'_> {
    fn run(mut self, path: &Path) -> Result<File, PluginError> {
        let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|reason| self.unreadable(reason))?;
        self.enter(root, PathBuf::from("/"))?;
        let mut rest: VecDeque<OsString> = names(path).collect();
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                // The folder that the walk came from, not what `..` would lead to by now.
                if self.folders.len() > 1 {
                    self.folders.pop();
                }
                continue;
            }
            let place = self.place(&name);
            let entry = openat(
                &self.here().descriptor,
                &name,
                OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .map_err(|reason| self.no_entry(reason, rest.len()))?;
            let facts = fstat(&entry).map_err(|reason| self.unreadable(reason))?;
            match FileType::from_raw_mode(facts.st_mode) {
                FileType::Directory => self.enter(entry, place)?,
                FileType::Symlink => {
                    let target = self.follow(&entry, &facts, place, rest.len())?;
                    if target.is_absolute() {
                        self.folders.truncate(1);
                    }
                    for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
                        rest.push_front(name);
                    }
                }
                _ if !rest.is_empty() => return Err(self.unreadable(Errno::NOTDIR)),
                // A pipe or a device is not even opened: that alone can wait for somebody, or do something.
                FileType::RegularFile => return self.file(&name, place),
                _ => return Err(self.not_a_driver("it is not a regular file")),
            }
        }
        Err(self.not_a_driver("it is a folder, not a file"))
    }

    fn here(&self) -> &Folder {
        self.folders.last().expect("the root folder is entered first and never left")
    }

    fn place(&self, name: &OsStr) -> PathBuf {
        self.here().path.join(name)
    }

    /// Goes into a folder that is trustworthy.
    fn enter(&mut self, descriptor: OwnedFd, path: PathBuf) -> Result<(), PluginError> {
        let facts = fstat(&descriptor).map_err(|reason| self.unreadable(reason))?;
        self.check_owner(&facts, &path)?;
        let sticky = Mode::from_raw_mode(facts.st_mode).contains(Mode::SVTX);
        let shared = sticky && writers(&facts).intersects(Mode::WGRP | Mode::WOTH);
        if !sticky {
            self.check_writers(&facts, &path, &descriptor)?;
        }
        self.folders.push(Folder { descriptor, path, shared });
        Ok(())
    }

    /// The target of a link after which `left` names of the path are left.
    fn follow(
        &mut self,
        link: &OwnedFd,
        facts: &Stat,
        path: PathBuf,
        left: usize,
    ) -> Result<PathBuf, PluginError> {
        if self.here().shared {
            self.check_owner(facts, &path)?;
            self.check_only_name(facts, &path)?;
        }
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(self.unreadable(Errno::LOOP));
        }
        let target = readlinkat(link, "", Vec::new()).map_err(|reason| self.unreadable(reason))?;
        let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
        self.last_link = Some(Link { path, target: target.clone(), left });
        Ok(target)
    }

    /// Opens the file itself, and checks what was opened.
    fn file(&self, name: &OsStr, place: PathBuf) -> Result<File, PluginError> {
        // Without waiting, should a pipe have come in the place of the file.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&self.here().descriptor, name, flags, Mode::empty()).map_err(|reason| {
            if reason == Errno::ACCESS { self.not_readable(&place, "a+r") } else { self.unreadable(reason) }
        })?;
        let facts = fstat(&file).map_err(|reason| self.unreadable(reason))?;
        if FileType::from_raw_mode(facts.st_mode) != FileType::RegularFile {
            return Err(self.not_a_driver("it is not a regular file"));
        }
        self.check_owner(&facts, &place)?;
        self.check_writers(&facts, &place, &file)?;
        if self.here().shared {
            self.check_only_name(&facts, &place)?;
        }
        Ok(File::from(file))
    }

    fn check_owner(&self, facts: &Stat, place: &Path) -> Result<(), PluginError> {
        if self.server.trusts_user(facts.st_uid) {
            return Ok(());
        }
        let trusted = match self.server.user {
            0 => "not to root".to_owned(),
            user => format!("neither to root nor to the server's user {user}"),
        };
        let link = FileType::from_raw_mode(facts.st_mode) == FileType::Symlink;
        let command = format!("chown {}root {}", if link { "-h " } else { "" }, quoted(place));
        Err(self.untrusted(
            format!("{} belongs to user {}, {trusted}", place.display(), facts.st_uid),
            format!("run `{command}`, or keep drivers in a folder of root's"),
        ))
    }

    fn check_writers(&self, facts: &Stat, place: &Path, entry: &OwnedFd) -> Result<(), PluginError> {
        let writers = writers(facts);
        let everyone = writers.contains(Mode::WOTH);
        let group = writers.contains(Mode::WGRP);
        let own_group = self.server.trusts_group(facts.st_gid);
        let (who, mode) = match (everyone, group && !own_group) {
            (true, true) => ("everyone".to_owned(), "go-w"),
            (true, false) => ("everyone".to_owned(), "o-w"),
            (false, true) => (format!("group {}", facts.st_gid), "g-w"),
            (false, false) => {
                // The bits of the group are the most that a list gives to anybody (acl(5)).
                if group && self.has_access_list(entry)? {
                    return Err(self.untrusted(
                        format!("the access control list of {} may let others write to it", place.display()),
                        format!("run `setfacl -b {}`", quoted(place)),
                    ));
                }
                return Ok(());
            }
        };
        Err(self.untrusted(
            format!("{who} may write to {}", place.display()),
            format!("run `chmod {mode} {}`", quoted(place)),
        ))
    }

    fn has_access_list(&self, entry: &OwnedFd) -> Result<bool, PluginError> {
        // By the descriptor's own name: fgetxattr(2) takes none that was opened as a mere path.
        let name = format!("/proc/self/fd/{}", entry.as_raw_fd());
        match getxattr_query(name, "system.posix_acl_access") {
            Ok(size) => Ok(size > 0),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
            Err(reason) => Err(self.unreadable(reason)),
        }
    }

    /// Of a file or link in a shared folder.
    fn check_only_name(&self, facts: &Stat, place: &Path) -> Result<(), PluginError> {
        if facts.st_nlink <= 1 {
            return Ok(());
        }
        Err(self.untrusted(
            format!(
                "{} is a hard link in a folder that everyone may add names to, so anybody may have made it",
                place.display()
            ),
            "copy the file to a folder of root's, for example with `docker-registry driver install`"
                .to_owned(),
        ))
    }

    fn untrusted(&self, fault: String, remedy: String) -> PluginError {
        PluginError::Untrusted { path: self.library.to_owned(), fault, remedy }
    }

    fn not_a_driver(&self, reason: &str) -> PluginError {
        PluginError::NotADriver { path: self.library.to_owned(), reason: reason.to_owned() }
    }

    fn not_readable(&self, place: &Path, mode: &'static str) -> PluginError {
        PluginError::NotReadable {
            path: self.library.to_owned(),
            user: self.server.user,
            remedy: format!("chmod {mode} {}", quoted(place)),
        }
    }

    /// A name that cannot be looked at, with `left` names after it.
    fn no_entry(&self, reason: Errno, left: usize) -> PluginError {
        match (reason, &self.last_link) {
            (Errno::ACCESS, _) => self.not_readable(&self.here().path, "a+x"),
            (Errno::NOENT | Errno::NOTDIR, Some(link)) if left >= link.left => PluginError::DanglingLink {
                path: self.library.to_owned(),
                link: link.path.clone(),
                target: link.target.clone(),
                remedy: format!("ln -sfn LIBRARY {}", quoted(&link.path)),
            },
            _ => self.unreadable(reason),
        }
    }

    fn unreadable(&self, reason: Errno) -> PluginError {
        PluginError::Unreadable { path: self.library.to_owned(), reason: io::Error::from(reason) }
    }
}

/// The names in a path, `..` among them.
fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    })
}

fn writers(facts: &Stat) -> Mode {
    Mode::from_raw_mode(facts.st_mode) & (Mode::WUSR | Mode::WGRP | Mode::WOTH)
}

/// A path as a shell takes it.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,:@".contains(&byte);
    if text.bytes().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_group_has_the_number_of_its_user_and_is_the_one_of_the_process() {
        let server = Identity { user: 1000, group: 1000 };
        assert!(server.trusts_group(1000) && server.trusts_group(0));
        assert!(!server.trusts_group(100));
        assert!(!Identity { user: 1000, group: 100 }.trusts_group(100), "a group that users share");
        assert!(!Identity { user: 1000, group: 100 }.trusts_group(1000), "a group of the same number");
    }

    #[test]
    fn root_and_the_user_of_the_server_are_trusted() {
        let server = Identity { user: 1000, group: 1000 };
        assert!(server.trusts_user(0) && server.trusts_user(1000) && !server.trusts_user(1001));
    }

    #[test]
    fn commands_can_be_copied_into_a_shell() {
        assert_eq!(quoted(Path::new("/usr/lib/a-b_c.so")), "/usr/lib/a-b_c.so");
        assert_eq!(quoted(Path::new("/a b/it's")), "'/a b/it'\\''s'");
    }
}
