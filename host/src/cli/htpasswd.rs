//! `htpasswd`: adds, removes and checks users of a password file, for machines without Apache's tools.
//!
//! A password is typed at a prompt or comes from standard input; it is never an argument, which every user of the
//! machine could read. A file is replaced as a whole by rename, so that a running server sees the old users or
//! the new ones. It keeps its owner, its mode, its comments and the lines of all others. Of two commands at once the
//! second waits, so that neither loses what the other did.

use std::{
    fs,
    io::{self, BufRead, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::Failure;
use crate::auth::{htpasswd::Line, scheme::Scheme, watched_file::read_once};

/// bcrypt looks at no more bytes of a password.
const BCRYPT_BYTES: usize = 72;
const LONGEST_NAME: usize = 255;
/// Mode of a new file: for its owner, and for the group of the server.
const NEW_MODE: u32 = 0o640;

#[derive(Debug, Subcommand)]
pub(super) enum HtpasswdCommand {
    /// Add a user, or give one another password.
    Add {
        /// The password file; a new one is made.
        file: PathBuf,
        /// The user's name.
        user: String,
        #[command(flatten)]
        source: Source,
        /// How hard passwords are to guess: each step doubles the time of a login that is not remembered.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(10..=17))]
        cost: u32,
    },
    /// Remove a user.
    Remove {
        /// The password file.
        file: PathBuf,
        /// The user's name.
        user: String,
    },
    /// Say what each line is; with a user, ask for a password and say by the exit code whether it is right.
    Check {
        /// The password file.
        file: PathBuf,
        /// The user whose password is to be checked.
        user: Option<String>,
        #[command(flatten)]
        source: Source,
    },
}

/// Where a password comes from.
#[derive(Debug, Args)]
pub(super) struct Source {
    /// Read the password from the first line of standard input instead of asking for it.
    #[arg(long)]
    stdin: bool,
}

pub(super) fn run(command: HtpasswdCommand, output: &mut impl Write) -> Result<(), Failure> {
    match command {
        HtpasswdCommand::Add { file, user, source, cost } => {
            check_name(&user)?;
            let hash = hashed(&source.new_password()?, cost)?;
            let change = rewritten(&file, &user, Some(&hash))?;
            let done = if change { "changed" } else { "added" };
            writeln!(output, "{done} {user} in {}", file.display())?;
        }
        HtpasswdCommand::Remove { file, user } => {
            if !rewritten(&file, &user, None)? {
                return Err(Failure::failed(format!("{} has no user {user}", file.display())));
            }
            writeln!(output, "removed {user} from {}", file.display())?;
        }
        HtpasswdCommand::Check { file, user: None, .. } => check_file(&file, output)?,
        HtpasswdCommand::Check { file, user: Some(user), source } => {
            let content = read_once(&file).map_err(Failure::failed)?;
            if !content.verify(&user, &source.password("Password: ")?) {
                return Err(Failure::failed("the user or the password is wrong"));
            }
            writeln!(output, "the password is right")?;
        }
    }
    Ok(())
}

fn check_file(file: &Path, output: &mut impl Write) -> Result<(), Failure> {
    let content = read_once(file).map_err(Failure::failed)?;
    let text = fs::read_to_string(file)?;
    for (index, line) in text.split('\n').enumerate() {
        if let Line::User { name, hash } = Line::of(line)
            && let Some(scheme) = Scheme::of(hash)
        {
            let advice = if scheme.is_weak() { "; weak: a stolen file gives passwords away" } else { "" };
            writeln!(output, "line {}: {name}: {}{advice}", index + 1, scheme.name())?;
        }
    }
    for warning in &content.warnings {
        writeln!(output, "{warning}")?;
    }
    if content.warnings.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(format!("{} has lines that cannot be used", file.display())))
}

impl Source {
    fn password(&self, prompt: &str) -> Result<String, Failure> {
        if !self.stdin {
            return rpassword::prompt_password(prompt).map_err(|error| {
                Failure::failed(format!("no password can be asked for here ({error}); use --stdin"))
            });
        }
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// A password that is to be kept; asked for twice.
    fn new_password(&self) -> Result<String, Failure> {
        let password = self.password("New password: ")?;
        if !self.stdin && self.password("Again: ")? != password {
            return Err(Failure::failed("the two passwords differ"));
        }
        let problem = match password.len() {
            0 => "an empty password lets everybody in",
            // A longer one would be accepted with any end.
            length if length > BCRYPT_BYTES => "bcrypt looks at 72 bytes only; choose a shorter password",
            _ if password.chars().any(char::is_control) => "no client can send control characters",
            _ => return Ok(password),
        };
        Err(Failure::failed(problem))
    }
}

fn check_name(name: &str) -> Result<(), Failure> {
    let is_odd = name.is_empty()
        || name.len() > LONGEST_NAME
        || name.starts_with('#')
        || name.trim() != name
        || name.contains(|c: char| c == ':' || c.is_control());
    if is_odd {
        return Err(Failure::failed("a name has 1 to 255 bytes, no colon, and no blanks around it"));
    }
    Ok(())
}

fn hashed(password: &str, cost: u32) -> Result<String, Failure> {
    let parts = bcrypt::hash_with_result(password, cost).map_err(Failure::failed)?;
    // The mark that every reader of such files knows.
    Ok(parts.format_for_version(bcrypt::Version::TwoY))
}

/// Writes the file with another hash for a user, or without the user. Returns whether the user was there.
fn rewritten(file: &Path, user: &str, hash: Option<&str>) -> Result<bool, Failure> {
    // The file that a link leads to is what is replaced.
    let target = match fs::canonicalize(file) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound && hash.is_some() => file.to_owned(),
        Err(error) => return Err(Failure::failed(format!("{}: {error}", file.display()))),
    };
    let failed = |error: io::Error| Failure::failed(format!("{}: {error}", file.display()));
    // Held until the end. The file itself is another one after each change.
    let folder = fs::File::open(folder_of(&target)).map_err(failed)?;
    // A folder on NFS cannot be locked, which is no reason to change nothing there.
    while flock(&folder, FlockOperation::LockExclusive) == Err(Errno::INTR) {}
    let text = match fs::read_to_string(&target) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(failed(error)),
    };
    let (text, was_there) = edited(&text, user, hash);
    if was_there || hash.is_some() {
        replace(&target, &text).map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::BUSY) => Failure::failed(format!(
                "{} is mounted by itself and cannot be replaced: mount its folder instead",
                file.display()
            )),
            _ => failed(error),
        })?;
    }
    Ok(was_there)
}

fn edited(text: &str, user: &str, hash: Option<&str>) -> (String, bool) {
    let mut hash = hash.map(|hash| format!("{user}:{hash}\n"));
    let (mut edited, mut was_there) = (String::with_capacity(text.len() + 128), false);
    for line in text.split_inclusive('\n') {
        match Line::of(line.strip_suffix('\n').unwrap_or(line)) {
            Line::User { name, .. } if name == user => {
                was_there = true;
                // The first line of a name counts; more of them are removed.
                edited.push_str(&hash.take().unwrap_or_default());
            }
            _ => edited.push_str(line),
        }
    }
    if let Some(line) = hash {
        if !edited.is_empty() && !edited.ends_with('\n') {
            edited.push('\n');
        }
        edited.push_str(&line);
    }
    (edited, was_there)
}

fn folder_of(target: &Path) -> &Path {
    target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn replace(target: &Path, text: &str) -> io::Result<()> {
    let folder = folder_of(target);
    let mut new = tempfile::Builder::new().prefix(".htpasswd-").tempfile_in(folder)?;
    new.write_all(text.as_bytes())?;
    let mode = match fs::metadata(target) {
        Ok(old) => {
            fchown(new.as_file(), Some(old.uid()), Some(old.gid()))?;
            old.mode() & 0o777
        }
        Err(_) => NEW_MODE,
    };
    new.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    new.as_file().sync_all()?;
    new.persist(target)?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_lines_and_comments_stay() {
        let text = "# team\nann:1\r\n\nbob:2\nann:3\nno newline";
        assert_eq!(edited(text, "bob", Some("9")).0, "# team\nann:1\r\n\nbob:9\nann:3\nno newline");
        assert_eq!(edited(text, "ann", Some("9")), ("# team\nann:9\n\nbob:2\nno newline".to_owned(), true));
        assert_eq!(edited(text, "cid", Some("9")).0, format!("{text}\ncid:9\n"));
        assert_eq!(edited(text, "ann", None).0, "# team\n\nbob:2\nno newline");
        assert_eq!(edited(text, "#", None), (text.to_owned(), false));
        assert_eq!(edited("", "ann", Some("1")), ("ann:1\n".to_owned(), false));
    }
}
