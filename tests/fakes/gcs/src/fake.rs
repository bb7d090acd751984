//! The server: what it knows, and which part answers which address.

use std::{
    path::PathBuf,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{HeaderMap, Method, Request};
use hyper::body::Incoming;
use rsa::{PrivateKey, PublicKey};

use crate::{
    Options,
    answer::{Answer, Refusal, empty, json},
    signature::decode,
    store::State,
};

/// The server.
pub(crate) struct Fake {
    pub(crate) options: Options,
    pub(crate) endpoint: String,
    pub(crate) key: PrivateKey,
    state: Mutex<State>,
    files: AtomicU64,
}

/// A request without its content.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    /// As it was sent.
    pub(crate) path: String,
    /// Decoded.
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
}

impl Asked {
    /// The value of a parameter.
    pub(crate) fn query_value(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The value of a header, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Fake {
    pub(crate) fn new(options: Options, endpoint: String, key: PrivateKey) -> Self {
        let mut state = State::default();
        for bucket in &options.bucket {
            state.objects.insert(bucket.clone(), Default::default());
        }
        Self { options, endpoint, key, state: Mutex::new(state), files: AtomicU64::new(0) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A name for new content.
    pub(crate) fn new_file(&self) -> PathBuf {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        self.options.folder.join("content").join(number.to_string())
    }

    /// The secret of an access id.
    pub(crate) fn secret_of(&self, id: &str) -> Option<&str> {
        (id == self.options.access_key).then_some(self.options.secret_key.as_str())
    }

    pub(crate) fn public_key(&self) -> PublicKey {
        self.key.to_public_key()
    }

    /// Answers a request, and notes it.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (parts, body) = request.into_parts();
        let query = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        let path = parts.uri.path().to_owned();
        let asked = Asked { method: parts.method, path, query, headers: parts.headers };
        let mut answer = self.route(&asked, body).await;
        let parameters: Vec<&str> = asked.query.iter().map(|(name, _)| name.as_str()).collect();
        let parameters = parameters.join("&");
        let line = format!("{} {} {parameters} {}", asked.method, asked.path, answer.status().as_u16());
        self.state().log.push(line);
        let id = format!("fake-{:x}", self.files.fetch_add(1, Ordering::Relaxed));
        if let Ok(id) = id.parse() {
            answer.headers_mut().insert("x-guploader-uploadid", id);
        }
        answer
    }

    async fn route(&self, asked: &Asked, body: Incoming) -> Answer {
        let path = asked.path.as_str();
        if let Some(what) = path.strip_prefix("/_fake/") {
            return self.control(asked, what);
        }
        if path == "/token" || path.starts_with("/computeMetadata/") {
            return self.answer_tokens(asked, body).await.unwrap_or_else(|refusal| refusal.json());
        }
        if ["/storage/v1/", "/upload/storage/v1/", "/download/storage/v1/", "/batch/storage/v1"]
            .iter()
            .any(|api| path.starts_with(api))
        {
            return self.answer_json(asked, body).await.unwrap_or_else(|refusal| refusal.json());
        }
        self.answer_xml(asked, body).await.unwrap_or_else(|refusal| refusal.xml())
    }

    fn control(&self, asked: &Asked, what: &str) -> Answer {
        let mut state = self.state();
        match (asked.method.as_str(), what) {
            ("POST", "expire") => {
                state.tokens.clear();
                empty(204)
            }
            ("GET", "log") => json(&serde_json::json!(state.log)),
            ("POST", "forget-log") => {
                state.log.clear();
                empty(204)
            }
            ("GET", "state") => json(&serde_json::json!({
                "sessions": state.sessions.values().filter(|session| !session.is_done()).count(),
                "tokens_issued": state.tokens_issued,
                "objects": state.objects.values().map(|objects| objects.len()).sum::<usize>(),
            })),
            _ => empty(404),
        }
    }
}

/// `BUCKET` and, if there is one, `KEY` of `/BUCKET/KEY`.
pub(crate) fn bucket_and_key(path: &str) -> Result<(String, Option<String>), Refusal> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let (bucket, key) = path.split_once('/').map_or((path, ""), |(bucket, key)| (bucket, key));
    let decoded = |text: &str| decode(text).ok_or_else(|| Refusal::invalid("the address is not UTF-8"));
    let key = if key.is_empty() { None } else { Some(decoded(key)?) };
    Ok((decoded(bucket)?, key))
}
