//! Drivers that do one thing wrong in readings.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use docker_registry_driver_api::{
    Bytes, Capability, Error, ErrorKind, ReadRange, Reading, ReadingBody, SharedDriver,
    futures::{FutureExt, StreamExt, stream},
};

use crate::{
    changed::{Changed, call},
    faulty::{Fault, fault},
};

/// A driver that reads another range than was asked for.
fn range_with(inner: SharedDriver, change: fn(ReadRange) -> ReadRange) -> SharedDriver {
    Changed::of(inner).read(move |inner, (path, range)| {
        async move { inner.read(&call(), &path, change(range)).await }.boxed()
    })
}

/// A driver whose readings are changed after they were opened.
fn reading_with(inner: SharedDriver, change: fn(Reading) -> Reading) -> SharedDriver {
    Changed::of(inner).read(move |inner, (path, range)| {
        async move { inner.read(&call(), &path, range).await.map(change) }.boxed()
    })
}

/// The chunks of a reading, changed.
fn chunks_with(reading: Reading, change: fn(Bytes) -> Bytes) -> Reading {
    let body = match reading.body {
        ReadingBody::Stream(chunks) => {
            ReadingBody::Stream(chunks.map(move |chunk| chunk.map(change)).boxed())
        }
        other => other,
    };
    Reading { body, ..reading }
}

/// One of the few connections of a driver; it can be used again when it is dropped, or not.
struct Connection {
    in_use: Arc<AtomicU32>,
    goes_back: bool,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.goes_back {
            self.in_use.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// A driver with 20 connections, each of which a reading holds. When `goes_back` is false, those of readings
/// that do not come to their end are lost.
fn with_few_connections(inner: SharedDriver, goes_back: bool) -> SharedDriver {
    let in_use = Arc::new(AtomicU32::new(0));
    Changed::of(inner).read(move |inner, (path, range)| {
        let in_use = Arc::clone(&in_use);
        async move {
            let reading = inner.read(&call(), &path, range).await?;
            let ReadingBody::Stream(chunks) = reading.body else { return Ok(reading) };
            if in_use.fetch_add(1, Ordering::SeqCst) >= 20 {
                in_use.fetch_sub(1, Ordering::SeqCst);
                return Err(Error::new(ErrorKind::Unavailable, "all connections are in use"));
            }
            let connection = Connection { in_use, goes_back };
            let chunks = stream::unfold((chunks, connection), |(mut chunks, mut connection)| async move {
                let chunk = chunks.next().await;
                connection.goes_back |= chunk.is_none();
                Some((chunk?, (chunks, connection)))
            });
            Ok(Reading { body: ReadingBody::Stream(chunks.boxed()), ..reading })
        }
        .boxed()
    })
}

/// The faults of this file.
pub(crate) fn faults() -> Vec<Fault> {
    [ranges(), bodies()].into_iter().flatten().collect()
}

fn ranges() -> Vec<Fault> {
    vec![
        fault(
            "the_end_of_a_range_is_included",
            "reading/ranges_follow_the_rules",
            "Number of bytes",
            |inner| {
                range_with(inner, |range| match range {
                    ReadRange::Window { offset, length } => {
                        ReadRange::Window { offset, length: length.saturating_add(1) }
                    }
                    other => other,
                })
            },
        ),
        fault("a_range_is_one_byte_further", "reading/ranges_follow_the_rules", "Opens an object", |inner| {
            Changed::of(inner).read(|inner, (path, range)| {
                async move {
                    let right = inner.read(&call(), &path, range).await?;
                    // It announces what was asked for and yields what lies a byte before.
                    let offset = right.offset.saturating_sub(1);
                    let shifted = ReadRange::Window { offset, length: right.length.max(1) };
                    let body = match inner.read(&call(), &path, shifted).await {
                        Ok(shifted) => shifted.body,
                        Err(_) => right.body,
                    };
                    Ok(Reading { body, ..right })
                }
                .boxed()
            })
        }),
        fault(
            "the_last_bytes_are_the_first",
            "reading/ranges_follow_the_rules",
            "first byte in the object",
            |inner| {
                range_with(inner, |range| match range {
                    ReadRange::Last { length } => ReadRange::Window { offset: 0, length },
                    other => other,
                })
            },
        ),
        fault("ranges_are_ignored", "reading/many_small_ranges_add_up", "Number of bytes", |inner| {
            range_with(inner, |_| ReadRange::Full)
        }),
        fault(
            "the_size_is_that_of_the_range",
            "reading/ranges_follow_the_rules",
            "Size of the *whole* object",
            |inner| reading_with(inner, |reading| Reading { total_size: reading.length, ..reading }),
        ),
        fault(
            "an_invalid_range_is_the_whole_object",
            "reading/a_range_without_a_byte_is_invalid",
            "by the rules of [`ReadRange::resolve`]",
            |inner| {
                Changed::of(inner).read(|inner, (path, range)| {
                    async move {
                        match inner.read(&call(), &path, range).await {
                            Err(error) if error.kind == ErrorKind::InvalidRange => {
                                inner.read(&call(), &path, ReadRange::Full).await
                            }
                            other => other,
                        }
                    }
                    .boxed()
                })
            },
        ),
        fault(
            "an_empty_object_has_no_range_at_all",
            "reading/a_whole_object_is_read",
            "Opens an object for reading",
            |inner| {
                Changed::of(inner).read(|inner, (path, range)| {
                    async move {
                        let reading = inner.read(&call(), &path, range).await?;
                        if reading.total_size == 0 {
                            return Err(Error::new(ErrorKind::InvalidRange, "416"));
                        }
                        Ok(reading)
                    }
                    .boxed()
                })
            },
        ),
    ]
}

fn bodies() -> Vec<Fault> {
    vec![
        fault(
            "a_body_ends_early",
            "reading/a_whole_object_is_read",
            "Fewer or more bytes than announced",
            |inner| {
                reading_with(inner, |reading| {
                    chunks_with(reading, |chunk| chunk.slice(..chunk.len().saturating_sub(1)))
                })
            },
        ),
        fault(
            "a_body_goes_on",
            "reading/a_whole_object_is_read",
            "Fewer or more bytes than announced",
            |inner| {
                reading_with(inner, |reading| {
                    chunks_with(reading, |chunk| [chunk, Bytes::from_static(b"!")].concat().into())
                })
            },
        ),
        fault(
            "a_byte_is_changed_far_inside",
            "reading/a_large_object_is_read_in_ranges",
            "Opens an object",
            |inner| {
                reading_with(inner, |reading| {
                    if reading.length < 100_000 {
                        return reading;
                    }
                    chunks_with(reading, |chunk| {
                        let mut chunk = chunk.to_vec();
                        if let Some(byte) = chunk.get_mut(200_000) {
                            *byte ^= 0x20;
                        }
                        chunk.into()
                    })
                })
            },
        ),
        fault("chunks_are_in_another_order", "reading/many_readers_at_once", "Opens an object", |inner| {
            Changed::of(inner).read(|inner, (path, range)| {
                async move {
                    let reading = inner.read(&call(), &path, range).await?;
                    let ReadingBody::Stream(mut chunks) = reading.body else { return Ok(reading) };
                    let (first, second) = (chunks.next().await, chunks.next().await);
                    let swapped = stream::iter(second.into_iter().chain(first)).chain(chunks);
                    Ok(Reading { body: ReadingBody::Stream(swapped.boxed()), ..reading })
                }
                .boxed()
            })
        }),
        fault(
            "a_chunk_is_empty",
            "reading/chunks_are_never_empty",
            "chunks of any size above zero",
            |inner| {
                reading_with(inner, |reading| {
                    let ReadingBody::Stream(chunks) = reading.body else { return reading };
                    let body = stream::iter([Ok(Bytes::new())]).chain(chunks).boxed();
                    Reading { body: ReadingBody::Stream(body), ..reading }
                })
            },
        ),
        fault(
            "pieces_are_read_one_by_one",
            "reading/an_object_made_of_pieces_is_read_across_them",
            "bytes that the body",
            |inner| {
                // A range ends where the first piece of the upload ended.
                range_with(inner, |range| match range {
                    ReadRange::Window { offset, length } if offset < 4 => {
                        ReadRange::Window { offset, length: length.min(4 - offset) }
                    }
                    other => other,
                })
            },
        ),
        fault(
            "regions_are_declared_and_not_handed_out",
            "reading/the_form_of_a_reading_is_as_declared",
            "`read` hands out file regions",
            |inner| Changed::of(inner).declaring(Capability::FileRegions).shared(),
        ),
        // A pool of connections into which only readings go back that came to their end.
        fault(
            "a_dropped_reading_keeps_its_connection",
            "reading/a_dropped_reading_costs_nothing",
            "Opens an object",
            |inner| with_few_connections(inner, false),
        ),
        fault(
            "open_readings_hold_all_connections",
            "reading/open_readings_do_not_block_others",
            "Opens an object",
            |inner| with_few_connections(inner, true),
        ),
    ]
}
