//! What a cache may keep of each object of the storage, by its path.
//!
//! Content by digest never changes. Links, tags and the small files of V1 repositories do. Everything else is not kept:
//! records of uploads change all the time, layers are no small files, and the files of a V1 image count only when the mark of
//! its push is looked for after they were found. An interrupted push is begun again with another JSON under the same id,
//! so that what was found earlier says nothing about an image that is complete now.

use docker_registry_driver_api::{ObjectPath, Prefix};

use super::{
    v1,
    v2::{self, LAYERS_FOLDER, MANIFESTS_FOLDER, UPLOADS_FOLDER},
};
use crate::{
    registry::{
        digest::{Algorithm, Digest},
        hashing::Hasher,
    },
    storage::{Below, Keeping, KeepingRules},
};

/// The object that holds the secret of the store, from which a cache derives its keys. Written once.
pub const CACHE_SECRET: &str = "docker-registry/cache-secret";

/// The rules of both layouts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kept;

impl KeepingRules for Kept {
    fn keeping<'a>(&self, path: &'a ObjectPath) -> Keeping<'a> {
        let text = path.as_str();
        if let Some((repository, own)) = own_folder(text) {
            return if is_kept_link(own) {
                Keeping::Changing { scope: Some(repository) }
            } else {
                Keeping::Not
            };
        }
        if digest_of(text).is_some() {
            return Keeping::Unchanging;
        }
        match segments_of_v1(text) {
            Some(3) => Keeping::Changing { scope: Some(&text[..text.len() - path.name().len() - 1]) },
            _ => Keeping::Not,
        }
    }

    fn is_sound(&self, path: &ObjectPath, content: &[u8]) -> bool {
        digest_of(path.as_str()).is_some_and(|digest| {
            let mut hasher = Hasher::new(digest.algorithm());
            hasher.update(content);
            hasher.finish() == digest
        })
    }

    fn below<'a>(&self, folder: &'a Prefix) -> Below<'a> {
        let text = folder.as_str();
        match own_folder(text) {
            Some((_, own)) if own.starts_with(UPLOADS_FOLDER) => Below::Nothing,
            // The history of a tag, which nobody reads.
            Some((_, own)) if is_tag_history(own) => Below::Nothing,
            Some((repository, _)) => Below::Scope(repository),
            None if segments_of_v1(text) == Some(2) => Below::Scope(text),
            None => Below::Everything,
        }
    }
}

/// How many names a path below the repositories of V1 has.
fn segments_of_v1(path: &str) -> Option<usize> {
    Some(path.strip_prefix(v1::REPOSITORIES)?.strip_prefix('/')?.split('/').count())
}

/// The folder of a V2 repository and what lies in it. A part of a repository's name never begins with `_`.
fn own_folder(path: &str) -> Option<(&str, &str)> {
    let below = path.strip_prefix(v2::ROOT)?.strip_prefix("/repositories/")?;
    let name = below.find("/_")?;
    let end = path.len() - below.len() + name;
    Some((&path[..end], &path[end + 1..]))
}

/// The digest in the path of content.
fn digest_of(path: &str) -> Option<Digest> {
    let below = path.strip_prefix(v2::ROOT)?.strip_prefix("/blobs/")?;
    let mut parts = below.strip_suffix("/data")?.split('/');
    let (algorithm, _, hex) = (parts.next()?, parts.next()?, parts.next()?);
    let digest = Digest::from_hex(Algorithm::from_name(algorithm)?, hex)?;
    parts.next().is_none().then_some(digest)
}

/// `TAG/…`, in the folder of manifests.
fn below_tags(own: &str) -> Option<&str> {
    own.strip_prefix(MANIFESTS_FOLDER)?.strip_prefix("/tags/")
}

/// `TAG/index`, where a tag itself may be called `index`.
fn is_tag_history(own: &str) -> bool {
    below_tags(own).and_then(|rest| rest.split_once('/')).is_some_and(|(_, below)| below == "index")
}

/// The links that readers follow.
fn is_kept_link(own: &str) -> bool {
    if let Some(tag) = below_tags(own) {
        return tag.ends_with("/current/link");
    }
    (own.starts_with(MANIFESTS_FOLDER) || own.starts_with(LAYERS_FOLDER)) && own.ends_with("/link")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        layout::{v1, v2},
        registry::{
            digest::Digest,
            v1::names::{ImageId, RepositoryName as V1Name},
            v2::{RepositoryName, Tag, UploadId},
        },
    };

    #[test]
    fn each_path_of_v2_is_kept_as_it_behaves() {
        let name = RepositoryName::parse("library/ubuntu").unwrap();
        let (tag, digest) =
            (Tag::parse("index").unwrap(), Digest::parse(&format!("sha256:{}", "0f".repeat(32))).unwrap());
        let scope = "docker/registry/v2/repositories/library/ubuntu";
        for path in
            [v2::tag_link(&name, &tag), v2::revision_link(&name, &digest), v2::layer_link(&name, &digest)]
        {
            assert_eq!(Kept.keeping(&path), Keeping::Changing { scope: Some(scope) }, "{path}");
        }
        assert_eq!(Kept.keeping(&v2::blob(&digest)), Keeping::Unchanging);
        for nearly in ["blobs/sha256/0f/0f0f/data", "blobs/md5/0f/0f/data", "blobs/data"] {
            let path = ObjectPath::new(format!("docker/registry/v2/{nearly}")).unwrap();
            assert_eq!(Kept.keeping(&path), Keeping::Not, "{path}");
        }
        let id = UploadId::random();
        for path in [
            v2::upload_record(&name, &id),
            v2::upload_data(&name, &id),
            v2::upload_content(&name, &id, &digest),
            v2::tag_history_link(&name, &tag, &digest),
        ] {
            assert_eq!(Kept.keeping(&path), Keeping::Not, "{path}");
        }
        assert_eq!(Kept.below(&v2::upload(&name, &id)), Below::Nothing);
        assert_eq!(Kept.below(&v2::tag_history(&name, &tag)), Below::Nothing);
        // The whole of a tag with that name is more than its history.
        let tag_folder = Prefix::new(format!("{}/index", v2::tags(&name).as_str())).unwrap();
        assert_eq!(Kept.below(&tag_folder), Below::Scope(scope));
        assert_eq!(Kept.below(&v2::own_folder(&name, LAYERS_FOLDER)), Below::Scope(scope));
        // Names continue below a repository, so that its folder holds other ones.
        assert_eq!(Kept.below(&v2::repository(&name)), Below::Everything);
        assert_eq!(Kept.below(&Prefix::root()), Below::Everything);
    }

    #[test]
    fn content_is_sound_where_its_digest_is() {
        for (algorithm, hex) in [
            (Algorithm::Sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                Algorithm::Sha512,
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                 2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
        ] {
            let path = v2::blob(&Digest::from_hex(algorithm, hex).unwrap());
            assert!(Kept.is_sound(&path, b"abc"));
            assert!(!Kept.is_sound(&path, b"abd") && !Kept.is_sound(&path, b""));
        }
        assert!(!Kept.is_sound(&ObjectPath::new("docker/registry/v2/blobs/x/data").unwrap(), b""));
    }

    #[test]
    fn each_path_of_v1_is_kept_as_it_behaves() {
        let id = ImageId::parse(&"ab".repeat(32)).unwrap();
        let image = v1::ImagePaths(&id);
        for path in
            [image.json(), image.ancestry(), image.checksum(), image.layer(), image.mark(), image.files()]
        {
            assert_eq!(Kept.keeping(&path.unwrap()), Keeping::Not);
        }
        let repository = v1::RepositoryPaths::new(&V1Name::from_path("a/b/c").unwrap());
        let folder = repository.folder().unwrap();
        for path in [repository.tag("latest"), repository.index_images(), repository.tag_metadata("latest")] {
            let path = path.unwrap();
            assert_eq!(Kept.keeping(&path), Keeping::Changing { scope: Some(folder.as_str()) }, "{path}");
        }
        assert_eq!(Kept.below(&folder), Below::Scope(folder.as_str()));
        assert_eq!(Kept.keeping(&ObjectPath::new(CACHE_SECRET).unwrap()), Keeping::Not);
    }
}
