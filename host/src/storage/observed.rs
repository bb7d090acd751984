//! Measures every call: a duration per operation, a count of failures per kind, a line at debug level.
//!
//! A call that is dropped before it answers is a failure as well: of the kind `timeout` when the deadline
//! that it was given has passed, else of the kind `dropped`. The latter is a caller that went away, or an
//! upload that stood still: it has no deadline as a whole.

use std::{mem::ManuallyDrop, sync::Arc};

use docker_registry_driver_api::{CallContext, Driver, ErrorKind, ObjectPath, ReadRange, Reading, Result};
use metrics::{Histogram, counter, histogram};
use tokio::time::Instant;

use super::around::{Around, Operation};
use crate::telemetry::names;

/// See the module.
pub(crate) struct Observed {
    inner: Arc<dyn Driver>,
    driver: Arc<str>,
    /// One per operation, in the order of [`Operation::ALL`]: nothing is looked up in a call.
    durations: [Histogram; Operation::ALL.len()],
}

impl Observed {
    /// Around `inner`, under the driver's name.
    pub(crate) fn new(inner: Arc<dyn Driver>, driver: &str) -> Self {
        let duration = |operation: Operation| histogram!(names::STORAGE_ACTION, "driver" => driver.to_owned(), "action" => operation.name());
        Self { inner, driver: driver.into(), durations: Operation::ALL.map(duration) }
    }

    fn count_error(&self, operation: Operation, kind: &'static str) {
        counter!(
            names::STORAGE_ERRORS,
            "driver" => self.driver.to_string(),
            "action" => operation.name(),
            "kind" => kind,
        )
        .increment(1);
    }
}

impl Around for Observed {
    fn inner(&self) -> &Arc<dyn Driver> {
        &self.inner
    }

    async fn around<T, F>(
        &self,
        operation: Operation,
        _path: &str,
        call: &CallContext,
        mut run: impl FnMut(CallContext) -> F + Send,
    ) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
    {
        let unanswered = Unanswered { by: self, operation, deadline: call.deadline, started: Instant::now() };
        let result = run(call.clone()).await;
        let milliseconds = unanswered.answered();
        match &result {
            Ok(_) => {
                tracing::debug!(target: "storage", operation = operation.name(), milliseconds, "call");
            }
            // What is an answer to a question: absent, or there already.
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::ConditionFailed) => {
                tracing::debug!(target: "storage", operation = operation.name(), milliseconds, %error, "call");
            }
            Err(error) => {
                self.count_error(operation, kind_name(error.kind));
                tracing::debug!(target: "storage", operation = operation.name(), milliseconds, %error, "failed");
            }
        }
        result
    }

    async fn around_read(&self, call: &CallContext, path: &ObjectPath, range: ReadRange) -> Result<Reading> {
        // The driver is told no deadline: it would count against the whole stream.
        let opening = |call: CallContext| {
            let call = CallContext { deadline: None, ..call };
            async move { self.inner.read(&call, path, range).await }
        };
        self.around(Operation::Read, path.as_str(), call, opening).await
    }
}

/// A call under way. Dropped, it counts as failed.
struct Unanswered<'a> {
    by: &'a Observed,
    operation: Operation,
    deadline: Option<std::time::Instant>,
    started: Instant,
}

impl Unanswered<'_> {
    /// Records the duration and returns it in milliseconds.
    fn record(&self) -> f64 {
        let duration = self.started.elapsed();
        self.by.durations[self.operation as usize].record(duration);
        duration.as_secs_f64() * 1000.0
    }

    /// The same, for a call that has its answer.
    fn answered(self) -> f64 {
        // All that is left out is a drop that would count a failure; nothing in here owns anything.
        ManuallyDrop::new(self).record()
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        let milliseconds = self.record();
        let late = self.deadline.is_some_and(|deadline| Instant::from(deadline) <= Instant::now());
        let kind = if late { kind_name(ErrorKind::Timeout) } else { "dropped" };
        self.by.count_error(self.operation, kind);
        tracing::debug!(target: "storage", operation = self.operation.name(), milliseconds, kind, "given up");
    }
}

/// Value of the `kind` label.
fn kind_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => "not_found",
        ErrorKind::ConditionFailed => "condition_failed",
        ErrorKind::Conflict => "conflict",
        ErrorKind::InvalidPath => "invalid_path",
        ErrorKind::InvalidRange => "invalid_range",
        ErrorKind::InvalidConfiguration => "invalid_configuration",
        ErrorKind::Unauthenticated => "unauthenticated",
        ErrorKind::PermissionDenied => "permission_denied",
        ErrorKind::Throttled => "throttled",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::Timeout => "timeout",
        ErrorKind::StorageFull => "storage_full",
        ErrorKind::TooLarge => "too_large",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::Corrupt => "corrupt",
        ErrorKind::BodyFailed => "body_failed",
        _ => "internal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_numbered_in_the_order_of_the_list() {
        for (number, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, number);
        }
    }
}
