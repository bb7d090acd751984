//! Who asks: one set of keys for everything that is signed, fetched where they are and refreshed in time.
//!
//! Keys of the configuration are used as they are. Otherwise they come from the named role of this machine, or
//! from the usual chain: environment, profiles, machine. Those expire: they are fetched again before
//! they do, and when OSS does not take them any more.

use std::{fmt, sync::Arc, time::Duration};

use docker_registry_driver_api::{Error, ErrorKind, Result};
use docker_registry_object_storage::{
    Fresh, Renewal, Renewed, Unchanging,
    http::{Transport, fault},
};
use reqsign_aliyun_oss::{
    Credential, DefaultCredentialProvider, EcsRamRoleCredentialProvider, StaticCredentialProvider,
};
use reqsign_core::{Context, ProvideCredentialDyn, time::Timestamp};

use crate::settings::Account;

/// The keys.
pub(crate) struct Credentials {
    provider: Arc<dyn ProvideCredentialDyn<Credential = Credential>>,
    /// For keys of the configuration: nobody has newer ones.
    configured: Option<Unchanging>,
    context: Context,
    transport: Transport,
    renewed: Renewed<Credential>,
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
            renewed: Renewed::default(),
        }
    }

    /// Keys that are valid now.
    ///
    /// # Errors
    /// When there are none, or none can be fetched.
    pub(crate) async fn get(&self) -> Result<Credential> {
        self.renewed.get(self.fetch()).await
    }

    async fn fetch(&self) -> Result<Fresh<Credential>> {
        match self.provider.provide_credential_dyn(&self.context).await {
            Ok(Some(value)) => {
                let left = value.expires_in.map(|end| end.as_second() - Timestamp::now().as_second());
                let life = left.map(|left| Duration::from_secs(left.try_into().unwrap_or_default()));
                Ok(Fresh { value, life })
            }
            Ok(None) => Err(Error::new(
                ErrorKind::Unauthenticated,
                "there are no credentials, neither in the environment nor in a profile nor of this machine: set \
                 oss_accessid and oss_accesskey",
            )),
            Err(error) => Err(fault::unsigned(self.transport.advice(), &error)),
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
        match &self.configured {
            Some(configured) => configured.accepted(),
            None => self.renewed.accepted(),
        }
    }

    fn failed(&self, error: Error) -> Error {
        match &self.configured {
            Some(configured) => configured.failed(error),
            None => self.renewed.failed(error),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}
