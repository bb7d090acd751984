//! The sentences of the driver API's documentation that the suite holds a driver to.
//!
//! Every one is quoted word by word; a test looks them up in the sources of the API, so that the suite
//! cannot demand what is not promised.

use std::fmt;

/// A sentence, and where it stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Promise {
    /// The method or type that it is about.
    of: &'static str,
    /// The sentence, or the part of it that counts.
    says: &'static str,
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: \"{}\"", self.of, self.says)
    }
}

macro_rules! promises {
    ($($name:ident: $of:literal says $says:literal;)+) => {
        $(pub(crate) const $name: Promise = Promise { of: $of, says: $says };)+
        #[cfg(test)]
        const ALL: &[Promise] = &[$($name),+];
    };
}

promises! {
    // Every method.
    CONCURRENCY: "Driver" says "any number of calls run at once, from any thread.";
    DROPPED: "Driver" says "a call whose future is dropped stops as soon as it can.";
    CANCELLATION: "Driver" says "A write that was dropped may or may not have happened, but never by half.";
    DURABILITY: "Driver" says "when a write returns `Ok`, it survives a crash of the process";
    ATOMICITY: "Driver" says "a reader sees an object as it was before a write or after it, never between.";
    NOT_FOUND: "Driver" says "an absent object is [`NotFound`](crate::ErrorKind::NotFound) everywhere, and a folder is no object.";
    UNKNOWN: "Driver" says "A write whose fate is not known sets [`outcome_unknown`](crate::Error::outcome_unknown).";
    FILLED_IN: "Driver" says "`operation` and `path` of the error are filled in for the author.";
    TRANSIENT: "CallContext" says "Whether what this call writes or deletes need not outlive the machine, only the process";
    DEADLINE: "CallContext" says "When the caller stops waiting; `None` for no limit.";
    // Objects.
    PUT: "put" says "Writes a small object whole and atomically, making the folders it needs.";
    GET: "get" says "Reads a small object whole, in one round trip where the storage allows it.";
    HEAD: "head" says "Facts of exactly one object, in one round trip.";
    // What more is promised of objects at rest.
    NAMES: "Driver" says "paths that differ in a single byte are different objects, and a listing returns each path byte for byte as it was written";
    NAME_REFUSED: "Driver" says "A write to a path that the storage cannot keep fails with [`InvalidPath`](crate::ErrorKind::InvalidPath) and changes nothing.";
    NAME_KEPT: "Driver" says "Segments of up to 200 ASCII letters, digits, `.`, `_`, `-`, `%` and `+` can always be kept";
    PUT_CONFLICT: "put" says "when a folder is at the path or an object is where one of its folders would be, in stores that have folders.";
    NEW_TAG: "put" says "Returns its new tag if the storage has tags.";
    GET_LIMIT: "get" says "when it has more than `max_size` bytes, found before they are read into memory.";
    GET_SIZE: "Object" says "`info.size` equals the length of the content.";
    HEAD_FOLDER: "head" says "A folder is `NotFound` here.";
    STAT: "stat" says "What lies at a path, folders included. The root is always a folder.";
    FOLDER: "Prefix" says "A folder: the storage root, or all objects whose path starts with these segments and a `/`.";
    SIZE: "ObjectInfo" says "Size in bytes.";
    MODIFIED: "ObjectInfo" says "Time of the last change, if the storage keeps one.";
    MODIFIED_AGREES: "ObjectInfo" says "Calls may give it with different precision and differ by less than a second for that.";
    TAG: "ObjectInfo" says "Version of the content, if the storage has one.";
    TAG_LENGTH: "ETag" says "An author may use any text of at most 1 KiB";
    READ: "read" says "Opens an object for reading.";
    READ_RANGE: "read" says "[`InvalidRange`](crate::ErrorKind::InvalidRange) by the rules of [`ReadRange::resolve`].";
    READ_TOTAL: "Reading" says "Size of the *whole* object in bytes, so that a ranged answer needs no second call.";
    READ_PLACE: "Reading" says "Offset of the first byte in the object.";
    READ_LENGTH: "Reading" says "Number of bytes that the body yields.";
    CHUNKS: "body" says "A stream yields chunks of any size above zero;";
    FILE_REGIONS: "Capability" says "`read` hands out file regions.";
    LIST_ABSENT: "list" says "A folder that does not exist is an empty page.";
    LIST_FOLDER: "list" says "In a listing of direct children a folder `a` sorts as `a`, and `after` is compared with entry paths as they are returned.";
    LIST_BELOW: "ListRequest" says "`true`: everything below the folder, objects only. `false`: its direct children, objects and folders.";
    LIST_CHANGES: "ListPage" says "an entry that is there all the time is listed exactly once.";
    ENTRY_FACTS: "Entry" says "The object's facts, or `None` for a folder. Size and time are right where they are present;";
    COPY: "copy" says "Copies one object, replacing what is at `to`.";
    COPY_ITSELF: "copy" says "A copy onto itself changes nothing.";
    RENAME: "rename" says "Moves one object, replacing what is at `to`.";
    RENAME_SAFE: "rename" says "The source goes only after the copy is known to be complete and of equal size.";
    RENAME_ITSELF: "rename" says "A move onto itself changes nothing.";
    RENAME_CONFLICT: "rename" says "the source is then still there.";
    SOURCE: "copy and rename" says "`NotFound` for the source; what is at `to` is then unchanged.";
    DELETE: "delete" says "Deletes one object.";
    DELETE_FOLDER: "delete" says "What lies in a folder of the same name stays.";
    DELETE_ABSENT: "delete" says "`NotFound`, where the storage tells; one that does not tell returns `Ok`.";
    DELETE_MANY: "delete_many" says "Deletes exactly these objects, however many they are; absent ones are no error.";
    TREE_COUNT: "delete_tree" says "Returns how many objects went.";
    TREE_NOTHING: "delete_tree" says "nothing there is `Ok(0)`.";
    REDIRECT: "redirect_url" says "An address where a client can fetch the object from the storage itself, or `None`.";
    REDIRECTS: "Capability" says "`redirect_url` may return an address.";
    OPEN_UPLOAD: "open_upload" says "Begins an upload; see [`crate::UploadState`] for the rules.";
    APPEND: "append" says "Adds the stream's bytes at `expected_offset`, which must be where the upload stands.";
    COMMIT: "commit" says "Makes the upload an object at `final_path`, atomically, and ends it.";
    ABORT: "abort" says "Discards the upload. Works with any state of it, stale ones included; one that is gone already is `Ok`.";
    LIST: "list" says "One page of a listing in byte order of the full paths.";
    LIST_ORDER: "ListPage" says "Entries are in ascending byte order of their paths and none is repeated.";
    PAGE_LIMIT: "ListRequest" says "Most entries wanted, 1 to [`MAX_PAGE`].";
    ENTRY_PATH: "Entry" says "Path from the storage root, without a `/` at the end.";
    CURSOR: "ListRequest" says "Only entries whose path is greater than this text, compared byte by byte.";
    LIST_UPLOADS: "list_uploads" says "Uploads that were last touched before `older_than`, at most `limit` of them.";
    PENDING: "PendingUpload" says "An upload that was opened and neither committed nor aborted.";
    RESUMABLE: "Capability" says "Uploads can go on in another process.";
    STAT_FOLDER: "Stat" says "A folder with at least one object somewhere below it, or the storage root.";
    HEALTH: "health" says "Whether the storage answers and can be written, as cheaply as that can be known.";
    // Uploads.
    UPLOAD_VISIBLE: "UploadState" says "Nothing is visible at any path before `commit` returns, and afterwards the object is there whole.";
    UPLOAD_STATE: "UploadState" says "The state is all that another process needs to go on";
    UPLOAD_DURABLE: "UploadState" says "**When `append` returns, the bytes it took are durable**";
    FENCE: "UploadState" says "at most one of them gets an `Ok`; the other gets [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) and has changed nothing that the winner relies on.";
    TAKE_OVER: "UploadState" says "The later caller takes over from an earlier one that still waits for its body, and never waits for it.";
    FOREIGN_STATE: "UploadState" says "A state that the driver did not hand out is refused with `Conflict` or [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) and never taken for another upload's";
    HINT: "UploadHint" says "What is known when an upload begins. All of it may be wrong or missing.";
    APPEND_CONFLICT: "append" says "[`Conflict`](crate::ErrorKind::Conflict) for a stale state or another offset;";
    APPEND_GONE: "append" says "`NotFound` when the upload was aborted or committed.";
    BODY_FAILED: "append" says "When the stream yields an error, the upload stays as it was before the call and `state` stays valid.";
    BODY_FAILED_KIND: "append" says "[`BodyFailed`](crate::ErrorKind::BodyFailed) when the stream failed;";
    BODY_FAILED_SOURCE: "ErrorKind" says "The caller's byte stream failed; its own error is the source.";
    BODY_DROPPED: "append" says "The same holds when the call is dropped before the stream has ended.";
    COMMIT_CONFLICT: "commit" says "`Conflict` for a stale state;";
    COMMIT_GONE: "commit" says "`NotFound` when the upload is gone.";
    COMMIT_CONDITION: "commit" says "`ConditionFailed` when `condition` does not hold (the upload then stays open);";
    COMMIT_OPEN: "commit" says "`Unsupported` and `Conflict` for the condition and the path are as in [`Driver::put`], and leave the upload open as well.";
    LIST_UPLOADS_UNSUPPORTED: "list_uploads" says "`Unsupported` without [`Capability::ListUploads`](crate::Capability::ListUploads).";
    LIST_UPLOADS_ALL: "Capability" says "`list_uploads` finds every pending upload.";
    PENDING_STATE: "PendingUpload" says "A state that `abort` accepts.";
    PENDING_TOUCHED: "PendingUpload" says "When the upload was opened or last appended to.";
    PENDING_SIZE: "PendingUpload" says "Number of durable bytes.";
    ETAG: "ETag" says "A text that changes whenever the content of an object changes.";
    // Writes of any size.
    WRITE: "write" says "Writes content of any size whole and atomically: an upload in one call";
    WRITE_SIZE: "write" says "`size` is how many will probably come; it promises nothing.";
    WRITE_FAILED: "write" says "When the stream yields an error, nothing is visible at the path but what was there, and nothing is left of what arrived.";
    WRITE_FAILED_KIND: "write" says "[`BodyFailed`](crate::ErrorKind::BodyFailed) when the stream failed; those of [`Driver::put`].";
    WRITE_DROPPED: "write" says "A call that is dropped before the stream has ended changes nothing at the path either;";
    // Conditions.
    TAG_NEEDED: "ObjectInfo" says "Version of the content, if the storage has one. Needed for [`Condition::IfMatch`].";
    IF_ABSENT: "Condition" says "Only when nothing is there: of many such writers exactly one succeeds.";
    IF_MATCH: "Condition" says "Only when the object there still has this tag.";
    CONDITION_FAILED: "ErrorKind" says "The condition of a conditional write did not hold: nothing was written.";
    CONDITION_UNSUPPORTED: "put" says "[`Unsupported`](crate::ErrorKind::Unsupported) when the driver lacks the capability for it;";
    CONFLICT: "ErrorKind" says "Nothing was changed.";
    // Readings and calls side by side.
    READING: "read" says "An open reading is not disturbed by a replacement or deletion of the object: it yields the old content, or an error, but never a mixture.";
    READING_LENGTH: "ReadingBody" says "Fewer or more bytes than announced is an error of the driver.";
    // Errors.
    SAFE_MESSAGE: "Error" says "One sentence for an operator, without secrets.";
    SAFE_SOURCE: "Error" says "Text of the underlying errors, outermost first, without secrets.";
    TIMEOUT: "ErrorKind" says "The deadline of the call passed.";
    OPEN: "open" says "Reaches out far enough to find wrong settings now, not on the first request";
    TREE: "delete_tree" says "Deletes everything below the folder and the object of the same name, and nothing else";
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn every_sentence_stands_in_the_sources_of_the_api() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src");
        let mut text = String::new();
        for file in fs::read_dir(sources).unwrap().map(|entry| entry.unwrap().path()) {
            if file.is_file() {
                for line in fs::read_to_string(file).unwrap().lines() {
                    let line = line.trim();
                    text.push_str(line.trim_start_matches("///").trim_start_matches("//!").trim());
                    text.push(' ');
                }
            }
        }
        for promise in ALL {
            assert!(text.contains(promise.says), "not in the sources: {promise}");
        }
    }
}
