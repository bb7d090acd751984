//! What the server at hand really does, found out by trying when the driver opens.
//!
//! Servers that speak S3 differ in conditional writes: some honour them, some refuse them, some take the header
//! and write all the same, which would be noticed only when something is lost. Two small objects below the driver's
//! own folder tell which, and are deleted. They also tell whether the server takes the configured encryption and
//! storage class, and whether its entity tags are the MD5 of the content. A bucket that may only be read is left
//! alone: nothing is written to it then.

use std::time::Duration;

use docker_registry_driver_api::{Condition, ETag, Error, ErrorKind, Result};
use docker_registry_object_storage::{
    bucket::{Bucket, Content, Limits, NewPart, Part},
    http::{Call, Subject},
    xml::{Request, XmlBucket},
};
use http::Method;
use md5::{Digest, Md5};

use crate::dialect::AmazonDialect;

/// Attempts of one request. The engine tries the whole again.
const ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// A tag that no content has.
const NO_TAG: &str = "\"00000000000000000000000000000000\"";

/// The limits of a server that was not tried: it keeps no condition.
pub(crate) fn least() -> Limits {
    Limits {
        put_if_absent: false,
        put_if_match: false,
        finish_if_absent: false,
        finish_if_match: false,
        ..Limits::s3()
    }
}

/// Tries the server.
///
/// # Errors
/// `InvalidConfiguration` where it does not take the configured encryption or storage class; retryable ones when it
/// cannot be told.
pub(crate) async fn learn(
    bucket: &XmlBucket<AmazonDialect>,
    bare: &XmlBucket<AmazonDialect>,
    root: &str,
) -> Result<Limits> {
    let folder = [root, ".docker-registry", "probes"];
    let folder = folder.into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>().join("/");
    let name = uuid::Uuid::new_v4().simple().to_string();
    let keys = [format!("{folder}/{name}-whole"), format!("{folder}/{name}-parts")];
    let trial = Trial { bucket, whole: &keys[0], parts: &keys[1] };
    let result = trial.run(bare).await;
    for key in &keys {
        if let Err(error) = patiently(|| bare.delete(key)).await
            && error.kind != ErrorKind::PermissionDenied
        {
            tracing::warn!(%error, key, "an object of a trial stays in the bucket");
        }
    }
    match result {
        Err(error) if error.kind == ErrorKind::PermissionDenied => {
            tracing::warn!(%error, "the bucket can be read and not written: every push is going to fail");
            Ok(least())
        }
        result => result,
    }
}

struct Trial<'a> {
    bucket: &'a XmlBucket<AmazonDialect>,
    whole: &'a str,
    parts: &'a str,
}

impl Trial<'_> {
    async fn run(&self, bare: &XmlBucket<AmazonDialect>) -> Result<Limits> {
        let tag = self.first_write(bare).await?;
        let (put_if_absent, put_if_match) = self.conditions_of_put(tag.as_ref()).await?;
        let (finish_if_absent, finish_if_match) = self.conditions_of_finish().await?;
        let list_after = self.begins_pages_behind_any_key().await?;
        let limits = Limits {
            put_if_absent,
            put_if_match,
            finish_if_absent,
            finish_if_match,
            list_after,
            ..Limits::s3()
        };
        tracing::debug!(
            list_after,
            put_if_absent,
            put_if_match,
            finish_if_absent,
            finish_if_match,
            "the server was tried"
        );
        Ok(limits)
    }

    /// Writes an object as all are going to be written.
    async fn first_write(&self, bare: &XmlBucket<AmazonDialect>) -> Result<Option<ETag>> {
        let content = Content::from_static(b"whole");
        let write = || self.bucket.put(self.whole, content.clone(), &Condition::Always, None);
        let tag = match patiently(write).await {
            Ok(tag) => tag,
            Err(error)
                if error.retryable
                    || matches!(error.kind, ErrorKind::PermissionDenied | ErrorKind::Unauthenticated) =>
            {
                return Err(error);
            }
            Err(error) => {
                // The same without what the configuration asks for tells whose fault it is.
                patiently(|| bare.put(self.whole, content.clone(), &Condition::Always, None)).await?;
                let sentence = "S3 does not take the configured encryption or storage class: check s3_encrypt \
                                (false for servers without it), s3_sse_kms_key_id and s3_storage_class";
                return Err(Error::new(ErrorKind::InvalidConfiguration, sentence).caused_by(&error));
            }
        };
        if tag.as_ref().is_some_and(|tag| tag.0.trim_matches('"') == hexadecimal(&Md5::digest(b"whole"))) {
            self.bucket.dialect().compare_tags();
        }
        Ok(tag)
    }

    /// MinIO does not: asked for what is behind a key, it says that a page is the last one although it is not, where
    /// folders lie beside names that begin as they do (`a/b-c/`, `a/b.c`, `a/b/`). Its tokens are right.
    async fn begins_pages_behind_any_key(&self) -> Result<bool> {
        let call = Call::reading("list", Subject::Bucket);
        let list = || async {
            let request = Request::new(Method::GET, "").query("list-type", 2).query("max-keys", 1);
            let request = request.query("prefix", self.whole);
            self.bucket.exchange(call, request, Content::default()).await.map_err(Error::from)
        };
        let answer = patiently(list).await?;
        Ok(answer.headers().get("server").is_none_or(|server| !server.as_bytes().starts_with(b"MinIO")))
    }

    async fn conditions_of_put(&self, tag: Option<&ETag>) -> Result<(bool, bool)> {
        let put = async |condition: Condition| {
            let content = Content::from_static(b"whole");
            held(patiently(|| self.bucket.put(self.whole, content.clone(), &condition, None)).await)
        };
        let absent = put(Condition::IfAbsent).await? == Held::Refused;
        let wrong = put(Condition::IfMatch(ETag(NO_TAG.to_owned()))).await? == Held::Refused;
        let matches = match tag {
            Some(tag) if wrong => put(Condition::IfMatch(tag.clone())).await? == Held::Done,
            _ => false,
        };
        Ok((absent, matches))
    }

    /// One upload that must be refused twice before it is finished.
    async fn conditions_of_finish(&self) -> Result<(bool, bool)> {
        let content = || Content::from_static(b"parts");
        let tag = patiently(|| self.bucket.put(self.parts, content(), &Condition::Always, None)).await?;
        let id = patiently(|| self.bucket.begin(self.parts, &Condition::Always, None)).await?;
        let result = self.finish(&id, content(), tag).await;
        if let Err(error) = patiently(|| self.bucket.abandon(self.parts, &id)).await {
            tracing::debug!(%error, "an upload of a trial may stay in the bucket");
        }
        result
    }

    async fn finish(&self, id: &str, content: Content, tag: Option<ETag>) -> Result<(bool, bool)> {
        let part = || NewPart { number: 1, offset: 0, content: content.clone(), last: true };
        let parts: [Part; 1] = [patiently(|| self.bucket.part(self.parts, id, part())).await?];
        let finish = async |condition: Condition| {
            held(patiently(|| self.bucket.finish(self.parts, id, &parts, &condition)).await)
        };
        let absent = match finish(Condition::IfAbsent).await? {
            Held::Refused => true,
            // A server without the header answers so before it does anything.
            Held::Unknown => false,
            // The upload is gone: a server that does not look at one condition does not look at the other.
            Held::Done => return Ok((false, false)),
        };
        let Some(tag) = tag else { return Ok((absent, false)) };
        let matches = finish(Condition::IfMatch(ETag(NO_TAG.to_owned()))).await? == Held::Refused
            && finish(Condition::IfMatch(tag)).await? == Held::Done;
        Ok((absent, matches))
    }
}

/// What a server did about a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// It wrote.
    Done,
    /// It said that the condition does not hold.
    Refused,
    /// It refused the call for another reason.
    Unknown,
}

fn held(result: Result<Option<ETag>>) -> Result<Held> {
    match result {
        Ok(_) => Ok(Held::Done),
        Err(error) if error.kind == ErrorKind::ConditionFailed => Ok(Held::Refused),
        Err(error) if error.retryable || error.kind == ErrorKind::PermissionDenied => Err(error),
        Err(_) => Ok(Held::Unknown),
    }
}

/// Tries again for a short while what is worth it.
async fn patiently<T, A>(mut attempt: impl FnMut() -> A) -> Result<T>
where
    A: Future<Output = Result<T>>,
{
    let mut pause = FIRST_PAUSE;
    for _ in 1..ATTEMPTS {
        match attempt().await {
            Err(error) if error.retryable && error.kind != ErrorKind::Unauthenticated => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            result => return result,
        }
    }
    attempt().await
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_trial_no_condition_is_offered() {
        let limits = least();
        assert!(!limits.put_if_absent && !limits.put_if_match);
        assert!(!limits.finish_if_absent && !limits.finish_if_match);
    }

    #[test]
    fn a_condition_is_kept_only_by_a_server_that_says_so() {
        let refused = |kind| held(Err(Error::new(kind, "no")));
        assert_eq!(refused(ErrorKind::ConditionFailed).unwrap(), Held::Refused);
        assert_eq!(refused(ErrorKind::Unsupported).unwrap(), Held::Unknown);
        assert!(refused(ErrorKind::Unavailable).is_err());
        assert!(refused(ErrorKind::PermissionDenied).is_err());
        assert_eq!(held(Ok(None)).unwrap(), Held::Done);
    }
}
