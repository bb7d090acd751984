//! Finding credentials: in the configuration, in the files of Google's tools, on the machine.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use docker_registry_driver_api::{Error, ErrorKind, Result};
use rsa::{PrivateKey, pkcs8::DecodePrivateKey};
use serde::Deserialize;

use crate::settings::{Access, GcsSettings, invalid};

/// Google's token endpoint.
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

/// Largest file of credentials.
const LARGEST_FILE: u64 = 1 << 20;

/// What requests are proved with.
pub(crate) enum Credentials {
    Hmac { id: String, secret: String },
    Tokens(Source),
    Anonymous,
}

/// Where tokens come from. `Display` says it without secrets.
pub(crate) enum Source {
    ServiceAccount(ServiceAccount),
    User(User),
    /// Host, and port if there is one, of the metadata server.
    Metadata(String),
}

/// A service account with its key.
pub(crate) struct ServiceAccount {
    pub(crate) email: String,
    pub(crate) key_id: Option<String>,
    pub(crate) key: Arc<PrivateKey>,
    pub(crate) token_uri: String,
}

/// A user's consent.
pub(crate) struct User {
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    pub(crate) refresh_token: String,
    pub(crate) token_uri: String,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServiceAccount(account) => write!(f, "the service account {}", account.email),
            Self::User(_) => f.write_str("a user's refresh token"),
            Self::Metadata(host) => write!(f, "the metadata server at {host}"),
        }
    }
}

/// The files that Google's console and command line write.
#[derive(Deserialize)]
struct Written {
    #[serde(rename = "type")]
    kind: Option<String>,
    client_email: Option<String>,
    private_key: Option<String>,
    private_key_id: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    refresh_token: Option<String>,
    token_uri: Option<String>,
}

impl Credentials {
    /// Finds what the settings ask for. Nothing is asked over the network.
    ///
    /// # Errors
    /// `InvalidConfiguration`, naming the key or the file.
    pub(crate) async fn find(settings: &GcsSettings) -> Result<Self> {
        Ok(match &settings.access {
            Access::Anonymous => Self::Anonymous,
            Access::Hmac { id, secret } => Self::Hmac { id: id.clone(), secret: secret.clone() },
            Access::Json(text) => Self::Tokens(Source::parse(text, "gs_credentials_json")?),
            Access::File(path) => Self::Tokens(Source::read(path, "gs_credentials_file").await?),
            Access::Refresh { token, client } => Self::Tokens(refresh(token.clone(), client.clone())?),
            Access::Found { client } => Self::Tokens(found(client.clone()).await?),
        })
    }
}

impl Source {
    async fn read(path: &Path, named: &str) -> Result<Self> {
        let named = format!("{named} ({})", path.display());
        let text =
            read(path).await.map_err(|error| invalid(format!("{named} cannot be read")).caused_by(&error))?;
        Self::parse(&text, &named)
    }

    fn parse(text: &str, named: &str) -> Result<Self> {
        // The text of the parser could repeat a secret.
        let written: Written =
            serde_json::from_str(text).map_err(|_| invalid(format!("{named} is no JSON of credentials")))?;
        let lacks = |what: &str| invalid(format!("{named} has no {what}"));
        let token_uri = written.token_uri.unwrap_or_else(|| TOKEN_URI.to_owned());
        match written.kind.as_deref() {
            Some("service_account") => {
                let pem = written.private_key.ok_or_else(|| lacks("private_key"))?;
                let key = PrivateKey::from_pkcs8_pem(&pem)
                    .map_err(|_| invalid(format!("private_key of {named} is no RSA key (PKCS #8, PEM)")))?;
                Ok(Self::ServiceAccount(ServiceAccount {
                    email: written.client_email.ok_or_else(|| lacks("client_email"))?,
                    key_id: written.private_key_id,
                    key: Arc::new(key),
                    token_uri,
                }))
            }
            Some("authorized_user") => Ok(Self::User(User {
                client_id: written.client_id.ok_or_else(|| lacks("client_id"))?,
                client_secret: written.client_secret.ok_or_else(|| lacks("client_secret"))?,
                refresh_token: written.refresh_token.ok_or_else(|| lacks("refresh_token"))?,
                token_uri,
            })),
            Some(kind) => Err(invalid(format!(
                "{named} has credentials of the type {kind:.40}; service_account and authorized_user are known"
            ))),
            None => Err(lacks("type")),
        }
    }
}

/// What the machine has, in the order of Google's own libraries; boto's file stands before the metadata server.
async fn found(client: Option<(String, String)>) -> Result<Source> {
    if let Some(path) = filled("GOOGLE_APPLICATION_CREDENTIALS") {
        return Source::read(Path::new(&path), "the file of GOOGLE_APPLICATION_CREDENTIALS").await;
    }
    let home = filled("HOME").map(PathBuf::from);
    let folder = filled("CLOUDSDK_CONFIG")
        .map(PathBuf::from)
        .or_else(|| home.as_ref().map(|home| home.join(".config/gcloud")));
    if let Some(path) = folder.map(|folder| folder.join("application_default_credentials.json"))
        && tokio::fs::try_exists(&path).await.unwrap_or(false)
    {
        return Source::read(&path, "the file of the application default credentials").await;
    }
    let boto = filled("BOTO_CONFIG").map(PathBuf::from).or_else(|| home.map(|home| home.join(".boto")));
    if let Some(path) = boto
        && let Ok(text) = read(&path).await
        && let Some(token) = refresh_token_of_boto(&text)
    {
        return refresh(token, client);
    }
    let host = filled("GCE_METADATA_HOST").unwrap_or_else(|| "metadata.google.internal".to_owned());
    Ok(Source::Metadata(host))
}

fn refresh(refresh_token: String, client: Option<(String, String)>) -> Result<Source> {
    let from_environment = || Some((filled("OAUTH2_CLIENT_ID")?, filled("OAUTH2_CLIENT_SECRET")?));
    let (client_id, client_secret) = client.or_else(from_environment).ok_or_else(|| {
        invalid(
            "gs_oauth2_client_id and gs_oauth2_client_secret are missing beside the refresh token \
             (OAUTH2_CLIENT_ID and OAUTH2_CLIENT_SECRET of the environment serve too)",
        )
    })?;
    let token_uri = filled("OAUTH2_TOKEN_URI").unwrap_or_else(|| TOKEN_URI.to_owned());
    Ok(Source::User(User { client_id, client_secret, refresh_token, token_uri }))
}

/// The value of `gs_oauth2_refresh_token` in the section `Credentials`.
fn refresh_token_of_boto(text: &str) -> Option<String> {
    let mut is_inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            is_inside = section.trim_end_matches(']').eq_ignore_ascii_case("credentials");
        } else if is_inside
            && let Some((name, value)) = line.split_once(['=', ':'])
            && name.trim() == "gs_oauth2_refresh_token"
            && !value.trim().is_empty()
        {
            return Some(value.trim().to_owned());
        }
    }
    None
}

async fn read(path: &Path) -> Result<String, std::io::Error> {
    let size = tokio::fs::metadata(path).await?.len();
    if size > LARGEST_FILE {
        return Err(std::io::Error::from(std::io::ErrorKind::FileTooLarge));
    }
    tokio::fs::read_to_string(path).await
}

fn filled(variable: &str) -> Option<String> {
    env::var(variable).ok().filter(|value| !value.is_empty())
}

/// The error of a source of tokens that refuses.
pub(crate) fn refused(source: &Source, credentials: &str, details: &str) -> Error {
    let message = format!("{source} gives no token: check {credentials} [{details}]");
    Error::new(ErrorKind::InvalidConfiguration, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refresh_token_is_found_in_the_file_of_boto_and_only_in_its_section() {
        let text =
            "[Boto]\ngs_oauth2_refresh_token = no\n\n[Credentials]\n# x\ngs_oauth2_refresh_token = 1//yes\n";
        assert_eq!(refresh_token_of_boto(text).as_deref(), Some("1//yes"));
        assert_eq!(refresh_token_of_boto("[Boto]\ngs_oauth2_refresh_token = no\n"), None);
    }

    #[test]
    fn a_file_that_is_none_of_the_known_is_refused_without_repeating_it() {
        for (text, wanted) in [
            ("{\"secret\": ", "no JSON of credentials"),
            ("{}", "has no type"),
            ("{\"type\": \"external_account\"}", "type external_account"),
            ("{\"type\": \"service_account\"}", "has no private_key"),
            ("{\"type\": \"service_account\", \"private_key\": \"hidden\"}", "is no RSA key"),
            ("{\"type\": \"authorized_user\", \"client_id\": \"c\"}", "has no client_secret"),
        ] {
            let error = Source::parse(text, "gs_credentials_json").err().unwrap();
            assert!(error.message.contains(wanted), "{}", error.message);
            assert!(error.message.contains("gs_credentials_json"));
            assert!(!error.to_string().contains("hidden"));
        }
    }
}
