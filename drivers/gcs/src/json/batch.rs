//! Many deletions in one request.

use bytes::Bytes;
use docker_registry_driver_api::{Error, ErrorKind, Result};
use docker_registry_object_storage::{
    bucket::Content,
    http::{Call, Record, Subject, fault},
};
use http::{HeaderMap, Method, StatusCode, header};
use uuid::Uuid;

use super::{JsonBucket, LARGEST_DOCUMENT};
use crate::service::corrupt;

/// Most calls of one batch.
pub(super) const MOST: usize = 100;

impl JsonBucket {
    pub(super) async fn delete_objects(&self, keys: &[String]) -> Result<Vec<(String, Error)>> {
        let boundary = Uuid::new_v4().simple().to_string();
        let mut text = String::new();
        for (index, key) in keys.iter().enumerate() {
            text += &format!(
                "--{boundary}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\
                 Content-ID: <{index}>\r\n\r\nDELETE {} HTTP/1.1\r\n\r\n\r\n",
                self.object(key)
            );
        }
        text += &format!("--{boundary}--\r\n");
        let call = Call::writing("delete batch", Subject::Bucket);
        let kind = format!("multipart/mixed; boundary={boundary}");
        let content = Content::from(Bytes::from(text));
        let headers = [("content-type", kind.as_str())];
        let answer = self.service.send(call, Method::POST, "/batch/storage/v1", &headers, content).await?;
        let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let boundary = kind.and_then(boundary_of).ok_or_else(|| corrupt("is no list of answers"))?;
        let body = answer.into_body().bytes(LARGEST_DOCUMENT).await.map_err(Error::outcome_unknown)?;
        let answers = answers(&String::from_utf8_lossy(&body), &boundary);
        let mut stay = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            let error = match answers.iter().find(|(id, ..)| *id == index) {
                Some((_, status, _)) if status.is_success() => continue,
                Some((_, status, document)) => {
                    let authority = self.service.endpoint.split("//").nth(1).unwrap_or_default().to_owned();
                    let none = HeaderMap::new();
                    let record =
                        Record::of_answer(authority, Method::DELETE, *status, &none, document.as_bytes());
                    let call = Call::writing("delete", Subject::Object);
                    fault::error(self.service.transport.advice(), call, &record)
                }
                None => {
                    let message = "Google Cloud Storage did not answer one call of a batch";
                    Error::new(ErrorKind::Unavailable, message).outcome_unknown()
                }
            };
            if !error.is_not_found() {
                stay.push((key.clone(), error));
            }
        }
        Ok(stay)
    }
}

fn boundary_of(kind: &str) -> Option<String> {
    let boundary = kind.split(';').find_map(|field| field.trim().strip_prefix("boundary="))?;
    let boundary = boundary.trim_matches('"');
    (!boundary.is_empty()).then(|| boundary.to_owned())
}

/// Number, status and document of every answer that can be read.
fn answers(body: &str, boundary: &str) -> Vec<(usize, StatusCode, String)> {
    let body = body.replace("\r\n", "\n");
    body.split(&format!("--{boundary}")).filter_map(answer).collect()
}

fn answer(part: &str) -> Option<(usize, StatusCode, String)> {
    let (head, inner) = part.split_once("\n\n")?;
    let id = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-id").then_some(value)
    })?;
    let id = id.trim().trim_matches(['<', '>']).strip_prefix("response-")?.parse().ok()?;
    let (status, rest) = inner.trim_start().split_once('\n').unwrap_or((inner.trim_start(), ""));
    let status = status.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok()?;
    let document = rest.split_once("\n\n").map(|(_, document)| document.trim()).unwrap_or_default();
    Some((id, status, document.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_by_their_numbers() {
        let body = "--b\r\nContent-Type: application/http\r\nContent-ID: <response-1>\r\n\r\nHTTP/1.1 204 No Content\r\n\
                    Content-Length: 0\r\n\r\n\r\n--b\r\nContent-ID: <response-0>\r\n\r\nHTTP/1.1 503 Service \
                    Unavailable\r\nContent-Type: application/json\r\n\r\n{\"error\": {}}\r\n--b--\r\n";
        let found = answers(body, "b");
        assert_eq!(found[0], (1, StatusCode::NO_CONTENT, String::new()));
        assert_eq!(found[1], (0, StatusCode::SERVICE_UNAVAILABLE, "{\"error\": {}}".to_owned()));
        assert_eq!(found.len(), 2);
        assert_eq!(answers("anything at all", "b"), []);
        assert_eq!(boundary_of("multipart/mixed; boundary=\"x y\"").as_deref(), Some("x y"));
    }
}
