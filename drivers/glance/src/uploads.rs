//! Uploads: they grow in the other driver, and become images when they are committed.
//!
//! # On the way to Glance
//! A commit at the path of an image first commits at a path of the other driver that is hidden there (see
//! [`crate::routing`]) and made from the state, sends that object to Glance, and deletes it. When Glance fails, the same
//! commit made again goes on from there.
//!
//! # States
//! The first byte says of what: `a` an upload of the other driver, `s` an object on its way to Glance, `i` an image that
//! was never completed. The latter two are what a crash leaves; `list_uploads` finds them and `abort` deletes them.

use std::time::SystemTime;

use docker_registry_driver_api::{
    ByteStream, CallContext, Error, ErrorKind, ListRequest, ObjectInfo, ObjectPath, PendingUpload, Result,
    UploadHint, UploadPage, UploadProgress, UploadState,
};
use serde_json::Map;

use crate::{
    GlanceDriver,
    content::stream_of,
    document::{STATE, WRITING},
    routing::{is_image, is_staged, staging_folder, staging_path},
};

const ALTERNATE: u8 = b'a';
const STAGED: u8 = b's';
const IMAGE: u8 = b'i';

/// What a state is about.
enum Upload {
    Alternate(UploadState),
    Staged(ObjectPath),
    Image(String),
}

fn state(kind: u8, rest: &[u8]) -> Result<UploadState> {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(rest);
    UploadState::new(bytes)
}

/// `NotFound` for what this driver did not hand out.
fn read(state: &UploadState) -> Result<Upload> {
    let unknown = || Error::new(ErrorKind::NotFound, "there is no such upload");
    let (kind, rest) = state.as_bytes().split_first().ok_or_else(unknown)?;
    let text = || std::str::from_utf8(rest).map_err(|_| unknown());
    match *kind {
        ALTERNATE => Ok(Upload::Alternate(UploadState::new(rest)?)),
        STAGED => {
            let path = ObjectPath::new(text()?).map_err(|_| unknown())?;
            if is_staged(path.as_str()) { Ok(Upload::Staged(path)) } else { Err(unknown()) }
        }
        IMAGE if rest.len() == 36 => Ok(Upload::Image(text()?.to_owned())),
        _ => Err(unknown()),
    }
}

/// The other driver's state of an upload that goes on.
fn going_on(state: &UploadState) -> Result<UploadState> {
    match read(state)? {
        Upload::Alternate(state) => Ok(state),
        _ => Err(Error::new(ErrorKind::NotFound, "the upload cannot go on")),
    }
}

impl GlanceDriver {
    /// See [`Driver::open_upload`](docker_registry_driver_api::Driver::open_upload).
    pub(crate) async fn begin(&self, call: &CallContext, hint: &UploadHint) -> Result<UploadState> {
        let mut hint = hint.clone();
        hint.final_path = hint.final_path.filter(|path| !is_image(path.as_str()));
        state(ALTERNATE, self.alternate.open_upload(call, &hint).await?.as_bytes())
    }

    /// See [`Driver::append`](docker_registry_driver_api::Driver::append).
    pub(crate) async fn go_on(
        &self,
        call: &CallContext,
        upload: &UploadState,
        offset: u64,
        body: ByteStream,
    ) -> Result<UploadProgress> {
        let progress = self.alternate.append(call, &going_on(upload)?, offset, body).await?;
        Ok(UploadProgress { state: state(ALTERNATE, progress.state.as_bytes())?, offset: progress.offset })
    }

    /// See [`Driver::commit`](docker_registry_driver_api::Driver::commit).
    pub(crate) async fn finish(
        &self,
        call: &CallContext,
        upload: &UploadState,
        path: &ObjectPath,
    ) -> Result<ObjectInfo> {
        let upload = going_on(upload)?;
        let always = &docker_registry_driver_api::Condition::Always;
        if !is_image(path.as_str()) {
            return self.alternate.commit(call, &upload, path, always).await;
        }
        let staged = staging_path(upload.as_bytes())?;
        let Some(_mark) = self.glance.under_way.begin(staged.as_str()) else {
            return Err(Error::new(ErrorKind::Conflict, "the upload is on its way to Glance already"));
        };
        match self.alternate.commit(call, &upload, &staged, always).await {
            Ok(_) => {}
            // An earlier commit came this far.
            Err(gone) if gone.is_not_found() => match self.alternate.head(call, &staged).await {
                Ok(_) => {}
                Err(error) if error.is_not_found() => return Err(without_path(gone)),
                Err(error) => return Err(without_path(error)),
            },
            Err(error) => return Err(without_path(error)),
        }
        let info = self.send(call, &staged, path).await?;
        if let Err(error) = self.alternate.delete(call, &staged).await {
            // It is found among the pending uploads.
            tracing::warn!(%error, "a content that is in Glance by now stays in the other driver as well");
        }
        Ok(info)
    }

    /// Writes an object of the other driver as an image.
    pub(crate) async fn send(
        &self,
        call: &CallContext,
        from: &ObjectPath,
        to: &ObjectPath,
    ) -> Result<ObjectInfo> {
        use docker_registry_driver_api::ReadRange::Full;

        let open = || async {
            let reading = self.alternate.read(call, from, Full).await.map_err(without_path)?;
            Ok((reading.total_size, stream_of(reading.body)))
        };
        self.glance.write_again(call, to, &Map::new(), open).await
    }

    /// See [`Driver::abort`](docker_registry_driver_api::Driver::abort).
    pub(crate) async fn give_up(&self, call: &CallContext, upload: &UploadState) -> Result<()> {
        let unless_absent = |result: Result<()>| match result {
            Err(error) if !error.is_not_found() => Err(without_path(error)),
            _ => Ok(()),
        };
        match read(upload) {
            Ok(Upload::Alternate(state)) => {
                self.alternate.abort(call, &state).await?;
                unless_absent(self.alternate.delete(call, &staging_path(state.as_bytes())?).await)
            }
            Ok(Upload::Staged(path)) if self.glance.under_way.has(path.as_str()) => Ok(()),
            Ok(Upload::Staged(path)) => unless_absent(self.alternate.delete(call, &path).await),
            Ok(Upload::Image(id)) => match self.glance.image(call, &id).await {
                Ok(image)
                    if image.is_being_written()
                        && self.glance.path(&image).is_some()
                        && !self.glance.under_way.has(&id) =>
                {
                    self.glance.delete(call, &id).await
                }
                Err(error) if !error.is_not_found() => Err(error),
                _ => Ok(()),
            },
            // Nobody's.
            Err(_) => Ok(()),
        }
    }

    /// See [`Driver::list_uploads`](docker_registry_driver_api::Driver::list_uploads).
    pub(crate) async fn pending(
        &self,
        call: &CallContext,
        older_than: SystemTime,
        after: Option<&str>,
        limit: u32,
    ) -> Result<UploadPage> {
        let kind = after.and_then(|after| after.bytes().next()).unwrap_or(ALTERNATE);
        let cursor = after.and_then(|after| after.get(1..)).filter(|rest| !rest.is_empty());
        let mut page = UploadPage::default();
        let next = match kind {
            ALTERNATE => {
                let found = self.alternate.list_uploads(call, older_than, cursor, limit).await?;
                for pending in found.uploads {
                    let state = state(ALTERNATE, pending.state.as_bytes())?;
                    page.uploads.push(PendingUpload { state, ..pending });
                }
                found.next.map_or((STAGED, None), |next| (ALTERNATE, Some(next)))
            }
            STAGED => {
                let after = cursor.map(str::to_owned);
                let request = ListRequest { after, limit, ..ListRequest::below(staging_folder()?) };
                let found = self.alternate.list(call, &request).await?;
                for entry in found.entries.into_iter().filter(|entry| is_staged(&entry.path)) {
                    let info = entry.object.unwrap_or(ObjectInfo { size: 0, modified: None, etag: None });
                    // One of unknown age may be on its way just now.
                    let is_under_way = self.glance.under_way.has(&entry.path);
                    let touched = info.modified.filter(|touched| *touched < older_than && !is_under_way);
                    let Some(touched) = touched else { continue };
                    let state = state(STAGED, entry.path.as_bytes())?;
                    page.uploads.push(PendingUpload { state, touched, size: info.size });
                }
                found.next.map_or((IMAGE, None), |next| (STAGED, Some(next)))
            }
            _ => {
                let found = self.glance.page(call, &[(STATE, WRITING)], cursor).await?;
                let last = found.images.last().map(|image| image.id.clone());
                let images = found.images.iter().filter(|image| self.glance.path(image).is_some());
                for (image, touched) in images.filter_map(|image| Some((image, image.changed()?))) {
                    if touched >= older_than || self.glance.under_way.has(&image.id) {
                        continue;
                    }
                    // A page of Glance is not larger than one that may be asked for, unless that is small.
                    if page.uploads.len() == limit as usize {
                        break;
                    }
                    let state = state(IMAGE, image.id.as_bytes())?;
                    page.uploads.push(PendingUpload { state, touched, size: image.stored_size() });
                }
                let is_full = page.uploads.len() == limit as usize;
                let last_told = page
                    .uploads
                    .last()
                    .map(|last| String::from_utf8_lossy(&last.state.as_bytes()[1..]).into_owned());
                match if is_full { last_told } else { found.next.and(last) } {
                    Some(marker) => (IMAGE, Some(marker)),
                    None => return Ok(page),
                }
            }
        };
        page.next = Some(format!("{}{}", char::from(next.0), next.1.unwrap_or_default()));
        Ok(page)
    }
}

/// The path of something hidden is none that a caller knows.
fn without_path(mut error: Error) -> Error {
    error.path = None;
    error.operation.clear();
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_that_were_not_handed_out_are_nobodys() {
        let told = |bytes: &[u8]| read(&UploadState::new(bytes).unwrap());
        assert!(matches!(told(b"axyz"), Ok(Upload::Alternate(state)) if state.as_bytes() == b"xyz"));
        let staged = staging_path(b"xyz").unwrap();
        let bytes = [b"s", staged.as_str().as_bytes()].concat();
        assert!(matches!(told(&bytes), Ok(Upload::Staged(path)) if path == staged));
        let id = "0f3d2a30-1a1b-4c4d-9e9f-aabbccddeeff";
        assert!(matches!(told(format!("i{id}").as_bytes()), Ok(Upload::Image(found)) if found == id));
        for other in [&b""[..], b"sdocker/registry/v2/blobs/x", b"s\xff", b"i1", b"x"] {
            assert!(told(other).err().is_some_and(|error| error.is_not_found()), "{other:?}");
        }
        assert!(going_on(&UploadState::new(bytes).unwrap()).is_err());
    }
}
