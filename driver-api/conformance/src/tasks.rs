//! Tasks of a case: their findings are the case's, and none outlives it.

use std::{future::Future, time::Duration};

use futures::future::{Either, select};
use tokio::task::JoinHandle;

use crate::failure::{Ended, caught, end};

/// A running task, which is aborted when this is dropped.
pub(crate) struct Task<T> {
    handle: JoinHandle<Result<T, Ended>>,
}

/// Starts a task.
pub(crate) fn spawn<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Task<T> {
    Task { handle: tokio::spawn(caught(work)) }
}

/// Runs all and returns their results in order.
pub(crate) async fn all<T: Send + 'static>(tasks: impl IntoIterator<Item = Task<T>>) -> Vec<T> {
    let tasks: Vec<_> = tasks.into_iter().collect();
    let mut results = Vec::with_capacity(tasks.len());
    for task in tasks {
        results.push(task.join().await);
    }
    results
}

impl<T> Task<T> {
    /// Waits for the end. A finding of the task ends the case.
    pub(crate) async fn join(mut self) -> T {
        match (&mut self.handle).await {
            Ok(Ok(value)) => value,
            Ok(Err(ended)) => end(ended),
            Err(failure) => end(Ended::Failed(format!("a task of the case was not finished: {failure}"))),
        }
    }

    /// Whether the task has ended.
    pub(crate) fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Drops the work in the middle and waits until it is dropped.
    pub(crate) async fn cancel(mut self) {
        self.handle.abort();
        let _ = (&mut self.handle).await;
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// Polls a call for a while and drops it then. `None` when it was dropped before its end.
pub(crate) async fn dropped_after<T>(
    call: impl Future<Output = T>,
    yields: u32,
    pause: Duration,
) -> Option<T> {
    let while_it_runs = async {
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    };
    match select(std::pin::pin!(call), std::pin::pin!(while_it_runs)).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(_) => None,
    }
}
