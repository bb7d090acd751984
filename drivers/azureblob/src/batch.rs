//! Many blobs deleted in one request, by `object_store`'s Blob Batch.

use docker_registry_driver_api::{Error, Result};
use docker_registry_object_storage::http::{Call, Subject, exchange, fault};
use futures::{StreamExt, stream};
use object_store::{ObjectStore, path::Path};

use crate::{account::Account, blobs};

/// Most blobs of one batch.
pub(crate) const LARGEST: usize = 256;

/// Deletes the blobs and returns those that stay, with the reason.
pub(crate) async fn delete(account: &Account, keys: &[String]) -> Result<Vec<(String, Error)>> {
    // Names that are no paths for the library go one by one.
    let (paths, mut again): (Vec<_>, Vec<_>) = keys.iter().partition(|key| is_path(key));
    let paths: Vec<Path> = paths.into_iter().filter_map(|key| Path::parse(key).ok()).collect();
    if !paths.is_empty() {
        let all = stream::iter(paths.iter().cloned().map(Ok).collect::<Vec<_>>()).boxed();
        let deleted = account.store.delete_stream(all).collect::<Vec<_>>();
        let (results, record) = exchange::observed(deleted).await;
        if let Some(record) = record.filter(|record| !record.status.is_some_and(|status| status.is_success()))
        {
            let call = Call::writing("delete blobs", Subject::Bucket);
            return Err(fault::error(account.transport.advice(), call, &record));
        }
        if results.len() == paths.len() {
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
    let mut left = Vec::new();
    for key in again {
        match blobs::delete(account, key).await {
            Ok(()) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => left.push((key.clone(), error)),
        }
    }
    Ok(left)
}

fn is_path(key: &str) -> bool {
    Path::parse(key).is_ok_and(|path| path.as_ref() == key)
}
