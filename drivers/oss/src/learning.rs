//! What only the bucket at hand can tell: whether it refuses to overwrite.
//!
//! OSS ignores `x-oss-forbid-overwrite` in a bucket that keeps versions, or kept them once, and says nothing. So a
//! small object of the driver's own is written under that condition. Where it is already there, one request tells.

use std::time::{Duration, Instant};

use docker_registry_driver_api::{Condition, Error, ErrorKind, Result};
use docker_registry_object_storage::{Bucket, Renewal, StoreSettings, bucket::Content};

/// The object, below the root. Names that begin so are the driver's own.
const OBJECT: &str = ".docker-registry/forbid-overwrite";
/// How long attempts go on, and how long one of them may take at most.
const PATIENCE: Duration = Duration::from_secs(20);
const LONGEST_ATTEMPT: Duration = Duration::from_secs(10);
/// How long the longest pause between two attempts is.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Whether a write that must not overwrite is refused where an object is.
///
/// # Errors
/// Those of writing, but for one that is forbidden: who may only read needs no conditions.
pub(crate) async fn refuses_overwrite(
    bucket: &dyn Bucket,
    root: &str,
    renewal: &dyn Renewal,
    settings: &StoreSettings,
) -> Result<bool> {
    let key = if root.is_empty() { OBJECT.to_owned() } else { format!("{root}/{OBJECT}") };
    // The first write may be the one that makes the object.
    for _ in 0..2 {
        match write(bucket, &key, renewal, settings).await {
            Ok(()) => {}
            Err(error) if error.kind == ErrorKind::ConditionFailed => return Ok(true),
            Err(error) if error.kind == ErrorKind::PermissionDenied => {
                tracing::debug!(%error, "whether the bucket refuses to overwrite cannot be found out");
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
    }
    tracing::warn!(
        "the bucket keeps versions, and so does not refuse to overwrite: writes that must not overwrite are not \
         offered"
    );
    Ok(false)
}

/// Writes the object, in as many attempts as it takes. The engine, which does so for all else, is made of what comes out.
async fn write(
    bucket: &dyn Bucket,
    key: &str,
    renewal: &dyn Renewal,
    settings: &StoreSettings,
) -> Result<()> {
    let mut pause = settings.first_pause;
    let mut attempt = 0;
    let start = Instant::now();
    loop {
        attempt += 1;
        let content =
            Content::from_static(b"This object lets the registry find out what the bucket can do.\n");
        let put = bucket.put(key, content, &Condition::IfAbsent, None);
        let put = tokio::time::timeout(settings.attempt_timeout.min(LONGEST_ATTEMPT), put)
            .await
            .unwrap_or_else(|_| {
                let message = "Aliyun OSS does not answer in time: check oss_host, and the network";
                Err(Error::new(ErrorKind::Timeout, message))
            });
        let Err(error) = put else {
            renewal.accepted();
            return Ok(());
        };
        let error = renewal.failed(error);
        if !error.retryable || attempt >= settings.most_attempts || start.elapsed() >= PATIENCE {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
