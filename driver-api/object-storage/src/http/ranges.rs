//! Ranges of objects, in requests and in answers.

use docker_registry_driver_api::ReadRange;
use http::{HeaderMap, header};

/// No object is as large, and some servers ignore a range with a number that is no `i64`.
const BEYOND_EVERY_OBJECT: u64 = i64::MAX as u64;

/// The same bytes of any object that there can be, in numbers that every server understands.
pub fn bounded(range: ReadRange) -> ReadRange {
    let start = |offset: u64| offset.min(BEYOND_EVERY_OBJECT - 1);
    match range {
        ReadRange::Full => range,
        ReadRange::From { offset } => ReadRange::From { offset: start(offset) },
        ReadRange::Window { offset, length } => {
            let offset = start(offset);
            ReadRange::Window { offset, length: length.clamp(1, BEYOND_EVERY_OBJECT - offset) }
        }
        ReadRange::Last { length } => ReadRange::Last { length: length.min(BEYOND_EVERY_OBJECT) },
    }
}

/// The value of the header `Range`.
pub fn range_header(range: ReadRange) -> Option<String> {
    match bounded(range) {
        ReadRange::Full => None,
        ReadRange::From { offset } => Some(format!("bytes={offset}-")),
        ReadRange::Window { offset, length } => {
            Some(format!("bytes={offset}-{}", offset.saturating_add(length.max(1)) - 1))
        }
        ReadRange::Last { length } => Some(format!("bytes=-{length}")),
    }
}

/// The header `Content-Range`: offset and length of the bytes, and the size of the whole object.
pub fn content_range(headers: &HeaderMap) -> Option<(u64, u64, u64)> {
    let text = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, size) = text.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, size): (u64, u64, u64) =
        (first.trim().parse().ok()?, last.trim().parse().ok()?, size.trim().parse().ok()?);
    (first <= last && last < size).then(|| (first, last - first + 1, size))
}

/// Whether the header `Content-Range` says that the object is empty. MinIO answers so, with 206 and `0--1/0`, where
/// the last bytes of an empty object are asked for.
pub fn says_empty(headers: &HeaderMap) -> bool {
    let range = headers.get(header::CONTENT_RANGE).and_then(|range| range.to_str().ok());
    range.and_then(|range| range.rsplit_once('/')).is_some_and(|(_, size)| size.trim() == "0")
}

/// The length that was said.
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_numbers_stay_within_what_servers_understand() {
        let header = |range| range_header(range).unwrap();
        assert_eq!(header(ReadRange::From { offset: u64::MAX }), "bytes=9223372036854775806-");
        assert_eq!(header(ReadRange::Window { offset: 9, length: u64::MAX }), "bytes=9-9223372036854775806");
        assert_eq!(
            header(ReadRange::Window { offset: u64::MAX, length: u64::MAX }),
            "bytes=9223372036854775806-9223372036854775806"
        );
        assert_eq!(header(ReadRange::Last { length: u64::MAX }), "bytes=-9223372036854775807");
        assert_eq!(header(ReadRange::Window { offset: 3, length: 1 }), "bytes=3-3");
        assert_eq!(range_header(ReadRange::Full), None);
    }

    #[test]
    fn a_content_range_without_sense_is_none() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_RANGE, text.parse().unwrap());
            content_range(&headers)
        };
        assert_eq!(read("bytes 2-4/5"), Some((2, 3, 5)));
        for text in
            ["bytes */5", "bytes 4-2/5", "bytes 2-5/5", "bytes 2-4/*", "2-4/5", "bytes 2/5", "bytes -/"]
        {
            assert_eq!(read(text), None, "{text}");
        }
        let says =
            |text: &str| says_empty(&HeaderMap::from_iter([(header::CONTENT_RANGE, text.parse().unwrap())]));
        assert!(says("bytes 0--1/0") && says("bytes */0"));
        assert!(!says("bytes 0-9/10") && !says("0"));
    }
}
