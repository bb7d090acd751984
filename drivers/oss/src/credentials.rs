//! Who asks: one set of keys for everything that is signed, fetched where they are and refreshed in time.
//!
//! Keys of the configuration are used as they are. Otherwise they come from the named role of this machine, or
//! from the usual chain: environment, profiles, machine. Those expire: they are fetched again two minutes before
//! they do, and when OSS says that they have.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use docker_registry_driver_api::{Error, ErrorKind, Result};
use docker_registry_object_storage::{
    Renewal, Unchanging,
    http::{Transport, fault},
};
use reqsign_aliyun_oss::{
    Credential, DefaultCredentialProvider, EcsRamRoleCredentialProvider, StaticCredentialProvider,
};
use reqsign_core::{Context, ProvideCredentialDyn, SigningCredential, time::Timestamp};
use tokio::sync::Mutex;

use crate::settings::Account;

/// The keys.
pub(crate) struct Credentials {
    provider: Arc<dyn ProvideCredentialDyn<Credential = Credential>>,
    /// For keys of the configuration: nobody has newer ones.
    configured: Option<Unchanging>,
    context: Context,
    transport: Transport,
    kept: Mutex<Option<Credential>>,
    /// OSS does not take the kept ones any more.
    expired: AtomicBool,
}

impl Credentials {
    /// The keys of an account. Nothing is fetched yet.
    pub(crate) fn new(account: Account, transport: Transport) -> Self {
        let configured = matches!(account, Account::Keys { .. }).then(Unchanging::default);
        let provider: Arc<dyn ProvideCredentialDyn<Credential = Credential>> = match account {
            Account::Keys { id, secret, token } => {
                let keys = StaticCredentialProvider::new(&id, &secret);
                Arc::new(match token {
                    Some(token) => keys.with_security_token(&token),
                    None => keys,
                })
            }
            Account::Role(name) => Arc::new(EcsRamRoleCredentialProvider::new().with_role_name(name)),
            Account::Found => Arc::new(DefaultCredentialProvider::new()),
        };
        Self {
            provider,
            configured,
            context: transport.signing_context(),
            transport,
            kept: Mutex::new(None),
            expired: AtomicBool::new(false),
        }
    }

    /// Keys that are valid now.
    ///
    /// # Errors
    /// When there are none, or none can be fetched.
    pub(crate) async fn get(&self) -> Result<Credential> {
        // Those who come while one fetches wait for what it gets.
        let mut kept = self.kept.lock().await;
        if self.expired.swap(false, Ordering::Relaxed) {
            *kept = None;
        }
        if let Some(keys) = kept.as_ref().filter(|keys| keys.is_valid()) {
            return Ok(keys.clone());
        }
        match (self.provider.provide_credential_dyn(&self.context).await, kept.as_ref()) {
            (Ok(Some(keys)), _) => {
                *kept = Some(keys.clone());
                Ok(keys)
            }
            (Err(error), Some(keys)) if keys.is_valid_at(Timestamp::now()) => {
                tracing::warn!(%error, "the credentials are about to expire and cannot be fetched again yet");
                Ok(keys.clone())
            }
            (Err(error), _) => Err(fault::unsigned(self.transport.advice(), &error)),
            (Ok(None), _) => Err(Error::new(
                ErrorKind::Unauthenticated,
                "there are no credentials, neither in the environment nor in a profile nor of this machine: set \
                 oss_accessid and oss_accesskey",
            )),
        }
    }

    /// The context that signers are given.
    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// The error of a request that could not be signed.
    pub(crate) fn unsigned(&self, error: &reqsign_core::Error) -> Error {
        fault::unsigned(self.transport.advice(), error)
    }
}

impl Renewal for Credentials {
    fn accepted(&self) {
        if let Some(configured) = &self.configured {
            configured.accepted();
        }
    }

    /// Keys that have expired are fetched anew, where they can be.
    fn failed(&self, error: Error) -> Error {
        if let Some(configured) = &self.configured {
            return configured.failed(error);
        }
        if error.kind == ErrorKind::Unauthenticated && error.retryable {
            self.expired.store(true, Ordering::Relaxed);
        }
        error
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}
