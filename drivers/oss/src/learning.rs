//! What only the bucket at hand can tell: whether it refuses to overwrite.
//!
//! OSS ignores `x-oss-forbid-overwrite` in a bucket that keeps versions, or kept them once, and says nothing. So a
//! small object of the driver's own is written under that condition. Where it is already there, one request tells.

use std::time::Duration;

use docker_registry_driver_api::{Condition, ErrorKind, Result};
use docker_registry_object_storage::{Bucket, bucket::Content};

/// The object, below the root. Names that begin so are the driver's own.
const OBJECT: &str = ".docker-registry/forbid-overwrite";
/// How often a request is made that fails for a passing reason.
const ATTEMPTS: u32 = 4;
/// How long the first pause between them is.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether a write that must not overwrite is refused where an object is.
///
/// # Errors
/// Those of writing, but for one that is forbidden: who may only read needs no conditions.
pub(crate) async fn refuses_overwrite(bucket: &dyn Bucket, root: &str) -> Result<bool> {
    let key = if root.is_empty() { OBJECT.to_owned() } else { format!("{root}/{OBJECT}") };
    // The first write may be the one that makes the object.
    for _ in 0..2 {
        match write(bucket, &key).await {
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

async fn write(bucket: &dyn Bucket, key: &str) -> Result<()> {
    let mut pause = PAUSE;
    for attempt in 1.. {
        let content =
            Content::from_static(b"This object lets the registry find out what the bucket can do.\n");
        let put = bucket.put(key, content, &Condition::IfAbsent, None);
        let result = tokio::time::timeout(PATIENCE, put).await;
        match result {
            Ok(Err(error)) if error.retryable && attempt < ATTEMPTS => {}
            Ok(result) => return result.map(drop),
            Err(_) if attempt < ATTEMPTS => {}
            Err(_) => {
                let message = "Aliyun OSS does not answer in time: check oss_host, and the network";
                return Err(docker_registry_driver_api::Error::new(ErrorKind::Timeout, message));
            }
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    Ok(())
}
