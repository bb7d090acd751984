//! Paths of the V1 layout: what docker-registry 0.9.1 writes, byte for byte.
//!
//! ```text
//! images/<id>/json  layer  ancestry  _checksum  _inprogress  _files  _diff
//! repositories/<namespace>/<name>/_index_images  _images_list  _private  json
//!                                 tag_<tag>  tag<tag>_json
//! ```
//!
//! # Encoding
//! 0.9.1 form-encodes every name on its way to the storage, after turning the whole names `.` and
//! `..` into `%2E` and `%2E%2E`. The route has encoded the repository's own name once before, so that
//! it ends up encoded twice: `a/b/c` lies at `repositories/a/b%252Fc`. This is where stores in the
//! field have their data, so it is kept.
//!
//! # Guarantee
//! Every path has passed [`ObjectPath`]'s rules; a name that breaks one (too long, mostly) is an error
//! of kind `InvalidPath` before any storage sees it.

use docker_registry_driver_api::{ObjectPath, Prefix, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::registry::v1::names::{ImageId, RepositoryName};

/// What Python's `quote_plus` escapes, the space aside.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-');

/// Where tags begin in a repository's folder.
const TAG: &str = "tag_";

/// Text as Python's `quote_plus` encodes it.
pub fn form_encode(text: &str) -> String {
    // A percent sign of the text has become %25, so that each %20 left is a space.
    utf8_percent_encode(text, ESCAPED).to_string().replace("%20", "+")
}

/// The text that [`form_encode`] made `encoded` from, if it made it.
pub(crate) fn form_decode(encoded: &str) -> Option<String> {
    let text = percent_decode_str(&encoded.replace('+', " ")).decode_utf8().ok()?.into_owned();
    (form_encode(&text) == encoded).then_some(text)
}

/// One name as 0.9.1 stores it.
fn segment(name: &str) -> String {
    match name {
        "." => form_encode("%2E"),
        ".." => form_encode("%2E%2E"),
        name => form_encode(name),
    }
}

/// The folder of all images.
pub fn images() -> Prefix {
    Prefix::new("images").expect("a plain name is a valid folder")
}

/// The name of the folder of all namespaces with their repositories.
pub(super) const REPOSITORIES: &str = "repositories";

/// The folder of all namespaces with their repositories.
pub fn repositories() -> Prefix {
    Prefix::new(REPOSITORIES).expect("a plain name is a valid folder")
}

/// The repository whose folder this is, if a repository can have this folder.
pub fn repository_of_folder(path: &str) -> Option<RepositoryName> {
    let (namespace, name) = path.strip_prefix("repositories/")?.split_once('/')?;
    let name = form_decode(&dots(form_decode(name)?))?;
    let repository = RepositoryName::from_path(&format!("{}/{name}", dots(form_decode(namespace)?)))?;
    (RepositoryPaths::new(&repository).folder == path).then_some(repository)
}

/// The name behind the forms that 0.9.1 gives the names `.` and `..`.
fn dots(name: String) -> String {
    match name.as_str() {
        "%2E" => ".".to_owned(),
        "%2E%2E" => "..".to_owned(),
        _ => name,
    }
}

/// Paths of one image.
#[derive(Debug, Clone, Copy)]
pub struct ImagePaths<'a>(pub &'a ImageId);

impl ImagePaths<'_> {
    fn file(&self, name: &str) -> Result<ObjectPath> {
        ObjectPath::new(format!("images/{}/{name}", self.0))
    }

    /// The image's JSON as it was pushed.
    pub fn json(&self) -> Result<ObjectPath> {
        self.file("json")
    }

    /// The layer.
    pub fn layer(&self) -> Result<ObjectPath> {
        self.file("layer")
    }

    /// JSON list of the image and its ancestors, the root last.
    pub fn ancestry(&self) -> Result<ObjectPath> {
        self.file("ancestry")
    }

    /// JSON list of checksums, or one bare checksum in old stores.
    pub fn checksum(&self) -> Result<ObjectPath> {
        self.file("_checksum")
    }

    /// The mark that is there as long as the push of the image has not ended.
    pub fn mark(&self) -> Result<ObjectPath> {
        self.file("_inprogress")
    }

    /// The list of the layer's files, once somebody has asked for it.
    pub fn files(&self) -> Result<ObjectPath> {
        self.file("_files")
    }
}

/// Paths of one repository.
#[derive(Debug, Clone)]
pub struct RepositoryPaths {
    folder: String,
}

impl RepositoryPaths {
    /// The paths of `repository`.
    pub fn new(repository: &RepositoryName) -> Self {
        let folder = format!(
            "repositories/{}/{}",
            segment(repository.namespace()),
            segment(repository.encoded_name())
        );
        Self { folder }
    }

    fn file(&self, name: &str) -> Result<ObjectPath> {
        ObjectPath::new(format!("{}/{name}", self.folder))
    }

    /// The folder that holds all of the repository.
    pub fn folder(&self) -> Result<Prefix> {
        Prefix::new(self.folder.clone())
    }

    /// The images that the fake index knows of.
    pub fn index_images(&self) -> Result<ObjectPath> {
        self.file("_index_images")
    }

    /// An empty object that is there when the repository is private.
    pub fn private(&self) -> Result<ObjectPath> {
        self.file("_private")
    }

    /// Metadata of the last push of `latest`.
    pub fn metadata(&self) -> Result<ObjectPath> {
        self.file("json")
    }

    /// The image id that the tag points to.
    pub fn tag(&self, tag: &str) -> Result<ObjectPath> {
        self.file(&format!("{TAG}{}", segment(tag)))
    }

    /// The tag whose *stored* name is `listed`, if that is not simply the tag `listed` itself.
    ///
    /// 0.9.1 lists stored names, so that clients of old know the tag `a b` as `a+b`.
    pub fn tag_as_listed(&self, listed: &str) -> Option<ObjectPath> {
        let tag = form_decode(listed)?;
        if tag == listed { None } else { self.file(&format!("{TAG}{listed}")).ok() }
    }

    /// Metadata of the last push of the tag.
    pub fn tag_metadata(&self, tag: &str) -> Result<ObjectPath> {
        self.file(&format!("tag{}_json", segment(tag)))
    }
}

/// The tag that an object of a repository's folder may be, by the object's name (the last segment).
///
/// "May be", because the metadata of a tag `_x` has the name that a tag `x_json` has.
pub fn tag_of_file(file: &str) -> Option<String> {
    let stored = file.strip_prefix(TAG)?;
    Some(form_decode(stored).unwrap_or_else(|| stored.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(path: &str) -> String {
        RepositoryPaths::new(&RepositoryName::from_path(path).unwrap()).folder().unwrap().to_string()
    }

    #[test]
    fn repository_names_are_encoded_as_0_9_1_does() {
        assert_eq!(folder("foo/bar"), "repositories/foo/bar");
        assert_eq!(folder("single"), "repositories/library/single");
        assert_eq!(folder("a/b/c"), "repositories/a/b%252Fc");
        assert_eq!(folder("foo/sp ace%"), "repositories/foo/sp%2Bace%2525");
        assert_eq!(folder("foo/.."), "repositories/foo/%252E%252E");
        assert_eq!(folder("../../etc/x"), "repositories/%252E%252E/..%252Fetc%252Fx");
        assert_eq!(folder("./x"), "repositories/%252E/x");
        assert_eq!(folder("UPPER/Case_1.x-y~z"), "repositories/UPPER/Case_1.x-y%257Ez");
    }

    #[test]
    fn the_folder_of_a_repository_tells_its_name() {
        for path in
            ["foo/bar", "single", "a/b/c", "foo/sp ace%", "foo/..", "../../etc/x", "./x", "U/C_1.x-y~z"]
        {
            let name = RepositoryName::from_path(path).unwrap();
            assert_eq!(repository_of_folder(&folder(path)), Some(name), "{path}");
        }
        for strange in
            ["repositories/x", "repositories/a/b c", "repositories/a/%252", "images/a", "repositories//b"]
        {
            assert_eq!(repository_of_folder(strange), None, "{strange}");
        }
    }

    #[test]
    fn tags_are_encoded_once_and_come_back() {
        let paths = RepositoryPaths::new(&RepositoryName::from_path("n/r").unwrap());
        for (tag, file) in
            [("latest", "tag_latest"), ("a b", "tag_a+b"), (".bad", "tag_.bad"), ("é", "tag_%C3%A9")]
        {
            assert_eq!(paths.tag(tag).unwrap().name(), file);
            assert_eq!(tag_of_file(file).as_deref(), Some(tag));
        }
        assert_eq!(paths.tag("a+b").unwrap().name(), "tag_a%2Bb");
        assert_eq!(paths.tag_as_listed("a+b").unwrap().name(), "tag_a+b");
        assert_eq!(paths.tag_as_listed("latest"), None);
        assert_eq!(paths.tag_as_listed("100%"), None);
        assert_eq!(tag_of_file("tag_100%").as_deref(), Some("100%"));
        assert_eq!(tag_of_file("taglatest_json"), None);
        assert_eq!(paths.tag_metadata("latest").unwrap().name(), "taglatest_json");
    }

    #[test]
    fn a_name_that_is_too_long_never_becomes_a_path() {
        let long = RepositoryName::from_path(&"x".repeat(256)).unwrap();
        assert!(RepositoryPaths::new(&long).index_images().is_err());
    }
}
