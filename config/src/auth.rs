//! Who may use the registry: the file of passwords, the rights, the tokens of V1.
//!
//! A rule that could never grant anything is a problem and not a rule: an operator who wrote it believes that
//! something is allowed, or protected, which is not.

use crate::problem::Problem;
use crate::reader::Reader;
use serde_json::Value;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Shortest lifetime of a token.
const SECOND: Duration = Duration::from_secs(1);
/// Fewest characters of a `secret_key` that signs. A shorter one can be found by trying.
const LEAST_SECRET: usize = 16;
/// What a repository pattern cannot hold: the wildcards of other languages, and what no name has.
const NOT_IN_PATTERNS: &[char] = &['?', '[', ']', '{', '}', '!', '\\', '"', ','];

/// Passwords and what follows from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthSettings {
    /// The htpasswd file; an absolute path.
    pub htpasswd: PathBuf,
    /// The realm that clients show when they ask for a password.
    pub realm: String,
    /// How long a V1 token is good.
    pub token_lifetime: Duration,
    /// What signs tokens; `None` for a key that is made at the start.
    pub secret_key: Option<SecretKey>,
    /// The rights; `None` when every user may do everything.
    pub access: Option<Vec<AccessRule>>,
}

/// A key whose text is in no `Debug` output.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(String);

impl SecretKey {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The bytes of the key.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretKey(********)")
    }
}

/// One right that is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRule {
    /// To whom.
    pub who: AccessWho,
    /// For which repositories: `*` stands for anything within a segment of the name, `**` for segments.
    pub repository: String,
    /// What they may do.
    pub right: AccessRight,
}

/// Whom a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessWho {
    /// Everybody, without a password.
    Anonymous,
    /// Everybody with a password.
    AnyUser,
    /// The user of that name.
    User(String),
}

/// What somebody may do; each includes the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AccessRight {
    /// Read.
    Pull,
    /// Write.
    Push,
    /// Delete.
    Delete,
}

impl Reader<'_> {
    /// The settings, or `None` for a registry that asks nobody for a password.
    pub(crate) fn auth(&mut self) -> Option<AuthSettings> {
        let token_lifetime = self.duration("auth.token_lifetime", SECOND);
        let realm = self.realm();
        let Some(path) = self.text("auth.htpasswd.path") else {
            self.complain_without_file();
            return None;
        };
        let htpasswd = PathBuf::from(&path);
        if !htpasswd.is_absolute() {
            let message = format!("`{path}` is not an absolute path");
            self.problem("auth.htpasswd.path", message, "write the whole path, from / on");
        }
        Some(AuthSettings {
            htpasswd,
            realm,
            token_lifetime,
            secret_key: self.secret_key(),
            access: self.access(),
        })
    }

    /// What is written about passwords when there is no file of them must not look like protection.
    fn complain_without_file(&mut self) {
        if self.is_written("auth.htpasswd.realm") {
            let hint = "write auth.htpasswd.path: /etc/docker-registry/htpasswd";
            self.problem("auth.htpasswd.realm", "there is no file of passwords, so nobody is asked", hint);
        }
        if self.value("access").is_some() {
            let hint = "write auth.htpasswd.path, or remove the rules";
            self.problem("access", "rights without a file of passwords protect nothing", hint);
        }
    }

    fn is_written(&self, name: &str) -> bool {
        self.keys.get(name).is_some_and(|key| key.origin != crate::resolve::Origin::Default)
    }

    fn realm(&mut self) -> String {
        let realm = self.text("auth.htpasswd.realm").unwrap_or_default();
        let is_text = !realm.is_empty() && realm.chars().all(|c| c == ' ' || c.is_ascii_graphic());
        if !is_text {
            self.problem(
                "auth.htpasswd.realm",
                "clients cannot show this realm",
                "letters, digits, signs and blanks of ASCII",
            );
            return "docker-registry".to_owned();
        }
        realm
    }

    /// A key that is too short is worse than none: tokens could be forged, and nobody would know.
    fn secret_key(&mut self) -> Option<SecretKey> {
        let key = self.text("secret_key").filter(|key| !key.is_empty())?;
        if key.len() >= LEAST_SECRET {
            return Some(SecretKey(key));
        }
        let line = self.keys.get("secret_key").and_then(|resolved| resolved.origin.line());
        let message = format!("a key of fewer than {LEAST_SECRET} characters is not used to sign tokens");
        let hint =
            "write a long random one; until then each start makes its own, and a restart ends V1 pushes";
        self.problems.push(Problem::warning(&self.flavor.file, "secret_key", message).at(line).hint(hint));
        None
    }

    fn access(&mut self) -> Option<Vec<AccessRule>> {
        let rules = self.value("access")?.as_array().cloned().unwrap_or_default();
        if rules.is_empty() {
            let hint = "write a rule, or remove the key, which lets every user do everything";
            self.problem("access", "an empty list lets nobody do anything", hint);
        }
        let mut access = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            match access_rule(rule) {
                Ok(rule) => access.push(rule),
                Err((message, hint)) => {
                    self.problem("access", format!("rule {}: {message}", index + 1), hint)
                }
            }
        }
        if self.list("protocols").iter().any(|protocol| protocol == "v1") {
            self.warn_of_v1();
        }
        Some(access)
    }

    /// The operator may believe that rules keep the images of one team from another.
    fn warn_of_v1(&mut self) {
        let line = self.keys.get("access").and_then(|resolved| resolved.origin.line());
        let message = "rules do not part V1 images, which belong to no repository: whoever may push anywhere can put \
                       a V1 image that the pushes of others then use";
        let hint = "write `protocols: [v2]` unless all who may push trust each other";
        self.problems.push(Problem::warning(&self.flavor.file, "access", message).at(line).hint(hint));
    }
}

fn access_rule(rule: &Value) -> Result<AccessRule, (String, &'static str)> {
    const SHAPE: &str = "a rule is {user: NAME, repository: PATTERN, right: pull, push or delete}";
    let Some(fields) = rule.as_object() else { return Err(("this is not a rule".to_owned(), SHAPE)) };
    if let Some(other) = fields.keys().find(|key| !matches!(key.as_str(), "user" | "repository" | "right")) {
        return Err((format!("`{other}` means nothing here"), SHAPE));
    }
    let field = |name: &str| match fields.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        // YAML takes a user called 1234 for a number.
        Some(Value::Number(number)) => Ok(number.to_string()),
        _ => Err((format!("`{name}` is missing"), SHAPE)),
    };
    let who = match field("user")?.as_str() {
        "*" => AccessWho::AnyUser,
        "anonymous" => AccessWho::Anonymous,
        name if name.contains(':') || name.chars().any(char::is_control) => {
            return Err((
                format!("no user can be called `{name}`"),
                "a name from the file, `*` or `anonymous`",
            ));
        }
        name => AccessWho::User(name.to_owned()),
    };
    let right = match field("right")?.as_str() {
        "pull" => AccessRight::Pull,
        "push" => AccessRight::Push,
        "delete" => AccessRight::Delete,
        other => return Err((format!("`{other}` is not a right"), "pull, push or delete")),
    };
    let repository = field("repository")?;
    check_pattern(&repository)?;
    Ok(AccessRule { who, repository, right })
}

fn check_pattern(pattern: &str) -> Result<(), (String, &'static str)> {
    let hint = "a name such as team/app, with `*` for anything within a segment and `**` for whole segments";
    let is_odd = |c: char| NOT_IN_PATTERNS.contains(&c) || c.is_whitespace() || c.is_control();
    let has_odd_segment =
        pattern.split('/').any(|segment| segment.is_empty() || (segment.contains("**") && segment != "**"));
    if pattern.contains(is_odd) || has_odd_segment {
        return Err((format!("`{pattern}` can match no repository"), hint));
    }
    Ok(())
}
