//! The headers of the frames on the control socket.
//!
//! The server speaks first: `Start` with everything that is needed to find and load the library, answered
//! by `Loaded`; `Open` with the settings, answered by `Opened`; then any number of `Call`s, each answered
//! once, in any order, unless a `Cancel` comes before; last `Close`, answered by `Closed`. Either of the
//! first two can be answered by `Refused` instead. Logs and counters come at any time.
//!
//! Bytes (the content of `get` and `put`, states of uploads) are the frame's content and not in the header.

use std::{path::PathBuf, time::Duration};

use docker_registry_driver_api::Description;
use serde::{Deserialize, Serialize};

use super::facts::{WireCondition, WireContext, WireError, WireInfo, WirePage, WireRange, WireTime};

/// Version of these messages. Both sides are the same executable, unless somebody starts the child's command
/// by hand.
pub(super) const VERSION: u32 = 2;

/// From the server to the driver's process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToChild {
    Start(Start),
    /// The settings are the content, as a JSON object: they hold secrets, and headers may be shown.
    Open,
    Call {
        id: u64,
        context: WireContext,
        request: Request,
    },
    /// Nobody waits for the call any more.
    Cancel {
        id: u64,
    },
    Close {
        grace: Duration,
    },
}

/// What is to be loaded, and how its log is to be kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) version: u32,
    /// 1 error to 5 trace, 0 nothing.
    pub(super) log_level: u32,
    pub(super) driver: WhichDriver,
    pub(super) folders: Vec<PathBuf>,
    /// The SHA-256 that a driver's file must have, by the driver's name.
    pub(super) pins: std::collections::BTreeMap<String, String>,
}

/// How a driver is named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhichDriver {
    /// By its name, to be found in the driver folders.
    Named(String),
    /// By its file, which need not lie in a driver folder.
    File(PathBuf),
}

/// A call of a driver.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Request {
    Get {
        path: String,
        max_size: u64,
    },
    Put {
        path: String,
        condition: WireCondition,
    },
    Head {
        path: String,
    },
    Stat {
        path: String,
    },
    Read {
        path: String,
        range: WireRange,
    },
    List {
        prefix: String,
        recursive: bool,
        after: Option<String>,
        limit: u32,
    },
    OpenUpload {
        final_path: Option<String>,
        size: Option<u64>,
    },
    /// The state is the content, the body comes on the socket that goes with the frame.
    Append {
        expected_offset: u64,
    },
    Commit {
        final_path: String,
        condition: WireCondition,
    },
    Abort,
    /// The body comes as that of an append.
    Write {
        path: String,
        size: Option<u64>,
        condition: WireCondition,
    },
    ListUploads {
        older_than: WireTime,
        after: Option<String>,
        limit: u32,
    },
    Copy {
        from: String,
        to: String,
    },
    Rename {
        from: String,
        to: String,
    },
    Delete {
        path: String,
    },
    DeleteMany {
        paths: Vec<String>,
    },
    DeleteTree {
        prefix: String,
    },
    RedirectUrl {
        path: String,
        method: String,
        expires: Duration,
        response_headers: Vec<(String, String)>,
    },
    Health,
}

/// From the driver's process to the server.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToServer {
    Loaded(Box<Loaded>),
    Opened {
        capabilities: u64,
    },
    /// It could not be loaded or opened.
    Refused(Refused),
    Answer {
        id: u64,
        answer: Result<Answer, WireError>,
    },
    /// An event for the server's log.
    Log {
        level: u32,
        driver: String,
        module: String,
        line: String,
    },
    /// An addition to a counter of a driver.
    Count {
        driver: String,
        counter: String,
        amount: u64,
    },
    Closed,
}

/// A driver that was found, checked and loaded in a process of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Loaded {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Version of the driver API that it was built with, major and minor.
    pub api: (u32, u32),
    /// Whether it says that it never blocks.
    pub nonblocking: bool,
    /// The file.
    pub path: PathBuf,
    /// SHA-256 of the file in hex.
    pub digest: String,
    /// What it says about itself and its configuration keys.
    pub description: Description,
}

/// Why a driver cannot be used.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Refused {
    /// Something about the library or this server, in one sentence.
    Sentence(String),
    /// The driver itself failed to open.
    Driver { name: String, error: WireError },
}

/// What a call came to.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Done,
    /// The object's bytes are the content.
    Object(WireInfo),
    Info(WireInfo),
    Folder,
    ETag(Option<String>),
    /// An open file or the socket of a body goes with the frame.
    Reading {
        total_size: u64,
        offset: u64,
        length: u64,
        etag: Option<String>,
        /// Offset in the file that goes along; without one it is the socket of a body.
        file_offset: Option<u64>,
    },
    Page(WirePage),
    /// The state is the content.
    State,
    /// The new state is the content.
    Progress {
        offset: u64,
    },
    /// The states are the content, one after the other.
    Uploads {
        uploads: Vec<PendingUploadFacts>,
        next: Option<String>,
    },
    Failures(Vec<(String, WireError)>),
    Count(u64),
    Url(Option<String>),
}

/// An upload in a page of them.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PendingUploadFacts {
    pub(super) state_length: usize,
    pub(super) touched: WireTime,
    pub(super) size: u64,
}

impl Request {
    /// Name of the trait method, for errors.
    pub(super) fn operation(&self) -> &'static str {
        match self {
            Self::Get { .. } => "get",
            Self::Put { .. } => "put",
            Self::Head { .. } => "head",
            Self::Stat { .. } => "stat",
            Self::Read { .. } => "read",
            Self::List { .. } => "list",
            Self::OpenUpload { .. } => "open_upload",
            Self::Append { .. } => "append",
            Self::Commit { .. } => "commit",
            Self::Abort => "abort",
            Self::Write { .. } => "write",
            Self::ListUploads { .. } => "list_uploads",
            Self::Copy { .. } => "copy",
            Self::Rename { .. } => "rename",
            Self::Delete { .. } => "delete",
            Self::DeleteMany { .. } => "delete_many",
            Self::DeleteTree { .. } => "delete_tree",
            Self::RedirectUrl { .. } => "redirect_url",
            Self::Health => "health",
        }
    }

    /// The path that the call is about, for errors.
    pub(super) fn path(&self) -> Option<&str> {
        match self {
            Self::Get { path, .. }
            | Self::Put { path, .. }
            | Self::Head { path }
            | Self::Stat { path }
            | Self::Read { path, .. }
            | Self::Delete { path }
            | Self::Write { path, .. }
            | Self::RedirectUrl { path, .. }
            | Self::List { prefix: path, .. }
            | Self::DeleteTree { prefix: path }
            | Self::Commit { final_path: path, .. }
            | Self::Copy { from: path, .. }
            | Self::Rename { from: path, .. } => Some(path),
            Self::OpenUpload { .. }
            | Self::Append { .. }
            | Self::Abort
            | Self::ListUploads { .. }
            | Self::DeleteMany { .. }
            | Self::Health => None,
        }
    }

    /// Whether the call changes nothing, so that it may be made again when its fate is not known.
    pub(super) fn only_reads(&self) -> bool {
        matches!(
            self,
            Self::Get { .. }
                | Self::Head { .. }
                | Self::Stat { .. }
                | Self::Read { .. }
                | Self::List { .. }
                | Self::ListUploads { .. }
                | Self::RedirectUrl { .. }
                | Self::Health
        )
    }
}
