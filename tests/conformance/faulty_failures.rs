//! Drivers that do one thing wrong when readers are slow, when calls are dropped, and when something fails.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use docker_registry_driver_api::{
    ByteStream, Bytes, CallContext, Condition, ETag, Error, ErrorKind, ListRequest, ObjectInfo, ObjectPath,
    ReadRange, Reading, ReadingBody, Result, SharedDriver, UploadProgress, UploadState, async_trait, collect,
    futures::{FutureExt, Stream, StreamExt, stream},
};
use docker_registry_driver_conformance::forwarding::{Forward, Forwarding};
use tokio::sync::Semaphore;

use crate::{
    changed::{Changed, call},
    faulty::{Fault, SECRET, a_moment, fault},
};

/// The faults of this file.
pub(crate) fn faults() -> Vec<Fault> {
    [readings(), drops(), errors(), health()].concat()
}

fn readings() -> Vec<Fault> {
    vec![
        fault(
            "a_reading_mixes_old_and_new_content",
            "concurrency/an_open_reading_is_not_disturbed",
            "never a mixture",
            |inner| Changed::of(inner).read(|inner, (path, range)| piecemeal(inner, path, range).boxed()),
        ),
        fault(
            "readers_meet_a_mixture",
            "concurrency/readers_see_one_version_or_the_other",
            "never between",
            |inner| Changed::of(inner).read(|inner, (path, range)| piecemeal(inner, path, range).boxed()),
        ),
        fault(
            "a_reading_that_stalls_breaks_off",
            "slow_readers/a_reader_that_stalls_goes_on",
            "Opens an object for reading",
            |inner| {
                Changed::of(inner).read(|inner, (path, range)| {
                    async move {
                        let mut reading = inner.read(&call(), &path, range).await?;
                        if let ReadingBody::Stream(body) = reading.body {
                            reading.body = ReadingBody::Stream(impatient(body).boxed());
                        }
                        Ok(reading)
                    }
                    .boxed()
                })
            },
        ),
        fault(
            "dropped_readings_hold_their_connections",
            "slow_readers/readers_that_go_away_leave_nothing",
            "Opens an object for reading",
            |inner| {
                let connections = Arc::new(Semaphore::new(500));
                Changed::of(inner).read(move |inner, (path, range)| {
                    let connections = Arc::clone(&connections);
                    async move {
                        let taken = connections.try_acquire_owned();
                        let taken =
                            taken.map_err(|_| Error::new(ErrorKind::Unavailable, "no connection is free"))?;
                        // Given back by nobody.
                        taken.forget();
                        inner.read(&call(), &path, range).await
                    }
                    .boxed()
                })
            },
        ),
        fault(
            "one_append_at_a_time_loses_its_bytes",
            "slow_readers/writers_that_stall_hold_up_nobody",
            "Adds the stream's bytes",
            |inner| Forwarding::shared(Impatient(inner)),
        ),
    ]
}

/// A reading that fetches each piece when it is asked for, from whatever is there then.
async fn piecemeal(inner: SharedDriver, path: ObjectPath, range: ReadRange) -> Result<Reading> {
    let reading = inner.read(&call(), &path, range).await?;
    let (start, end) = (reading.offset, reading.offset + reading.length);
    let pieces = stream::unfold(start, move |at| {
        let (inner, path) = (inner.clone(), path.clone());
        async move {
            let length = (end - at).min(20_000);
            if length == 0 {
                return None;
            }
            a_moment().await;
            let piece = async {
                let window = ReadRange::Window { offset: at, length };
                let reading = inner.read(&call(), &path, window).await?;
                match reading.body {
                    ReadingBody::Stream(body) => collect(body, usize::MAX).await,
                    ReadingBody::File(_) => Err(Error::unsupported("read")),
                }
            };
            match piece.await {
                Ok(piece) if piece.len() as u64 == length => Some((Ok(piece), at + length)),
                Ok(_) => Some((Err(Error::new(ErrorKind::Unavailable, "the object is shorter now")), end)),
                Err(error) => Some((Err(error), end)),
            }
        }
    });
    Ok(Reading { body: ReadingBody::Stream(pieces.boxed()), ..reading })
}

/// A stream whose connection closes when nothing is taken for half a second.
fn impatient(body: ByteStream) -> impl Stream<Item = Result<Bytes>> + Send {
    let mut last = Instant::now();
    body.map(move |piece| {
        let is_late = last.elapsed() > Duration::from_millis(500);
        last = Instant::now();
        if is_late { Err(Error::new(ErrorKind::Unavailable, "the connection was closed")) } else { piece }
    })
}

/// Takes what has come of a body when its client pauses.
struct Impatient(SharedDriver);

#[async_trait]
impl Forward for Impatient {
    fn inner(&self) -> &SharedDriver {
        &self.0
    }

    async fn append(
        &self,
        call: &CallContext,
        state: &UploadState,
        offset: u64,
        body: ByteStream,
    ) -> Result<UploadProgress> {
        let body = body.take_until(tokio::time::sleep(Duration::from_millis(1)));
        self.0.append(call, state, offset, body.boxed()).await
    }
}

/// Writes in two steps that a dropped call comes between.
async fn half_and_whole(inner: &SharedDriver, path: &ObjectPath, content: Bytes) -> Result<Option<ETag>> {
    let half = content.slice(..content.len() / 2);
    inner.put(&call(), path, half, &Condition::Always).await?;
    tokio::time::sleep(Duration::from_micros(700)).await;
    inner.put(&call(), path, content, &Condition::Always).await
}

fn drops() -> Vec<Fault> {
    vec![
        fault(
            "a_dropped_put_leaves_half",
            "cancellation/a_dropped_put_happened_or_not",
            "never by half",
            |inner| {
                Changed::of(inner).put(|inner, (path, content, _)| {
                    async move { half_and_whole(&inner, &path, content).await }.boxed()
                })
            },
        ),
        fault(
            "a_dropped_put_leaves_a_temporary_object",
            "cancellation/a_dropped_put_happened_or_not",
            "never by half",
            |inner| {
                Changed::of(inner).put(|inner, (path, content, condition)| {
                    async move {
                        let temporary = ObjectPath::new(format!("{path}.tmp"))?;
                        inner.put(&call(), &temporary, content.clone(), &Condition::Always).await?;
                        a_moment().await;
                        inner.delete(&call(), &temporary).await?;
                        inner.put(&call(), &path, content, &condition).await
                    }
                    .boxed()
                })
            },
        ),
        fault(
            "a_dropped_conditional_put_leaves_half",
            "cancellation/a_dropped_conditional_put_happened_or_not",
            "never by half",
            |inner| {
                Changed::of(inner).put(|inner, (path, content, condition)| {
                    async move {
                        if condition == Condition::IfAbsent && inner.head(&call(), &path).await.is_ok() {
                            return Err(Error::new(ErrorKind::ConditionFailed, "something is there"));
                        }
                        half_and_whole(&inner, &path, content).await
                    }
                    .boxed()
                })
            },
        ),
        fault(
            "a_dropped_copy_leaves_half",
            "cancellation/a_dropped_copy_happened_or_not",
            "never by half",
            |inner| {
                Changed::of(inner).copy(|inner, (from, to)| {
                    async move {
                        let content = inner.get(&call(), &from, u64::MAX).await?.content;
                        half_and_whole(&inner, &to, content).await.map(drop)
                    }
                    .boxed()
                })
            },
        ),
        fault(
            "a_dropped_rename_loses_the_object",
            "cancellation/a_dropped_rename_happened_or_not",
            "never by half",
            |inner| {
                Changed::of(inner).rename(|inner, (from, to)| {
                    async move {
                        let content = inner.get(&call(), &from, u64::MAX).await?.content;
                        inner.delete(&call(), &from).await?;
                        a_moment().await;
                        inner.put(&call(), &to, content, &Condition::Always).await.map(drop)
                    }
                    .boxed()
                })
            },
        ),
        fault(
            "a_dropped_delete_tree_empties_objects_first",
            "cancellation/a_dropped_delete_tree_leaves_whole_objects",
            "never by half",
            |inner| {
                Changed::of(inner).delete_tree(|inner, folder| {
                    async move {
                        let page = inner.list(&call(), &ListRequest::below(folder.0.clone())).await?;
                        for entry in page.entries {
                            let path = ObjectPath::new(entry.path)?;
                            inner.put(&call(), &path, Bytes::from_static(b"a"), &Condition::Always).await?;
                            tokio::time::sleep(Duration::from_micros(100)).await;
                        }
                        inner.delete_tree(&call(), &folder.0).await
                    }
                    .boxed()
                })
            },
        ),
        fault(
            "a_dropped_delete_takes_a_neighbour",
            "cancellation/a_dropped_delete_happened_or_not",
            "never by half",
            |inner| {
                Changed::of(inner).delete(|inner, path| {
                    async move {
                        let (folder, _) = path.0.as_str().rsplit_once('/').unwrap_or_default();
                        let neighbour = ObjectPath::new(format!("{folder}/three"))?;
                        inner.delete(&call(), &neighbour).await?;
                        inner.delete(&call(), &path.0).await
                    }
                    .boxed()
                })
            },
        ),
        fault(
            "a_dropped_look_holds_its_connection",
            "cancellation/dropped_looks_and_listings_do_no_harm",
            "stops as soon as it can",
            |inner| Forwarding::shared(OneConnection { inner, connections: Semaphore::new(50) }),
        ),
    ]
}

/// Connections come back only from calls that reach their end.
struct OneConnection {
    inner: SharedDriver,
    connections: Semaphore,
}

#[async_trait]
impl Forward for OneConnection {
    fn inner(&self) -> &SharedDriver {
        &self.inner
    }

    async fn head(&self, call: &CallContext, path: &ObjectPath) -> Result<ObjectInfo> {
        let taken = self.connections.try_acquire();
        let taken = taken.map_err(|_| Error::new(ErrorKind::Unavailable, "no connection is free"))?;
        taken.forget();
        a_moment().await;
        let info = self.inner.head(call, path).await;
        self.connections.add_permits(1);
        info
    }
}

fn errors() -> Vec<Fault> {
    vec![
        fault("an_error_names_a_file", "errors/they_name_the_call_and_its_path", "are filled in", |inner| {
            Changed::of(inner).get(|inner, (path, limit)| {
                async move {
                    let found = inner.get(&call(), &path, limit).await;
                    found.map_err(|error| error.at(format!("/var/lib/store/{path}")))
                }
                .boxed()
            })
        }),
        fault(
            "an_error_names_another_call",
            "errors/they_name_the_call_and_its_path",
            "are filled in",
            |inner| {
                Changed::of(inner).head(|inner, path| {
                    async move {
                        inner.head(&call(), &path.0).await.map_err(|mut error| {
                            error.operation = "get".to_owned();
                            error
                        })
                    }
                    .boxed()
                })
            },
        ),
        fault(
            "an_error_says_nothing",
            "errors/they_name_the_call_and_its_path",
            "One sentence for an operator",
            |inner| {
                Changed::of(inner).rename(|inner, (from, to)| {
                    async move {
                        inner.rename(&call(), &from, &to).await.map_err(|mut error| {
                            error.message.clear();
                            error
                        })
                    }
                    .boxed()
                })
            },
        ),
        fault(
            "a_refused_write_may_have_happened",
            "errors/a_known_outcome_is_not_called_unknown",
            "A write whose fate is not known",
            |inner| {
                Changed::of(inner).put(|inner, (path, content, condition)| {
                    async move {
                        let put = inner.put(&call(), &path, content, &condition).await;
                        put.map_err(Error::outcome_unknown)
                    }
                    .boxed()
                })
            },
        ),
        fault(
            "a_passed_deadline_is_an_internal_error",
            "errors/a_passed_deadline_is_a_timeout",
            "The deadline of the call passed",
            |inner| Forwarding::shared(Late { inner, kind: ErrorKind::Internal }),
        ),
        fault(
            "a_passed_deadline_hides_a_write",
            "errors/a_passed_deadline_is_a_timeout",
            "A write whose fate is not known",
            |inner| Forwarding::shared(Late { inner, kind: ErrorKind::Timeout }),
        ),
    ]
}

/// Writes, and then finds the deadline passed.
struct Late {
    inner: SharedDriver,
    kind: ErrorKind,
}

#[async_trait]
impl Forward for Late {
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
        let written = self.inner.put(call, path, content, condition).await;
        if call.remaining() == Some(Duration::ZERO) {
            return Err(Error::new(self.kind, "the deadline has passed"));
        }
        written
    }
}

fn health() -> Vec<Fault> {
    vec![
        fault(
            "a_dead_store_calls_itself_healthy",
            "health/a_dead_store_says_so",
            "Whether the storage answers and can be written",
            |inner| Forwarding::shared(Healthy { inner, answer: || Ok(()) }),
        ),
        fault(
            "a_dead_store_is_an_internal_error",
            "health/a_dead_store_says_so",
            "Whether the storage answers and can be written",
            |inner| {
                let answer = || Err(Error::new(ErrorKind::Internal, "something happened"));
                Forwarding::shared(Healthy { inner, answer })
            },
        ),
        fault(
            "a_dead_store_gives_its_password_away",
            "health/a_dead_store_says_so",
            "without secrets",
            |inner| {
                let answer = || {
                    let mut error =
                        Error::new(ErrorKind::Unauthenticated, "the storage refuses the password");
                    error.source_text = Some(format!("401 for user:{SECRET}"));
                    Err(error)
                };
                Forwarding::shared(Healthy { inner, answer })
            },
        ),
        fault(
            "a_live_store_calls_itself_dead",
            "health/a_live_store_is_healthy",
            "Whether the storage answers and can be written",
            |inner| {
                let answer = || Err(Error::new(ErrorKind::Unavailable, "the storage is away"));
                Forwarding::shared(Healthy { inner, answer })
            },
        ),
        fault(
            "health_leaves_an_object",
            "health/looking_leaves_nothing",
            "as cheaply as that can be known",
            |inner| Forwarding::shared(Probing(inner)),
        ),
    ]
}

/// Answers for itself.
struct Healthy {
    inner: SharedDriver,
    answer: fn() -> Result<()>,
}

#[async_trait]
impl Forward for Healthy {
    fn inner(&self) -> &SharedDriver {
        &self.inner
    }

    async fn health(&self, _call: &CallContext) -> Result<()> {
        (self.answer)()
    }
}

/// Finds out by writing, and leaves what it wrote.
struct Probing(SharedDriver);

#[async_trait]
impl Forward for Probing {
    fn inner(&self) -> &SharedDriver {
        &self.0
    }

    async fn health(&self, call: &CallContext) -> Result<()> {
        let path = ObjectPath::new("probe")?;
        self.0.put(call, &path, Bytes::new(), &Condition::Always).await.map(drop)
    }
}
