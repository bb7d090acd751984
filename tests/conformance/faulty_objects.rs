//! Drivers that do one thing wrong with objects at rest: writing them, looking at them, addresses.

use std::time::Duration;

use docker_registry_driver_api::{
    Bytes, CallContext, Capability, Condition, ETag, Error, ErrorKind, ListRequest, ObjectInfo, ObjectPath,
    Prefix, Result, SharedDriver, Stat, async_trait, futures::FutureExt,
};
use docker_registry_driver_conformance::forwarding::{Forward, Forwarding};

use crate::{
    changed::{Changed, call},
    faulty::{Fault, fault},
};

/// The faults of this file.
pub(crate) fn faults() -> Vec<Fault> {
    [writing(), looking(), redirecting()].into_iter().flatten().collect()
}

/// Takes what it may keep less well for what it need not keep.
struct Careless(SharedDriver);

#[async_trait]
impl Forward for Careless {
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
        if call.transient {
            return Ok(None);
        }
        self.0.put(call, path, content, condition).await
    }
}

fn writing() -> Vec<Fault> {
    vec![
        fault(
            "what_is_transient_is_not_kept",
            "objects/what_is_transient_is_there_all_the_same",
            "need not outlive the machine, only the process",
            |inner| Forwarding::shared(Careless(inner)),
        ),
        fault(
            "an_overwrite_keeps_the_tail",
            "objects/a_shorter_content_leaves_no_tail",
            "Writes a small object whole",
            |inner| {
                Changed::of(inner).put(|inner, (path, content, condition)| {
                    async move {
                        let mut whole = content.to_vec();
                        if let Ok(before) = inner.get(&call(), &path, u64::MAX).await {
                            whole.extend_from_slice(before.content.get(content.len()..).unwrap_or_default());
                        }
                        inner.put(&call(), &path, whole.into(), &condition).await
                    }
                    .boxed()
                })
            },
        ),
        fault(
            "a_content_ends_at_a_zero",
            "objects/every_byte_value_is_kept",
            "Reads a small object",
            |inner| {
                Changed::of(inner).put(|inner, (path, content, condition)| {
                    async move {
                        let end = content.iter().position(|byte| *byte == 0).unwrap_or(content.len());
                        inner.put(&call(), &path, content.slice(..end), &condition).await
                    }
                    .boxed()
                })
            },
        ),
        fault(
            "an_object_takes_the_place_of_a_folder",
            "objects/an_object_and_a_folder_of_one_name_do_no_harm",
            "when a folder is at the path",
            |inner| {
                Changed::of(inner).put(|inner, (path, content, condition)| {
                    async move {
                        if let Ok(Stat::Folder) = inner.stat(&call(), &path.clone().into()).await {
                            inner.delete_tree(&call(), &path.clone().into()).await?;
                        }
                        inner.put(&call(), &path, content, &condition).await
                    }
                    .boxed()
                })
            },
        ),
        fault("folders_are_not_made", "objects/deep_paths_are_made_at_once", "making the folders", |inner| {
            Changed::of(inner).put(|inner, (path, content, condition)| {
                async move {
                    if path.as_str().matches('/').count() > 5 {
                        return Err(Error::not_found(&path));
                    }
                    inner.put(&call(), &path, content, &condition).await
                }
                .boxed()
            })
        }),
        fault(
            "put_keeps_the_tag_for_itself",
            "facts/put_returns_the_new_tag",
            "Returns its new tag",
            |inner| {
                Changed::of(inner).put(|inner, (path, content, condition)| {
                    async move { inner.put(&call(), &path, content, &condition).await.map(|_| None) }.boxed()
                })
            },
        ),
    ]
}

/// The facts of an object, changed.
fn head_with(inner: SharedDriver, change: fn(ObjectInfo) -> Result<ObjectInfo>) -> SharedDriver {
    Changed::of(inner)
        .head(move |inner, (path,)| async move { change(inner.head(&call(), &path).await?) }.boxed())
}

fn looking() -> Vec<Fault> {
    vec![
        fault(
            "get_ignores_its_limit",
            "objects/the_limit_of_get_holds",
            "more than `max_size` bytes",
            |inner| {
                Changed::of(inner)
                    .get(|inner, (path, _)| async move { inner.get(&call(), &path, u64::MAX).await }.boxed())
            },
        ),
        fault(
            "get_refuses_what_just_fits",
            "objects/the_limit_of_get_holds",
            "more than `max_size`",
            |inner| {
                Changed::of(inner).get(|inner, (path, limit)| {
                    let limit = if limit == u64::MAX { limit } else { limit.saturating_sub(1) };
                    async move { inner.get(&call(), &path, limit).await }.boxed()
                })
            },
        ),
        fault(
            "an_empty_object_is_absent",
            "objects/what_was_put_is_there",
            "Writes a small object",
            |inner| {
                Changed::of(inner).get(|inner, (path, limit)| {
                    async move {
                        let object = inner.get(&call(), &path, limit).await?;
                        if object.content.is_empty() { Err(Error::not_found(&path)) } else { Ok(object) }
                    }
                    .boxed()
                })
            },
        ),
        fault(
            "an_absent_object_is_empty",
            "objects/an_absent_object_is_not_found",
            "is no object",
            |inner| {
                Changed::of(inner).head(|inner, (path,)| {
                    async move {
                        let absent = ObjectInfo { size: 0, modified: None, etag: None };
                        Ok(inner.head(&call(), &path).await.unwrap_or(absent))
                    }
                    .boxed()
                })
            },
        ),
        fault("absence_is_unavailable", "objects/an_absent_object_is_not_found", "is no object", |inner| {
            Changed::of(inner).get(|inner, (path, limit)| {
                async move {
                    let error = Error::new(ErrorKind::Unavailable, "no such key");
                    inner.get(&call(), &path, limit).await.map_err(|_| error)
                }
                .boxed()
            })
        }),
        fault(
            "head_answers_for_a_folder",
            "objects/a_folder_is_not_an_object",
            "is `NotFound` here",
            |inner| {
                Changed::of(inner).head(|inner, (path,)| {
                    async move {
                        match inner.stat(&call(), &path.clone().into()).await? {
                            Stat::Object(info) => Ok(info),
                            Stat::Folder => Ok(ObjectInfo { size: 4096, modified: None, etag: None }),
                        }
                    }
                    .boxed()
                })
            },
        ),
        fault(
            "the_beginning_of_a_name_is_a_folder",
            "objects/the_beginning_of_a_name_is_no_folder",
            "these segments and a `/`",
            |inner| {
                Changed::of(inner).stat(|inner, (path,)| {
                    async move {
                        let all = inner.list(&call(), &ListRequest::below(Prefix::root())).await?.entries;
                        match inner.stat(&call(), &path).await {
                            Err(_) if all.iter().any(|entry| entry.path.starts_with(path.as_str())) => {
                                Ok(Stat::Folder)
                            }
                            other => other,
                        }
                    }
                    .boxed()
                })
            },
        ),
        fault(
            "the_root_is_absent",
            "objects/folders_are_what_objects_make_of_them",
            "The root is always a folder",
            |inner| {
                Changed::of(inner).stat(|inner, (path,)| {
                    async move {
                        if path.is_root() {
                            return Err(Error::not_found(path));
                        }
                        inner.stat(&call(), &path).await
                    }
                    .boxed()
                })
            },
        ),
        fault("sizes_are_counted_in_blocks", "facts/facts_agree_in_every_call", "Size in bytes", |inner| {
            head_with(inner, |info| Ok(ObjectInfo { size: info.size.next_multiple_of(512), ..info }))
        }),
        fault(
            "head_has_a_tag_of_its_own",
            "facts/facts_agree_in_every_call",
            "Version of the content",
            |inner| head_with(inner, |info| Ok(ObjectInfo { etag: Some(ETag("head".to_owned())), ..info })),
        ),
        fault(
            "times_are_in_another_zone",
            "facts/facts_agree_in_every_call",
            "differ by less than a second",
            |inner| {
                head_with(inner, |info| {
                    let modified = info.modified.map(|time| time + Duration::from_secs(3600));
                    Ok(ObjectInfo { modified, ..info })
                })
            },
        ),
        fault(
            "a_tag_is_made_of_the_size",
            "facts/a_change_of_content_changes_the_tag",
            "whenever the content of an object changes",
            |inner| {
                head_with(inner, |info| {
                    let etag = Some(ETag(info.size.to_string()));
                    Ok(ObjectInfo { etag, ..info })
                })
            },
        ),
        fault(
            "the_time_of_change_is_constant",
            "facts/the_time_of_change_moves_on",
            "last change",
            |inner| {
                let opened = std::time::SystemTime::now();
                Changed::of(inner).head(move |inner, (path,)| {
                    async move {
                        let info = inner.head(&call(), &path).await?;
                        Ok(ObjectInfo { modified: Some(opened), ..info })
                    }
                    .boxed()
                })
            },
        ),
    ]
}

fn redirecting() -> Vec<Fault> {
    vec![
        fault(
            "an_address_comes_without_the_capability",
            "redirects/without_the_capability_there_is_no_address",
            "`redirect_url` may return an address",
            |inner| {
                Changed::of(inner)
                    .redirect_url(|_, _| async { Ok(Some("https://storage.example/a".to_owned())) }.boxed())
            },
        ),
        fault(
            "an_address_is_not_escaped",
            "redirects/an_address_is_one_that_a_client_can_follow",
            "An address where a client can fetch the object",
            |inner| {
                Changed::of(inner).declaring(Capability::Redirects).redirect_url(|_, (request,)| {
                    async move { Ok(Some(format!("https://storage.example/{}", request.path))) }.boxed()
                })
            },
        ),
        fault(
            "an_address_is_relative",
            "redirects/an_address_is_one_that_a_client_can_follow",
            "An address where a client can fetch the object",
            |inner| {
                Changed::of(inner)
                    .declaring(Capability::Redirects)
                    .redirect_url(|_, _| async { Ok(Some("/bucket/a".to_owned())) }.boxed())
            },
        ),
    ]
}
