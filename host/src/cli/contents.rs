//! What lies in the storage at the start, told to the operator who migrates.

use docker_registry_config::Protocols;
use docker_registry_driver_api::{CallContext, Prefix};

use crate::{
    layout::{v1, v2},
    storage::Storage,
};

/// Says which protocols are served when the store was written by a V1 registry alone. A client that
/// speaks both asks for V2 first, and is only sent back to V1 by what it is told there.
pub(super) async fn announce(storage: &Storage, protocols: Protocols) {
    let (has_v1, has_v2) = (exists(storage, &v1::images()).await, exists(storage, &v2::repositories()).await);
    if !has_v1 || has_v2 {
        return;
    }
    match (protocols.v1, protocols.v2) {
        (true, true) => tracing::info!(
            "the storage holds V1 images and nothing of V2: both protocols are served; new pushes by today's \
             clients become V2, `protocols: [v1]` keeps everything V1"
        ),
        (true, false) => tracing::info!(
            "the storage holds V1 images and only V1 is served, as `protocols` says: clients that ask at /v2/ are told \
             that there is no V2 and stay with V1"
        ),
        _ => tracing::warn!(
            "the storage holds V1 images and only V2 is served, so nobody can pull them; \
             write `protocols: [v1, v2]`"
        ),
    }
}

/// A storage that fails here shows it at the first request and in the health check as well.
async fn exists(storage: &Storage, folder: &Prefix) -> bool {
    storage.stat(&CallContext::default(), folder).await.is_ok()
}
