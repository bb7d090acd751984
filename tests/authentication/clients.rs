//! docker, podman and skopeo with passwords, and without where that is allowed.

use docker_registry_tests::docker::Docker;
use docker_registry_tests::images::{Image, Layout, native_architecture};
use docker_registry_tests::podman::{Engine, Program};
use docker_registry_tests::skopeo;
use tempfile::TempDir;

use crate::place::{Files, Registry, SECRET};

/// Rules under which everybody may pull what is below `public`, and users push there.
const PUBLIC: &str = "  access:
    - {user: '*', repository: '**', right: push}
    - {user: anonymous, repository: public/**, right: pull}
";

struct Images {
    layout: Layout,
    image: Image,
    _folder: TempDir,
}

fn images() -> Images {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut layout = Layout::create(&folder.path().join("layout"));
    let layers = vec![layout.layer(1, 1 << 20), layout.layer(2, 0)];
    let image = layout.image("image", native_architecture(), layers);
    Images { layout, image, _folder: folder }
}

fn credentials() -> String {
    format!("ann:{SECRET}")
}

fn push_and_pull_with_docker(registry: &Registry) -> (Docker, String) {
    let (images, docker) = (images(), Docker::start());
    let host = registry.server.registry();
    let reference = format!("{host}/public/app:latest");
    docker.load(&images.layout, &images.image, &reference);
    docker.try_push(&reference).expect_err("a push without a password");
    docker.log_in(&host, "ann", "wrong").expect_err("a wrong password");
    docker.log_in(&host, "ann", SECRET).expect("the right password");
    docker.push(&reference);
    docker.forget_images();
    docker.pull(&reference);
    docker.forget_images();
    docker.log_out(&host);
    (docker, reference)
}

#[test]
fn docker_logs_in_pushes_and_pulls() {
    let registry = Files::new("").start();
    let (docker, reference) = push_and_pull_with_docker(&registry);
    docker.try_pull(&reference).expect_err("a pull without a password");
}

#[test]
fn docker_pulls_what_is_public_without_a_password_and_pushes_with_one() {
    let registry = Files::new(PUBLIC).start();
    let (docker, reference) = push_and_pull_with_docker(&registry);
    docker.pull(&reference);
    let secret = reference.replace("public", "private");
    docker.try_pull(&secret).expect_err("a pull of what is not public");
}

#[test]
fn docker_shows_that_a_push_is_denied() {
    let registry = Files::new("  access: [{user: ann, repository: public/**, right: pull}]\n").start();
    let (images, docker) = (images(), Docker::start());
    let host = registry.server.registry();
    let reference = format!("{host}/public/app:latest");
    docker.load(&images.layout, &images.image, &reference);
    docker.log_in(&host, "ann", SECRET).expect("the right password");
    let message = docker.try_push(&reference).expect_err("a push without the right");
    assert!(message.contains("denied"), "{message}");
}

#[test]
fn skopeo_copies_with_a_password() {
    let registry = Files::new("").start();
    let (images, pulled) = (images(), tempfile::tempdir().expect("a folder"));
    let reference = format!("{}/team/app:latest", registry.server.registry());
    let push =
        |password: Option<&str>| skopeo::try_push(images.layout.folder(), "image", &reference, password);
    push(None).expect_err("a push without a password");
    push(Some("ann:wrong")).expect_err("a push with a wrong password");
    push(Some(&credentials())).expect("a push with the password");
    skopeo::try_pull(&reference, pulled.path(), "image", None).expect_err("a pull without a password");
    skopeo::try_pull(&reference, pulled.path(), "image", Some(&credentials()))
        .expect("a pull with the password");
}

#[test]
fn skopeo_pulls_what_is_public_without_a_password_and_pushes_with_one() {
    let registry = Files::new(PUBLIC).start();
    let (images, pulled) = (images(), tempfile::tempdir().expect("a folder"));
    let reference = format!("{}/public/app:latest", registry.server.registry());
    let push =
        |password: Option<&str>| skopeo::try_push(images.layout.folder(), "image", &reference, password);
    push(None).expect_err("a push without a password");
    push(Some(&credentials())).expect("a push with the password");
    skopeo::try_pull(&reference, pulled.path(), "image", None).expect("a pull without a password");
}

#[test]
fn podman_logs_in_pushes_and_pulls() {
    for (keys, is_public) in [("", false), (PUBLIC, true)] {
        let registry = Files::new(keys).start();
        let (images, engine) = (images(), Engine::new(Program::Podman));
        let host = registry.server.registry();
        let reference = format!("{host}/public/app:latest");
        let id = engine.load(&images.layout, &images.image);
        engine.try_push(&id, &reference).expect_err("a push without a password");
        engine.log_in(&host, "ann", "wrong").expect_err("a wrong password");
        engine.log_in(&host, "ann", SECRET).expect("the right password");
        engine.try_push(&id, &reference).expect("a push with the password");
        assert_eq!(engine.pull(&reference), id);
        if is_public {
            let stranger = Engine::new(Program::Podman);
            assert_eq!(stranger.pull(&reference), id);
        }
    }
}
