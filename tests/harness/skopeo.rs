//! skopeo, which copies images byte for byte and needs no daemon and no storage.

use std::path::Path;
use std::process::Command;

use crate::process::{run, try_run};

/// Copies an image or, with everything below it, a manifest list from an OCI layout to a registry, unchanged.
pub fn push(layout: &Path, tag: &str, reference: &str) {
    copy(&format!("oci:{}:{tag}", layout.display()), &format!("docker://{reference}"));
}

/// Copies an image or, with everything below it, a manifest list from a registry to an OCI layout, unchanged.
pub fn pull(reference: &str, layout: &Path, tag: &str) {
    copy(&format!("docker://{reference}"), &format!("oci:{}:{tag}", layout.display()));
}

/// Like [`push`], with `USER:PASSWORD`, or none. Returns what skopeo says when the registry refuses.
pub fn try_push(layout: &Path, tag: &str, reference: &str, password: Option<&str>) -> Result<(), String> {
    let mut skopeo = command(&format!("oci:{}:{tag}", layout.display()), &format!("docker://{reference}"));
    match password {
        Some(password) => skopeo.args(["--dest-creds", password]),
        None => skopeo.arg("--dest-no-creds"),
    };
    try_run(&mut skopeo)
}

/// Like [`pull`], with `USER:PASSWORD`, or none. Returns what skopeo says when the registry refuses.
pub fn try_pull(reference: &str, layout: &Path, tag: &str, password: Option<&str>) -> Result<(), String> {
    let mut skopeo = command(&format!("docker://{reference}"), &format!("oci:{}:{tag}", layout.display()));
    match password {
        Some(password) => skopeo.args(["--src-creds", password]),
        None => skopeo.arg("--src-no-creds"),
    };
    try_run(&mut skopeo)
}

fn copy(from: &str, to: &str) {
    run(&mut command(from, to));
}

fn command(from: &str, to: &str) -> Command {
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["--insecure-policy", "copy", "--quiet", "--all", "--preserve-digests"]);
    skopeo.args(["--src-tls-verify=false", "--dest-tls-verify=false", from, to]);
    skopeo
}
