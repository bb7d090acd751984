//! Ways to get in without a password, on everything that the server has. All end with 401.

use std::process::Command;

use docker_registry_tests::http::Response;
use docker_registry_tests::process::{PATIENCE, run, wait_for};
use docker_registry_tests::v2::{manifest, push_blob, push_manifest};

use crate::place::{Files, Registry, SECRET, basic, basic_of};

type Headers = Vec<(&'static str, String)>;

/// One of each kind of resource: V2, V1, search, the start page, and what is not there.
const TARGETS: [(&str, &str); 9] = [
    ("GET", "/v2/"),
    ("GET", "/v2/_catalog"),
    ("GET", "/v2/team/app/manifests/latest"),
    ("POST", "/v2/team/app/blobs/uploads/"),
    ("GET", "/v1/search?q=a"),
    ("GET", "/v1/repositories/team/app/images"),
    ("GET", "/v1/users/"),
    ("GET", "/"),
    ("GET", "/nothing"),
];

fn registry() -> Registry {
    Files::new("").start()
}

#[track_caller]
fn expect_401(answer: Response, target: &str) {
    assert_eq!(answer.status, 401, "{target}: {:?} {}", answer.headers, answer.text());
    assert_eq!(
        answer.header("www-authenticate"),
        Some("Basic realm=\"the realm\", charset=\"UTF-8\""),
        "{target}"
    );
    assert!(!answer.text().contains("team"), "{target}: {}", answer.text());
}

#[test]
fn nothing_but_the_right_password_lets_anybody_in() {
    let right = basic("ann", SECRET);
    let one = |value: String| vec![("Authorization", value)];
    let ways: Vec<(&str, Headers)> = vec![
        ("no password", vec![]),
        ("a wrong password", one(basic("ann", "wrong"))),
        ("an empty password", one(basic("ann", ""))),
        ("a password that goes on", one(basic("ann", &format!("{SECRET}x")))),
        ("the password in other case", one(basic("ann", "Correct horse"))),
        ("another user", one(basic("bob", SECRET))),
        ("the user in other case", one(basic("Ann", SECRET))),
        ("a blank after the user", one(basic("ann ", SECRET))),
        ("no user", one(basic("", SECRET))),
        ("the hash as the password", one(basic("ann", "$2y$05$"))),
        ("a NUL after the password", one(basic("ann", &format!("{SECRET}\0")))),
        ("a NUL in the user", one(basic("ann\0x", SECRET))),
        ("bytes that are not UTF-8", one(basic_of(b"ann:\xff\xfe"))),
        ("no colon", one(basic_of(b"ann"))),
        ("broken Base64", one("Basic YW5u!!!!".to_owned())),
        ("no scheme", one(right["Basic ".len()..].to_owned())),
        ("nothing after the scheme", one("Basic".to_owned())),
        ("another scheme", one(right.replace("Basic", "Bearer"))),
        ("a token without a signature", one("Token repository=\"team/app\",access=write".to_owned())),
        (
            "a token of 0.9.1",
            one("Token signature=AAAABBBBCCCCDDDD,repository=\"team/app\",access=write".to_owned()),
        ),
        ("Digest", one("Digest username=\"ann\", realm=\"the realm\"".to_owned())),
        ("Negotiate", one("Negotiate YII=".to_owned())),
        ("two headers", vec![("Authorization", right.clone()), ("Authorization", right.clone())]),
        ("a proxy's header", vec![("Proxy-Authorization", right.clone())]),
        (
            "the word of a proxy",
            vec![("X-Forwarded-User", "ann".to_owned()), ("Remote-User", "ann".to_owned())],
        ),
        (
            "a method in a header",
            vec![("X-HTTP-Method-Override", "GET".to_owned()), ("X-Original-URL", "/_ping".to_owned())],
        ),
        ("a cookie", vec![("Cookie", "session=ann".to_owned())]),
        ("a very long password", one(basic("ann", &"x".repeat(2000)))),
    ];
    for (way, headers) in ways {
        // Each way on a server of its own, so that no limit of failures plays a part.
        let registry = registry();
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for (method, target) in TARGETS {
            let answer = registry.client().send(method, target, &headers, b"");
            expect_401(answer, &format!("{way} at {method} {target}"));
        }
        for target in ["/metrics", "/nothing"] {
            let answer = registry.server.admin().send("GET", target, &headers, b"");
            expect_401(answer, &format!("{way} at {target} of the admin listener"));
        }
    }
}

#[test]
fn no_method_and_no_spelling_of_a_path_passes_by() {
    let registry = registry();
    let host = registry.server.registry();
    for method in ["HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW", "get"] {
        for target in ["/v2/", "/v2/_catalog", "/v2/team/app/manifests/latest", "/v1/search", "/", "/nothing"]
        {
            expect_401(registry.client().send(method, target, &[], b""), &format!("{method} {target}"));
        }
    }
    for target in [
        "//v2/",
        "///v2/_catalog",
        "/v2//_catalog",
        "/v2/../v2/_catalog",
        "/v2/./_catalog",
        "/./v2/",
        "/%76%32/",
        "/v2%2f_catalog",
        "/v2/%5fcatalog",
        "/v2/team%2Fapp/tags/list",
        "/v2/team/app/../../_catalog",
        "/V2/",
        "/_ping/../v2/_catalog",
        "/_ping/",
        "/_ping%00",
        "/_ping;/v2/",
        "/v1/_ping/../search",
        "/v1/_ping/",
        "/v1//search",
        "/v1%2fsearch",
        "/v1/users/../search",
        "/v1/repositories/team/app/tags/../images",
        "/v2",
        "/v1",
        "/v1/",
        "/%2e%2e/v2/",
        "/metrics",
        "/livez",
    ] {
        expect_401(registry.client().get(target), target);
    }
    for target in
        [format!("http://{host}/v2/_catalog"), "http://other/_ping/../v2/".to_owned(), "*".to_owned()]
    {
        let method = if target == "*" { "OPTIONS" } else { "GET" };
        expect_401(registry.client().send(method, &target, &[], b""), &target);
    }
}

#[test]
fn the_right_password_lets_in_whatever_the_case_of_the_scheme() {
    let registry = registry();
    for scheme in ["Basic", "basic", "BASIC"] {
        let value = basic("ann", SECRET).replace("Basic", scheme);
        for (target, status) in
            [("/v2/", 200), ("/v1/users/", 200), ("/", 200), ("/nothing", 404), ("/v2/_catalog", 200)]
        {
            registry.client().send("GET", target, &[("Authorization", &value)], b"").expect(status);
        }
        registry.server.admin().send("GET", "/metrics", &[("Authorization", &value)], b"").expect(200);
        registry.server.admin().send("GET", "/nothing", &[("Authorization", &value)], b"").expect(404);
    }
}

#[test]
fn pings_and_health_are_open_and_a_wrong_password_does_not_close_them() {
    let registry = registry();
    for headers in [vec![], vec![("Authorization", basic("ann", "wrong"))]] {
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for target in ["/_ping", "/v1/_ping"] {
            registry.client().send("GET", target, &headers, b"").expect(200);
        }
        for target in ["/livez", "/healthz", "/startupz"] {
            let answer = registry.server.admin().send("GET", target, &headers, b"").expect(200);
            assert_eq!(answer.text(), "ok\n", "{target}");
        }
    }
}

#[test]
fn a_refusal_looks_as_its_client_expects() {
    let registry = registry();
    let answer = registry.client().get("/v2/").expect(401);
    assert_eq!(answer.header("docker-distribution-api-version"), Some("registry/2.0"));
    assert!(answer.text().contains("\"code\":\"UNAUTHORIZED\""), "{}", answer.text());
    let answer = registry.client().get("/v1/repositories/team/app/tags").expect(401);
    assert_eq!(answer.text(), "{\"error\": \"Requires authorization\"}");
    assert!(registry.client().head("/v2/").expect(401).body.is_empty());
}

/// `curl user1:user1@HOST/v1/search`, by which people list what a registry has.
#[test]
fn a_search_without_a_term_lists_every_repository_to_who_is_logged_in_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("search.db").display().to_string();
    let keys = format!("  search_backend: sqlalchemy\n  sqlalchemy_index_database: sqlite:///{database}\n");
    let files = Files::new(&keys);
    files.set("user1", "user1");
    let registry = files.start();
    let value = basic("user1", "user1");
    let client = registry.client().with_header("Authorization", &value);
    for name in ["app", "team/app"] {
        let blob = (push_blob(&client, name, b"{}"), 2);
        push_manifest(&client, name, "latest", &manifest(&[blob.clone(), blob])).expect(201);
    }
    let found = wait_for("both are in the index", PATIENCE, || {
        let answer = client.get("/v1/search").expect(200).text();
        answer.contains("\"num_results\": 2").then_some(answer)
    });
    let names = r#"[{"description": null, "name": "app"}, {"description": null, "name": "team/app"}]"#;
    assert_eq!(found, format!(r#"{{"num_results": 2, "query": "", "results": {names}}}"#));
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail"]);
    curl.arg(format!("http://user1:user1@{}/v1/search", registry.server.registry()));
    assert_eq!(run(&mut curl), found);
    expect_401(registry.client().get("/v1/search"), "/v1/search");
    let wrong = basic("user1", "user2");
    expect_401(registry.client().send("GET", "/v1/search", &[("Authorization", &wrong)], b""), "/v1/search");
}

#[test]
fn without_a_password_file_a_password_means_nothing() {
    let server = docker_registry_tests::server::Server::start();
    for value in [basic("ann", "x"), "Bearer x".to_owned(), "Basic !".to_owned()] {
        for target in ["/v2/", "/v1/users/", "/v2/_catalog"] {
            server.client().send("GET", target, &[("Authorization", &value)], b"").expect(200);
        }
        server.admin().send("GET", "/metrics", &[("Authorization", &value)], b"").expect(200);
    }
}
