//! Many blobs deleted in one request, by `object_store`'s Blob Batch.

use docker_registry_driver_api::{Error, Result};
use docker_registry_object_storage::http::{Call, Subject, exchange, fault};
use futures::{StreamExt, future, stream};
use http::StatusCode;
use object_store::{ObjectStore, path::Path};

use crate::{account::Account, blobs};

/// Most blobs of one batch.
pub(crate) const LARGEST: usize = 256;

/// Blobs that are deleted one by one at the same time.
const AT_ONCE: usize = 16;

/// Deletes the blobs and returns those that stay, with the reason.
pub(crate) async fn delete(account: &Account, keys: &[String]) -> Result<Vec<(String, Error)>> {
    // Names that are no paths for the library go one by one.
    let (paths, mut again): (Vec<_>, Vec<_>) = keys.iter().partition(|key| is_path(key));
    let paths: Vec<Path> = paths.into_iter().filter_map(|key| Path::parse(key).ok()).collect();
    if !paths.is_empty() {
        let all = stream::iter(paths.iter().cloned().map(Ok).collect::<Vec<_>>()).boxed();
        let deleted = account.store.delete_stream(all).collect::<Vec<_>>();
        let (results, record) = exchange::observed(deleted).await;
        let status = record.as_ref().and_then(|record| record.status);
        // With a shared access signature, Azurite has nothing but 500 for a batch.
        let is_unknown = status == Some(StatusCode::INTERNAL_SERVER_ERROR);
        if let Some(record) = record
            && !is_unknown
            && !status.is_some_and(|status| status.is_success())
        {
            let call = Call::writing("delete blobs", Subject::Bucket);
            return Err(fault::error(account.transport.advice(), call, &record));
        }
        if results.len() == paths.len() && !is_unknown {
            let failed = results.iter().zip(keys.iter().filter(|key| is_path(key)));
            let stays = |result: &object_store::Result<Path>| {
                !matches!(result, Ok(_) | Err(object_store::Error::NotFound { .. }))
            };
            again.extend(failed.filter(|(result, _)| stays(result)).map(|(_, key)| key));
        } else {
            // An answer that cannot be read says of no blob what became of it.
            again = keys.iter().collect();
        }
    }
    // A call of its own tells why a blob stays.
    let again: Vec<String> = again.into_iter().cloned().collect();
    let single = again.into_iter().map(|key: String| async move {
        match blobs::delete(account, &key).await {
            Ok(()) => None,
            Err(error) if error.is_not_found() => None,
            Err(error) => Some((key, error)),
        }
    });
    Ok(stream::iter(single).buffered(AT_ONCE).filter_map(future::ready).collect().await)
}

fn is_path(key: &str) -> bool {
    Path::parse(key).is_ok_and(|path| path.as_ref() == key)
}
