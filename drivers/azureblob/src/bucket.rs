//! The container as the engine sees it: each call of a bucket, and the limits of the service.

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

use docker_registry_driver_api::{Condition, ETag, Error, ReadRange, Result, async_trait};
use docker_registry_object_storage::bucket::{
    Begun, Bucket, Content, Facts, Limits, ListCall, Listing, NewPart, Opened, Part, SignCall,
};

use crate::{
    account::Account, batch, blobs, blocks, container, container::FirstLook, copying, listing, signing,
    signing::Delegation,
};

const MIB: u64 = 1 << 20;

/// One container.
pub(crate) struct AzureBucket {
    account: Arc<Account>,
    /// Before the first look at the service.
    assumed: Limits,
    /// After it.
    limits: OnceLock<Limits>,
    first_look: FirstLook,
    delegation: Delegation,
}

impl AzureBucket {
    pub(crate) fn new(account: Arc<Account>) -> Self {
        Self {
            assumed: limits(account.settings.can_sign(), false),
            limits: OnceLock::new(),
            account,
            first_look: FirstLook::default(),
            delegation: Delegation::default(),
        }
    }
}

/// The limits of the service since version 2019-12-12.
fn limits(signs: bool, copied_parts: bool) -> Limits {
    Limits {
        put_if_absent: true,
        put_if_match: true,
        finish_if_absent: true,
        finish_if_match: true,
        largest_put: 5_000 * MIB,
        smallest_part: 1,
        largest_part: 4_000 * MIB,
        part_multiple: 1,
        most_parts: 50_000,
        parallel_parts: true,
        copied_parts,
        largest_copy: u64::MAX,
        largest_batch: batch::LARGEST,
        list_after: false,
        suffix_ranges: false,
        // A listing shows them; nothing removes them but the week.
        lists_begun: false,
        abandons_whole: true,
        signs,
        strongly_consistent: true,
    }
}

#[async_trait]
impl Bucket for AzureBucket {
    fn limits(&self) -> &Limits {
        self.limits.get().unwrap_or(&self.assumed)
    }

    async fn probe(&self, _root: &str) -> Result<()> {
        container::probe(&self.account, &self.first_look).await?;
        if self.limits.get().is_none() {
            let folder = self.account.settings.own_folder();
            let copies = blocks::copies_ranges(&self.account, &self.delegation, &folder).await?;
            // Two first looks see the same.
            let _ = self.limits.set(limits(self.account.settings.can_sign(), copies));
        }
        Ok(())
    }

    async fn get(&self, key: &str, range: ReadRange, if_match: Option<&ETag>) -> Result<Opened> {
        blobs::get(&self.account, key, range, if_match).await
    }

    async fn head(&self, key: &str) -> Result<Facts> {
        blobs::head(&self.account, key).await
    }

    async fn put(
        &self,
        key: &str,
        content: Content,
        condition: &Condition,
        mark: Option<&str>,
    ) -> Result<Option<ETag>> {
        blobs::put(&self.account, key, content, condition, mark).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        blobs::delete(&self.account, key).await
    }

    async fn delete_batch(&self, keys: &[String]) -> Result<Vec<(String, Error)>> {
        batch::delete(&self.account, keys).await
    }

    async fn list(&self, call: &ListCall) -> Result<Listing> {
        listing::list(&self.account, call).await
    }

    async fn copy(&self, from: &str, to: &str, _size: u64) -> Result<()> {
        copying::copy(&self.account, from, blobs::keepable(to)?).await
    }

    async fn begin(&self, key: &str, _condition: &Condition, mark: Option<&str>) -> Result<String> {
        blobs::keepable(key)?;
        Ok(blocks::begin(mark))
    }

    async fn part(&self, key: &str, id: &str, part: NewPart) -> Result<Part> {
        blocks::part(&self.account, key, id, part).await
    }

    async fn copy_part(
        &self,
        key: &str,
        id: &str,
        number: u32,
        from: &str,
        range: Range<u64>,
    ) -> Result<Part> {
        blocks::copy_part(&self.account, &self.delegation, key, id, number, from, range).await
    }

    async fn finish(
        &self,
        key: &str,
        id: &str,
        parts: &[Part],
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        blocks::finish(&self.account, key, id, parts, condition).await
    }

    /// Nothing can be done about staged blocks alone; Azure forgets them after a week.
    async fn abandon(&self, _key: &str, _id: &str) -> Result<()> {
        Ok(())
    }

    async fn list_begun(&self, _prefix: &str, _after: Option<&str>) -> Result<(Vec<Begun>, Option<String>)> {
        Ok((Vec::new(), None))
    }

    async fn sign(&self, call: &SignCall) -> Result<Option<String>> {
        signing::sign(&self.account, &self.delegation, call).await
    }
}
