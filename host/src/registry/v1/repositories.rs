//! Which repositories there are. V1 has no catalog of its own; this is for the search index.
//!
//! A repository is a folder with anything in it, as for 0.9.1: it is there from the first request of its push.

use docker_registry_driver_api::{CallContext, ErrorKind, ListRequest, Prefix};

use super::{Error, Registry, Result, names::RepositoryName};
use crate::layout::v1::{self as layout, RepositoryPaths};

/// Some of the repositories of a namespace.
#[derive(Debug)]
pub struct RepositoryPage {
    /// The repositories. Folders that no name leads to are left out.
    pub repositories: Vec<RepositoryName>,
    /// What to ask for the next page with; `None` when this one was the last.
    pub next: Option<String>,
}

impl Registry {
    /// The folders of all namespaces.
    ///
    /// # Errors
    /// The storage's.
    pub async fn namespaces(&self, call: &CallContext) -> Result<Vec<Prefix>> {
        let mut request = ListRequest::children(layout::repositories());
        let mut namespaces = Vec::new();
        loop {
            let page = self.storage.list(call, &request).await?;
            for entry in page.entries.into_iter().filter(|entry| entry.object.is_none()) {
                namespaces.push(Prefix::new(entry.path)?);
            }
            request.after = page.next;
            if request.after.is_none() {
                return Ok(namespaces);
            }
        }
    }

    /// A page of the repositories in the folder of a namespace, after the one before.
    ///
    /// # Errors
    /// The storage's.
    pub async fn repositories_in(
        &self,
        call: &CallContext,
        namespace: &Prefix,
        after: Option<String>,
    ) -> Result<RepositoryPage> {
        let request = ListRequest { after, ..ListRequest::children(namespace.clone()) };
        let page = self.storage.list(call, &request).await?;
        let folders = page.entries.iter().filter(|entry| entry.object.is_none());
        let repositories = folders.filter_map(|entry| layout::repository_of_folder(&entry.path)).collect();
        Ok(RepositoryPage { repositories, next: page.next })
    }

    /// Whether there is such a repository. A name that cannot be stored is nobody's.
    ///
    /// # Errors
    /// The storage's.
    pub async fn repository_exists(&self, call: &CallContext, repository: &RepositoryName) -> Result<bool> {
        let Ok(folder) = RepositoryPaths::new(repository).folder() else { return Ok(false) };
        let mut request = ListRequest { limit: 1, ..ListRequest::children(folder) };
        loop {
            let page = match self.storage.list(call, &request).await {
                Ok(page) => page,
                Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::InvalidPath) => {
                    return Ok(false);
                }
                Err(error) => return Err(Error::from(error)),
            };
            if !page.entries.is_empty() {
                return Ok(true);
            }
            request.after = page.next;
            if request.after.is_none() {
                return Ok(false);
            }
        }
    }
}
