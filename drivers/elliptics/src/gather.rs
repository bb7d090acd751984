//! Answers of several groups: how many are waited for, and what becomes of the requests that are not.

use std::{pin::pin, sync::Arc, time::Duration};

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::{Instant, timeout_at};

use crate::{cluster::Cluster, replicas::Answer};

/// How long the other groups are waited for once enough have answered.
const GRACE: Duration = Duration::from_secs(1);

/// How many groups must have answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Once so many have, the others have a moment more.
    pub(crate) enough: usize,
    /// While fewer have, those that failed for now are asked again as long as patience lasts.
    pub(crate) least: usize,
    /// What is content with fewer than enough after a while.
    pub(crate) late: Option<Late>,
}

/// How many are enough when the others are late.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Late {
    pub(crate) enough: usize,
    /// Up to then the others are waited for, and asked again when they failed for now. Those are not that are known
    /// to be away.
    pub(crate) until: Instant,
}

impl Wanted {
    pub(crate) fn new(enough: usize, least: usize) -> Self {
        Self { enough, least, late: None }
    }
}

/// One group that is asked.
pub(crate) type Asked<T> = BoxFuture<'static, Answer<T>>;

/// What becomes of requests that are not waited for.
pub(crate) struct GoesOn {
    pub(crate) cluster: Arc<Cluster>,
    /// Bytes that they hold in memory.
    pub(crate) bytes: u64,
}

/// Collects answers: all of them, or once enough count beside those that did before, what comes within a moment. The
/// other requests are dropped, or go on when there is memory for that; until then they are waited for.
pub(crate) async fn gather<T: Send + 'static>(
    asked: FuturesUnordered<Asked<T>>,
    wanted: Wanted,
    before: usize,
    counts: impl Fn(&Answer<T>) -> bool,
    goes_on: Option<GoesOn>,
) -> Vec<Answer<T>> {
    let mut asked = asked;
    let mut answers = Vec::with_capacity(asked.len());
    let mut counted = before;
    // Until when the others are waited for: when enough have answered, and when only as many as are enough late.
    let (mut end, mut late_end) = (None, None);
    loop {
        if counted >= wanted.enough && end.is_none() {
            end = Some(Instant::now() + GRACE);
        }
        if let Some(late) = wanted.late
            && counted >= late.enough
            && late_end.is_none()
        {
            late_end = Some(late.until.max(Instant::now() + GRACE));
        }
        let next = match end.or(late_end) {
            Some(end) => timeout_at(end, asked.next()).await,
            None => Ok(asked.next().await),
        };
        match next {
            Ok(Some(answer)) => {
                counted += usize::from(counts(&answer));
                answers.push(answer);
            }
            Ok(None) => return answers,
            Err(_) => break,
        }
    }
    let Some(GoesOn { cluster, bytes }) = goes_on else { return answers };
    let mut room = pin!(cluster.behind.room(bytes));
    loop {
        tokio::select! {
            biased;
            held = &mut room => {
                cluster.behind.spawn(async move {
                    let _held = held;
                    while asked.next().await.is_some() {}
                });
                return answers;
            }
            next = asked.next() => match next {
                Some(answer) => answers.push(answer),
                None => return answers,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use docker_registry_driver_api::Settings;
    use futures::FutureExt;
    use serde_json::json;
    use tokio::sync::oneshot;

    use super::*;
    use crate::{fake_node::FakeNode, settings::EllipticsSettings};

    #[tokio::test]
    async fn writes_that_go_on_hold_no_more_memory_than_there_is() {
        let node = FakeNode::start(1, false, Arc::default()).await;
        let values = json!({ "elliptics_nodes": format!("{}:2", node.address), "part_size": 1 << 20,
            "upload_memory": 1 << 20 });
        let settings = Settings::new(values.as_object().cloned().unwrap());
        let cluster = Cluster::open(EllipticsSettings::read(&settings).unwrap()).await.unwrap();
        let write = |end: Option<oneshot::Receiver<()>>| {
            let answered: Asked<()> = std::future::ready(Answer { group: 1, result: Ok(()) }).boxed();
            let hangs: Asked<()> = async move {
                match end {
                    Some(end) => drop(end.await),
                    None => std::future::pending().await,
                }
                Answer { group: 2, result: Ok(()) }
            }
            .boxed();
            let goes_on = GoesOn { cluster: Arc::clone(&cluster), bytes: 150 << 10 };
            let wanted = Wanted::new(1, 1);
            gather([answered, hangs].into_iter().collect(), wanted, 0, |_| true, Some(goes_on))
        };
        let (end, ended) = oneshot::channel();
        assert_eq!(write(Some(ended)).await.len(), 1, "the first one goes on behind");
        let mut second = pin!(write(None));
        let limit = GRACE * 2;
        assert!(tokio::time::timeout(limit, &mut second).await.is_err(), "there is no room for another");
        end.send(()).unwrap();
        assert_eq!(second.await.len(), 1);
    }
}
