//! The push of the V1 protocol, which takes four requests an image: killed after each of them and within the layer.

use docker_registry_tests::content::Content;
use docker_registry_tests::http::Client;
use docker_registry_tests::server::{Product, Server};
use docker_registry_tests::v1::{self, Image};

use super::crash_v2::break_off;

const REPOSITORY: &str = "crash/v1";

/// What the client had done when the server was killed.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Reached {
    Announced,
    Description,
    HalfLayer,
    Layer,
    Checksum,
    Tag,
}

#[test]
fn killed_after_every_step_of_a_v1_push() {
    if Product::under_test() == Product::Distribution {
        println!("distribution does not speak V1");
        return;
    }
    let mut server = Server::start();
    let base = Image::new(None, Content::bytes(1, 100_000));
    v1::push(&server.client(), REPOSITORY, "base", &[&base]);

    let steps = [
        Reached::Announced,
        Reached::Description,
        Reached::HalfLayer,
        Reached::Layer,
        Reached::Checksum,
        Reached::Tag,
    ];
    for (seed, reached) in (2..).zip(steps) {
        let image = Image::new(Some(&base), Content::bytes(seed, 4 << 20));
        let tag = format!("{reached:?}").to_lowercase();
        push_until(&server, &image, &tag, reached);
        server = server.kill_and_restart();

        let client = server.client();
        v1::verify(&client, REPOSITORY, "base", &[&base]);
        if reached >= Reached::Checksum {
            v1::verify_image(&client, &image);
        } else {
            assert_invisible(&client, &image, reached);
        }
        let tagged = client.get(&format!("/v1/repositories/{REPOSITORY}/tags/{tag}")).status;
        assert_eq!(tagged, if reached == Reached::Tag { 200 } else { 404 }, "the tag after {reached:?}");

        v1::push(&client, REPOSITORY, &tag, &[&base, &image]);
        v1::verify(&client, REPOSITORY, &tag, &[&base, &image]);
    }
}

#[test]
fn a_v1_tag_is_the_old_or_the_new_image_after_a_kill() {
    if Product::under_test() == Product::Distribution {
        println!("distribution does not speak V1");
        return;
    }
    let mut server = Server::start();
    let images = [1, 2].map(|seed| Image::new(None, Content::bytes(seed, 1000)));
    v1::push(&server.client(), REPOSITORY, "first", &[&images[0]]);
    v1::push(&server.client(), REPOSITORY, "moving", &[&images[1]]);
    for round in 0..6 {
        let client = server.client();
        let (before, after) = (&images[(round + 1) % 2], &images[round % 2]);
        // The request is sent, its answer is not awaited.
        let mut connection = client.connect().expect("a connection");
        let body = format!("\"{}\"", after.id);
        let target = format!("/v1/repositories/{REPOSITORY}/tags/moving");
        let length = docker_registry_tests::http::Length::Known(body.len() as u64);
        connection
            .begin("PUT", &target, &[("Content-Type", "application/json")], length)
            .and_then(|()| connection.write(body.as_bytes()))
            .expect("the request is sent");
        server = server.kill_and_restart();

        let found = server.client().get(&target).expect(200).text();
        assert!([&before.id, &after.id].iter().any(|id| found == format!("\"{id}\"")), "the tag is {found}");
        v1::put_tag(&server.client(), REPOSITORY, "moving", after).expect(200);
    }
}

/// Takes the steps of a push up to one of them.
fn push_until(server: &Server, image: &Image, tag: &str, last: Reached) {
    let client = server.client();
    v1::announce(&client, REPOSITORY, &[image]);
    if last >= Reached::Description {
        v1::put_json(&client, image).expect(200);
    }
    if last == Reached::HalfLayer {
        let half = &image.layer[..image.layer.len() / 2];
        let mut request = v1::begin_layer(&client, image).expect("a connection");
        break_off(server, half.chunks(64 * 1024).try_for_each(|piece| request.write_chunk(piece)));
    }
    if last >= Reached::Layer {
        v1::put_layer(&client, image).expect(200);
    }
    if last >= Reached::Checksum {
        v1::put_checksum(&client, image).expect(200);
    }
    if last >= Reached::Tag {
        v1::put_tag(&client, REPOSITORY, tag, image).expect(200);
    }
}

/// An image without its confirmed checksum is in progress, and no part of it may be handed out.
fn assert_invisible(client: &Client, image: &Image, reached: Reached) {
    for part in ["json", "layer", "ancestry"] {
        let status = client.get(&image.path(part)).status;
        assert!(matches!(status, 400 | 404), "{part} after {reached:?}: {status}");
    }
}
