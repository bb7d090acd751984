//! Pushes and deletions over both protocols, and what images say of themselves.

use docker_registry_tests::server::Place;
use serde_json::json;

use crate::support::{DESCRIPTION, Folder, expect_found, found, push_v1, push_v2, put_manifest, sql};

#[test]
fn a_deleted_v1_repository_is_not_found_any_more() {
    let folder = Folder::new();
    let server = folder.serve(Place::new());
    let client = server.client();
    push_v1(&client, "team/one");
    push_v1(&client, "two");
    client.send("DELETE", "/v1/repositories/team/one/tags/latest", &[], b"").expect(200);
    // The repository is there without its tag, as for 0.9.1.
    expect_found(&client, "", &[("library/two", None), ("team/one", None)]);
    client.send("DELETE", "/v1/repositories/team/one/", &[], b"").expect(200);
    expect_found(&client, "", &[("library/two", None)]);
    client.send("DELETE", "/v1/repositories/library/two/tags", &[], b"").expect(200);
    expect_found(&client, "", &[]);
}

#[test]
fn a_v2_repository_is_found_as_long_as_it_has_a_tag() {
    let folder = Folder::new();
    let server = folder.serve(Place::new());
    let client = server.client();
    let first = push_v2(&client, "team/app", "1", None, None);
    let second = push_v2(&client, "team/app", "2", None, None);
    assert_ne!(first, second);
    expect_found(&client, "", &[("team/app", None)]);
    client.send("DELETE", "/v2/team/app/manifests/1", &[], b"").expect(202);
    expect_found(&client, "", &[("team/app", None)]);
    client.send("DELETE", &format!("/v2/team/app/manifests/{second}"), &[], b"").expect(202);
    expect_found(&client, "", &[]);
    push_v2(&client, "team/app", "3", None, None);
    expect_found(&client, "", &[("team/app", None)]);
}

#[test]
fn a_name_in_both_protocols_is_found_once() {
    let folder = Folder::new();
    let server = folder.serve(Place::new());
    let client = server.client();
    push_v1(&client, "team/both");
    push_v2(&client, "team/both", "latest", None, None);
    push_v1(&client, "centos");
    expect_found(&client, "", &[("library/centos", None), ("team/both", None)]);
    // The short name of V2 is what today's clients can pull, and older ones mean both by it.
    let digest = push_v2(&client, "centos", "latest", None, None);
    expect_found(&client, "", &[("centos", None), ("team/both", None)]);
    client.send("DELETE", &format!("/v2/centos/manifests/{digest}"), &[], b"").expect(202);
    expect_found(&client, "", &[("library/centos", None), ("team/both", None)]);
    // But two V2 repositories are two.
    push_v2(&client, "centos", "latest", None, None);
    push_v2(&client, "library/centos", "latest", None, None);
    expect_found(&client, "?q=centos", &[("centos", None), ("library/centos", None)]);
    client.send("DELETE", "/v1/repositories/team/both/", &[], b"").expect(200);
    expect_found(&client, "?q=both", &[("team/both", None)]);
}

#[test]
fn the_image_that_was_pushed_last_describes_its_repository() {
    let folder = Folder::new();
    let server = folder.serve(Place::new());
    let client = server.client();
    push_v2(&client, "app", "1", None, Some("From a label"));
    expect_found(&client, "", &[("app", Some("From a label"))]);
    push_v2(&client, "app", "2", Some("From an annotation\nwith more lines"), Some("From a label"));
    expect_found(&client, "", &[("app", Some("From an annotation"))]);
    push_v2(&client, "app", "1", Some(&"é".repeat(300)), None);
    expect_found(&client, "", &[("app", Some("é".repeat(100).as_str()))]);
    expect_found(&client, "?q=%C3%89%C3%89", &[("app", Some("é".repeat(100).as_str()))]);
    push_v2(&client, "app", "1", None, None);
    expect_found(&client, "", &[("app", None)]);
}

#[test]
fn an_index_is_described_by_its_annotation_or_by_its_first_image() {
    let folder = Folder::new();
    let server = folder.serve(Place::new());
    let client = server.client();
    let image = push_v2(&client, "app", "image", None, Some("Of the image"));
    let size = client.get(&format!("/v2/app/manifests/{image}")).expect(200).body.len();
    let child = |os: &str| {
        json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": image, "size": size,
            "platform": {"os": os, "architecture": "amd64"},
        })
    };
    let mut index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [child("unknown"), child("linux")],
        "annotations": {DESCRIPTION: "Of the index"},
    });
    put_manifest(&client, "app", "list", &index);
    expect_found(&client, "", &[("app", Some("Of the index"))]);
    index["annotations"] = json!({});
    put_manifest(&client, "app", "list", &index);
    expect_found(&client, "", &[("app", Some("Of the image"))]);
}

#[test]
fn a_description_written_by_hand_stays_until_an_image_says_something_new() {
    let folder = Folder::new();
    let server = folder.serve(Place::new());
    let client = server.client();
    push_v1(&client, "team/old");
    push_v2(&client, "app", "1", Some("Of the image"), None);
    expect_found(&client, "", &[("app", Some("Of the image")), ("team/old", None)]);
    sql(&folder.database(), "UPDATE repository SET description = 'By hand'");
    push_v1(&client, "team/old");
    push_v2(&client, "app", "2", Some("Of the image"), None);
    // A push of something else shows that the two before it have been worked off.
    push_v1(&client, "team/other");
    let kept = [("app", Some("By hand")), ("team/old", Some("By hand")), ("team/other", None)];
    expect_found(&client, "", &kept);
    push_v2(&client, "app", "2", Some("Of a new image"), None);
    let changed = [("app", Some("Of a new image")), ("team/old", Some("By hand")), ("team/other", None)];
    expect_found(&client, "", &changed);
}

#[test]
fn what_cannot_be_read_describes_nothing() {
    let folder = Folder::new();
    let server = folder.serve(Place::new());
    let client = server.client();
    let large = "x".repeat(2 << 20);
    push_v2(&client, "large", "1", None, Some(&large));
    let odd = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [],
        "annotations": {DESCRIPTION: "  \n\n  "},
    });
    put_manifest(&client, "odd", "1", &odd);
    expect_found(&client, "", &[("large", None), ("odd", None)]);
    assert_eq!(found(&client, "?q=xxxx"), []);
}
