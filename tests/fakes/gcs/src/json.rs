//! The JSON API: objects, listings, uploads in one request and in sessions, rewrites, batches.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderValue, StatusCode, header};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    answer::{Answer, Refusal, empty, json as document, with_type},
    auth::Proved,
    fake::{Asked, Fake},
    listing::{MOST, Page, Wanted},
    signature::decode,
    store::{Content, Described, Stored},
    transfer,
    xml::{condition, instant},
};

/// A rewrite of more bytes than this takes two calls.
const REWRITE_STEP: u64 = 1 << 20;

/// Most calls of a batch.
const MOST_CALLS: usize = 100;

/// What a client sends of an object's resource.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Resource {
    name: Option<String>,
    content_type: Option<String>,
    metadata: BTreeMap<String, String>,
    md5_hash: Option<String>,
}

impl Resource {
    fn parse(text: &[u8]) -> Result<Self, Refusal> {
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        serde_json::from_slice(text).map_err(|error| Refusal::invalid(error.to_string()))
    }

    fn described(self) -> Described {
        let content_type = self.content_type.unwrap_or_else(|| "application/octet-stream".to_owned());
        Described { content_type, metadata: self.metadata }
    }
}

impl Fake {
    pub(crate) async fn answer_json(&self, asked: &Asked, body: Incoming) -> Result<Answer, Refusal> {
        if let Some(id) = asked.query_value("upload_id") {
            let id = id.to_owned();
            return self.json_session(asked, &id, body).await;
        }
        let proved = self.prove(asked)?;
        if asked.path == "/batch/storage/v1" {
            return self.batch(asked, &proved, body).await;
        }
        let is_upload = asked.path.starts_with("/upload/");
        let path = asked.path.trim_start_matches("/upload").trim_start_matches("/download");
        let path = path.trim_start_matches("/storage/v1/");
        let names: Vec<String> = path
            .split('/')
            .map(|name| decode(name).ok_or_else(|| Refusal::invalid("the address is not UTF-8")))
            .collect::<Result<_, _>>()?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        match (asked.method.as_str(), names.as_slice()) {
            ("POST", ["b", bucket, "o"]) if is_upload => self.upload(asked, bucket, &proved, body).await,
            ("GET", ["b", bucket]) => {
                self.state().bucket(bucket)?;
                Ok(document(&json!({"kind": "storage#bucket", "name": bucket})))
            }
            ("GET", ["b", bucket, "o"]) => self.list_json(asked, bucket),
            ("GET", ["b", bucket, "o", key]) if asked.query_value("alt") == Some("media") => {
                self.get(asked, bucket, key).await
            }
            ("GET", ["b", bucket, "o", key]) => {
                let state = self.state();
                let stored = state.object(bucket, key)?;
                state.check_generation(bucket, key, condition(asked)?)?;
                Ok(document(&resource(bucket, key, &stored)))
            }
            ("DELETE", ["b", bucket, "o", key]) => self.delete_json(bucket, key, condition(asked)?),
            ("POST", ["b", bucket, "o", key, "rewriteTo", "b", to_bucket, "o", to_key]) => {
                self.rewrite(asked, (bucket, key), (to_bucket, to_key))
            }
            _ => Err(Refusal::new(404, "NoSuchKey", "There is no such method.")),
        }
    }

    fn delete_json(&self, bucket: &str, key: &str, wanted: Option<u64>) -> Result<Answer, Refusal> {
        let mut state = self.state();
        state.object(bucket, key)?;
        state.check_generation(bucket, key, wanted)?;
        state.remove(bucket, key).map(|()| empty(204))
    }

    fn list_json(&self, asked: &Asked, bucket: &str) -> Result<Answer, Refusal> {
        let value = |name: &str| asked.query_value(name).unwrap_or_default().to_owned();
        let limit = asked.query_value("maxResults").map(str::parse).transpose();
        let wanted = Wanted {
            prefix: value("prefix"),
            delimiter: value("delimiter"),
            token: asked.query_value("pageToken").map(str::to_owned),
            start: asked.query_value("startOffset").map(str::to_owned),
            after: None,
            limit: limit.map_err(|_| Refusal::invalid("maxResults is no number"))?.unwrap_or(MOST),
        };
        let page = Page::of(self.state().bucket(bucket)?, &wanted)?;
        let mut answer = json!({"kind": "storage#objects"});
        if !page.objects.is_empty() {
            let items = page.objects.iter().map(|(key, stored)| resource(bucket, key, stored));
            answer["items"] = items.collect();
        }
        if !page.prefixes.is_empty() {
            answer["prefixes"] = json!(page.prefixes);
        }
        if let Some(next) = page.next {
            answer["nextPageToken"] = json!(next);
        }
        Ok(document(&answer))
    }

    async fn upload(
        &self,
        asked: &Asked,
        bucket: &str,
        proved: &Proved,
        body: Incoming,
    ) -> Result<Answer, Refusal> {
        self.state().bucket(bucket)?;
        let name = asked.query_value("name").map(str::to_owned);
        let nameless = || Refusal::new(400, "InvalidArgument", "Required parameter: name");
        match asked.query_value("uploadType") {
            Some("media") => {
                let content = transfer::receive(body, self.new_file(), &asked.headers, proved).await?;
                let key = name.ok_or_else(nameless)?;
                let kind = asked.header("content-type").map(str::to_owned);
                let described = Resource { content_type: kind, ..Resource::default() }.described();
                self.store(bucket, &key, content, described, condition(asked)?)
            }
            Some("multipart") => {
                let whole = transfer::receive(body, self.new_file(), &asked.headers, proved).await?;
                let (sent, content) = self.split(asked, &whole).await?;
                let key = name.or_else(|| sent.name.clone()).ok_or_else(nameless)?;
                if sent.md5_hash.as_ref().is_some_and(|md5| *md5 != BASE64_STANDARD.encode(content.md5)) {
                    let message = "Provided MD5 hash doesn't match calculated MD5 hash.";
                    return Err(Refusal::invalid(message));
                }
                self.store(bucket, &key, content, sent.described(), condition(asked)?)
            }
            Some("resumable") => {
                let sent = Resource::parse(&transfer::small(body, proved).await?)?;
                let key = name.or_else(|| sent.name.clone()).ok_or_else(nameless)?;
                let id = self.begin_session(bucket, &key, sent.described(), condition(asked)?).await?;
                let location = format!("{}{}?uploadType=resumable&upload_id={id}", self.endpoint, asked.path);
                let mut answer = empty(200);
                if let Ok(location) = HeaderValue::from_str(&location) {
                    answer.headers_mut().insert(header::LOCATION, location);
                }
                Ok(answer)
            }
            _ => Err(Refusal::invalid("uploadType")),
        }
    }

    fn store(
        &self,
        bucket: &str,
        key: &str,
        content: Content,
        described: Described,
        wanted: Option<u64>,
    ) -> Result<Answer, Refusal> {
        let stored = self.state().insert(bucket, key, content, described, wanted)?;
        Ok(document(&resource(bucket, key, &stored)))
    }

    /// Takes a `multipart/related` body apart: the resource, then the content.
    async fn split(&self, asked: &Asked, whole: &Content) -> Result<(Resource, Content), Refusal> {
        let wrong = || Refusal::invalid("the content is not multipart/related with two parts");
        let boundary = boundary(asked).ok_or_else(wrong)?;
        let head = tokio::fs::File::open(&whole.file).await?;
        let mut text = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut tokio::io::AsyncReadExt::take(head, 64 << 10), &mut text)
            .await?;
        let find = |what: &str, from: usize| {
            text[from..].windows(what.len()).position(|window| window == what.as_bytes()).map(|at| from + at)
        };
        let start = find(&format!("--{boundary}\r\n"), 0).filter(|start| *start == 0).ok_or_else(wrong)?;
        let json_start = find("\r\n\r\n", start).ok_or_else(wrong)? + 4;
        let second = find(&format!("\r\n--{boundary}\r\n"), json_start).ok_or_else(wrong)?;
        let content_start = find("\r\n\r\n", second + 4).ok_or_else(wrong)? + 4;
        let sent = Resource::parse(&text[json_start..second])?;
        let mut end_line = format!("\r\n--{boundary}--").into_bytes();
        let mut tail = vec![0; (end_line.len() + 2).min(whole.size as usize)];
        let mut file = tokio::fs::File::open(&whole.file).await?;
        let tail_start = whole.size - tail.len() as u64;
        tokio::io::AsyncSeekExt::seek(&mut file, std::io::SeekFrom::Start(tail_start)).await?;
        tokio::io::AsyncReadExt::read_exact(&mut file, &mut tail).await?;
        if tail.ends_with(b"\r\n") {
            end_line.extend_from_slice(b"\r\n");
        }
        if !tail.ends_with(&end_line) {
            return Err(wrong());
        }
        let offset = content_start as u64;
        let length = (whole.size - end_line.len() as u64).checked_sub(offset).ok_or_else(wrong)?;
        let range = transfer::Range { file: &whole.file, offset, length };
        Ok((sent, transfer::join(&[range], self.new_file()).await?))
    }

    async fn json_session(&self, asked: &Asked, id: &str, body: Incoming) -> Result<Answer, Refusal> {
        if asked.method == "DELETE" {
            return self.cancel_session(id);
        }
        let bucket = self.state().sessions.get(id).map(|session| session.bucket.clone());
        match self.continue_session(asked, id, body).await? {
            Err(unfinished) => Ok(unfinished),
            Ok((key, stored)) => Ok(document(&resource(&bucket.unwrap_or_default(), &key, &stored))),
        }
    }

    fn rewrite(&self, asked: &Asked, from: (&str, &str), to: (&str, &str)) -> Result<Answer, Refusal> {
        let mut state = self.state();
        let source = state.object(from.0, from.1)?;
        let token = BASE64_STANDARD.encode(format!("{}:{}:{}", source.generation, from.1, to.1));
        match asked.query_value("rewriteToken") {
            Some(sent) if sent != token => return Err(Refusal::invalid("the rewrite token is not ours")),
            None if source.size > REWRITE_STEP => {
                return Ok(document(&json!({
                    "kind": "storage#rewriteResponse",
                    "done": false,
                    "rewriteToken": token,
                    "totalBytesRewritten": REWRITE_STEP.to_string(),
                    "objectSize": source.size.to_string(),
                })));
            }
            _ => {}
        }
        let (file, size) = (source.file.clone(), source.size);
        let content = Content { file, size, md5: source.md5, crc32c: source.crc32c };
        let described = source.described.clone();
        let stored = state.insert(to.0, to.1, content, described, condition(asked)?)?;
        Ok(document(&json!({
            "kind": "storage#rewriteResponse",
            "done": true,
            "totalBytesRewritten": size.to_string(),
            "objectSize": size.to_string(),
            "resource": resource(to.0, to.1, &stored),
        })))
    }

    /// Several calls in one request; deletions are all that the fake takes.
    async fn batch(&self, asked: &Asked, proved: &Proved, body: Incoming) -> Result<Answer, Refusal> {
        let wrong = || Refusal::invalid("the batch cannot be read");
        let boundary = boundary(asked).ok_or_else(wrong)?;
        let body = transfer::small(body, proved).await?;
        // Google's own client ends the lines of a batch without a carriage return.
        let body = std::str::from_utf8(&body).map_err(|_| wrong())?.replace("\r\n", "\n");
        let calls: Vec<&str> = body.split(&format!("--{boundary}")).skip(1).collect();
        let (end, calls) = calls.split_last().ok_or_else(wrong)?;
        if !end.starts_with("--") || calls.is_empty() || calls.len() > MOST_CALLS {
            return Err(wrong());
        }
        let mut answers = String::new();
        for call in calls {
            let (head, inner) = call.split_once("\n\n").ok_or_else(wrong)?;
            let id = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-id").then(|| value.trim().trim_matches(['<', '>']))
            });
            let is_http = head.to_ascii_lowercase().contains("content-type: application/http");
            let line = inner.lines().next().filter(|_| is_http).ok_or_else(wrong)?;
            let address = line.strip_prefix("DELETE ").ok_or_else(wrong)?;
            let rest = address.trim_start_matches(&self.endpoint).strip_prefix("/storage/v1/b/");
            let path = rest.ok_or_else(wrong)?.split(['?', ' ']).next().unwrap_or_default();
            let names = path.split_once("/o/").ok_or_else(wrong)?;
            let (bucket, key) = (decode(names.0).ok_or_else(wrong)?, decode(names.1).ok_or_else(wrong)?);
            let (status, text) = match self.delete_json(&bucket, &key, None) {
                Ok(_) => (StatusCode::NO_CONTENT, String::new()),
                Err(refusal) => (refusal.status, json!({"error": {"message": refusal.message}}).to_string()),
            };
            answers += &format!(
                "--fake_batch\r\nContent-Type: application/http\r\nContent-ID: <response-{}>\r\n\r\n\
                 HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{text}\r\n",
                id.unwrap_or_default(),
                text.len(),
            );
        }
        answers += "--fake_batch--\r\n";
        Ok(with_type(StatusCode::OK, "multipart/mixed; boundary=fake_batch", answers))
    }
}

fn boundary(asked: &Asked) -> Option<String> {
    let kind = asked.header("content-type")?;
    let boundary = kind.split(';').find_map(|field| field.trim().strip_prefix("boundary="))?;
    Some(boundary.trim_matches(['"', '\'']).to_owned())
}

fn resource(bucket: &str, key: &str, stored: &Stored) -> Value {
    let mut resource = json!({
        "kind": "storage#object",
        "id": format!("{bucket}/{key}/{}", stored.generation),
        "name": key,
        "bucket": bucket,
        "generation": stored.generation.to_string(),
        "metageneration": "1",
        "contentType": stored.described.content_type,
        "size": stored.size.to_string(),
        "crc32c": BASE64_STANDARD.encode(stored.crc32c.to_be_bytes()),
        "md5Hash": BASE64_STANDARD.encode(stored.md5),
        "etag": format!("C{:x}", stored.generation),
        "updated": instant(stored.updated),
    });
    if !stored.described.metadata.is_empty() {
        resource["metadata"] = json!(stored.described.metadata);
    }
    resource
}
