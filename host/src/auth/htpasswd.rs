//! The lines of an htpasswd file.
//!
//! `user:hash` a line; empty lines and lines that begin with `#` are comments. A line that cannot be used never
//! lets anybody in: it is named with its number, and its user is as good as unknown.

use std::collections::{HashMap, HashSet};

use super::scheme::Scheme;

/// The users of a file.
#[derive(Debug, Default)]
pub(crate) struct Htpasswd {
    users: HashMap<String, User>,
    /// A hash of the costliest scheme, against which passwords of unknown users are hashed.
    costliest: Option<User>,
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
                    "the password of `{name}` is in plain text or in an unknown scheme and lets nobody in"
                ));
                continue;
            };
            let user = User { hash: hash.to_owned(), scheme };
            if file.costliest.as_ref().is_none_or(|known| known.scheme.cost() < scheme.cost()) {
                file.costliest = Some(user.clone());
            }
            file.users.insert(name.to_owned(), user);
        }
        file
    }

    /// The user of that name, if somebody can log in under it.
    pub(crate) fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    /// Whether the password is the user's. Wrong answers cost the same for every name, known or not.
    pub(crate) fn verify(&self, name: &str, password: &str) -> bool {
        let user = self.user(name);
        if user.is_some_and(|user| user.scheme.verify(password, &user.hash)) {
            return true;
        }
        if let Some(costliest) = &self.costliest
            && user.is_none_or(|user| user.scheme.cost() < costliest.scheme.cost())
        {
            costliest.scheme.verify(password, &costliest.hash);
        }
        false
    }

    /// How many can log in.
    pub(crate) fn len(&self) -> usize {
        self.users.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
