//! The trait that stands between the engine and one kind of object store.
//!
//! Every method is **one attempt**: the engine puts the deadline around it, retries it when its error says
//! so, and counts. A method returns errors whose kind, `retryable`, `outcome_unknown` and `retry_after` are
//! right, because the engine acts on nothing else. Keys are whole: the engine has put the root before them.

use std::{
    ops::Range,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use docker_registry_driver_api::{ByteStream, Condition, ETag, Error, ReadRange, Result};

/// Content of a write: pieces of memory that are sent one after the other, without being joined. Cheap to
/// clone for another attempt.
pub type Content = object_store::PutPayload;

/// What a store can do and where its limits are. Constant after the bucket was opened; what depends on the
/// server is probed before.
#[derive(Debug, Clone)]
pub struct Limits {
    /// [`Bucket::put`] honours `IfAbsent`, atomically.
    pub put_if_absent: bool,
    /// [`Bucket::put`] honours `IfMatch`, atomically.
    pub put_if_match: bool,
    /// [`Bucket::finish`] honours `IfAbsent`, atomically.
    pub finish_if_absent: bool,
    /// [`Bucket::finish`] honours `IfMatch`, atomically.
    pub finish_if_match: bool,
    /// Largest content of [`Bucket::put`], in bytes.
    pub largest_put: u64,
    /// Smallest part of a large object, in bytes; the last one may be smaller.
    pub smallest_part: u64,
    /// Largest part, in bytes.
    pub largest_part: u64,
    /// Every part but the last is a multiple of this, in bytes; 1 where nothing is asked for.
    pub part_multiple: u64,
    /// Most parts of one object.
    pub most_parts: u32,
    /// Parts may be sent at the same time and in any order. Otherwise one after the other.
    pub parallel_parts: bool,
    /// [`Bucket::copy_part`] works: parts can be copied from other objects at the server.
    pub copied_parts: bool,
    /// Largest object that [`Bucket::copy`] takes in one call, in bytes.
    pub largest_copy: u64,
    /// Most keys of one [`Bucket::delete_batch`]; 1 when the store has no batches.
    pub largest_batch: usize,
    /// [`Bucket::list`] honours `after`. Otherwise the engine pages by tokens.
    pub list_after: bool,
    /// [`Bucket::get`] takes `ReadRange::Last`. Otherwise the engine asks for the size first.
    pub suffix_ranges: bool,
    /// [`Bucket::list_begun`] finds what was begun and never finished.
    pub lists_begun: bool,
    /// [`Bucket::abandon`] may meet a [`Bucket::finish`] that is under way: one of them happens, whole. Otherwise nothing is
    /// abandoned that may still be finished, until `list_uploads` finds it.
    pub abandons_whole: bool,
    /// [`Bucket::sign`] makes addresses.
    pub signs: bool,
    /// A write is visible to every reader at once, listings included.
    pub strongly_consistent: bool,
}

impl Limits {
    /// The limits of a store of the S3 kind, all abilities included.
    pub fn s3() -> Self {
        Self {
            put_if_absent: true,
            put_if_match: true,
            finish_if_absent: true,
            finish_if_match: true,
            largest_put: 5 << 30,
            smallest_part: 5 << 20,
            largest_part: 5 << 30,
            part_multiple: 1,
            most_parts: 10_000,
            parallel_parts: true,
            copied_parts: true,
            largest_copy: 5 << 30,
            largest_batch: 1_000,
            list_after: true,
            suffix_ranges: true,
            lists_begun: true,
            abandons_whole: true,
            signs: true,
            strongly_consistent: true,
        }
    }
}

/// Facts of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Size in bytes.
    pub size: u64,
    /// Time of the last write.
    pub modified: Option<SystemTime>,
    /// Tag that changes with the content, as the store gives it, quotes included.
    pub etag: Option<ETag>,
    /// The text that the write was given as its `mark`, if it was given one.
    pub mark: Option<String>,
}

/// An object that is being read.
pub struct Opened {
    /// Facts of the whole object.
    pub facts: Facts,
    /// Offset of the first byte of the body in the object.
    pub offset: u64,
    /// Number of bytes that the body is going to have.
    pub length: u64,
    /// The bytes. A connection that breaks, or ends early, is an `Err` item that is retryable: the engine
    /// then asks for the rest, with `if_match`.
    pub body: ByteStream,
}

/// One object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The key, byte for byte as it was written.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// Time of the last write.
    pub modified: Option<SystemTime>,
    /// Tag, if the listing has it.
    pub etag: Option<ETag>,
}

/// What is to be listed: one request.
#[derive(Debug, Clone)]
pub struct ListCall {
    /// Only keys that begin with this text; empty for all.
    pub prefix: String,
    /// Keys with a `/` behind the prefix are given as one entry of `Listing::prefixes`.
    pub delimited: bool,
    /// Only keys behind this one; `None` from the beginning. Ignored without [`Limits::list_after`].
    pub after: Option<String>,
    /// Goes on where the page before ended; `after` counts no more then.
    pub token: Option<String>,
    /// Most entries, 1 to 1,000.
    pub limit: u32,
}

/// One page of a listing.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Objects in byte order of their keys.
    pub objects: Vec<Listed>,
    /// Folders in byte order, each with its `/` at the end.
    pub prefixes: Vec<String>,
    /// For the next page; `None` when this was the last. Never kept beyond the process.
    pub next: Option<String>,
}

/// What a part is remembered by until the object is finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Number of the part, from 1, ascending.
    pub number: u32,
    /// Size in bytes.
    pub size: u64,
    /// What the store wants to hear again (an entity tag, a block id).
    pub tag: String,
}

/// A part on its way to the store.
#[derive(Debug, Clone)]
pub struct NewPart {
    /// Number from 1, ascending, without gaps.
    pub number: u32,
    /// Offset of its first byte in the object.
    pub offset: u64,
    /// The bytes.
    pub content: Content,
    /// Whether it is the last, where that is known. Always right when parts go one after the other.
    pub last: bool,
}

/// A large object that was begun and neither finished nor abandoned.
#[derive(Debug, Clone)]
pub struct Begun {
    /// Its key.
    pub key: String,
    /// What [`Bucket::abandon`] wants.
    pub id: String,
    /// When it was begun.
    pub begun: SystemTime,
}

/// What a signed address is wanted for.
#[derive(Debug, Clone)]
pub struct SignCall {
    /// The object.
    pub key: String,
    /// `GET` or `HEAD`.
    pub method: http::Method,
    /// How long the address is to work.
    pub expires: Duration,
    /// Response headers that the store is asked to send, lower-case names.
    pub response_headers: Vec<(String, String)>,
}

/// One bucket or container of an object store.
#[async_trait]
pub trait Bucket: Send + Sync + 'static {
    /// Abilities and limits.
    fn limits(&self) -> &Limits;

    /// Whether the bucket can be used: one cheap request that needs the credentials. Errors name the
    /// configuration key to look at and tell wrong credentials from an absent bucket from an endpoint that
    /// does not answer. Where it lists, only below `root`, which may be all that a policy allows.
    async fn probe(&self, root: &str) -> Result<()>;

    /// Opens an object. With `if_match` only while it still has this tag, and `ConditionFailed` otherwise.
    /// `InvalidRange` where no byte is in the range; `ReadRange::Full` of an empty object is fine.
    async fn get(&self, key: &str, range: ReadRange, if_match: Option<&ETag>) -> Result<Opened>;

    /// Facts of one object, the mark included.
    async fn head(&self, key: &str) -> Result<Facts>;

    /// Writes a whole object. `mark` is kept with it (as user metadata) and given back by
    /// [`Bucket::head`]. `ConditionFailed` when the condition does not hold.
    async fn put(
        &self,
        key: &str,
        content: Content,
        condition: &Condition,
        mark: Option<&str>,
    ) -> Result<Option<ETag>>;

    /// Deletes one object; an absent one is `Ok` where the store does not tell.
    async fn delete(&self, key: &str) -> Result<()>;

    /// Deletes up to [`Limits::largest_batch`] objects in one request; absent ones are no error. Returns
    /// those that stay.
    async fn delete_batch(&self, keys: &[String]) -> Result<Vec<(String, Error)>>;

    /// One page.
    async fn list(&self, call: &ListCall) -> Result<Listing>;

    /// Copies an object of at most [`Limits::largest_copy`] bytes, of `size` bytes, at the server. When it
    /// returns, the copy is complete.
    async fn copy(&self, from: &str, to: &str, size: u64) -> Result<()>;

    /// Begins a large object. `mark` as in [`Bucket::put`]; `condition` is the one that
    /// [`Bucket::finish`] will be given, for stores that want to know it now.
    async fn begin(&self, key: &str, condition: &Condition, mark: Option<&str>) -> Result<String>;

    /// Sends one part. Sending a number again replaces it.
    async fn part(&self, key: &str, id: &str, part: NewPart) -> Result<Part>;

    /// Makes a part of a range of another object, at the server.
    async fn copy_part(
        &self,
        key: &str,
        id: &str,
        number: u32,
        from: &str,
        range: Range<u64>,
    ) -> Result<Part>;

    /// Makes the parts an object, atomically. `NotFound` when it was finished or abandoned already: the
    /// engine looks for the mark then.
    async fn finish(
        &self,
        key: &str,
        id: &str,
        parts: &[Part],
        condition: &Condition,
    ) -> Result<Option<ETag>>;

    /// Forgets a large object that was begun, its parts included. `Ok` when it is gone already.
    async fn abandon(&self, key: &str, id: &str) -> Result<()>;

    /// Large objects that were begun under the prefix, one page; the text goes on from there.
    async fn list_begun(&self, prefix: &str, after: Option<&str>) -> Result<(Vec<Begun>, Option<String>)>;

    /// An address where anybody can fetch the object for a while. `None` when it cannot be made.
    async fn sign(&self, call: &SignCall) -> Result<Option<String>>;

    /// Waits for what it does behind the callers' backs. The engine puts a limit around it.
    async fn close(&self) {}

    /// An empty part list is not an object everywhere: content for a put of nothing.
    fn nothing(&self) -> Content {
        Content::from_bytes(Bytes::new())
    }
}

/// Name under which the mark of a write is kept in the user metadata of an object. Letters only: every
/// store and every proxy lets them pass.
pub const MARK: &str = "dockerregistrymark";
