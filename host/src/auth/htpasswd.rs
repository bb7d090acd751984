//! The lines of an htpasswd file.
//!
//! `user:hash` a line; empty lines and lines that begin with `#` are comments. A line that cannot be used never
//! lets anybody in: it is named with its number, and its user is as good as unknown.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::LazyLock,
};

use super::{
    key::{Key, Signature},
    scheme::Scheme,
};

/// Gives every name, known or not, its place in the circle of users; the same for as long as the process lives.
static PLACES: LazyLock<Key> = LazyLock::new(Key::random);

/// The users of a file.
#[derive(Debug, Default)]
pub(crate) struct Htpasswd {
    users: HashMap<String, User>,
    /// The users in a circle. The password of an unknown user is hashed against the line of the next one, so that
    /// time tells nothing: unknown names have the schemes of the file, each name always the same one, and a user
    /// who comes or goes changes it for few names.
    circle: BTreeMap<Signature, String>,
    /// What is wrong with single lines, or unwise: `line 3: …`.
    pub(crate) warnings: Vec<String>,
}

/// One user.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) hash: String,
    pub(crate) scheme: Scheme,
}

/// A line as it stands in the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    Comment,
    User {
        name: &'a str,
        hash: &'a str,
    },
    /// Without a colon, or without a name.
    Odd,
}

impl<'a> Line<'a> {
    pub(crate) fn of(line: &'a str) -> Self {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.trim().is_empty() || line.starts_with('#') {
            return Self::Comment;
        }
        match line.split_once(':') {
            Some((name, hash)) if !name.is_empty() => Self::User { name, hash: hash.trim_end() },
            _ => Self::Odd,
        }
    }
}

impl Htpasswd {
    /// Reads the text of a file.
    pub(crate) fn parse(text: &str) -> Self {
        let mut file = Self::default();
        let mut named = HashSet::new();
        for (index, line) in text.split('\n').enumerate() {
            let mut warn = |warning: String| file.warnings.push(format!("line {}: {warning}", index + 1));
            let (name, hash) = match Line::of(line) {
                Line::Comment => continue,
                Line::Odd => {
                    warn("it is not USER:HASH and lets nobody in".to_owned());
                    continue;
                }
                Line::User { name, hash } => (name, hash),
            };
            if !named.insert(name) {
                warn(format!("`{name}` is on an earlier line, which counts"));
                continue;
            }
            // The hash may be a password in plain text, which is not repeated.
            let Some(scheme) = Scheme::of(hash) else {
                warn(format!(
                    "the password of `{name}` is in plain text, in an unknown scheme, or takes too much or too \
                     little time, and lets nobody in"
                ));
                continue;
            };
            let user = User { hash: hash.to_owned(), scheme };
            file.circle.insert(place(name), name.to_owned());
            file.users.insert(name.to_owned(), user);
        }
        file
    }

    /// The user of that name, if somebody can log in under it.
    pub(crate) fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    /// Whether the password is the user's. One hash is made, whether the name is known or not.
    pub(crate) fn verify(&self, name: &str, password: &str) -> bool {
        let user = self.user(name);
        let Some(hashed_against) = user.or_else(|| self.stand_in(name)) else { return false };
        hashed_against.scheme.verify(password, &hashed_against.hash) && user.is_some()
    }

    /// The user against whose line the password of an unknown name is hashed.
    fn stand_in(&self, name: &str) -> Option<&User> {
        let next = self.circle.range(place(name)..).next().or_else(|| self.circle.first_key_value());
        self.user(next?.1)
    }

    /// How many can log in.
    pub(crate) fn len(&self) -> usize {
        self.users.len()
    }
}

fn place(name: &str) -> Signature {
    PLACES.sign(&[name.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_has_one_scheme_and_all_of_them_the_schemes_of_the_file() {
        let mut text = String::new();
        for user in 0..50 {
            text.push_str(&format!("sha{user}:{{SHA}}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n"));
            text.push_str(&format!("des{user}:rl3bqCZpRVDZ6\n"));
        }
        let (file, again) = (Htpasswd::parse(&text), Htpasswd::parse(&text));
        assert_eq!(file.len(), 100);
        let mut schemes = [0, 0];
        for number in 0..1000 {
            let name = format!("nobody{number}");
            let scheme = file.stand_in(&name).unwrap().scheme;
            assert_eq!(again.stand_in(&name).unwrap().scheme, scheme, "{name}");
            schemes[usize::from(scheme == Scheme::Sha1)] += 1;
            assert!(!file.verify(&name, "password"), "the password of the one who stands in");
        }
        assert!(schemes.iter().all(|names| *names > 50), "{schemes:?}");
        assert!(!Htpasswd::default().verify("ann", "password"));
    }

    #[test]
    fn hashes_that_take_minutes_or_are_no_bcrypt_let_nobody_in() {
        let salt = "abcdefghijklmnopqrstuu";
        let bcrypt = |cost: &str, digest: &str| format!("$2y${cost}${salt}{digest}");
        let (digest, sha_digest) = ("5WSH5s5VSkKLSMJzXnXnXnXnXnXnXnO", "x".repeat(43));
        for (hash, is_usable) in [
            (bcrypt("10", digest), true),
            (bcrypt("17", digest), true),
            (bcrypt("18", digest), false),
            (bcrypt("31", digest), false),
            (bcrypt("03", digest), false),
            (bcrypt("10", &digest.replace('X', "!")), false),
            (format!("$5$rounds=1000$salt${sha_digest}"), true),
            (format!("$5$rounds=5000000$salt${sha_digest}"), true),
            (format!("$5$rounds=999$salt${sha_digest}"), false),
            (format!("$5$rounds=5000001$salt${sha_digest}"), false),
            (format!("$5$salt${sha_digest}"), true),
        ] {
            let file = Htpasswd::parse(&format!("ann:{hash}\n"));
            assert_eq!((file.len() == 1, file.warnings.is_empty()), (is_usable, is_usable), "{hash}");
        }
    }

    #[test]
    fn lines_that_cannot_be_used_are_named_and_let_nobody_in() {
        let file = Htpasswd::parse(
            "# users\n\nann:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\r\nbob:plain\nnothing\n:x\nann:{SHA}AAAA\n\
             cid:$argon2id$v=19$x\ndan:$2y$99$xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n",
        );
        assert_eq!(file.len(), 1);
        assert!(file.verify("ann", "password") && !file.verify("ann", "Password"));
        for (name, password) in
            [("bob", "plain"), ("nothing", ""), ("", "x"), ("cid", ""), ("#", ""), ("Ann", "password")]
        {
            assert!(!file.verify(name, password), "{name}");
        }
        let lines: Vec<_> = file.warnings.iter().map(|warning| warning.split(':').next().unwrap()).collect();
        assert_eq!(lines, ["line 4", "line 5", "line 6", "line 7", "line 8", "line 9"]);
        assert!(
            file.warnings.iter().all(|warning| !warning.contains("plain ") || !warning.contains(":plain"))
        );
    }
}
