//! Driver `glance` on OpenStack Glance behind Keystone, with a folder and with Swift as the other driver.

use std::path::Path;

use docker_registry_tests::content::{Content, digest};
use docker_registry_tests::fault_proxy::{Fault, FaultProxy};
use docker_registry_tests::flavor_variables::{at, glance, swift_keystone};
use docker_registry_tests::http::{Client, Response};
use docker_registry_tests::store_server::StoreServer;
use docker_registry_tests::v1::{self, Image};
use docker_registry_tests::v2;
use serde_json::{Value, json};

use crate::running::{Subject, changed, refused_with, serve, stores_an_image};

/// Nobody listens here: ports below 1024 are never given out for port 0.
const NOBODY: &str = "http://127.0.0.1:9";
const LARGE: usize = 20 << 20;

/// The driver with this one for everything but images.
pub(crate) fn with_alternate(server: &StoreServer, alternate: &str, store: &str, path: &Path) -> Subject {
    let settings = [
        ("storage_alternate", alternate),
        ("glance_store", store),
        ("glance_authurl", server.value("auth_url")),
        ("glance_user", server.value("user")),
        ("glance_user_domain_name", server.value("user_domain")),
        ("glance_password", server.value("password")),
        ("glance_tenant_name", server.value("project")),
        ("glance_project_domain_name", server.value("project_domain")),
        ("glance_region_name", server.value("region")),
        ("storage_path", path.to_str().expect("a path in UTF-8")),
    ];
    Subject::new(
        "glance",
        &settings,
        &[("glance_url", NOBODY), ("most_attempts", "2"), ("connect_timeout", "1")],
    )
}

/// The same with Swift.
fn with_swift(server: &StoreServer, store: &str) -> Subject {
    with_alternate(server, "swift", store, Path::new(&format!("/{store}")))
        .with("swift_authurl", server.value("auth_url"))
        .with("swift_user", server.value("user"))
        .with("swift_user_domain_name", server.value("user_domain"))
        .with("swift_password", server.value("password"))
        .with("swift_tenant_name", server.value("project"))
        .with("swift_project_domain_name", server.value("project_domain"))
        .with("swift_region_name", server.value("region"))
        .with("swift_container", server.value("container"))
}

/// Glance as its owner or another user sees it.
struct Owner {
    client: Client,
    token: String,
}

impl Owner {
    fn new(server: &StoreServer, user: &str, password: &str) -> Owner {
        let domain = |key: &str| json!({"name": server.value(key)});
        let auth = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": server.value(user), "domain": domain("user_domain"), "password": server.value(password),
            }}},
            "scope": {"project": {"name": server.value("project"), "domain": domain("project_domain")}},
        }});
        let keystone = Client::new(server.address_of("auth_url"));
        let path = server.value("auth_url").splitn(4, '/').nth(3).unwrap_or_default().to_owned();
        let target = format!("/{path}/auth/tokens");
        let headers = [("Content-Type", "application/json")];
        let answer = keystone.send("POST", &target, &headers, auth.to_string().as_bytes()).expect(201);
        let token = answer.header("x-subject-token").expect("a token").to_owned();
        Owner { client: Client::new(server.address_of("glance_url")), token }
    }

    fn ask(&self, method: &str, target: &str) -> Response {
        self.client.send(method, target, &[("X-Auth-Token", self.token.as_str())], b"")
    }

    fn send(&self, method: &str, target: &str, kind: &str, content: &[u8]) -> Response {
        let headers = [("X-Auth-Token", self.token.as_str()), ("Content-Type", kind)];
        self.client.send(method, target, &headers, content)
    }

    /// Makes one image of all files of a docker image, with the properties that docker-registry 0.x gave it, and deletes
    /// what the driver wrote.
    fn make_old(&self, store: &str, docker_id: &str) {
        let mut old = json!({"name": docker_id, "disk_format": "raw", "container_format": "docker"});
        let mut layer = Vec::new();
        for image in self.images(store, &format!("&docker_id={docker_id}")) {
            let own = format!("/v2/images/{}", image["id"].as_str().expect("an id"));
            let content = self.ask("GET", &format!("{own}/file")).expect(200);
            match image["docker_path"].as_str().and_then(|path| path.rsplit('/').next()).expect("a file") {
                "layer" => layer = content.body,
                file => old[format!("meta_{file}")] = content.text().into(),
            }
            self.ask("DELETE", &own).expect(204);
        }
        assert!(old["meta_json"].is_string() && old["meta_ancestry"].is_string(), "{old}");
        let made =
            self.send("POST", "/v2/images", "application/json", old.to_string().as_bytes()).expect(201);
        let made: Value = serde_json::from_slice(&made.body).expect("JSON");
        let file = format!("/v2/images/{}/file", made["id"].as_str().expect("an id"));
        self.send("PUT", &file, "application/octet-stream", &layer).expect(204);
    }

    /// The images of a registry, with more that they have in common.
    fn images(&self, store: &str, more: &str) -> Vec<Value> {
        let (mut images, mut next) =
            (Vec::new(), Some(format!("/v2/images?docker_registry={store}&limit=100{more}")));
        while let Some(target) = next {
            let page: Value =
                serde_json::from_str(&self.ask("GET", &target).expect(200).text()).expect("JSON");
            images.extend(page["images"].as_array().expect("a list").iter().cloned());
            next = page["next"].as_str().map(str::to_owned);
        }
        images
    }
}

fn owner(server: &StoreServer) -> Owner {
    Owner::new(server, "user", "password")
}

#[cfg(feature = "long")]
#[test]
fn the_driver_conforms_with_a_folder_as_the_other_driver() {
    let server = StoreServer::start("glance");
    let folder = tempfile::tempdir().expect("a folder");
    let (passed, _) = with_alternate(&server, "file", "conforms", folder.path()).conforms();
    assert!(passed > 100, "{passed} cases passed");
    assert_eq!(owner(&server).images("conforms", "").len(), 0, "no image is left");
}

#[cfg(feature = "long")]
#[test]
fn the_driver_conforms_with_swift_as_the_other_driver() {
    let server = StoreServer::start("glance");
    let (passed, _) = with_swift(&server, "swift").conforms();
    assert!(passed > 100, "{passed} cases passed");
    assert_eq!(owner(&server).images("swift", "").len(), 0, "no image is left");
}

/// The cases that are about both sides at once, and one that moves contents.
#[cfg(feature = "long")]
#[test]
fn listings_and_uploads_are_right_with_swift_as_the_other_driver() {
    let server = StoreServer::start("glance");
    let some = |name: &str| {
        ["listing/", "pending_uploads/", "deleting/"].iter().any(|group| name.starts_with(group))
    };
    let (passed, _) = with_swift(&server, "swift").conforms_in(some);
    assert!(passed > 20, "{passed} cases passed");
}

#[test]
fn flavor_glance_keeps_contents_in_private_images_and_the_rest_in_a_folder() {
    let server = StoreServer::start("glance");
    let registry = serve("glance", &glance(&server));
    stores_an_image(&registry, LARGE);
    let lower = Image::new(None, Content::bytes(21, 100_000));
    let upper = Image::new(Some(&lower), Content::bytes(22, LARGE as u64));
    let client = registry.client();
    v1::push(&client, "old/image", "latest", &[&lower, &upper]);
    v1::verify(&client, "old/image", "latest", &[&lower, &upper]);
    let tags: Value = serde_json::from_str(&client.get("/v1/repositories/old/image/tags").expect(200).text())
        .expect("JSON");
    assert_eq!(tags.as_object().expect("tags").keys().collect::<Vec<_>>(), ["latest"]);

    let owner = owner(&server);
    let images = owner.images("registry", "");
    assert!(images.len() >= 8, "{} images", images.len());
    for image in &images {
        assert_eq!(image["visibility"], "private", "{image}");
        assert_eq!(image["status"], "active", "{image}");
        assert_eq!(image["docker_state"], "complete", "{image}");
    }
    let of_upper = owner.images("registry", &format!("&docker_id={}", upper.id));
    let mut files: Vec<&str> =
        of_upper.iter().filter_map(|image| image["docker_path"].as_str()?.rsplit('/').next()).collect();
    files.sort_unstable();
    assert_eq!(files, ["_checksum", "ancestry", "json", "layer"]);

    client.send("DELETE", "/v1/repositories/old/image/tags/latest", &[], b"").expect(200);
    client.send("DELETE", "/v1/repositories/old/image/", &[], b"").expect(200);
    client.get("/v1/repositories/old/image/tags").expect(404);
}

#[test]
fn flavor_glance_swift_needs_no_folder_and_another_server_goes_on() {
    let server = StoreServer::start("glance");
    let variables = swift_keystone(&server);
    let first = serve("glance-swift", &variables);
    stores_an_image(&first, LARGE);
    let lower = Image::new(None, Content::bytes(31, 50_000));
    v1::push(&first.client(), "old/image", "latest", &[&lower]);

    // Half of an upload, and then another server.
    let content = Content::bytes(33, LARGE as u64);
    let half = content.len() / 2;
    let location = v2::open_upload(&first.client(), "two/servers");
    let range = format!("0-{}", half - 1);
    let patch = [v2::OCTETS, ("Content-Range", range.as_str())];
    let location = first.client().send("PATCH", &location, &patch, &content[..half]).expect(202).location();
    drop(first);
    let second = serve("openstack-swift", &variables);
    let client = second.client();
    v1::verify(&client, "old/image", "latest", &[&lower]);
    assert!(v2::verify(&client, "stores/image", "latest").len() >= 3);
    let (received, location) = v2::received(&client, &location).expect("the upload is known");
    assert_eq!(received, half as u64);
    let range = format!("{half}-{}", content.len() - 1);
    let patch = [v2::OCTETS, ("Content-Range", range.as_str())];
    let location = client.send("PATCH", &location, &patch, &content[half..]).expect(202).location();
    let digest = digest(&content);
    client.send("PUT", &v2::completion(&location, &digest), &[], b"").expect(201);
    let stored = client.get(&format!("/v2/two/servers/blobs/{digest}")).expect(200);
    assert!(stored.body == content, "the blob is what was sent");
    assert_eq!(
        owner(&server).images("registry", "&docker_state=writing").len(),
        0,
        "nothing is half-written"
    );
}

#[test]
fn images_that_docker_registry_0_wrote_are_pulled_and_built_upon() {
    let server = StoreServer::start("glance");
    let folder = tempfile::tempdir().expect("a folder");
    let variables = changed(&glance(&server), &[("STORAGE_PATH", folder.path().to_str().expect("UTF-8"))]);
    let first = serve("glance", &variables);
    let lower = Image::new(None, Content::bytes(41, 100_000));
    let upper = Image::new(Some(&lower), Content::bytes(42, 3 << 20));
    v1::push(&first.client(), "old/image", "latest", &[&lower, &upper]);
    drop(first);
    let owner = owner(&server);
    owner.make_old("registry", &lower.id);
    owner.make_old("registry", &upper.id);
    assert_eq!(owner.images("registry", "").len(), 0, "nothing is as the driver writes it");

    let client = serve("glance", &variables);
    let client = client.client();
    v1::verify(&client, "old/image", "latest", &[&lower, &upper]);
    let part = client.send("GET", &upper.path("layer"), &[("Range", "bytes=1000-1999")], b"").expect(206);
    assert!(part.body == upper.layer[1000..2000], "a part of an old layer");
    let top = Image::new(Some(&upper), Content::bytes(43, 50_000));
    v1::push(&client, "old/image", "next", &[&lower, &upper, &top]);
    v1::verify(&client, "old/image", "next", &[&lower, &upper, &top]);
    assert_eq!(
        owner.images("registry", &format!("&docker_id={}", upper.id)).len(),
        0,
        "it was not pushed again"
    );
}

#[test]
fn metadata_of_64_kib_is_kept_whole() {
    let server = StoreServer::start("glance");
    let registry = serve("openstack", &glance(&server));
    let client = registry.client();
    let id = "6b".repeat(32);
    for size in [64 << 10, 300 << 10] {
        // Beyond what one property holds, and beyond what all of them hold; with letters of several bytes.
        let text = "ß".repeat(size / 2);
        let json = format!("{{\"id\": \"{id}\", \"comment\": \"{text}\"}}");
        let target = format!("/v1/images/{id}/json");
        client.send("PUT", &target, &[("Content-Type", "application/json")], json.as_bytes()).expect(200);
        client.send("PUT", &format!("/v1/images/{id}/layer"), &[], b"a layer").expect(200);
        let images = owner(&server).images("registry", &format!("&docker_id={id}"));
        let stored = images
            .iter()
            .find(|image| image["docker_path"].as_str().is_some_and(|path| path.ends_with("/json")))
            .expect("the metadata is there");
        let properties: Vec<&str> = ["meta_json", "meta_json_2", "meta_json_3"]
            .into_iter()
            .filter_map(|name| stored[name].as_str())
            .collect();
        assert!(properties.iter().all(|text| text.len() <= 60_000));
        assert_eq!(properties.is_empty(), size > 64 << 10);
        let content =
            owner(&server).ask("GET", &format!("/v2/images/{}/file", stored["id"].as_str().expect("an id")));
        assert_eq!(content.expect(200).text(), json);
    }
}

#[test]
fn refusals_of_glance_lose_nothing_and_are_told() {
    let server = StoreServer::start("glance");
    let proxy = FaultProxy::start(server.address_of("glance_url"));
    let address = at(proxy.address(), server.value("glance_url"));
    let registry = serve("glance", &changed(&glance(&server), &[("OS_GLANCE_URL", &address)]));
    let client = registry.client();
    let content = Content::bytes(9, LARGE as u64);
    let blob = digest(&content);
    for status in [413, 507] {
        let name = format!("refused/with-{status}");
        let location = v2::open_upload(&client, &name);
        let location = client.send("PATCH", &location, &[v2::OCTETS], &content).expect(202).location();
        proxy.make_trouble(&[(Fault::Status(status), 100)]);
        let answer = client.send("PUT", &v2::completion(&location, &blob), &[], b"");
        assert!(answer.status >= 400, "{status} was taken for success");
        assert_ne!(answer.status, 500, "{}", answer.text());
        proxy.make_trouble(&[]);
        // The upload is still there.
        client.send("PUT", &v2::completion(&location, &blob), &[], b"").expect(201);
        assert!(client.get(&format!("/v2/{name}/blobs/{blob}")).expect(200).body == content);
        client.send("DELETE", &format!("/v2/{name}/blobs/{blob}"), &[], b"").expect(202);
    }
    // Tokens that are not accepted, connections that break and answers that do not come.
    let trouble =
        [(Fault::Status(401), 10), (Fault::RequestCut, 10), (Fault::AnswerLost, 10), (Fault::AnswerCut, 10)];
    let other = Content::bytes(10, LARGE as u64);
    let digest = digest(&other);
    let location = v2::open_upload(&client, "refused/sometimes");
    let location = client.send("PATCH", &location, &[v2::OCTETS], &other).expect(202).location();
    proxy.make_trouble(&trouble);
    client.send("PUT", &v2::completion(&location, &digest), &[], b"").expect(201);
    let target = format!("/v2/refused/sometimes/blobs/{digest}");
    proxy.make_trouble(&[(Fault::Status(401), 30)]);
    assert!(client.get(&target).expect(200).body == other);
    let met = proxy.take_seen().iter().filter(|seen| seen.fault.is_some()).count();
    assert!(met > 2, "{met} requests met trouble");
}

#[test]
fn what_is_wrong_stops_the_start_with_a_sentence_that_names_the_key() {
    let server = StoreServer::start("glance");
    let variables = glance(&server);
    let said = |changes: &[(&str, &str)], words: &[&str]| {
        let secrets = [server.value("password"), server.value("password_without_rights")];
        refused_with("glance", &changed(&variables, changes), words, &secrets);
    };
    said(&[("OS_PASSWORD", "wrong")], &["does not accept the credentials", "glance_password"]);
    said(&[("OS_AUTH_URL", "")], &["glance_authurl is missing"]);
    said(&[("OS_REGION_NAME", server.value("second_region"))], &["no image service", "glance_region_name"]);
    said(&[("OS_GLANCE_URL", NOBODY)], &["does not answer at 127.0.0.1:9", "glance_url"]);
    said(&[("OS_GLANCE_URL", server.value("auth_url"))], &["glance_url"]);
    let stranger = [
        ("OS_USERNAME", server.value("user_without_rights")),
        ("OS_PASSWORD", server.value("password_without_rights")),
    ];
    said(&stranger, &["accepts the credentials and refuses the call", "glance_user"]);
    said(&[("GLANCE_STORAGE_ALTERNATE", "tape")], &["storage_alternate", "no driver named `tape`"]);
    said(&[("GLANCE_STORAGE_ALTERNATE", "glance")], &["storage_alternate", "cannot stand on itself"]);
    said(&[("STORAGE_PATH", "/dev/null/registry")], &["storage_alternate"]);
}
