//! Drivers that do one thing wrong when they copy, move or delete.

use docker_registry_driver_api::{
    Condition, Error, ErrorKind, ListRequest, ObjectPath, Prefix, Result, SharedDriver, futures::FutureExt,
};

use crate::{
    changed::{Changed, call},
    faulty::{Fault, fault},
};

/// The faults of this file.
pub(crate) fn faults() -> Vec<Fault> {
    [moving(), deleting()].into_iter().flatten().collect()
}

/// A rename that is done by hand.
async fn copy_and_delete(inner: &SharedDriver, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
    inner.copy(&call(), from, to).await?;
    inner.delete(&call(), from).await
}

fn moving() -> Vec<Fault> {
    vec![
        fault(
            "a_copy_does_not_replace",
            "moving/a_copy_replaces_and_leaves_the_source",
            "replacing what is at `to`",
            |inner| {
                Changed::of(inner).copy(|inner, (from, to)| {
                    async move {
                        if inner.head(&call(), &to).await.is_ok() {
                            return Ok(());
                        }
                        inner.copy(&call(), &from, &to).await
                    }
                    .boxed()
                })
            },
        ),
        fault(
            "a_copy_is_a_move",
            "moving/a_copy_replaces_and_leaves_the_source",
            "Copies one object",
            |inner| {
                Changed::of(inner)
                    .copy(|inner, (from, to)| async move { inner.rename(&call(), &from, &to).await }.boxed())
            },
        ),
        fault("a_rename_is_a_copy", "moving/a_rename_moves_and_replaces", "Moves one object", |inner| {
            Changed::of(inner)
                .rename(|inner, (from, to)| async move { inner.copy(&call(), &from, &to).await }.boxed())
        }),
        fault("a_move_onto_itself_deletes", "moving/onto_itself_nothing_changes", "onto itself", |inner| {
            Changed::of(inner)
                .rename(|inner, (from, to)| async move { copy_and_delete(&inner, &from, &to).await }.boxed())
        }),
        fault(
            "a_rename_removes_the_target_first",
            "moving/an_absent_source_leaves_the_target",
            "what is at `to` is then unchanged",
            |inner| {
                Changed::of(inner).rename(|inner, (from, to)| {
                    async move {
                        if from != to {
                            let _ = inner.delete(&call(), &to).await;
                        }
                        inner.rename(&call(), &from, &to).await
                    }
                    .boxed()
                })
            },
        ),
        fault(
            "a_copy_of_nothing_is_ok",
            "moving/an_absent_source_leaves_the_target",
            "`NotFound` for the source",
            |inner| {
                Changed::of(inner).copy(|inner, (from, to)| {
                    async move {
                        inner.copy(&call(), &from, &to).await.or_else(|error| match error.kind {
                            ErrorKind::NotFound => Ok(()),
                            _ => Err(error),
                        })
                    }
                    .boxed()
                })
            },
        ),
        fault("a_rename_takes_the_folder_along", "moving/moves_cross_folders", "Moves one object", |inner| {
            Changed::of(inner).rename(|inner, (from, to)| {
                async move {
                    inner.rename(&call(), &from, &to).await?;
                    let folder = from.as_str().split('/').take(2).collect::<Vec<_>>().join("/");
                    inner.delete_tree(&call(), &Prefix::new(folder)?).await.map(|_| ())
                }
                .boxed()
            })
        }),
        fault(
            "a_copy_ends_after_8_mebibytes",
            "moving/a_large_object_is_moved_whole",
            "Copies one object",
            |inner| {
                Changed::of(inner).copy(|inner, (from, to)| {
                    async move {
                        let object = inner.get(&call(), &from, u64::MAX).await?;
                        let content = object.content.slice(..object.content.len().min(8 << 20));
                        inner.put(&call(), &to, content, &Condition::Always).await.map(|_| ())
                    }
                    .boxed()
                })
            },
        ),
        fault(
            "a_large_object_is_cut_off_when_moved",
            "moving/content_of_any_size_is_moved",
            "complete and of equal size",
            |inner| {
                Changed::of(inner).rename(|inner, (from, to)| {
                    async move {
                        let object = inner.get(&call(), &from, u64::MAX).await?;
                        let content = object.content.slice(..object.content.len().min(65_536));
                        inner.put(&call(), &to, content, &Condition::Always).await?;
                        inner.delete(&call(), &from).await
                    }
                    .boxed()
                })
            },
        ),
    ]
}

/// Deletes all objects whose path begins with a text, and returns how many there were.
async fn delete_beginning(inner: &SharedDriver, text: &str, most: usize) -> Result<u64> {
    let all = inner.list(&call(), &ListRequest::below(Prefix::root())).await?.entries;
    let paths = all.into_iter().filter(|entry| entry.path.starts_with(text)).take(most);
    let paths = paths.map(|entry| ObjectPath::new(entry.path)).collect::<Result<Vec<_>>>()?;
    inner.delete_many(&call(), &paths).await?;
    Ok(paths.len() as u64)
}

fn deleting() -> Vec<Fault> {
    vec![
        fault("a_delete_does_nothing", "deleting/a_deleted_object_is_gone", "Deletes one object", |inner| {
            Changed::of(inner).delete(|_, _| async { Ok(()) }.boxed())
        }),
        fault(
            "delete_takes_a_folder",
            "deleting/delete_of_a_folder_takes_nothing",
            "a folder of the same name stays",
            |inner| {
                Changed::of(inner).delete(|inner, (path,)| {
                    async move { inner.delete_tree(&call(), &path.into()).await.map(|_| ()) }.boxed()
                })
            },
        ),
        fault(
            "a_second_delete_is_a_conflict",
            "deleting/deleting_twice_does_no_harm",
            "one that does not tell returns `Ok`",
            |inner| {
                Changed::of(inner).delete(|inner, (path,)| {
                    async move {
                        let error = Error::new(ErrorKind::Conflict, "deleted already");
                        inner.delete(&call(), &path).await.map_err(|_| error)
                    }
                    .boxed()
                })
            },
        ),
        fault(
            "delete_many_fails_for_absent_ones",
            "deleting/many_are_deleted_and_absent_ones_are_no_error",
            "absent ones are no error",
            |inner| {
                Changed::of(inner).delete_many(|inner, (paths,)| {
                    async move {
                        let mut failed = Vec::new();
                        for path in paths {
                            if let Err(error) = inner.delete(&call(), &path).await {
                                failed.push((path, error));
                            }
                        }
                        Ok(failed)
                    }
                    .boxed()
                })
            },
        ),
        fault(
            "delete_many_ends_after_a_thousand",
            "deleting/more_than_a_thousand_are_deleted_in_one_call",
            "however many they are",
            |inner| {
                Changed::of(inner).delete_many(|inner, (mut paths,)| {
                    paths.truncate(1000);
                    async move { inner.delete_many(&call(), &paths).await }.boxed()
                })
            },
        ),
        fault(
            "delete_tree_takes_neighbours",
            "deleting/a_tree_is_exactly_a_tree",
            "and nothing else",
            |inner| {
                Changed::of(inner).delete_tree(|inner, (prefix,)| {
                    async move {
                        let count = inner.delete_tree(&call(), &prefix).await?;
                        delete_beginning(&inner, prefix.as_str(), usize::MAX).await?;
                        Ok(count)
                    }
                    .boxed()
                })
            },
        ),
        fault(
            "delete_tree_spares_the_object_of_its_name",
            "deleting/a_tree_takes_the_object_of_its_name",
            "Returns how many objects went",
            |inner| {
                Changed::of(inner).delete_tree(|inner, (prefix,)| {
                    async move { delete_beginning(&inner, &prefix.start(), usize::MAX).await }.boxed()
                })
            },
        ),
        fault(
            "delete_tree_does_not_count",
            "deleting/a_deep_tree_goes_whole",
            "how many objects went",
            |inner| {
                Changed::of(inner).delete_tree(|inner, (prefix,)| {
                    async move { inner.delete_tree(&call(), &prefix).await.map(|count| count.min(1)) }.boxed()
                })
            },
        ),
        fault(
            "delete_tree_ends_after_a_page",
            "deleting/a_tree_of_more_than_a_page_goes_whole",
            "Returns how many objects went",
            |inner| {
                Changed::of(inner).delete_tree(|inner, (prefix,)| {
                    async move { delete_beginning(&inner, &prefix.start(), 1000).await }.boxed()
                })
            },
        ),
        fault(
            "delete_tree_of_nothing_is_not_found",
            "deleting/a_tree_that_is_not_there_counts_nothing",
            "Deletes everything below the folder",
            |inner| {
                Changed::of(inner).delete_tree(|inner, (prefix,)| {
                    async move {
                        match inner.delete_tree(&call(), &prefix).await? {
                            0 => Err(Error::not_found(prefix)),
                            count => Ok(count),
                        }
                    }
                    .boxed()
                })
            },
        ),
    ]
}
