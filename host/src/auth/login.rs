//! Somebody, and what they may do.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{
    Authority, Refused,
    rights::{Need, Right},
    token::{Bearer, Grant},
};

/// Who a request comes from.
///
/// The default is a registry that asks nobody for a password: everybody may do everything.
#[derive(Debug, Clone, Default)]
pub struct Login(Option<Arc<Known>>);

#[derive(Debug)]
struct Known {
    authority: Arc<Authority>,
    /// `None` for somebody without a password.
    user: Bearer,
    /// Whether the client has shown a password or a token.
    has_shown: bool,
    /// The V1 token that stands for the login, and its text.
    token: Option<(Grant, String)>,
}

impl Login {
    pub(super) fn of(authority: &Arc<Authority>, user: Bearer, has_shown: bool) -> Self {
        Self(Some(Arc::new(Known { authority: Arc::clone(authority), user, has_shown, token: None })))
    }

    pub(super) fn with_token(authority: &Arc<Authority>, user: Bearer, grant: Grant, text: String) -> Self {
        let token = Some((grant, text));
        Self(Some(Arc::new(Known { authority: Arc::clone(authority), user, has_shown: true, token })))
    }

    /// The user, unless nobody is asked for a password or this client has shown none.
    pub fn user(&self) -> Option<&str> {
        self.0.as_ref()?.user.as_deref()
    }

    /// Whether the registry asks for passwords.
    pub fn is_asked_for(&self) -> bool {
        self.0.is_some()
    }

    /// Whether every repository is open to this login.
    pub fn may_everything(&self) -> bool {
        self.0.as_ref().is_none_or(|known| known.user.is_some() && known.authority.rights.are_everything())
    }

    /// Whether the repository of that name may be read, and so be listed.
    pub fn may_pull(&self, repository: &str) -> bool {
        self.may(&Need::on(repository, Right::Pull))
    }

    /// Whether a request with this need is allowed.
    pub fn may(&self, need: &Need) -> bool {
        let Some(known) = &self.0 else { return true };
        let (rights, user) = (&known.authority.rights, known.user.as_deref());
        let by_right = match need {
            Need::Nothing => true,
            Need::User => user.is_some(),
            Need::Entry => user.is_some() || rights.are_for_anonymous(),
            Need::Handshake => known.has_shown && (user.is_some() || rights.are_for_anonymous()),
            Need::AnyRepository(right) => rights.may_somewhere(user, *right),
            Need::Repository { name, short_name, right } => [Some(name), short_name.as_ref()]
                .into_iter()
                .flatten()
                .any(|name| rights.may(user, name, *right)),
        };
        by_right && known.token.as_ref().is_none_or(|(grant, _)| grant.covers(need))
    }

    /// Whether it is a token that limits the login, and not what its user may do.
    pub fn is_by_v1_token(&self) -> bool {
        self.0.as_ref().is_some_and(|known| known.token.is_some())
    }

    /// Checks a name and a password that came in a body; `None` when nobody is asked for one.
    pub async fn check(
        &self,
        name: &str,
        password: &str,
        peer: Option<SocketAddr>,
    ) -> Option<Result<Login, Refused>> {
        let known = self.0.as_ref()?;
        Some(known.authority.log_in(name, password, peer).await)
    }

    /// A V1 token for a repository; `None` when nobody is asked for a password. Whoever came with a token gets the
    /// same again, so that no token outlives its time.
    pub fn v1_token(&self, repository: &str, right: Right) -> Option<String> {
        let known = self.0.as_ref()?;
        match &known.token {
            Some((_, text)) => Some(text.clone()),
            None => {
                let line = known.authority.line(&known.user)?;
                Some(known.authority.tokens.v1(&known.user, &line, repository, right))
            }
        }
    }

    /// A bearer token for what this login may do, and how long it is good.
    pub fn bearer_token(&self) -> Option<(String, Duration)> {
        let known = self.0.as_ref()?;
        let line = known.authority.line(&known.user)?;
        let tokens = &known.authority.tokens;
        Some((tokens.bearer(&known.user, &line), tokens.lifetime()))
    }
}

impl Grant {
    fn covers(&self, need: &Need) -> bool {
        match need {
            Need::Nothing => true,
            // An image belongs to no repository, and a token is for one.
            Need::AnyRepository(right) => self.right >= *right,
            Need::Repository { name, right, .. } => self.right >= *right && self.repository == *name,
            Need::Handshake | Need::Entry | Need::User => false,
        }
    }
}
