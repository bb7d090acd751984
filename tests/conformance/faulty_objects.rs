//! Drivers that do one thing wrong with objects at rest.

use docker_registry_driver_api::{
    Bytes, CallContext, Condition, ETag, ObjectPath, Result, SharedDriver, async_trait,
};
use docker_registry_driver_conformance::forwarding::{Forward, Forwarding};

use crate::faulty::Fault;

/// The faults of this file.
pub(crate) fn faults() -> Vec<Fault> {
    vec![Fault {
        name: "an_overwrite_keeps_the_tail",
        case: "objects/what_was_put_is_there",
        promise: "Writes a small object whole",
        make: |inner| Forwarding::shared(TailKept(inner)),
    }]
}

/// Writes over the beginning of what is there.
struct TailKept(SharedDriver);

#[async_trait]
impl Forward for TailKept {
    fn inner(&self) -> &SharedDriver {
        &self.0
    }

    async fn put(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        content: Bytes,
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        let mut whole = content.to_vec();
        if let Ok(before) = self.0.get(call, path, u64::MAX).await {
            whole.extend_from_slice(before.content.get(content.len()..).unwrap_or_default());
        }
        self.0.put(call, path, whole.into(), condition).await
    }
}
