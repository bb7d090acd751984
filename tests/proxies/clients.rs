//! What goes through every proxy: the Docker Engine, skopeo with a large layer, and the requests of docker 1.x.

use std::process::Command;

use docker_registry_tests::{
    content::Content,
    docker::Docker,
    images::{Image, Layout, Saved, native_architecture},
    process::run,
    v1, v2,
};
use tempfile::TempDir;

use crate::front::{Front, PASSWORD, USER};

/// Far more than any proxy's default limit for a body, and than its buffers.
pub(crate) const LARGE: u64 = 200 << 20;
/// More than nginx's default limit of 1 MiB.
const SMALL: u64 = 3 << 20;
/// What the registry may use, whatever the size of the layers.
const MEMORY_LIMIT: u64 = 64 << 20;

/// An image of three layers, the last one with `top` bytes of content.
fn image(top: u64) -> (TempDir, Layout, Image) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut layout = Layout::create(&folder.path().join("layout"));
    let layers = vec![layout.layer(1, 1 << 10), layout.layer(2, 0), layout.layer(3, top)];
    let image = layout.image("image", native_architecture(), layers);
    (folder, layout, image)
}

/// The Docker Engine pushes an image, forgets it and pulls it.
pub(crate) fn docker(front: &Front) {
    docker_with(front, SMALL);
}

/// The same, with a top layer of so many bytes.
pub(crate) fn docker_with(front: &Front, top: u64) {
    let (_folder, layout, image) = image(top);
    let docker = Docker::start();
    let reference = format!("{}/through/docker:latest", front.registry());
    docker.load(&layout, &image, &reference);
    if front.asks_for_password() {
        docker.log_in(&front.registry(), USER, PASSWORD).expect("the right password");
    }
    docker.push(&reference);
    let stored = v2::verify(&front.server().client(), "through/docker", "latest");
    assert_eq!(stored[1], image.configuration.digest);

    docker.forget_images();
    docker.pull(&reference);
    let expected = Saved { configuration: image.configuration.digest.clone(), layers: image.layer_digests() };
    assert_eq!(docker.contents(&reference), expected);
    front.server().assert_peak_memory(MEMORY_LIMIT);
}

/// skopeo copies an image with a layer of 200 MiB there and back. Over TLS it trusts what `cert new` says to trust.
pub(crate) fn skopeo(front: &Front) {
    let (_folder, layout, image) = image(LARGE);
    let reference = format!("docker://{}/through/skopeo:latest", front.registry());
    let copy = |from: &str, to: &str, side: &str| {
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "copy", "--quiet", "--preserve-digests"]);
        match front.certificates() {
            Some(certificates) => {
                command.arg(format!("--{side}-cert-dir={}", certificates.trusted().display()));
                command.arg(format!("--{side}-tls-verify=true"))
            }
            None => command.arg(format!("--{side}-tls-verify=false")),
        };
        if front.asks_for_password() {
            command.arg(format!("--{side}-creds={USER}:{PASSWORD}"));
        }
        run(command.args([from, to]));
    };
    copy(&format!("oci:{}:image", layout.folder().display()), &reference, "dest");
    let stored = v2::verify(&front.server().client(), "through/skopeo", "latest");
    assert_eq!(stored[0], image.manifest.digest);
    assert_eq!(stored[2..], image.layer_digests());

    let pulled = tempfile::tempdir().expect("a temporary folder");
    copy(&reference, &format!("oci:{}:image", pulled.path().display()), "src");
    for digest in &stored {
        layout.assert_same_blob(pulled.path(), digest);
    }
    front.server().assert_peak_memory(MEMORY_LIMIT);
}

/// docker 1.x pushes and pulls three images, layers in chunks. What went through the proxy is what is stored.
pub(crate) fn docker_1(front: &Front) {
    let base = v1::Image::new(None, Content::bytes(11, 1000));
    let middle = v1::Image::new(Some(&base), Content::bytes(12, SMALL));
    let top = v1::Image::new(Some(&middle), Content::bytes(13, 70_000));
    let images = [&base, &middle, &top];
    v1::push(&front.client(), "through/docker1", "latest", &images);
    v1::verify(&front.client(), "through/docker1", "latest", &images);
    v1::verify(&front.server().client(), "through/docker1", "latest", &images);
}

/// Locations carry neither scheme nor host, so a client that follows them stays with the proxy.
pub(crate) fn relative_locations(front: &Front) {
    let opened = front.client().send("POST", "/v2/through/upload/blobs/uploads/", &[], b"").expect(202);
    let location = opened.header("location").expect("an upload has a Location").to_owned();
    assert!(location.starts_with("/v2/through/upload/blobs/uploads/"), "{location}");
    let digest = v2::push_blob(&front.client(), "through/upload", b"content");
    let target = format!("/v2/through/upload/blobs/{digest}");
    assert_eq!(front.client().get(&target).expect(200).text(), "content");
}

/// What `X-Docker-Endpoints` tells a V1 client that pushes through the proxy.
pub(crate) fn endpoints(front: &Front) -> String {
    endpoints_with(front, &[])
}

/// The same, to a client that sends these headers as well.
pub(crate) fn endpoints_with(front: &Front, headers: &[&str]) -> String {
    let mut curl = front.curl("/v1/repositories/through/endpoints/");
    curl.args(["--request", "PUT", "--data", "[]", "--header", "Content-Type: application/json"]);
    curl.args(["--header", "X-Docker-Token: true", "--dump-header", "-", "--output", "/dev/null"]);
    for header in headers {
        curl.args(["--header", header]);
    }
    let head = run(&mut curl);
    assert!(head.lines().next().is_some_and(|status| status.contains(" 200")), "{head}");
    let named = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("x-docker-endpoints").then(|| value.trim().to_owned())
    });
    named.unwrap_or_else(|| panic!("no X-Docker-Endpoints in\n{head}"))
}
