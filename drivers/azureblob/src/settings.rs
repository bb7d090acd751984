//! The driver's configuration keys and their checked values.
//!
//! A wrong value fails here, before anything is sent, and the sentence names the key. No value of a secret key
//! is part of it.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use docker_registry_driver_api::{ConfigurationKey, Error, ErrorKind, Result, Settings, ValueKind};
use docker_registry_object_storage::{http::normal_address, settings::root};
use object_store::azure::authority_hosts::AZURE_PUBLIC_CLOUD;

const ACCOUNT: &str = "azure_storage_account_name";
const KEY: &str = "azure_storage_account_key";
const CONTAINER: &str = "azure_storage_container";
const USE_HTTPS: &str = "azure_use_https";
const STORAGE_PATH: &str = "storage_path";
const SAS_TOKEN: &str = "azure_storage_sas_token";
const CLIENT_ID: &str = "azure_client_id";
const CLIENT_SECRET: &str = "azure_client_secret";
const TENANT_ID: &str = "azure_tenant_id";
const FEDERATED_TOKEN_FILE: &str = "azure_federated_token_file";
const AUTHORITY_HOST: &str = "azure_authority_host";
const USE_MANAGED_IDENTITY: &str = "azure_use_managed_identity";
const IDENTITY_ENDPOINT: &str = "azure_identity_endpoint";
const ENDPOINT: &str = "azure_storage_endpoint";
const ENDPOINT_SUFFIX: &str = "azure_storage_endpoint_suffix";
const CREATE_CONTAINER: &str = "azure_create_container";

/// What the public cloud's accounts end with.
const PUBLIC_SUFFIX: &str = "core.windows.net";

/// Checked values of the driver's keys.
#[derive(Debug, Clone)]
pub(crate) struct AzureSettings {
    /// Name of the storage account.
    pub(crate) account: String,
    /// Name of the container.
    pub(crate) container: String,
    /// Who this server is.
    pub(crate) identity: Identity,
    /// Address of the account, without `/` at its end. An emulator has the account's name in the path.
    pub(crate) endpoint: String,
    /// Whether the address was written in the configuration.
    pub(crate) endpoint_is_set: bool,
    /// Prefix of every key.
    pub(crate) root: String,
    /// Whether an absent container is made.
    pub(crate) create_container: bool,
}

/// Who this server is for the account.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// The holder of one of the account's keys.
    AccountKey(String),
    /// The holder of a signature.
    SasToken(String),
    /// An application with a secret.
    ClientSecret { tenant: String, client: String, secret: String, authority: String },
    /// An application for which a file speaks, as in Kubernetes.
    FederatedToken { tenant: String, client: String, file: String, authority: String },
    /// The machine itself, or the identity with this client id.
    Managed { client: Option<String>, endpoint: Option<String> },
}

impl Identity {
    /// The keys to check when it is not accepted.
    pub(crate) fn keys(&self) -> String {
        match self {
            Self::AccountKey(_) => format!("{KEY} and {ACCOUNT}"),
            Self::SasToken(_) => SAS_TOKEN.to_owned(),
            Self::ClientSecret { .. } => format!("{CLIENT_ID}, {CLIENT_SECRET} and {TENANT_ID}"),
            Self::FederatedToken { .. } => format!("{CLIENT_ID}, {FEDERATED_TOKEN_FILE} and {TENANT_ID}"),
            Self::Managed { .. } => {
                format!("{USE_MANAGED_IDENTITY}, {CLIENT_ID} and the role assignments of the identity")
            }
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.keys())
    }
}

/// The keys, for `describe`.
pub(crate) fn keys() -> Vec<ConfigurationKey> {
    let text = |name, variable, doc| ConfigurationKey::text(name, doc).environment(variable);
    let flag = |name, variable, default, doc| {
        ConfigurationKey::of(ValueKind::Boolean, name, doc).environment(variable).default(default)
    };
    vec![
        text(ACCOUNT, "AZURE_STORAGE_ACCOUNT_NAME", "Name of the storage account.").required(),
        text(KEY, "AZURE_STORAGE_ACCOUNT_KEY", "One of the account's two keys, in base64.").secret(),
        text(CONTAINER, "AZURE_STORAGE_CONTAINER", "Name of the container.").default("registry"),
        flag(USE_HTTPS, "AZURE_USE_HTTPS", "true", "Whether the account is reached by HTTPS."),
        text(
            STORAGE_PATH,
            "STORAGE_PATH",
            "Prefix of all names in the container. docker-registry 0.x ignored it: leave it out to read its store.",
        ),
        text(
            SAS_TOKEN,
            "AZURE_STORAGE_SAS_TOKEN",
            "A shared access signature for account or container, used instead of the account's key.",
        )
        .secret(),
        text(
            CLIENT_ID,
            "AZURE_CLIENT_ID",
            "Id of the application in Microsoft Entra, or of a user-assigned managed identity.",
        ),
        text(CLIENT_SECRET, "AZURE_CLIENT_SECRET", "Secret of that application.").secret(),
        text(TENANT_ID, "AZURE_TENANT_ID", "Id of the tenant that the application belongs to."),
        text(
            FEDERATED_TOKEN_FILE,
            "AZURE_FEDERATED_TOKEN_FILE",
            "File with a token that speaks for the application instead of a secret, as Kubernetes provides it.",
        ),
        text(AUTHORITY_HOST, "AZURE_AUTHORITY_HOST", "Address that tokens of applications come from.")
            .default(AZURE_PUBLIC_CLOUD),
        flag(
            USE_MANAGED_IDENTITY,
            "AZURE_USE_MANAGED_IDENTITY",
            "false",
            "Whether the managed identity of this machine is used.",
        ),
        text(
            IDENTITY_ENDPOINT,
            "IDENTITY_ENDPOINT",
            "Address that tokens of managed identities come from. By default that of virtual machines.",
        ),
        text(
            ENDPOINT,
            "AZURE_STORAGE_ENDPOINT",
            "Address of the account, for Azurite and private endpoints: http://127.0.0.1:10000/devstoreaccount1.",
        ),
        text(
            ENDPOINT_SUFFIX,
            "AZURE_STORAGE_ENDPOINT_SUFFIX",
            "What the names of the cloud's storage accounts end with: core.chinacloudapi.cn, core.usgovcloudapi.net.",
        )
        .default(PUBLIC_SUFFIX),
        flag(
            CREATE_CONTAINER,
            "AZURE_CREATE_CONTAINER",
            "false",
            "Whether an absent container is made at the start. It is made private.",
        ),
    ]
}

impl AzureSettings {
    /// Reads and checks the values.
    ///
    /// # Errors
    /// `InvalidConfiguration`, naming the key.
    pub(crate) fn read(settings: &Settings) -> Result<Self> {
        let account = filled(settings, ACCOUNT)?
            .ok_or_else(|| invalid(format!("{ACCOUNT} is missing: it is the name of the storage account")))?;
        if !account.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') {
            return Err(invalid(format!(
                "{ACCOUNT} must be the name alone, of small letters and digits: an address belongs into {ENDPOINT}"
            )));
        }
        let container = filled(settings, CONTAINER)?.unwrap_or("registry");
        let is_name = |text: &str| {
            (3..=63).contains(&text.len())
                && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        };
        if !is_name(container) && container != "$root" {
            return Err(invalid(format!(
                "{CONTAINER} must be 3 to 63 small letters, digits and hyphens, as Azure wants it"
            )));
        }
        let (endpoint, endpoint_is_set) = endpoint(settings, account)?;
        Ok(Self {
            account: account.to_owned(),
            container: container.to_owned(),
            identity: identity(settings)?,
            endpoint,
            endpoint_is_set,
            root: root(filled(settings, STORAGE_PATH)?.unwrap_or_default())?,
            create_container: settings.boolean(CREATE_CONTAINER)?.unwrap_or(false),
        })
    }

    /// The keys to check when the account does not answer.
    pub(crate) fn endpoint_keys(&self) -> String {
        if self.endpoint_is_set { ENDPOINT.to_owned() } else { format!("{ACCOUNT} and {ENDPOINT_SUFFIX}") }
    }

    /// Where the driver's own things lie in the container.
    pub(crate) fn own_folder(&self) -> String {
        let root = if self.root.is_empty() { String::new() } else { format!("{}/", self.root) };
        format!("{root}.docker-registry/")
    }

    /// Whether the credentials can sign addresses.
    pub(crate) fn can_sign(&self) -> bool {
        !matches!(self.identity, Identity::SasToken(_))
    }

    /// The key that names the container.
    pub(crate) const CONTAINER: &'static str = CONTAINER;
    /// The key that allows making the container.
    pub(crate) const CREATE_CONTAINER: &'static str = CREATE_CONTAINER;
    /// The key of the prefix.
    pub(crate) const STORAGE_PATH: &'static str = STORAGE_PATH;
}

fn endpoint(settings: &Settings, account: &str) -> Result<(String, bool)> {
    let Some(written) = filled(settings, ENDPOINT)? else {
        let suffix = filled(settings, ENDPOINT_SUFFIX)?.unwrap_or(PUBLIC_SUFFIX).trim_matches('.');
        let scheme = if settings.boolean(USE_HTTPS)?.unwrap_or(true) { "https" } else { "http" };
        return match normal_address(&format!("{scheme}://{account}.blob.{suffix}")) {
            Some(endpoint) => Ok((endpoint, false)),
            None => Err(invalid(format!("{ENDPOINT_SUFFIX} must be the end of a host name"))),
        };
    };
    // The scheme that is written out counts more than the flag.
    match normal_address(written) {
        Some(endpoint) => Ok((endpoint, true)),
        None => Err(invalid(format!(
            "{ENDPOINT} must be http:// or https:// with a host, as in http://127.0.0.1:10000/{account}"
        ))),
    }
}

/// The way in that the settings name. What a platform puts into every environment counts last.
fn identity(settings: &Settings) -> Result<Identity> {
    let client = filled(settings, CLIENT_ID)?;
    let managed = settings.boolean(USE_MANAGED_IDENTITY)?.unwrap_or(false);
    let ways = [
        (KEY, filled(settings, KEY)?),
        (SAS_TOKEN, filled(settings, SAS_TOKEN)?),
        (USE_MANAGED_IDENTITY, managed.then_some("")),
        (CLIENT_SECRET, filled(settings, CLIENT_SECRET)?),
        (FEDERATED_TOKEN_FILE, filled(settings, FEDERATED_TOKEN_FILE)?),
    ];
    if let [(_, Some(_)), (_, Some(_)), ..] = ways {
        return Err(invalid(format!("only one of {KEY} and {SAS_TOKEN} may be set")));
    }
    let Some((way, value)) = ways.iter().find_map(|(name, value)| Some((*name, (*value)?))) else {
        let names: Vec<&str> = ways.iter().map(|(name, _)| *name).collect();
        return Err(invalid(format!("no credentials are set: write one of {}", names.join(", "))));
    };
    let application = || -> Result<(String, String, String)> {
        let needed = |name| {
            filled(settings, name)?
                .map(str::to_owned)
                .ok_or_else(|| invalid(format!("{name} is missing: {way} needs it")))
        };
        let authority = filled(settings, AUTHORITY_HOST)?.unwrap_or(AZURE_PUBLIC_CLOUD).trim_end_matches('/');
        let authority =
            if authority.contains("://") { authority.to_owned() } else { format!("https://{authority}") };
        if normal_address(&authority).is_none() {
            return Err(invalid(format!("{AUTHORITY_HOST} must be https:// with a host")));
        }
        Ok((needed(TENANT_ID)?, needed(CLIENT_ID)?, authority))
    };
    Ok(match way {
        KEY => {
            if BASE64_STANDARD.decode(value).is_err() {
                return Err(invalid(format!("{KEY} is not in base64: copy it again, to its last character")));
            }
            Identity::AccountKey(value.to_owned())
        }
        SAS_TOKEN => {
            let token = value.trim_start_matches('?');
            if !token.split('&').any(|pair| pair.starts_with("sig=")) {
                return Err(invalid(format!("{SAS_TOKEN} has no signature: it looks like sv=…&se=…&sig=…")));
            }
            Identity::SasToken(token.to_owned())
        }
        CLIENT_SECRET => {
            let (tenant, client, authority) = application()?;
            Identity::ClientSecret { tenant, client, secret: value.to_owned(), authority }
        }
        FEDERATED_TOKEN_FILE => {
            let (tenant, client, authority) = application()?;
            Identity::FederatedToken { tenant, client, file: value.to_owned(), authority }
        }
        _ => Identity::Managed {
            client: client.map(str::to_owned),
            endpoint: filled(settings, IDENTITY_ENDPOINT)?.map(str::to_owned),
        },
    })
}

fn filled<'a>(settings: &'a Settings, key: &str) -> Result<Option<&'a str>> {
    Ok(settings.text(key)?.filter(|text| !text.is_empty()))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidConfiguration, message)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(values: Value) -> Result<AzureSettings> {
        AzureSettings::read(&Settings::new(values.as_object().cloned().unwrap_or_default()))
    }

    #[test]
    fn the_keys_of_docker_registry_suffice_and_mean_the_whole_container() {
        let settings = read(json!({ ACCOUNT: "acct", KEY: "a2V5", CONTAINER: "images" })).unwrap();
        assert_eq!(settings.endpoint, "https://acct.blob.core.windows.net");
        assert_eq!((settings.container.as_str(), settings.root.as_str()), ("images", ""));
        assert!(!settings.create_container);
        let plain =
            read(json!({ ACCOUNT: "acct", KEY: "a2V5", USE_HTTPS: false, STORAGE_PATH: "/a/" })).unwrap();
        assert_eq!(plain.endpoint, "http://acct.blob.core.windows.net");
        assert_eq!((plain.container.as_str(), plain.root.as_str()), ("registry", "a"));
    }

    #[test]
    fn other_clouds_and_emulators_are_reached_by_suffix_and_address() {
        let china = json!({ ACCOUNT: "acct", KEY: "a2V5", ENDPOINT_SUFFIX: "core.chinacloudapi.cn" });
        assert_eq!(read(china).unwrap().endpoint, "https://acct.blob.core.chinacloudapi.cn");
        let local = json!({ ACCOUNT: "acct", KEY: "a2V5", ENDPOINT: "http://127.0.0.1:10000/acct/" });
        assert_eq!(read(local).unwrap().endpoint, "http://127.0.0.1:10000/acct");
    }

    #[test]
    fn each_way_in_is_told_by_its_keys() {
        let with = |more: Value| {
            let mut values = json!({ ACCOUNT: "acct" });
            values.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            read(values).map(|settings| settings.identity)
        };
        assert!(
            matches!(with(json!({ SAS_TOKEN: "?sv=1&sig=x" })).unwrap(), Identity::SasToken(token) if token == "sv=1&sig=x")
        );
        let secret = json!({ CLIENT_ID: "c", CLIENT_SECRET: "s", TENANT_ID: "t" });
        assert!(matches!(with(secret).unwrap(), Identity::ClientSecret { .. }));
        let file = json!({ CLIENT_ID: "c", FEDERATED_TOKEN_FILE: "/f", TENANT_ID: "t", AUTHORITY_HOST: "login.example" });
        let Identity::FederatedToken { authority, .. } = with(file).unwrap() else {
            panic!("another identity")
        };
        assert_eq!(authority, "https://login.example");
        let managed = with(json!({ USE_MANAGED_IDENTITY: true, CLIENT_ID: "c" })).unwrap();
        assert_eq!(managed, Identity::Managed { client: Some("c".into()), endpoint: None });
    }

    #[test]
    fn a_wrong_value_is_refused_by_the_name_of_its_key_and_never_shown() {
        for (values, key) in [
            (json!({ KEY: "a2V5" }), ACCOUNT),
            (json!({ ACCOUNT: "https://acct.blob", KEY: "a2V5" }), ACCOUNT),
            (json!({ ACCOUNT: "acct" }), KEY),
            (json!({ ACCOUNT: "acct", KEY: "~hidden~" }), KEY),
            (json!({ ACCOUNT: "acct", KEY: "a2V5", SAS_TOKEN: "sig=hidden" }), SAS_TOKEN),
            (json!({ ACCOUNT: "acct", SAS_TOKEN: "hidden" }), SAS_TOKEN),
            (json!({ ACCOUNT: "acct", CLIENT_SECRET: "hidden", CLIENT_ID: "c" }), TENANT_ID),
            (json!({ ACCOUNT: "acct", KEY: "a2V5", CONTAINER: "Images" }), CONTAINER),
            (json!({ ACCOUNT: "acct", KEY: "a2V5", ENDPOINT: "127.0.0.1:1" }), ENDPOINT),
            (json!({ ACCOUNT: "acct", KEY: "a2V5", ENDPOINT_SUFFIX: "a b" }), ENDPOINT_SUFFIX),
            (json!({ ACCOUNT: "acct", KEY: "a2V5", STORAGE_PATH: "a//b" }), STORAGE_PATH),
        ] {
            let error = read(values).unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidConfiguration, "{key}");
            assert!(error.message.contains(key), "{}", error.message);
            assert!(!error.message.contains("hidden"), "{}", error.message);
        }
    }

    #[test]
    fn no_secret_is_in_the_debug_output() {
        let settings = read(json!({ ACCOUNT: "acct", KEY: "aGlkZGVu" })).unwrap();
        assert!(!format!("{settings:?}").contains("aGlkZGVu"));
    }
}
