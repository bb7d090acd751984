//! Content whose digest is known before it comes: a stream that ends well only if it is that content.
//!
//! So it can go to its final place in one call. A storage makes visible what ended well, and nothing else.

use std::sync::{Arc, Mutex, PoisonError};

use docker_registry_driver_api::{ByteStream, Error, ErrorKind};
use futures::{StreamExt, stream};

use super::{
    digest::Digest,
    hashing::{Ending, Receipt},
};

/// What the content turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// The content that the digest names.
    Right,
    /// Another content, with this digest.
    Wrong(Digest),
    /// Not all of a content, or too much of it.
    NotWhole(Ending),
}

/// Where [`Judged`] appears when the stream has ended.
pub struct Judgement(Arc<Mutex<Option<Judged>>>);

impl Judgement {
    /// What came, if the stream was read to its end.
    pub fn take(&self) -> Option<Judged> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Passes on a stream with a hash beside it ([`super::hashing::intake`]) and fails it at its end unless it was
/// whole and has this digest. `receipt` is that of the stream.
pub fn only_as(digest: &Digest, body: ByteStream, receipt: Receipt) -> (ByteStream, Judgement) {
    let judged = Arc::new(Mutex::new(None));
    let (digest, result) = (digest.clone(), Arc::clone(&judged));
    let judge = move || {
        let received = receipt.take();
        let ending = received.as_ref().map_or(Ending::Broken, |received| received.ending);
        let found = received.and_then(|received| received.hasher).map(super::hashing::Hasher::finish);
        let judged = match found {
            _ if ending != Ending::Complete => Judged::NotWhole(ending),
            Some(found) if found == digest => Judged::Right,
            Some(found) => Judged::Wrong(found),
            None => Judged::NotWhole(Ending::Broken),
        };
        *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(judged.clone());
        judged
    };
    let checked = stream::unfold(Some((body, judge)), |state| async {
        let (mut body, judge) = state?;
        match body.next().await {
            Some(Ok(chunk)) => Some((Ok(chunk), Some((body, judge)))),
            Some(Err(error)) => {
                judge();
                Some((Err(error), None))
            }
            None => match judge() {
                Judged::Right => None,
                Judged::Wrong(_) => Some((Err(failed("the content has another digest")), None)),
                Judged::NotWhole(_) => Some((Err(failed("the content is not whole")), None)),
            },
        }
    });
    (checked.boxed(), Judgement(judged))
}

fn failed(why: &str) -> Error {
    Error::new(ErrorKind::BodyFailed, why)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use docker_registry_driver_api::{Result, byte_stream};

    use super::*;
    use crate::registry::{
        digest::Algorithm,
        hashing::{Hasher, OnBreak, intake},
    };

    async fn judged(content: &'static str, announced: u64, wanted: &str) -> (bool, Judged) {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(wanted.as_bytes());
        let (body, receipt) = intake(
            byte_stream([Bytes::from(content)]),
            Some(Hasher::new(Algorithm::Sha256)),
            Some(announced),
            OnBreak::Keep,
        );
        let (body, judgement) = only_as(&hasher.finish(), body, receipt);
        let items: Vec<Result<Bytes>> = body.collect().await;
        (items.iter().all(Result::is_ok), judgement.take().unwrap())
    }

    #[tokio::test]
    async fn only_the_whole_and_right_content_ends_well() {
        assert_eq!(judged("content", 7, "content").await, (true, Judged::Right));
        assert!(matches!(judged("another", 7, "content").await, (false, Judged::Wrong(_))));
        assert_eq!(judged("cont", 7, "content").await, (false, Judged::NotWhole(Ending::Broken)));
        assert_eq!(judged("contents", 7, "content").await, (false, Judged::NotWhole(Ending::TooLong)));
    }
}
