//! get, head, put, list, delete and signing over the clients of `object_store`.
//!
//! The clients are built by the drivers with [`client_options`], no retries and the driver's
//! [`Transport`] as connector. What a call means is decided by what was on the wire, never by the texts of
//! `object_store`.

use std::{sync::Arc, time::SystemTime};

use docker_registry_driver_api::{Condition, ETag, Error, ErrorKind, ReadRange, Result};
use futures::{StreamExt, TryStreamExt};
use object_store::{
    Attribute, Attributes, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutOptions, RetryConfig, UpdateVersion,
    list::{PaginatedListOptions, PaginatedListStore},
    path::Path,
    signer::Signer,
};

use crate::{
    bucket::{Content, Facts, ListCall, Listed, Listing, MARK, Opened, SignCall},
    http::{Call, Reason, Record, Subject, Transport, TransportError, bounded, exchange, fault},
};

/// `object_store` makes one attempt: the engine above counts, waits and retries.
pub fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

/// A client of `object_store` as a bucket's calls.
pub struct StoreAdapter {
    store: Arc<dyn ObjectStore>,
    pages: Arc<dyn PaginatedListStore>,
    signer: Arc<dyn Signer>,
    transport: Transport,
    authority: String,
}

impl StoreAdapter {
    /// Wraps a client whose connector was `transport`. `authority` is host and port that its requests go to, to
    /// tell the store's answers from those of credential services.
    pub fn new<S>(store: Arc<S>, transport: Transport, authority: impl Into<String>) -> Self
    where
        S: ObjectStore + PaginatedListStore + Signer,
    {
        Self {
            store: Arc::clone(&store) as Arc<dyn ObjectStore>,
            pages: Arc::clone(&store) as Arc<dyn PaginatedListStore>,
            signer: store,
            transport,
            authority: authority.into(),
        }
    }

    /// [`Bucket::get`](crate::Bucket::get).
    ///
    /// # Errors
    /// As there.
    pub async fn get(&self, key: &str, range: ReadRange, if_match: Option<&ETag>) -> Result<Opened> {
        let options = GetOptions {
            range: match bounded(range) {
                ReadRange::Full => None,
                ReadRange::From { offset } => Some(GetRange::Offset(offset)),
                ReadRange::Window { offset, length } => {
                    Some(GetRange::Bounded(offset..offset.saturating_add(length)))
                }
                ReadRange::Last { length } => Some(GetRange::Suffix(length)),
            },
            if_match: if_match.map(|tag| tag.0.clone()),
            ..GetOptions::default()
        };
        let call = Call::reading("get", Subject::Object);
        let path = path(key)?;
        let result = self.observed(call, self.store.get_opts(&path, options)).await?;
        let facts = facts(&result.meta, &result.attributes);
        let (offset, length) = (result.range.start, result.range.end - result.range.start);
        let (transport, authority) = (self.transport.clone(), self.authority.clone());
        let body = result.into_stream().map_err(|error| {
            transport_error(&error).unwrap_or_else(|| {
                TransportError::new(Reason::Interrupted, true, exchange::one_line(&error.to_string()))
            })
        });
        let body = crate::http::exactly(body, length).map_err(move |error| {
            let record = Record::of_failure(authority.clone(), http::Method::GET, error);
            fault::error(transport.advice(), call, &record)
        });
        Ok(Opened { facts, offset, length, body: body.boxed() })
    }

    /// [`Bucket::head`](crate::Bucket::head).
    ///
    /// # Errors
    /// As there.
    pub async fn head(&self, key: &str) -> Result<Facts> {
        let options = GetOptions { head: true, ..GetOptions::default() };
        let path = path(key)?;
        let call = Call::reading("head", Subject::Object);
        let result = self.observed(call, self.store.get_opts(&path, options)).await?;
        Ok(facts(&result.meta, &result.attributes))
    }

    /// [`Bucket::put`](crate::Bucket::put).
    ///
    /// # Errors
    /// As there.
    pub async fn put(
        &self,
        key: &str,
        content: Content,
        condition: &Condition,
        mark: Option<&str>,
    ) -> Result<Option<ETag>> {
        let mode = match condition {
            Condition::Always => PutMode::Overwrite,
            Condition::IfAbsent => PutMode::Create,
            Condition::IfMatch(tag) => {
                PutMode::Update(UpdateVersion { e_tag: Some(tag.0.clone()), version: None })
            }
        };
        let conditional = *condition != Condition::Always;
        let mut attributes = Attributes::new();
        if let Some(mark) = mark {
            attributes.insert(Attribute::Metadata(MARK.into()), mark.to_owned().into());
        }
        let options = PutOptions { mode, attributes, ..PutOptions::default() };
        let path = path(key)?;
        let call = Call::writing("put", Subject::Object);
        let result = self.observed(call, self.store.put_opts(&path, content, options)).await;
        match result {
            Ok(result) => Ok(result.e_tag.map(ETag)),
            // Nothing is there that could have the tag.
            Err(mut error) if conditional && error.kind == ErrorKind::NotFound => {
                error.kind = ErrorKind::ConditionFailed;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// [`Bucket::delete`](crate::Bucket::delete).
    ///
    /// # Errors
    /// As there.
    pub async fn delete(&self, key: &str) -> Result<()> {
        let path = path(key)?;
        self.observed(Call::writing("delete", Subject::Object), self.store.delete(&path)).await
    }

    /// [`Bucket::list`](crate::Bucket::list).
    ///
    /// # Errors
    /// As there.
    pub async fn list(&self, call: &ListCall) -> Result<Listing> {
        let options = PaginatedListOptions {
            offset: call.after.clone().filter(|_| call.token.is_none()),
            delimiter: call.delimited.then(|| "/".into()),
            max_keys: Some(call.limit.clamp(1, 1_000) as usize),
            page_token: call.token.clone(),
            ..PaginatedListOptions::default()
        };
        let prefix = (!call.prefix.is_empty()).then_some(call.prefix.as_str());
        let http_call = Call::reading("list", Subject::Bucket);
        let page = self.observed(http_call, self.pages.list_paginated(prefix, options)).await?;
        let mut objects: Vec<Listed> = page.result.objects.into_iter().map(listed).collect();
        let mut prefixes: Vec<String> =
            page.result.common_prefixes.into_iter().map(|prefix| format!("{prefix}/")).collect();
        // The clients promise no order within a page.
        objects.sort_by(|one, other| one.key.cmp(&other.key));
        prefixes.sort();
        Ok(Listing { objects, prefixes, next: page.page_token })
    }

    /// [`Bucket::sign`](crate::Bucket::sign), without wishes for headers, which the clients cannot sign.
    ///
    /// # Errors
    /// Credentials that cannot be had.
    pub async fn sign(&self, call: &SignCall) -> Result<Option<String>> {
        let path = path(&call.key)?;
        let http_call = Call::reading("sign", Subject::Credentials);
        let address = self.signer.signed_url(call.method.clone(), &path, call.expires);
        Ok(Some(self.observed(http_call, address).await?.to_string()))
    }

    /// Runs a call of the client and tells what its failure means.
    async fn observed<T>(
        &self,
        call: Call,
        attempt: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T> {
        let (result, record) = exchange::observed(attempt).await;
        result.map_err(|error| self.error(call, record, &error))
    }

    fn error(&self, call: Call, record: Option<Record>, error: &object_store::Error) -> Error {
        let text = || exchange::one_line(&error.to_string());
        let Some(record) = record else {
            return Error::new(ErrorKind::Internal, format!("the request could not be made: {}", text()));
        };
        let advice = self.transport.advice();
        if record.authority != self.authority {
            let call = Call { subject: Subject::Credentials, writes: false, ..call };
            let mut error = fault::error(advice, call, &record);
            error.message = format!("the credentials cannot be fetched: {}", error.message);
            return error;
        }
        if record.status.is_some_and(|status| status.is_success()) && record.transport.is_none() {
            if let Some(transport) = transport_error(error) {
                return fault::error(
                    advice,
                    call,
                    &Record::of_failure(record.authority, record.method, transport),
                );
            }
            if record.empty {
                return Error::new(ErrorKind::InvalidRange, "the range has no byte of this object");
            }
            let error =
                Error::new(ErrorKind::Corrupt, format!("the store's answer makes no sense: {}", text()));
            return if call.writes { error.outcome_unknown() } else { error };
        }
        fault::error(advice, call, &record)
    }
}

/// What this crate's transport put into an error that went through `object_store`.
fn transport_error(error: &object_store::Error) -> Option<TransportError> {
    let mut next = std::error::Error::source(error);
    while let Some(inner) = next {
        if let Some(error) = inner.downcast_ref::<TransportError>() {
            return Some(error.clone());
        }
        next = inner.source();
    }
    None
}

/// The key as the clients take it, encoded by them once.
fn path(key: &str) -> Result<Path> {
    Path::parse(key).map_err(|error| {
        Error::new(ErrorKind::InvalidPath, "the storage cannot keep this path").caused_by(&error)
    })
}

fn facts(meta: &ObjectMeta, attributes: &Attributes) -> Facts {
    let mark = attributes.get(&Attribute::Metadata(MARK.into()));
    Facts {
        size: meta.size,
        modified: Some(SystemTime::from(meta.last_modified)),
        etag: meta.e_tag.clone().map(ETag),
        mark: mark.map(|mark| mark.as_ref().to_owned()),
    }
}

fn listed(meta: ObjectMeta) -> Listed {
    Listed {
        key: meta.location.into(),
        size: meta.size,
        modified: Some(SystemTime::from(meta.last_modified)),
        etag: meta.e_tag.map(ETag),
    }
}

#[cfg(test)]
mod tests;
