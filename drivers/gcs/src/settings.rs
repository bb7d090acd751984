//! The configuration keys, and their checked values.

use std::path::PathBuf;

use docker_registry_driver_api::{ConfigurationKey, Error, ErrorKind, Result, Settings, ValueKind};
use docker_registry_object_storage::{
    http::{Advice, normal_address},
    settings::root,
};

use crate::credentials::Credentials;

const BUCKET: &str = "boto_bucket";
const STORAGE_PATH: &str = "storage_path";
const SECURE: &str = "gs_secure";
const ACCESS_KEY: &str = "gs_access_key";
const SECRET_KEY: &str = "gs_secret_key";
const OAUTH2: &str = "oauth2";
const CREDENTIALS_FILE: &str = "gs_credentials_file";
const CREDENTIALS_JSON: &str = "gs_credentials_json";
const CLIENT_ID: &str = "gs_oauth2_client_id";
const CLIENT_SECRET: &str = "gs_oauth2_client_secret";
const REFRESH_TOKEN: &str = "gs_oauth2_refresh_token";
const ENDPOINT: &str = "gs_endpoint";
const API: &str = "gs_api";
const ANONYMOUS: &str = "gs_anonymous";

/// Google's own host.
const HOST: &str = "storage.googleapis.com";

/// Which of the two APIs is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    /// With HMAC keys or tokens.
    Xml,
    /// With tokens, or without credentials.
    Json,
}

/// Values of the driver's own keys. `Debug` is not derived: some are secret.
pub(crate) struct GcsSettings {
    pub(crate) bucket: String,
    pub(crate) root: String,
    /// Scheme, host and port.
    pub(crate) endpoint: String,
    pub(crate) api: Api,
    pub(crate) access: Access,
}

/// Where credentials are to come from.
pub(crate) enum Access {
    Hmac {
        id: String,
        secret: String,
    },
    File(PathBuf),
    Json(String),
    /// A refresh token from the configuration, with the client that it was made for, if that is named.
    Refresh {
        token: String,
        client: Option<(String, String)>,
    },
    /// What the machine has: files of the Google command line, the file of boto, the metadata server.
    Found {
        client: Option<(String, String)>,
    },
    Anonymous,
}

impl GcsSettings {
    pub(crate) fn keys() -> Vec<ConfigurationKey> {
        let text = ConfigurationKey::text;
        let boolean = |name, doc| ConfigurationKey::of(ValueKind::Boolean, name, doc);
        vec![
            text(BUCKET, "Name of the bucket. It must exist.").environment("GCS_BUCKET").required(),
            text(STORAGE_PATH, "Prefix of every object in the bucket.")
                .default("/registry")
                .environment("STORAGE_PATH"),
            boolean(SECURE, "Whether Google is reached over TLS. Tokens are never sent to it without.")
                .default("true")
                .environment("GCS_SECURE"),
            text(ACCESS_KEY, "Access id of an HMAC key. With it the XML API is used.").environment("GCS_KEY"),
            text(SECRET_KEY, "Secret of the HMAC key.").environment("GCS_SECRET").secret(),
            boolean(
                OAUTH2,
                "Whether tokens are used instead of an HMAC key: those of the keys below, or those that the \
                 machine has (application default credentials, boto's refresh token, metadata server).",
            )
            .default("false")
            .environment("GCS_OAUTH2"),
            text(
                CREDENTIALS_FILE,
                "JSON file of a service account's key, or of a user as `gcloud auth application-default login` \
                 writes it.",
            )
            .environment("GCS_CREDENTIALS_FILE"),
            text(CREDENTIALS_JSON, "The text of such a file.").environment("GCS_CREDENTIALS_JSON").secret(),
            text(CLIENT_ID, "Client of the refresh token; without it OAUTH2_CLIENT_ID of the environment."),
            text(CLIENT_SECRET, "Secret of that client; without it OAUTH2_CLIENT_SECRET of the environment.")
                .secret(),
            text(REFRESH_TOKEN, "Refresh token; without it gs_oauth2_refresh_token of boto's file.").secret(),
            text(ENDPOINT, "Address of another server that speaks the same protocol: http(s)://HOST:PORT.")
                .environment("GCS_ENDPOINT"),
            text(
                API,
                "With tokens: json (many deletions in one request) or xml. HMAC keys work with xml only.",
            )
            .environment("GCS_API"),
            boolean(ANONYMOUS, "Whether no credentials are used at all: for emulators.")
                .default("false")
                .environment("GCS_ANONYMOUS"),
        ]
    }

    pub(crate) fn read(settings: &Settings) -> Result<Self> {
        let filled = |key: &str| -> Result<Option<String>> {
            Ok(settings.text(key)?.filter(|text| !text.is_empty()).map(str::to_owned))
        };
        let bucket = filled(BUCKET)?.ok_or_else(|| invalid(format!("{BUCKET} is missing")))?;
        if bucket.contains(|sign: char| !(sign.is_ascii_alphanumeric() || "-_.".contains(sign))) {
            return Err(invalid(format!("{BUCKET} must be the name of a bucket, not an address")));
        }
        let is_secure = settings.boolean(SECURE)?.unwrap_or(true);
        let access = Self::access(settings, &filled)?;
        let endpoint = match filled(ENDPOINT)? {
            Some(endpoint) => check_endpoint(&endpoint)?,
            None => format!("{}://{HOST}", if is_secure { "https" } else { "http" }),
        };
        let needs_tls = !matches!(access, Access::Hmac { .. } | Access::Anonymous);
        if needs_tls && endpoint == format!("http://{HOST}") {
            return Err(invalid(format!(
                "{SECURE} must be true: anybody could read the tokens on their way"
            )));
        }
        let is_hmac = matches!(access, Access::Hmac { .. });
        let api = match filled(API)?.as_deref() {
            None if is_hmac => Api::Xml,
            None | Some("json") if !is_hmac => Api::Json,
            Some("xml") => Api::Xml,
            Some("json") => {
                return Err(invalid(format!("{API} must be xml: HMAC keys work with nothing else")));
            }
            _ => return Err(invalid(format!("{API} must be json or xml"))),
        };
        let root = root(&filled(STORAGE_PATH)?.unwrap_or_else(|| "/registry".to_owned()))?;
        Ok(Self { bucket, root, endpoint, api, access })
    }

    fn access(settings: &Settings, filled: &impl Fn(&str) -> Result<Option<String>>) -> Result<Access> {
        if settings.boolean(ANONYMOUS)?.unwrap_or(false) {
            return Ok(Access::Anonymous);
        }
        let client = match (filled(CLIENT_ID)?, filled(CLIENT_SECRET)?) {
            (Some(id), Some(secret)) => Some((id, secret)),
            (None, None) => None,
            _ => return Err(invalid(format!("{CLIENT_ID} and {CLIENT_SECRET} go together"))),
        };
        let is_oauth2 = settings.boolean(OAUTH2)?.unwrap_or(false);
        let hmac = match (filled(ACCESS_KEY)?, filled(SECRET_KEY)?) {
            // As with the original, tokens win over keys.
            _ if is_oauth2 => None,
            (Some(id), Some(secret)) => Some(Access::Hmac { id, secret }),
            (None, None) => None,
            (None, Some(_)) => return Err(invalid(format!("{ACCESS_KEY} is missing beside {SECRET_KEY}"))),
            (Some(_), None) => return Err(invalid(format!("{SECRET_KEY} is missing beside {ACCESS_KEY}"))),
        };
        let file = filled(CREDENTIALS_FILE)?.map(|path| Access::File(path.into()));
        let json = filled(CREDENTIALS_JSON)?.map(Access::Json);
        let refresh = filled(REFRESH_TOKEN)?;
        let refresh = refresh.map(|token| Access::Refresh { token, client: client.clone() });
        let mut given: Vec<Access> = [hmac, file, json, refresh].into_iter().flatten().collect();
        match (given.pop(), given.is_empty()) {
            (None, _) => Ok(Access::Found { client }),
            (Some(access), true) => Ok(access),
            (Some(_), false) => Err(invalid(format!(
                "more than one of {ACCESS_KEY}, {CREDENTIALS_FILE}, {CREDENTIALS_JSON} and {REFRESH_TOKEN} is \
                 set: leave one"
            ))),
        }
    }

    /// The words for errors.
    pub(crate) fn advice(&self, credentials: &Credentials) -> Advice {
        Advice {
            store: "Google Cloud Storage".to_owned(),
            credentials: match (&self.access, credentials) {
                (Access::Hmac { .. }, _) => format!("{ACCESS_KEY} and {SECRET_KEY}"),
                (Access::File(_), _) => CREDENTIALS_FILE.to_owned(),
                (Access::Json(_), _) => CREDENTIALS_JSON.to_owned(),
                (Access::Refresh { .. }, _) => format!("{REFRESH_TOKEN}, {CLIENT_ID} and {CLIENT_SECRET}"),
                (Access::Found { .. }, Credentials::Tokens(source)) => {
                    format!("{OAUTH2}, or set {ACCESS_KEY} or {CREDENTIALS_FILE}: now {source} is used")
                }
                _ => format!("{ANONYMOUS}, {ACCESS_KEY} and {CREDENTIALS_FILE}"),
            },
            bucket: BUCKET.to_owned(),
            region: ENDPOINT.to_owned(),
            endpoint: format!("{ENDPOINT} and {SECURE}"),
            ca_bundle: "ca_bundle".to_owned(),
            proxy: "proxy".to_owned(),
        }
    }
}

fn check_endpoint(endpoint: &str) -> Result<String> {
    let address = normal_address(endpoint);
    let has_path = |address: &str| address.split_once("://").is_none_or(|(_, rest)| rest.contains('/'));
    address
        .filter(|address| !has_path(address))
        .ok_or_else(|| invalid(format!("{ENDPOINT} must be http(s)://HOST:PORT")))
}

pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidConfiguration, message)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(values: Value) -> Result<GcsSettings> {
        let mut all = json!({"boto_bucket": "b"});
        all.as_object_mut().unwrap().extend(values.as_object().unwrap().clone());
        GcsSettings::read(&Settings::new(all.as_object().unwrap().clone()))
    }

    #[test]
    fn the_configuration_of_the_original_means_hmac_keys_and_the_xml_api() {
        let read = read(json!({
            "storage_path": "/registry", "gs_secure": true, "gs_access_key": "GOOG1", "gs_secret_key": "s",
            "oauth2": false,
        }))
        .unwrap();
        assert!(matches!(&read.access, Access::Hmac { id, secret } if id == "GOOG1" && secret == "s"));
        assert_eq!((read.api, read.root.as_str()), (Api::Xml, "registry"));
        assert_eq!(read.endpoint, "https://storage.googleapis.com");
    }

    #[test]
    fn tokens_win_over_hmac_keys_as_with_the_original() {
        let read = read(json!({"gs_access_key": "GOOG1", "gs_secret_key": "s", "oauth2": true})).unwrap();
        assert!(matches!(read.access, Access::Found { client: None }));
        assert_eq!(read.api, Api::Json);
    }

    #[test]
    fn what_does_not_fit_together_is_refused_by_the_name_of_a_key() {
        for (values, key) in [
            (json!({"boto_bucket": ""}), "boto_bucket"),
            (json!({"boto_bucket": "gs://b"}), "boto_bucket"),
            (json!({"gs_access_key": "GOOG1"}), "gs_secret_key"),
            (json!({"gs_secret_key": "s"}), "gs_access_key"),
            (json!({"gs_access_key": "GOOG1", "gs_secret_key": "s", "gs_api": "json"}), "gs_api"),
            (json!({"gs_api": "soap"}), "gs_api"),
            (json!({"gs_endpoint": "localhost:80"}), "gs_endpoint"),
            (json!({"gs_endpoint": "http://u:p@h"}), "gs_endpoint"),
            (json!({"gs_endpoint": "http://h/path"}), "gs_endpoint"),
            (json!({"oauth2": true, "gs_secure": false}), "gs_secure"),
            (json!({"gs_oauth2_client_id": "c"}), "gs_oauth2_client_id"),
            (json!({"gs_credentials_file": "/f", "gs_credentials_json": "{}"}), "more than one"),
            (json!({"storage_path": "/a/../b"}), "storage_path"),
        ] {
            let error = read(values.clone()).err().unwrap_or_else(|| panic!("{values}"));
            assert_eq!(error.kind, ErrorKind::InvalidConfiguration);
            assert!(error.message.contains(key), "{values}: {}", error.message);
        }
    }

    #[test]
    fn every_key_is_told_to_the_operator() {
        let readme = include_str!("../README.md");
        for key in GcsSettings::keys() {
            assert!(readme.contains(&format!("`{}`", key.name)), "{} is not in the README", key.name);
        }
    }
}
