//! Who asks: one pair of keys for everything that is signed, fetched where they are and refreshed in time.
//!
//! Keys of the configuration are used as they are. Otherwise they come from the usual chain: environment, profile,
//! web identity, container, machine. Those expire: they are fetched again before they do, by one caller while the
//! others go on with the old ones, and once the store says that they have expired or are not known any more.

use std::{
    fmt,
    sync::{Arc, RwLock},
    time::{Duration, Instant},
};

use docker_registry_driver_api::{Error, ErrorKind, Result, async_trait};
use docker_registry_object_storage::{
    Renewal, Unchanging,
    http::{Transport, fault},
    object_store::{self, CredentialProvider, aws::AwsCredential},
};
use http::HeaderValue;
use reqsign_aws_v4::{Credential, DefaultCredentialProvider};
use reqsign_core::{Context, ProvideCredential, time::Timestamp};
use tokio::sync::Mutex;

use crate::settings::Account;

/// How long before the end of their life keys are fetched again.
const AHEAD: Duration = Duration::from_secs(5 * 60);
/// Keys that are younger than this are not thrown away because the store does not know them.
const YOUNG: Duration = Duration::from_secs(30);

/// The keys.
pub(crate) struct Credentials {
    source: Source,
    kept: RwLock<Option<Kept>>,
    /// Held by who fetches.
    fetching: Mutex<()>,
    transport: Transport,
}

enum Source {
    Configured(Arc<AwsCredential>, Unchanging),
    Chain { provider: DefaultCredentialProvider, context: Context },
}

#[derive(Clone)]
struct Kept {
    keys: Arc<AwsCredential>,
    fetched: Instant,
    expires: Option<Timestamp>,
}

impl Kept {
    fn lives_for(&self, time: Duration) -> bool {
        self.expires.is_none_or(|expires| expires > Timestamp::now() + time)
    }
}

impl Credentials {
    /// The keys of an account. Nothing is fetched yet.
    pub(crate) fn new(account: Account, transport: Transport) -> Self {
        let source = match account {
            Account::Keys { id, secret, token } => {
                let keys = AwsCredential { key_id: id, secret_key: secret, token };
                Source::Configured(Arc::new(keys), Unchanging::default())
            }
            Account::Found { profile } => {
                let builder = DefaultCredentialProvider::builder();
                let builder = match profile {
                    // A profile that is named outweighs variables that happen to be set.
                    Some(profile) => builder.with_profile(profile).no_env(),
                    None => builder,
                };
                Source::Chain { provider: builder.build(), context: transport.signing_context() }
            }
        };
        Self { source, kept: RwLock::new(None), fetching: Mutex::new(()), transport }
    }

    /// Keys that are valid now.
    ///
    /// # Errors
    /// When there are none, or none can be fetched.
    pub(crate) async fn get(&self) -> Result<Arc<AwsCredential>> {
        let (provider, context) = match &self.source {
            Source::Configured(keys, _) => return Ok(Arc::clone(keys)),
            Source::Chain { provider, context } => (provider, context),
        };
        if let Some(kept) = self.kept() {
            if kept.lives_for(AHEAD) {
                return Ok(kept.keys);
            }
            // Somebody is fetching, and these still work.
            if kept.lives_for(Duration::ZERO) && self.fetching.try_lock().is_err() {
                return Ok(kept.keys);
            }
        }
        let _fetching = self.fetching.lock().await;
        // Another one may have fetched them while this one waited.
        let old = self.kept();
        if let Some(kept) = old.as_ref().filter(|kept| kept.lives_for(AHEAD)) {
            return Ok(Arc::clone(&kept.keys));
        }
        let fetched = match provider.provide_credential(context).await {
            Ok(Some(found)) => checked(found),
            Ok(None) => Err(nothing_found()),
            Err(error) => Err(fault::unsigned(self.transport.advice(), &error)),
        };
        match (fetched, old) {
            (Ok(new), _) => {
                let keys = Arc::clone(&new.keys);
                self.keep(Some(new));
                Ok(keys)
            }
            (Err(error), Some(old)) if old.lives_for(Duration::ZERO) => {
                tracing::warn!(%error, "the credentials are about to expire and cannot be fetched again yet");
                Ok(old.keys)
            }
            (Err(error), _) => Err(error),
        }
    }

    fn kept(&self) -> Option<Kept> {
        self.kept.read().ok()?.clone()
    }

    fn keep(&self, kept: Option<Kept>) {
        if let Ok(mut place) = self.kept.write() {
            *place = kept;
        }
    }
}

impl Renewal for Credentials {
    fn accepted(&self) {
        if let Source::Configured(_, unchanging) = &self.source {
            unchanging.accepted();
        }
    }

    /// Keys that the store does not take any more are forgotten, so that the next attempt fetches new ones.
    fn failed(&self, mut error: Error) -> Error {
        if let Source::Configured(_, unchanging) = &self.source {
            return unchanging.failed(error);
        }
        if error.kind != ErrorKind::Unauthenticated {
            return error;
        }
        // Keys that have expired are worth a try at once, unknown ones only when they are not the newest.
        let Some(kept) = self.kept() else { return error };
        if error.retryable || kept.fetched.elapsed() > YOUNG {
            self.keep(None);
            error.retryable = true;
        }
        error
    }
}

/// Credentials that can be put into a header.
fn checked(found: Credential) -> Result<Kept> {
    let fits = |text: &str| HeaderValue::from_str(text).is_ok();
    if !fits(&found.access_key_id) || !found.session_token.as_deref().is_none_or(fits) {
        return Err(Error::new(
            ErrorKind::Unauthenticated,
            "the credentials that were found are no text to send",
        ));
    }
    let keys = AwsCredential {
        key_id: found.access_key_id,
        secret_key: found.secret_access_key,
        token: found.session_token,
    };
    Ok(Kept { keys: Arc::new(keys), fetched: Instant::now(), expires: found.expires_in })
}

fn nothing_found() -> Error {
    Error::new(
        ErrorKind::Unauthenticated,
        "there are no credentials, neither in the environment nor in a profile nor of this machine: set \
         s3_access_key and s3_secret_key",
    )
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

#[async_trait]
impl CredentialProvider for Credentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        self.get()
            .await
            .map_err(|error| object_store::Error::Generic { store: "S3", source: Box::new(error) })
    }
}
