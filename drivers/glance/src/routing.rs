//! Which paths are images of Glance, and which are the other driver's.
//!
//! ```text
//! images/ID/layer                                    an image
//! images/ID/json  ancestry  _checksum  _inprogress  _diff   an image each, small ones as properties too
//! docker/registry/v2/blobs/ALGORITHM/XX/HEX/data     an image
//! ```
//! Everything else is the other driver's: repositories, tags, links, uploads, `images/ID/_files`.

use docker_registry_driver_api::{ObjectPath, Prefix, Result};
use sha2::{Digest, Sha256};

const IMAGES: &str = "images";
const BLOBS: &str = "docker/registry/v2/blobs";
/// The files of a docker image that are images here.
const FILES: [&str; 6] = ["_checksum", "_diff", "_inprogress", "ancestry", "json", "layer"];
/// An algorithm that no registry has. Contents on their way to Glance lie there in the other driver, under names that
/// would be images, so that they are in nobody's way.
const STAGED: &str = "docker/registry/v2/blobs/staged";

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_docker_id(text: &str) -> bool {
    matches!(text.len(), 16 | 64) && is_hex(text)
}

fn is_algorithm(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+._-".contains(&byte))
}

fn is_hash(text: &str) -> bool {
    (32..=128).contains(&text.len()) && is_hex(text)
}

/// The parts of a path below a folder.
fn below<'a>(path: &'a str, folder: &str) -> Option<Vec<&'a str>> {
    Some(path.strip_prefix(folder)?.strip_prefix('/')?.split('/').collect())
}

/// Whether the object at this path is an image of Glance.
pub(crate) fn is_image(path: &str) -> bool {
    if let Some(parts) = below(path, IMAGES) {
        return matches!(parts[..], [id, file] if is_docker_id(id) && FILES.contains(&file));
    }
    let Some(parts) = below(path, BLOBS) else { return false };
    matches!(parts[..], [algorithm, first, hash, "data"]
        if is_algorithm(algorithm) && is_hash(hash) && hash.starts_with(first) && first.len() == 2)
}

/// The id of the docker image that a path is about, and the name of its property for a small file.
pub(crate) fn docker_image(path: &str) -> Option<(&str, String)> {
    match below(path, IMAGES)?[..] {
        [id, file] if is_docker_id(id) => Some((id, format!("meta_{file}"))),
        _ => None,
    }
}

/// Whether images may lie below this folder.
pub(crate) fn may_hold_images(folder: &str) -> bool {
    let leads_to = |place: &str| {
        folder.is_empty()
            || place == folder
            || place.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
    };
    if leads_to(IMAGES) || leads_to(BLOBS) {
        return true;
    }
    if let Some(parts) = below(folder, IMAGES) {
        return matches!(parts[..], [id] if is_docker_id(id));
    }
    match below(folder, BLOBS).unwrap_or_default()[..] {
        [algorithm] => is_algorithm(algorithm),
        [algorithm, first] => is_algorithm(algorithm) && first.len() == 2 && is_hex(first),
        [algorithm, first, hash] => {
            is_algorithm(algorithm) && first.len() == 2 && is_hash(hash) && hash.starts_with(first)
        }
        _ => false,
    }
}

/// What images below a folder have in common, so that Glance can look for it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Nothing is there.
    Nothing,
    /// The files of one docker image.
    DockerImage(String),
    /// One blob.
    Path(String),
    /// Only that they are of this registry.
    Registry,
}

/// The scope of a folder and of the object of the same name.
pub(crate) fn scope(folder: &str) -> Scope {
    if is_image(folder) {
        return Scope::Path(folder.to_owned());
    }
    if !may_hold_images(folder) {
        return Scope::Nothing;
    }
    match (below(folder, IMAGES).as_deref(), below(folder, BLOBS).as_deref()) {
        (Some([id]), _) => Scope::DockerImage((*id).to_owned()),
        (_, Some([_, _, _])) => Scope::Path(format!("{folder}/data")),
        _ => Scope::Registry,
    }
}

/// Where the content of an upload with this state waits in the other driver on its way to Glance.
pub(crate) fn staging_path(state: &[u8]) -> Result<ObjectPath> {
    let hash: String = Sha256::digest(state).iter().map(|byte| format!("{byte:02x}")).collect();
    ObjectPath::new(format!("{STAGED}/{}/{hash}/data", &hash[..2]))
}

/// The folder of all that waits.
pub(crate) fn staging_folder() -> Result<Prefix> {
    Prefix::new(STAGED)
}

/// Whether something of what waits may lie in a folder, or in the folder above.
pub(crate) fn covers_staging(folder: &str) -> bool {
    folder.is_empty() || folder == STAGED || is_below(STAGED, folder) || is_below(folder, STAGED)
}

/// Whether a path is that of something that waits.
pub(crate) fn is_staged(path: &str) -> bool {
    is_below(path, STAGED) && is_image(path)
}

/// Whether a path lies in a folder.
pub(crate) fn is_below(path: &str, folder: &str) -> bool {
    folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob() -> String {
        format!("{BLOBS}/sha256/ab/{}/data", "ab".repeat(32))
    }

    #[test]
    fn contents_and_metadata_of_images_are_glances_and_the_rest_is_not() {
        let id = "0f".repeat(32);
        for file in FILES {
            assert!(is_image(&format!("images/{id}/{file}")), "{file}");
            assert!(is_image(&format!("images/0123456789abcdef/{file}")));
        }
        assert!(is_image(&blob()));
        assert!(is_image(&blob().replace("sha256", "tarsum.v1+sha256")));
        let upper = id.to_uppercase();
        for other in [
            format!("images/{id}/_files"),
            format!("images/{id}/layer/x"),
            format!("images/{upper}/layer"),
            "images/short/layer".to_owned(),
            "images".to_owned(),
            blob().replace("/data", "/datum"),
            blob().replace("/ab/", "/cd/"),
            format!("{}/x", blob()),
            format!("x/{}", blob()),
            "repositories/a/b/tag_latest".to_owned(),
        ] {
            assert!(!is_image(&other), "{other}");
        }
        assert_eq!(docker_image(&format!("images/{id}/json")), Some((id.as_str(), "meta_json".to_owned())));
        assert_eq!(docker_image(&blob()), None);
    }

    #[test]
    fn every_folder_above_an_image_may_hold_one_and_has_a_scope() {
        let id = "0f".repeat(32);
        for image in [blob(), format!("images/{id}/layer")] {
            let mut folder = image.as_str();
            while let Some((above, _)) = folder.rsplit_once('/') {
                assert!(may_hold_images(above), "{above}");
                assert_ne!(scope(above), Scope::Nothing);
                folder = above;
            }
            assert!(!may_hold_images(&image));
            assert_eq!(scope(&image), Scope::Path(image.clone()));
        }
        assert!(may_hold_images(""));
        assert_eq!(scope(&format!("images/{id}")), Scope::DockerImage(id));
        assert_eq!(scope(blob().trim_end_matches("/data")), Scope::Path(blob()));
        assert_eq!(scope(BLOBS), Scope::Registry);
        for other in ["image", "repositories", "docker/registry/v2/repositories", "docker/registry/v2/blobsx"]
        {
            assert_eq!(scope(other), Scope::Nothing, "{other}");
        }
    }

    #[test]
    fn what_waits_lies_under_names_that_the_other_driver_never_sees_otherwise() {
        let path = staging_path(b"a state").unwrap();
        assert!(is_image(path.as_str()) && is_staged(path.as_str()));
        assert_ne!(path, staging_path(b"another state").unwrap());
        assert!(!is_staged(&blob()));
        for folder in ["", "docker", BLOBS, STAGED, path.as_str()] {
            assert!(covers_staging(folder), "{folder}");
        }
        assert!(!covers_staging("docker/registry/v2/repositories"));
        assert!(is_below("a/b", "a") && !is_below("ab", "a") && !is_below("a", "a") && is_below("a", ""));
    }
}
