//! The container as the engine sees it: one attempt per call.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use docker_registry_driver_api::{Condition, ETag, Error, ErrorKind, ReadRange, Result, async_trait};
use docker_registry_object_storage::{
    Bucket,
    bucket::{Begun, Content, Facts, Limits, ListCall, Listing, NewPart, Opened, Part, SignCall},
    http::{Call, Subject},
};
use http::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{
    account::{Account, Ask, Place},
    deleting, learning, listing, objects, segments, temp_url,
};

/// Content below this size is hardly ever written over a large object, so that nobody looks for one.
const SURELY_PLAIN: usize = 1 << 20;

/// A container.
pub(crate) struct SwiftBucket {
    account: Arc<Account>,
    limits: std::sync::OnceLock<Limits>,
    least: Limits,
    /// Whether the container was there, in an attempt to open that broke off later.
    is_seen: AtomicBool,
}

impl SwiftBucket {
    pub(crate) fn new(account: Arc<Account>) -> Self {
        let least =
            Limits { signs: account.settings.temp_url.is_some(), ..learning::Learnt::default().limits };
        Self { account, limits: std::sync::OnceLock::new(), least, is_seen: AtomicBool::new(false) }
    }

    /// Looks whether the container is there, and makes it when the driver opens.
    async fn container(&self, root: &str) -> Result<()> {
        let call = Call::reading("probe", Subject::Bucket);
        let below = utf8_percent_encode(root, NON_ALPHANUMERIC);
        let ask = Ask::new(call, Method::GET, Place::Container)
            .query(format!("format=json&limit=1&prefix={below}"))
            .header("accept", "application/json");
        match self.account.send(ask).await {
            Ok(answer) => {
                // A portal's login page, any other web server.
                let document = answer.into_body().bytes(1 << 20).await?;
                if serde_json::from_slice::<Vec<serde_json::Value>>(&document).is_err() {
                    let advice = self.account.transport().advice();
                    let message = format!("what answers is no {}: check {}", advice.store, advice.endpoint);
                    return Err(Error::new(ErrorKind::InvalidConfiguration, message));
                }
                return Ok(());
            }
            // One that is gone later is a mistake of somebody, and nothing to be covered up.
            Err(refusal)
                if refusal.status() == Some(StatusCode::NOT_FOUND) && self.limits.get().is_none() => {}
            Err(refusal) => return Err(refusal.into()),
        }
        // Without a list of readers it is private. Making it twice is no error.
        let call = Call::reading("make the container", Subject::Bucket);
        self.account.send(Ask::new(call, Method::PUT, Place::Container)).await.map_err(|refusal| {
            let mut error = Error::from(refusal);
            if error.kind == ErrorKind::PermissionDenied {
                error.message = format!(
                    "the container {} is not there, and the user may not make it: check swift_container [{}]",
                    self.account.settings.container, error.message
                );
            }
            error
        })?;
        tracing::info!(container = %self.account.settings.container, "the container was not there and is made");
        Ok(())
    }
}

#[async_trait]
impl Bucket for SwiftBucket {
    fn limits(&self) -> &Limits {
        self.limits.get().unwrap_or(&self.least)
    }

    async fn probe(&self, root: &str) -> Result<()> {
        let is_open = self.limits.get().is_some();
        // Opening takes several answers, and a cluster in trouble does not give them all in one attempt.
        if is_open || !self.is_seen.load(Relaxed) {
            self.container(root).await?;
            self.is_seen.store(true, Relaxed);
        }
        if !is_open {
            let learnt = learning::learn(&self.account).await?;
            learning::set_temp_url_key(&self.account).await?;
            let limits = Limits { signs: self.least.signs, ..learnt.limits.clone() };
            // Whoever comes first has learnt the same.
            let _ = self.account.learnt.set(learnt);
            let _ = self.limits.set(limits);
        }
        Ok(())
    }

    async fn get(&self, key: &str, range: ReadRange, if_match: Option<&ETag>) -> Result<Opened> {
        objects::get(&self.account, key, range, if_match).await
    }

    async fn head(&self, key: &str) -> Result<Facts> {
        objects::head(&self.account, key).await
    }

    async fn put(
        &self,
        key: &str,
        content: Content,
        condition: &Condition,
        mark: Option<&str>,
    ) -> Result<Option<ETag>> {
        unconditional(condition)?;
        // The segments of a large object that is overwritten would stay.
        let replaced = match content.content_length() {
            0..SURELY_PLAIN => None,
            _ => segments::replaced(&self.account, key).await?,
        };
        let call = Call::writing("put", Subject::Object);
        let tag = objects::put(&self.account, call, key, content, mark).await?;
        if let Some(replaced) = replaced {
            segments::settle(&self.account, key, &replaced).await;
        }
        Ok(tag)
    }

    async fn delete(&self, key: &str) -> Result<()> {
        deleting::delete(&self.account, key).await
    }

    async fn delete_batch(&self, keys: &[String]) -> Result<Vec<(String, Error)>> {
        deleting::delete_batch(&self.account, keys).await
    }

    async fn list(&self, call: &ListCall) -> Result<Listing> {
        listing::list(&self.account, call).await
    }

    async fn copy(&self, from: &str, to: &str, _size: u64) -> Result<()> {
        let replaced = segments::replaced(&self.account, to).await?;
        let call = Call::writing("copy", Subject::Object);
        objects::copy(&self.account, call, (from, None), to).await?;
        if let Some(replaced) = replaced {
            segments::settle(&self.account, to, &replaced).await;
        }
        Ok(())
    }

    async fn begin(&self, key: &str, condition: &Condition, mark: Option<&str>) -> Result<String> {
        unconditional(condition)?;
        segments::begin(&self.account, key, mark).await
    }

    async fn part(&self, key: &str, id: &str, part: NewPart) -> Result<Part> {
        segments::part(&self.account, key, id, part).await
    }

    async fn copy_part(
        &self,
        key: &str,
        id: &str,
        number: u32,
        from: &str,
        range: Range<u64>,
    ) -> Result<Part> {
        segments::copy_part(&self.account, key, id, number, from, range).await
    }

    async fn finish(
        &self,
        key: &str,
        id: &str,
        parts: &[Part],
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        unconditional(condition)?;
        segments::finish(&self.account, key, id, parts).await
    }

    async fn abandon(&self, key: &str, id: &str) -> Result<()> {
        segments::abandon(&self.account, key, id).await
    }

    async fn list_begun(&self, prefix: &str, after: Option<&str>) -> Result<(Vec<Begun>, Option<String>)> {
        segments::list_begun(&self.account, prefix, after).await
    }

    async fn sign(&self, call: &SignCall) -> Result<Option<String>> {
        temp_url::sign(&self.account, call).await
    }
}

fn unconditional(condition: &Condition) -> Result<()> {
    match condition {
        Condition::Always => Ok(()),
        _ => Err(Error::new(ErrorKind::Unsupported, "Swift keeps no conditions of writes")),
    }
}
