//! Single objects: small ones whole, facts, addresses.

use std::sync::Arc;

use docker_registry_driver_api::{
    Bytes, CallContext, Condition, ETag, Error, ErrorKind, Object, ObjectInfo, ObjectPath, Prefix, ReadRange,
    RedirectRequest, Result, Stat, collect,
};

use crate::{
    bucket::{Content, ListCall, SignCall},
    engine::{Engine, info, is_own, random_mark},
    retry::Effort,
};

impl Engine {
    /// See [`Driver::get`](docker_registry_driver_api::Driver::get).
    ///
    /// # Errors
    /// `NotFound`, `TooLarge`.
    pub async fn get(
        self: &Arc<Self>,
        call: &CallContext,
        path: &ObjectPath,
        max_size: u64,
    ) -> Result<Object> {
        let key = self.readable(path)?;
        let whole = async {
            let mut beginnings = 0;
            loop {
                beginnings += 1;
                // It goes on by itself when its connection breaks.
                let (facts, reading) = self.open_key(call, key.clone(), ReadRange::Full).await?;
                if facts.size > max_size {
                    let message = format!("the object has {} bytes, {max_size} are allowed", facts.size);
                    return Err(Error::new(ErrorKind::TooLarge, message));
                }
                let limit = usize::try_from(facts.size).unwrap_or(usize::MAX);
                match collect(reading, limit).await {
                    Ok(content) => return Ok(Object { content, info: info(facts) }),
                    // It was replaced meanwhile, and the new one is as good.
                    Err(error) if error.kind == ErrorKind::Conflict => {
                        if beginnings >= self.settings.most_attempts {
                            return Err(Error { kind: ErrorKind::Unavailable, retryable: true, ..error });
                        }
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        match call.remaining() {
            None => whole.await,
            Some(left) => tokio::time::timeout(left, whole).await.unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Timeout, "the deadline of the call has passed"))
            }),
        }
    }

    /// See [`Driver::put`](docker_registry_driver_api::Driver::put).
    ///
    /// # Errors
    /// `ConditionFailed`, `Unsupported`.
    pub async fn put(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        content: Bytes,
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        let key = self.writable(path)?;
        self.offers(condition)?;
        let largest = self.limits().largest_put;
        if content.len() as u64 > largest {
            let message = format!("the store takes at most {largest} bytes in one write");
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        let content = if content.is_empty() { self.bucket.nothing() } else { Content::from_bytes(content) };
        if *condition == Condition::Always {
            let effort = Effort::writing(content.content_length() as u64);
            let put = || self.bucket.put(&key, content.clone(), condition, None);
            return self.attempts(call, effort, put).await.result;
        }
        let put = self.put_marked(call, &key, &content, condition, &random_mark()).await;
        put.map_err(|error| match (error.kind, condition) {
            // Some stores say so when there is nothing that could match.
            (ErrorKind::NotFound, Condition::IfMatch(_)) => {
                Error { kind: ErrorKind::ConditionFailed, ..error }
            }
            _ => error,
        })
    }

    /// See [`Driver::head`](docker_registry_driver_api::Driver::head).
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn head(&self, call: &CallContext, path: &ObjectPath) -> Result<ObjectInfo> {
        let key = self.readable(path)?;
        self.attempt(call, false, || self.bucket.head(&key)).await.map(info)
    }

    /// See [`Driver::stat`](docker_registry_driver_api::Driver::stat). An object wins over a folder of the
    /// same name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn stat(&self, call: &CallContext, path: &Prefix) -> Result<Stat> {
        if path.is_root() {
            return Ok(Stat::Folder);
        }
        if is_own(path.as_str()) {
            return Err(Error::not_found(path));
        }
        let key = self.key(path.as_str());
        let head = self.attempt(call, false, || self.bucket.head(&key));
        let (object, is_folder) = futures::join!(head, self.is_folder(call, path.as_str()));
        match object {
            Ok(facts) => Ok(Stat::Object(info(facts))),
            Err(error) if error.is_not_found() && is_folder? => Ok(Stat::Folder),
            Err(error) => Err(error),
        }
    }

    /// Whether an object lies somewhere below the path.
    pub(crate) async fn is_folder(&self, call: &CallContext, path: &str) -> Result<bool> {
        let prefix = self.key(&format!("{path}/"));
        let mut token = None;
        loop {
            // Two, because the first one may be the marker of a console, which is no object.
            let list = ListCall { prefix: prefix.clone(), delimited: false, after: None, token, limit: 2 };
            let page = self.attempt(call, false, || self.bucket.list(&list)).await?;
            let is_object = |key: &str| self.path(key).is_some_and(|path| ObjectPath::new(path).is_ok());
            if page.objects.iter().any(|object| is_object(&object.key)) {
                return Ok(true);
            }
            token = page.next;
            if token.is_none() {
                return Ok(false);
            }
        }
    }

    /// See [`Driver::redirect_url`](docker_registry_driver_api::Driver::redirect_url).
    ///
    /// # Errors
    /// Those of signing.
    pub async fn redirect_url(
        &self,
        call: &CallContext,
        request: &RedirectRequest,
    ) -> Result<Option<String>> {
        if !self.limits().signs || is_own(request.path.as_str()) {
            return Ok(None);
        }
        let method = match request.method.as_str() {
            "GET" => http::Method::GET,
            "HEAD" => http::Method::HEAD,
            _ => return Ok(None),
        };
        let sign = SignCall {
            key: self.key(request.path.as_str()),
            method,
            expires: request.expires,
            response_headers: request.response_headers.clone(),
        };
        let effort = Effort { local: true, ..Effort::READ };
        self.attempts(call, effort, || self.bucket.sign(&sign)).await.result
    }
}
