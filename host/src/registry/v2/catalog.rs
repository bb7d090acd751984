//! The catalog: all repositories in byte order of their names.
//!
//! Names are paths in a tree, and the order of names is not the order of the tree: `a-b` comes before
//! `a/b`, although `a` comes before `a-b`. So the walk keeps a sorted agenda of what is still to be looked
//! at, keyed by the smallest name that it can lead to. The agenda holds a page of names per level and
//! never the whole tree, and a page that begins after a given name goes straight there.

use std::collections::BTreeMap;

use docker_registry_driver_api::{CallContext, ListPage, ListRequest, MAX_PAGE, Prefix};
use futures::{StreamExt, TryStreamExt, stream};

use super::{PARALLEL_CALLS, Registry, RepositoryName, Result};
use crate::layout::v2 as layout;

/// Some of the repositories, in byte order of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalog {
    /// Names of repositories.
    pub repositories: Vec<RepositoryName>,
    /// Whether there are more after the last one.
    pub more: bool,
}

/// What is still to be looked at.
enum Step {
    /// A folder that may be a repository.
    Visit(RepositoryName),
    /// Such a folder, with the first page of what is in it.
    Visited(RepositoryName, ListPage),
    /// The folders inside one, `None` for the root of all repositories, after the one of this path.
    Children(Option<RepositoryName>, Option<String>),
}

/// Steps by the smallest name that they can lead to. A folder and the folders inside it never have the
/// same smallest name, and no two folders have.
type Agenda = BTreeMap<String, Step>;

impl Registry {
    /// At most `limit` repositories greater than `after`. A repository is a folder that holds manifests
    /// or links to blobs; one with nothing but uploads in flight is none yet.
    ///
    /// # Errors
    /// Only the storage's.
    pub async fn list_repositories(
        &self,
        call: &CallContext,
        after: Option<&RepositoryName>,
        limit: usize,
    ) -> Result<Catalog> {
        let mut repositories = Vec::new();
        let mut agenda = Agenda::new();
        begin(&mut agenda, after);
        while let Some((key, step)) = agenda.pop_first() {
            let missing = limit + 1 - repositories.len();
            match step {
                Step::Visit(folder) => self.visit_next(call, &mut agenda, key, folder, missing).await?,
                Step::Visited(folder, page) => {
                    if self.is_repository(call, &folder, &page).await? {
                        if repositories.len() == limit {
                            return Ok(Catalog { repositories, more: true });
                        }
                        repositories.push(folder.clone());
                    }
                    plan_children(&mut agenda, Some(&folder), &page);
                }
                Step::Children(folder, after) => {
                    let page = self.children(call, folder.as_ref(), after, missing).await?;
                    plan_children(&mut agenda, folder.as_ref(), &page);
                }
            }
        }
        Ok(Catalog { repositories, more: false })
    }

    /// Looks into the folder and into those that come next, all at once.
    async fn visit_next(
        &self,
        call: &CallContext,
        agenda: &mut Agenda,
        key: String,
        folder: RepositoryName,
        missing: usize,
    ) -> Result<()> {
        let mut batch = vec![(key, folder)];
        while batch.len() < missing.min(PARALLEL_CALLS) {
            match agenda.first_entry() {
                Some(next) if matches!(next.get(), Step::Visit(_)) => {
                    if let (key, Step::Visit(folder)) = next.remove_entry() {
                        batch.push((key, folder));
                    }
                }
                _ => break,
            }
        }
        let visited: Vec<_> = stream::iter(batch)
            .map(|(key, folder)| async move {
                let page = self.children(call, Some(&folder), None, missing).await?;
                Ok::<_, super::Failure>((key, Step::Visited(folder, page)))
            })
            .buffer_unordered(PARALLEL_CALLS)
            .try_collect()
            .await?;
        agenda.extend(visited);
        Ok(())
    }

    async fn children(
        &self,
        call: &CallContext,
        folder: Option<&RepositoryName>,
        after: Option<String>,
        missing: usize,
    ) -> Result<ListPage> {
        // A repository has three folders of its own beside those of other repositories.
        let limit = missing.saturating_add(3).min(MAX_PAGE as usize) as u32;
        let request = ListRequest { after, limit, ..ListRequest::children(prefix(folder)) };
        Ok(self.storage.list(call, &request).await?)
    }

    async fn is_repository(
        &self,
        call: &CallContext,
        folder: &RepositoryName,
        page: &ListPage,
    ) -> Result<bool> {
        let start = prefix(Some(folder)).start();
        let own = |page: &ListPage| {
            page.entries.iter().any(|entry| {
                matches!(
                    entry.path.strip_prefix(&start),
                    Some(layout::MANIFESTS_FOLDER | layout::LAYERS_FOLDER)
                )
            })
        };
        if own(page) {
            return Ok(true);
        }
        let border = format!("{start}{}", layout::BEFORE_OWN_FOLDERS);
        match &page.next {
            // The page ends before the place where the folder's own folders would be.
            Some(next) if *next <= border => {
                let request = ListRequest {
                    after: Some(border),
                    limit: 3,
                    ..ListRequest::children(prefix(Some(folder)))
                };
                Ok(own(&self.storage.list(call, &request).await?))
            }
            Some(_) | None => Ok(false),
        }
    }
}

/// Plans the walk from the first name that is greater than `after`.
fn begin(agenda: &mut Agenda, after: Option<&RepositoryName>) {
    let Some(after) = after else {
        agenda.insert(String::new(), Step::Children(None, None));
        return;
    };
    let mut parent: Option<RepositoryName> = None;
    let mut parts = after.as_str().split('/').peekable();
    while let Some(part) = parts.next() {
        let start = prefix(parent.as_ref()).start();
        let parent_text = parent.as_ref().map_or(String::new(), |parent| format!("{parent}/"));
        // Sister folders that come after this part: for `a/b` that is `a0` and not `a-b`, which comes
        // before all that is inside `a`.
        let slash = if parts.peek().is_some() { "/" } else { "" };
        agenda.insert(
            format!("{parent_text}{part}{slash}"),
            Step::Children(parent.clone(), Some(format!("{start}{part}{slash}"))),
        );
        // Sister folders that come before it, but whose insides come after: `a` for the part `a-b`.
        for (index, _) in part.match_indices(['-', '.']) {
            if let Some(sister) = RepositoryName::parse(&format!("{parent_text}{}", &part[..index])) {
                agenda.insert(format!("{sister}/"), Step::Children(Some(sister), None));
            }
        }
        parent = RepositoryName::parse(&format!("{parent_text}{part}"));
    }
    if let Some(after) = parent {
        agenda.insert(format!("{after}/"), Step::Children(Some(after), None));
    }
}

/// Plans a visit of each folder on the page, and the next page.
fn plan_children(agenda: &mut Agenda, folder: Option<&RepositoryName>, page: &ListPage) {
    let root = prefix(None).start();
    for entry in page.entries.iter().filter(|entry| entry.object.is_none()) {
        let name = entry.path.strip_prefix(&root).and_then(RepositoryName::parse);
        if let Some(name) = name {
            agenda.insert(name.to_string(), Step::Visit(name));
        }
    }
    if let Some(next) = &page.next {
        // What comes on the next page is greater than `next`; the NUL keeps this step behind the folder
        // that is itself called so.
        let key = format!("{}\0", next.strip_prefix(&root).unwrap_or(next));
        agenda.insert(key, Step::Children(folder.cloned(), Some(next.clone())));
    }
}

fn prefix(folder: Option<&RepositoryName>) -> Prefix {
    folder.map_or_else(layout::repositories, layout::repository)
}
