//! Answers of several groups: how many are waited for, and what becomes of the requests that are not.

use std::{pin::pin, sync::Arc, time::Duration};

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::{Instant, timeout_at};

use crate::{cluster::Cluster, replicas::Answer};

/// How long the other groups are waited for once enough have answered.
const GRACE: Duration = Duration::from_secs(1);

/// One group that is asked.
pub(crate) type Asked<T> = BoxFuture<'static, Answer<T>>;

/// What becomes of requests that are not waited for.
pub(crate) struct GoesOn {
    pub(crate) cluster: Arc<Cluster>,
    /// Bytes that they hold in memory.
    pub(crate) bytes: u64,
}

/// Collects answers: all of them, or once enough count those that come within a moment. The other requests are dropped,
/// or go on when there is memory for that; until then they are waited for.
pub(crate) async fn gather<T: Send + 'static>(
    asked: FuturesUnordered<Asked<T>>,
    enough: usize,
    counts: impl Fn(&Answer<T>) -> bool,
    goes_on: Option<GoesOn>,
) -> Vec<Answer<T>> {
    let mut asked = asked;
    let mut answers = Vec::with_capacity(asked.len());
    let mut counted = 0;
    while counted < enough {
        let Some(answer) = asked.next().await else { return answers };
        counted += usize::from(counts(&answer));
        answers.push(answer);
    }
    let end = Instant::now() + GRACE;
    while let Ok(next) = timeout_at(end, asked.next()).await {
        let Some(answer) = next else { return answers };
        answers.push(answer);
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
            gather([answered, hangs].into_iter().collect(), 1, |_| true, Some(goes_on))
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
