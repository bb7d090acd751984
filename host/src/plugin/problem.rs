//! Why a driver was refused, each reason in one sentence that says what to do about it.

use std::path::PathBuf;

use docker_registry_driver_api::Error as DriverError;
use thiserror::Error;

use super::GlibcVersion;

/// A driver that cannot be used.
#[derive(Debug, Error)]
pub enum PluginError {
    /// No file with one of the two names in any folder.
    #[error("no driver named `{name}`: looked for {wanted} in {folders}; {installed}")]
    NotFound {
        /// Name in the configuration.
        name: String,
        /// The file names.
        wanted: String,
        /// The folders, in order.
        folders: String,
        /// The drivers that are there.
        installed: String,
    },
    /// A name that could leave the driver folder.
    #[error("`{0}` cannot be a driver's name: only lower-case letters, digits and _ are allowed")]
    InvalidName(String),
    /// The file cannot be read.
    #[error("{path} cannot be read: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: std::io::Error,
    },
    /// The rights of the server's user do not suffice.
    #[error("{path} cannot be read by the server's user {user}: run `{remedy}`")]
    NotReadable {
        /// The file.
        path: PathBuf,
        /// The user the server runs as.
        user: u32,
        /// The command.
        remedy: String,
    },
    /// A symbolic link leads nowhere.
    #[error(
        "{path} leads nowhere: the link {link} points to {target}, which does not exist; \
         install the driver again, or run `{remedy}`"
    )]
    DanglingLink {
        /// The path that was looked for.
        path: PathBuf,
        /// The link on its way.
        link: PathBuf,
        /// What stands in the link.
        target: PathBuf,
        /// The command.
        remedy: String,
    },
    /// Somebody else than root and the server's user could exchange the file.
    #[error("{path} is not loaded because others could replace it: {fault}; {remedy}")]
    Untrusted {
        /// The file.
        path: PathBuf,
        /// Who could, and where.
        fault: String,
        /// What to do.
        remedy: String,
    },
    /// The file is not the one that the configuration names by its digest.
    #[error(
        "{path} is not the file that `driver_sha256` allows for `{name}`: its SHA-256 is {found} and {pinned} is \
         written; install the file that was meant, or write the new digest if this one is"
    )]
    OtherDigest {
        /// The file.
        path: PathBuf,
        /// The driver's name.
        name: String,
        /// The digest of the file, in hex.
        found: String,
        /// The digest in the configuration.
        pinned: String,
    },
    /// The file is something else.
    #[error("{path} is not a docker-registry driver: {reason}")]
    NotADriver {
        /// The file.
        path: PathBuf,
        /// What it is or lacks.
        reason: String,
    },
    /// The file ends before its contents do.
    #[error("{path} is cut off: it has {size} bytes and its headers speak of {needed}; copy it again")]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its size.
        size: u64,
        /// The size that it should have at least.
        needed: u64,
    },
    /// The library is for another kind of machine.
    #[error(
        "{path} is built for {found}, this server runs on {expected}; install the driver's build for {expected}"
    )]
    OtherMachine {
        /// The file.
        path: PathBuf,
        /// What the file is for.
        found: String,
        /// What the server is for.
        expected: String,
    },
    /// The library was linked against a newer C library than this system's.
    #[error(
        "{path} needs glibc {needed} and this system has {system}; install a build of the driver for glibc {system} or \
         older, or run the server on a newer system"
    )]
    NewerGlibc {
        /// The file.
        path: PathBuf,
        /// What the file needs.
        needed: GlibcVersion,
        /// What is there.
        system: GlibcVersion,
    },
    /// The driver API has another major version.
    #[error(
        "{path} was built against driver API {found}, this server speaks {expected}; rebuild the driver against {major}.x",
        major = expected.split('.').next().unwrap_or("1")
    )]
    OtherApi {
        /// The file.
        path: PathBuf,
        /// The driver's API version.
        found: String,
        /// The server's API version.
        expected: String,
    },
    /// The versions agree and the layouts do not.
    #[error(
        "{path} does not fit this server: it says driver API {found}, this server speaks {expected}, but {difference}; rebuild the driver against the released driver API"
    )]
    OtherLayout {
        /// The file.
        path: PathBuf,
        /// The driver's API version.
        found: String,
        /// The server's API version.
        expected: String,
        /// What differs, by field.
        difference: String,
    },
    /// The library carries another driver's name.
    #[error("{path} holds the driver `{found}`, not `{expected}`; rename the file or the `storage:` value")]
    OtherName {
        /// The file.
        path: PathBuf,
        /// The name in the note.
        found: String,
        /// The name that was looked for.
        expected: String,
    },
    /// The system's loader refused it.
    #[error("{path} cannot be loaded: {reason}")]
    Unloadable {
        /// The file.
        path: PathBuf,
        /// The loader's words.
        reason: String,
    },
    /// The driver itself failed.
    #[error("driver `{name}`: {error}")]
    Driver {
        /// The driver.
        name: String,
        /// What it reported.
        error: Box<DriverError>,
    },
    /// The driver's own process found a reason, in one sentence.
    #[error("{0}")]
    Refused(String),
    /// The driver's own process ended, hung or could not be started.
    #[error("the process of driver `{name}` {what}")]
    Process {
        /// The driver, as it was asked for.
        name: String,
        /// What became of the process.
        what: String,
    },
}
