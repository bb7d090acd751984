//! Drivers that do one thing wrong with content that is written in one call.

use docker_registry_driver_api::{
    ByteStream, Bytes, CallContext, Condition, Error, ErrorKind, ObjectInfo, ObjectPath, Result,
    SharedDriver, UploadHint, async_trait, byte_stream, collect,
    futures::{StreamExt, TryStreamExt},
};
use docker_registry_driver_conformance::forwarding::{Forward, Forwarding};

use crate::faulty::{Fault, fault};

/// What is wrong with a write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WriteFault {
    /// The last byte of a content is lost.
    LosesItsEnd,
    /// No more is taken than was announced.
    SizeIsEnforced,
    /// The content is there before its body has ended.
    GrowsInPlace,
    /// A body that fails counts as one that ends.
    FailureIsTheEnd,
    /// A body that fails is no fault of the body's.
    FailureIsUnavailable,
    /// A body that fails leaves an upload with what came.
    FailureLeavesAnUpload,
    /// The condition is not looked at.
    ConditionIgnored,
    /// The condition is looked at once, long before the end.
    ConditionOnlyAtTheBeginning,
    /// Nothing without content.
    NothingIsRefused,
}

struct Writing {
    inner: SharedDriver,
    fault: WriteFault,
}

impl Writing {
    async fn whole(&self, call: &CallContext, path: &ObjectPath, content: Bytes) -> Result<ObjectInfo> {
        self.inner.write(call, path, None, byte_stream([content]), &Condition::Always).await
    }
}

#[async_trait]
impl Forward for Writing {
    fn inner(&self) -> &SharedDriver {
        &self.inner
    }

    async fn write(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        size: Option<u64>,
        body: ByteStream,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        let inner = &self.inner;
        match self.fault {
            WriteFault::LosesItsEnd => {
                let content = collect(body, usize::MAX).await?;
                self.whole(call, path, content.slice(..content.len().saturating_sub(1))).await
            }
            WriteFault::SizeIsEnforced => {
                let mut content = collect(body, usize::MAX).await?;
                content.truncate(size.map_or(usize::MAX, |size| usize::try_from(size).unwrap_or(usize::MAX)));
                self.whole(call, path, content).await
            }
            WriteFault::GrowsInPlace => {
                let mut body = body;
                let mut content = Vec::new();
                while let Some(chunk) = body.try_next().await? {
                    content.extend_from_slice(&chunk);
                    self.whole(call, path, content.clone().into()).await?;
                }
                self.whole(call, path, content.into()).await
            }
            WriteFault::FailureIsTheEnd => {
                let body = body.take_while(|item| std::future::ready(item.is_ok())).boxed();
                inner.write(call, path, size, body, condition).await
            }
            WriteFault::FailureIsUnavailable => {
                inner.write(call, path, size, body, condition).await.map_err(|error| match error.kind {
                    ErrorKind::BodyFailed => Error { kind: ErrorKind::Unavailable, ..error },
                    _ => error,
                })
            }
            WriteFault::FailureLeavesAnUpload => {
                let state = inner.open_upload(call, &UploadHint::default()).await?;
                let mut failure = None;
                let mut chunks = Vec::new();
                let mut body = body;
                while let Some(item) = body.next().await {
                    match item {
                        Ok(chunk) => chunks.push(chunk),
                        Err(error) => failure = Some(error),
                    }
                }
                let progress = inner.append(call, &state, 0, byte_stream(chunks)).await?;
                match failure {
                    None => inner.commit(call, &progress.state, path, condition).await,
                    Some(error) => Err(Error::new(ErrorKind::BodyFailed, "it failed").caused_by(&error)),
                }
            }
            WriteFault::ConditionIgnored => inner.write(call, path, size, body, &Condition::Always).await,
            WriteFault::ConditionOnlyAtTheBeginning => {
                if *condition == Condition::IfAbsent && inner.head(call, path).await.is_ok() {
                    return Err(Error::new(ErrorKind::ConditionFailed, "it is there"));
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                inner.write(call, path, size, body, &Condition::Always).await
            }
            WriteFault::NothingIsRefused => {
                let content = collect(body, usize::MAX).await?;
                if content.is_empty() {
                    return Err(Error::new(ErrorKind::Internal, "there is nothing to write"));
                }
                self.whole(call, path, content).await
            }
        }
    }
}

macro_rules! writes {
    ($($fault:ident, $name:literal, $case:literal, $promise:literal;)+) => {
        vec![$(fault($name, $case, $promise, |inner| {
            Forwarding::shared(Writing { inner, fault: WriteFault::$fault })
        })),+]
    };
}

/// The faults of this file.
pub(crate) fn faults() -> Vec<Fault> {
    writes! {
        LosesItsEnd, "a_write_loses_its_last_byte",
            "writing/many_small_chunks_become_one_content", "Writes content of any size";
        LosesItsEnd, "a_large_write_loses_its_last_byte",
            "writing/a_large_write_is_streamed", "Writes content of any size";
        NothingIsRefused, "nothing_cannot_be_written",
            "writing/what_is_written_is_what_is_read", "Writes content of any size";
        SizeIsEnforced, "the_announced_size_of_a_write_is_taken_at_its_word",
            "writing/a_wrong_size_does_no_harm", "promises nothing";
        GrowsInPlace, "a_write_shows_while_it_grows",
            "writing/nothing_is_visible_before_the_end", "never between";
        GrowsInPlace, "a_dropped_write_leaves_what_came",
            "writing/a_dropped_write_changes_nothing", "changes nothing at the path either";
        FailureIsTheEnd, "a_failed_body_is_written_as_far_as_it_came",
            "writing/a_failed_body_changes_nothing", "when the stream failed";
        FailureIsUnavailable, "a_failed_body_of_a_write_is_taken_for_a_failed_storage",
            "writing/a_failed_body_changes_nothing", "when the stream failed";
        FailureLeavesAnUpload, "a_failed_write_leaves_an_upload",
            "writing/a_failed_body_changes_nothing", "nothing is left of what arrived";
        ConditionIgnored, "a_write_ignores_if_absent",
            "writing/if_absent_writes_where_nothing_is", "Only when nothing is there";
        ConditionIgnored, "a_write_ignores_if_match",
            "writing/if_match_writes_over_the_tagged_version", "still has this tag";
        ConditionOnlyAtTheBeginning, "many_writes_with_if_absent_succeed",
            "writing/of_many_writers_with_if_absent_one_wins", "exactly one succeeds";
    }
}
