//! The fake index of a standalone registry: which images a repository was pushed with.
//!
//! The list only grows, as in 0.9.1. Merges of concurrent pushes all survive: requests of this process
//! take turns, and other processes are noticed by the storage's conditional writes where it has them.

use std::collections::HashMap;

use bytes::Bytes;
use docker_registry_driver_api::{CallContext, ErrorKind};
use serde_json::{Map, Value};

use super::{Error, Registry, Result, json, names::RepositoryName};
use crate::layout::v1::RepositoryPaths;

/// How often a merge is tried when other processes change the same list.
const MERGE_ATTEMPTS: u32 = 20;

impl Registry {
    /// The list of images, as it is stored.
    ///
    /// # Errors
    /// [`Error::NoImagesList`], or the storage's.
    pub async fn index_images(&self, call: &CallContext, repository: &RepositoryName) -> Result<Bytes> {
        let path = RepositoryPaths::new(repository).index_images()?;
        Ok(self.get_for_client(call, &path).await?.ok_or(Error::NoImagesList)?.content)
    }

    /// Merges a client's list into the stored one. The first list of a repository is stored as it came,
    /// the tags that docker puts into it included; later ones keep ids and checksums only (0.9.1).
    ///
    /// # Errors
    /// [`Error::NotJson`], [`Error::InvalidData`], [`Error::Contended`], or the storage's.
    pub async fn merge_index_images(
        &self,
        call: &CallContext,
        repository: &RepositoryName,
        content: Bytes,
    ) -> Result<()> {
        let Value::Array(pushed) = json::parse(content.clone()).await.ok_or(Error::NotJson)? else {
            return Err(Error::InvalidData);
        };
        if !pushed.iter().all(|entry| id_of(entry).is_some()) {
            return Err(Error::InvalidData);
        }
        let path = RepositoryPaths::new(repository).index_images()?;
        let _order = self.locks.lock(&repository.to_string()).await;
        for _ in 0..MERGE_ATTEMPTS {
            let stored = self.get(call, &path).await?;
            let condition = self.unchanged(stored.as_ref().map(|stored| &stored.info));
            let merged = match stored {
                None => content.clone(),
                Some(stored) => {
                    let known = match json::parse(stored.content).await {
                        Some(Value::Array(known)) => known,
                        _ => {
                            tracing::warn!(%path, "the stored list of images is no list and is replaced");
                            Vec::new()
                        }
                    };
                    json::to_text(&merge(pushed.iter().chain(&known))).into()
                }
            };
            match self.storage.put(call, &path, merged, &condition).await {
                Ok(_) => return Ok(()),
                Err(error) if error.kind == ErrorKind::ConditionFailed => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Contended)
    }
}

fn id_of(entry: &Value) -> Option<&str> {
    entry.get("id")?.as_str()
}

/// One entry an id, in the order of their first appearance: the first one that has a checksum, or else
/// the bare id. Entries without an id, which 0.9.1 stored but could not read, are left out.
fn merge<'a>(entries: impl Iterator<Item = &'a Value>) -> Value {
    let mut places = HashMap::new();
    let mut merged: Vec<Value> = Vec::new();
    for entry in entries {
        let Some(id) = id_of(entry) else { continue };
        let place = *places.entry(id).or_insert_with(|| {
            merged.push(Value::Object(Map::from_iter([("id".to_owned(), Value::from(id))])));
            merged.len() - 1
        });
        if let (Some(checksum), Value::Object(kept)) = (entry.get("checksum"), &mut merged[place]) {
            kept.entry("checksum").or_insert_with(|| checksum.clone());
        }
    }
    Value::Array(merged)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_checksum_of_an_image_wins_and_nothing_else_is_kept() {
        let new = [json!({"id": "a", "checksum": "2", "Tag": "x"}), json!({"id": "b"}), json!({"noid": 1})];
        let old =
            [json!({"id": "b", "checksum": "3"}), json!({"id": "a", "checksum": "1"}), json!({"id": "c"})];
        assert_eq!(
            json::to_text(&merge(new.iter().chain(&old))),
            r#"[{"checksum": "2", "id": "a"}, {"checksum": "3", "id": "b"}, {"id": "c"}]"#
        );
    }
}
