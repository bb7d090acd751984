//! Deletions, in batches where the store has them. What ended uploads left behind rides along.

use std::collections::HashMap;

use docker_registry_driver_api::{CallContext, Error, ObjectPath, Prefix, Result};

use crate::{
    bucket::ListCall,
    engine::{Engine, OWN, is_own},
    garbage::Taken,
    retry::Effort,
};

/// Largest page of a listing.
const PAGE: u32 = 1_000;
/// How often the emptied folder is looked at again.
const MOST_LOOKS: u32 = 100;

impl Engine {
    /// See [`Driver::delete`](docker_registry_driver_api::Driver::delete). Most stores do not tell whether
    /// the object was there.
    ///
    /// # Errors
    /// `NotFound` where the store tells.
    pub async fn delete(&self, call: &CallContext, path: &ObjectPath) -> Result<()> {
        let key = self.readable(path)?;
        if self.limits().largest_batch > 1 {
            let garbage = self.garbage.take(self.limits().largest_batch - 1);
            if garbage.keys().next().is_some() {
                let failed = self.delete_with(call, vec![key.clone()], garbage).await;
                return match failed.into_iter().find(|(failed, _)| *failed == key) {
                    Some((_, error)) => Err(Error { path: None, operation: String::new(), ..error }),
                    None => Ok(()),
                };
            }
        }
        let tried = self.attempts(call, Effort::WRITE, || self.bucket.delete(&key)).await;
        match tried.result {
            // The attempt before may have deleted it.
            Err(error) if error.is_not_found() && tried.repeated => Ok(()),
            result => result,
        }
    }

    /// See [`Driver::delete_many`](docker_registry_driver_api::Driver::delete_many).
    ///
    /// # Errors
    /// None: each object has its own.
    pub async fn delete_many(
        &self,
        call: &CallContext,
        paths: &[ObjectPath],
    ) -> Result<Vec<(ObjectPath, Error)>> {
        // Names of the driver's own are absent to everybody else.
        let addressed = paths.iter().filter(|path| !is_own(path.as_str()));
        let keys: HashMap<String, &ObjectPath> =
            addressed.map(|path| (self.key(path.as_str()), path)).collect();
        let failed = self.delete_with_garbage(call, keys.keys().cloned().collect()).await;
        let failed = failed.into_iter().filter_map(|(key, error)| {
            let path = *keys.get(&key)?;
            Some((path.clone(), Error { operation: String::new(), ..error }.at(path)))
        });
        Ok(failed.collect())
    }

    /// See [`Driver::delete_tree`](docker_registry_driver_api::Driver::delete_tree). Markers of consoles go
    /// as well and are not counted.
    ///
    /// # Errors
    /// The first one of the store; what was deleted before stays so.
    pub async fn delete_tree(&self, call: &CallContext, prefix: &Prefix) -> Result<u64> {
        if is_own(prefix.as_str()) {
            return Ok(0);
        }
        let start = prefix.start();
        let first =
            ListCall { prefix: self.key(&start), delimited: false, after: None, token: None, limit: PAGE };
        // The object of the same name is found beside the first page.
        let (object, page) =
            futures::join!(self.is_object(call, prefix), self.keys_below(call, first.clone(), &start));
        let (mut keys, mut next) = page?;
        if object? {
            keys.push(self.key(prefix.as_str()));
        }
        let (mut count, mut looks) = (0, 0);
        loop {
            let gone = keys.iter().filter(|key| self.is_counted(key)).count() as u64;
            // The next page is listed while this one is deleted.
            let list = async {
                match next.take() {
                    Some(list) => self.keys_below(call, list, &start).await.map(Some),
                    None => Ok(None),
                }
            };
            let (failed, page) = futures::join!(self.delete_with_garbage(call, keys), list);
            if let Some((_, error)) = failed.into_iter().next() {
                return Err(Error { path: None, operation: String::new(), ..error });
            }
            count += gone;
            match page? {
                Some(page) => (keys, next) = page,
                // Some servers show what lies below an object only when the object is gone, and some end a
                // listing early.
                None if gone > 0 && looks < MOST_LOOKS && self.limits().strongly_consistent => {
                    looks += 1;
                    (keys, next) = self.keys_below(call, first.clone(), &start).await?;
                }
                None => return Ok(count),
            }
        }
    }

    /// Whether an object has exactly the name of a folder.
    async fn is_object(&self, call: &CallContext, prefix: &Prefix) -> Result<bool> {
        if prefix.is_root() {
            return Ok(false);
        }
        let key = self.key(prefix.as_str());
        match self.attempt(call, false, || self.bucket.head(&key)).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The keys of one page, without the driver's own, and the call for the next page.
    async fn keys_below(
        &self,
        call: &CallContext,
        mut list: ListCall,
        start: &str,
    ) -> Result<(Vec<String>, Option<ListCall>)> {
        let page = self.attempt(call, false, || self.bucket.list(&list)).await?;
        let mut keys: Vec<_> = page.objects.into_iter().map(|object| object.key).collect();
        let last = keys.last().cloned();
        let next = page.next.map(|token| {
            match last {
                // A token may point at an object that is being deleted; a key is a place in any case.
                Some(last) if self.limits().list_after => {
                    let is_in_own = start.is_empty() && self.path(&last).is_some_and(is_own);
                    let over = self.key(&format!("{OWN}0"));
                    list.after = Some(if is_in_own && last < over { over } else { last });
                    list.token = None;
                }
                _ => list.token = Some(token),
            }
            list
        });
        if start.is_empty() {
            keys.retain(|key| self.path(key).is_some_and(|path| !is_own(path)));
        }
        Ok((keys, next))
    }

    fn is_counted(&self, key: &str) -> bool {
        self.path(key).is_some_and(|path| ObjectPath::new(path).is_ok())
    }

    /// Deletes objects, and garbage in what room there is in the last batch. Returns those that stay.
    async fn delete_with_garbage(&self, call: &CallContext, keys: Vec<String>) -> Vec<(String, Error)> {
        if keys.is_empty() {
            return Vec::new();
        }
        let size = self.limits().largest_batch.max(1);
        let garbage = self.garbage.take((size - keys.len() % size) % size);
        self.delete_with(call, keys, garbage).await
    }

    /// Deletes objects and the garbage that was taken for this, again and again where the store left some
    /// for a reason that may pass. Returns those that stay.
    pub(crate) async fn delete_with(
        &self,
        call: &CallContext,
        mut keys: Vec<String>,
        garbage: Taken<'_>,
    ) -> Vec<(String, Error)> {
        keys.extend(garbage.keys().map(str::to_owned));
        let stay = self.delete_keys(call, keys).await;
        garbage.deleted(stay.iter().map(|(key, _)| key.as_str()));
        stay
    }
}
