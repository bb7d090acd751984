//! Distribution's `registry garbage-collect`, run on the data of a stopped server.

use std::{fs, process::Command};

use docker_registry_tests::{
    content::digest,
    http::Client,
    process::run,
    v2::{self, Presence, look_up_blob, push_blob, push_manifest},
};

use crate::running::{CONFIGURATION, Folder};

const DISTRIBUTION: &str = "/usr/bin/docker-registry";

/// Pushes an image of two blobs, one of them its own. Returns the digest of the manifest and of that blob.
fn push(client: &Client, repository: &str, reference: &str, own: &str) -> (String, String) {
    let blobs =
        ["shared", own].map(|text| (push_blob(client, repository, text.as_bytes()), text.len() as u64));
    let manifest = v2::manifest(&blobs);
    let found = digest(manifest.as_bytes());
    let reference = if reference.is_empty() { &found } else { reference };
    push_manifest(client, repository, reference, &manifest).expect(201);
    (found, blobs[1].0.clone())
}

#[test]
fn garbage_collect_of_distribution_takes_what_was_deleted_and_nothing_else() {
    let folder = Folder::with(CONFIGURATION);
    let server = folder.serve(&mut folder.program(&[]), "server.log");
    let client = server.client();
    push(&client, "app", "v1", "one");
    push(&client, "team/app", "v1", "two");
    let (untagged, _) = push(&client, "team/app", "", "three");
    let (deleted, gone) = push(&client, "app", "v2", "deleted");
    client.send("DELETE", &format!("/v2/app/manifests/{deleted}"), &[], b"").expect(202);
    let begun = v2::open_upload(&client, "app");
    client.send("PATCH", &begun, &[v2::OCTETS], b"half").expect(202);
    server.stop();

    let storage = folder.path("storage");
    let configuration = format!(
        "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n",
        storage.display()
    );
    fs::write(folder.path("distribution.yml"), configuration).expect("a file");
    let data = |digest: &str| {
        let hex = digest.trim_start_matches("sha256:");
        storage.join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]))
    };
    assert!(data(&gone).exists() && data(&deleted).exists());
    let mut collect = Command::new(DISTRIBUTION);
    collect.env_clear().arg("garbage-collect").arg(folder.path("distribution.yml"));
    run(&mut collect);
    assert!(!data(&gone).exists() && !data(&deleted).exists());

    let server = folder.serve(folder.program(&[]).env("LOGLEVEL", "debug"), "server.log");
    let client = server.client();
    for (repository, reference) in [("app", "v1"), ("team/app", "v1"), ("team/app", &untagged)] {
        assert_eq!(v2::verify(&client, repository, reference).len(), 3, "{repository}:{reference}");
    }
    assert_eq!(look_up_blob(&client, "app", &gone), Presence::Absent);
    // What was collected can be pushed again.
    push(&client, "app", "v2", "deleted");
    assert_eq!(v2::verify(&client, "app", "v2").len(), 3);
    server.stop();
}
