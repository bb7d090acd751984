//! Both protocols over real connections, on one server and one storage folder.

use std::fs;

use docker_registry_tests::{
    content::digest,
    server::{Launch, Place, Product, Server},
    v1::{self, Image},
    v2,
};

/// Three images, each on top of the one before.
fn ancestry() -> [Image; 3] {
    let base = Image::new(None, vec![1; 300_000]);
    let middle = Image::new(Some(&base), Vec::new());
    let top = Image::new(Some(&middle), b"the top layer".repeat(20_000));
    [base, middle, top]
}

fn ours() -> Option<Server> {
    (Product::under_test() == Product::Ours).then(Server::start)
}

#[test]
fn a_v1_push_of_three_images_is_pulled_back_also_after_a_restart() {
    let Some(server) = ours() else { return };
    let images = ancestry();
    let images: Vec<&Image> = images.iter().collect();
    v1::push(&server.client(), "team/application", "1.0", &images);
    v1::verify(&server.client(), "team/application", "1.0", &images);
    let server = server.kill_and_restart();
    v1::verify(&server.client(), "team/application", "1.0", &images);
}

#[test]
fn v1_and_v2_share_a_storage_and_a_v1_name_is_unknown_to_v2() {
    let Some(server) = ours() else { return };
    let client = server.client();
    let images = ancestry();
    v1::push(&client, "library/old", "latest", &images.iter().collect::<Vec<_>>());
    for (target, code) in [
        ("/v2/library/old/manifests/latest", "MANIFEST_UNKNOWN"),
        ("/v2/library/old/tags/list", "NAME_UNKNOWN"),
    ] {
        let answer = client.get(target).expect(404);
        assert!(answer.text().contains(code), "{target}: {}", answer.text());
    }
    let blob = v2::push_blob(&client, "library/new", b"content");
    let manifest = v2::manifest(&[(blob, 7)]);
    v2::push_manifest(&client, "library/new", "latest", &manifest).expect(201);
    v2::verify(&client, "library/new", "latest");
    let catalog = client.get("/v2/_catalog").expect(200).text();
    assert!(catalog.contains("library/new") && !catalog.contains("library/old"), "{catalog}");
}

/// What docker-registry 0.9.1 leaves on disk (v1 layout), odd names encoded twice.
#[test]
fn a_store_written_by_0_9_1_is_read_as_it_lies_there() {
    if Product::under_test() != Product::Ours {
        return;
    }
    let place = Place::new();
    let image = Image::new(None, b"an old layer".to_vec());
    let write = |path: String, content: &[u8]| {
        let path = place.storage().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, content).expect("a file");
    };
    let folder = format!("images/{}", image.id);
    write(format!("{folder}/json"), image.json.as_bytes());
    write(format!("{folder}/layer"), &image.layer);
    write(format!("{folder}/ancestry"), format!("[\"{}\"]", image.id).as_bytes());
    write(format!("{folder}/_checksum"), format!("[\"{}\"]", image.checksum()).as_bytes());
    let repositories =
        [("team/plain", "team/plain"), ("a/b/c", "a/b%252Fc"), ("a/sp%20ace%25", "a/sp%2Bace%2525")];
    for (_, stored) in repositories {
        write(format!("repositories/{stored}/tag_1.0"), image.id.as_bytes());
        write(
            format!("repositories/{stored}/_index_images"),
            format!("[{{\"id\": \"{}\"}}]", image.id).as_bytes(),
        );
    }
    let server = Server::launch(Launch::under_test(), place);
    for (name, _) in repositories {
        v1::verify(&server.client(), name, "1.0", &[&image]);
    }
    let json = server.client().get(&image.path("json")).expect(200);
    assert_eq!(json.header("x-docker-size"), Some("12"));
    assert_eq!(json.header("x-docker-checksum-payload"), Some(image.checksum().as_str()));
    assert!(server.process().log().contains("the storage holds V1 images and nothing of V2"));
}

#[test]
fn a_range_of_a_layer_comes_from_both_protocols() {
    let Some(server) = ours() else { return };
    let client = server.client();
    let content: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let blob = v2::push_blob(&client, "r", &content);
    assert_eq!(blob, digest(&content));
    let images = [Image::new(None, content.clone())];
    v1::push(&client, "library/r", "x", &images.iter().collect::<Vec<_>>());
    for target in [format!("/v2/r/blobs/{blob}"), images[0].path("layer")] {
        for (range, first, last) in [
            ("bytes=0-0", 0, 0),
            ("bytes=2097150-2097160", 2_097_150, 2_097_160),
            ("bytes=2999999-3000000", 2_999_999, 2_999_999),
        ] {
            let answer = client.send("GET", &target, &[("Range", range)], b"").expect(206);
            assert_eq!(answer.body, &content[first..=last], "{target} {range}");
            assert_eq!(
                answer.header("content-range"),
                Some(format!("bytes {first}-{last}/3000000").as_str())
            );
        }
    }
}
