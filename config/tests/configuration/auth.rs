//! Passwords and rights.

use crate::support::{load, problems};
use docker_registry_config::{AccessRight, AccessRule, AccessWho, Settings};
use std::path::Path;
use std::time::Duration;

const FILE: &str = "auth: {htpasswd: {path: /etc/passwords}}";

fn settings(keys: &str) -> Settings {
    let loaded = load(&format!("dev:\n  storage: local\n{keys}\n"), &[]);
    assert_eq!(loaded.check(None).to_string(), "", "{keys}");
    loaded.settings
}

fn first_problem(keys: &str) -> String {
    let text = format!("dev:\n  storage: local\n{keys}\n");
    problems(&text, &[], &[]).into_iter().next().unwrap_or_default()
}

#[test]
fn without_a_file_nobody_is_asked_for_a_password() {
    assert_eq!(settings("").auth, None);
    assert_eq!(settings("  auth: {token_lifetime: 5m}").auth, None);
}

#[test]
fn a_file_is_enough_and_the_rest_has_defaults() {
    let auth = settings(&format!("  {FILE}")).auth.expect("passwords");
    assert_eq!(auth.htpasswd, Path::new("/etc/passwords"));
    assert_eq!((auth.realm.as_str(), auth.token_lifetime), ("docker-registry", Duration::from_secs(3600)));
    assert_eq!((auth.secret_key, auth.access), (None, None));
}

#[test]
fn rules_are_read_in_order() {
    let auth = settings(&format!(
        "  {FILE}\n  protocols: [v2]\n  access:\n    - {{user: ann, repository: team/*, right: push}}\n    \
         - {{user: '*', repository: '**', right: pull}}\n    - {{user: anonymous, repository: public, right: pull}}\n    \
         - {{user: 1234, repository: a, right: delete}}"
    ));
    let rule = |who, repository: &str, right| AccessRule { who, repository: repository.to_owned(), right };
    assert_eq!(
        auth.auth.and_then(|auth| auth.access).expect("rules"),
        [
            rule(AccessWho::User("ann".into()), "team/*", AccessRight::Push),
            rule(AccessWho::AnyUser, "**", AccessRight::Pull),
            rule(AccessWho::Anonymous, "public", AccessRight::Pull),
            rule(AccessWho::User("1234".into()), "a", AccessRight::Delete),
        ]
    );
}

#[test]
fn rules_beside_v1_come_with_a_warning() {
    let rules = format!("  {FILE}\n  access: [{{user: ann, repository: a, right: push}}]");
    let warning = first_problem(&rules);
    assert!(warning.contains("access: rules do not part V1 images"), "{warning}");
    assert_eq!(first_problem(&format!("{rules}\n  protocols: [v2]")), "");
}

#[test]
fn what_looks_like_protection_and_is_none_is_a_problem() {
    for (keys, problem) in [
        (
            "  auth: {htpasswd: {realm: here}}",
            "config.yml:3: auth.htpasswd.realm: there is no file of passwords",
        ),
        (
            "  access: [{user: ann, repository: a, right: pull}]",
            "config.yml:3: access: rights without a file of passwords protect nothing",
        ),
        ("  auth: {htpasswd: {path: passwords}}", "`passwords` is not an absolute path"),
        ("  auth: {htpasswd: {path: /a, realm: \"x\\ny\"}}", "clients cannot show this realm"),
        (
            "  auth: {htpasswd: {path: /a}, token_lifetime: 0}",
            "auth.token_lifetime: 0 seconds are out of bounds",
        ),
    ] {
        let found = first_problem(keys);
        assert!(found.contains(problem), "{keys}: {found}");
    }
}

#[test]
fn a_secret_key_is_never_shown_and_a_short_one_not_used() {
    let auth = settings(&format!("  {FILE}\n  secret_key: 0123456789abcdef")).auth.expect("passwords");
    assert_eq!(auth.secret_key.as_ref().map(|key| key.as_bytes()), Some(&b"0123456789abcdef"[..]));
    assert!(!format!("{auth:?}").contains("0123456789abcdef"));
    let found = first_problem(&format!("  {FILE}\n  secret_key: hunter2"));
    assert!(found.contains("fewer than 16 characters") && !found.contains("hunter2"), "{found}");
}
