//! Who may do what with which repository.
//!
//! Without rules every user may do everything, and nobody else may do anything. With rules only what one of
//! them grants is allowed. What is granted to `anonymous` is granted to everybody, and what is granted to `*` to
//! every user. A right includes the ones before it: pull, push, delete.

use docker_registry_config::{AccessRight, AccessRule, AccessWho};
use globset::{GlobBuilder, GlobMatcher};

/// What somebody may do; each includes the ones before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// Read.
    Pull,
    /// Write.
    Push,
    /// Delete.
    Delete,
}

/// What a request needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// Nothing: a ping.
    Nothing,
    /// A proof of who one is, even where anonymous clients have rights: it is how clients find out that they
    /// can log in.
    Handshake,
    /// To be somebody who may do something.
    Entry,
    /// To be a user, with a password.
    User,
    /// A right on one repository.
    Repository {
        /// The name as rules have it.
        name: String,
        /// The name without `library/`, where V1 means the same by both.
        short_name: Option<String>,
        /// The right.
        right: Right,
    },
    /// A right on any repository: V1 images belong to none.
    AnyRepository(Right),
}

impl Need {
    /// A right on the repository of that name.
    pub fn on(name: impl Into<String>, right: Right) -> Self {
        Self::Repository { name: name.into(), short_name: None, right }
    }
}

/// All rules of a registry.
#[derive(Debug)]
pub(crate) struct Rights {
    /// `None`: every user may do everything.
    rules: Option<Vec<Rule>>,
}

#[derive(Debug)]
struct Rule {
    who: AccessWho,
    repository: GlobMatcher,
    right: Right,
}

impl Rule {
    fn concerns(&self, user: Option<&str>) -> bool {
        match &self.who {
            AccessWho::Anonymous => true,
            AccessWho::AnyUser => user.is_some(),
            AccessWho::User(name) => user == Some(name),
        }
    }
}

impl Rights {
    /// The rules of a configuration.
    ///
    /// # Errors
    /// A sentence about a pattern that cannot be read. The configuration lets none through.
    pub(crate) fn new(access: Option<&[AccessRule]>) -> Result<Self, String> {
        let rule = |rule: &AccessRule| {
            let mut pattern = GlobBuilder::new(&rule.repository);
            let glob = pattern.literal_separator(true).build().map_err(|error| error.to_string())?;
            let right = match rule.right {
                AccessRight::Pull => Right::Pull,
                AccessRight::Push => Right::Push,
                AccessRight::Delete => Right::Delete,
            };
            Ok(Rule { who: rule.who.clone(), repository: glob.compile_matcher(), right })
        };
        let rules = access.map(|access| access.iter().map(rule).collect::<Result<_, String>>());
        Ok(Self { rules: rules.transpose()? })
    }

    /// Whether there are no rules, so that every user may do everything.
    pub(crate) fn are_everything(&self) -> bool {
        self.rules.is_none()
    }

    /// Whether somebody without a password may do anything at all.
    pub(crate) fn are_for_anonymous(&self) -> bool {
        self.may_somewhere(None, Right::Pull)
    }

    /// Whether a user, or somebody without a password, has a right on a repository.
    pub(crate) fn may(&self, user: Option<&str>, repository: &str, right: Right) -> bool {
        match &self.rules {
            None => user.is_some(),
            Some(rules) => rules.iter().any(|rule| {
                rule.right >= right && rule.concerns(user) && rule.repository.is_match(repository)
            }),
        }
    }

    /// Whether there is any repository on which they have the right.
    pub(crate) fn may_somewhere(&self, user: Option<&str>, right: Right) -> bool {
        match &self.rules {
            None => user.is_some(),
            Some(rules) => rules.iter().any(|rule| rule.right >= right && rule.concerns(user)),
        }
    }

    /// The users that rules name.
    pub(crate) fn users(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().flatten().filter_map(|rule| match &rule.who {
            AccessWho::User(name) => Some(name.as_str()),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(rules: &[(AccessWho, &str, AccessRight)]) -> Rights {
        let rules: Vec<_> = rules
            .iter()
            .map(|(who, repository, right)| AccessRule {
                who: who.clone(),
                repository: (*repository).to_owned(),
                right: *right,
            })
            .collect();
        Rights::new(Some(&rules)).unwrap()
    }

    #[test]
    fn without_rules_every_user_may_do_everything_and_nobody_else_anything() {
        let rights = Rights::new(None).unwrap();
        assert!(
            rights.may(Some("a"), "x/y", Right::Delete) && rights.may_somewhere(Some("a"), Right::Delete)
        );
        assert!(!rights.may(None, "x/y", Right::Pull) && !rights.are_for_anonymous());
    }

    #[test]
    fn one_rule_is_enough_and_a_right_includes_the_ones_before() {
        let rights = rights(&[
            (AccessWho::User("ann".into()), "team/*", AccessRight::Push),
            (AccessWho::AnyUser, "base/**", AccessRight::Pull),
            (AccessWho::Anonymous, "public", AccessRight::Pull),
        ]);
        for (user, repository, right, may) in [
            (Some("ann"), "team/app", Right::Pull, true),
            (Some("ann"), "team/app", Right::Push, true),
            (Some("ann"), "team/app", Right::Delete, false),
            (Some("ann"), "team/app/deep", Right::Pull, false),
            (Some("ann"), "team", Right::Pull, false),
            (Some("Ann"), "team/app", Right::Pull, false),
            (Some("bob"), "team/app", Right::Pull, false),
            (Some("bob"), "base/a/b/c", Right::Pull, true),
            (Some("bob"), "base/a", Right::Push, false),
            (None, "base/a", Right::Pull, false),
            (None, "public", Right::Pull, true),
            (Some("bob"), "public", Right::Pull, true),
            (None, "public", Right::Push, false),
            (None, "public/x", Right::Pull, false),
        ] {
            assert_eq!(rights.may(user, repository, right), may, "{user:?} {repository} {right:?}");
        }
        assert!(rights.are_for_anonymous() && !rights.may_somewhere(None, Right::Push));
    }
}
