//! What "push and pull, byte for byte" means for each client: one function per client and kind of image.
//!
//! Each of them pushes, looks at the registry with the plain client of the harness, pulls into an empty storage
//! and compares digests with those of the files that were made in the beginning.

use crate::docker::Docker;
use crate::images::{Blob, Image, Layout, Saved, foreign_architecture, native_architecture};
use crate::podman::{Engine, Program};
use crate::server::Server;
use crate::{skopeo, v2};
use tempfile::TempDir;

/// What the server may use with a driver that hands contents through, whatever the size of the images.
const MEMORY_LIMIT: u64 = 64 << 20;

/// Two images for two kinds of machine on one common layer, and the list of both.
pub struct Images {
    layout: Layout,
    native: Image,
    foreign: Image,
    list: Blob,
    memory: u64,
    _folder: TempDir,
}

impl Images {
    /// Makes them. The top layer of the image for this machine has `top` bytes of content.
    pub fn new(top: u64) -> Images {
        let folder =
            tempfile::Builder::new().prefix("docker-registry-test-").tempdir().expect("a temporary folder");
        let mut layout = Layout::create(&folder.path().join("layout"));
        let common = [layout.layer(1, 3 << 20), layout.layer(2, 0), layout.layer(3, 1 << 10)];
        let mut image = |tag: &str, architecture: &str, seed: u64, payload: u64| {
            let top = layout.layer(seed, payload);
            layout.image(tag, architecture, common.iter().cloned().chain([top]).collect())
        };
        let native = image("native", native_architecture(), 4, top);
        let foreign = image("foreign", foreign_architecture(), 5, 300 << 10);
        let list = layout.list("list", &[&native, &foreign]);
        Images { layout, native, foreign, list, memory: MEMORY_LIMIT, _folder: folder }
    }

    /// The same for a server that may use this many bytes of memory, as with a driver that collects parts.
    pub fn in_memory(self, memory: u64) -> Images {
        Images { memory, ..self }
    }

    /// What a client that stored the image for this machine must hold.
    fn native_contents(&self) -> Saved {
        Saved { configuration: self.native.configuration.digest.clone(), layers: self.native.layer_digests() }
    }
}

/// skopeo copies a single image to the registry and back.
pub fn skopeo_image(server: &Server, images: &Images) {
    let reference = format!("{}/skopeo/image:latest", server.registry());
    skopeo::push(images.layout.folder(), "native", &reference);

    let stored = v2::verify(&server.client(), "skopeo/image", "latest");
    assert_eq!(stored[0], images.native.manifest.digest);
    assert_eq!(stored[1], images.native.configuration.digest);
    assert_eq!(stored[2..], images.native.layer_digests());

    let pulled = tempfile::tempdir().expect("a temporary folder");
    skopeo::pull(&reference, pulled.path(), "pulled");
    for digest in &stored {
        images.layout.assert_same_blob(pulled.path(), digest);
    }
    server.assert_peak_memory(images.memory);
}

/// skopeo copies a manifest list with everything below it to the registry and back.
pub fn skopeo_list(server: &Server, images: &Images) {
    let reference = format!("{}/skopeo/list:latest", server.registry());
    skopeo::push(images.layout.folder(), "list", &reference);

    let stored = v2::verify(&server.client(), "skopeo/list", "latest");
    assert_eq!(stored[0], images.list.digest);
    for image in [&images.native, &images.foreign] {
        assert!(stored.contains(&image.manifest.digest), "the list names the image for each machine");
    }

    let pulled = tempfile::tempdir().expect("a temporary folder");
    skopeo::pull(&reference, pulled.path(), "pulled");
    for digest in &stored {
        images.layout.assert_same_blob(pulled.path(), digest);
    }
    server.assert_peak_memory(images.memory);
}

/// The Docker Engine pushes a loaded image, forgets it and pulls it.
pub fn docker_image(server: &Server, images: &Images) {
    let docker = Docker::start();
    let reference = format!("{}/docker/image:latest", server.registry());
    docker.load(&images.layout, &images.native, &reference);
    docker.push(&reference);

    // Docker compresses layers as it pushes them, so only the configuration keeps its digest in the registry.
    let stored = v2::verify(&server.client(), "docker/image", "latest");
    assert_eq!(stored[1], images.native.configuration.digest);
    assert_eq!(stored.len(), 2 + images.native.layers.len());

    docker.forget_images();
    docker.pull(&reference);
    assert_eq!(docker.repository_digest(&reference), stored[0]);
    assert_eq!(docker.contents(&reference), images.native_contents());
    server.assert_peak_memory(images.memory);
}

/// The Docker Engine pushes two images, its command line makes a list of them, and a pull of the list gives the
/// image for this machine.
pub fn docker_list(server: &Server, images: &Images) {
    let docker = Docker::start();
    let repository = format!("{}/docker/list", server.registry());
    let mut tagged = Vec::new();
    for image in [&images.native, &images.foreign] {
        let reference = format!("{repository}:{}", image.tag);
        docker.load(&images.layout, image, &reference);
        docker.push(&reference);
        tagged.push(reference);
    }
    let list = format!("{repository}:latest");
    docker.push_list(&tagged, &list);

    let client = server.client();
    let stored = v2::verify(&client, "docker/list", "latest");
    for image in [&images.native, &images.foreign] {
        let pushed = v2::verify(&client, "docker/list", &image.tag);
        assert!(
            pushed.iter().all(|digest| stored.contains(digest)),
            "the list holds the image {}",
            image.tag
        );
    }

    docker.forget_images();
    docker.pull(&list);
    assert_eq!(docker.repository_digest(&list), stored[0]);
    assert_eq!(docker.contents(&list), images.native_contents());
    server.assert_peak_memory(images.memory);
}

/// podman or buildah pushes an image, and another storage of the same program pulls it.
pub fn podman_image(program: Program, server: &Server, images: &Images) {
    let engine = Engine::new(program);
    let repository = format!("{}/image", program.name());
    let reference = format!("{}/{repository}:latest", server.registry());
    let id = engine.load(&images.layout, &images.native);
    assert_eq!(id, images.native.configuration.digest);
    engine.push(&id, &reference);
    drop(engine);

    let stored = v2::verify(&server.client(), &repository, "latest");
    assert_eq!(stored[1], images.native.configuration.digest);
    assert_eq!(stored.len(), 2 + images.native.layers.len());

    let other = Engine::new(program);
    let id = other.pull(&reference);
    assert_eq!(other.contents(&id), images.native_contents());
    server.assert_peak_memory(images.memory);
}

/// podman or buildah pushes two images and a list of them, and a pull of the list gives the image for this machine.
pub fn podman_list(program: Program, server: &Server, images: &Images) {
    let engine = Engine::new(program);
    let repository = format!("{}/list", program.name());
    let mut tagged = Vec::new();
    for image in [&images.native, &images.foreign] {
        let reference = format!("{}/{repository}:{}", server.registry(), image.tag);
        engine.push(&engine.load(&images.layout, image), &reference);
        tagged.push(reference);
    }
    let list = format!("{}/{repository}:latest", server.registry());
    engine.push_list(&tagged, &list);
    drop(engine);

    let client = server.client();
    let stored = v2::verify(&client, &repository, "latest");
    for image in [&images.native, &images.foreign] {
        let pushed = v2::verify(&client, &repository, &image.tag);
        assert!(
            pushed.iter().all(|digest| stored.contains(digest)),
            "the list holds the image {}",
            image.tag
        );
    }

    let other = Engine::new(program);
    let id = other.pull(&list);
    assert_eq!(other.contents(&id), images.native_contents());
    server.assert_peak_memory(images.memory);
}
