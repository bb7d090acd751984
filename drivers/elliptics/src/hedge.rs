//! Asking several who may all know: the next one is asked when the one before has failed or is late.

use std::{future::Future, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::timeout;

/// Asks until one gives a good answer, and takes the first. What the others say by then is thrown away. Who is late is
/// waited for all the same.
///
/// # Errors
/// All bad answers, when there is no good one.
pub(crate) async fn first_good<T, E, A>(
    asks: impl IntoIterator<Item = A>,
    late: Duration,
) -> Result<T, Vec<E>>
where
    A: Future<Output = Result<T, E>>,
{
    let mut asks = asks.into_iter();
    let mut asked: FuturesUnordered<A> = asks.next().into_iter().collect();
    let mut bad = Vec::new();
    loop {
        match timeout(late, asked.next()).await {
            Ok(Some(Ok(answer))) => return Ok(answer),
            Ok(Some(Err(error))) => {
                bad.push(error);
                asked.extend(asks.next());
            }
            Ok(None) => return Err(bad),
            Err(_) => asked.extend(asks.next()),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, future::BoxFuture};

    use super::*;

    const LATE: Duration = Duration::from_millis(500);

    fn late() -> BoxFuture<'static, Result<u8, &'static str>> {
        std::future::pending().boxed()
    }

    fn says(answer: Result<u8, &'static str>) -> BoxFuture<'static, Result<u8, &'static str>> {
        std::future::ready(answer).boxed()
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_late_is_passed_by() {
        let answer = timeout(LATE * 10, first_good([late(), late(), says(Ok(3))], LATE)).await;
        assert_eq!(answer.expect("nobody else was asked"), Ok(3));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_late_may_still_be_the_first() {
        let slow = async {
            tokio::time::sleep(LATE * 2).await;
            Ok::<_, &str>(1)
        };
        assert_eq!(first_good([slow.boxed(), late()], LATE).await, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_one_is_asked_at_once_when_one_fails_and_all_errors_are_told() {
        assert_eq!(first_good([says(Err("a")), says(Ok(2))], LATE).await, Ok(2));
        assert_eq!(first_good([says(Err("a")), says(Err("b"))], LATE).await, Err(vec!["a", "b"]));
        assert_eq!(first_good(Vec::<BoxFuture<'_, Result<u8, &str>>>::new(), LATE).await, Err(vec![]));
    }
}
