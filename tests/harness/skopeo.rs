//! skopeo, which copies images byte for byte and needs no daemon and no storage.

use std::path::Path;
use std::process::Command;

use crate::process::run;

/// Copies an image or, with everything below it, a manifest list from an OCI layout to a registry, unchanged.
pub fn push(layout: &Path, tag: &str, reference: &str) {
    copy(&format!("oci:{}:{tag}", layout.display()), &format!("docker://{reference}"));
}

/// Copies an image or, with everything below it, a manifest list from a registry to an OCI layout, unchanged.
pub fn pull(reference: &str, layout: &Path, tag: &str) {
    copy(&format!("docker://{reference}"), &format!("oci:{}:{tag}", layout.display()));
}

fn copy(from: &str, to: &str) {
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["--insecure-policy", "copy", "--quiet", "--all", "--preserve-digests"]);
    skopeo.args(["--src-tls-verify=false", "--dest-tls-verify=false", from, to]);
    run(&mut skopeo);
}
