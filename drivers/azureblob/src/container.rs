//! The container as a whole: whether it can be used, making it, and whether strangers can read it.

use std::sync::atomic::{AtomicBool, Ordering};

use docker_registry_driver_api::{Error, ErrorKind, Result};
use docker_registry_object_storage::{
    bucket::ListCall,
    http::{Call, Subject},
};
use http::Method;

use crate::{
    account::{Account, Ask, Place},
    headers, listing,
    settings::{AzureSettings, Identity},
};

/// Where docker-registry 0.x and distribution keep everything when they have no prefix.
const OLD_STORES: [&str; 2] = ["images/", "docker/registry/v2/"];

/// What is looked at once, when the container is opened.
#[derive(Debug, Default)]
pub(crate) struct FirstLook(AtomicBool);

/// Asks for one entry of the container, which needs its name, the account and the credentials to be right.
pub(crate) async fn probe(account: &Account, first: &FirstLook) -> Result<()> {
    let root = &account.settings.root;
    let prefix = if root.is_empty() { String::new() } else { format!("{root}/") };
    let is_first = !first.0.load(Ordering::Relaxed);
    let listing = match listing::page(account, &one_below(&prefix)).await {
        Ok(listing) => listing,
        Err(refused) if refused.code == "ContainerNotFound" => {
            if !(is_first && account.settings.create_container) {
                return Err(absent(account, &refused.error));
            }
            create(account).await?;
            listing::page(account, &one_below(&prefix)).await?
        }
        // An endpoint that serves other accounts. Where the account is part of the host's name, there is no such host.
        Err(refused) if refused.error.is_not_found() => return Err(no_account(account, &refused.error)),
        Err(refused) => return Err(refused.error),
    };
    if is_first {
        first.0.store(true, Ordering::Relaxed);
        warn_if_public(account).await;
        if listing.objects.is_empty() && !root.is_empty() {
            warn_if_elsewhere(account).await;
        }
    }
    Ok(())
}

fn one_below(prefix: &str) -> ListCall {
    ListCall { prefix: prefix.to_owned(), delimited: false, after: None, token: None, limit: 1 }
}

fn absent(account: &Account, cause: &Error) -> Error {
    let AzureSettings { account: name, container, .. } = &account.settings;
    let text = format!(
        "the account {name} has no container {container}: check {}, or set {}: true to have it made",
        AzureSettings::CONTAINER,
        AzureSettings::CREATE_CONTAINER,
    );
    Error::new(ErrorKind::InvalidConfiguration, text).caused_by(cause)
}

fn no_account(account: &Account, cause: &Error) -> Error {
    let text = format!(
        "there is no account {} at this endpoint: check azure_storage_account_name and azure_storage_endpoint",
        account.settings.account
    );
    Error::new(ErrorKind::InvalidConfiguration, text).caused_by(cause)
}

/// Makes the container. Without the header for public access it is private.
async fn create(account: &Account) -> Result<()> {
    let call = Call::writing("create container", Subject::Bucket);
    let ask = Ask::new(call, Method::PUT, Place::Container).query("restype", "container");
    match account.send(ask).await {
        Ok(_) => {
            tracing::info!(
                container = account.settings.container,
                "made the container, for nobody but this account"
            );
            Ok(())
        }
        // Another server was faster.
        Err(refused) if refused.code == "ContainerAlreadyExists" => Ok(()),
        Err(refused) => Err(refused.error),
    }
}

/// docker-registry 0.x made its containers readable for everybody.
async fn warn_if_public(account: &Account) {
    let AzureSettings { account: name, container, identity, .. } = &account.settings;
    // A signature for a container does not include its properties.
    if matches!(identity, Identity::SasToken(_)) {
        return;
    }
    let call = Call::reading("get container properties", Subject::Bucket);
    let ask = Ask::new(call, Method::HEAD, Place::Container).query("restype", "container");
    match account.send(ask).await {
        Ok(answer) => {
            if let Some(access) = headers::text(answer.headers(), "x-ms-blob-public-access") {
                tracing::warn!(
                    "the container {container} is public (access: {access}): everybody can read what is stored. \
                     Make it private: az storage container set-permission --account-name {name} --name {container} \
                     --public-access off"
                );
            }
        }
        Err(refused) => {
            tracing::debug!(error = %refused.error, "it is not known whether the container is public")
        }
    }
}

/// docker-registry 0.x ignored `storage_path`, so that a store may be where nobody looks any more.
async fn warn_if_elsewhere(account: &Account) {
    for prefix in OLD_STORES {
        let found = listing::page(account, &one_below(prefix)).await;
        if found.is_ok_and(|listing| !listing.objects.is_empty()) {
            tracing::warn!(
                "nothing is below {key} ({root}), and the container has {prefix} at its top: docker-registry 0.x ignored \
                 {key}. Remove the key to read that store",
                key = AzureSettings::STORAGE_PATH,
                root = account.settings.root,
            );
            return;
        }
    }
}
