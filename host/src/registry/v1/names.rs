//! Image ids and repository names of the V1 API.

use std::fmt;

use percent_encoding::percent_decode_str;

use crate::layout::v1::form_encode;

/// The id of an image: 16 or 64 lower-case hexadecimal digits (0.9.1's rule).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageId(String);

impl ImageId {
    /// The id, if `text` is one.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (digits && matches!(text.len(), 16 | 64)).then(|| Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a repository: a namespace, and a name that may be any text.
///
/// Both are never empty. 0.9.1 form-encodes the name, not the namespace, as soon as it has split them,
/// and that form is what clients see in tokens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RepositoryName {
    namespace: String,
    encoded_name: String,
}

impl RepositoryName {
    /// The repository that a decoded path names: slashes at the end do not count, the namespace ends
    /// at the first slash, and it is `library` when there is none.
    ///
    /// `None` for a path that is empty or begins with a slash.
    pub fn from_path(path: &str) -> Option<Self> {
        let path = path.trim_end_matches('/');
        if path.is_empty() || path.starts_with('/') {
            return None;
        }
        let (namespace, name) = path.split_once('/').unwrap_or(("library", path));
        Some(Self { namespace: namespace.to_owned(), encoded_name: form_encode(name) })
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Namespace and name as the client wrote them.
    pub fn plain(&self) -> String {
        let name = self.encoded_name.replace('+', " ");
        format!("{}/{}", self.namespace, percent_decode_str(&name).decode_utf8_lossy())
    }

    /// The name, form-encoded once.
    pub fn encoded_name(&self) -> &str {
        &self.encoded_name
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.encoded_name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_ids_are_16_or_64_lower_case_digits() {
        assert!(ImageId::parse(&"a0".repeat(32)).is_some());
        assert!(ImageId::parse("0123456789abcdef").is_some());
        for wrong in
            ["", "zz", "0123456789abcde", "0123456789ABCDEF", "0123456789abcdef\n", "../0123456789abc"]
        {
            assert_eq!(ImageId::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn repositories_split_at_the_first_slash() {
        let name = |path: &str| RepositoryName::from_path(path).map(|name| name.to_string());
        assert_eq!(name("foo/bar/").as_deref(), Some("foo/bar"));
        assert_eq!(name("single//").as_deref(), Some("library/single"));
        assert_eq!(name("a/b/c").as_deref(), Some("a/b%2Fc"));
        assert_eq!(name("foo/..").as_deref(), Some("foo/.."));
        assert_eq!(name(""), None);
        assert_eq!(name("/x"), None);
    }
}
