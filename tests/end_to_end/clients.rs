//! Each packaged client pushes and pulls an image of several layers and a manifest list, byte for byte, while the
//! server stays small. One image has a layer of more than 1 GiB.

use docker_registry_tests::podman::Program;
use docker_registry_tests::round_trips::{self, Images};
use docker_registry_tests::server::Server;

/// Content of the top layer where size does not matter.
const SMALL: u64 = 8 << 20;

#[test]
fn skopeo_copies_an_image_unchanged() {
    round_trips::skopeo_image(&Server::start(), &Images::new(SMALL));
}

#[test]
fn skopeo_copies_a_manifest_list_unchanged() {
    round_trips::skopeo_list(&Server::start(), &Images::new(SMALL));
}

#[test]
fn skopeo_copies_a_layer_of_a_gibibyte_unchanged() {
    round_trips::skopeo_image(&Server::start(), &Images::new(1 << 30));
}

#[test]
fn docker_pushes_and_pulls_an_image_unchanged() {
    round_trips::docker_image(&Server::start(), &Images::new(SMALL));
}

#[test]
fn docker_pushes_and_pulls_a_manifest_list() {
    round_trips::docker_list(&Server::start(), &Images::new(SMALL));
}

#[test]
fn podman_pushes_and_pulls_an_image_unchanged() {
    round_trips::podman_image(Program::Podman, &Server::start(), &Images::new(SMALL));
}

#[test]
fn podman_pushes_and_pulls_a_manifest_list() {
    round_trips::podman_list(Program::Podman, &Server::start(), &Images::new(SMALL));
}

#[test]
fn buildah_pushes_and_pulls_an_image_unchanged() {
    round_trips::podman_image(Program::Buildah, &Server::start(), &Images::new(SMALL));
}

#[test]
fn buildah_pushes_and_pulls_a_manifest_list() {
    round_trips::podman_list(Program::Buildah, &Server::start(), &Images::new(SMALL));
}
