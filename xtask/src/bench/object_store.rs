//! Servers on an object store: this one with a flavor of the sample, the peer with its own S3 driver.

use std::path::PathBuf;

use docker_registry_tests::server::Chosen;
use docker_registry_tests::store_server::StoreServer;

use crate::workspace::Workspace;

/// Where this server stores in the bucket, as the sample has it.
pub(super) const OUR_ROOT: &str = "registry";
/// Where the peer does.
pub(super) const PEER_ROOT: &str = "peer";

/// A flavor of the sample, with the drivers of a build.
pub(super) fn flavor(workspace: &Workspace, name: &str, release: bool) -> Chosen {
    Chosen {
        configuration: workspace.file("config/config_sample.yml"),
        flavor: name.to_owned(),
        drivers: workspace.artifacts(release),
    }
}

/// What the peer is told of the S3 server, in its configuration's words.
pub(super) fn peer(store: &StoreServer) -> String {
    format!(
        "s3:\n    region: us-east-1\n    regionendpoint: {}\n    bucket: {}\n    accesskey: {}\n    secretkey: {}\n    \
         secure: false\n    v4auth: true\n    encrypt: false\n    rootdirectory: /{PEER_ROOT}",
        store.value("endpoint"),
        store.value("bucket"),
        store.value("access_key"),
        store.value("secret_key"),
    )
}

/// Where MinIO keeps what is stored below a root of the bucket: a folder for each object, by its name.
pub(super) fn folder(store: &StoreServer, root: &str) -> PathBuf {
    store.folder().join("work/data").join(store.value("bucket")).join(root)
}
