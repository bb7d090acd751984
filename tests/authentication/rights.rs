//! `access`: who may do what with which repository.

use docker_registry_tests::http::Response;
use docker_registry_tests::v2;

use crate::place::{Files, Registry, basic};

const RULES: &str = "  access:
    - {user: ann, repository: team/*, right: push}
    - {user: boss, repository: '**', right: delete}
    - {user: '*', repository: base/**, right: pull}
";
const PUBLIC: &str = "    - {user: anonymous, repository: public, right: pull}\n";
const PASSWORD: &str = "p";

fn registry(rules: &str) -> Registry {
    let files = Files::new(rules);
    for user in ["ann", "bob", "boss"] {
        files.set(user, PASSWORD);
    }
    files.start()
}

#[track_caller]
fn ask(registry: &Registry, user: &str, method: &str, target: &str) -> Response {
    registry.ask_as(user, PASSWORD, method, target)
}

/// Pushes an image of one blob as the user who may do everything.
#[track_caller]
fn fill(registry: &Registry, repository: &str) -> String {
    let password = basic("boss", PASSWORD);
    let send = |method: &str, target: &str, kind: &str, body: &[u8]| {
        let headers = [("Authorization", password.as_str()), ("Content-Type", kind)];
        registry.client().send(method, target, &headers, body)
    };
    let content = format!("content of {repository}");
    let digest = docker_registry_tests::content::digest(content.as_bytes());
    let target = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
    send("POST", &target, "application/octet-stream", content.as_bytes()).expect(201);
    let manifest = v2::manifest(&[(digest.clone(), content.len() as u64)]);
    send("PUT", &format!("/v2/{repository}/manifests/latest"), v2::MANIFEST, manifest.as_bytes()).expect(201);
    digest
}

#[test]
fn only_what_a_rule_grants_is_allowed() {
    let registry = registry(RULES);
    for repository in ["team/app", "team/app/deep", "base/a/b", "secret"] {
        fill(&registry, repository);
    }
    for (user, repository, pull, push, delete) in [
        ("ann", "team/app", 200, 202, 403),
        ("ann", "team/app/deep", 403, 403, 403),
        ("ann", "base/a/b", 200, 403, 403),
        ("ann", "secret", 403, 403, 403),
        ("bob", "team/app", 403, 403, 403),
        ("bob", "base/a/b", 200, 403, 403),
        ("boss", "secret", 200, 202, 202),
    ] {
        let manifest = format!("/v2/{repository}/manifests/latest");
        ask(&registry, user, "GET", &manifest).expect(pull);
        ask(&registry, user, "HEAD", &manifest).expect(pull);
        ask(&registry, user, "GET", &format!("/v2/{repository}/tags/list")).expect(pull);
        ask(&registry, user, "POST", &format!("/v2/{repository}/blobs/uploads/")).expect(push);
        ask(&registry, user, "DELETE", &manifest).expect(delete);
    }
}

#[test]
fn a_refusal_does_not_tell_whether_the_repository_exists() {
    let registry = registry(RULES);
    fill(&registry, "secret");
    for path in ["manifests/latest", "tags/list", "blobs/sha256:00"] {
        let there = ask(&registry, "bob", "GET", &format!("/v2/secret/{path}")).expect(403);
        let absent = ask(&registry, "bob", "GET", &format!("/v2/absent/{path}")).expect(403);
        assert_eq!(there.text(), absent.text());
        assert!(there.text().contains("\"code\":\"DENIED\""), "{}", there.text());
    }
    let there = ask(&registry, "bob", "GET", "/v1/repositories/library/secret/tags").expect(403);
    assert_eq!(there.text(), "{\"error\": \"Access denied\"}");
}

#[test]
fn the_catalog_names_what_one_may_pull_page_by_page() {
    let registry = registry(RULES);
    for name in ["base/a", "base/b", "other", "team/app", "team/b", "zoo"] {
        fill(&registry, name);
    }
    for (user, expected) in [
        ("ann", vec!["base/a", "base/b", "team/app", "team/b"]),
        ("bob", vec!["base/a", "base/b"]),
        ("boss", vec!["base/a", "base/b", "other", "team/app", "team/b", "zoo"]),
    ] {
        for page in [1, 2, 100] {
            let mut names: Vec<String> = Vec::new();
            let mut next = Some(format!("/v2/_catalog?n={page}"));
            while let Some(target) = next {
                let answer = ask(&registry, user, "GET", &target).expect(200);
                let list: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
                let list: Vec<String> = serde_json::from_value(list["repositories"].clone()).expect("a list");
                assert!(!list.is_empty() && list.len() <= page, "{user} {list:?}");
                names.extend(list);
                next = answer.header("link").map(|link| {
                    link.trim_start_matches('<').split('>').next().expect("an address").to_owned()
                });
            }
            assert_eq!(names, expected, "{user}, {page} a page");
        }
    }
}

#[test]
fn a_blob_is_mounted_only_from_where_one_may_pull() {
    let registry = registry(RULES);
    let secret = fill(&registry, "secret");
    let base = fill(&registry, "base/a");
    for (query, status) in [
        (format!("mount={secret}&from=secret"), 202),
        (format!("mount={secret}"), 202),
        (format!("mount={base}&from=base/a"), 201),
    ] {
        ask(&registry, "ann", "POST", &format!("/v2/team/app/blobs/uploads/?{query}")).expect(status);
    }
    ask(&registry, "ann", "GET", &format!("/v2/team/app/blobs/{secret}")).expect(404);
    ask(&registry, "ann", "GET", &format!("/v2/team/app/blobs/{base}")).expect(200);
}

#[test]
fn v1_keeps_to_the_same_rules() {
    let registry = registry(
        "  access:\n    - {user: ann, repository: app, right: push}\n    - {user: bob, repository: team/**, right: pull}\n",
    );
    let images = "/images";
    // `app` and `library/app` are one repository of V1.
    for name in ["app", "library/app"] {
        ask(&registry, "ann", "PUT", &format!("/v1/repositories/{name}{images}")).expect(400);
        ask(&registry, "ann", "DELETE", &format!("/v1/repositories/{name}/")).expect(403);
        ask(&registry, "bob", "GET", &format!("/v1/repositories/{name}{images}")).expect(403);
    }
    ask(&registry, "bob", "GET", "/v1/repositories/team/a/b/images").expect(404);
    ask(&registry, "bob", "PUT", "/v1/repositories/team/a/").expect(403);
    // An image belongs to no repository: any right to push is enough for one.
    let id = "0".repeat(64);
    ask(&registry, "ann", "PUT", &format!("/v1/images/{id}/json")).expect(400);
    ask(&registry, "bob", "PUT", &format!("/v1/images/{id}/json")).expect(403);
    ask(&registry, "bob", "GET", &format!("/v1/images/{id}/json")).expect(404);
}

#[test]
fn what_is_open_to_anonymous_clients_needs_no_password_and_the_rest_does() {
    let registry = registry(&format!("{RULES}{PUBLIC}"));
    fill(&registry, "public");
    fill(&registry, "secret");
    let client = registry.client();
    client.get("/v2/public/manifests/latest").expect(200);
    for (method, target) in [
        ("GET", "/v2/secret/manifests/latest"),
        ("POST", "/v2/public/blobs/uploads/"),
        ("DELETE", "/v2/public/manifests/latest"),
        ("GET", "/v1/users/"),
    ] {
        client.send(method, target, &[], b"").expect(401);
    }
    assert_eq!(client.get("/v2/_catalog").expect(200).text(), "{\"repositories\":[\"public\"]}");
    ask(&registry, "bob", "GET", "/v2/public/manifests/latest").expect(200);
    registry.server.admin().get("/metrics").expect(401);
    client
        .send("GET", "/v2/public/manifests/latest", &[("Authorization", &basic("bob", "wrong"))], b"")
        .expect(401);
}

#[test]
fn with_anonymous_clients_a_token_stands_for_the_password() {
    let registry = registry(&format!("{RULES}{PUBLIC}"));
    fill(&registry, "secret");
    fill(&registry, "public");
    let client = registry.client();
    let host = registry.server.registry();
    let challenge = client.get("/v2/").expect(401);
    let challenge = challenge.header("www-authenticate").expect("a challenge");
    assert_eq!(challenge, format!("Bearer realm=\"http://{host}/v2/_token\",service=\"{host}\""));
    let challenge = client.get("/v2/secret/tags/list").expect(401);
    let challenge = challenge.header("www-authenticate").expect("a challenge");
    assert!(challenge.ends_with(",scope=\"repository:secret:pull\""), "{challenge}");

    let token = |answer: Response| {
        let answer: serde_json::Value = serde_json::from_slice(&answer.expect(200).body).expect("JSON");
        format!("Bearer {}", answer["token"].as_str().expect("a token"))
    };
    let nobody = token(client.get("/v2/_token?service=x&scope=repository:secret:pull,push"));
    let boss = token(ask(&registry, "boss", "GET", "/v2/_token"));
    ask(&registry, "unknown", "GET", "/v2/_token").expect(401);
    client.send("POST", "/v2/_token", &[], b"grant_type=password").expect(405);
    let with =
        |token: &str, target: &str| client.send("GET", target, &[("Authorization", token)], b"").status;
    assert_eq!([with(&nobody, "/v2/"), with(&boss, "/v2/")], [200, 200]);
    assert_eq!([with(&nobody, "/v2/public/tags/list"), with(&nobody, "/v2/secret/tags/list")], [200, 401]);
    assert_eq!([with(&boss, "/v2/secret/tags/list"), with(&format!("{boss}x"), "/v2/")], [200, 401]);
    assert_eq!(with(&boss.replace("Bearer", "Token"), "/v1/repositories/library/secret/tags"), 401);
    assert_eq!(with(&boss, "/v1/users/"), 401);
}

#[test]
fn the_realm_of_a_token_has_the_scheme_that_the_client_used() {
    for (keys, scheme) in [("", "http"), ("  trusted_proxies: [127.0.0.1]\n", "https")] {
        let registry = registry(&format!("{RULES}{PUBLIC}{keys}"));
        let host = registry.server.registry();
        let headers = [("X-Forwarded-Proto", "https")];
        let answer = registry.client().send("GET", "/v2/", &headers, b"").expect(401);
        let expected = format!("Bearer realm=\"{scheme}://{host}/v2/_token\",service=\"{host}\"");
        assert_eq!(answer.header("www-authenticate"), Some(expected.as_str()), "{keys}");
    }
}

#[test]
fn what_needs_a_login_is_for_no_cache_that_others_share() {
    let registry = registry(RULES);
    let digest = fill(&registry, "base/a");
    for method in ["GET", "HEAD"] {
        let answer = ask(&registry, "boss", method, &format!("/v2/base/a/blobs/{digest}")).expect(200);
        assert_eq!(answer.header("cache-control"), Some("private, max-age=31536000"));
    }
}

#[test]
fn with_v1_rules_come_with_a_warning() {
    for (keys, is_warned) in [("", true), ("  protocols: [v2]\n", false)] {
        let files = Files::new(&format!("{RULES}{keys}"));
        let folder = docker_registry_tests::artifacts::folder();
        let mut command = std::process::Command::new(folder.join("docker-registry"));
        command.args(["config", "check"]).arg(files.configuration()).env_remove("SETTINGS_FLAVOR");
        command.env("STORAGE_PATH", "/tmp").env("DOCKER_REGISTRY_DRIVER_PATH", folder);
        let output = command.output().expect("the program runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!((output.status.code(), text.contains("V1 image")), (Some(0), is_warned), "{text}");
    }
}

#[test]
fn rules_that_could_never_match_are_problems_of_the_configuration() {
    for (rules, problem) in [
        ("  access: []\n", "an empty list lets nobody do anything"),
        ("  access: [{user: ann, repository: a, right: write}]\n", "rule 1: `write` is not a right"),
        ("  access: [{user: ann, repository: /a, right: pull}]\n", "rule 1: `/a` can match no repository"),
        ("  access: [{user: ann, repository: 'a[b]', right: pull}]\n", "can match no repository"),
        ("  access: [{user: 'a:b', repository: a, right: pull}]\n", "no user can be called"),
        ("  access: [{user: ann, repositories: a, right: pull}]\n", "`repositories` means nothing here"),
        ("  access: [{user: ann, right: pull}]\n", "rule 1: `repository` is missing"),
        ("  access: [ann]\n", "rule 1: this is not a rule"),
    ] {
        let files = Files::new(rules);
        let program = docker_registry_tests::artifacts::folder().join("docker-registry");
        let mut command = std::process::Command::new(program);
        command.args(["config", "check"]).arg(files.configuration()).env_remove("SETTINGS_FLAVOR");
        command
            .env("STORAGE_PATH", "/tmp")
            .env("DOCKER_REGISTRY_DRIVER_PATH", docker_registry_tests::artifacts::folder());
        let output = command.output().expect("the program runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(64), "{rules}: {text}");
        assert!(text.contains(problem), "{rules}: {text}");
    }
}
