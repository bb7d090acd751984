//! Drivers that do one thing wrong when calls meet each other.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use docker_registry_driver_api::{
    Bytes, CallContext, Capability, Condition, ETag, Error, ErrorKind, ListPage, ListRequest, ObjectInfo,
    ObjectPath, Prefix, Result, SharedDriver, async_trait, futures::FutureExt,
};
use docker_registry_driver_conformance::forwarding::{Forward, Forwarding};

use crate::{
    changed::{Changed, call},
    faulty::{Fault, a_moment, fault},
};

/// The faults of this file.
pub(crate) fn faults() -> Vec<Fault> {
    [conditions(), writes()].concat()
}

fn conditions() -> Vec<Fault> {
    vec![
        fault(
            "a_put_ignores_if_absent",
            "conditions/if_absent_leaves_what_is_there",
            "nothing is there",
            |inner| {
                Changed::of(inner).put(|inner, (path, content, condition)| {
                    async move {
                        let ignored = condition == Condition::IfAbsent;
                        let condition = if ignored { Condition::Always } else { condition };
                        inner.put(&call(), &path, content, &condition).await
                    }
                    .boxed()
                })
            },
        ),
        fault(
            "absence_is_looked_for_before_the_write",
            "conditions/of_many_creators_one_wins",
            "of many such writers exactly one succeeds",
            |inner| {
                Changed::of(inner).put(|inner, (path, content, condition)| {
                    async move {
                        if condition == Condition::IfAbsent && inner.head(&call(), &path).await.is_ok() {
                            return Err(Error::new(ErrorKind::ConditionFailed, "something is there"));
                        }
                        a_moment().await;
                        inner.put(&call(), &path, content, &Condition::Always).await
                    }
                    .boxed()
                })
            },
        ),
        fault(
            "the_tag_is_compared_before_the_write",
            "conditions/no_update_is_lost",
            "Only when the object there still has this tag",
            |inner| {
                Changed::of(inner).put(|inner, (path, content, condition)| {
                    async move {
                        if let Condition::IfMatch(tag) = &condition
                            && inner.head(&call(), &path).await?.etag.as_ref() != Some(tag)
                        {
                            return Err(Error::new(ErrorKind::ConditionFailed, "another version"));
                        }
                        a_moment().await;
                        inner.put(&call(), &path, content, &Condition::Always).await
                    }
                    .boxed()
                })
            },
        ),
        fault(
            "a_tag_for_an_absent_object_is_not_found",
            "conditions/an_absent_object_has_no_tag",
            "Only when the object there still has this tag",
            |inner| {
                Changed::of(inner).put(|inner, (path, content, condition)| {
                    async move {
                        if matches!(condition, Condition::IfMatch(_)) {
                            inner.head(&call(), &path).await?;
                        }
                        inner.put(&call(), &path, content, &condition).await
                    }
                    .boxed()
                })
            },
        ),
        fault(
            "conditions_work_that_are_not_offered",
            "conditions/without_if_absent_it_is_unsupported",
            "when the driver lacks the capability",
            |inner| Changed::of(inner).without(Capability::PutIfAbsent).shared(),
        ),
        fault(
            "tags_are_kept_when_content_changes",
            "conditions/if_match_writes_over_the_tagged_version",
            "changes whenever the content of an object changes",
            |inner| Forwarding::shared(OneTag(inner)),
        ),
    ]
}

/// Every object has the same tag, and a condition on it always holds.
struct OneTag(SharedDriver);

#[async_trait]
impl Forward for OneTag {
    fn inner(&self) -> &SharedDriver {
        &self.0
    }

    async fn put(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        content: Bytes,
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        let always = matches!(condition, Condition::IfMatch(_));
        let condition = if always { &Condition::Always } else { condition };
        self.0.put(call, path, content, condition).await?;
        Ok(Some(ETag("tag".to_owned())))
    }

    async fn head(&self, call: &CallContext, path: &ObjectPath) -> Result<ObjectInfo> {
        let info = self.0.head(call, path).await?;
        Ok(ObjectInfo { etag: Some(ETag("tag".to_owned())), ..info })
    }
}

/// Writes half of the content, and then all of it.
async fn put_in_two_steps(inner: &SharedDriver, path: &ObjectPath, content: Bytes) -> Result<Option<ETag>> {
    if content.len() > 1000 {
        inner.put(&call(), path, content.slice(..content.len() / 2), &Condition::Always).await?;
        a_moment().await;
    }
    inner.put(&call(), path, content, &Condition::Always).await
}

fn writes() -> Vec<Fault> {
    let two_steps = |inner| {
        Changed::of(inner).put(|inner, (path, content, _)| {
            async move { put_in_two_steps(&inner, &path, content).await }.boxed()
        })
    };
    let absent_between = |inner| {
        Changed::of(inner).put(|inner, (path, content, condition)| {
            async move {
                let _ = inner.delete(&call(), &path).await;
                a_moment().await;
                inner.put(&call(), &path, content, &condition).await
            }
            .boxed()
        })
    };
    vec![
        fault(
            "a_put_is_made_of_two_steps",
            "concurrency/readers_see_one_version_or_the_other",
            "never between",
            two_steps,
        ),
        fault(
            "two_puts_at_once_are_made_of_two_steps",
            "concurrency/two_writers_leave_one_of_their_contents",
            "never between",
            two_steps,
        ),
        fault(
            "a_put_deletes_what_it_replaces_first",
            "concurrency/readers_see_one_version_or_the_other",
            "never between",
            absent_between,
        ),
        fault(
            "a_rename_that_is_copied_by_half_first",
            "concurrency/a_rename_does_not_disturb_readers",
            "never between",
            |inner| {
                Changed::of(inner).rename(|inner, (from, to)| {
                    async move {
                        let content = inner.get(&call(), &from, u64::MAX).await?.content;
                        put_in_two_steps(&inner, &to, content).await?;
                        inner.delete(&call(), &from).await
                    }
                    .boxed()
                })
            },
        ),
        fault(
            "a_listing_repeats_entries_when_others_come",
            "concurrency/listings_go_on_while_objects_come",
            "none is repeated",
            |inner| Forwarding::shared(ByNumber { inner }),
        ),
        fault(
            "a_put_fails_while_a_tree_is_deleted",
            "many_callers/writers_against_delete_tree",
            "Writes a small object whole and atomically, making the folders it needs",
            |inner| Forwarding::shared(TreeLocks { inner, deletions: AtomicUsize::new(0) }),
        ),
        fault(
            "calls_get_each_others_content",
            "many_callers/many_mixed_calls_at_once",
            "Writes a small object whole",
            |inner| Forwarding::shared(OneBuffer { inner, buffer: Mutex::default() }),
        ),
        fault(
            "a_large_listing_ends_with_its_first_page",
            "large_listings/eleven_hundred_entries_come_in_order",
            "One page of a listing",
            |inner| {
                Changed::of(inner).list(|inner, (request,)| {
                    async move {
                        let page = inner.list(&call(), &request).await?;
                        let next = page.next.filter(|_| page.entries.len() < 1000);
                        Ok(ListPage { next, ..page })
                    }
                    .boxed()
                })
            },
        ),
    ]
}

/// Pages are numbered: the cursor says how many entries came before, not which.
struct ByNumber {
    inner: SharedDriver,
}

#[async_trait]
impl Forward for ByNumber {
    fn inner(&self) -> &SharedDriver {
        &self.inner
    }

    async fn list(&self, call: &CallContext, request: &ListRequest) -> Result<ListPage> {
        let after = request.after.as_deref().unwrap_or_default();
        let Some(skipped) = after.strip_prefix('~').and_then(|number| number.parse::<usize>().ok()) else {
            let mut page = self.inner.list(call, request).await?;
            page.next = page.next.map(|_| format!("~{:09}", page.entries.len()));
            return Ok(page);
        };
        let whole = ListRequest { after: None, limit: 1000, ..request.clone() };
        let mut entries = self.inner.list(call, &whole).await?.entries;
        entries.drain(..skipped.min(entries.len()));
        let is_last = entries.len() <= request.limit as usize;
        entries.truncate(request.limit as usize);
        let next = (!is_last).then(|| format!("~{:09}", skipped + entries.len()));
        Ok(ListPage { entries, next })
    }
}

/// A folder that is being deleted is closed for writers.
struct TreeLocks {
    inner: SharedDriver,
    deletions: AtomicUsize,
}

#[async_trait]
impl Forward for TreeLocks {
    fn inner(&self) -> &SharedDriver {
        &self.inner
    }

    async fn put(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        content: Bytes,
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        if self.deletions.load(Ordering::Relaxed) > 0 {
            return Err(Error::new(ErrorKind::Conflict, "the folder is being deleted"));
        }
        a_moment().await;
        self.inner.put(call, path, content, condition).await
    }

    async fn delete_tree(&self, call: &CallContext, prefix: &Prefix) -> Result<u64> {
        self.deletions.fetch_add(1, Ordering::Relaxed);
        a_moment().await;
        let deleted = self.inner.delete_tree(call, prefix).await;
        self.deletions.fetch_sub(1, Ordering::Relaxed);
        deleted
    }
}

/// All puts go through one buffer.
struct OneBuffer {
    inner: SharedDriver,
    buffer: Mutex<Bytes>,
}

#[async_trait]
impl Forward for OneBuffer {
    fn inner(&self) -> &SharedDriver {
        &self.inner
    }

    async fn put(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        content: Bytes,
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        *self.buffer.lock().expect("nobody panics") = content;
        a_moment().await;
        let content = self.buffer.lock().expect("nobody panics").clone();
        self.inner.put(call, path, content, condition).await
    }
}
