//! Paths of the V2 layout: distribution's own, so that either server reads what the other wrote.
//!
//! ```text
//! docker/registry/v2/
//!   blobs/ALGORITHM/XX/HEX/data
//!   repositories/NAME/
//!     _layers/ALGORITHM/HEX/link
//!     _manifests/revisions/ALGORITHM/HEX/link
//!     _manifests/tags/TAG/current/link
//!     _manifests/tags/TAG/index/ALGORITHM/HEX/link
//!     _uploads/UUID/upload.json, _uploads/UUID/HEX, _uploads/UUID/data
//! ```
//! A link holds a digest as text. Uploads in flight are ours alone: `upload.json` is this server's record of one,
//! with the content in front while that is small; `HEX` is small content by itself, under its SHA-256, and `data`
//! holds content that is hashed once more before it gets its name. Distribution's `startedat` is not among them: its
//! purge passes over uploads that have none.
//!
//! Names, tags, digests and upload ids are checked types, so no path here can leave the root, and none
//! can exceed the longest path (the test below).

use docker_registry_driver_api::{ObjectPath, Prefix};

use crate::registry::{
    digest::{Algorithm, Digest},
    v2::{RepositoryName, Tag, UploadId},
};

pub(super) const ROOT: &str = "docker/registry/v2";

/// Folder name of a repository's manifests and tags.
pub const MANIFESTS_FOLDER: &str = "_manifests";
/// Folder name of the links to a repository's blobs.
pub const LAYERS_FOLDER: &str = "_layers";
/// Folder name of a repository's uploads in flight.
pub const UPLOADS_FOLDER: &str = "_uploads";
/// Folder name of the tags, in [`MANIFESTS_FOLDER`].
const TAGS_FOLDER: &str = "tags";
/// Greater than no folder name of the layout and smaller than all that begin with `_`.
pub const BEFORE_OWN_FOLDERS: &str = "_";

/// The content of a blob, shared by all repositories.
pub fn blob(digest: &Digest) -> ObjectPath {
    let (algorithm, hex) = (digest.algorithm().name(), digest.hex());
    path([ROOT, "/blobs/", algorithm, "/", &hex[..2], "/", hex, "/data"].concat())
}

/// The folder below which all repositories lie.
pub fn repositories() -> Prefix {
    path(format!("{ROOT}/repositories")).into()
}

/// The folder of a repository, which may be the first part of another one's name as well.
pub fn repository(name: &RepositoryName) -> Prefix {
    path(within(name, &[])).into()
}

/// A folder of a repository's own: [`MANIFESTS_FOLDER`], [`LAYERS_FOLDER`] or [`UPLOADS_FOLDER`].
pub fn own_folder(name: &RepositoryName, folder: &'static str) -> Prefix {
    path(within(name, &[folder])).into()
}

/// The link that makes a blob part of a repository.
pub fn layer_link(name: &RepositoryName, digest: &Digest) -> ObjectPath {
    path(within(name, &[LAYERS_FOLDER, digest.algorithm().name(), digest.hex(), "link"]))
}

/// The link that makes a manifest part of a repository.
pub fn revision_link(name: &RepositoryName, digest: &Digest) -> ObjectPath {
    path(within(name, &[MANIFESTS_FOLDER, "revisions", digest.algorithm().name(), digest.hex(), "link"]))
}

/// The folder of a repository's tags.
pub fn tags(name: &RepositoryName) -> Prefix {
    path(within(name, &[MANIFESTS_FOLDER, TAGS_FOLDER])).into()
}

/// The link from a tag to its manifest.
pub fn tag_link(name: &RepositoryName, tag: &Tag) -> ObjectPath {
    path(within(name, &[MANIFESTS_FOLDER, TAGS_FOLDER, tag.as_str(), "current", "link"]))
}

/// The tag whose link lies at this path below [`tags`].
pub fn tag_of_link(path: &str) -> Option<&str> {
    path.strip_suffix("/current/link").filter(|tag| !tag.contains('/'))
}

/// The folder of all manifests that a tag has ever pointed to.
pub fn tag_history(name: &RepositoryName, tag: &Tag) -> Prefix {
    path(within(name, &[MANIFESTS_FOLDER, TAGS_FOLDER, tag.as_str(), "index"])).into()
}

/// The link that remembers that a tag has pointed to a manifest.
pub fn tag_history_link(name: &RepositoryName, tag: &Tag, digest: &Digest) -> ObjectPath {
    let (tag, algorithm, hex) = (tag.as_str(), digest.algorithm().name(), digest.hex());
    path(within(name, &[MANIFESTS_FOLDER, TAGS_FOLDER, tag, "index", algorithm, hex, "link"]))
}

/// The folder of an upload in flight.
pub fn upload(name: &RepositoryName, id: &UploadId) -> Prefix {
    path(within(name, &[UPLOADS_FOLDER, &id.to_string()])).into()
}

/// This server's record of an upload.
pub fn upload_record(name: &RepositoryName, id: &UploadId) -> ObjectPath {
    path(within(name, &[UPLOADS_FOLDER, &id.to_string(), "upload.json"]))
}

/// Where an upload's content waits by itself. No other content can lie there than the one of this SHA-256.
pub fn upload_content(name: &RepositoryName, id: &UploadId, sha256: &Digest) -> ObjectPath {
    path(within(name, &[UPLOADS_FOLDER, &id.to_string(), sha256.hex()]))
}

/// The SHA-256 of the content that waits at this path below [`upload`], if it is such a path.
pub fn hash_of_upload_content(path: &str) -> Option<Digest> {
    Digest::from_hex(Algorithm::Sha256, path)
}

/// Where an upload's content waits while it is hashed once more.
pub fn upload_data(name: &RepositoryName, id: &UploadId) -> ObjectPath {
    path(within(name, &[UPLOADS_FOLDER, &id.to_string(), "data"]))
}

/// The path of these segments below a repository. Each request makes several, so that the text is made in one piece.
fn within(name: &RepositoryName, segments: &[&str]) -> String {
    let start = [ROOT, "/repositories/", name.as_str()];
    let size = start.iter().map(|part| part.len()).sum::<usize>()
        + segments.iter().map(|segment| 1 + segment.len()).sum::<usize>();
    let mut text = String::with_capacity(size);
    text.extend(start);
    for segment in segments {
        text.push('/');
        text.push_str(segment);
    }
    text
}

fn path(text: String) -> ObjectPath {
    ObjectPath::new(text).expect("names, tags, digests and upload ids keep the rules of object paths")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha512() -> Digest {
        Digest::parse(&format!("sha512:{}", "ab".repeat(64))).unwrap()
    }

    #[test]
    fn the_paths_are_those_of_distribution() {
        let name = RepositoryName::parse("library/ubuntu").unwrap();
        let tag = Tag::parse("22.04").unwrap();
        let digest = Digest::parse(&format!("sha256:{}", "0f".repeat(32))).unwrap();
        let hex = digest.hex();
        let base = "docker/registry/v2/repositories/library/ubuntu";
        let expected = [
            (blob(&digest), format!("docker/registry/v2/blobs/sha256/0f/{hex}/data")),
            (layer_link(&name, &digest), format!("{base}/_layers/sha256/{hex}/link")),
            (revision_link(&name, &digest), format!("{base}/_manifests/revisions/sha256/{hex}/link")),
            (tag_link(&name, &tag), format!("{base}/_manifests/tags/22.04/current/link")),
            (
                tag_history_link(&name, &tag, &digest),
                format!("{base}/_manifests/tags/22.04/index/sha256/{hex}/link"),
            ),
        ];
        for (path, text) in expected {
            assert_eq!(path.as_str(), text);
        }
    }

    #[test]
    fn the_longest_names_make_paths_that_are_allowed() {
        let name = RepositoryName::parse(&"x".repeat(255)).unwrap();
        let many_parts = RepositoryName::parse(&format!("{}x", "y/".repeat(127))).unwrap();
        let tag = Tag::parse(&"t".repeat(128)).unwrap();
        for name in [name, many_parts] {
            assert!(tag_history_link(&name, &tag, &sha512()).as_str().len() <= 1024);
            upload_record(&name, &UploadId::random());
            layer_link(&name, &sha512());
        }
    }
}
