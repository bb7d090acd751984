//! Layers: upload, download and ranges.

use docker_registry_driver_api::ReadRange;
use http::{HeaderValue, Method, StatusCode, header};

use super::{
    Api,
    errors::Failure,
    images::is_conditional,
    json::{LAST_MODIFIED, do_not_keep, done, keep, not_modified},
};
use crate::{
    http::exchange::{Request, Response, ResponseBody, empty, set, with_body},
    registry::v1::{Layer, names::ImageId},
};

impl Api {
    pub(super) async fn get_layer(&self, id: &ImageId, request: Request) -> Result<Response, Failure> {
        let call = request.call();
        if is_conditional(&request) {
            self.registry.layer_size(&call, id).await?;
            return Ok(not_modified());
        }
        if request.method == Method::HEAD {
            // A range concerns GET only (RFC 9110, 14.2).
            let size = self.registry.layer_size(&call, id).await?;
            let mut response = layer_answer(StatusCode::OK, ResponseBody::Empty);
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(size));
            return Ok(response);
        }
        if self.settings.storage_redirect
            && let Some(address) = self.registry.layer_address(&call, id).await?
        {
            // 302 as 0.9.1, and without its year in caches: the address does not work that long.
            let mut response = empty(StatusCode::FOUND);
            set(&mut response, header::LOCATION, &address);
            do_not_keep(&mut response);
            return Ok(response);
        }
        let read = match wanted_range(&request) {
            Wanted::Whole => ReadRange::Full,
            Wanted::Part(range) => range,
            Wanted::Nothing => {
                let size = self.registry.layer_size(&call, id).await?;
                return Ok(unsatisfiable(size));
            }
        };
        match self.registry.layer(&call, id, read).await? {
            // Nothing is all that an empty layer has, whichever part of it is asked for.
            Layer::OutOfRange { size: 0 } => Ok(layer_answer(StatusCode::OK, ResponseBody::Empty)),
            Layer::OutOfRange { size } => Ok(unsatisfiable(size)),
            Layer::Content(reading) if read == ReadRange::Full => {
                Ok(layer_answer(StatusCode::OK, ResponseBody::Reading(reading)))
            }
            Layer::Content(reading) => {
                let last = (reading.offset + reading.length).saturating_sub(1);
                let range = format!("bytes {}-{last}/{}", reading.offset, reading.total_size);
                let mut response = layer_answer(StatusCode::PARTIAL_CONTENT, ResponseBody::Reading(reading));
                set(&mut response, header::CONTENT_RANGE, &range);
                Ok(response)
            }
        }
    }

    pub(super) async fn put_layer(&self, id: &ImageId, request: Request) -> Result<Response, Failure> {
        if request.header(header::USER_AGENT).is_some_and(is_old_daemon) {
            return Err(Failure::OldDaemon);
        }
        let (call, size) = (request.call(), request.content_length());
        self.registry.put_layer(&call, id, request.body, size).await?;
        Ok(done())
    }
}

fn layer_answer(status: StatusCode, body: ResponseBody) -> Response {
    let mut response = with_body(status, body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response.headers_mut().insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    keep(&mut response);
    response
}

/// 416 with the size, by which a client can tell that it has everything.
fn unsatisfiable(size: u64) -> Response {
    let mut response = empty(StatusCode::RANGE_NOT_SATISFIABLE);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response.headers_mut().insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    keep(&mut response);
    set(&mut response, header::CONTENT_RANGE, &format!("bytes */{size}"));
    response
}

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Whole,
    Part(ReadRange),
    /// A range that ends before it begins. RFC 9110 would have it ignored; 0.9.1 answers 416.
    Nothing,
}

/// The range that counts. One that is tied to another version of the layer (`If-Range`) does not.
fn wanted_range(request: &Request) -> Wanted {
    match (request.header(header::RANGE), request.headers.get(header::IF_RANGE)) {
        (Some(_), Some(version)) if version.as_bytes() != LAST_MODIFIED.as_bytes() => Wanted::Whole,
        (Some(range), _) => parse_range(range),
        (None, _) => Wanted::Whole,
    }
}

/// One range of bytes. What is anything else is ignored, several ranges included.
///
/// The last byte may lie behind the end: docker resumes with `bytes=<have>-<size>`.
fn parse_range(range: &str) -> Wanted {
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-'))
    else {
        return Wanted::Whole;
    };
    match (number(first), number(last)) {
        (Some(first), Some(last)) if last < first => Wanted::Nothing,
        (Some(offset), Some(last)) => {
            Wanted::Part(ReadRange::Window { offset, length: (last - offset).saturating_add(1) })
        }
        (Some(offset), None) if last.is_empty() => Wanted::Part(ReadRange::From { offset }),
        (None, Some(0)) if first.is_empty() => Wanted::Nothing,
        (None, Some(length)) if first.is_empty() => Wanted::Part(ReadRange::Last { length }),
        _ => Wanted::Whole,
    }
}

/// A number of digits only. One that is too large for any layer is the largest there is.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

/// Whether the user agent is a docker daemon before 0.10, which sends no payload checksum. Agents that
/// cannot be understood are let through.
fn is_old_daemon(user_agent: &str) -> bool {
    let version = user_agent.split("docker/").nth(1).and_then(|rest| rest.split([' ', '\t', '-']).next());
    let mut numbers = version.unwrap_or_default().split('.').map(number);
    match (numbers.next().flatten(), numbers.next()) {
        (Some(0), None) => true,
        (Some(0), Some(Some(minor))) => minor < 10,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_understood_or_ignored() {
        let window = |offset, length| Wanted::Part(ReadRange::Window { offset, length });
        assert_eq!(parse_range("bytes=0-0"), window(0, 1));
        assert_eq!(parse_range("bytes=4990-5000"), window(4990, 11));
        assert_eq!(parse_range("bytes=0-18446744073709551615"), window(0, u64::MAX));
        assert_eq!(parse_range("bytes=5-99999999999999999999999"), window(5, u64::MAX - 4));
        assert_eq!(parse_range("bytes=7-"), Wanted::Part(ReadRange::From { offset: 7 }));
        assert_eq!(parse_range("bytes=-5"), Wanted::Part(ReadRange::Last { length: 5 }));
        for nothing in ["bytes=50-10", "bytes=-0"] {
            assert_eq!(parse_range(nothing), Wanted::Nothing, "{nothing}");
        }
        for ignored in
            ["bytes=", "bytes=-", "bytes=10", "bytes=a-", "bytes=0-1,4-5", "items=0-5", "bytes=+1-2", ""]
        {
            assert_eq!(parse_range(ignored), Wanted::Whole, "{ignored}");
        }
    }

    #[test]
    fn daemons_before_0_10_are_known_by_their_user_agent() {
        for old in ["docker/0", "docker/0.9.1 go/go1.2", "x docker/0.8-dev"] {
            assert!(is_old_daemon(old), "{old}");
        }
        for new in
            ["docker/0.10.0", "docker/1.6.2 go/go1.4.2", "docker/1.9-rc1", "docker/dev", "curl/7.1", ""]
        {
            assert!(!is_old_daemon(new), "{new}");
        }
    }
}
