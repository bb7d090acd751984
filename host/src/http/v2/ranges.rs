//! `Range`, `If-Range`, `If-None-Match` and the `Content-Range` of uploads.

use docker_registry_driver_api::ReadRange;
use http::{HeaderMap, header};

/// The part of a blob that a `GET` asks for.
///
/// By RFC 9110 section 14.2 a server may ignore a range that it does not understand, and must answer in
/// full when `If-Range` does not hold. Several ranges at once are answered in full as well.
pub(super) fn requested(headers: &HeaderMap, etag: &str) -> ReadRange {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    if headers.contains_key(header::IF_RANGE) && text(header::IF_RANGE) != Some(etag) {
        return ReadRange::Full;
    }
    text(header::RANGE).and_then(parse).unwrap_or_default()
}

fn parse(range: &str) -> Option<ReadRange> {
    let (unit, set) = range.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    match (first, last) {
        ("", last) => match number(last)? {
            // The last no bytes are no bytes of any blob: a range that can never be had.
            0 => Some(ReadRange::From { offset: u64::MAX }),
            length => Some(ReadRange::Last { length }),
        },
        (first, "") => Some(ReadRange::From { offset: number(first)? }),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            let length = last.checked_sub(first)?.saturating_add(1);
            Some(ReadRange::Window { offset: first, length })
        }
    }
}

/// The `Content-Range` of a chunk, `FIRST-LAST` (OCI distribution specification, "Pushing a blob in
/// chunks"), as the first byte and the number of bytes.
pub(super) fn chunk(text: &str) -> Option<(u64, u64)> {
    let (first, last) = text.split_once('-')?;
    let is_plain = |digits: &str| digits.len() < 20 && !digits.is_empty();
    if !is_plain(first) || !is_plain(last) {
        return None;
    }
    let (first, last) = (number(first)?, number(last)?);
    Some((first, last.checked_sub(first)?.checked_add(1)?))
}

/// Digits as a number. One that is too large for any blob counts as the largest there is.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Whether the client has this content already (RFC 9110 section 13.1.2, weak comparison).
pub(super) fn is_cached(headers: &HeaderMap, etag: &str) -> bool {
    headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).any(|list| {
        list.split(',')
            .map(str::trim)
            .any(|each| each == "*" || each.strip_prefix("W/").unwrap_or(each) == etag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_rfc_9110() {
        use ReadRange::{From, Last, Window};
        for (text, expected) in [
            ("bytes=0-0", Some(Window { offset: 0, length: 1 })),
            ("bytes=5-9", Some(Window { offset: 5, length: 5 })),
            ("Bytes=5-", Some(From { offset: 5 })),
            ("bytes=-3", Some(Last { length: 3 })),
            ("bytes=-0", Some(From { offset: u64::MAX })),
            ("bytes=0-99999999999999999999999", Some(Window { offset: 0, length: u64::MAX })),
            ("bytes=9-5", None),
            ("bytes=0-1,3-4", None),
            ("bytes=a-b", None),
            ("bytes=-", None),
            ("bytes=+1-2", None),
            ("lines=1-2", None),
            ("", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn chunks_have_two_numbers_in_order() {
        assert_eq!(chunk("0-0"), Some((0, 1)));
        assert_eq!(chunk("10-19"), Some((10, 10)));
        for wrong in
            ["", "-", "1", "1-", "-1", "9-5", "a-b", "bytes 0-1/2", "0-1-2", "1-99999999999999999999"]
        {
            assert_eq!(chunk(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn conditions_compare_tags() {
        let mut headers = HeaderMap::new();
        assert!(!is_cached(&headers, "\"x\""));
        headers.insert(header::IF_NONE_MATCH, "\"a\", W/\"x\"".parse().unwrap());
        assert!(is_cached(&headers, "\"x\""));
        assert!(!is_cached(&headers, "\"b\""));

        headers.insert(header::RANGE, "bytes=1-2".parse().unwrap());
        headers.insert(header::IF_RANGE, "\"x\"".parse().unwrap());
        assert_eq!(requested(&headers, "\"x\""), ReadRange::Window { offset: 1, length: 2 });
        assert_eq!(requested(&headers, "\"y\""), ReadRange::Full);
    }
}
