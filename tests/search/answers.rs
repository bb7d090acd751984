//! What a client hears: the words, the order, pages, and terms that look like patterns.

use docker_registry_tests::server::{Place, Server};

use crate::support::{Folder, expect_answer, expect_found, found, push_v1, push_v2};

const BOTH: &str =
    r#"[{"description": null, "name": "library/centos"}, {"description": null, "name": "team/centos"}]"#;

#[test]
fn the_answers_that_people_look_for_are_answered_byte_for_byte() {
    let folder = Folder::new();
    let server = folder.serve(Place::new());
    let client = server.client();
    push_v1(&client, "team/centos");
    push_v1(&client, "centos");
    expect_answer(
        &client,
        "?q=centos",
        &format!(r#"{{"num_results": 2, "query": "centos", "results": {BOTH}}}"#),
    );
    expect_answer(
        &client,
        "?q=team",
        r#"{"num_results": 1, "query": "team", "results": [{"description": null, "name": "team/centos"}]}"#,
    );
    let all = format!(r#"{{"num_results": 2, "query": "", "results": {BOTH}}}"#);
    expect_answer(&client, "", &all);
    expect_answer(&client, "?q=", &all);
    expect_answer(&client, "?q=zzz", r#"{"num_results": 0, "query": "zzz", "results": []}"#);
    let head = client.head("/v1/search").expect(200);
    assert_eq!(head.header("content-length"), Some(all.len().to_string().as_str()));
    assert_eq!(head.header("cache-control"), Some("no-cache"));
}

#[test]
fn the_flavor_of_the_sample_searches() {
    let server = Server::start();
    push_v1(&server.client(), "team/centos");
    expect_found(&server.client(), "?q=CENT", &[("team/centos", None)]);
}

#[test]
fn without_a_backend_every_search_is_empty() {
    let folder = Folder::new().with_backend("");
    let server = folder.serve(Place::new());
    push_v1(&server.client(), "team/centos");
    let answer = server.client().get("/v1/search?q=team&n=5").expect(200);
    assert_eq!(answer.text(), r#"{"num_results": 0, "query": "team", "results": []}"#);
    assert!(!folder.database().exists());
}

#[test]
fn the_nearest_name_comes_first() {
    let folder = Folder::new();
    let server = folder.serve(Place::new());
    let client = server.client();
    for name in ["monarch", "team/archive", "arch/base", "team/arch", "arch"] {
        push_v2(&client, name, "latest", None, None);
    }
    push_v2(&client, "zebra", "latest", Some("Not an ARCH"), None);
    let expected =
        ["arch", "team/arch", "arch/base", "team/archive", "monarch", "zebra"].map(|name| (name, None));
    let mut expected = expected.to_vec();
    expected[5].1 = Some("Not an ARCH");
    expect_found(&client, "?q=Arch", &expected);
}

#[test]
fn no_character_of_a_term_is_a_wildcard() {
    let folder = Folder::new();
    let server = folder.serve(Place::new());
    let client = server.client();
    push_v1(&client, "team/a_b");
    push_v1(&client, "team/axb");
    push_v2(&client, "team/c", "latest", Some("100 % [a-z] \\ ÄRGER"), None);
    expect_found(&client, "?q=a_b", &[("team/a_b", None)]);
    for term in ["%25+%5Ba-z", "%5C", "%C3%A4rger"] {
        expect_found(&client, &format!("?q={term}"), &[("team/c", Some("100 % [a-z] \\ ÄRGER"))]);
    }
    for term in ["a%25b", "a?b", "*", "%25%25", "a.b", "'", "%00"] {
        assert_eq!(found(&client, &format!("?q={term}")), [], "{term}");
    }
}

#[test]
fn pages_have_a_size_and_the_number_of_results_is_of_all() {
    let folder = Folder::new();
    let server = folder.serve(Place::new());
    let client = server.client();
    for number in 0..7 {
        push_v2(&client, &format!("r{number}"), "latest", None, None);
    }
    expect_answer(
        &client,
        "?q=r&n=2&page=2",
        r#"{"num_results": 7, "query": "r", "results": [{"description": null, "name": "r2"}, {"description": null, "name": "r3"}]}"#,
    );
    assert_eq!(found(&client, "?n=3").len(), 3);
    assert_eq!(found(&client, "?page=1").len(), 7);
    assert_eq!(found(&client, "?n=5000").len(), 7);
    assert_eq!(found(&client, "?n=5&page=99999999999999999"), []);
    for wrong in ["?n=0", "?n=-1", "?n=many", "?page=0", "?n=", "?n=99999999999999999999999"] {
        let answer = client.get(&format!("/v1/search{wrong}")).expect(400);
        assert!(answer.text().contains("error"), "{wrong}");
    }
}
