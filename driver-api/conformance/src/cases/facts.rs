//! What is known of an object without its content: size, time of change, tag, the same in every call.

use std::time::{Duration, SystemTime};

use docker_registry_driver_api::{Condition, ETag, Entry, ListRequest, ObjectInfo, ReadRange, Stat};

use crate::{
    case::group,
    checks::{holds, ok, same},
    failure::skip,
    listing, promise,
    store::{Store, call},
};

group! {
    "facts":
    facts_agree_in_every_call =>
        "Size, time of change and tag are the same in get, head, stat, read and a listing.";
    a_change_of_content_changes_the_tag =>
        "Each replacement has another tag than what it replaced, also at the same size and in the same second.";
    put_returns_the_new_tag =>
        "The tag that put returns is the one that head finds.";
    the_time_of_change_moves_on =>
        "The time of change is about now, and later after a replacement.";
}

/// The clock of the storage may differ this much from the one here.
const CLOCKS: Duration = Duration::from_secs(24 * 60 * 60);
/// Longer than the coarsest precision of a time of change.
const A_TICK: Duration = Duration::from_millis(2100);

/// What one call says.
#[derive(Debug)]
struct Facts {
    call: &'static str,
    size: u64,
    modified: Option<SystemTime>,
    etag: Option<ETag>,
}

impl Facts {
    fn of(call: &'static str, info: ObjectInfo) -> Self {
        Self { call, size: info.size, modified: info.modified, etag: info.etag }
    }
}

/// What all calls say of an object that is there, or which listing does not hold it.
async fn facts(store: &Store, name: &str) -> Result<Vec<Facts>, String> {
    let path = store.path(name);
    let get = ok(store.driver.get(&call(), &path, u64::MAX).await, "get", promise::GET);
    let length = get.content.len() as u64;
    same(get.info.size, length, "the size in info", promise::GET_SIZE);
    let mut all = vec![Facts::of("head", store.head(name).await), Facts::of("get", get.info)];
    match ok(store.stat(name).await, "stat of an object", promise::STAT) {
        Stat::Object(info) => all.push(Facts::of("stat", info)),
        Stat::Folder => holds(false, "stat of an object says what is known of it", "a folder", promise::STAT),
    }
    let reading = ok(store.driver.read(&call(), &path, ReadRange::Full).await, "read", promise::READ);
    all.push(Facts { call: "read", size: reading.total_size, modified: None, etag: reading.etag });
    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
    let requests = [ListRequest::children(store.folder(folder)), ListRequest::below(store.folder(folder))];
    for (call_name, request) in ["list of the children", "list of all below"].into_iter().zip(requests) {
        let entries = listing::entries(&store.driver, request, usize::MAX).await;
        match entries.into_iter().find(|entry| entry.path == path.as_str()) {
            Some(Entry { object: Some(info), .. }) => all.push(Facts::of(call_name, info)),
            other => return Err(format!("{call_name} holds the object {path}, and not {other:?}")),
        }
    }
    Ok(all)
}

async fn facts_agree_in_every_call(store: Store) {
    for (name, content) in [("a/small", "12345"), ("a/empty", ""), ("a/small", "1234567")] {
        store.put(name, content).await;
        store.expect(name, content, promise::PUT).await;
        let size = content.len() as u64;
        let settled = |all: &Result<Vec<Facts>, String>| {
            all.as_ref().is_ok_and(|all| {
                all.iter().all(|facts| {
                    facts.size == size
                        && facts.etag.as_ref().is_none_or(|etag| Some(etag) == all[0].etag.as_ref())
                })
            })
        };
        let found = store.eventually(|| facts(&store, name), settled).await;
        holds(found.is_ok(), "every call finds the object", format_args!("{found:?}"), promise::ENTRY_FACTS);
        let all = found.unwrap_or_default();
        let head = &all[0];
        for facts in &all {
            same(facts.size, size, format_args!("the size of {name} by {}", facts.call), promise::SIZE);
            // A listing may leave the tag out, and no other call.
            if facts.etag.is_some() || !facts.call.starts_with("list") {
                let what = format_args!("the tag of {name} by {}, as by head", facts.call);
                same(facts.etag.as_ref(), head.etag.as_ref(), what, promise::TAG);
            }
            if let (Some(one), Some(other)) = (facts.modified, head.modified) {
                holds(
                    difference(one, other) < Duration::from_secs(1),
                    format_args!("the time of change of {name} by {} and by head is the same", facts.call),
                    format_args!("{one:?} and {other:?}"),
                    promise::MODIFIED_AGREES,
                );
            }
        }
        if let Some(ETag(tag)) = &head.etag {
            holds(
                tag.len() <= 1024,
                "a tag of at most 1024 bytes",
                format_args!("{} bytes", tag.len()),
                promise::TAG_LENGTH,
            );
        }
    }
}

async fn a_change_of_content_changes_the_tag(store: Store) {
    let mut last: Option<ETag> = None;
    // The same size and the same moment, as far as clocks can tell.
    for content in ["1", "2", "1", "2", "1", "2", "3", "33", ""] {
        store.put("a", content).await;
        store.expect("a", content, promise::PUT).await;
        let changed = |info: &ObjectInfo| info.etag.is_none() || info.etag != last;
        let info = store.eventually(|| store.head("a"), changed).await;
        holds(
            changed(&info),
            format_args!("another tag when the content became {content:?}"),
            format_args!("the same tag, {:?}", info.etag),
            promise::ETAG,
        );
        last = info.etag;
    }
}

async fn put_returns_the_new_tag(store: Store) {
    for content in ["first", "second", ""] {
        let put = store.driver.put(&call(), &store.path("a"), content.into(), &Condition::Always).await;
        let tag = ok(put, "put", promise::PUT);
        let info = store.eventually(|| store.head("a"), |info| info.etag == tag).await;
        same(info.etag, tag, "the tag by head, as put returned it", promise::NEW_TAG);
    }
}

async fn the_time_of_change_moves_on(store: Store) {
    store.put("a", "before").await;
    let Some(before) = store.head("a").await.modified else {
        skip("the storage keeps no time of change");
    };
    holds(
        difference(before, SystemTime::now()) < CLOCKS,
        "an object that was just written was changed today",
        format_args!("{before:?}"),
        promise::MODIFIED,
    );
    tokio::time::sleep(A_TICK).await;
    store.put("a", "after!").await;
    let later = |info: &ObjectInfo| info.modified.is_some_and(|after| after > before);
    let info = store.eventually(|| store.head("a"), later).await;
    holds(
        later(&info),
        format_args!("a time of change later than {before:?} after a replacement"),
        format_args!("{:?}", info.modified),
        promise::MODIFIED,
    );
}

fn difference(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other).unwrap_or_else(|error| error.duration())
}
