//! Pending uploads on disk: opening, committing, aborting, finding them again.
//!
//! ```text
//! .docker-registry/uploads/ID/
//!     record       where the upload stands; see the `record` module
//!     data         the bytes, perhaps more of them than the record counts
//!     data.CLAIM   a copy, made when the upload went on while a stale appender held `data`
//! ```
//!
//! # Who may write to a data file
//! Whoever holds its `flock(2)` exclusively, and it is taken only under the record's lock by a caller
//! whose state is the latest. A process that dies loses it. So a stale appender that still runs writes
//! to a file of its own, behind the bytes that everybody has agreed on, and never to the file of the
//! one who took over.

use std::{
    fs::{self, File, Permissions},
    io::{self, ErrorKind as Io},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use docker_registry_driver_api::{
    Condition, Error, ErrorKind, ObjectInfo, ObjectPath, PendingUpload, Result, UploadPage, UploadState,
};

use crate::{
    Store,
    durable::Lasts,
    publishing,
    record::{Locked, Record, Standing, data_name, gone, stale},
    staging::{is_leftover, staging_failed},
    stop::Stop,
};

/// How often the folder of an upload is emptied into which an appender writes at the same time.
const ATTEMPTS: usize = 3;

/// A pending upload, found by a state of it.
#[derive(Debug)]
pub(crate) struct Upload {
    id: String,
    pub(crate) folder: PathBuf,
    pub(crate) record: Record,
    /// The generation that the state speaks of.
    generation: u64,
}

impl Upload {
    /// Where the upload stands, if the state is the latest one.
    ///
    /// # Errors
    /// `Conflict` for a stale state.
    pub(crate) fn standing(&self) -> Result<Standing> {
        let standing = self.record.standing()?;
        if standing.generation == self.generation { Ok(standing) } else { Err(stale()) }
    }

    /// The state that belongs to `standing`.
    pub(crate) fn state(&self, standing: Standing) -> Result<UploadState> {
        state(&self.id, standing.generation)
    }

    /// Takes the data file for this caller alone and cuts it to the bytes that count. `None` when
    /// another appender still holds it.
    ///
    /// # Errors
    /// `NotFound` when the file has become an object and only the tidying up is missing; `Corrupt` when
    /// it lost bytes.
    pub(crate) fn take_data(&self, _locked: &Locked<'_>, standing: Standing) -> Result<Option<File>> {
        let path = self.folder.join(data_name(standing.data));
        let data = match File::options().read(true).write(true).open(path) {
            Err(error) if error.kind() == Io::NotFound => return Err(gone()),
            other => other?,
        };
        match data.try_lock() {
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            other => other.map_err(io::Error::from)?,
        }
        let metadata = data.metadata()?;
        // A second name is that of an object; see `rename_to_free_name`.
        if metadata.nlink() > 1 {
            return Err(gone());
        }
        if metadata.len() < standing.offset {
            let message =
                format!("the upload has {} of {} acknowledged bytes", metadata.len(), standing.offset);
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        if metadata.len() > standing.offset {
            data.set_len(standing.offset)?;
            data.sync_data()?;
        }
        Ok(Some(data))
    }

    /// Makes a data file of this caller's own with the bytes that count. Their holder only adds behind
    /// them, so no lock is needed.
    pub(crate) fn copy_data(&self, standing: Standing, claim: u64, stop: &Stop) -> Result<(File, PathBuf)> {
        // The files go when the upload ends, and when somebody else has taken it over and moved on.
        let missing = |error: io::Error| match (error.kind(), self.record.is_gone()) {
            (Io::NotFound, Ok(false)) => stale(),
            (Io::NotFound, _) => gone(),
            _ => error.into(),
        };
        let source = File::open(self.folder.join(data_name(standing.data))).map_err(missing)?;
        let path = self.folder.join(data_name(claim));
        let mut copy =
            File::options().read(true).write(true).create_new(true).open(&path).map_err(missing)?;
        let filled = copy
            .lock()
            .and_then(|()| copy.set_permissions(source.metadata()?.permissions()))
            .map_err(Error::from)
            .and_then(|()| publishing::copy_content(&source, standing.offset, &mut copy, stop));
        if filled.is_err() {
            discard(&path);
        }
        filled.map(|()| (copy, path))
    }

    /// Removes the data files other than `kept`: what earlier or stale appenders left.
    pub(crate) fn remove_other_data(&self, kept: u64) {
        let Ok(files) = fs::read_dir(&self.folder) else { return };
        for file in files.flatten() {
            let name = file.file_name();
            if name.to_string_lossy().starts_with("data") && *name != *data_name(kept) {
                discard(&file.path());
            }
        }
    }
}

impl Store {
    /// See `Driver::open_upload`. Nothing is synced: an upload without bytes has nothing to lose, and
    /// the first append syncs the folder with them.
    pub(crate) fn open_upload(&self) -> Result<UploadState> {
        let mode = self.settings.directory_mode.unwrap_or(0o700);
        let folder = tempfile::Builder::new()
            .prefix("")
            .rand_bytes(32)
            .permissions(Permissions::from_mode(mode))
            .tempdir_in(self.staging.uploads())
            .map_err(staging_failed)?;
        // The data first: a record without data means that the upload was committed.
        File::create_new(folder.path().join(data_name(0)))
            .and_then(|data| self.staging.set_file_mode(&data))
            .and_then(|()| Record::create(&folder.path().join("record")))
            .map_err(staging_failed)?;
        let folder = folder.keep();
        state(&folder.file_name().unwrap_or_default().to_string_lossy(), 0)
    }

    /// Finds an upload.
    ///
    /// # Errors
    /// `NotFound` when it is gone.
    pub(crate) fn find_upload(&self, state: &UploadState) -> Result<Upload> {
        let (id, generation) = parse(state)?;
        let folder = self.staging.uploads().join(id);
        let record = Record::open(&folder.join("record"))?;
        Ok(Upload { id: id.to_owned(), folder, record, generation })
    }

    /// See `Driver::commit`. Up to the rename the upload is as it was; from the rename on the object is
    /// there, and a second commit finds no upload.
    pub(crate) fn commit(
        &self,
        state: &UploadState,
        path: &ObjectPath,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        self.root.object(path)?;
        let upload = self.find_upload(state)?;
        let locked = upload.record.lock()?;
        let standing = upload.standing()?;
        // Before anything is copied in vain. The rename checks again.
        self.check_condition(path, condition)?;
        let (data, data_path, copied) = match upload.take_data(&locked, standing)? {
            Some(data) => (data, upload.folder.join(data_name(standing.data)), false),
            None => {
                let (data, path) = upload.copy_data(standing, locked.draw_claim()?, &Stop::default())?;
                (data, path, true)
            }
        };
        // An append has synced the bytes. Without one there is the empty file itself to be kept.
        let unsynced = copied || standing.generation == 0;
        let published = publishing::stamp(&data)
            .and_then(|()| if unsynced { data.sync_data() } else { Ok(()) })
            .map_err(Error::from)
            .and_then(|()| self.publish(&data_path, &data, path, condition, Lasts::Always));
        match published {
            Err(error) if !error.outcome_unknown => {
                if copied {
                    discard(&data_path);
                }
                Err(error)
            }
            done => {
                remove_folder(&upload.folder);
                done
            }
        }
    }

    /// See `Driver::abort`.
    pub(crate) fn abort(&self, state: &UploadState) -> Result<()> {
        // A foreign state names no upload of ours, so there is nothing to discard.
        let Ok((id, _)) = parse(state) else { return Ok(()) };
        let folder = self.staging.uploads().join(id);
        match Record::open(&folder.join("record")) {
            Ok(record) => {
                // Waits for a commit or the end of an append that is under way.
                let locked = record.lock();
                if let Err(error) = &locked
                    && !error.is_not_found()
                {
                    return Err(error.clone());
                }
                remove_folder(&folder);
            }
            // No record, but perhaps a folder: the end of an earlier abort is missing.
            Err(error) if error.is_not_found() => remove_folder(&folder),
            Err(error) => return Err(error),
        }
        if folder.exists() {
            Err(Error::new(ErrorKind::Unavailable, "the upload was not removed"))
        } else {
            Ok(())
        }
    }

    /// See `Driver::list_uploads`. In the order of the ids, which are the cursors.
    pub(crate) fn list_uploads(
        &self,
        older_than: SystemTime,
        after: Option<&str>,
        limit: usize,
    ) -> Result<UploadPage> {
        let mut page = UploadPage::default();
        let mut last = None;
        for id in self.upload_ids()? {
            if after.is_some_and(|after| id.as_str() <= after) {
                continue;
            }
            // Gone since its name was read, or left by a crash.
            let Some(upload) = self.pending(&id) else { continue };
            if upload.touched >= older_than {
                continue;
            }
            if page.uploads.len() == limit.max(1) {
                page.next = last;
                break;
            }
            page.uploads.push(upload);
            last = Some(id);
        }
        Ok(page)
    }

    /// Removes what crashes left of uploads: folders without a record or without the data.
    pub(crate) fn remove_broken_uploads(&self) {
        let Ok(ids) = self.upload_ids() else { return };
        for id in ids {
            let folder = self.staging.uploads().join(&id);
            if is_leftover(&folder) && self.pending(&id).is_none() {
                tracing::info!(upload = id, "removed what a crash left of an upload");
                remove_folder(&folder);
            }
        }
    }

    fn upload_ids(&self) -> Result<Vec<String>> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(self.staging.uploads()).map_err(staging_failed)? {
            ids.extend(entry?.file_name().into_string());
        }
        ids.sort_unstable();
        Ok(ids)
    }

    fn pending(&self, id: &str) -> Option<PendingUpload> {
        let folder = self.staging.uploads().join(id);
        let record = Record::open(&folder.join("record")).ok()?;
        let standing = record.standing().ok()?;
        let changed = |name: &str| fs::metadata(folder.join(name)).and_then(|metadata| metadata.modified());
        // While an append runs, the data is newer than the record.
        let touched = changed("record").ok()?.max(changed(&data_name(standing.data)).ok()?);
        Some(PendingUpload { state: state(id, standing.generation).ok()?, touched, size: standing.offset })
    }
}

/// The record inside an upload state: the folder and the generation.
fn state(id: &str, generation: u64) -> Result<UploadState> {
    UploadState::new(format!("{id}.{generation}"))
}

fn parse(state: &UploadState) -> Result<(&str, u64)> {
    std::str::from_utf8(state.as_bytes())
        .ok()
        .and_then(|text| text.split_once('.'))
        // The id becomes a file name.
        .filter(|(id, _)| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        .and_then(|(id, generation)| Some((id, generation.parse().ok()?)))
        .ok_or_else(|| Error::new(ErrorKind::Conflict, "the upload state is not one of this driver's"))
}

/// Removes a file that nobody needs. What stays is found again when the upload ends.
pub(crate) fn discard(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != Io::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "a file of an upload stays");
    }
}

/// Removes the folder of an upload that has ended.
fn remove_folder(folder: &Path) {
    for _ in 0..ATTEMPTS {
        match fs::remove_dir_all(folder) {
            Ok(()) => return,
            Err(error) if error.kind() == Io::NotFound => return,
            // An appender that does not know yet made a file in it.
            Err(error) if error.kind() == Io::DirectoryNotEmpty => {}
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "the folder of an upload stays");
                return;
            }
        }
    }
}
