//! The keys of everything that the driver keeps in the namespace.
//!
//! The original keeps an object under its path. This driver's own keys begin with `.docker-registry`, which no path
//! does that the server writes, so that neither overwrites the other's.

use std::time::{SystemTime, UNIX_EPOCH};

/// What every key of the driver itself begins with.
const OWN: &str = ".docker-registry/elliptics/";
/// What the paths of the driver's own objects begin with, uploads among them.
pub(crate) const OWN_PATHS: &str = ".docker-registry/";
/// The folder of large objects that were begun.
pub(crate) const BEGUN: &str = ".docker-registry/begun/";
/// The folder of uploads.
const UPLOADS: &str = ".docker-registry/uploads/";

/// The record of the object at a path.
pub(crate) fn record(path: &str) -> String {
    format!("{OWN}record/{path}")
}

/// One shard of the index of a folder.
pub(crate) fn index(folder: &str, depth: u8, shard: u32) -> String {
    format!("{OWN}index/{depth}/{shard}/{folder}")
}

/// The owners of a bundle.
pub(crate) fn owners(bundle: u128) -> String {
    format!("{OWN}owners/{bundle:032x}")
}

/// One segment of a bundle.
pub(crate) fn segment(bundle: u128, part: u32, number: u32) -> String {
    format!("{OWN}segment/{bundle:032x}/{part}/{number}")
}

/// What is written to see whether writing works.
pub(crate) fn health() -> String {
    format!("{OWN}health")
}

/// The path of the record of a large object that was begun. Spread over folders, so that not everybody writes to the
/// index of one.
pub(crate) fn begun(id: u128) -> String {
    format!("{BEGUN}{:02x}/{id:032x}", (id >> 120) as u8)
}

/// The number at the end of such a path.
pub(crate) fn begun_id(path: &str) -> Option<u128> {
    u128::from_str_radix(path.strip_prefix(BEGUN)?.rsplit('/').next()?, 16).ok()
}

/// Whether an object is the driver's own. The original has none of those.
pub(crate) fn is_own(path: &str) -> bool {
    path.starts_with(OWN_PATHS)
}

/// Whether a folder is that of one upload, whose name never comes again.
pub(crate) fn is_of_one_upload(folder: &str) -> bool {
    folder.strip_prefix(UPLOADS).is_some_and(|rest| !rest.is_empty())
}

/// A folder, with its `/` at the end unless it is the root, and the name in it.
pub(crate) fn split(path: &str) -> (&str, &str) {
    let inner = path.strip_suffix('/').unwrap_or(path);
    let begin = inner.rfind('/').map_or(0, |place| place + 1);
    path.split_at(begin)
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_before_its_last_name() {
        assert_eq!(split("a/b/c"), ("a/b/", "c"));
        assert_eq!(split("a/b/"), ("a/", "b/"));
        assert_eq!(split("a"), ("", "a"));
        assert_eq!(split("a/"), ("", "a/"));
    }

    #[test]
    fn the_number_of_what_was_begun_is_in_its_path() {
        assert_eq!(begun_id(&begun(u128::MAX - 5)), Some(u128::MAX - 5));
        assert_eq!(begun_id("a/b"), None);
        assert!(is_own(&begun(1)) && !is_own("images/a"));
        assert!(
            is_of_one_upload(".docker-registry/uploads/a/") && !is_of_one_upload(".docker-registry/uploads/")
        );
    }
}
