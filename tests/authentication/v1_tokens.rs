//! docker 1.x: login, push and pull over plain HTTP, with the password for the list of images and the token for
//! everything else.

use std::thread;
use std::time::Duration;

use docker_registry_tests::http::Response;
use docker_registry_tests::process::{PATIENCE, wait_for};
use docker_registry_tests::v1::Image;
use serde_json::json;

use crate::place::{Files, Registry, SECRET, basic};

const REPOSITORY: &str = "/v1/repositories/team/app/";

/// Sends one request with one value of `Authorization`.
#[track_caller]
fn send(registry: &Registry, method: &str, target: &str, authorization: &str, body: &[u8]) -> Response {
    let headers = [("Authorization", authorization), ("Content-Type", "application/json")];
    registry.client().send(method, target, &headers, body)
}

/// The value of `Authorization` that docker makes of an answer's token.
#[track_caller]
fn token_of(answer: &Response) -> String {
    format!("Token {}", answer.header("x-docker-token").expect("a token"))
}

#[track_caller]
fn write_token(registry: &Registry) -> String {
    token_of(&send(registry, "PUT", REPOSITORY, &basic("ann", SECRET), b"[]").expect(200))
}

#[track_caller]
fn read_token(registry: &Registry) -> String {
    let target = format!("{REPOSITORY}images");
    token_of(&send(registry, "GET", &target, &basic("ann", SECRET), b"").expect(200))
}

/// What docker 1.x does after the first request, with the token alone.
#[track_caller]
fn push_with(registry: &Registry, token: &str, image: &Image) {
    assert_eq!(
        send(registry, "GET", &image.path("json"), token, b"").status,
        404,
        "a token for pushing reads, too"
    );
    send(registry, "PUT", &image.path("json"), token, image.json.as_bytes()).expect(200);
    send(registry, "PUT", &image.path("layer"), token, &image.layer).expect(200);
    let checksum = image.checksum();
    let headers = [("Authorization", token), ("X-Docker-Checksum-Payload", checksum.as_str())];
    registry.client().send("PUT", &image.path("checksum"), &headers, b"").expect(200);
    let tag = format!("{REPOSITORY}tags/latest");
    send(registry, "PUT", &tag, token, json!(image.id).to_string().as_bytes()).expect(200);
    send(registry, "PUT", &format!("{REPOSITORY}images"), token, b"[]").expect(204);
}

#[test]
fn what_needs_a_login_is_for_no_cache_that_others_share() {
    let registry = Files::new("").start();
    let image = Image::new(None, b"a layer".to_vec());
    push_with(&registry, &write_token(&registry), &image);
    for part in ["json", "layer", "ancestry"] {
        let password = basic("ann", SECRET);
        let headers = [("Authorization", password.as_str())];
        let answer = registry.client().send("GET", &image.path(part), &headers, b"").expect(200);
        assert_eq!(answer.header("cache-control"), Some("private, max-age=31536000"), "{part}");
        let headers = [headers[0], ("If-Modified-Since", "Thu, 01 Jan 1970 00:00:00 GMT")];
        let answer = registry.client().send("GET", &image.path(part), &headers, b"").expect(304);
        assert_eq!(answer.header("cache-control"), Some("private, max-age=31536000"), "{part}");
    }
}

#[test]
fn docker_login_finds_out_whether_the_password_is_right() {
    let registry = Files::new("").start();
    let account = |password: &str| {
        json!({"username": "ann", "password": password, "email": "a@example.com", "auth": ""}).to_string()
    };
    let create = |password: &str| {
        registry.client().send(
            "POST",
            "/v1/users/",
            &[("Content-Type", "application/json")],
            account(password).as_bytes(),
        )
    };
    // Docker compares the whole body, and then asks with GET.
    assert_eq!(create(SECRET).expect(400).text(), "\"Username or email already exists\"");
    create("wrong").expect(401);
    registry.client().send("POST", "/v1/users/", &[], b"not JSON").expect(400);
    registry.client().send("POST", "/v1/users/", &[], b"[]").expect(401);
    registry.client().send("POST", "/v1/users/", &[], &[b' '; 20_000]).expect(413);
    assert_eq!(registry.ask_as("ann", SECRET, "GET", "/v1/users/").expect(200).text(), "\"OK\"");
    registry.ask_as("ann", "wrong", "GET", "/v1/users/").expect(401);
    registry.ask_as("ann", SECRET, "PUT", "/v1/users/ann/").expect(204);
    registry.ask_as("ann", SECRET, "PUT", "/v1/users/bob/").expect(403);
    registry.client().send("PUT", "/v1/users/ann/", &[], b"").expect(401);
}

#[test]
fn a_push_and_a_pull_need_the_password_once_and_the_token_afterwards() {
    let registry = Files::new("").start();
    let image = Image::new(None, b"a layer".to_vec());
    let token = write_token(&registry);
    // The form of 0.9.1, which tools take apart.
    assert!(token.starts_with("Token Token signature="), "{token}");
    assert!(token.ends_with(",repository=\"team/app\",access=write"), "{token}");
    push_with(&registry, &token, &image);

    let token = read_token(&registry);
    assert!(token.ends_with(",repository=\"team/app\",access=read"), "{token}");
    for target in [
        format!("{REPOSITORY}tags"),
        format!("{REPOSITORY}tags/latest"),
        image.path("ancestry"),
        image.path("json"),
        image.path("layer"),
    ] {
        send(&registry, "GET", &target, &token, b"").expect(200);
        // As docker before 1.8 sent it, and in other case.
        send(
            &registry,
            "GET",
            &target,
            token.trim_start_matches("Token ").replacen("signature", "token signature", 1).as_str(),
            b"",
        )
        .expect(200);
    }
}

#[test]
fn a_token_is_good_for_its_repository_and_its_access_only() {
    let registry = Files::new("").start();
    let image = Image::new(None, b"a layer".to_vec());
    let write = write_token(&registry);
    push_with(&registry, &write, &image);
    let read = read_token(&registry);
    let tag = format!("{REPOSITORY}tags/latest");
    let other = "/v1/repositories/team/other/";
    for (what, method, target, token) in [
        ("another repository", "GET", format!("{other}tags"), &read),
        ("another repository", "PUT", other.to_owned(), &write),
        (
            "another repository by an encoded slash",
            "GET",
            "/v1/repositories/team%2Fother/tags".to_owned(),
            &read,
        ),
        ("writing with a token for reading", "PUT", tag.clone(), &read),
        ("writing with a token for reading", "PUT", image.path("json"), &read),
        ("deleting with a token for writing", "DELETE", tag.clone(), &write),
        ("deleting with a token for writing", "DELETE", REPOSITORY.to_owned(), &write),
        ("V2", "GET", "/v2/".to_owned(), &write),
        ("the catalog", "GET", "/v2/_catalog".to_owned(), &write),
        ("the account", "GET", "/v1/users/".to_owned(), &write),
        ("search", "GET", "/v1/search?q=a".to_owned(), &read),
        ("the start page", "GET", "/".to_owned(), &read),
    ] {
        let answer = send(&registry, method, &target, token, b"\"x\"");
        assert_eq!(answer.status, 401, "{what}: {method} {target} {}", answer.text());
    }
    for (from, to) in [
        ("access=read", "access=write"),
        ("access=read", "access=delete"),
        ("team/app", "team/other"),
        ("signature=", "signature=x"),
        ("YW5u", "Ym9i"),
        (",repository", ",x=1,repository"),
    ] {
        let changed = read.replace(from, to);
        assert_ne!(changed, read);
        let answer = send(&registry, "GET", &tag, &changed, b"");
        assert_eq!(answer.status, 401, "{changed}: {}", answer.text());
    }
    send(&registry, "GET", &tag, &read, b"").expect(200);
    assert_eq!(
        registry.server.admin().send("GET", "/metrics", &[("Authorization", &write)], b"").status,
        401
    );
}

#[test]
fn a_token_ends_with_its_time_and_a_new_one_goes_on() {
    let registry = Files::new("    token_lifetime: 2s\n").start();
    let target = format!("{REPOSITORY}images");
    let token = write_token(&registry);
    send(&registry, "GET", &target, &token, b"").expect(200);
    wait_for("the token ends", PATIENCE, || {
        thread::sleep(Duration::from_millis(100));
        (send(&registry, "GET", &target, &token, b"").status == 401).then_some(())
    });
    send(&registry, "GET", &target, &write_token(&registry), b"").expect(200);
}

#[test]
fn a_token_cannot_be_exchanged_for_a_longer_one() {
    let registry = Files::new("").start();
    let token = write_token(&registry);
    let again = token_of(&send(&registry, "GET", &format!("{REPOSITORY}images"), &token, b"").expect(200));
    assert_eq!(again, token);
}

#[test]
fn a_token_ends_with_its_user_and_with_the_password() {
    for change in ["removed", "changed"] {
        let registry = Files::new("").start();
        let token = write_token(&registry);
        if change == "changed" {
            registry.files.set("ann", "another");
        } else {
            std::fs::write(registry.files.passwords(), "bob:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n")
                .expect("a file");
        }
        registry.wait_until(change, |registry| {
            send(registry, "GET", &format!("{REPOSITORY}images"), &token, b"").status == 401
        });
    }
}

#[test]
fn tokens_outlive_a_restart_only_with_a_secret_key() {
    for (keys, status) in
        [("  secret_key: 0123456789abcdef\n", 200), ("  secret_key: REPLACEME\n", 401), ("", 401)]
    {
        let Registry { server, files } = Files::new(keys).start();
        let registry = Registry { server, files };
        let token = write_token(&registry);
        let Registry { server, files } = registry;
        let registry = Registry { server: server.kill_and_restart(), files };
        let answer = send(&registry, "GET", &format!("{REPOSITORY}images"), &token, b"");
        assert_eq!(answer.status, status, "{keys}");
        let warned = registry.server.process().log().contains("fewer than 16 characters");
        assert_eq!(warned, keys.contains("REPLACEME"));
    }
}

#[test]
fn without_a_password_file_nobody_checks_tokens() {
    let server = docker_registry_tests::server::Server::start();
    let token = "Token signature=X,repository=\"a/b\",access=read";
    server.client().send("PUT", REPOSITORY, &[("Authorization", token)], b"[]").expect(200);
    server.client().send("GET", &format!("{REPOSITORY}images"), &[("Authorization", token)], b"").expect(200);
}
